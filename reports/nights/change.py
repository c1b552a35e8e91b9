"""Where a series of nights changed its level, decided so that false alarms stay rare.

The library proposes: the best way to cut the series into levels (least squares, each cut at a price: the PELT search
of ``ruptures``). A t test decides on each cut, on the variance within all levels of the series, never taken smaller
than what the runs' own blocks showed. Its p value is multiplied by the number of places where a cut could have been,
so that a series without any change is cut with a probability of at most ``alpha``, whatever its length.

Nights that follow each other may resemble each other, which makes runs of high or low nights without a change. One
series is too short to tell how much, and least so where such a run was taken for a change; so it is estimated over all
series that were measured together, and a series' own estimate counts only where it is larger.

A night that stands out is no change: at least four nights and more than half of each side must lie on their own side
of the middle between the two levels. Differences below ``SMALLEST`` are never a change.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtr

Values = NDArray[np.float64]

SHORTEST = 4
"""Nights on either side of a change, at least."""
FEWEST = 25
"""Nights of a series below which nothing is said: in fewer, chance makes steps that look like a change."""
OUTLYING = 5.0
"""A night stands out if it is this many standard deviations from the median of five."""
SMALLEST = 0.01
"""The smallest change worth telling, as a fraction."""


@dataclass(frozen=True)
class Change:
    """A change of level. ``place``: index of the first night after it. Levels are means of log ratios.

    ``p``: the chance that a series without a change is cut, already multiplied by the places tried.
    """

    place: int
    before: float
    after: float
    p: float

    @property
    def factor(self) -> float:
        """New level over old level, as ratios: below 1 the path lost against its baseline."""
        return math.exp(max(-700.0, min(700.0, self.after - self.before)))


@dataclass(frozen=True, eq=False)
class Course:
    """A series of log ratios, night by night.

    ``errors``: the standard error of each within its night. ``known``: places of changes that were found before; they
    stay where they are.
    """

    values: Values
    errors: Values
    known: Sequence[int] = ()


@dataclass(frozen=True, eq=False)
class _Proposal:
    """A course as it is tested: values ``tamed``, places that are fixed, those proposed, the blocks' own variance."""

    values: Values
    fixed: Sequence[int]
    cuts: Sequence[int]
    floor: float


def find(courses: Sequence[Course], alpha: float) -> list[list[Change]]:
    """New changes of each of the series, by place. The series are of the same runs; ``alpha`` is the level of each."""
    proposals = [_propose(course, alpha, *steady) for course, steady in zip(courses, _all_tamed(courses), strict=True)]
    lag = _shared_lag(proposals, [one.cuts for one in proposals])
    found = [_decided(proposal, alpha, lag) for proposal in proposals]
    lag = max(lag, _shared_lag(proposals, [[one.place for one in some] for some in found]))
    return [_decided(proposal, alpha, lag) for proposal in proposals]


def _all_tamed(courses: Sequence[Course]) -> list[tuple[Values, float]]:
    """The courses ``tamed``, those of one length together; as they are where they are too short to be tested."""
    found = [(course.values, 0.0) for course in courses]
    lengths: dict[int, list[int]] = {}
    for n, course in enumerate(courses):
        lengths.setdefault(len(course.values), []).append(n)
    for length, mine in lengths.items():
        if length >= FEWEST:
            steady, scales = tamed(np.stack([courses[n].values for n in mine]))
            for n, values, scale in zip(mine, steady, scales, strict=True):
                found[n] = values, float(scale)
    return found


def _propose(course: Course, alpha: float, steady: Values, scale: float) -> _Proposal:
    count = len(course.values)
    if count < FEWEST:
        return _Proposal(course.values, (), (), 0.0)
    floor = float(np.mean(np.square(course.errors)))
    scale = max(scale, math.sqrt(floor))
    fixed = sorted({0, count, *(place for place in course.known if 0 < place < count)})
    price = float(ndtri(alpha / (2 * count))) ** 2
    cuts = [
        low + place
        for low, high in itertools.pairwise(fixed)
        if high - low >= 2 * SHORTEST and scale > 0
        for place in _proposed(steady[low:high] / scale, price)
    ]
    return _Proposal(steady, fixed, cuts, floor)


def _decided(proposal: _Proposal, alpha: float, lag: float) -> list[Change]:
    cuts = list(proposal.cuts)
    while cuts:  # bounded: each turn accepts all or takes one away
        tested = _tested(proposal.values, sorted([*proposal.fixed, *cuts]), cuts, proposal.floor, lag)
        worst = max(tested, key=lambda change: change.p)
        if worst.p <= alpha:
            return tested
        cuts.remove(worst.place)
    return []


def tamed(values: Values) -> tuple[Values, Values]:
    """Series with nights that stand out from their neighbours brought nearer, and the deviation of a usual night.

    A lasting change stays as it is. ``values``: nights along the last axis, which the deviations lack.
    """
    usual = _median_of_five(np.pad(values, [(0, 0)] * (values.ndim - 1) + [(2, 2)], mode="reflect"))
    scale = 1.4826 * np.median(np.abs(values - usual), axis=-1)
    most = OUTLYING * scale[..., np.newaxis]
    return usual + np.clip(values - usual, -most, most), scale


def _median_of_five(padded: Values) -> Values:
    """Of each night and two on either side, by comparisons alone: of five, the least and the greatest fall out of two
    pairs, and the median of what is left is that of all."""
    a, b, c, d, e = (padded[..., n : padded.shape[-1] - 4 + n] for n in range(5))
    low = np.maximum(np.minimum(a, b), np.minimum(c, d))
    high = np.minimum(np.maximum(a, b), np.maximum(c, d))
    return np.maximum(np.minimum(low, high), np.minimum(np.maximum(low, high), e))


def _proposed(stretch: Values, price: float) -> list[int]:
    """Where the library would cut a stretch whose nights deviate by about 1."""
    from ruptures import KernelCPD  # loads half of SciPy

    ends = KernelCPD(kernel="linear", min_size=SHORTEST).fit(stretch).predict(pen=price)
    return [int(end) for end in ends[:-1]]


def _tested(values: Values, bounds: Sequence[int], cuts: Sequence[int], floor: float, lag: float) -> list[Change]:
    """The cuts with their p values; 1 for those that are no change whatever the test says."""
    rests = _rests(values, bounds)
    squares = sum(float(rest @ rest) for rest in rests)
    freedom = max(1, len(values) - len(rests))
    variance = max(squares / freedom, floor) * _drift(max(lag, _lag(rests)))
    found = []
    for low, place, high in zip(bounds, bounds[1:], bounds[2:], strict=False):
        if place not in cuts:
            continue
        left, right = values[low:place], values[place:high]
        difference = float(right.mean() - left.mean())
        p = 1.0
        if abs(difference) >= math.log1p(SMALLEST) and _lasting(left, right):
            error = math.sqrt(variance * (1 / len(left) + 1 / len(right)))
            p = min(1.0, 2 * float(stdtr(freedom, -abs(difference) / error)) * len(values)) if error else 0.0
        found.append(Change(place, float(left.mean()), float(right.mean()), p))
    return found


def _lasting(left: Values, right: Values) -> bool:
    """Whether both levels are those of most of their nights, and not of one or two that stand out."""
    low, high = float(np.median(left)), float(np.median(right))
    if (high - low) / float(right.mean() - left.mean()) < 0.5:
        return False  # a few nights pull the means apart
    middle = (low + high) / 2
    below, above = (left, right) if high > low else (right, left)
    return all(
        own >= SHORTEST and 2 * own > len(side)
        for own, side in ((int((below < middle).sum()), below), (int((above > middle).sum()), above))
    )


def _rests(values: Values, bounds: Sequence[int]) -> list[Values]:
    """What is left of each level without its mean."""
    return [values[a:b] - values[a:b].mean() for a, b in itertools.pairwise(bounds)]


def _shared_lag(proposals: Sequence[_Proposal], cuts: Sequence[Sequence[int]]) -> float:
    """How much a night resembles the one before it in all series, each with the weight of its nights."""
    some = [(one, places) for one, places in zip(proposals, cuts, strict=True) if one.fixed]
    lags = [_lag(_rests(one.values, sorted([*one.fixed, *places]))) for one, places in some]
    return float(np.average(lags, weights=[len(one.values) for one, _ in some])) if some else 0.0


def _lag(rests: Sequence[Values]) -> float:
    """How much a night resembles the one before it: their correlation within the levels."""
    squares = sum(float(rest @ rest) for rest in rests)
    if not squares:
        return 0.0
    lag = sum(float(rest[1:] @ rest[:-1]) for rest in rests) / squares
    # As a level is the mean of its own nights, the estimate comes out too small by one over the nights of a level.
    return lag + len(rests) / sum(map(len, rests))


def _drift(lag: float) -> float:
    """How much larger the variance of a mean is where a night resembles the one before it; at least 1."""
    return (1 + lag) / (1 - lag) if 0 < lag < 1 else 1.0
