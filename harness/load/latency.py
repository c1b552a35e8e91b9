"""Pure: latencies in the generator's buckets (``hosts/onhost/load/latency.c``), and the percentiles that they tell.

Buckets are logarithmic in their size and linear within a power of two: 64 for each, so that none is wider than 1/64 of
what it holds. Histograms of several samples add up, which percentiles do not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

BITS = 6
FEWEST_ABOVE = 100
"""A percentile is told where so many responses were slower: with fewer, the next run would tell another one."""
TOLD = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}
"""The shares of responses at which latencies are told, by name."""


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
