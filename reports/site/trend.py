"""Every ratio over the nights as small drawings: what changed, and where a night is missing. A page for each profile on
each testbed, and one over all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import median
from urllib.parse import quote

import numpy as np

from reports import words
from reports.nights import dataset
from reports.nights.change import FEWEST, Change, Values
from reports.nights.nightly import Told, places
from reports.nights.series import Found, Group, Series, changes
from reports.site import pages
from reports.table import factor

FOLDER = "trends"
WIDTH, HEIGHT = 1000, 200
"""Of a drawing, in its own units."""
GAP = 1.6
"""A line is broken where nights are further apart than this many usual distances."""
READING = (
    "Each line is one ratio baseline ÷ candidate, night by night: up is better for the candidate. It is formed within "
    "each run, so that what slows a whole machine down does not show in it. A break is a night without a value.",
    "A mark is a change that the nights before and after it tell apart, with at most one false alarm in a hundred "
    "nights over all ratios together. The grey line is the candidate's median time: it drifts by factors from boot to "
    "boot, is shown for completeness, and never raises an alarm.",
)


@dataclass(frozen=True)
class Mark:
    """A change in a drawing. ``at``: from 0 (left) to WIDTH. ``since``: the day of the first run after it."""

    at: int
    better: bool
    since: str
    said: str


@dataclass(frozen=True)
class Row:
    """One ratio's drawing and its words."""

    suite: str
    candidate: str
    baseline: str
    metric: str
    """As a person calls it."""
    newest: float
    """The ratio of the last night that has one."""
    seconds: float | None
    """The candidate's in the newest night; None where it has none."""
    nights: int
    """How many have a ratio."""
    low: float
    """The lowest ratio."""
    high: float
    """The highest ratio."""
    line: str
    """The ratios, as an SVG path."""
    grey: str
    """The candidate's seconds, as an SVG path; empty for another metric."""
    levels: str
    """The mean before, between and after changes, as an SVG path; empty where there is no change."""
    marks: list[Mark]
    """Its changes."""


@dataclass(frozen=True)
class Section:
    """One profile on one testbed."""

    id: str
    """Names it in the page."""
    title: str
    label: str
    """What the testbed's figures are called in a word."""
    nights: int
    gaps: int
    """How often a night is missing where there usually is one."""
    first: str
    """When the oldest night began."""
    last: str
    """When the newest night began."""
    folder: str
    """The record of the newest night."""
    rows: list[Row]
    """What changed comes first, the newest change before older ones."""

    @property
    def changed(self) -> list[Row]:
        """The ratios with a change."""
        return [row for row in self.rows if row.marks]


@dataclass(frozen=True)
class Summary:
    """What the page over all says of a section."""

    title: str
    label: str
    nights: int
    last: str
    """When the newest night began."""
    ratios: int
    changed: int
    """How many of the ratios changed,"""
    since: str
    """and the day of the last change; empty without one."""
    better: int
    """Changes for the better,"""
    worse: int
    """and for the worse."""
    folder: str
    """Of the section's page."""
    id: str
    """Its place there."""


def folder(partition: str) -> str:
    """Where the page of a profile on a testbed is, below the site."""
    return f"{FOLDER}-{'+'.join(quote(name, safe='') for name in dataset.names(partition))}"


def title(of: Sequence[Summary]) -> str:
    """What there is, for the index."""
    ratios, most = sum(one.ratios for one in of), max((one.nights for one in of), default=0)
    return f"{words.count(ratios, 'ratio')} over {words.count(most, 'night')}"


def headline(of: Sequence[Summary]) -> str:
    """What all the nights say, in one sentence."""
    ratios = words.count(sum(one.ratios for one in of), "ratio")
    most = max((one.nights for one in of), default=0)
    over = words.count(most, "night")
    if most < FEWEST:
        return f"{ratios} over {over}: changes are told from {FEWEST} nights on."
    changed = sum(one.changed for one in of)
    if not changed:
        return f"No change in {ratios} over {over}."
    return f"{changed} of {ratios} changed in {over}, the last on {max(one.since for one in of)}."


def render(nights: Sequence[Group], told: Sequence[Told], alpha: float, folder: str) -> tuple[str, list[Summary]]:
    """The page in ``folder`` of some groups, and what it says in short. ``alpha``: the level of one series' test."""
    sections = [_section(n, group, alpha, told) for n, group in enumerate(nights)]
    summaries = [_summary(section, folder) for section in sections]
    page = pages.environment().get_template("trends.html.j2").render(
        headline=headline(summaries), sections=sections, reading=READING, width=WIDTH, height=HEIGHT, front=FOLDER
    )  # fmt: skip
    return page, summaries


def render_front(summaries: Sequence[Summary]) -> str:
    """The page over all: the newest changes first."""
    ordered = sorted(summaries, key=lambda one: (one.since, one.changed), reverse=True)
    template = pages.environment().get_template("trends-front.html.j2")
    return template.render(headline=headline(summaries), summaries=ordered, fewest=FEWEST)


def _summary(section: Section, folder: str) -> Summary:
    marks = [mark for row in section.changed for mark in row.marks]
    return Summary(
        title=section.title,
        label=section.label,
        nights=section.nights,
        last=section.last,
        ratios=len(section.rows),
        changed=len(section.changed),
        since=max((mark.since for mark in marks), default=""),
        better=sum(mark.better for mark in marks),
        worse=sum(not mark.better for mark in marks),
        folder=folder,
        id=section.id,
    )


def _section(number: int, group: Group, alpha: float, told: Sequence[Told]) -> Section:
    times = [datetime.fromisoformat(started) for started in group.started]
    across = _across(times)
    apart = _usual(times)
    breaks = [n for n in range(1, len(times)) if apart and times[n] - times[n - 1] > GAP * apart]
    seconds = _seconds(group)
    profile, testbed, _ = group.name
    known = places(group, told)
    fresh = changes(group, alpha, known)
    marks = {one.key: _marked(group, one, known[one.key], fresh[one.key]) for one in group.series}
    rows = [_row(one, group, across, set(breaks), seconds, marks[one.key]) for one in group.series]
    return Section(
        id=f"g{number + 1}",
        title=f"{profile} on {testbed}",
        label=group.nights[-1].label,
        nights=len(times),
        gaps=len(breaks),
        first=words.when(times[0]),
        last=words.when(times[-1]),
        folder=group.nights[-1].folder,
        rows=sorted(rows, key=lambda row: max((mark.since for mark in row.marks), default=""), reverse=True),
    )


def _marked(group: Group, series: Series, known: Sequence[int], fresh: Sequence[Found]) -> list[Found]:
    """The changes told of a series, with the levels its nights have now, and those not told yet."""
    cuts = sorted({*known, *(one.place for one in fresh)})
    ends = np.searchsorted(series.places, [0, *cuts, len(group.nights)])
    means = [float(series.values[a:b].mean()) if b > a else None for a, b in pairwise(ends)]
    return [
        Found(series, place, Change(place, before, after, 0.0))
        for place, before, after in zip(cuts, means, means[1:], strict=False)
        if before is not None and after is not None
    ]


def _row(
    series: Series,
    group: Group,
    across: Sequence[int],
    breaks: set[int],
    seconds: Mapping[str, Sequence[float | None]],
    found: Sequence[Found],
) -> Row:
    ratios = np.full(len(group.nights), np.nan)
    ratios[list(series.places)] = known = np.exp(series.values)
    times = seconds.get(series.candidate, [])
    low, high = float(known.min()), float(known.max())
    return Row(
        suite=series.suite,
        candidate=series.candidate,
        baseline=series.baseline,
        metric=words.METRICS[series.metric],
        newest=float(known[-1]),
        seconds=times[-1] if times else None,
        nights=len(series.values),
        low=low,
        high=high,
        line=path(ratios, across, breaks),
        grey=path(times, across, breaks) if series.metric == "seconds" else "",
        levels=_levels(found, across, low, high),
        marks=[_mark(one, across, group) for one in found],
    )


def _mark(found: Found, across: Sequence[int], group: Group) -> Mark:
    factor = found.change.factor
    way = "up" if factor > 1 else "down"
    day = group.started[found.place][:10]
    said = f"{way} {words.percent(abs(factor - 1))} since {day}"
    return Mark((across[found.place - 1] + across[found.place]) // 2 if found.place else 0, factor > 1, day, said)


def _levels(found: Sequence[Found], across: Sequence[int], low: float, high: float) -> str:
    """The mean before, between and after changes, as lines; nothing where there is no change."""
    if not found:
        return ""
    places = [0, *(one.place for one in found), len(across)]
    means = [found[0].change.before, *(one.change.after for one in found)]
    parts = []
    for (first, after), mean in zip(pairwise(places), means, strict=True):
        y = HEIGHT - round((factor(mean) - low) / ((high - low) or 1.0) * HEIGHT)
        parts.append(f"M{across[first]},{y}H{across[after - 1]}")
    return "".join(parts)


def path(values: Sequence[float | None] | Values, across: Sequence[int], breaks: set[int]) -> str:
    """Values as an SVG path over the whole height; None and ``breaks`` (before these places) interrupt it."""
    numbers = np.array(values, dtype=float)
    known = ~np.isnan(numbers)
    if not known.any():
        return ""
    low = numbers[known].min()
    heights = (numbers - low) / (float(np.ptp(numbers[known])) or 1.0) * HEIGHT
    goes_on = known & np.roll(known, 1)
    goes_on[[0, *breaks]] = False
    places = np.flatnonzero(known).tolist()
    down = (HEIGHT - np.rint(heights[known])).astype(int).tolist()
    # a night alone between two gaps is a dot: a line of no length with a round end
    return "".join(
        [
            f"L{across[place]},{y}" if on else f"M{across[place]},{y}h0"
            for place, y, on in zip(places, down, goes_on[known].tolist(), strict=True)
        ]
    )


def _across(times: Sequence[datetime]) -> list[int]:
    """Where each night is, from left to right, by its date."""
    span = (times[-1] - times[0]) or timedelta(days=1)
    return [round((time - times[0]) / span * WIDTH) for time in times]


def _usual(times: Sequence[datetime]) -> timedelta | None:
    """The usual distance of two nights."""
    apart = [(b - a).total_seconds() for a, b in pairwise(times)]
    return timedelta(seconds=median(apart)) if apart else None


def _seconds(group: Group) -> dict[str, list[float | None]]:
    """Each cell's median time, night by night."""
    alike: dict[tuple[str, ...], list[int]] = {}
    for place, night in enumerate(group.nights):
        alike.setdefault(tuple(night.cells.ids), []).append(place)
    found: dict[str, list[float | None]] = {}
    for ids, here in alike.items():
        columns = zip(*(group.nights[place].cells.seconds for place in here), strict=True)
        for cell, column in zip(ids, columns, strict=True):
            course = found.setdefault(cell, [None] * len(group.nights))
            for place, seconds in zip(here, column, strict=True):
                course[place] = seconds
    return found
