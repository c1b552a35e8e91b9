"""Two runs compared, cell by cell: what differs between the hosts first, then what changed.

Each pair's ratio to its baseline within a run is compared, as the run's own verdicts make it: Welch's t test of run A's
mean log ratio against run B's, each with the error that its boots tell, Holm's correction over all pairs and metrics. A
run of one boot does not tell what a boot adds to a ratio, and is not judged by itself. Where a history of such runs is
at hand, what a run as a whole adds is part of the test's error, and then it is. Absolute times are shown and never
judged: they drift by factors from boot to boot.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from scipy.special import stdtr, stdtrit

from harness import records
from harness.record import Head, Metric
from harness.verdicts.stats import Mean
from hosts.errors import Refusal
from hosts.roles import ROLES
from reports import facts, words
from reports.nights import dataset
from reports.nights.dataset import History
from reports.nights.history import MEANING, WAY
from reports.nights.series import Group, Key, groups, spread
from reports.table import Table, columns, factor, table

LEVEL = 0.05
"""Of all tests of one comparison together."""
LINK_NEAR = 0.05
"""Measured goodputs of the link that differ by less than this fraction are alike."""
FAIR = ("memory_kib", "crypto_drivers", "accelerators", "qatengine", "so_crypt", "devcrypto", "clock", "not_quiet")
"""Facts of a host that may differ between two runs which are compared: what of them a cell used, the cell says. By any
other, two runs differ in more than what is compared."""
Weight = Literal["refuse", "warn", "tell"]
Word = Literal["worse", "better", "same", "cannot tell"]
OLDER, OLDER_RECEIVER = "trimmed-1", "callback-1"
"""The estimator and the receiver of records that do not name theirs."""


@dataclass(frozen=True)
class Side:
    """One of the two runs. ``lost``: what its samples lack (``record.Run``)."""

    path: Path
    head: Head
    numbers: Table
    lost: str | None


@dataclass(frozen=True)
class Difference:
    """Something that is not the same in both runs. ``weight``: whether it makes the comparison unfair, and how much."""

    name: str
    a: str
    b: str
    weight: Weight


@dataclass(frozen=True)
class Row:
    """One pair in both runs. Numbers are None where a run has too few blocks."""

    baseline: str
    """The id of a cell."""
    candidate: str
    """The id of a cell."""
    metric: Metric
    ratio_a: float | None
    """baseline / candidate in run A."""
    ratio_b: float | None
    """The same in run B."""
    blocks_a: int
    blocks_b: int
    change: float | None
    """Ratio B / ratio A: over 1 the candidate got better."""
    low: float | None
    """Where the 95 % interval of the change begins, for this pair alone."""
    high: float | None
    """Where it ends."""
    p: float | None
    """That of the change, corrected for all pairs; None where it is not known what boots add to it."""
    word: Word


@dataclass(frozen=True)
class Absolute:
    """A cell's median seconds in both runs."""

    cell: str
    a: float
    b: float


@dataclass(frozen=True)
class Comparison:
    """Run A against run B."""

    a: Side
    b: Side
    differences: tuple[Difference, ...]
    """Between hosts, profiles and links."""
    rows: tuple[Row, ...]
    absolute: tuple[Absolute, ...]
    """Times of cells that both measured: shown, never compared."""
    lost: tuple[tuple[str, str], ...]
    """Cells that A measured and B failed at or found invalid: (id, why)."""
    only_a: tuple[str, ...]
    """Cells that B does not have."""
    only_b: tuple[str, ...]
    """Cells that A does not have."""
    nights: int
    """How many runs of the history told what a run as a whole adds to a ratio; 0 where that is not known."""

    @property
    def refused(self) -> list[Difference]:
        """Why the two cannot be compared."""
        return [difference for difference in self.differences if difference.weight == "refuse"]

    @property
    def status(self) -> int:
        """0: nothing got worse, 1: something did, 2: nothing could be judged."""
        if not any(row.p is not None for row in self.rows) and not self.lost:
            return 2
        return 1 if self.lost or any(row.word == "worse" for row in self.rows) else 0

    @property
    def summary(self) -> str:
        """What came out, in one sentence."""
        if self.status == 2:
            if any(row.change is not None for row in self.rows):
                return "Nothing can be judged: a run of one boot does not tell what a boot adds to a ratio."
            return "Nothing can be compared: no pair has enough blocks in both runs."
        counts = [f"{n} {word}" for word in ("worse", "better", "same", "cannot tell")
                if (n := sum(row.word == word for row in self.rows))]  # fmt: skip
        gone = f"; {words.count(len(self.lost), 'cell')} no longer measured" if self.lost else ""
        return f"Of {words.count(len(self.rows), 'ratio')}: {', '.join(counts)}{gone}."


def find(results: Path, name: str) -> Path:
    """A run's folder by its name in ``results``, by ``latest``, or by its path. Raises Refusal."""
    newest = records.latest(results) if name == "latest" else None
    for path in (newest or results / name, Path(name)):
        if (path / "run.json").exists():
            return path.resolve()
    raise Refusal(
        f"there is no run {name!r}, neither in {results} nor as a path", next_step="name a folder that has a run.json"
    )


def side(path: Path) -> Side:
    """Read one run. Raises RecordError."""
    run = records.read(path)
    return Side(path, run.head, table(columns(path.name, run.head, run.samples)), run.lost)


def two(a: Path, b: Path, past: History | None) -> Comparison:
    """Read and compare two runs; ``past``: of the results folder that B's kind is looked for in. Raises RecordError."""
    sides = side(a), side(b)
    of_b = dataset.named(sides[1].head.profile.name, sides[1].head.testbed.name)
    return compare(*sides, groups(past.nights([of_b])) if past else ())


def compare(a: Side, b: Side, history: Sequence[Group] = ()) -> Comparison:
    """Compare two runs; ``history``: the runs of many nights, of which those of B's kind are used."""
    cells_a, cells_b = ({cell.id: cell for cell in run.head.cells} for run in (a, b))
    both = [name for name in cells_a if name in cells_b]
    lost = [
        (name, f"{cells_b[name].outcome}, {cells_b[name].reason or 'no reason was recorded'}")
        for name in both
        if cells_a[name].outcome == "measured" and cells_b[name].outcome in ("failed", "invalid")
    ]
    mine = b.head.profile.name, b.head.testbed.name, b.head.testbed.kind
    group = next((group for group in history if group.name == mine), None)
    apart = {series.key: added for series in (group.series if group else ()) if (added := spread(series))}
    rows = list(_rows(a, b, apart))
    corrected = holm([row.p for row in rows])
    return Comparison(
        a=a,
        b=b,
        differences=tuple(differences(a.head, b.head)),
        rows=tuple(_worded(row, p, _margin(b.head)) for row, p in zip(rows, corrected, strict=True)),
        absolute=tuple(_absolute(a, b, both)),
        lost=tuple(lost),
        only_a=tuple(name for name in cells_a if name not in cells_b),
        only_b=tuple(name for name in cells_b if name not in cells_a),
        nights=len(group.nights) if group and apart else 0,
    )


def holm(values: Sequence[float | None]) -> list[float | None]:
    """P values corrected for their number by Holm's method; None stays None."""
    ranked = sorted((p, n) for n, p in enumerate(values) if p is not None)
    corrected: list[float | None] = [None] * len(values)
    largest = 0.0
    for done, (p, n) in enumerate(ranked):
        largest = max(largest, min(1.0, p * (len(ranked) - done)))
        corrected[n] = largest
    return corrected


def welch(a: Mean, b: Mean, apart: tuple[float, float] | None = None) -> tuple[float, float, float]:
    """Difference of means b - a, half of its 95 % interval, and the p value of Welch's t test.

    ``apart``: the variance that each run as a whole adds, and its degrees of freedom. Values that do not vary at all
    are taken at their word: p is 0 where they differ, 1 where not.
    """
    parts = [(one.error**2, one.freedom) for one in (a, b)] + ([(2 * apart[0], apart[1])] if apart else [])
    difference, total = b.mean - a.mean, sum(part for part, _ in parts)
    if total == 0:
        return difference, 0.0, 0.0 if difference else 1.0
    error, freedom = math.sqrt(total), 1 / sum((part / total) ** 2 / own for part, own in parts)
    half = float(stdtrit(freedom, 0.975)) * error
    return difference, half, 2 * float(stdtr(freedom, -abs(difference) / error))


def _rows(a: Side, b: Side, apart: Mapping[Key, tuple[float, float]]) -> Iterable[Row]:
    """The pairs that both runs compared, in B's order, without a word yet."""
    pairs = {(v.baseline, v.candidate, v.metric) for v in a.head.verdicts}
    measured = [run.head.measured for run in (a, b)]
    for v in b.head.verdicts:
        if (v.baseline, v.candidate, v.metric) not in pairs:
            continue
        if not all({v.baseline, v.candidate} <= cells for cells in measured):
            continue
        found = [run.numbers.mean(v.baseline, v.candidate, v.metric) for run in (a, b)]
        yield _row(
            v.baseline, v.candidate, v.metric, found[0], found[1], apart.get((v.baseline, v.candidate, v.metric))
        )


def _row(
    baseline: str, candidate: str, metric: Metric, a: Mean | None, b: Mean | None, apart: tuple[float, float] | None
) -> Row:
    change = low = high = p = None
    if a and b:
        difference, half, p = welch(a, b, apart)
        change, low, high = (factor(difference + part) for part in (0.0, -half, half))
        if apart is None and min(a.rounds, b.rounds) < 2:
            p = None
    return Row(
        baseline=baseline,
        candidate=candidate,
        metric=metric,
        ratio_a=factor(a.mean) if a else None,
        ratio_b=factor(b.mean) if b else None,
        blocks_a=a.blocks if a else 0,
        blocks_b=b.blocks if b else 0,
        change=change,
        low=low,
        high=high,
        p=p,
        word="cannot tell",
    )


def _worded(row: Row, p: float | None, margin: float) -> Row:
    """A row with its corrected p value and its word, as a run's own verdicts use them."""
    if row.change is None or row.low is None or row.high is None or p is None:
        return row
    word: Word = "cannot tell"
    if 1 / (1 + margin) <= row.low and row.high <= 1 + margin:
        word = "same"
    elif p < LEVEL:
        word = "better" if row.change > 1 else "worse"
    return replace(row, p=p, word=word)


def _margin(head: Head) -> float:
    """Within which a ratio counts as the same: the profile's, as its verdicts have it."""
    return max((verdict.margin for verdict in head.verdicts), default=0.03)


def _absolute(a: Side, b: Side, both: Iterable[str]) -> Iterable[Absolute]:
    for name in both:
        x, y = (run.numbers.median_seconds(name) for run in (a, b))
        if x and y:
            yield Absolute(name, x, y)


def differences(a: Head, b: Head) -> list[Difference]:
    """What differs besides the results, the gravest first."""
    every = [
        Difference("testbed's kind", a.testbed.kind, b.testbed.kind, "refuse"),
        Difference("testbed", a.testbed.name, b.testbed.name, "tell"),
        Difference("profile", a.profile.name, b.profile.name, "warn"),
        Difference("profile's content (SHA-256)", a.profile.sha256[:12], b.profile.sha256[:12], "warn"),
        Difference("status", a.status, b.status, "warn"),
        Difference("harness", a.harness, b.harness, "tell"),
        Difference("estimator", a.estimator or OLDER, b.estimator or OLDER, "warn"),
        Difference("way of receiving", a.receiver or OLDER_RECEIVER, b.receiver or OLDER_RECEIVER, "warn"),
    ]
    if a.status == b.status != "complete":
        every.append(Difference("status", a.status, f"{b.status}, both", "warn"))
    every += [*_cells(a, b), *_suites(a, b), *_hosts(a, b)]
    order = ("refuse", "warn", "tell")
    return sorted(
        (difference for difference in every if difference.a != difference.b),
        key=lambda difference: order.index(difference.weight),
    )


def _cells(a: Head, b: Head) -> Iterable[Difference]:
    """Cells of one name that are not the same thing, and the drivers that were bound."""
    others = {cell.id: cell for cell in b.cells}
    for cell in a.cells:
        other = others.get(cell.id)
        if other is None:
            continue
        # the path has the interface
        for name in (
            "path",
            "cipher",
            "driver",
            "size_bytes",
            "buffer_bytes",
            "depth",
            "connections",
            "rate_share",
            "workers",
        ):
            in_a, in_b = str(getattr(cell, name)), str(getattr(other, name))
            yield Difference(f"{cell.id}: {name}", in_a, in_b, "refuse")
        if cell.driver_found and other.driver_found:
            yield Difference(f"{cell.id}: driver found", cell.driver_found, other.driver_found, "warn")
        if cell.receiver_driver and other.receiver_driver:
            yield Difference(f"{cell.id}: receiver's driver", cell.receiver_driver, other.receiver_driver, "warn")
    yield from _links(a, b)


def _links(a: Head, b: Head) -> Iterable[Difference]:
    """What of the links that transfers went over is not the same; once for all cells that have it so."""
    others = {cell.id: cell for cell in b.cells}
    found: dict[tuple[str, str, str], list[str]] = {}
    for cell in a.cells:
        other = others.get(cell.id)
        for role, link in cell.links.items() if other else ():
            there = other.links.get(role, {}) if other else {}
            for name in link.keys() & there.keys():
                sides = facts.plain(link[name]), facts.plain(there[name])
                found.setdefault((f"{role}'s link: {name}", *sides), []).append(cell.id)
    for (name, in_a, in_b), cells in sorted(found.items()):
        where = cells[0] if len(cells) == 1 else words.count(len(cells), "cell")
        yield Difference(f"{name} ({where})", in_a, in_b, "warn")


def _suites(a: Head, b: Head) -> Iterable[Difference]:
    others = {suite.name: suite for suite in b.suites}
    for suite in a.suites:
        other = others.get(suite.name)
        if other is None:
            continue
        for name in MEANING:
            in_a, in_b = str(getattr(suite, name)), str(getattr(other, name))
            yield Difference(f"suite {suite.name}: {name}", in_a, in_b, "refuse")
        for name, (said, shown) in WAY.items():
            in_a, in_b = (shown(getattr(entry, name)) for entry in (suite, other))
            yield Difference(f"suite {suite.name}: {said}", in_a, in_b, "warn")
        x, y = (entry.link.get("goodput_bits_per_second") for entry in (suite, other))
        if x and y and abs(x - y) > LINK_NEAR * max(x, y):
            yield Difference(f"suite {suite.name}: goodput of the link", words.rate(x), words.rate(y), "warn")


def _hosts(a: Head, b: Head) -> Iterable[Difference]:
    pairs = [(str(role), a.hosts.get(role, {}), b.hosts.get(role, {})) for role in ROLES]
    if a.testbed.machine and b.testbed.machine:
        pairs.append(("machine that emulates", a.testbed.machine, b.testbed.machine))
    for role, in_a, in_b in pairs:
        rows = facts.side_by_side({role: in_a}, {role: in_b})
        for row in (row for of_role in rows.values() for row in of_role if row.differs):
            first = row.name.partition(".")[0]
            # a fact that one of the records does not have was not asked for then
            weight: Weight = "tell" if first in FAIR or first not in in_a or first not in in_b else "warn"
            yield Difference(f"{role}: {row.name}", row.values[0], row.values[1], weight)
