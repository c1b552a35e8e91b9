"""All comparisons of a run together: one promise for the run, words that fit their intervals, and looks."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from scipy.stats import mstats

from harness.verdicts import stats

RUNS = 1000
MARGIN = 0.03
EDGE = math.log1p(MARGIN)

log_ratios = st.lists(st.floats(-2, 2), max_size=10)
margins = st.floats(0.001, 0.5)


@st.composite
def series(draw: st.DrawFn) -> stats.Series:
    """Log ratios in the hundredths, as blocks have them, or anything."""
    shift, noise = draw(st.floats(-0.2, 0.2)), draw(st.sampled_from([0.001, 0.01, 0.1, 1.0]))
    logs = tuple(round(shift + noise * value, 6) for value in draw(log_ratios))
    return stats.Series(logs, draw(st.integers(1, 4)), draw(st.sampled_from([0.0, 0.002])))


families = st.lists(series(), max_size=8)


def drawn(source: random.Random, truths: Sequence[float], blocks: int, noise: float = 0.02) -> list[stats.Series]:
    """A run in which all candidates share one baseline; ``truths`` are their true log ratios."""
    base = [source.gauss(0, noise) for _ in range(blocks)]
    return [stats.Series(tuple(truth + common + source.gauss(0, noise) for common in base)) for truth in truths]


def wrong(truth: float, verdict: stats.Word) -> bool:
    """Whether a verdict says what is not so."""
    if verdict == "same":
        return abs(truth) >= EDGE
    return (verdict == "faster" and truth <= 0) or (verdict == "slower" and truth >= 0)


def at_most(found: int, probability: float = 0.05) -> bool:
    """Whether so many of RUNS fit a probability of at most this, within four standard errors."""
    return found / RUNS <= probability + 4 * math.sqrt(probability * (1 - probability) / RUNS)


@pytest.mark.parametrize(
    ("name", "truths"),
    [
        ("none differs", [0.0] * 20),
        ("all lie on the margin, where the word same is worst", [EDGE] * 20),
        ("on both margins", [EDGE, -EDGE] * 10),
        ("half differ, by much", [0.0, 0.3] * 10),
        ("half differ, by the margin", [0.0, EDGE] * 10),
        ("all differ, by next to nothing", [1e-9] * 20),
    ],
)
@pytest.mark.parametrize(("noise", "blocks"), [(0.003, 8), (0.02, 8), (0.02, 20)])
def test_of_a_hundred_runs_five_at_most_say_anything_wrong(
    name: str, truths: list[float], noise: float, blocks: int
) -> None:
    source = random.Random(name)
    runs = 0
    for _ in range(RUNS):
        found = stats.family(drawn(source, truths, blocks, noise), MARGIN)
        runs += any(wrong(truth, one.verdict) for truth, one in zip(truths, found, strict=True))
    assert at_most(runs)


def test_without_the_correction_most_runs_would_say_something_wrong() -> None:
    """The simulation can fail: it finds what the correction is for."""
    source = random.Random(3)
    runs = 0
    for _ in range(RUNS):
        alone = [stats.family([one], MARGIN)[0] for one in drawn(source, [0.0] * 20, 8)]
        runs += any(wrong(0.0, one.verdict) for one in alone)
    assert runs > 0.3 * RUNS


@pytest.mark.parametrize(("planned", "blocks"), [(0, 8), (60, 8), (60, 20)])
def test_what_is_called_detectable_in_a_run_is_found_four_times_in_five(planned: int, blocks: int) -> None:
    source = random.Random(planned + blocks)
    noise = 0.05
    alpha = 1 - level(stats.family(drawn(source, [0.0] * 6, blocks, noise), MARGIN, planned)[0])
    effect = stats.detectable(noise / math.sqrt(blocks), _freedom(blocks), alpha)
    assert effect is not None
    found = 0
    for _ in range(RUNS):
        logs = tuple(math.log1p(effect) + source.gauss(0, noise) for _ in range(blocks))
        silent = [stats.Series(tuple(source.gauss(0, 10) for _ in range(blocks))) for _ in range(5)]
        found += stats.family([stats.Series(logs), *silent], MARGIN, planned)[0].verdict == "faster"
    assert abs(found / RUNS - 0.8) < 4 * math.sqrt(0.8 * 0.2 / RUNS)


def _freedom(blocks: int) -> int:
    return blocks - 1 - 3 * (blocks // 10 if blocks >= 15 else 0)


def level(found: stats.Comparison) -> float:
    assert found.level is not None
    return found.level


def claims(found: Sequence[stats.Comparison]) -> int:
    """How many intervals leave 1 out."""
    return sum(bool(one.low and one.high and not one.low <= 1 <= one.high) for one in found)


def p_values(run: Sequence[stats.Series]) -> list[float]:
    """Of the paired t test, by scipy."""
    return [float(scipy_stats.ttest_1samp(one.logs, 0.0).pvalue) for one in run]


@given(st.integers(1, 12), st.integers(3, 12), st.integers())
def test_never_more_is_claimed_than_by_holm_or_without_correction(count: int, blocks: int, seed: int) -> None:
    source = random.Random(seed)
    run = drawn(source, [source.choice([0.0, 0.02, 0.1]) for _ in range(count)], blocks)
    found = stats.family(run, MARGIN)
    values = sorted(p_values(run))
    holm = next((place for place, p in enumerate(values) if p > stats.ALPHA / (count - place)), count)
    bonferroni = sum(p <= stats.ALPHA / count for p in values)
    assert bonferroni <= claims(found) <= holm <= sum(p <= stats.ALPHA for p in values)


@given(families, margins)
def test_the_word_is_what_the_interval_says(run: list[stats.Series], margin: float) -> None:
    for one, found in zip(run, stats.family(run, margin), strict=True):
        assert found.blocks == len(one.logs)
        if found.low is None or found.high is None:
            assert (found.verdict, found.high, found.detectable, found.level) == ("cannot_tell", None, None, None)
            continue
        assert found.ratio is not None
        assert found.low <= found.ratio * (1 + 1e-12)
        assert found.ratio <= found.high * (1 + 1e-12)
        assert found.verdict == stats.word(found.low, found.high, margin)
        assert level(found) >= 1 - stats.ALPHA


@given(families, margins, st.randoms(use_true_random=False))
def test_the_order_of_comparisons_does_not_matter(
    run: list[stats.Series], margin: float, source: random.Random
) -> None:
    places = list(range(len(run)))
    source.shuffle(places)
    plain, mixed = stats.family(run, margin), stats.family([run[place] for place in places], margin)
    assert [plain[place] for place in places] == mixed


@given(families, margins)
def test_swapping_all_sides_turns_all_results_round(run: list[stats.Series], margin: float) -> None:
    back = stats.family([replace(one, logs=tuple(-value for value in one.logs)) for one in run], margin)
    turned = {"faster": "slower", "slower": "faster"}
    for one, other in zip(stats.family(run, margin), back, strict=True):
        assert one.level == other.level
        if one.low and one.high and other.low and other.high:
            assert math.log(one.low) == pytest.approx(-math.log(other.high), rel=1e-9, abs=1e-9)
            if not _on_an_edge(one, margin):
                assert turned.get(one.verdict, one.verdict) == other.verdict


def _on_an_edge(found: stats.Comparison, margin: float) -> bool:
    """An end of the interval so near to a limit that rounding decides."""
    edges = (1.0, 1 + margin, 1 / (1 + margin))
    return any(math.isclose(end, edge, rel_tol=1e-9) for end in (found.low, found.high) if end for edge in edges)


@given(families, series(), margins)
def test_one_comparison_more_makes_no_interval_narrower(
    run: list[stats.Series], more: stats.Series, margin: float
) -> None:
    for one, other in zip(stats.family(run, margin), stats.family([*run, more], margin), strict=False):
        if one.low and other.low and one.high and other.high:
            assert other.low <= one.low
            assert one.high <= other.high


@given(families, margins, st.integers(0, 50))
def test_comparisons_still_to_come_count_like_those_that_are_there(
    run: list[stats.Series], margin: float, more: int
) -> None:
    """What is not there yet cannot be said to differ."""
    silent = [stats.Series((-1.0, 0.0, 1.0))] * more
    known = sum(one.low is not None for one in stats.family(run, margin))
    expected = stats.family([*run, *silent], margin)[: len(run)]
    assert stats.family(run, margin, planned=known + more) == expected


@given(families, margins, st.floats(1.0, 3.0))
def test_a_wider_margin_only_makes_more_the_same(run: list[stats.Series], margin: float, factor: float) -> None:
    for one, other in zip(stats.family(run, margin), stats.family(run, margin * factor), strict=True):
        assert (one.low, one.high) == (other.low, other.high)
        assert other.verdict in (one.verdict, "same")


@given(series(), margins)
def test_a_block_like_the_others_narrows_the_interval(one: stats.Series, margin: float) -> None:
    before = stats.family([one], margin)[0]
    if before.low and before.high:
        mean = math.fsum(one.logs) / len(one.logs)
        after = stats.family([replace(one, logs=(*one.logs, mean))], margin)[0]
        if after.low and after.high:  # values so near to one another that the mean makes them all alike
            assert before.low < after.low
            assert after.high < before.high


def test_an_empty_run_has_no_verdicts() -> None:
    assert stats.family([], MARGIN) == []
    assert stats.family([stats.Series(())], MARGIN)[0].blocks == 0


def test_comparisons_that_say_nothing_do_not_cost_the_others_anything() -> None:
    clear = stats.Series((0.01, 0.02, 0.03, 0.02))
    alone = stats.family([clear], MARGIN)[0]
    assert stats.family([clear, stats.Series(()), stats.Series((0.1, 0.2))], MARGIN)[0] == alone


@pytest.mark.parametrize(
    ("logs", "expected"),
    [
        ([0.01, 0.02, 0.0, -0.01, 0.5, 0.01], (4,)),
        ([0.01, 0.02, 0.0, -0.01, 0.03, 0.01], ()),
        ([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0], (9,)),
        ([0.0] * 6, ()),
        ([0.0, 0.001, 5.0, -5.0], ()),
        ([], ()),
    ],
)
def test_what_lies_far_off_is_marked(logs: list[float], expected: tuple[int, ...]) -> None:
    assert stats.outliers(logs) == expected


@given(st.lists(st.integers(-1000, 1000), max_size=12), st.integers(-1000, 1000), st.sampled_from([-4.0, 0.5, 8.0]))
def test_outliers_depend_on_neither_place_nor_scale(values: list[int], shift: int, scale: float) -> None:
    """Numbers that floats hold exactly, so that only the rule decides."""
    moved = [scale * (value + shift) for value in values]
    assert stats.outliers(moved) == stats.outliers([float(value) for value in values])


@given(st.sampled_from([20, 30, 40]), st.integers())
def test_the_trimmed_mean_and_its_error_are_those_of_scipy(count: int, seed: int) -> None:
    """Where a tenth is a whole number: scipy's error has the share that was meant, not the one that was cut."""
    source = random.Random(seed)
    logs = [source.gauss(0.01, 0.02) * source.choice([1, 1, 20]) for _ in range(count)]
    found = stats.family([stats.Series(tuple(logs))], MARGIN)[0]
    assert found.ratio == pytest.approx(math.exp(scipy_stats.trim_mean(logs, 0.1)))
    if found.low and found.high:
        error = float(mstats.trimmed_stde(logs, limits=(0.1, 0.1), inclusive=(True, True)))
        critical = scipy_stats.t.isf(stats.ALPHA / 2, len(logs) - 1 - 3 * (len(logs) // 10))
        assert math.log(found.high / found.low) / 2 == pytest.approx(critical * error, rel=1e-6)


@pytest.mark.parametrize(("blocks", "hidden"), [(14, True), (15, False), (40, False)])
def test_one_stalled_transfer_does_not_hide_a_difference_from_fifteen_blocks_on(blocks: int, hidden: bool) -> None:
    logs = [0.05 + (0.01 if n % 2 else -0.01) for n in range(blocks - 1)] + [math.log(70)]
    found = stats.family([stats.Series(tuple(logs))], MARGIN)[0]
    assert (found.verdict == "cannot_tell") == hidden
    assert found.blocks == blocks
    assert stats.outliers(logs) == (blocks - 1,)


def test_an_outlier_stays_in_the_ratio() -> None:
    result = stats.family([stats.series([1.0, 1.0, 1.01, 0.99, 1.0, 32.0], [1.0] * 6)], MARGIN)[0]
    assert result.ratio == pytest.approx(32 ** (1 / 6), rel=0.01)
    assert result.blocks == 6


def eager(one: stats.Comparison) -> bool:
    """The worst rule there is: stop as soon as a difference is seen."""
    return one.verdict in ("faster", "slower")


def narrow(one: stats.Comparison) -> bool:
    return bool(one.low and one.high and one.high / one.low < 1.05)


@pytest.mark.parametrize("rule", [eager, narrow])
def test_a_run_may_look_as_often_as_it_planned(rule: Callable[[stats.Comparison], bool]) -> None:
    interim_looks = (6, 12, 24, 40)
    source = random.Random(7)
    runs = 0
    for _ in range(RUNS):
        logs = [source.gauss(0, 0.05) for _ in range(interim_looks[-1])]
        for look in interim_looks:
            found = stats.family([stats.Series(tuple(logs[:look]), len(interim_looks))], MARGIN)[0]
            if rule(found):
                break
        runs += wrong(0.0, found.verdict)
    assert at_most(runs)


def test_looking_without_having_planned_it_finds_what_is_not_there() -> None:
    """The simulation can fail: it finds what the number of interim_looks is for."""
    source = random.Random(8)
    runs = 0
    for _ in range(RUNS):
        logs = [source.gauss(0, 0.05) for _ in range(40)]
        runs += any(eager(stats.family([stats.Series(tuple(logs[:look]))], MARGIN)[0]) for look in range(3, 41))
    assert runs > 0.1 * RUNS
