"""The page of a fleet's night, for who was not there: what came of it, what changed, what failed, where it gains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from harness import night as nights
from harness import records
from harness.night import Entry, Night
from harness.record import Head, Run
from hosts.errors import HarnessError
from reports import words
from reports.drawing import testbeds
from reports.findings import fleet
from reports.findings.fleet import Field
from reports.nights import history, nightly
from reports.nights import series as trends
from reports.site import packing, pages

LOG_LINES = 40
"""The last ones of a run's log are on the page."""
READING = (
    "A word is the run's own verdict on time, of its question: it holds for the whole run in 95 of 100. Where sizes "
    "differ, each has its word; the number is the ratio for the largest.",
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


def render(results: Path, night: Night, past: Sequence[history.Night]) -> pages.Page:
    """The page of a night. ``past``: the nights of all records, oldest first."""
    last = before(results, night)
    fields = [fleet.field(entry, _head(results, entry)) for entry in night.entries]
    earlier = {(one.entry.testbed, one.entry.profile): one for one in _fields(results, last)}
    beds = list(dict.fromkeys(entry.testbed for entry in night.entries))
    profiles = list(dict.fromkeys(entry.profile for entry in night.entries))
    told = changes(night, past)
    across = _across(results, fields, profiles)
    figures = [testbeds.figure(f"across-{n}", one) for n, one in enumerate(across, 1)]
    sentence = fleet.headline(night, worse(told))
    html = pages.environment().get_template("night.html.j2").render(
        night=night,
        headline=sentence,
        beds=[_bed(bed, [one for one in fields if one.entry.testbed == bed]) for bed in beds],
        profiles=profiles,
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
    return pages.Page(html, {"night.csv": _frame(fields)}, row)


def worse(told: Sequence[tuple[str, str, int]]) -> int:
    """On how many testbeds something changed for the worse."""
    return sum(status == nightly.WORSE for _, _, status in told)


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


def changes(night: Night, past: Sequence[history.Night]) -> list[tuple[str, str, int]]:
    """By testbed: what the history's rules tell of tonight, in a paragraph, and its status.

    A testbed's nights are those of the names that its records have; tonight is what was made in this night.
    """
    tonight = {entry.run_id for entry in night.entries if entry.run_id}
    newest = max((one.started for one in past if one.folder in tonight), default="")
    known = [one for one in past if one.started <= newest]
    alpha = trends.level(trends.groups(known))
    found = []
    for bed in dict.fromkeys(entry.testbed for entry in night.entries):
        runs = {entry.run_id for entry in night.entries if entry.testbed == bed and entry.run_id}
        groups = {one.group for one in known if one.folder in runs}
        mine = [one for one in known if one.group in groups]
        if not mine:
            found.append((bed, "No record came home tonight.", nightly.UNKNOWN))
            continue
        told = nightly.report([one for one in mine if one.folder not in runs], (), alpha).told
        report = nightly.report(mine, told, alpha)
        found.append((bed, report.paragraph, report.status))
    return found


def together(told: Sequence[tuple[str, str, int]]) -> list[tuple[str, str, int]]:
    """The same with the testbeds in one row of which the same is to be said."""
    beds: dict[tuple[str, int], list[str]] = {}
    for bed, said, status in told:
        beds.setdefault((said, status), []).append(bed)
    return [(", ".join(names), said, status) for (said, status), names in beds.items()]


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


def _across(results: Path, fields: Sequence[Field], profiles: Sequence[str]) -> list[fleet.Across]:
    """The comparisons over all testbeds, of the profiles that two of them or more have."""
    found = []
    for profile in profiles:
        runs: dict[str, Run] = {}
        for one in fields:
            if one.entry.profile == profile and one.main and one.entry.run_id:
                try:
                    runs[one.entry.testbed] = records.read(results / one.entry.run_id)
                except HarnessError:
                    continue
        if made := fleet.across(profile, runs):
            found.append(made)
    return found


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
