"""Pure statistics of paired blocks: ratios, intervals, verdicts, and what could have been found.

Ratios of times multiply, so they are averaged as logarithms; blocks are paired, so that what slows a whole
block down cancels. Blocks of one boot may be more alike than those of two, so a comparison over several rounds has
one number from each, and its interval is made of these. Neither that number nor the mean of one round alone hangs on
single blocks: a transfer that waited a second for a lost packet would hide everything else. All intervals of a family
share one level, found by a step-down in Holm's manner, so that with 95 % probability no verdict of the whole run is
wrong: neither ``faster`` or ``slower`` where there is no such difference, nor ``same`` where it is larger than the
margin. docs/statistics.md has the proof and what was tried.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations_with_replacement
from typing import Literal

from scipy.special import nctdtr, ndtri, stdtrit

ESTIMATOR = "two-level-1"
"""What is done here, by name. Another name whenever the same samples would get another ratio or interval."""
ALPHA = 0.05
"""How often a run may contain a wrong verdict."""
POWER = 0.80
FEWEST = 3
"""Fewest blocks that an interval is given for; of several rounds, the fewest of these: two hold no number at all."""
TRIMMED = 10
"""One in so many of the log ratios of a single round is left out of the mean at each end,"""
FEWEST_TO_TRIM = 15
"""from so many blocks on: with fewer, leaving one out costs more than it gains."""
STEPS = 2 / 12
"""The variance of a log ratio for each squared step of its clocks, as a fraction of what they measured: a reading is
wrong by up to a step, all errors alike, and there are two in a ratio."""
WIDEST = 700.0
"""Half an interval, as a logarithm, that a float can still express."""
FAR = 5.0
"""A modified z score beyond which a block is shown as an outlier."""
FEWEST_TO_STAND_OUT = 5

Word = Literal["same", "faster", "slower", "cannot_tell"]


@dataclass(frozen=True)
class Series:
    """What is known of one comparison: a log ratio (baseline / candidate) for each block.

    ``interim_looks``: after how many numbers of rounds its blocks might have ended, by whatever rule: looking often
    finds by chance what is not there, so each interval is made for all looks. ``grain``: the
    standard deviation of a log ratio that the clocks' steps alone make; noise is never taken to be less. ``rounds``:
    the boot or deployment that each block was taken in; nothing where all were taken in one.
    """

    logs: tuple[float, ...]
    interim_looks: int = 1
    grain: float = 0.0
    rounds: tuple[int, ...] = ()

    @property
    def by_round(self) -> list[list[float]]:
        """The log ratios of each round."""
        if len(set(self.rounds)) < 2:
            return [list(self.logs)]
        found: dict[int, list[float]] = {}
        for log, number in zip(self.logs, self.rounds or (0,) * len(self.logs), strict=True):
            found.setdefault(number, []).append(log)
        return list(found.values())


@dataclass(frozen=True)
class Comparison:
    """A ratio with its interval. Fields are None where there are too few blocks, or nothing is known of the noise."""

    ratio: float | None
    """baseline / candidate: over 1 the candidate is better."""
    low: float | None
    """Where its interval begins."""
    high: float | None
    """Where its interval ends."""
    blocks: int
    verdict: Word
    detectable: float | None
    """The fraction by which a candidate must differ to be found with 80 % power at this noise, number of blocks and
    level."""
    level: float | None = None
    """The confidence of this interval by itself: higher than 95 %, so that the whole run keeps 95 %."""
    rounds: int = 0
    """How many boots or deployments the blocks were taken in."""
    between: float | None = None
    """The share of the ratio's error (its variance) that lies between rounds, as far as blocks within them tell."""


@dataclass(frozen=True)
class Mean:
    """What the log ratios of a comparison come to."""

    mean: float
    error: float
    """Its standard error,"""
    freedom: int
    """and the degrees of freedom of that."""
    blocks: int
    rounds: int
    """How many boots or deployments it comes from; what differs between them is in the error unless it is one."""
    between: float | None = None
    """The share of the error's variance that lies between rounds; None where that is not known."""

    @property
    def enough(self) -> bool:
        """Whether there are blocks and rounds enough for an interval."""
        return self.blocks >= FEWEST and not 1 < self.rounds < FEWEST

    def half(self, alpha: float) -> float:
        """Half the width of the interval that misses in ``alpha`` of all cases."""
        return _critical(self.freedom, alpha) * self.error


@dataclass(frozen=True)
class _Judged:
    """A mean that says something, and at how many looks."""

    mean: Mean
    interim_looks: int

    def half(self, alpha: float) -> float:
        """Half the interval's width when this comparison may be wrong in ``alpha`` of all runs."""
        return self.mean.half(alpha / self.interim_looks)

    def differs(self, alpha: float) -> bool:
        """Whether the interval leaves 1 out."""
        return abs(self.mean.mean) > self.half(alpha)


def series(
    baseline: Sequence[float],
    candidate: Sequence[float],
    interim_looks: int = 1,
    steps: Sequence[float] = (),
    rounds: Sequence[int] = (),
) -> Series:
    """Log ratios of paired samples (same place: same block). Raises ValueError on what cannot be a time or a ratio.

    ``steps``: for each sample of both sides, the clock's step as a fraction of what it measured. ``rounds``: of each
    block, as in Series.
    """
    if len(baseline) != len(candidate):
        raise ValueError("paired samples come in equal numbers")
    if any(not (value > 0 and math.isfinite(value)) for value in (*baseline, *candidate)):
        raise ValueError("samples are positive and finite")
    grain = math.sqrt(STEPS * math.fsum(step * step for step in steps) / len(steps)) if steps else 0.0
    logs = tuple(math.log(b) - math.log(c) for b, c in zip(baseline, candidate, strict=True))
    if any(abs(value) > WIDEST for value in logs):
        raise ValueError("one sample is so much longer than the other that their ratio is not a number")
    return Series(logs, interim_looks, grain, tuple(rounds))


def family(all_series: Sequence[Series], margin: float, planned: int = 0, alpha: float = ALPHA) -> list[Comparison]:
    """All comparisons of a family, each with its verdict; the order is that of ``all_series`` and changes nothing.

    ``planned``: how many comparisons the family is going to have, where not all of them are here yet. ``alpha``: how
    often it may contain a wrong verdict; a run with one family has all of ALPHA for it.
    """
    all_judged = [_judged(one) for one in all_series]
    each = _common_alpha([judged for judged in all_judged if judged], planned, alpha)
    return [_comparison(one, judged, each, margin) for one, judged in zip(all_series, all_judged, strict=True)]


def _judged(one: Series) -> _Judged | None:
    """None where nothing can be said: too few blocks, or no noise seen and none known from the clock."""
    if not one.logs or not (found := mean(one)).enough:
        return None
    # values that are all alike have a deviation of a few roundings
    return _Judged(found, one.interim_looks) if found.error > 1e-12 * max(1.0, abs(found.mean)) else None


def mean(one: Series) -> Mean:
    """The mean log ratio with its error, from rounds where there are several. Of nothing: raises ValueError."""
    by_round = one.by_round
    return _of_rounds(by_round, one) if len(by_round) > 1 else _of_blocks(one)


def _of_blocks(one: Series) -> Mean:
    """From the blocks of one round, a tenth left out at each end from FEWEST_TO_TRIM on."""
    count = len(one.logs)
    centre, seen = _trimmed(one.logs)
    return Mean(centre, max(seen, one.grain) / math.sqrt(count), count - 1 - 3 * left_out(count), count, 1)


def _of_rounds(by_round: Sequence[Sequence[float]], one: Series) -> Mean:
    """From one number of each round, whatever part of their differences is the blocks' and what the rounds' own.

    Student's t on the numbers of independent groups holds its level for groups of unequal variance, at any level below
    8 % (R. Ibragimov, U. K. Mueller, J. Business & Economic Statistics 28, 2010). So rounds of unequal numbers of
    blocks may weigh alike, and nothing needs to be known of how much rounds differ.
    """
    rounds, count = len(by_round), len(one.logs)
    centres = [_hodges_lehmann(logs) for logs in by_round]
    centre = math.fsum(centres) / rounds
    share = math.fsum(1 / len(logs) for logs in by_round) / rounds**2
    seen = math.fsum((own - centre) ** 2 for own in centres) / (rounds - 1) / rounds
    variance = max(seen, one.grain**2 * share)
    between = None
    if count > rounds and variance:
        rests = [log - own for logs, own in zip(by_round, centres, strict=True) for log in logs]
        within = _trimmed(rests)[1] ** 2 * count / (count - rounds) * share
        between = max(0.0, 1 - within / variance)
    return Mean(centre, math.sqrt(variance), rounds - 1, count, rounds, between)


def _hodges_lehmann(logs: Sequence[float]) -> float:
    """The median of the means of all pairs of values, and of the values (J. L. Hodges, E. L. Lehmann, 1963)."""
    return statistics.median((a + b) / 2 for a, b in combinations_with_replacement(logs, 2))


def _trimmed(logs: Sequence[float]) -> tuple[float, float]:
    """The mean without the cut ends, and the deviation whose count-th part is its variance (squared).

    The error of a trimmed mean comes from the values with each cut end moved to what is left (J. W. Tukey, D. H.
    McLaughlin, Sankhya A 25, 1963), with one degree of freedom less for each cut pair than is usual, which holds high
    levels (docs/statistics.md). Without cut ends all is ordinary. Of nothing: raises ValueError.
    """
    cut, values = left_out(len(logs)), sorted(logs)
    kept = values[cut : len(values) - cut]
    moved = [kept[0]] * cut + kept + [kept[-1]] * cut
    centre = math.fsum(moved) / len(moved)
    squares = math.fsum((value - centre) ** 2 for value in moved)
    share = len(kept) / len(values)
    deviation = math.sqrt(squares / (len(moved) - 1)) / share if len(moved) > 1 else 0.0
    return math.fsum(kept) / len(kept), deviation


def left_out(count: int) -> int:
    """How many log ratios are left out at each end."""
    return count // TRIMMED if count >= FEWEST_TO_TRIM else 0


def _common_alpha(all_judged: Sequence[_Judged], planned: int, allowed: float) -> float:
    """How often each interval may miss, so that with 1 - ``allowed`` no verdict of the family is wrong.

    Of ``total`` comparisons, ``open_`` are not said to differ. One that really differs gets a wrong verdict only where
    its interval misses on the side towards 1 (the wrong direction, or a false ``same``): half of what it may miss.
    One that does not differ can be on both sides. So (open + (total - open) / 2) * alpha may be ``allowed``.
    """
    total = max(planned, len(all_judged))
    open_, alpha = total, allowed
    for _ in range(len(all_judged) + 1):
        alpha = min(ALPHA, 2 * allowed / max(1, total + open_))  # by itself, each interval holds 95 % too
        still = total - sum(judged.differs(alpha) for judged in all_judged)
        if still == open_:
            break
        open_ = still
    return alpha


def _comparison(one: Series, judged: _Judged | None, alpha: float, margin: float) -> Comparison:
    count = len(one.logs)
    if not count:
        return Comparison(None, None, None, 0, "cannot_tell", None)
    found = judged.mean if judged else mean(one)
    half = judged.half(alpha) if judged else math.inf
    if half + abs(found.mean) > WIDEST:
        return Comparison(math.exp(found.mean), None, None, count, "cannot_tell", None, rounds=found.rounds)
    low, high = math.exp(found.mean - half), math.exp(found.mean + half)
    share = alpha / one.interim_looks
    return Comparison(
        ratio=math.exp(found.mean),
        low=low,
        high=high,
        blocks=count,
        verdict=word(low, high, margin),
        detectable=detectable(found.error, found.freedom, share),
        level=1 - share,
        rounds=found.rounds,
        between=found.between,
    )


def word(low: float, high: float, margin: float) -> Word:
    """The verdict for an interval: ``same`` within 1/(1+margin) to 1+margin, else by which side of 1 it is on."""
    if 1 / (1 + margin) <= low and high <= 1 + margin:
        return "same"
    if low > 1:
        return "faster"
    return "slower" if high < 1 else "cannot_tell"


def detectable(error: float, freedom: int, alpha: float = ALPHA) -> float | None:
    """The smallest change, as a fraction, that an interval at ``alpha`` finds with 80 % power; None beyond numbers.

    ``error`` is the standard error of the mean log ratio, ``freedom`` its degrees of freedom.
    """
    shift = _shift(freedom, alpha) * error
    return math.expm1(shift) if shift <= WIDEST else None


def outliers(logs: Sequence[float]) -> tuple[int, ...]:
    """Places of the log ratios that lie far from the others: to be shown, never to be dropped.

    Far is a modified z score over FAR (distance from the median over the median distance, scaled to standard
    deviations), with the mean distance where over half of the values are equal (B. Iglewicz, D. Hoaglin,
    How to Detect and Handle Outliers, 1993). Of fewer than FEWEST_TO_STAND_OUT values none stands out.
    """
    if len(logs) < FEWEST_TO_STAND_OUT:
        return ()
    middle = statistics.median(logs)
    distances = [abs(value - middle) for value in logs]
    usual = statistics.median(distances) / float(ndtri(0.75))
    if usual <= 0:
        usual = math.fsum(distances) / len(distances) * math.sqrt(math.pi / 2)
    return tuple(place for place, distance in enumerate(distances) if distance > FAR * usual)


@cache
def _critical(freedom: int, alpha: float) -> float:
    """Half the width of the interval of a mean, in standard errors, that misses in ``alpha`` of all cases."""
    return -float(stdtrit(freedom, alpha / 2))


@cache
def _shift(freedom: int, alpha: float) -> float:
    """The true mean, in standard errors, that such an interval tells from 0 with POWER."""
    from scipy.optimize import brentq  # here: to import it takes a third of a second, and reports need none

    critical = _critical(freedom, alpha)

    def missing(shift: float) -> float:
        return 1.0 - float(nctdtr(freedom, shift, critical)) - POWER

    return float(brentq(missing, 0.0, 10.0 * critical))
