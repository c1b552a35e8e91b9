"""Two runs held against each other, cell by cell: what differs between the hosts first, then what changed.

What is compared is each pair's ratio to its baseline within a run, from the logarithms of its blocks: Welch's t test
of run A's against run B's, Holm's correction over all pairs and metrics. Where a history of such runs is at hand, what
a run as a whole adds to a ratio is part of the test's error; two runs alone cannot tell it. Absolute times are shown
and never judged: they drift by factors from boot to boot.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from scipy.special import stdtr, stdtrit

from harness import record
from harness.record import Head, Metric
from hosts.errors import HarnessError
from reports import facts, quick, words
from reports.nights.series import Group, Key, spread
from reports.table import FEWEST, Numbers, Table, factor, mean_and_error, table

LEVEL = 0.05
"""Of all tests of one comparison together."""
LINK_NEAR = 0.05
"""Measured goodputs of the link that differ by less than this fraction are alike."""
UNFAIR = (
    "kernel",
    "kernel_command_line",
    "processor",
    "processors",
    "cpu",
    "microcode",
    "mitigations",
    "governor",
    "clocksource",
    "link",
    "nic",
    "tcp_congestion_control",
    "programs",
    "versions",
    "os",
)
"""Facts of a host by which two runs differ in more than what is compared."""
MEANING = ("baseline", "tls", "connection", "requests", "instructions")
"""What a suite's cells mean, besides their names."""
Weight = Literal["refuse", "warn", "tell"]
Word = Literal["worse", "better", "same", "cannot tell"]


@dataclass(frozen=True)
class Side:
    """One of the two runs. ``lost``: what its samples lack (``record.lost``)."""

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
    """One pair in both runs. ``change`` is ratio B / ratio A: over 1 the candidate got better. Its 95 % interval is for
    this pair alone; ``p`` is corrected for all pairs. None where a run has too few blocks."""

    baseline: str
    candidate: str
    metric: Metric
    ratio_a: float | None
    ratio_b: float | None
    blocks_a: int
    blocks_b: int
    change: float | None
    low: float | None
    high: float | None
    p: float | None
    word: Word


@dataclass(frozen=True)
class Absolute:
    """A cell's median seconds in both runs."""

    cell: str
    a: float
    b: float


@dataclass(frozen=True)
class Comparison:
    """Run A against run B. ``lost``: cells that A measured and B failed at or found invalid: (id, why). ``nights``: how
    many runs of the history told what a run as a whole adds to a ratio; 0 where that is not known."""

    a: Side
    b: Side
    differences: tuple[Difference, ...]
    rows: tuple[Row, ...]
    absolute: tuple[Absolute, ...]
    lost: tuple[tuple[str, str], ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    nights: int

    @property
    def refused(self) -> list[Difference]:
        """Why the two cannot be compared."""
        return [one for one in self.differences if one.weight == "refuse"]

    @property
    def status(self) -> int:
        """0: nothing got worse, 1: something did, 2: nothing could be compared."""
        if not any(row.change is not None for row in self.rows) and not self.lost:
            return 2
        return 1 if self.lost or any(row.word == "worse" for row in self.rows) else 0

    @property
    def summary(self) -> str:
        """What came out, in one sentence."""
        if self.status == 2:
            return "Nothing can be compared: no pair has enough blocks in both runs."
        said = [f"{n} {word}" for word in ("worse", "better", "same", "cannot tell")
                if (n := sum(row.word == word for row in self.rows))]  # fmt: skip
        gone = f"; {words.count(len(self.lost), 'cell')} no longer measured" if self.lost else ""
        return f"Of {words.count(len(self.rows), 'ratio')}: {', '.join(said)}{gone}."


def find(results: Path, name: str) -> Path:
    """A run's folder by its name in ``results``, by ``latest``, or by its path. Raises HarnessError."""
    newest = record.latest(results) if name == "latest" else None
    for path in (newest or results / name, Path(name)):
        if (path / "run.json").exists():
            return path.resolve()
    raise HarnessError(
        f"there is no run {name!r}, neither in {results} nor as a path",
        next_step="name a folder that has a run.json",
    )


def side(path: Path) -> Side:
    """Read one run. Raises RecordError."""
    head = record.read_head(path)
    samples, lost = quick.samples(path, head)
    return Side(path, head, table(samples), lost)


def compare(a: Side, b: Side, history: Sequence[Group] = ()) -> Comparison:
    """Hold two runs against each other; ``history``: the runs of many nights, of which those of B's kind are used."""
    cells_a, cells_b = ({cell.id: cell for cell in one.head.cells} for one in (a, b))
    both = [name for name in cells_a if name in cells_b]
    lost = [
        (name, f"{cells_b[name].outcome}, {cells_b[name].reason or 'no reason was recorded'}")
        for name in both
        if cells_a[name].outcome == "measured" and cells_b[name].outcome in ("failed", "invalid")
    ]
    mine = b.head.profile.name, b.head.testbed.name, b.head.testbed.kind
    group = next((one for one in history if one.name == mine), None)
    apart = {one.key: found for one in (group.series if group else ()) if (found := spread(one))}
    rows = list(_rows(a, b, apart))
    corrected = holm([row.p for row in rows])
    return Comparison(
        a=a,
        b=b,
        differences=tuple(differences(a.head, b.head)),
        rows=tuple(_judged(row, p, _margin(b.head)) for row, p in zip(rows, corrected, strict=True)),
        absolute=tuple(_absolute(a, b, both)),
        lost=tuple(lost),
        only_a=tuple(name for name in cells_a if name not in cells_b),
        only_b=tuple(name for name in cells_b if name not in cells_a),
        nights=len(group.nights) if group and apart else 0,
    )


def holm(values: Sequence[float | None]) -> list[float | None]:
    """P values corrected for their number by Holm's method; None stays None."""
    known = sorted((p, n) for n, p in enumerate(values) if p is not None)
    corrected: list[float | None] = [None] * len(values)
    largest = 0.0
    for done, (p, n) in enumerate(known):
        largest = max(largest, min(1.0, p * (len(known) - done)))
        corrected[n] = largest
    return corrected


def welch(a: Numbers, b: Numbers, apart: tuple[float, float] | None = None) -> tuple[float, float, float]:
    """Difference of means b - a, half of its 95 % interval, and the p value of Welch's t test.

    ``apart``: the variance that each run as a whole adds, and its degrees of freedom. Values that do not vary at all
    are taken at their word: p is 0 where they differ, 1 where not.
    """
    (mean_a, error_a), (mean_b, error_b) = mean_and_error(a), mean_and_error(b)
    parts = [(error_a**2, len(a) - 1), (error_b**2, len(b) - 1), *([(2 * apart[0], apart[1])] if apart else [])]
    difference, total = mean_b - mean_a, sum(part for part, _ in parts)
    if total == 0:
        return difference, 0.0, 0.0 if difference else 1.0
    error, freedom = math.sqrt(total), 1 / sum((part / total) ** 2 / own for part, own in parts)
    half = float(stdtrit(freedom, 0.975)) * error
    return difference, half, 2 * float(stdtr(freedom, -abs(difference) / error))


def _rows(a: Side, b: Side, apart: Mapping[Key, tuple[float, float]]) -> Iterable[Row]:
    """The pairs that both runs compared, in B's order, not judged yet."""
    pairs = {(v.baseline, v.candidate, v.metric) for v in a.head.verdicts}
    measured = [{cell.id for cell in one.head.cells if cell.outcome == "measured"} for one in (a, b)]
    for v in b.head.verdicts:
        if (v.baseline, v.candidate, v.metric) not in pairs:
            continue
        if not all({v.baseline, v.candidate} <= some for some in measured):
            continue
        logs = [one.numbers.log_ratios(v.baseline, v.candidate, v.metric) for one in (a, b)]
        ratio_a, ratio_b = (factor(float(some.mean())) if len(some) else None for some in logs)
        change = low = high = p = None
        if all(len(some) >= FEWEST for some in logs):
            difference, half, p = welch(logs[0], logs[1], apart.get((v.baseline, v.candidate, v.metric)))
            change, low, high = (factor(difference + part) for part in (0.0, -half, half))
        yield Row(
            baseline=v.baseline,
            candidate=v.candidate,
            metric=v.metric,
            ratio_a=ratio_a,
            ratio_b=ratio_b,
            blocks_a=len(logs[0]),
            blocks_b=len(logs[1]),
            change=change,
            low=low,
            high=high,
            p=p,
            word="cannot tell",
        )


def _judged(row: Row, p: float | None, margin: float) -> Row:
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
        x, y = (one.numbers.median_seconds(name) for one in (a, b))
        if x and y:
            yield Absolute(name, x, y)


def differences(a: Head, b: Head) -> list[Difference]:
    """What differs besides the results, the gravest first."""
    found = [
        Difference("testbed's kind", a.testbed.kind, b.testbed.kind, "refuse"),
        Difference("testbed", a.testbed.name, b.testbed.name, "tell"),
        Difference("profile", a.profile.name, b.profile.name, "warn"),
        Difference("profile's content (SHA-256)", a.profile.sha256[:12], b.profile.sha256[:12], "warn"),
        Difference("status", a.status, b.status, "warn"),
        Difference("harness", a.harness, b.harness, "tell"),
    ]
    if a.status == b.status != "complete":
        found.append(Difference("status", a.status, f"{b.status}, both", "warn"))
    found += [*_cells(a, b), *_suites(a, b), *_hosts(a, b)]
    order = ("refuse", "warn", "tell")
    return sorted((one for one in found if one.a != one.b), key=lambda one: order.index(one.weight))


def _cells(a: Head, b: Head) -> Iterable[Difference]:
    """Cells of one name that are not the same thing, and the drivers that were bound."""
    others = {cell.id: cell for cell in b.cells}
    for cell in a.cells:
        other = others.get(cell.id)
        if other is None:
            continue
        for name in ("path", "cipher", "driver", "size_bytes", "buffer_bytes", "depth"):
            one, two = str(getattr(cell, name)), str(getattr(other, name))
            yield Difference(f"{cell.id}: {name}", one, two, "refuse")
        if cell.driver_found and other.driver_found:
            yield Difference(f"{cell.id}: driver found", cell.driver_found, other.driver_found, "warn")


def _suites(a: Head, b: Head) -> Iterable[Difference]:
    others = {suite.name: suite for suite in b.suites}
    for suite in a.suites:
        other = others.get(suite.name)
        if other is None:
            continue
        for name in MEANING:
            one, two = str(getattr(suite, name)), str(getattr(other, name))
            yield Difference(f"suite {suite.name}: {name}", one, two, "refuse")
        one, two = (words.rate(entry.link_rate_bits_per_second) for entry in (suite, other))
        yield Difference(f"suite {suite.name}: link rate", one, two, "warn")
        x, y = (entry.link.get("goodput_bits_per_second") for entry in (suite, other))
        if x and y and abs(x - y) > LINK_NEAR * max(x, y):
            yield Difference(f"suite {suite.name}: goodput of the link", words.rate(x), words.rate(y), "warn")


def _hosts(a: Head, b: Head) -> Iterable[Difference]:
    roles: tuple[Literal["sender", "receiver"], ...] = ("sender", "receiver")
    pairs = [(str(role), a.hosts.get(role, {}), b.hosts.get(role, {})) for role in roles]
    if a.testbed.machine and b.testbed.machine:
        pairs.append(("machine that emulates", a.testbed.machine, b.testbed.machine))
    for role, one, two in pairs:
        rows = facts.side_by_side({role: one}, {role: two})
        for row in (row for some in rows.values() for row in some if row.differs):
            first = row.name.partition(".")[0]
            yield Difference(f"{role}: {row.name}", row.values[0], row.values[1], "warn" if first in UNFAIR else "tell")
