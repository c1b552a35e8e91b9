"""After the runs of a night: what really changed, in one paragraph, and an exit status.

A change is told once. What was told is kept in ``results/told.jsonl``; without that file, what began within the last
30 nights counts as news and what is older does not. Changes of one path in one direction that began within a week are
one change, whatever sizes, ciphers and metrics show it. Where all paths of a suite moved the same way against their
baseline, it is the baseline that changed, the other way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import msgspec

from hosts.errors import Refusal
from reports import parallel, table, words
from reports.nights import change, dataset, history
from reports.nights.dataset import History
from reports.nights.history import Night
from reports.nights.series import NEAR, RECENT, Found, Group, Key, Series, changes, groups, level, ratios

FILE = "told.jsonl"
UNCHANGED, WORSE, UNKNOWN = 0, 1, 2
"""Exit statuses."""
LISTED = 3
"""So many cells of a change are named."""


class Told(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A change in one series that was told."""

    group: tuple[str, str, str]
    """Profile, testbed, and the testbed's kind."""
    key: tuple[str, str, str]
    """The series: baseline, candidate, metric; of a cell that is no longer measured: its id twice, and ``outcome``."""
    since: str
    """When the first run after it began."""
    night: str
    """When it was told, by the start of the newest run of that night."""
    up: bool
    """Whether the ratio rose."""
    news: bool = True
    """False where it was too old."""


@dataclass(frozen=True)
class Event:
    """One change of one path, in all series that show it."""

    group: Group
    path: str
    better: bool
    """Whether the path got better."""
    found: tuple[Found, ...]
    """The change as each of these series has it."""
    new: bool
    """Whether it was not told before."""
    whole_suite: str | None = None
    """The suites of which all other paths moved the other way: then the path is their baseline."""


@dataclass(frozen=True)
class Standing:
    """What the paragraph tells of a group besides its changes."""

    name: tuple[str, str, str]
    newest: str
    """When its newest night began."""
    nights: int
    ratios: int


@dataclass(frozen=True)
class Sentence:
    """What is said of a change in the group ``name``."""

    better: bool
    new: bool
    name: tuple[str, str, str]
    said: str


@dataclass(frozen=True, order=True)
class Broken:
    """A run that cannot be compared. ``unread``: it is told of only where it is newer than all others."""

    moment: str
    folder: str
    said: str
    unread: bool


@dataclass(frozen=True)
class Part:
    """What the nights of some groups say by themselves."""

    standings: tuple[Standing, ...]
    events: tuple[Sentence, ...]
    lost: tuple[tuple[str, str], ...]
    """Cells that are no longer measured: id, and why."""
    broken: tuple[Broken, ...]
    fresh: tuple[Told, ...]
    """What is to be remembered besides what was."""


@dataclass(frozen=True)
class Report:
    """What to print, the exit status, and what is to be remembered as told."""

    paragraph: str
    status: int
    told: tuple[Told, ...]


def report(nights: Sequence[Night], told: Sequence[Told], alpha: float | None = None) -> Report:
    """What the newest night says against the history, oldest night first.

    ``alpha``: the level of one series' test, where these nights are a part of all that are looked at together.
    """
    return _together([_part(nights, told, level(ratios(nights)) if alpha is None else alpha)], told)


def of_history(past: History, told: Sequence[Told]) -> Report:
    """The same of all that the history has, a partition at a time: no more than that is in memory of a process."""
    parts = list(past.parts().values())
    alpha = level(sum(parallel.each(partial(ratios_of, past.results), parts)))
    return _together(list(parallel.each(partial(_of_parts, past.results, told, alpha), parts, "ruptures")), told)


def ratios_of(results: Path, parts: Sequence[str]) -> int:
    """How many ratios the nights of some parts are looked through for."""
    return ratios(dataset.newest(results, parts, RECENT))


def _of_parts(results: Path, told: Sequence[Told], alpha: float, parts: Sequence[str]) -> Part:
    return _part(dataset.nights(results, parts), told, alpha)


def _part(nights: Sequence[Night], told: Sequence[Told], alpha: float) -> Part:
    """What these nights say by themselves, where all nights of their groups are among them."""
    everything = groups(nights)
    events, fresh = list[Event](), list[Told]()
    for group in everything:
        mine, more = _events(group, alpha, [one for one in told if one.group == group.name])
        events += mine
        fresh += more
    lost = [(group, *cell) for group in everything for cell in _lost(group, told)]
    fresh += [Told(group.name, (name, name, "outcome"), group.started[-1], group.started[-1], False)
              for group, name, _ in lost]  # fmt: skip
    return Part(
        tuple(Standing(one.name, one.started[-1], len(one.nights), len(one.series)) for one in everything),
        tuple(Sentence(one.better, one.new, one.group.name, _sentence(one)) for one in events),
        tuple((name, why) for _, name, why in lost),
        tuple(_broken(nights, everything)),
        tuple(fresh),
    )


def _together(parts: Sequence[Part], told: Sequence[Told]) -> Report:
    """The paragraph of all of them."""
    everything = sorted((one for part in parts for one in part.standings), key=lambda one: one.name)
    newest = max((one.newest for one in everything), default="")
    wrong = sorted(one for part in parts for one in part.broken if not one.unread or one.moment > newest)
    broken = [one.said for one in wrong][-LISTED:]
    if not everything:
        nothing = "Nothing can be compared: no run in the history is complete."
        return Report(" ".join([nothing, *broken]), UNKNOWN, tuple(told))
    events = sorted((one for part in parts for one in part.events), key=lambda one: (one.better, not one.new, one.name))
    lost = [cell for part in parts for cell in part.lost]
    worse = [one for one in events if one.new and not one.better]
    sentences = [
        _opening(everything, len(worse) + bool(lost)),
        *(one.said for one in events),
        *_lost_words(lost),
        *_quiet(everything),
        *broken,
    ]
    status = WORSE if worse or lost else UNKNOWN if broken else UNCHANGED
    return Report(" ".join(sentences), status, (*told, *(one for part in parts for one in part.fresh)))


def load(results: Path) -> list[Told]:
    """What was told before; nothing where there is no such file. Raises Refusal where it is damaged."""
    try:
        return msgspec.json.Decoder(Told).decode_lines((results / FILE).read_bytes())
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise Refusal(
            f"cannot read {results / FILE}: {error}",
            next_step="remove it: changes of the last 30 nights will then be told again",
        ) from error


def save(results: Path, told: Iterable[Told]) -> None:
    """Replace the file. Raises Refusal."""
    new = results / f".{FILE}.new"
    try:
        new.write_bytes(msgspec.json.Encoder().encode_lines(list(told)))
        new.replace(results / FILE)
    except OSError as error:
        raise Refusal(
            f"cannot write {results / FILE}: {error.strerror}",
            next_step="free some space: until then, what was told now will be told again",
        ) from error


def _events(group: Group, alpha: float, told: Sequence[Told]) -> tuple[list[Event], list[Told]]:
    """The events of a group that have something new, and what is to be remembered of them."""
    before = [
        _again(series, group.place(one.since), one.up)
        for series in group.series
        for one in told
        if one.key == series.key and one.news
    ]
    fresh = [one for found in changes(group, alpha, places(group, told)).values() for one in found]
    newest = len(group.nights) - 1
    news = [one for one in fresh if newest - one.place < RECENT]
    events = [
        replace(event, found=tuple(one for one in event.found if one in news), new=not _has(event, before))
        for event in _merged(group, [*before, *news])
        if any(one in news for one in event.found)
    ]
    remembered = [
        Told(
            group.name, one.series.key, group.started[one.place], group.started[-1], one.change.factor > 1, one in news
        )
        for one in fresh
    ]
    return events, remembered


def places(group: Group, told: Iterable[Told]) -> dict[Key, list[int]]:
    """Where the changes began that were told of a group, by series."""
    begun: dict[Key, set[int]] = {one.key: set() for one in group.series}
    for one in told:
        if one.group == group.name and one.key in begun:
            begun[one.key].add(group.place(one.since))
    return {key: sorted(of_series) for key, of_series in begun.items()}


def _again(series: Series, place: int, up: bool) -> Found:
    """A change that was told before, as far as it is remembered."""
    return Found(series, place, change.Change(place, 0.0, 1.0 if up else -1.0, 0.0))


def _has(event: Event, before: Sequence[Found]) -> bool:
    return any(one in before for one in event.found)


def _merged(group: Group, found: Sequence[Found]) -> list[Event]:
    """Changes as events: by path and direction, near in time."""
    whole = {suite: paths for suite, paths in _paths(group).items() if len(paths) > 1}
    piles: dict[tuple[str, bool], list[list[Found]]] = {}
    suites: dict[tuple[str, bool], set[str]] = {}
    for one in sorted(found, key=lambda one: one.place):
        up = one.change.factor > 1
        alike = {
            other.series.path
            for other in found
            if other.series.suite == one.series.suite
            and other.series.metric == one.series.metric
            and (other.change.factor > 1) == up
            and abs(other.place - one.place) <= NEAR
        }
        together = alike == whole.get(one.series.suite)
        key = (one.series.baseline_path, not up) if together else (one.series.path, up)
        if together:
            suites.setdefault(key, set()).add(one.series.suite)
        near = piles.setdefault(key, [])
        if near and one.place - near[-1][0].place <= NEAR:
            near[-1].append(one)
        else:
            near.append([one])
    return [
        Event(group, path, better, tuple(pile), new=True, whole_suite=", ".join(sorted(suites.get((path, better), ()))))
        for (path, better), of_path in piles.items()
        for pile in of_path
    ]


def _paths(group: Group) -> dict[str, set[str]]:
    """The candidates' paths of each suite."""
    paths: dict[str, set[str]] = {}
    for series in group.series:
        paths.setdefault(series.suite, set()).add(series.path)
    return paths


def _lost(group: Group, told: Sequence[Told]) -> list[tuple[str, str]]:
    """Cells that the run before measured and the newest did not: (id, why)."""
    if len(group.nights) < 2:
        return []
    before = {cell.cell for cell in group.nights[-2].cells.rows() if cell.outcome == "measured"}
    already = {one.key[0] for one in told if one.group == group.name and one.since == group.started[-1]}
    return [
        (cell.cell, f"{cell.outcome}, {cell.reason or 'no reason was recorded'}")
        for cell in group.nights[-1].cells.rows()
        if cell.outcome != "measured" and cell.cell in before and cell.cell not in already
    ]


def _broken(nights: Sequence[Night], everything: Sequence[Group]) -> Iterable[Broken]:
    """What is newest in its group and cannot be compared."""
    complete = {group.name: group.started[-1] for group in everything}
    for night in nights:
        said = ""
        if night.problem is not None:
            said = f"The newest record, {night.folder}, cannot be read: {night.problem}."
        elif night.status != "complete" and night.started > complete.get(night.group, ""):
            why = f" ({night.reason})" if night.reason else ""
            how = f"{night.status}{why}"
            said = f"The run {night.folder} of {_where(night.group)} is {how} and was not compared."
        elif night.lost and night.started == complete.get(night.group):
            said = f"The record {night.folder} is not whole: {night.lost}."
        if said:
            yield Broken(history.moment(night), night.folder, said, night.problem is not None)


def _opening(everything: Sequence[Standing], bad: int) -> str:
    newest = max(one.newest for one in everything)
    short = [one for one in everything if one.nights < change.FEWEST]
    good = "nothing changed for the worse" if len(short) < len(everything) else "too early to tell of changes"
    verdict = f"{words.count(bad, 'change')} for the worse" if bad else good
    series = sum(one.ratios for one in everything)
    return (
        f"Night of {_day(newest)}: {verdict}; {words.count(series, 'ratio')} in "
        f"{words.count(len(everything), 'profile')} over {_nights(everything, short)}."
    )


def _nights(everything: Sequence[Standing], short: Sequence[Standing]) -> str:
    """How many nights there are, with the newest, and where they are too few: in the groups that are ``short``."""
    most = words.count(max(one.nights for one in everything), "night")
    where = f" for {', '.join(_where(one.name) for one in short)}" if len(short) < len(everything) else ""
    return f"{most} (fewer than the {change.FEWEST} that are needed{where})" if short else most


def _sentence(event: Event) -> str:
    """What changed, where, by how much, since when, and what else changed then."""
    ordered = sorted(event.found, key=lambda one: one.change.factor)
    middle = ordered[len(ordered) // 2]
    factor = 1 / middle.change.factor if event.whole_suite else middle.change.factor
    verb = "improved" if event.better else "got worse"
    how = "" if len(ordered) == 1 else f" (the median of {words.count(len(ordered), 'ratio')})"
    against = f"against {middle.series.baseline_path}"
    if event.whole_suite:
        against = f"as every path of {event.whole_suite} moved the other way against it"
    place = min(one.place for one in event.found)
    last, first = event.group.nights[place - 1], event.group.nights[place]
    told = "" if event.new else " (told before, now seen here too)"
    named = [f"{one.series.candidate}{'' if one.series.metric == 'seconds' else ' (CPU)'}" for one in event.found]
    more = f" and {len(named) - LISTED} more" if len(named) > LISTED else ""
    levels = ", ".join(f"x{words.ratio(table.factor(v))}" for v in (middle.change.before, middle.change.after))
    return (
        f"{event.path} {verb} by {words.percent(abs(factor - 1))}{how} {against} in {_where(event.group.name)}{told}, "
        f"since the run of {_day(first.started)}: {', '.join(named[:LISTED])}{more}; ratio before and after: {levels}."
        f"{_between(last, first)}"
    )


def _between(last: Night, first: Night) -> str:
    """What the records say changed between two runs."""
    names = [name for name in first.facts if last.facts.get(name, first.facts[name]) != first.facts[name]]
    changed = [f"{name} ({last.facts[name][:60]} to {first.facts[name][:60]})" for name in names if name != "profile"]
    changed += ["the profile's content"] if "profile" in names else []
    days = _start(first) - _start(last)
    gap = f" There is a gap of {days.days} days just before it." if days > timedelta(days=1.5) else ""
    return (f" Between the two runs also changed: {', '.join(changed)}." if changed else "") + gap


def _lost_words(lost: Sequence[tuple[str, str]]) -> list[str]:
    if not lost:
        return []
    listed = "; ".join(f"{name}: {why}" for name, why in lost[:LISTED])
    more = f"; and {len(lost) - LISTED} more" if len(lost) > LISTED else ""
    return [f"No longer measured: {listed}{more}."]


def _quiet(everything: Sequence[Standing]) -> list[str]:
    """Profiles that were not run in the newest night: a gap in their history, no change."""
    newest = max(datetime.fromisoformat(one.newest) for one in everything)
    late = [one for one in everything if newest - datetime.fromisoformat(one.newest) > timedelta(days=1)]
    return [f"{_where(one.name)} was not run: a gap since {_day(one.newest)}." for one in late]


def _where(name: tuple[str, str, str]) -> str:
    return f"{name[0]} on {name[1]}"


def _start(night: Night) -> datetime:
    return datetime.fromisoformat(night.started)


def _day(started: str) -> str:
    return f"{datetime.fromisoformat(started):%Y-%m-%d}"
