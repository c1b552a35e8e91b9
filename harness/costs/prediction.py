"""Pure: from measured prices, the ratio that two paths should have: predicted, to be compared with the measured one.

A path costs a host what its rehearsal costs there (``harness/costs/rehearsal.py``: the same way of feeding TCP, in
clear, with work in the place of the cipher), and its own steps, less what the rehearsal did in their place. A step is
paid for each chunk (``times``: system calls, records, packets) and for every byte. Hosts and link work side by side, so
a transfer takes as long as the fullest of the three, and what its rehearsal waited beyond that: for the first bytes,
not for each of them.

Rehearsals are taken in turn, and each turn gives a ratio of its own, of transfers that are right after another: what
slows a host for longer than that cancels. How these ratios differ is what the prediction's interval is made of
(``harness/verdicts/judging.py``).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from harness.api.steps import Price, Step, Steps
from harness.record import Verdict


def own_seconds(steps: Iterable[Step], prices: Mapping[str, Price], size: int) -> float:
    """What the steps of one transfer of ``size`` bytes cost their host, in CPU seconds."""
    spent = 0.0
    for step in steps:
        chunks = math.ceil(size / step.chunk)
        spent += step.times * chunks * prices[step.price].call_ns + size * prices[step.price].byte_ns
    return spent / 1e9


@dataclass(frozen=True)
class Clear:
    """What a transfer was measured to take: elapsed, and busy on both hosts."""

    seconds: float
    sender_cpu: float
    receiver_cpu: float


def predicted(
    metric: str, baseline: Steps, candidate: Steps, prices: Mapping[str, Price], clear: Clear, size: int
) -> float | None:
    """The ratio baseline / candidate that prices alone allow, were all beside them as in ``clear``: no rehearsals.

    For elapsed ``seconds`` or for the sender's CPU. None where a price is not known.
    """
    if not (baseline.names() | candidate.names()) <= set(prices):
        return None
    spent = []
    for steps in (baseline, candidate):
        sender = clear.sender_cpu + own_seconds(steps.sender, prices, size)
        receiver = clear.receiver_cpu + own_seconds(steps.receiver, prices, size)
        spent.append(max(clear.seconds, sender, receiver) if metric == "seconds" else sender)
    return spent[0] / spent[1]


@dataclass(frozen=True)
class Rehearsed:
    """What a path's rehearsal took for each of some bytes, the seconds of work among these (``worked``, nothing where
    it did none), and what the path itself takes beyond the rehearsal for connecting (``opening``)."""

    took: Mapping[int, Clear]
    worked: Mapping[int, float] = field(default_factory=dict)
    opening: Clear = Clear(0.0, 0.0, 0.0)

    def at(self, size: int) -> Clear:
        """What it takes for ``size`` bytes: on the line through the shortest and the longest that were tried."""
        parts = zip(*map(_parts, self.took.values()), strict=True)
        return Clear(*(_line(dict(zip(self.took, part, strict=True)), size) for part in parts))

    def work(self, size: int) -> float:
        """The seconds of work among these."""
        return _line(self.worked, size) if self.worked else 0.0

    def waited(self, pace: float) -> float:
        """Seconds of a transfer in which neither host nor the link, at ``pace`` seconds for each byte, was full.

        The least that was seen: whatever else a machine does only adds to it, and would be taken times the bytes.
        """
        return min(one.seconds - max(one.sender_cpu, one.receiver_cpu, size * pace) for size, one in self.took.items())


def _line(found: Mapping[int, float], size: int) -> float:
    """The value for ``size`` bytes on the line through those for the fewest and the most bytes; never below nothing."""
    small, large = min(found), max(found)
    return max(0.0, found[small] + (size - small) / (large - small) * (found[large] - found[small]))


@dataclass(frozen=True)
class Told:
    """What the server of a rehearsal told of its work: seconds by bytes; and what work it was to do for each chunk."""

    seconds: Mapping[int, float]
    work_ns: float
    chunk: int


def work_of(count: Price, told: Mapping[str, Told]) -> tuple[float, dict[str, dict[int, float]]]:
    """How slow the sender was in a turn (``Take.slowness``), and the seconds that work cost it, by path and bytes.

    ``count``: of counting, and for each time of a look at the clock: one is among what is told, another beside it.
    """
    looks = {
        path: {size: math.ceil(size / one.chunk) * count.call_ns / 1e9 for size in one.seconds}
        for path, one in told.items()
    }
    due = sum(
        size / one.chunk * one.work_ns / 1e9 + looks[path][size] for path, one in told.items() for size in one.seconds
    )
    took = sum(seconds for one in told.values() for seconds in one.seconds.values())
    slowness = took / due if due > 0 and took > 0 else 1.0
    return slowness, {
        path: {size: seconds + slowness * looks[path][size] for size, seconds in one.seconds.items()}
        for path, one in told.items()
    }


def typical(some: Iterable[Clear]) -> Clear:
    """The median of each."""
    return Clear(*(statistics.median(part) for part in zip(*map(_parts, some), strict=True)))


def _parts(clear: Clear) -> tuple[float, float, float]:
    return clear.seconds, clear.sender_cpu, clear.receiver_cpu


def standing_in(path: Steps, prices: Mapping[str, Price]) -> float:
    """Nanoseconds for each chunk of what the path's sender does and its rehearsal, without work, does not."""
    chunk = path.way.chunk
    own, there = (own_seconds(steps, prices, chunk) for steps in (path.sender, path.way.steps()[0]))
    return max(0.0, own - there) * 1e9


def spent(
    path: Steps,
    prices: Mapping[str, Price],
    rehearsed: Rehearsed,
    size: int,
    unpaced: Clear | None = None,
    slowness: float = 1.0,
    pace: float = 0.0,
) -> Clear:
    """What a transfer by the path should take. ``unpaced``: what so many bytes take in clear, as fast as they come.
    ``slowness`` and ``pace``: as in Take."""
    base, (sender_there, receiver_there) = rehearsed.at(size), path.way.steps()
    own = own_seconds(path.sender, prices, size) - own_seconds(sender_there, prices, size)
    sender = base.sender_cpu - rehearsed.work(size) + slowness * own
    more = own_seconds(path.receiver, prices, size) - own_seconds(receiver_there, prices, size)
    waited, linked = rehearsed.waited(pace), size * pace
    receiver = base.receiver_cpu + more
    if unpaced and path.way.calls != "packets":
        receiver = busy_receiver(base, unpaced.receiver_cpu, more, max(sender, linked) + waited)
    opening = rehearsed.opening
    return Clear(
        max(sender, receiver, linked) + waited + opening.seconds,
        sender + opening.sender_cpu,
        receiver + opening.receiver_cpu,
    )


def busy_receiver(base: Clear, unpaced: float, more: float, seconds: float) -> float:
    """Busy seconds of a receiver that does ``more`` than in its rehearsal ``base``, in a transfer of ``seconds``.

    A host that is idle between two arrivals has to be woken for each; one that is always busy finds the next one there.
    So what the receiver took in ``base`` beyond what it takes ``unpaced`` goes with the share of time that it idles.
    """
    waking, idle = base.receiver_cpu - unpaced, 1 - base.receiver_cpu / base.seconds if base.seconds else 0.0
    if more <= 0 or waking <= 0 or idle <= 0 or seconds <= 0:
        return base.receiver_cpu + more
    least, all_idle = unpaced + more, waking / idle
    return max(least, (least + all_idle) / (1 + all_idle / seconds))


PARTS = {
    "seconds": "seconds",
    "cpu_seconds_per_gb": "sender_cpu",
    "receiver_cpu_seconds_per_gb": "receiver_cpu",
}
"""What of a transfer a metric is about."""


@dataclass(frozen=True)
class Take:
    """What one turn of rehearsals, with its round's prices, measured of everything that predictions stand on."""

    prices: Mapping[str, Price]
    rehearsed: Mapping[str, Rehearsed]
    """By path."""
    clear: str | None = None
    """The path in clear by plain sendfile, where there is one."""
    round: int = 0
    slowness: float = 1.0
    """So many times as long work took the sender as its price says: how slow it just was."""
    pace: float = 0.0
    """Seconds that the link takes for each byte, at least."""

    def ratio(self, metric: str, baseline: tuple[str, Steps], candidate: tuple[str, Steps], size: int) -> float | None:
        """The ratio baseline / candidate of elapsed ``seconds`` or of a host's CPU; None where not all is known."""
        values, unpaced = [], self.rehearsed[self.clear].at(size) if self.clear else None
        for name, steps in (baseline, candidate):
            if name not in self.rehearsed or not steps.names() <= set(self.prices):
                return None
            clear = spent(steps, self.prices, self.rehearsed[name], size, unpaced, self.slowness, self.pace)
            values.append(getattr(clear, PARTS[metric]))
        return values[0] / values[1] if min(values) > 0 else None


@dataclass(frozen=True)
class Predicted:
    """A ratio that one take predicts, and the round that it was taken in."""

    round: int
    ratio: float


@dataclass(frozen=True)
class Prediction:
    """A predicted ratio, and where its interval begins and ends; None where there was one round."""

    ratio: float
    low: float | None = None
    high: float | None = None


def agrees(verdict: Verdict) -> bool | None:
    """Whether a verdict's prediction fits what was measured: their intervals meet. None where either is missing.

    Of records whose predictions have no interval: whether it lies within the measured one widened by the margin.
    """
    if not (verdict.ceiling and verdict.ci_low and verdict.ci_high):
        return None
    if verdict.ceiling_low and verdict.ceiling_high:
        return verdict.ceiling_low <= verdict.ci_high and verdict.ci_low <= verdict.ceiling_high
    return verdict.ci_low / (1 + verdict.margin) <= verdict.ceiling <= verdict.ci_high * (1 + verdict.margin)
