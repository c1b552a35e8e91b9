"""What became of every cell in a run: what pages, trends and verdicts on nights need of it (``dataset.py`` keeps it).

For each pair that a run compared (the pairs of its verdicts) a night holds the mean of the log ratios baseline /
candidate of the blocks that both measured, with its standard error, both as the run's own verdicts have them. Absolute
times are kept to be shown: they differ by factors from boot to boot and are never judged. Both are kept by column: a
year of them becomes series in less than half the time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from harness import record
from harness.record import Head, Metric
from hosts.errors import HarnessError
from reports import words
from reports.table import Columns, Table, table

VERSION = 9
"""Of what is kept of a run."""
MEANING = ("baseline", "sent_by", "files", "tls", "connection", "requests", "instructions")
"""What a suite's cells mean, besides their names. Runs that differ in it cannot be compared,"""
WAY: dict[str, tuple[str, Callable[[Any], str]]] = {
    "link_rate_bits_per_second": ("link rate", words.rate),
    "conditions": ("the way beyond its rate", lambda found: found or "as it is"),
    "integrity": ("hash of the HMAC", lambda found: found or "none"),
}
"""and those that differ in this can, with a warning: what it is called, and its value in words. Where either changes, a
new series begins. All else that a suite says was measured, or is told by newer records alone."""


class Ratio(NamedTuple):
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


class Measured(NamedTuple):
    """One cell in one night."""

    cell: str
    """Its id."""
    path: str
    suite: str
    outcome: record.Outcome
    reason: str | None
    seconds: float | None
    """Median of the samples that count; None where none counts."""


class Ratios(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True, gc=False):
    """The pairs of a night by column, each with a value for each pair, as ``Ratio`` has them."""

    baselines: list[int] = []
    candidates: list[int] = []
    metrics: list[Metric] = []
    log_ratios: list[float] = []
    errors: list[float] = []
    blocks: list[int] = []

    @classmethod
    def of(cls, rows: Iterable[Ratio]) -> Ratios:
        """These pairs by column."""
        return cls(*map(list, zip(*rows, strict=True)))

    def rows(self) -> list[Ratio]:
        """One after another."""
        columns = self.baselines, self.candidates, self.metrics, self.log_ratios, self.errors, self.blocks
        return [Ratio(*row) for row in zip(*columns, strict=True)]


class Cells(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True, gc=False):
    """The cells of a night by column, each with a value for each cell, as ``Measured`` has them."""

    ids: list[str] = []
    paths: list[str] = []
    suites: list[str] = []
    outcomes: list[record.Outcome] = []
    reasons: list[str | None] = []
    seconds: list[float | None] = []

    @classmethod
    def of(cls, rows: Iterable[Measured]) -> Cells:
        """These cells by column."""
        return cls(*map(list, zip(*rows, strict=True)))

    def rows(self) -> list[Measured]:
        """One after another."""
        columns = self.ids, self.paths, self.suites, self.outcomes, self.reasons, self.seconds
        return [Measured(*row) for row in zip(*columns, strict=True)]


class Opening(msgspec.Struct, frozen=True, gc=False):
    """How the line of a run begins: which run it is, and how it ended."""

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

    @property
    def group(self) -> tuple[str, str, str]:
        """Nights of one group are compared with one another: same profile, testbed, and kind of testbed."""
        return self.profile, self.testbed, self.kind

    @property
    def compared(self) -> bool:
        """Whether it is compared with others."""
        return self.status == "complete" and self.problem is None


class Night(Opening, frozen=True, forbid_unknown_fields=True, gc=False):
    """One run."""

    facts: dict[str, str] = {}
    """What of the hosts and the harness may explain a change, by name."""
    terms: dict[str, str] = {}
    """What else must be alike for two nights to be of one series, by suite."""
    links: dict[str, str] = {}
    """Over what links its transfers went, by suite: where two nights tell it, it must be alike, too. Older records do
    not tell it."""
    cells: Cells = Cells()
    ratios: Ratios = Ratios()


def key(path: Path) -> str:
    """Changes when the record does."""
    return " ".join([str(VERSION), *(stamp(path / name) for name in ("run.json", "samples.jsonl"))])


def stamp(path: Path) -> str:
    """Changes when a file does."""
    try:
        stat = path.stat()
    except OSError:
        return "missing"
    return f"{stat.st_mtime_ns}-{stat.st_size}"


def in_order(nights: Iterable[Night]) -> list[Night]:
    """Oldest first."""
    return sorted(nights, key=place)


def place(one: Opening) -> tuple[str, str]:
    """Its place in the order of nights."""
    return moment(one), one.folder


def moment(one: Opening) -> str:
    """When a night began; of an unreadable one by its folder's name, which begins with a time; empty without one."""
    digits = one.folder[:15].replace("-", "")
    if one.started or len(digits) != 14 or not digits.isdigit():
        return one.started
    return f"{digits[:4]}-{digits[4:6]}-{digits[6:8]}T{digits[8:10]}:{digits[10:12]}:{digits[12:14]}"


def unreadable(path: Path, error: Exception) -> Night:
    """A record that cannot be read, or holds what could not be foreseen."""
    return Night(key=key(path), folder=path.name, problem=told(error))


def told(error: Exception) -> str:
    """An error in a line."""
    reason = str(error).split("\n")[0]
    return reason if isinstance(error, HarnessError) else f"{type(error).__name__}: {reason}"


def of(path: Path, key: str, head: Head, samples: Columns, lost: str | None = None) -> Night:
    """A record that was read, with its ``samples`` (``reports/table.py``) and what they lack, as a night."""
    numbers = table(samples)
    return Night(
        key=key,
        folder=path.name,
        started=_utc(head.started).isoformat(),
        profile=head.profile.name,
        testbed=head.testbed.name,
        kind=head.testbed.kind,
        label=words.label(head.testbed),
        status=head.status,
        reason=head.reason,
        lost=lost,
        facts=_facts(head),
        terms={suite.name: _terms(suite, head.estimator, head.receiver) for suite in head.suites},
        links=_links(head),
        cells=Cells.of(
            Measured(cell.id, cell.path, cell.suite, cell.outcome, cell.reason, _seconds(numbers, cell.id))
            for cell in head.cells
        ),
        ratios=Ratios.of(_ratios(head, numbers)),
    )


def _ratios(head: Head, numbers: Table) -> Iterator[Ratio]:
    """Of all pairs that the run's verdicts compare, a metric after the other."""
    places = {cell.id: n for n, cell in enumerate(head.cells) if cell.outcome == "measured"}
    pairs: dict[Metric, dict[tuple[str, str], None]] = {}
    for one in head.verdicts:
        if one.baseline in places and one.candidate in places:
            pairs.setdefault(one.metric, {})[one.baseline, one.candidate] = None
    for metric, some in pairs.items():
        for (a, b), mean in zip(some, numbers.means([*some], metric), strict=True):
            if mean:
                yield Ratio(places[a], places[b], metric, _short(mean[0]), _short(mean[1]), mean[2])


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
    return json.dumps(of_all | suite.model_dump(include={*MEANING, *WAY}, exclude_defaults=True), sort_keys=True)


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
