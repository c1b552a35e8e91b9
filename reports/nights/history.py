"""What became of every cell in every run, in one file that is read at once: ``results/history.jsonl``.

The file only spares reading the records again. It is made from them when it is missing, its lines that no longer
belong to their record are replaced, and nothing in it is believed that does not parse.

For each pair that a run compared (the pairs of its verdicts) a night holds the mean of the log ratios baseline /
candidate of the blocks that both measured, with its standard error, both as the run's own verdicts have them. Absolute
times are kept to be shown: they differ by factors from boot to boot and are never judged.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from harness import record, records
from harness.record import Head, Metric, Run
from hosts.errors import HarnessError
from hosts.progress import Progress, silent
from reports import words
from reports.table import Table, table

FILE = "history.jsonl"
VERSION = 5
"""Of what a line of the file means."""


class Ratio(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True, gc=False):
    """One pair in one night."""

    baseline: int
    """Its place in the night's list of cells."""
    candidate: int
    """Its place there."""
    metric: Metric
    log_ratio: float
    """Mean of ln(baseline / candidate)."""
    error: float
    """The mean's standard error."""
    blocks: int


class Measured(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True, gc=False):
    """One cell in one night."""

    cell: str
    """Its id."""
    path: str
    suite: str
    outcome: record.Outcome
    reason: str | None
    seconds: float | None
    """Median of the samples that count; None where none counts."""


class Night(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """One run."""

    key: str
    """Changes when the record does."""
    folder: str
    """Its name in the results."""
    problem: str | None = None
    """Why the record cannot be read; then nothing but its folder is known of it."""
    started: str = ""
    """By ISO 8601."""
    profile: str = ""
    testbed: str = ""
    kind: str = ""
    """The testbed's."""
    label: str = ""
    """What the testbed's figures are called in a word."""
    status: str = ""
    reason: str | None = None
    """Why it is not complete."""
    lost: str | None = None
    """What its samples lack (``record.Run``)."""
    facts: dict[str, str] = {}
    """What of the hosts and the harness may explain a change, by name."""
    terms: dict[str, str] = {}
    """What else must be alike for two nights to be of one series, by suite."""
    links: dict[str, str] = {}
    """Over what links its transfers went, by suite: where two nights tell it, it must be alike, too. Older records do
    not tell it."""
    cells: list[Measured] = []
    ratios: list[Ratio] = []

    @property
    def group(self) -> tuple[str, str, str]:
        """Nights of one group are compared with one another: same profile, testbed, and kind of testbed."""
        return self.profile, self.testbed, self.kind


def key(path: Path) -> str:
    """Changes when the record does."""
    parts = [str(VERSION)]
    for name in ("run.json", "samples.jsonl"):
        try:
            stat = (path / name).stat()
            parts.append(f"{stat.st_mtime_ns}-{stat.st_size}")
        except OSError:
            parts.append("missing")
    return " ".join(parts)


def load(results: Path) -> dict[str, Night]:
    """Nights of the file by folder, whether or not they still belong to their records; none where it is damaged."""
    try:
        nights = msgspec.json.Decoder(Night).decode_lines((results / FILE).read_bytes())
    except (OSError, ValueError):
        return {}
    return {one.folder: one for one in nights if _sound(one)}


def _sound(one: Night) -> bool:
    """Whether a line that parses also makes sense."""
    places = range(len(one.cells))
    try:
        dated = one.problem is not None or datetime.fromisoformat(one.started).tzinfo is not None
    except ValueError:
        return False
    return dated and all(ratio.baseline in places and ratio.candidate in places for ratio in one.ratios)


def save(results: Path, nights: Iterable[Night]) -> None:
    """Replace the file. Raises OSError."""
    new = results / f".{FILE}.new"
    new.write_bytes(msgspec.json.Encoder().encode_lines(list(nights)))
    new.replace(results / FILE)


def update(results: Path, progress: Progress = silent) -> list[Night]:
    """The nights of all records, oldest first; reads the records that are new or changed and writes the file.

    A file that cannot be written is no hindrance: it is made again the next time.
    """
    past, nights = load(results), []
    runs = records.list_runs(results)
    for n, path in enumerate(runs):
        known = past.get(path.name)
        if known is None or known.key != key(path):
            progress(f"history: {path.name}", n / len(runs))
            known = night(path)
        nights.append(known)
    if stale(nights, past):
        try:
            save(results, [one for one in nights if one.key])
        except OSError:
            pass
    return in_order(nights)


def stale(nights: Sequence[Night], past: dict[str, Night]) -> bool:
    """Whether the file says something else than ``nights``."""
    return len(nights) != len(past) or any(past.get(one.folder) is not one for one in nights)


def in_order(nights: Iterable[Night]) -> list[Night]:
    """Oldest first."""
    return sorted(nights, key=lambda one: (moment(one), one.folder))


def moment(one: Night) -> str:
    """When a night began; of an unreadable one by its folder's name, which begins with a time; empty without one."""
    digits = one.folder[:15].replace("-", "")
    if one.started or len(digits) != 14 or not digits.isdigit():
        return one.started
    return f"{digits[:4]}-{digits[4:6]}-{digits[6:8]}T{digits[8:10]}:{digits[10:12]}:{digits[12:14]}"


def night(path: Path) -> Night:
    """A record as a night; one with a ``problem`` where it cannot be read. A run that goes on is not kept: no key."""
    stamp = key(path)
    try:
        run = records.read(path)
        return of(path, "" if run.head.status == "running" else stamp, run)
    except (HarnessError, ArithmeticError) as error:  # a date can be beyond what a calendar holds
        return unreadable(path, error)


def unreadable(path: Path, error: Exception) -> Night:
    """A record that cannot be read, or holds what could not be foreseen."""
    reason = str(error).split("\n")[0]
    told = reason if isinstance(error, HarnessError) else f"{type(error).__name__}: {reason}"
    return Night(key=key(path), folder=path.name, problem=told)


def of(path: Path, stamp: str, run: Run) -> Night:
    """A record that was read, as a night."""
    head, numbers = run.head, table(run.counted())
    places = {cell.id: n for n, cell in enumerate(head.cells) if cell.outcome == "measured"}
    ratios: list[Ratio] = []
    for a, b, metric in dict.fromkeys((v.baseline, v.candidate, v.metric) for v in head.verdicts):
        mean = numbers.mean(a, b, metric) if a in places and b in places else None
        if mean:
            ratios.append(Ratio(places[a], places[b], metric, _short(mean.mean), _short(mean.error), mean.blocks))
    return Night(
        key=stamp,
        folder=path.name,
        started=_utc(head.started).isoformat(),
        profile=head.profile.name,
        testbed=head.testbed.name,
        kind=head.testbed.kind,
        label=words.label(head.testbed),
        status=head.status,
        reason=head.reason,
        lost=run.lost,
        facts=_facts(head),
        terms={suite.name: _terms(suite, head.estimator, head.receiver) for suite in head.suites},
        links=_links(head),
        cells=[
            Measured(cell.id, cell.path, cell.suite, cell.outcome, cell.reason, _seconds(numbers, cell.id))
            for cell in head.cells
        ],
        ratios=ratios,
    )


def _utc(moment: datetime) -> datetime:
    """A moment in UTC; one that does not say its zone is taken to be."""
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


def _seconds(numbers: Table, cell: str) -> float | None:
    found = numbers.median_seconds(cell)
    return None if found is None else _short(found)


def _short(value: float) -> float:
    """Seven significant digits: more than any measurement has."""
    return float(f"{value:.7g}")


def _terms(suite: record.SuiteEntry, estimator: str | None, receiver: str | None) -> str:
    """What a suite's numbers depend on besides the cells' names: where it changes, a new series begins.

    How intervals were made belongs to it, since how blocks were spread over boots came with it; and how payloads were
    received, where any were.
    """
    of_all = {"estimator": estimator}
    if receiver and suite.question != "kernel-crypto":
        of_all["receiver"] = receiver
    beside = {"name", "figure", "link", "prices", "steps", "question", "crossings"}
    return json.dumps(of_all | suite.model_dump(exclude=beside, exclude_defaults=True), sort_keys=True)


def _links(head: Head) -> dict[str, str]:
    """What of the links of each suite's transfers changes a result, as JSON: links, and the paths that had each."""
    found: dict[str, dict[str, set[str]]] = {}
    for cell in head.cells:
        if cell.links:
            link = json.dumps(cell.links, sort_keys=True)
            found.setdefault(cell.suite, {}).setdefault(link, set()).add(cell.path)
    return {
        suite: json.dumps([[json.loads(link), sorted(paths)] for link, paths in sorted(links.items())], sort_keys=True)
        for suite, links in found.items()
    }


def _facts(head: Head) -> dict[str, str]:
    """What may explain a change, in words; absent where the record does not say it."""
    found = {"harness": head.harness, "profile": head.profile.sha256}
    for role, host in head.machines.items():
        for name in ("kernel", "processor", "microcode", "os"):
            if isinstance(host.get(name), str):
                found[f"{role}'s {name}"] = host[name]
    return found
