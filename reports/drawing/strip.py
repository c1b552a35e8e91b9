"""Rows of marks on one logarithmic axis: small pictures that are in the page as they are, before any script has run.

Places are percentages of the picture's width, so that it fits every screen; the template draws them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.record import Head, Verdict
from harness.verdicts.answer import METRICS, Answer
from reports import words
from reports.drawing.forest import PAPER, ticks, unmeasured
from reports.findings import answer
from reports.findings.kernel_crypto import KernelCrypto, paper_line
from reports.findings.panels import Panel

ROWS, FOLDED_ROWS = 16, 12
"""At most that many, of a question and of a folded part: what more there is, is counted beneath and stands in a table.
"""
WIDEST, WIDE = 2.5, 1.4
"""How far beyond its ratio an interval may widen the axis: of a question's picture, and of a part's."""
PAPER_LINES = ("paper", "paper-time")
SYMBOLS = {"seconds": "time", "cpu_seconds_per_gb": "cpu", "receiver_cpu_seconds_per_gb": "cpu"}


@dataclass(frozen=True)
class Mark:
    """One value with its interval, and what was predicted for it with its own."""

    kind: str
    """``time``, ``cpu`` or ``other``: its symbol."""
    state: str
    """Its verdict: its colour."""
    at: float | None
    """None where it lies beyond the axis."""
    low: float
    """0 and 100 are beyond the axis."""
    high: float
    predicted: float | None = None
    predicted_low: float = 0.0
    predicted_width: float = 0.0


@dataclass(frozen=True)
class Row:
    """A line of the picture: what it is, its marks, and their values in words."""

    label: str
    marks: tuple[Mark, ...]
    value: str
    state: str
    heading: str = ""
    """Stands before it where a group of rows begins."""


@dataclass(frozen=True)
class Strip:
    """The picture: rows, ticks as (place, text), lines across as (name, place, text), and a band as (from, width)."""

    title: str
    rows: tuple[Row, ...]
    ticks: tuple[tuple[float, str], ...]
    lines: tuple[tuple[str, float, str], ...]
    band: tuple[float, float] | None
    axis: str
    margin: float
    """How far from 1 still counts as the same; the band shows it."""
    more: int = 0
    """How many rows there was no room for."""
    predicted: bool = False


class Axis:
    """Where a value is, in percent of a logarithmic axis."""

    def __init__(self, values: Iterable[float]) -> None:
        found = list(values)
        room = (max(found) / min(found)) ** 0.03
        self.low: float = min(found) / room
        self.high: float = max(found) * room

    def at(self, value: float) -> float:
        """Its place, at most the axis's ends."""
        inside = min(max(value, self.low), self.high)
        return round(100 * math.log(inside / self.low) / math.log(self.high / self.low), 2)

    def holds(self, value: float) -> bool:
        """Whether the axis reaches that far."""
        return self.low <= value <= self.high


def question(head: Head, found: Answer) -> Strip:
    """What the run's answer is about: a row for each comparison, those of time first."""
    every = [(place, metric) for metric in METRICS for place in found.places]
    several = len({place.cipher for place in found.places}) > 1
    # of load, where the size is always the same, headings have it: labels are short enough for a phone
    one_size = len({place.size for place in found.places}) == 1 and all(place.connections for place in found.places)
    known = [verdict for place, metric in every if (verdict := place.verdict(metric))]
    axis = _ratios(known, answer.papers(head, found), WIDEST)
    rows: list[Row] = []
    for n, (place, metric) in enumerate(every[:ROWS]):
        verdict, size = place.verdict(metric), words.size(place.size)
        load = words.over(place.connections, workers=place.workers)
        spot = load.removeprefix(" × ") if one_size else f"{size}{load}"
        named = words.METRICS[verdict.metric if verdict else metric] + (f", {size}" if one_size else "")
        heading = f"{named[0].upper()}{named[1:]}" if not n or every[n - 1][1] != metric else ""
        label = f"{words.cipher(place.cipher)} {spot}" if several else spot
        state = verdict.verdict if verdict and verdict.ratio else "missing"
        value = _said(verdict) if verdict else answer.reason(head, found, place)
        rows.append(Row(label, _marks(axis, [verdict]), value, state, heading))
    title = f"{found.candidate} against {found.baseline}: ratios with their intervals"
    return _strip(title, rows, axis, known, answer.papers(head, found), len(every) - len(rows), named=True)


def panel(panel: Panel) -> Strip | None:
    """A panel's candidates by size: a row each, time and CPU in it. None where nothing was compared."""
    found = []
    for s, series in enumerate(panel.series):
        heading = series.label
        for g, group in enumerate(panel.groups):
            cell = panel.slots.get((s, g))
            if series.baseline or cell is None:
                continue
            found.append((heading, group, cell, [panel.verdicts.get((cell.id, name)) for name in SYMBOLS]))
            heading = ""
    every = [v for _, _, _, verdicts in found for v in verdicts if v and v.ratio]
    if not every:
        return None
    paper = panel.suite.figure == 7
    # what does not encrypt may lie beyond the axis, unless there is nothing else
    enciphered = [v for _, _, cell, verdicts in found if cell.cipher not in words.UNENCRYPTED for v in verdicts if v]
    axis = _ratios(enciphered or every, paper, WIDE)
    rows = []
    for heading, group, cell, verdicts in found[:FOLDED_ROWS]:
        time = verdicts[0]
        missing = unmeasured(panel, cell)
        value = missing or (_said(time) if time else "–")
        state = "missing" if missing or time is None else time.verdict
        rows.append(Row(group, _marks(axis, verdicts), value, state, heading))
    title = f"{panel.title}: ratios to {panel.suite.baseline} with their intervals"
    return _strip(title, rows, axis, every, paper, len(found) - len(rows))


def crypto(made: KernelCrypto) -> Strip | None:
    """What enciphering a byte in the kernel costs, by cipher and driver, beside the paper's null cipher."""
    first = made.interfaces[0] if made.interfaces else None
    mine = [curve for curve in made.curves if curve.enciphers and curve.interface == first]
    curves = [curve for curve in mine if curve.model and curve.model.byte_seconds.mean]
    if not curves:
        return None
    paper = paper_line().byte_seconds * 1e9
    costs = [(curve, curve.model.byte_seconds) for curve in curves if curve.model]
    axis = Axis([paper, *(cost.mean * 1e9 for _, cost in costs)])
    several = len({curve.driver for curve in curves}) > 1
    rows = []
    for curve, cost in costs[:FOLDED_ROWS]:
        mean = cost.mean * 1e9
        low, high = (mean if value is None else value * 1e9 for value in (cost.low, cost.high))
        label = words.cipher_title(curve.cipher) + (f", {curve.driver}" if several and curve.driver != "any" else "")
        rows.append(Row(label, (Mark("other", "same", axis.at(mean), axis.at(low), axis.at(high)),),
                        f"{words.number(mean, 3)} ns", "same"))  # fmt: skip
    lines = (("paper", axis.at(paper), "paper's null cipher"),)
    title = "What enciphering a byte costs in the kernel"
    return Strip(title, tuple(rows), _ticks(axis), lines, None, "ns a byte", 0.0, len(costs) - len(rows))


def _strip(
    title: str,
    rows: Sequence[Row],
    axis: Axis,
    verdicts: Sequence[Verdict],
    paper: bool,
    more: int,
    named: bool = False,
) -> Strip:
    """``named``: whether the paper's lines say what they are."""
    margin = max((verdict.margin for verdict in verdicts), default=0.0)
    band = (axis.at(1 - margin), round(axis.at(1 + margin) - axis.at(1 - margin), 2)) if margin else None
    lines = [("one", axis.at(1), "")]
    if paper:
        lines += [(name, axis.at(at), f"× {at}" if named else "") for name, at in zip(PAPER_LINES, PAPER, strict=True)]
    predicted = any(mark.predicted is not None for row in rows for mark in row.marks)
    return Strip(title, tuple(rows), _ticks(axis), tuple(lines), band, "times as good", margin, more, predicted)


def _ratios(verdicts: Sequence[Verdict], paper: bool, widest: float) -> Axis:
    """An axis for ratios: for each of them, and their intervals as far as these are not wild."""
    values = [0.95, PAPER[1] * 1.03 if paper else 1.05]
    for verdict in verdicts:
        if verdict.ratio:
            values += [verdict.ratio, max(verdict.ci_low or verdict.ratio, verdict.ratio / widest)]
            values += [min(verdict.ci_high or verdict.ratio, verdict.ratio * widest)]
    return Axis(values)


def _ticks(axis: Axis) -> tuple[tuple[float, str], ...]:
    return tuple((axis.at(tick), f"{tick:g}") for tick in ticks(axis.low, axis.high, 4) if axis.holds(tick))


def _marks(axis: Axis, verdicts: Sequence[Verdict | None]) -> tuple[Mark, ...]:
    found = []
    for verdict in verdicts:
        if verdict is None or not verdict.ratio:
            continue
        ratio = verdict.ratio
        low, high = (axis.at(limit or ratio) for limit in (verdict.ci_low, verdict.ci_high))
        predicted, first, width = None, 0.0, 0.0
        if verdict.ceiling and axis.holds(verdict.ceiling):
            predicted = axis.at(verdict.ceiling)
            first = axis.at(verdict.ceiling_low or verdict.ceiling)
            width = round(axis.at(verdict.ceiling_high or verdict.ceiling) - first, 2)
        at = axis.at(ratio) if axis.holds(ratio) else None
        found.append(Mark(SYMBOLS[verdict.metric], verdict.verdict, at, low, high, predicted, first, width))
    return tuple(found)


def _said(verdict: Verdict) -> str:
    if not verdict.ratio:
        return "not measured"
    named = words.VERDICTS if verdict.metric == "seconds" else words.CPU_VERDICTS
    return f"{words.ratio(verdict.ratio)} {named[verdict.verdict]}"
