"""The page of a fleet's night, for who was not there: what came of it, what changed, what failed, where it gains."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from harness import night as nights
from harness import records
from harness.night import Entry, Night
from harness.record import Head
from hosts.errors import HarnessError
from reports import parallel, words
from reports.drawing import testbeds
from reports.findings import fleet, gain
from reports.findings.fleet import Field
from reports.nights import dataset, history, nightly
from reports.nights import series as trends
from reports.nights.change import FEWEST
from reports.nights.dataset import History
from reports.site import packing, pages

LOG_LINES = 40
"""The last ones of a run's log are on the page."""
READING = (
    "A word is the run's own verdict on time, of its question: it holds for the whole run in 95 of 100. Where sizes "
    "differ, each has its word. The number is the ratio for the largest size, with its interval: above 1 the first of "
    "the two that are compared is quicker.",
    "Whether something changed is decided from all nights of a testbed, not from two: in fewer than twenty-five, "
    "chance makes steps that look like a change. Words that differ from the last night's are listed, and not judged.",
)


@dataclass(frozen=True)
class Failure:
    """Something that failed, with the end of its run's log."""

    testbed: str
    profile: str
    what: str
    why: str
    log: str


def folder(night: str) -> str:
    """Where the page of a night is, below the site."""
    return f"night-{night}"


def before(results: Path, night: Night) -> Night | None:
    """The night of the same fleet before this one; None where there is none that can be read."""
    for path in reversed(nights.folders(results)):
        if path.name < night.night:
            try:
                found = nights.read(path)
            except HarnessError:
                continue
            if found.fleet == night.fleet:
                return found
    return None


def key(results: Path, night: Night) -> str:
    """Changes when the night, its records or the night before do."""
    parts = [night.model_dump_json()]
    for one in (night, before(results, night)):
        parts += [history.key(results / entry.run_id) for entry in one.entries if entry.run_id] if one else []
    return " ".join(parts)


def render(results: Path, night: Night, past: History) -> tuple[pages.Page, int]:
    """The page of a night, and on how many testbeds something changed for the worse."""
    last = before(results, night)
    fields = [fleet.field(entry, _head(results, entry)) for entry in night.entries]
    earlier = {(one.entry.testbed, one.entry.profile): one for one in _fields(results, last)}
    beds = list(dict.fromkeys(entry.testbed for entry in night.entries))
    profiles = list(dict.fromkeys(entry.profile for entry in night.entries))
    told = changes(night, past)
    priced = prices(past, fields)
    across = [found for profile in profiles if (found := fleet.across(profile, fields, priced))]
    figures = [testbeds.figure(f"across-{n}", one) for n, one in enumerate(across, 1)]
    sentence = fleet.headline(night, worse(told), any(one.judged for one in told))
    html = pages.environment().get_template("night.html.j2").render(
        night=night,
        headline=sentence,
        beds=[_bed(bed, [one for one in fields if one.entry.testbed == bed]) for bed in beds],
        profiles=profiles,
        asked=fleet.asked(fields),
        fields={(one.entry.testbed, one.entry.profile): one for one in fields},
        before=last,
        changes=together(told),
        differing=differing(fields, earlier),
        failures=[_failure(results, night, *row) for row in fleet.failures(fields)],
        across=list(zip(across, figures, strict=True)),
        reading=READING,
        data=packing.packed(pages.figure_data(figures)),
    )  # fmt: skip
    row = {
        "folder": folder(night.night),
        "started": words.when(night.started),
        "profile": night.fleet,
        "testbed": words.count(len(beds), "testbed"),
        "kernel": "",
        "kind": "",
        "status": "night",
        "headline": sentence,
        "verdict": "",
    }
    return pages.Page(html, {"night.csv": _frame(fields)}, row), worse(told)


@dataclass(frozen=True)
class Change:
    """What the history's rules tell of testbeds tonight."""

    testbed: str
    said: str
    """A paragraph."""
    worse: bool
    judged: bool
    """Whether there are nights enough to tell of changes."""


def worse(told: Sequence[Change]) -> int:
    """On how many testbeds something changed for the worse."""
    return sum(one.worse for one in told)


def _head(results: Path, entry: Entry) -> Head | None:
    """Of the entry's record; None where there is none that can be read."""
    try:
        return records.read_head(results / entry.run_id) if entry.run_id else None
    except HarnessError:
        return None


def _fields(results: Path, night: Night | None) -> list[Field]:
    return [fleet.field(entry, _head(results, entry)) for entry in night.entries] if night else []


def _bed(name: str, fields: Sequence[Field]) -> dict[str, Any]:
    """A testbed's name, its labels, and its machine as the newest of its records has it."""
    heads = [one.head for one in fields if one.head and one.head.hosts]
    facts = heads[-1].testbed.machine or heads[-1].hosts.get("sender", {}) if heads else {}
    kernel = heads[-1].hosts.get("sender", {}).get("kernel") if heads else None
    machine = ", ".join(part for part in (facts.get("processor"), f"kernel {kernel}" if kernel else "") if part)
    return {
        "name": name,
        "labels": fields[0].entry.labels,
        "label": words.label(heads[-1].testbed) if heads else "",
        "machine": machine,
    }


def changes(night: Night, past: History) -> list[Change]:
    """By testbed: what the history's rules tell of tonight.

    A testbed's nights are those of the names that its records have; tonight is what was made in this night.
    """
    beds: dict[str, set[str]] = {}
    for entry in night.entries:
        beds.setdefault(entry.testbed, set()).update([entry.run_id] if entry.run_id else [])
    parts = past.parts()
    known = [
        _Known(bed, past.results, runs, tuple(part for one in sorted(past.of(runs)) for part in parts[one]))
        for bed, runs in beds.items()
    ]
    alpha = trends.level(sum(parallel.each(_ratios, known)))
    return list(parallel.each(_change, [replace(one, alpha=alpha) for one in known], "ruptures"))


@dataclass(frozen=True)
class _Known:
    """A testbed's runs of a night, the parts of the history that they are compared with, and at what level."""

    testbed: str
    results: Path
    runs: set[str]
    parts: tuple[str, ...]
    alpha: float = 1.0

    def nights(self) -> list[history.Night]:
        """The runs, and those before them that they are compared with."""
        near = dataset.nights(self.results, self.parts)
        groups = {one.group for one in near if one.folder in self.runs}
        newest = max((one.started for one in near if one.folder in self.runs), default="")
        return [one for one in near if one.group in groups and one.started <= newest]


def _ratios(known: _Known) -> int:
    return trends.ratios(known.nights())


def _change(known: _Known) -> Change:
    mine, alpha = known.nights(), known.alpha
    if not mine:
        return Change(known.testbed, "No record came home tonight.", worse=False, judged=False)
    report = nightly.report(mine, (), alpha)
    if report.told:  # what was there before tonight is no news
        told = nightly.report([one for one in mine if one.folder not in known.runs], (), alpha).told
        report = nightly.report(mine, told, alpha)
    judged = max(Counter(one.group for one in mine if one.status == "complete").values(), default=0) >= FEWEST
    return Change(known.testbed, report.paragraph, report.status == nightly.WORSE, judged)


def together(told: Sequence[Change]) -> list[Change]:
    """The same with the testbeds together of which the same is to be said; those that got worse come first."""
    beds: dict[str, list[Change]] = {}
    for one in told:
        beds.setdefault(one.said, []).append(one)
    rows = [replace(some[0], testbed=", ".join(one.testbed for one in some)) for some in beds.values()]
    return sorted(rows, key=lambda one: not one.worse)


def differing(fields: Sequence[Field], earlier: Mapping[tuple[str, str], Field]) -> list[tuple[str, str, str, str]]:
    """What reads otherwise than the night before: testbed, profile, then and now."""
    rows = []
    for one in fields:
        old = earlier.get((one.entry.testbed, one.entry.profile))
        if old and (then := reading(old)) != (now := reading(one)):
            rows.append((one.entry.testbed, one.entry.profile, then, now))
    return rows


def reading(one: Field) -> str:
    """A field in words."""
    if not one.complete:
        return one.entry.outcome
    told = [f"{_word(word)} at {sizes}" for word, sizes in one.verdicts]
    return ", ".join(told) if len(told) > 1 else _word(one.verdicts[0][0]) if told else "complete, nothing compared"


def _word(word: str) -> str:
    return words.VERDICTS.get(word, "– not measured")


def prices(past: History, fields: Sequence[Field]) -> dict[str, gain.Place | None]:
    """What a crossing and the cipher cost in every complete run with a verdict on its question, by the record's name;
    None where it does not tell. Others stand in no comparison."""
    heads = [one.head for one in fields if one.complete and one.main and one.head]
    places = parallel.each(partial(_place, past), heads, "reports.parquet")
    return {head.run_id: place for head, place in zip(heads, places, strict=True)}


def _place(past: History, head: Head) -> gain.Place | None:
    found = gain.model(head, past.samples(head.run_id, gain.COLUMNS))
    return None if isinstance(found, str) else found.here


def _failure(results: Path, night: Night, testbed: str, profile: str, what: str, why: str) -> Failure:
    entry = next(e for e in night.entries if (e.testbed, e.profile) == (testbed, profile))
    name = next((attempt.log for attempt in reversed(entry.attempts) if attempt.log), None)
    log = ""
    if name and Path(name).name == name:
        try:
            text = (results / nights.FOLDER / night.night / name).read_text(encoding="utf-8", errors="replace")
            log = "\n".join(text.splitlines()[-LOG_LINES:])
        except OSError:
            pass
    return Failure(testbed, profile, what, why, log)


def _frame(fields: Sequence[Field]) -> pd.DataFrame:
    """The night as a table, for other programs."""
    rows = [
        {
            "testbed": one.entry.testbed,
            "profile": one.entry.profile,
            "outcome": one.entry.outcome,
            "attempts": len(one.entry.attempts),
            "run": one.entry.run_id,
            "verdict": one.main.verdict if one.main else None,
            "ratio": one.main.ratio if one.main else None,
            "ci_low": one.main.ci_low if one.main else None,
            "ci_high": one.main.ci_high if one.main else None,
            "reason": one.entry.reason,
        }
        for one in fields
    ]
    return pd.DataFrame(rows)
