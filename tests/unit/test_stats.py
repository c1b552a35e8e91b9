"""Statistics: intervals hold their level, comparisons are fair to both sides, and what is detectable is detected."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.verdicts import stats

TRIALS = 3000
times = st.floats(1e-6, 1e6)
margins = st.floats(0.001, 0.5)


def compare(base: list[float], other: list[float], margin: float) -> stats.Comparison:
    """The only comparison of a run."""
    return stats.family([stats.series(base, other)], margin)[0]


@st.composite
def paired(draw: st.DrawFn, fewest: int = 0) -> tuple[list[float], list[float]]:
    """Two lists of times, of the same length."""
    count = draw(st.integers(fewest, 12))
    lists = st.lists(times, min_size=count, max_size=count)
    return draw(lists), draw(lists)


def simulated(source: random.Random, shift: float, noise: float, blocks: int) -> stats.Comparison:
    """A comparison whose true log ratio is ``shift``; whole blocks are slowed down, which must not matter."""
    base, other = [], []
    for _ in range(blocks):
        slow = math.exp(source.gauss(0, 0.5))
        base.append(slow * math.exp(source.gauss(shift, noise)))
        other.append(slow)
    return compare(base, other, 0.03)


def within(found: int, probability: float) -> bool:
    """Whether so many hits of TRIALS fit this probability, within four standard errors."""
    return abs(found / TRIALS - probability) < 4 * math.sqrt(probability * (1 - probability) / TRIALS)


@pytest.mark.parametrize("blocks", [3, 6, 20])
def test_the_interval_holds_its_level(blocks: int) -> None:
    source = random.Random(blocks)
    truth = math.log(1.1)
    found = 0
    for _ in range(TRIALS):
        result = simulated(source, truth, 0.05, blocks)
        assert result.low is not None
        assert result.high is not None
        found += result.low <= 1.1 <= result.high
    assert within(found, 0.95)


def test_without_a_difference_no_verdict_says_one_more_often_than_five_times_in_a_hundred() -> None:
    source = random.Random(1)
    wrong = sum(simulated(source, 0.0, 0.08, 6).verdict in ("faster", "slower") for _ in range(TRIALS))
    assert wrong / TRIALS < 0.05 + 4 * math.sqrt(0.05 * 0.95 / TRIALS)


@pytest.mark.parametrize("blocks", [4, 6, 12])
@pytest.mark.parametrize("sign", [1, -1])
def test_what_is_called_detectable_is_found_four_times_in_five(blocks: int, sign: int) -> None:
    source = random.Random(10 * blocks + sign)
    noise = 0.05
    effect = stats.detectable(noise / math.sqrt(blocks), blocks - 1)
    assert effect is not None
    found = 0
    for _ in range(TRIALS):
        result = simulated(source, sign * math.log1p(effect), noise, blocks)
        assert result.low is not None
        assert result.high is not None
        found += result.low > 1 if sign > 0 else result.high < 1
    assert within(found, 0.80)


@given(st.floats(1e-4, 1.0), st.integers(2, 200))
def test_more_freedom_or_less_error_find_smaller_effects(error: float, freedom: int) -> None:
    effect = stats.detectable(error, freedom)
    assert effect is not None
    assert effect > 0
    fewer, louder = stats.detectable(error, 2 * freedom), stats.detectable(2 * error, freedom)
    assert fewer is not None
    assert louder is not None
    assert fewer < effect < louder


@given(paired(), margins)
def test_swapping_the_sides_turns_the_result_round(pair: tuple[list[float], list[float]], margin: float) -> None:
    there, back = compare(*pair, margin), compare(pair[1], pair[0], margin)
    mirrored = {"faster": "slower", "slower": "faster"}
    assert mirrored.get(there.verdict, there.verdict) == back.verdict or _on_an_edge(there, margin)
    assert there.blocks == back.blocks
    assert there.detectable == pytest.approx(back.detectable)
    for one, other in ((there.ratio, back.ratio), (there.low, back.high), (there.high, back.low)):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            assert math.log(one) == pytest.approx(-math.log(other), rel=1e-9, abs=1e-9)


def _on_an_edge(result: stats.Comparison, margin: float) -> bool:
    """An end of the interval so near to a limit that rounding decides."""
    ends = [end for end in (result.low, result.high) if end is not None]
    return any(math.isclose(end, edge, rel_tol=1e-9) for end in ends for edge in (1, 1 + margin, 1 / (1 + margin)))


@given(paired(), margins, st.floats(1e-3, 1e3))
def test_units_do_not_matter(pair: tuple[list[float], list[float]], margin: float, scale: float) -> None:
    plain = compare(*pair, margin)
    first, second = ([scale * value for value in side] for side in pair)
    scaled = compare(first, second, margin)
    assert scaled.verdict == plain.verdict or _on_an_edge(plain, margin)
    for field in ("ratio", "low", "high"):
        one, other = getattr(plain, field), getattr(scaled, field)
        assert (one is None) == (other is None)
        if one is not None:
            assert math.log(one) == pytest.approx(math.log(other), rel=1e-9, abs=1e-9)


@given(paired(fewest=3), margins, st.randoms(use_true_random=False))
def test_the_order_of_blocks_does_not_matter(
    pair: tuple[list[float], list[float]], margin: float, source: random.Random
) -> None:
    places = list(range(len(pair[0])))
    source.shuffle(places)
    first, second = ([side[place] for place in places] for side in pair)
    plain, mixed = compare(*pair, margin), compare(first, second, margin)
    assert (mixed.ratio, mixed.verdict) == (plain.ratio, plain.verdict) or _on_an_edge(plain, margin)


@given(paired(), margins)
def test_the_verdict_is_what_the_interval_says(pair: tuple[list[float], list[float]], margin: float) -> None:
    result = compare(*pair, margin)
    if result.low is None or result.high is None:
        assert result.verdict == "cannot_tell"
        logs = {round(math.log(b / c), 9) for b, c in zip(*pair, strict=True)}
        assert result.blocks < stats.FEWEST or len(logs) == 1
        assert result.detectable is None
        return
    assert result.ratio is not None
    assert result.low <= result.ratio * (1 + 1e-12)
    assert result.ratio <= result.high * (1 + 1e-12)
    expected = "cannot_tell"
    if result.low >= 1 / (1 + margin) and result.high <= 1 + margin:
        expected = "same"
    elif result.low > 1:
        expected = "faster"
    elif result.high < 1:
        expected = "slower"
    assert result.verdict == expected


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (0.98, 1.02, "same"),
        (1.01, 1.02, "same"),
        (0.90, 1.02, "cannot_tell"),
        (0.98, 1.04, "cannot_tell"),
        (1.01, 1.04, "faster"),
        (0.90, 0.99, "slower"),
        (0.50, 2.00, "cannot_tell"),
    ],
)
def test_words(low: float, high: float, word: str) -> None:
    assert stats.word(low, high, 0.03) == word


def test_over_one_the_candidate_is_better() -> None:
    result = compare([2.0, 2.02, 1.98, 2.01], [1.0, 1.0, 1.0, 1.0], 0.03)
    assert result.verdict == "faster"
    assert result.ratio == pytest.approx(2.0, rel=0.01)


@pytest.mark.parametrize("ratio", [1.0, 1.1])
def test_nothing_is_known_of_noise_that_was_not_seen(ratio: float) -> None:
    """Equal values come from a coarse clock: one tick more in every block is no proof of anything."""
    result = compare([2.0 * ratio] * 5, [2.0] * 5, 0.03)
    assert result.ratio == pytest.approx(ratio)
    assert (result.low, result.high, result.verdict, result.detectable) == (None, None, "cannot_tell", None)


def test_a_fine_clock_tells_equal_values_apart_from_unknown_ones() -> None:
    ticks, microseconds = (
        stats.family([stats.series([10.0] * 6, [10.0] * 6, steps=[step] * 12)], 0.03)[0] for step in (0.1, 1e-6)
    )
    assert (ticks.ratio, ticks.verdict) == (1.0, "cannot_tell")
    assert (microseconds.ratio, microseconds.verdict) == (1.0, "same")
    assert ticks.detectable is not None
    assert microseconds.detectable is not None
    assert microseconds.detectable < 1e-5 < ticks.detectable


@pytest.mark.parametrize("blocks", [0, 1, 2])
def test_too_few_blocks_give_a_ratio_and_no_interval(blocks: int) -> None:
    result = compare([2.0, 2.1][:blocks], [1.0, 1.0][:blocks], 0.03)
    assert (result.ratio is None) == (blocks == 0)
    assert (result.low, result.high, result.detectable, result.level) == (None, None, None, None)
    assert (result.blocks, result.verdict) == (blocks, "cannot_tell")


def test_three_blocks_are_enough_for_a_great_difference() -> None:
    result = compare([10.0, 10.1, 9.9], [1.0, 1.0, 1.0], 0.03)
    assert (result.blocks, result.verdict) == (3, "faster")


def test_an_interval_too_wide_to_be_a_number_is_none() -> None:
    wild = stats.Series((600.0, -600.0, 600.0, -600.0))
    found = stats.family([wild] * 500, 0.03)[0]
    assert (found.low, found.high, found.verdict) == (None, None, "cannot_tell")
    assert found.ratio == pytest.approx(1.0)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_what_cannot_be_a_time_is_refused(bad: float) -> None:
    for base, other in (([1.0, bad], [1.0, 1.0]), ([1.0, 1.0], [bad, 1.0])):
        with pytest.raises(ValueError, match="positive and finite"):
            compare(base, other, 0.03)


def test_samples_without_a_partner_are_refused() -> None:
    with pytest.raises(ValueError, match="equal numbers"):
        compare([1.0, 2.0], [1.0], 0.03)


def test_a_ratio_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="not a number"):
        compare([1e300, 1.0], [1e-300, 1.0], 0.03)
