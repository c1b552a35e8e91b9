"""Pure: latencies in the generator's buckets (``hosts/onhost/load/latency.c``), and the percentiles that they tell.

Buckets are logarithmic in their size and linear within a power of two: 64 for each, so that none is wider than 1/64 of
what it holds. Histograms of several samples add up, which percentiles do not.

An open loop's latencies count from when requests were to start, so what the generator itself was late is in them. A
percentile is told only where that decides little: a p99 is no more than 5 ms, or a tenth of itself, above the p99.1 of
a generator that is never late.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.samples import Load

BITS = 6
FEWEST_ABOVE = 100
"""A percentile is told where so many responses were slower: with fewer, the next run would tell another one."""
TOLD = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}
"""The shares of responses at which latencies are told, by name."""
LATE_SECONDS = 0.005
"""A request that started later than this, and than LATE_SHARE of a latency, though a connection was free, is late."""
LATE_SHARE = 0.1
"""The most requests that may be late, as a share of those that a percentile leaves above it."""


@dataclass(frozen=True)
class Percentiles:
    """Latencies of a cell's samples together, in seconds by name (``p50``, …)."""

    seconds: dict[str, float | None]
    """None where too few were slower to tell, or the generator itself may be what was late."""
    doubts: dict[str, str]
    """Why, of those that the generator's lateness may have made."""


def lowest_ns(bucket: int) -> int:
    """The shortest latency that a bucket holds, in nanoseconds."""
    power, place = divmod(bucket, 1 << BITS)
    return place if power == 0 else ((1 << BITS) + place) << (power - 1)


def middle_seconds(bucket: int) -> float:
    """What a bucket stands for: the middle of what it holds."""
    return (lowest_ns(bucket) + lowest_ns(bucket + 1)) / 2e9


def together(histograms: Iterable[Mapping[str, int]]) -> Counter[int]:
    """One histogram of several, as records have them: counts by bucket."""
    found: Counter[int] = Counter()
    for histogram in histograms:
        found.update({int(bucket): count for bucket, count in histogram.items()})
    return found


def percentile(histogram: Mapping[int, int], share: float) -> float | None:
    """The seconds within which this share of responses came; None where fewer than FEWEST_ABOVE took longer.

    It is exact to the width of a bucket.
    """
    total = sum(histogram.values())
    if total * (1 - share) < FEWEST_ABOVE:
        return None
    passed = 0
    for bucket in sorted(histogram):
        passed += histogram[bucket]
        if passed >= share * total:
            return middle_seconds(bucket)
    return None


def told(histogram: Mapping[int, int]) -> dict[str, float | None]:
    """The percentiles in seconds by name, of those that have to be told."""
    return {name: percentile(histogram, share) for name, share in TOLD.items()}


def of(loads: Sequence[Load]) -> Percentiles:
    """The latencies of samples of one cell together."""
    found, late = told(together(load.latency for load in loads)), together(load.late for load in loads)
    known = {name: value for name, value in found.items() if value is not None}
    doubts = {name: why for name, value in known.items() if (why := doubt(late, TOLD[name], value))}
    return Percentiles({name: None if name in doubts else value for name, value in found.items()}, doubts)


def doubt(late: Mapping[int, int], share: float, seconds: float) -> str | None:
    """Why these seconds, within which this share of an open loop's responses came, may be the generator's lateness, or
    None. A closed loop has no schedule: nothing is late."""
    limit, total = max(LATE_SECONDS, LATE_SHARE * seconds), sum(late.values())
    slow = sum(count for bucket, count in late.items() if middle_seconds(bucket) > limit)
    if slow <= LATE_SHARE * (1 - share) * total:
        return None
    return f"{slow} of {total} requests started over {limit * 1e3:.3g} ms late"
