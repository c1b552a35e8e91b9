"""Pure: from measured prices, the ratio that two paths should have: predicted, to be held against measured.

What a path costs a host is what plain sendfile costs there (measured in the same suite: TCP, the driver, the
interrupts), plus its own steps. A step is paid for each chunk (``times``: system calls, records, packets) and for every
byte. Hosts work side by side, so a transfer takes as long as the fuller of them, and no less than plain sendfile.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

CHUNK_BYTES = 65536


@dataclass(frozen=True)
class Step:
    """A step of a path by the name of its price, paid ``times`` for each ``chunk`` bytes, and for each byte."""

    price: str
    times: int = 1
    chunk: int = CHUNK_BYTES


@dataclass(frozen=True)
class Steps:
    """What a path does on each host beyond plain sendfile."""

    sender: tuple[Step, ...] = ()
    receiver: tuple[Step, ...] = ()

    def names(self) -> set[str]:
        """The prices that are needed."""
        return {step.price for step in (*self.sender, *self.receiver)}


@dataclass(frozen=True)
class Price:
    """What a step costs on its host: nanoseconds each time and for each byte."""

    call_ns: float
    byte_ns: float

    def __add__(self, other: Price) -> Price:
        return Price(self.call_ns + other.call_ns, self.byte_ns + other.byte_ns)


def prices(lines: Iterable[Mapping[str, Any]]) -> dict[str, Price]:
    """Prices from the lines of ``datapath costs``.

    From the fastest of each measurement: whatever else a machine does only adds. No call is cheaper than the cheapest
    one. ``tcp_copy`` is what sending from user memory costs beyond sendfile, ``cipher`` is AF_ALG's recv, and
    ``kernel_cipher`` the same without its system call: what the kernel pays for a request of its own. Steps that the
    program was not asked for are absent. Raises ValueError when clock or system call are missing.
    """
    told = {line["what"]: line for line in lines if line.get("event") == "cost"}
    try:
        clock = told["clock"]["once"]["min_ns"]
        call = max(0.0, told["syscall"]["once"]["min_ns"] - clock)
        found = {"syscall": Price(call, 0.0)}
        for what, name in (
            ("read", "read"),
            ("alg_send", "alg_send"),
            ("alg_sendfile", "alg_sendfile"),
            ("alg_recv", "cipher"),
            ("tcp_send", "tcp_send"),
            ("tcp_sendfile", "tcp_sendfile"),
        ):
            if what not in told:
                continue
            small, large = told[what]["small"], told[what]["large"]
            byte = max(0.0, (large["min_ns"] - small["min_ns"]) / (large["bytes"] - small["bytes"]))
            found[name] = Price(max(call, small["min_ns"] - clock - byte * small["bytes"]), byte)
    except KeyError as error:
        raise ValueError(f"datapath costs told nothing of {error}") from error
    if "tcp_send" in found and "tcp_sendfile" in found:
        sending, mapped = found.pop("tcp_send"), found.pop("tcp_sendfile")
        found["tcp_copy"] = Price(sending.call_ns, max(0.0, sending.byte_ns - mapped.byte_ns))
    if "cipher" in found:
        found["kernel_cipher"] = Price(max(0.0, found["cipher"].call_ns - call), found["cipher"].byte_ns)
    return found


def from_two(small: tuple[int, float], large: tuple[int, float]) -> Price:
    """The price that fits two measurements of (bytes, nanoseconds) for one operation."""
    byte = max(0.0, (large[1] - small[1]) / (large[0] - small[0]))
    return Price(max(0.0, small[1] - byte * small[0]), byte)


def own_seconds(steps: Iterable[Step], known: Mapping[str, Price], size: int) -> float:
    """What the steps of one transfer of ``size`` bytes cost their host, in CPU seconds."""
    spent = 0.0
    for step in steps:
        chunks = math.ceil(size / step.chunk)
        spent += step.times * chunks * known[step.price].call_ns + size * known[step.price].byte_ns
    return spent / 1e9


@dataclass(frozen=True)
class Clear:
    """What the same file was measured to take in clear by sendfile: elapsed, and busy on both hosts."""

    seconds: float
    sender_cpu: float
    receiver_cpu: float


def predicted(
    metric: str, baseline: Steps, candidate: Steps, known: Mapping[str, Price], clear: Clear, size: int
) -> float | None:
    """The ratio baseline / candidate that the prices allow, for elapsed ``seconds`` or for the sender's CPU.

    None where a price is not known.
    """
    if not (baseline.names() | candidate.names()) <= set(known):
        return None
    found = []
    for steps in (baseline, candidate):
        sender = clear.sender_cpu + own_seconds(steps.sender, known, size)
        receiver = clear.receiver_cpu + own_seconds(steps.receiver, known, size)
        found.append(max(clear.seconds, sender, receiver) if metric == "seconds" else sender)
    return found[0] / found[1]


def agrees(ceiling: float, low: float, high: float, margin: float) -> bool:
    """Whether a prediction lies within a measured interval widened by the margin."""
    return low / (1 + margin) <= ceiling <= high * (1 + margin)
