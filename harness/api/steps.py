"""Pure: what a path does on each host beyond plain sendfile, in steps that have a price, and how it feeds TCP.

A step is paid for each chunk (``times``: system calls, records, packets) and for every byte.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CHUNK_BYTES = 65536


@dataclass(frozen=True)
class Step:
    """A step of a path by the name of its price, paid ``times`` for each ``chunk`` bytes, and for each byte."""

    price: str
    times: int = 1
    chunk: int = CHUNK_BYTES


@dataclass(frozen=True)
class Way:
    """How a path hands its bytes to TCP, whatever enciphers them: a rehearsal does the same in clear.

    ``sendfile``: the whole file in one call; ``chunks``: a call for each chunk, by reference; ``socket``: the socket
    itself takes a chunk after the other (its rehearsal makes a call for each, which stands for what the socket does for
    it: locks, pages, a request); ``send``: each chunk is read and sent; ``records``: the same, each sent off by itself;
    ``packets``: below TCP, the null cipher in its place.
    """

    calls: Literal["sendfile", "chunks", "socket", "send", "records", "packets"] = "sendfile"
    chunk: int = CHUNK_BYTES

    def steps(self) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
        """What the sender and the receiver of its rehearsal do beyond plain sendfile, but for work of known length."""
        if self.calls == "packets":
            return (Step("esp_hash", chunk=self.chunk),), (Step("receiver_esp_hash", chunk=self.chunk),)
        if self.calls == "chunks":
            return (Step("syscall", chunk=self.chunk),), ()
        copied = (Step("read", chunk=self.chunk), Step("tcp_copy", chunk=self.chunk))
        return (() if self.calls in ("sendfile", "socket") else copied), ()


@dataclass(frozen=True)
class Taking:
    """How our client takes a rehearsal, which comes in clear, from the socket into the file."""

    by: Literal["recv", "splice"] = "recv"
    at_most: int | None = None
    """Bytes that no call takes more than; None for what there is."""
    chunks: bool = False
    """Whether it waits for 64 KiB at a time, as it does for a stream of cipher text."""


@dataclass(frozen=True)
class Steps:
    """What a path does on each host beyond plain sendfile."""

    sender: tuple[Step, ...] = ()
    receiver: tuple[Step, ...] = ()
    way: Way = Way()

    def names(self) -> set[str]:
        """The prices that are needed, those of its rehearsal too."""
        return {step.price for some in (self.sender, self.receiver, *self.way.steps()) for step in some}


@dataclass(frozen=True)
class Price:
    """What a step costs on its host: nanoseconds each time and for each byte.

    As it was measured: a difference of two measurements may come out below zero, and then is what noise leaves.
    """

    call_ns: float
    byte_ns: float

    def __add__(self, other: Price) -> Price:
        return Price(self.call_ns + other.call_ns, self.byte_ns + other.byte_ns)


def from_two(small: tuple[int, float], large: tuple[int, float]) -> Price:
    """The price that fits two measurements of (bytes, nanoseconds) for one operation."""
    byte = (large[1] - small[1]) / (large[0] - small[0])
    return Price(small[1] - byte * small[0], byte)
