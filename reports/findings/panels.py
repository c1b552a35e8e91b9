"""Which figures a record asks for: one panel for each suite and cipher, nothing tied to a profile."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd

from harness.record import ON_DISK, Cell, Head, Run, SuiteEntry, Verdict
from reports import frame, words
from reports.findings import headline


@dataclass(frozen=True)
class Series:
    """The bars of one colour: a path, with its driver where the panel has several. ``title``: what the path is."""

    path: str
    driver: str | None
    colour: int
    baseline: bool
    title: str = ""

    @property
    def label(self) -> str:
        """Its name in figure and legend."""
        return f"{self.path} · {self.driver}" if self.driver else self.path


@dataclass(frozen=True)
class Panel:
    """The cells shown together: one suite, one cipher, and the unencrypted cells that they are compared with."""

    key: str
    """Names it in the page."""
    suite: SuiteEntry
    cipher: str
    series: tuple[Series, ...]
    groups: tuple[str, ...]
    """Labels of the sizes."""
    slots: dict[tuple[int, int], Cell]
    """Cells by the places of their series and their size."""
    summary: pd.DataFrame
    """The rows of these cells (``frame.cells``), by id."""
    against: str
    """What the baseline is called."""
    verdicts: dict[tuple[str, str], Verdict] = field(default_factory=dict)
    """By the candidate's id and the metric."""

    @cached_property
    def rows(self) -> dict[str, dict[str, Any]]:
        """The same by id."""
        return dict(zip(self.summary.index, records(self.summary), strict=True))

    @property
    def title(self) -> str:
        """What the panel is about."""
        name = words.FIGURES.get(self.suite.figure or 0, self.suite.name)
        if self.suite.figure == 7:
            name = f"The scheme against {self.against}"
        cipher = "" if self.cipher in words.UNENCRYPTED else f" · {words.cipher(self.cipher)}"
        mac = words.hmac(self.suite, self.cipher)
        cipher += f" · {mac}" if mac else ""
        asked = {cell.driver_found or cell.driver for cell in self.cells if cell.driver != "any"}
        driver = f" by {asked.pop()}" if cipher and len(asked) == 1 else ""
        return f"{name}{cipher}{driver}{f' · TLS {self.suite.tls}' if self.suite.tls else ''}"

    @property
    def subtitle(self) -> str:
        """Where the panel comes from and over which link."""
        shown = f"answers Figure {self.suite.figure} of the paper; " if self.suite.figure else ""
        limit = self.suite.link_rate_bits_per_second
        far = f", {self.suite.conditions}" if self.suite.conditions else ""
        sent = f"; sent by {self.suite.sent_by}" if self.suite.sent_by else ""
        sent += f"; {ON_DISK}" if self.suite.files == "disk" else ""
        return f"Suite {self.suite.name}; {shown}link rate {words.rate(limit)}{far}{sent}"

    @property
    def cells(self) -> list[Cell]:
        """Its cells, in no order."""
        return list(self.slots.values())


def panels(run: Run, summary: pd.DataFrame) -> list[Panel]:
    """The panels of a record, in the order of its suites; kernel cryptography moves no file and has none. What load did
    at fixed rates is in none: all paths give the same there (``load.py`` has their latencies)."""
    head = run.head
    order = [suite.name for suite in head.suites]
    names = list(dict.fromkeys([*order, *(cell.suite for cell in head.cells)]))
    made: list[Panel] = []
    indexed = summary.set_index("cell", drop=False)
    for name in names:
        if words.question(headline.suite_of(head, name)) == "kernel-crypto":
            continue
        mine = [cell for cell in head.cells if cell.suite == name and cell.rate_share is None]
        bare = [cell for cell in mine if cell.cipher in words.UNENCRYPTED]
        ciphers = list(dict.fromkeys(cell.cipher for cell in mine if cell not in bare))
        for cipher in ciphers or (["none"] if bare else []):
            cells = [cell for cell in mine if cell in bare or cell.cipher == cipher]
            made.append(_panel(head, name, cipher, len(made), cells, indexed))
    return made


def _panel(head: Head, name: str, cipher: str, number: int, cells: list[Cell], summary: pd.DataFrame) -> Panel:
    suite = headline.suite_of(head, name)
    drivers: dict[str, set[str]] = {}
    for cell in cells:
        drivers.setdefault(cell.path, set()).add(cell.driver)
    keys = list(dict.fromkeys((cell.path, cell.driver) for cell in cells))
    series = [
        Series(
            path, driver if len(drivers[path]) > 1 else None, n, path == suite.baseline, words.path_title(head, path)
        )
        for n, (path, driver) in enumerate(keys)
    ]
    buffers = _buffers_matter(cells)
    sizes = sorted({_size_key(cell, buffers) for cell in cells})
    labels = tuple(_size_label(key, buffers) for key in sizes)
    slots = {(keys.index((c.path, c.driver)), sizes.index(_size_key(c, buffers))): c for c in cells}
    ids = [cell.id for cell in cells]
    return Panel(
        key=re.sub(r"[^a-z0-9]+", "-", f"p{number + 1}-{name}-{cipher}".lower()).strip("-")[:60],
        suite=suite,
        cipher=cipher,
        series=tuple(series),
        groups=labels,
        slots=slots,
        summary=summary.loc[ids],
        against=words.baseline(head, suite.baseline),
        verdicts={(v.candidate, v.metric): v for v in head.verdicts if v.candidate in set(ids)},
    )


def quantity(panel: Panel) -> str:
    """What the panel's bars show: goodput, or the time of a request where single ones were timed."""
    timed = panel.summary["latency_p50_us"].notna().any()
    return "latency_p50_us" if timed else "goodput_bits_per_second"


def absent(panel: Panel) -> list[tuple[str, str, str]]:
    """What the figures of a panel cannot show: (path and sizes, outcome, reason), sizes of one reason together."""
    merged: dict[tuple[str, str, str], list[str]] = {}
    for (s, g), cell in sorted(panel.slots.items()):
        reason = cell.reason or ""
        outcome: str = cell.outcome
        if outcome == "measured":
            if counted(panel, cell):
                continue
            outcome, reason = "no samples", "no sample of it counts"
        merged.setdefault((panel.series[s].label, outcome, reason), []).append(panel.groups[g])
    return [
        (f"{label}, {', '.join(groups)}", outcome, reason or "no reason was recorded")
        for (label, outcome, reason), groups in merged.items()
    ]


def value(panel: Panel, cell: Cell, name: str) -> tuple[float, float, float]:
    """A cell's mean of a quantity with its interval."""
    row = panel.rows[cell.id]
    return float(row[name]), float(row[f"{name}_low"]), float(row[f"{name}_high"])


def counted(panel: Panel, cell: Cell) -> int:
    """How many samples of a cell count."""
    return int(panel.rows[cell.id]["samples"])


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a data frame; its own way takes five times as long."""
    columns = [table[name].tolist() for name in table.columns]
    return [dict(zip(table.columns, row, strict=True)) for row in zip(*columns, strict=True)]


def has_cpu(panel: Panel) -> bool:
    """Whether either host's CPU was counted."""
    return bool(panel.summary[list(frame.CPU)].notna().any(axis=None))


def _buffers_matter(cells: list[Cell]) -> bool:
    seen: dict[tuple[str, str, int | None], set[int | None]] = {}
    for cell in cells:
        seen.setdefault((cell.path, cell.driver, cell.size_bytes), set()).add(cell.buffer_bytes)
    return any(len(buffers) > 1 for buffers in seen.values())


def _size_key(cell: Cell, buffers: bool) -> tuple[int, int, int, int]:
    buffer = (cell.buffer_bytes or 0) if buffers else 0
    return cell.size_bytes or 0, buffer, cell.workers or 0, cell.connections or 0


def _size_label(key: tuple[int, int, int, int], buffers: bool) -> str:
    size_bytes, buffer_bytes, workers, connections = key
    if connections:
        return words.size(size_bytes or None) + words.over(connections, workers=workers or None)
    if not buffers:
        return words.size(size_bytes or None)
    buffer = f"{words.size(buffer_bytes)} buffer" if buffer_bytes else "no buffer"
    return f"{words.size(size_bytes)}, {buffer}" if size_bytes else buffer
