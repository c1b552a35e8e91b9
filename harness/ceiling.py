"""Pure: from measured prices, the ratio that two paths should have: predicted, to be held against measured.

What a path costs the sender is what plain sendfile costs there (measured in the same suite: TCP, the driver, the
interrupts), plus its own steps. A step is paid once a chunk by a system call (``calls``) and for every byte. A transfer
takes no less than the network and the receiver allow, for which plain sendfile's time stands.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

CHUNK_BYTES = 65536


@dataclass(frozen=True)
class Step:
    """A step of a path by the name of its price; ``calls``: system calls for each chunk."""

    price: str
    calls: int = 1


@dataclass(frozen=True)
class Price:
    """What a step costs on this host: nanoseconds for each call and each byte."""

    call_ns: float
    byte_ns: float


def prices(lines: Iterable[Mapping[str, Any]]) -> dict[str, Price]:
    """Prices from the lines of ``datapath costs``.

    From the fastest of each measurement: whatever else a machine does only adds. No call is cheaper than the cheapest
    one. ``tcp_copy`` is what sending from user memory costs beyond sendfile, ``cipher`` is AF_ALG's recv.
    Raises ValueError when a line that is needed is missing.
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
            small, large = told[what]["small"], told[what]["large"]
            byte = max(0.0, (large["min_ns"] - small["min_ns"]) / (large["bytes"] - small["bytes"]))
            found[name] = Price(max(call, small["min_ns"] - clock - byte * small["bytes"]), byte)
    except KeyError as error:
        raise ValueError(f"datapath costs told nothing of {error}") from error
    sending, mapped = found.pop("tcp_send"), found.pop("tcp_sendfile")
    found["tcp_copy"] = Price(sending.call_ns, max(0.0, sending.byte_ns - mapped.byte_ns))
    return found


def own_seconds(steps: Iterable[Step], known: Mapping[str, Price], size: int) -> float:
    """What the steps of one transfer of ``size`` bytes cost the sender, in CPU seconds."""
    chunks = math.ceil(size / CHUNK_BYTES)
    spent = sum(step.calls * chunks * known[step.price].call_ns + size * known[step.price].byte_ns for step in steps)
    return spent / 1e9


@dataclass(frozen=True)
class Plain:
    """What plain sendfile was measured to take for the same file: elapsed, and busy on the sender."""

    seconds: float
    cpu_seconds: float


def predicted(
    metric: str,
    baseline: Iterable[Step],
    candidate: Iterable[Step],
    known: Mapping[str, Price],
    plain: Plain,
    size: int,
) -> float:
    """The ratio baseline / candidate that the prices allow, for elapsed ``seconds`` or for CPU."""
    first, second = (plain.cpu_seconds + own_seconds(steps, known, size) for steps in (baseline, candidate))
    if metric == "seconds":
        first, second = max(first, plain.seconds), max(second, plain.seconds)
    return first / second


def agrees(ceiling: float, low: float, high: float, margin: float) -> bool:
    """Whether a prediction lies within a measured interval widened by the margin."""
    return low / (1 + margin) <= ceiling <= high * (1 + margin)
