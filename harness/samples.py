"""Pure: a sample, the one rule of what counts, and the one rule of what a busy time is worth.

The harness, its verdicts and every report count by these. ``harness/records.py`` writes and reads samples.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Annotated

import msgspec

from hosts.roles import Role

ELSEWHERE = 0.02
"""Where a larger share of the busy time may be neither host's, or the other's, it is missing."""
TICKS = 10
"""A busy time shorter than this many steps of its clock is no number."""
FULL_SHARE = 0.95
"""A generator of load that took more of a processor than this was full: it has one thread."""
TIMER_SECONDS = 1e-6
"""The step of the receiver's timer: libcurl tells whole microseconds. Samples by another clock tell its step."""

Seconds = Annotated[float, msgspec.Meta(ge=0)]
Positive = Annotated[float, msgspec.Meta(gt=0)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Count = Annotated[int, msgspec.Meta(ge=0)]
Fact = int | float | str | bool | None
"""Of a witness."""


class Busy(msgspec.Struct, kw_only=True, frozen=True, gc=False):
    """What one host's processors were busy with one sample, by what clock."""

    cpu_seconds: Seconds | None = None
    cpu_resolution_seconds: Positive | None = None


class HostSample(Busy, kw_only=True, frozen=True, forbid_unknown_fields=True, gc=False):
    """What one host spent on one sample. ``counters`` are deltas over the sample."""

    busiest_cpu_seconds: Seconds | None = None
    """Of that one of its processors that was busiest; None where there is one, in a lab, and in older records."""
    cpu_elsewhere: Share | None = None
    """What share of both hosts' busy time may be neither's or the other's, where they share a kernel."""
    processors: dict[str, Share] | None = None
    """Of load: what share of the time each of its processors was busy, by number; None where the host has one, or does
    not tell."""
    softirqs: dict[str, Share] | None = None
    """Of load: what share of the time each of them spent on interrupts' later half."""
    energy_joules: Seconds | None = None
    """Of load: what its processors and their memory took for one request, the whole host's; None where it does not
    tell."""
    counters: dict[str, int | None] = {}


class Load(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, gc=False):
    """What many connections at once did, as the generator counted it (``hosts/onhost/load``).

    The window is what was measured: after every connection had an answer and a while to settle, until no more requests
    were begun. ``requests`` are all, before it and after it too.
    """

    connections: Count
    """That asked at once."""
    at_once: Count
    """The most that were there at once within the window."""
    requests: Count
    opened: Count
    """Connections in all."""
    handshakes: Count
    resumed: Count
    """Of the handshakes."""
    canaries: Count
    """Single transfers by the ordinary receiver meanwhile, each checked byte by byte."""
    window_seconds: Positive
    window_responses: Count
    window_bytes: Count
    """Of bodies as they came over the wire."""
    generator_cpu_seconds: Seconds
    """What the generator itself took of the receiver within the window."""
    errors: dict[str, int] = {}
    """Requests that had no right answer, by what went wrong."""
    latency: dict[str, int] = {}
    """How many answers took how long, by bucket (``harness/load/latency.py``); in an open loop from when their request
    was to start."""
    longest_seconds: Seconds = 0.0
    """The longest of these itself."""
    rate: Positive | None = None
    """Requests that were to start each second, of an open loop."""
    late: dict[str, int] = {}
    """How much later requests of an open loop were started though a connection was free, by bucket."""

    handshake: dict[str, int] = {}
    """How many TLS handshakes took how long, by bucket: from the start of connecting, of those that ended
    within the window."""
    group: str | None = None
    """Of the key exchange, as OpenSSL calls it, where the suite asks for one; all connections agreed upon it."""
    key: str | None = None
    """The server's key, as OpenSSL calls it, with its bits; told with ``group``."""

    @property
    def generator_share(self) -> float:
        """Of one processor, that the generator took within the window."""
        return self.generator_cpu_seconds / self.window_seconds

    @property
    def generator_full(self) -> bool:
        """Whether it took all of a processor: it, and not the path, may be what was measured."""
        return self.generator_share > FULL_SHARE


class Essence(msgspec.Struct, kw_only=True, gc=False):
    """What of a sample ratios are made of, but for the clock of its seconds."""

    cell: str
    """Its id."""
    block: Count
    index: Count
    """Its place in the block."""
    round: Count = 0
    """Which boot of a lab, or deployment on hosts, it was taken in."""
    warmup: bool
    seconds: Positive | None
    """From the start of connecting to the last byte, of a whole batch; None where it failed."""
    handshake_seconds: Seconds | None = None
    """TLS alone; None without TLS, and of a batch."""
    bytes: Count | None = None
    """What was received."""
    valid: bool
    """``sha256_ok`` and what the witness says."""
    sender: Busy = Busy()
    receiver: Busy = Busy()


class Clock(msgspec.Struct, kw_only=True, frozen=True, gc=False):
    """What of a witness tells the clock of a sample's seconds."""

    operations: Fact = None
    clock_step_seconds: Fact = None


class Timed(Essence, kw_only=True, gc=False):
    """All that ratios and their errors are made of. It is read in two thirds of the time of all of a sample."""

    witness: Clock = Clock()

    @property
    def step_seconds(self) -> float:
        """The step of the clock of ``seconds``."""
        return _step(self.witness.operations, self.witness.clock_step_seconds)


class Sample(Essence, kw_only=True, forbid_unknown_fields=True, gc=False):
    """One line of samples.jsonl: one transfer, or a batch of small ones.

    Of kernel crypto it is a timed batch of operations on one buffer: ``seconds``, ``bytes`` and the hosts' CPU are
    those of one operation, ``witness["operations"]`` says of how many. Of many connections at once they are those of
    one request: ``seconds`` is the window by the requests that its bytes make, CPU what was spent in most of it.
    Limits are checked when it is written and read.
    """

    sha256_ok: bool | None = None
    """Whether the payload is the source's; None where too little came to tell."""
    witness: dict[str, Fact] = {}
    """The facts that prove the path."""
    reason: str | None = None
    """Why it is not valid."""
    sender: HostSample = HostSample()
    receiver: HostSample = HostSample()
    latencies_us: list[float] | None = None
    """Of each request of a batch."""
    load: Load | None = None
    """Of many connections at once."""

    @property
    def receiver_driver(self) -> str | None:
        """What the receiver's kernel bound to decipher, where the witness names it."""
        told = self.witness.get("deciphered_driver")
        return str(told) if told else None

    @property
    def requests_per_second(self) -> float | None:
        """Of load: as many as the bytes within its window make. A count of whole answers would be rounded by the lumps
        in which they end. None of anything else."""
        return 1 / self.seconds if self.load and self.seconds else None

    @property
    def step_seconds(self) -> float:
        """The step of the clock of ``seconds``."""
        return _step(self.witness.get("operations"), self.witness.get("clock_step_seconds"))


def _step(operations: Fact, clock_step_seconds: Fact) -> float:
    """Where a sample is a batch of operations, its step is shared among them."""
    batch = operations if isinstance(operations, int) and operations > 1 else 1
    return (clock_step_seconds if isinstance(clock_step_seconds, float) else TIMER_SECONDS) / batch


def joules_per_gb(sample: Sample, role: Role = "sender") -> float | None:
    """What a host's processors and memory took for each 10^9 bytes received; None where the host does not tell."""
    joules = (sample.sender if role == "sender" else sample.receiver).energy_joules
    return None if joules is None or not sample.bytes else joules / sample.bytes * 1e9


def placed(elsewhere: float | None) -> bool:
    """Whether a busy time is surely its host's, by the share of it that may not be (None: it is for certain)."""
    return elsewhere is None or elsewhere <= ELSEWHERE


def good(sample: Essence) -> bool:
    """Whether a sample may count: valid, no warm-up, with a time."""
    return sample.valid and not sample.warmup and bool(sample.seconds)


def counted(samples: Iterable[Sample], measured: Container[str]) -> dict[str, dict[int, Sample]]:
    """The samples that count, by cell and block: ``good``, of a ``measured`` cell.

    Of several in one cell and block, the last.
    """
    by_cell: dict[str, dict[int, Sample]] = {}
    for sample in samples:
        if good(sample) and sample.cell in measured:
            by_cell.setdefault(sample.cell, {})[sample.block] = sample
    return by_cell


def known_busy(seconds: float | None, step: float | None) -> float | None:
    """A busy time; None where it is not known, or shorter than TICKS steps of the clock that counted it."""
    return None if seconds is None or step is None or seconds < TICKS * step else seconds


def cpu_seconds_per_gb(sample: Essence, role: Role = "sender") -> float | None:
    """A host's busy seconds for each 10^9 bytes received; None where its clock is too coarse for this sample.

    Where one sample of a cell has None, the cell has no number: those that can be measured are no fair sample of all.
    """
    host = sample.sender if role == "sender" else sample.receiver
    seconds = known_busy(host.cpu_seconds, host.cpu_resolution_seconds)
    return seconds / sample.bytes * 1e9 if seconds is not None and sample.bytes else None
