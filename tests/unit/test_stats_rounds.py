"""Rounds: an interval over several boots holds what boots differ by, whatever that is and however blocks are spread."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from harness.verdicts import stats

RUNS = 1000
MARGIN = 0.03


def drawn(source: random.Random, blocks: Sequence[int], between: float, within: float = 0.02) -> stats.Series:
    """A path against itself: a round of so many blocks for each of ``blocks``, rounds that deviate by ``between``."""
    boots = [source.gauss(0, between) for _ in blocks]
    logs = [boot + source.gauss(0, within) for boot, count in zip(boots, blocks, strict=True) for _ in range(count)]
    return stats.Series(tuple(logs), rounds=numbered(blocks))


def numbered(blocks: Sequence[int]) -> tuple[int, ...]:
    return tuple(chain.from_iterable([number] * count for number, count in enumerate(blocks)))


def at_most(found: int, probability: float) -> bool:
    """Whether so many of RUNS fit a probability of at most this, within four standard errors."""
    return found / RUNS <= probability + 4 * math.sqrt(probability * (1 - probability) / RUNS)


def misses(one: stats.Series, planned: int) -> bool:
    """Whether its interval in a run of ``planned`` comparisons leaves the truth out."""
    found = stats.family([one], MARGIN, planned)[0]
    assert found.low is not None
    assert found.high is not None
    return not found.low <= 1 <= found.high


@pytest.mark.parametrize("between", [0.0, 0.005, 0.02, 0.2])
@pytest.mark.parametrize("blocks", [[3] * 5, [1] * 10, [8, 8, 8, 8, 1], [20, 20, 20, 4, 4, 4]])
def test_an_interval_holds_whatever_lies_between_rounds(blocks: list[int], between: float) -> None:
    source = random.Random(f"{blocks} {between}")
    for planned in (0, 10):
        found = sum(misses(drawn(source, blocks, between), planned) for _ in range(RUNS))
        assert at_most(found, stats.ALPHA / max(1, planned))


def test_blocks_taken_for_rounds_miss_far_too_often() -> None:
    """The simulation can fail: it finds what rounds are for."""
    source = random.Random(1)
    found = 0
    for _ in range(RUNS):
        one = drawn(source, [8] * 5, 0.02)
        found += misses(stats.Series(one.logs), 0)
    assert found > 0.3 * RUNS


@given(st.integers(2, 12), st.integers())
def test_of_one_block_each_it_is_the_t_interval_of_the_rounds(rounds: int, seed: int) -> None:
    source = random.Random(seed)
    one = drawn(source, [1] * rounds, 0.01)
    found = stats.family([one], MARGIN)[0]
    assert (found.rounds, found.between) == (rounds, None)
    if rounds < stats.FEWEST:
        assert found.low is None
        return
    expected = scipy_stats.ttest_1samp(one.logs, 0.0).confidence_interval(0.95)
    assert found.low == pytest.approx(math.exp(expected.low))
    assert found.high == pytest.approx(math.exp(expected.high))


@given(st.lists(st.integers(1, 6), min_size=1, max_size=6), st.floats(0, 0.1), st.integers())
def test_numbers_and_order_of_rounds_do_not_matter(blocks: list[int], between: float, seed: int) -> None:
    source = random.Random(seed)
    one = drawn(source, blocks, between)
    places = list(range(len(one.logs)))
    source.shuffle(places)
    mixed = stats.Series(
        tuple(one.logs[place] for place in places), rounds=tuple(7 * one.rounds[place] + 3 for place in places)
    )
    plain, other = stats.family([one], MARGIN)[0], stats.family([mixed], MARGIN)[0]
    assert (plain.blocks, plain.rounds) == (other.blocks, other.rounds) == (sum(blocks), len(blocks))
    assert plain.ratio == pytest.approx(other.ratio)
    assert plain.between == pytest.approx(other.between, abs=1e-6)
    for end, same in ((plain.low, other.low), (plain.high, other.high)):
        assert (end is None) == (same is None)
        if end is not None and same is not None:
            assert math.log(end) == pytest.approx(math.log(same), rel=1e-6, abs=1e-9)


def test_one_round_is_as_blocks_without_rounds() -> None:
    logs = tuple(random.Random(2).gauss(0, 0.02) for _ in range(20))
    assert stats.family([stats.Series(logs, rounds=(4,) * 20)], MARGIN) == stats.family([stats.Series(logs)], MARGIN)


@pytest.mark.parametrize(("between", "low", "high"), [(0.0, 0.0, 0.35), (0.02, 0.85, 1.0)])
def test_the_share_between_rounds_is_told(between: float, low: float, high: float) -> None:
    """Of the mean's variance: with twenty blocks a round, rounds that differ as blocks do are nearly all of it."""
    source = random.Random(3)
    shares = [stats.family([drawn(source, [20] * 10, between)], MARGIN)[0].between for _ in range(200)]
    assert low <= sum(share or 0.0 for share in shares) / len(shares) <= high


def test_rounds_that_are_all_alike_are_known_by_their_clock_alone() -> None:
    alike = stats.Series((0.0,) * 10, rounds=numbered([2] * 5))
    assert stats.family([alike], MARGIN)[0].low is None
    coarse = stats.Series((0.0,) * 10, grain=0.01, rounds=numbered([2] * 5))
    found = stats.family([coarse], MARGIN)[0]
    assert found.low is not None
    assert math.log(found.low) == pytest.approx(-scipy_stats.t.isf(0.025, 4) * 0.01 / math.sqrt(10))


def test_two_rounds_have_no_interval_and_three_have() -> None:
    two, three = stats.family([drawn(random.Random(4), [10] * count, 0.0) for count in (2, 3)], MARGIN)
    assert (two.verdict, two.low, two.high) == ("cannot_tell", None, None)
    assert two.ratio is not None and three.low is not None


def test_a_few_stalls_in_each_boot_do_not_hide_a_difference() -> None:
    """One block in ten takes seventy times as long on one side; plain means would say nothing."""
    source = random.Random(5)
    logs = [
        0.05 + source.gauss(0, 0.01) + (math.log(70) * (1 if number % 2 else -1) if block == 0 else 0.0)
        for number in range(10)
        for block in range(10)
    ]
    found = stats.family([stats.Series(tuple(logs), rounds=numbered([10] * 10))], MARGIN)[0]
    assert found.verdict == "faster"
    assert found.ratio == pytest.approx(math.exp(0.05), abs=0.02)
    means = [math.fsum(logs[start : start + 10]) / 10 for start in range(0, 100, 10)]
    assert scipy_stats.ttest_1samp(means, 0.0).pvalue > 0.05


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=9))
def test_the_number_of_a_round_is_the_median_of_all_pairs(logs: list[float]) -> None:
    """With a second round of one block at 0 the ratio is half of it."""
    if len(logs) + 1 < stats.FEWEST:
        return
    pairs = sorted((a + b) / 2 for place, a in enumerate(logs) for b in logs[place:])
    middle = (pairs[(len(pairs) - 1) // 2] + pairs[len(pairs) // 2]) / 2
    found = stats.mean(stats.Series((*logs, 0.0), rounds=(*(0 for _ in logs), 1)))
    assert found.mean == pytest.approx(middle / 2, abs=1e-12)
    assert (found.blocks, found.rounds, found.freedom) == (len(logs) + 1, 2, 1)
