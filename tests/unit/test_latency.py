"""Percentiles of histograms: told where enough lies above them, of several samples together."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from harness.load import latency


def bucket_of(ns: int) -> int:
    """By search: the bucket that holds it."""
    low, high = 0, 4000
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if latency.lowest_ns(middle) <= ns else (low, middle)
    return low


@given(st.integers(0, 2200))
def test_buckets_follow_one_another_and_are_narrow(bucket: int) -> None:
    low, high = latency.lowest_ns(bucket), latency.lowest_ns(bucket + 1)
    assert low < high
    assert high - low <= max(1, low / 64)


@given(st.integers(), st.sampled_from([0.5, 0.6]))
def test_a_percentile_is_that_of_the_values_to_a_bucket(seed: int, share: float) -> None:
    source = random.Random(seed)
    values = [int(10 ** source.uniform(3, 9)) for _ in range(300)]
    histogram = latency.together([{str(bucket_of(ns)): 1} for ns in values])
    told = latency.percentile(histogram, share)
    right = float(np.quantile(values, share, method="inverted_cdf")) / 1e9
    assert told is not None
    assert abs(told - right) <= right / 64


def test_a_percentile_needs_a_hundred_above_it() -> None:
    assert latency.percentile({100: 9_999}, 0.99) is None
    assert latency.percentile({100: 10_000}, 0.99) is not None
    assert latency.told({100: 10_000})["p99.9"] is None
    assert latency.percentile({}, 0.5) is None


def test_histograms_of_several_samples_add_up() -> None:
    assert latency.together([{"5": 1, "7": 2}, {"7": 3}]) == {5: 1, 7: 5}


@given(st.integers(), st.floats(0, 0.3), st.sampled_from([1e-4, 0.01, 1.0]), st.sampled_from(["p50", "p90", "p99"]))
def test_a_latency_that_is_told_is_little_of_the_generators_lateness(
    seed: int, often: float, most: float, name: str
) -> None:
    """Beside what a generator would have seen that is never late: each request's lateness is in what it took."""
    source, share = random.Random(seed), latency.TOLD[name]
    took = [source.expovariate(100) for _ in range(10_000)]
    late = [source.uniform(0, most) if source.random() < often else 0.0 for _ in took]
    seen = latency.together([Counter(str(bucket_of(int((a + b) * 1e9))) for a, b in zip(took, late, strict=True))])
    value = latency.percentile(seen, share)
    assert value is not None
    if latency.doubt(latency.together([Counter(str(bucket_of(int(b * 1e9))) for b in late)]), share, value) is None:
        right = float(np.quantile(took, 1 - 0.9 * (1 - share), method="higher"))
        assert value * (1 - 1 / 32) <= right + max(0.005, value / 10)
