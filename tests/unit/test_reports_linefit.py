"""The line t = a + b n through times by buffer size, and where two lines cross."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.verdicts import linefit
from harness.verdicts.linefit import Block, Line

SIZES = (16, 64, 256, 1024, 8192, 65536)
calls = st.floats(1e-8, 1e-3)
bytes_ = st.floats(1e-12, 1e-6)
sizes = st.lists(st.integers(1, 1 << 20), min_size=2, max_size=12, unique=True)
times = st.dictionaries(st.integers(1, 1 << 20), st.floats(1e-8, 1.0), min_size=2, max_size=12)


def error(line: Line, sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """The sum of squared relative errors, which the fit makes small."""
    return math.fsum((line.seconds(n) / t - 1) ** 2 for n, t in zip(sizes, seconds, strict=True))


class TestFit:
    @given(calls, bytes_, sizes)
    def test_a_line_is_found_again(self, call: float, byte: float, at: list[int]) -> None:
        true = Line(call, byte)
        found = linefit.fit(at, [true.seconds(n) for n in at])
        assert [found.seconds(n) for n in at] == pytest.approx([true.seconds(n) for n in at], rel=1e-7)

    @given(times, st.floats(-0.5, 0.5), st.floats(-0.5, 0.5))
    def test_no_other_line_is_closer(self, given_: dict[int, float], more: float, longer: float) -> None:
        at, seconds = list(given_), list(given_.values())
        best = linefit.fit(at, seconds)
        assert best.call_seconds >= 0 and best.byte_seconds >= 0
        scale = max(seconds)
        others = [
            Line(best.call_seconds * (1 + more), best.byte_seconds * (1 + longer)),
            Line(max(0.0, best.call_seconds + more * scale), best.byte_seconds),
            Line(best.call_seconds, max(0.0, best.byte_seconds + longer * scale / max(at))),
        ]
        assert all(error(best, at, seconds) <= error(other, at, seconds) * (1 + 1e-6) + 1e-9 for other in others)

    @given(times, st.floats(1e-3, 1e3), st.integers(1, 64))
    def test_units_do_not_matter(self, given_: dict[int, float], clock: float, unit: int) -> None:
        at, seconds = list(given_), list(given_.values())
        once = linefit.fit(at, seconds)
        other = linefit.fit([n * unit for n in at], [t * clock for t in seconds])
        scale = max(once.seconds(n) for n in at)
        assert other.call_seconds / clock == pytest.approx(once.call_seconds, rel=1e-6, abs=1e-9 * scale)
        assert other.byte_seconds / clock * unit == pytest.approx(once.byte_seconds, rel=1e-6, abs=1e-9 * scale)

    def test_relative_errors_weigh_alike(self) -> None:
        """An absolute fit would lose 16 bytes' 2 µs against 64 KiB's 4 ms; a relative one puts both right."""
        true = Line(1.5e-6, 6e-8)
        noisy = [true.seconds(n) * (1.02 if i % 2 else 0.98) for i, n in enumerate(SIZES)]
        found = linefit.fit(SIZES, noisy)
        assert found.call_seconds == pytest.approx(true.call_seconds, rel=0.05)
        assert found.byte_seconds == pytest.approx(true.byte_seconds, rel=0.05)

    @pytest.mark.parametrize(
        ("at", "seconds"),
        [([16], [1e-6]), ([16, 16], [1e-6, 1e-6]), ([16, 32], [1e-6]), ([16, 32], [0.0, 1e-6]), ([0, 32], [1e-6, 1e-6]),
         ([16, 32], [math.nan, 1e-6]), ([16, 32], [math.inf, 1e-6])],
    )  # fmt: skip
    def test_what_has_no_line_is_refused(self, at: list[float], seconds: list[float]) -> None:
        with pytest.raises(ValueError, match="sizes"):
            linefit.fit(at, seconds)


def blocks(line: Line, count: int, noise: float = 0.0, seed: int = 1) -> dict[Block, dict[float, float]]:
    """Times of a line in several blocks, each a little off as a whole."""
    rng = random.Random(seed)
    factors = [math.exp(rng.gauss(0, noise)) for _ in range(count)]
    return {(0, place): {n: line.seconds(n) * factor for n in SIZES} for place, factor in enumerate(factors)}


class TestModel:
    def test_intervals_are_over_blocks(self) -> None:
        found = linefit.model({(0, 1): {10: 2.0, 20: 3.0}, (0, 2): {10: 3.0, 20: 5.0}, (0, 3): {10: 4.0, 20: 7.0}})
        assert found is not None
        assert found.call_seconds.mean == pytest.approx(1.0)
        assert found.byte_seconds.mean == pytest.approx(0.2)
        half = 4.3027 * 0.1 / math.sqrt(3)
        assert found.byte_seconds.high == pytest.approx(0.2 + half, rel=1e-4)
        assert found.byte_seconds.low == 0, "a cost is never below zero"
        assert found.bits_per_second is not None
        assert found.bits_per_second.mean == pytest.approx(40)
        assert found.bits_per_second.low == pytest.approx(8 / (0.2 + half), rel=1e-4)
        assert found.bits_per_second.high is None, "no upper limit where a byte may cost nothing"
        assert (found.sizes, found.blocks) == (2, 3)
        assert found.residual is None and found.describes is None, "any line fits two sizes"

    @given(calls, bytes_, st.integers(3, 12), st.floats(0, 0.1), st.integers(0, 99))
    def test_the_interval_holds_the_mean(self, call: float, byte: float, count: int, noise: float, seed: int) -> None:
        found = linefit.model(blocks(Line(call, byte), count, noise, seed))
        assert found is not None
        for one in (found.call_seconds, found.byte_seconds):
            assert one.low is not None and one.high is not None
            assert 0 <= one.low <= one.mean * (1 + 1e-9) <= one.high * (1 + 1e-8)

    def test_blocks_of_one_boot_are_no_more_than_one_number(self) -> None:
        costs = {(boot, place): call for boot, call in enumerate((1e-6, 2e-6, 3e-6)) for place in range(9)}
        found = linefit.estimate(costs)
        assert found.mean == pytest.approx(2e-6)
        assert found.high == pytest.approx(2e-6 + 4.3027e-6 / math.sqrt(3), rel=1e-4), "of three numbers"
        two = linefit.estimate({block: call for block, call in costs.items() if block[0] < 2})
        assert two.mean == pytest.approx(1.5e-6) and two.low is None and two.high is None, "two boots tell no error"

    def test_a_curve_is_no_line(self) -> None:
        straight = linefit.model(blocks(Line(1e-6, 1e-8), 4, 0.02))
        bent = linefit.model({(0, b): {n: 1e-6 + 1e-9 * n + 4e-7 * math.sqrt(n) for n in SIZES} for b in range(4)})
        assert straight and straight.describes and straight.residual is not None and straight.residual < 1e-6
        assert bent and bent.describes is False and bent.residual is not None and bent.residual > 0.2

    def test_bytes_for_nothing_have_no_asymptote(self) -> None:
        found = linefit.model({(0, 1): {16: 2e-6, 1024: 2e-6, 65536: 1.9e-6}})
        assert found and found.byte_seconds.mean == 0 and found.bits_per_second is None

    def test_too_little_to_say(self) -> None:
        assert linefit.model({}) is None
        assert linefit.model({(0, 1): {16: 1e-6}, (0, 2): {}}) is None
        one = linefit.model({(0, 1): {16: 1e-6, 32: 1.5e-6}, (0, 2): {16: 1e-6}})
        assert one and one.blocks == 1 and one.call_seconds.low is None


def lines(*some: tuple[float, float]) -> dict[Block, Line]:
    return {(0, place): Line(call, byte) for place, (call, byte) in enumerate(some)}


class TestCrossover:
    @given(calls, bytes_, calls, bytes_, st.integers(1, 8))
    def test_both_cost_the_same_there(self, a: float, b: float, c: float, d: float, count: int) -> None:
        first, second = Line(a, b), Line(c, d)
        found = linefit.crossover(lines(*[(a, b)] * count), lines(*[(c, d)] * count))
        back = linefit.crossover(lines(*[(c, d)] * count), lines(*[(a, b)] * count))
        assert (found is None) == (back is None)
        if found is None or back is None:
            assert all((first.seconds(n) < second.seconds(n)) == (a + b < c + d) for n in (2, 1024, 1 << 39)) or (
                (a - c) * (d - b) <= 0 or not 1 < (c - a) / (b - d) < 2**40
            )
            return
        assert first.seconds(found.size) == pytest.approx(second.seconds(found.size), rel=1e-6)
        assert found.first_below == (a < c) != back.first_below
        assert found.size == pytest.approx(back.size, rel=1e-9)
        assert (found.low is None) == (count < 3)

    @given(st.lists(st.tuples(calls, bytes_, st.floats(1.01, 99), st.floats(1.01, 99)), min_size=3, max_size=8))
    def test_the_interval_holds_the_size(self, some: list[tuple[float, float, float, float]]) -> None:
        first = lines(*((call, byte) for call, byte, _, _ in some))
        second = lines(*((call * dearer, byte / cheaper) for call, byte, dearer, cheaper in some))
        found = linefit.crossover(first, second)
        if found is not None and found.low is not None and found.high is not None:
            assert found.low <= found.size * (1 + 1e-9) and found.size <= found.high * (1 + 1e-9)
            sizes = [(s.call_seconds - f.call_seconds) / (f.byte_seconds - s.byte_seconds)
                     for f, s in zip(first.values(), second.values(), strict=True)]  # fmt: skip
            assert min(sizes) * (1 - 1e-6) <= found.size <= max(sizes) * (1 + 1e-6)

    def test_a_card_wins_on_large_buffers(self) -> None:
        software, card = [(1e-6, 4e-8)] * 3, [(40e-6, 1e-9), (42e-6, 1e-9), (38e-6, 1e-9)]
        found = linefit.crossover(lines(*software), lines(*card))
        assert found and found.first_below and found.size == pytest.approx(1000, rel=0.01)
        assert found.low and found.high and 800 < found.low < 1000 < found.high < 1200

    def test_never(self) -> None:
        assert linefit.crossover(lines((1e-6, 1e-9)), lines((2e-6, 2e-9))) is None
        assert linefit.crossover(lines((1e-6, 1e-9)), lines((1e-6, 1e-9))) is None
        assert linefit.crossover({(0, 1): Line(1e-6, 2e-9)}, {(0, 2): Line(2e-6, 1e-9)}) is None, "no block in common"

    def test_no_interval_where_a_block_does_not_cross(self) -> None:
        found = linefit.crossover(lines((1, 2), (1, 2), (1, 2)), lines((9, 1), (9, 1), (9, 2.1)))
        assert found and found.low is None and found.blocks == 3
