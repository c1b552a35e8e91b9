"""Pure statistics of paired blocks: ratios, intervals, verdicts, when to stop, and what could have been found.

Ratios of times multiply, so they are averaged as logarithms; blocks are paired, so that what slows a whole
block down cancels. From 15 blocks on the mean leaves out a tenth at each end: a transfer that waited a second for
a lost packet would otherwise hide everything else. All intervals of a run share one level, found by a step-down in
Holm's manner, so that with 95 % probability no verdict of the whole run is wrong: neither ``faster`` or ``slower``
where there is no such difference, nor ``same`` where it is larger than the margin. docs/statistics.md has the proof
and what was tried.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from scipy.special import nctdtr, ndtri, stdtrit

ALPHA = 0.05
"""How often a run may contain a wrong verdict."""
POWER = 0.80
FEWEST = 3
"""Fewest blocks that an interval is given for."""
TRIMMED = 10
"""One in so many of the log ratios is left out of the mean at each end,"""
FEWEST_TO_TRIM = 15
"""from so many blocks on: with fewer, leaving one out costs more than it gains."""
WIDEST = 700.0
"""Half an interval, as a logarithm, that a float can still express."""
FAR = 5.0
"""A modified z score beyond which a block is shown as an outlier."""
FEWEST_TO_STAND_OUT = 5

Word = Literal["same", "faster", "slower", "cannot_tell"]


@dataclass(frozen=True)
class Series:
    """What is known of one comparison: a log ratio (baseline / candidate) for each block.

    ``looks``: at how many numbers of blocks its campaign might have stopped, by whatever rule. ``grain``: the standard
    deviation of a log ratio that the clocks' steps alone make; noise is never taken to be less.
    """

    logs: tuple[float, ...]
    looks: int = 1
    grain: float = 0.0


@dataclass(frozen=True)
class Comparison:
    """``ratio`` is baseline / candidate (over 1: the candidate is better) with its interval, ``low`` to ``high``.

    ``detectable`` is the fraction by which a candidate must differ to be found with 80 % power at this noise,
    number of blocks and level. ``level`` is the confidence of this interval by itself: higher than 95 %, so that
    the whole run keeps 95 %. Fields are None where there are too few blocks to tell, or nothing is known of the noise.
    """

    ratio: float | None
    low: float | None
    high: float | None
    blocks: int
    verdict: Word
    detectable: float | None
    level: float | None = None


@dataclass(frozen=True)
class _Mean:
    """Mean of a comparison's log ratios, and the deviation of one that gives its error. ``looks`` as in Series."""

    mean: float
    deviation: float
    count: int
    looks: int

    def half(self, alpha: float) -> float:
        """Half the interval's width when this comparison may be wrong in ``alpha`` of all runs."""
        return _critical(_freedom(self.count), alpha / self.looks) * self.deviation / math.sqrt(self.count)

    def differs(self, alpha: float) -> bool:
        """Whether the interval leaves 1 out."""
        return abs(self.mean) > self.half(alpha)


def series(
    baseline: Sequence[float], candidate: Sequence[float], looks: int = 1, steps: Sequence[float] = ()
) -> Series:
    """Log ratios of paired samples (same place: same block). Raises ValueError on what cannot be a time or a ratio.

    ``steps``: for each sample of both sides, the clock's step as a fraction of what it measured.
    """
    if len(baseline) != len(candidate):
        raise ValueError("paired samples come in equal numbers")
    if any(not (value > 0 and math.isfinite(value)) for value in (*baseline, *candidate)):
        raise ValueError("samples are positive and finite")
    # a reading is wrong by up to a step, all errors alike: variance 1/12; two readings in a ratio
    grain = math.sqrt(math.fsum(step * step for step in steps) / len(steps) / 6) if steps else 0.0
    logs = tuple(math.log(b) - math.log(c) for b, c in zip(baseline, candidate, strict=True))
    if any(abs(value) > WIDEST for value in logs):
        raise ValueError("one sample is so much longer than the other that their ratio is not a number")
    return Series(logs, looks, grain)


def compare(baseline: Sequence[float], candidate: Sequence[float], margin: float) -> Comparison:
    """The only comparison of a run. Raises ValueError as ``series``."""
    return family([series(baseline, candidate)], margin)[0]


def family(all_series: Sequence[Series], margin: float, planned: int = 0) -> list[Comparison]:
    """All comparisons of a run, each with its verdict; the order is that of ``all_series`` and changes nothing.

    ``planned``: how many comparisons the run is going to make, where not all of them are here yet.
    """
    means = [_mean(one) for one in all_series]
    alpha = _common_alpha([mean for mean in means if mean], planned)
    return [_judged(one, mean, alpha, margin) for one, mean in zip(all_series, means, strict=True)]


def _mean(one: Series) -> _Mean | None:
    """None where nothing can be said: too few blocks, or no noise seen and none known from the clock."""
    count = len(one.logs)
    if count < FEWEST:
        return None
    mean, seen = _centre(one.logs)
    deviation = max(seen, one.grain)
    # values that are all alike have a deviation of a few roundings
    return _Mean(mean, deviation, count, one.looks) if deviation > 1e-12 * max(1.0, abs(mean)) else None


def _centre(logs: Sequence[float]) -> tuple[float, float]:
    """The mean without the cut ends, and the deviation whose count-th part is its variance (squared).

    The error of a trimmed mean comes from the values with each cut end moved to what is left (J. W. Tukey, D. H.
    McLaughlin, Sankhya A 25, 1963). Without cut ends both are the ordinary ones. Of nothing: raises ValueError.
    """
    cut, values = _cut(len(logs)), sorted(logs)
    kept = values[cut : len(values) - cut]
    moved = [kept[0]] * cut + kept + [kept[-1]] * cut
    centre = math.fsum(moved) / len(moved)
    squares = math.fsum((value - centre) ** 2 for value in moved)
    share = len(kept) / len(values)
    deviation = math.sqrt(squares / (len(moved) - 1)) / share if len(moved) > 1 else 0.0
    return math.fsum(kept) / len(kept), deviation


def _cut(count: int) -> int:
    """How many log ratios are left out at each end."""
    return count // TRIMMED if count >= FEWEST_TO_TRIM else 0


def _freedom(count: int) -> int:
    """Degrees of freedom; one less for each cut pair than is usual, which holds high levels (docs/statistics.md)."""
    return count - 1 - 3 * _cut(count)


def _common_alpha(means: Sequence[_Mean], planned: int) -> float:
    """How often each interval may miss, so that with 1 - ALPHA no verdict of the run is wrong.

    Of ``total`` comparisons, ``open_`` are not said to differ. One that really differs can be judged wrongly only where
    its interval misses on the side towards 1 (the wrong direction, or a false ``same``): half of what it may miss.
    One that does not differ can be on both sides. So (open + (total - open) / 2) * alpha may be ALPHA.
    """
    total = max(planned, len(means))
    open_, alpha = total, ALPHA
    for _ in range(len(means) + 1):
        alpha = min(ALPHA, 2 * ALPHA / max(1, total + open_))  # by itself, each interval holds 95 % too
        still = total - sum(mean.differs(alpha) for mean in means)
        if still == open_:
            break
        open_ = still
    return alpha


def _judged(one: Series, mean: _Mean | None, alpha: float, margin: float) -> Comparison:
    count = len(one.logs)
    if not count:
        return Comparison(None, None, None, 0, "cannot_tell", None)
    ratio = math.exp(_centre(one.logs)[0])
    half = mean.half(alpha) if mean else math.inf
    if mean is None or half + abs(mean.mean) > WIDEST:
        return Comparison(ratio, None, None, count, "cannot_tell", None)
    low, high = math.exp(mean.mean - half), math.exp(mean.mean + half)
    share = alpha / one.looks
    return Comparison(
        ratio=ratio,
        low=low,
        high=high,
        blocks=count,
        verdict=word(low, high, margin),
        detectable=detectable(mean.deviation, count, share),
        level=1 - share,
    )


def word(low: float, high: float, margin: float) -> Word:
    """The verdict for an interval: ``same`` within 1/(1+margin) to 1+margin, else by which side of 1 it is on."""
    if 1 / (1 + margin) <= low and high <= 1 + margin:
        return "same"
    if low > 1:
        return "faster"
    return "slower" if high < 1 else "cannot_tell"


def detectable(deviation: float, count: int, alpha: float = ALPHA) -> float | None:
    """The smallest change, as a fraction, that an interval at ``alpha`` finds with 80 % power.

    ``deviation`` is the standard deviation of the log ratios of ``count`` blocks. None where samples do not
    vary at all: then nothing is known of the noise.
    """
    if deviation <= 0 or count < FEWEST:
        return None
    shift = _shift(_freedom(count), alpha) * deviation / math.sqrt(count)
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


@dataclass(frozen=True)
class Stopping:
    """When a campaign stops taking blocks of one size: after the first of ``looks`` (counted blocks) at which it has
    seen enough. ``design``: blocks of a whole Williams design. ``precision``: half an interval that is narrow
    enough, as a fraction.

    Looking often finds by chance what is not there: each interval is made for len(looks) looks, give this number
    to ``Series.looks``. Then whatever is looked at may decide, the ratio too.
    """

    looks: tuple[int, ...]
    design: int
    precision: float

    def __len__(self) -> int:
        """The number of looks."""
        return len(self.looks)

    def blocks(
        self, done: int, found: Sequence[Comparison], seconds_per_block: float, seconds_left: float
    ) -> int | None:
        """How many counted blocks to go on to, None to stop.

        ``found``: the comparisons after ``done`` blocks, by ``family`` with all that the run plans. Where the time left
        does not last to the next look, as many whole designs as it lasts for: that end was not chosen by what was seen.
        """
        following = next((look for look in self.looks if look > done), None)
        if following is None or (done in self.looks and all(_enough(one, self.precision) for one in found)):
            return None
        if (following - done) * seconds_per_block <= seconds_left:
            return following
        whole = int(max(0.0, seconds_left) / seconds_per_block) // self.design * self.design
        return done + whole if whole else None


def stopping(fewest: int, most: int, design: int, precision: float) -> Stopping:
    """Looks from ``fewest`` counted blocks on, each at twice the blocks of the one before, and at ``most``.

    All at whole designs, where one fits: ``fewest`` is rounded up, ``most`` down. Equal numbers are taken as they
    are: then there is one look, at the end. Raises ValueError on numbers that make no sense.
    """
    if not 1 <= fewest <= most or design < 1 or precision <= 0:
        raise ValueError(f"cannot stop between {fewest} and {most} blocks of a design of {design} at ±{precision}")
    first, last = -(-fewest // design) * design, most // design * design
    if fewest == most or first >= last:
        return Stopping((most,), design, precision)
    looks = [first]
    while looks[-1] * 2 < last:
        looks.append(looks[-1] * 2)
    return Stopping((*looks, last), design, precision)


def _enough(found: Comparison, precision: float) -> bool:
    """Whether more blocks of this comparison are not worth their time: decided, narrow, or none can be compared."""
    if not found.blocks or found.verdict != "cannot_tell":
        return True
    if found.low is None or found.high is None:
        return False
    return (math.log(found.high) - math.log(found.low)) / 2 <= math.log1p(precision)


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
