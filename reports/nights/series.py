"""The nights of one profile on one testbed as series of ratios, and the changes in them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from harness.record import Metric
from reports.nights import change
from reports.nights.change import Values
from reports.nights.history import Measured, Night

Key = tuple[str, str, Metric]
"""Baseline cell, candidate cell, metric: a pair within a group."""

NIGHTLY = 0.01
"""The chance of a false alarm in a night, over all series together."""
ENOUGH = 10
"""Nights that tell how much a night as a whole adds to a ratio."""
RECENT = 30
"""A change that began more nights ago is no news."""
NEAR = 7
"""Nights within which changes of one path in one direction are one change."""


@dataclass(frozen=True, eq=False)
class Series:
    """One pair's log ratios, night by night."""

    suite: str
    path: str
    """The candidate's."""
    baseline_path: str
    baseline: str
    """The id of a cell."""
    candidate: str
    """The id of a cell."""
    metric: Metric
    places: tuple[int, ...]
    """Which nights of the group have a ratio; others are gaps."""
    values: Values
    """ln(baseline / candidate) of these nights."""
    errors: Values
    """Their standard errors."""

    @property
    def key(self) -> Key:
        """Tells it from the other series of its group."""
        return self.baseline, self.candidate, self.metric


@dataclass(frozen=True)
class Group:
    """The complete runs of one profile on one testbed, oldest first, and the pairs measured lately."""

    name: tuple[str, str, str]
    nights: tuple[Night, ...]
    series: tuple[Series, ...] = field(repr=False)

    @cached_property
    def started(self) -> list[str]:
        """When each night began."""
        return [night.started for night in self.nights]

    def place(self, started: str) -> int:
        """The first night that began then or later."""
        return bisect_left(self.started, started)


@dataclass(frozen=True, eq=False)
class Found:
    """A change in one series. ``place``: the first night after it, in the group."""

    series: Series
    place: int
    change: change.Change


def groups(nights: Iterable[Night]) -> list[Group]:
    """Complete runs by profile and testbed, in the order of their names."""
    return [Group(name, tuple(some), tuple(_series(some))) for name, some in sorted(_complete(nights).items())]


def ratios(nights: Iterable[Night]) -> int:
    """How many series their groups have."""
    return sum(len(_wanted(some)) for some in _complete(nights).values())


def _complete(nights: Iterable[Night]) -> dict[tuple[str, str, str], list[Night]]:
    kept: dict[tuple[str, str, str], list[Night]] = {}
    for night in nights:
        if night.compared:
            kept.setdefault(night.group, []).append(night)
    return kept


_Pairs = tuple[list[str], list[int], list[int], list[Metric]]


def _pairs(night: Night) -> _Pairs:
    """Its cells, and by these the pairs that it compared, in their order."""
    return night.cells.ids, night.ratios.baselines, night.ratios.candidates, night.ratios.metrics


def _wanted(nights: Sequence[Night]) -> dict[Key, tuple[Measured, Measured, Night]]:
    """Pairs of the last RECENT nights, each with the newest that has it."""
    wanted: dict[Key, tuple[Measured, Measured, Night]] = {}
    seen: list[_Pairs] = []
    for night in reversed(nights[-RECENT:]):
        if (pairs := _pairs(night)) in seen:
            continue
        seen.append(pairs)
        cells = night.cells.rows()
        for ratio in night.ratios.rows():
            baseline, cell = cells[ratio.baseline], cells[ratio.candidate]
            key = (baseline.cell, cell.cell, ratio.metric)
            if key not in wanted:
                wanted[key] = baseline, cell, night
    return wanted


@dataclass(frozen=True, eq=False)
class _Alike:
    """Nights of the same pairs in the same order: their places in the group, and what they found, a row for each night
    and a column for each pair."""

    places: NDArray[np.int64]
    keys: Sequence[Key]
    values: Values
    errors: Values


def _alikes(nights: Sequence[Night]) -> Iterable[_Alike]:
    """All nights; usually they are all alike."""
    found: dict[tuple[tuple[object, ...], ...], list[int]] = {}
    before: _Pairs | None = None
    mine: list[int] = []
    for place, night in enumerate(nights):
        these = _pairs(night)
        if these != before:
            before, mine = these, found.setdefault(tuple(tuple(one) for one in these), [])
        mine.append(place)
    for places in found.values():
        ids, ratios = nights[places[0]].cells.ids, nights[places[0]].ratios
        pairs = zip(ratios.baselines, ratios.candidates, ratios.metrics, strict=True)
        yield _Alike(
            np.array(places),
            [(ids[baseline], ids[candidate], metric) for baseline, candidate, metric in pairs],
            np.array([nights[place].ratios.log_ratios for place in places]),
            np.array([nights[place].ratios.errors for place in places]),
        )


def _series(nights: Sequence[Night]) -> Iterable[Series]:
    """A night is of a pair's series if its suite's terms and links are those of the newest. A night that does not tell
    its links is of the series of those that do."""
    wanted = _wanted(nights)
    fitting: dict[tuple[str, str], NDArray[np.bool_]] = {}
    found: dict[Key, list[tuple[NDArray[np.int64], Values, Values]]] = {key: [] for key in wanted}
    for some in _alikes(nights):
        for column, key in enumerate(some.keys):
            if key not in wanted:
                continue
            _, cell, newest = wanted[key]
            suite = newest.folder, cell.suite
            if suite not in fitting:
                fitting[suite] = np.array([_fits(newest, night, cell.suite) for night in nights])
            mine = fitting[suite][some.places]
            found[key].append((some.places[mine], some.values[mine, column], some.errors[mine, column]))
    for key, (baseline, cell, _) in wanted.items():
        places, values, errors = (np.concatenate(parts) for parts in zip(*found[key], strict=True))
        order = np.argsort(places)
        points = tuple(places[order].tolist()), values[order], errors[order]
        yield Series(cell.suite, cell.path, baseline.path, *key, *points)


def _fits(newest: Night, night: Night, suite: str) -> bool:
    """Whether both measured the same in a suite, as far as they tell."""
    links = newest.links.get(suite), night.links.get(suite)
    return newest.terms.get(suite) == night.terms.get(suite) and (None in links or links[0] == links[1])


def level(ratios: int) -> float:
    """The level of one series' test where there are so many, so that all of a night's together hold NIGHTLY."""
    return NIGHTLY / max(1, ratios)


def changes(group: Group, alpha: float, known: Mapping[Key, Sequence[int]]) -> dict[Key, list[Found]]:
    """New changes in each series of a group; ``known``: places, in the group, of changes told before."""
    courses = [
        change.Course(one.values, one.errors, [bisect_left(one.places, place) for place in known.get(one.key, ())])
        for one in group.series
    ]
    return {
        one.key: [Found(one, one.places[new.place], new) for new in found]
        for one, found in zip(group.series, change.find(courses, alpha), strict=True)
    }


def spread(series: Series) -> tuple[float, float] | None:
    """The variance that a night as a whole adds to a log ratio, beyond its blocks, and its degrees of freedom.

    From the squared steps between nights that follow each other, which a change of level hardly touches. None where
    there are too few nights.
    """
    count = len(series.values)
    if count < ENOUGH:
        return None
    steps = np.diff(change.tamed(series.values)[0])
    total = float(np.square(steps).sum()) / (2 * len(steps))
    return max(0.0, total - float(np.square(series.errors).mean())), 2 * len(steps) / 3
