"""Kernel cryptography, the paper's Figure 4: curves by cipher, driver and operation, and the lines through them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from harness.ciphers import interfaces
from harness.record import Cell, Head, SuiteEntry
from harness.verdicts import linefit
from harness.verdicts.linefit import Beside, Block, Line, Model
from reports import words

ENCRYPT, DECRYPT, OPENSSL = "encrypt", "decrypt", "openssl-speed"
AGREE = 0.05
"""How far from one another two interfaces may find what a byte costs, and agree."""
PAPER = {1024: 420e6, 8192: 600e6}
"""The paper's null cipher on OpenBSD, bits per second by buffer size (its Figure 4 and the text beside it)."""


def paper_line() -> Line:
    """The line through the paper's two points: 6.7 µs for a call and 12.5 ns for a byte."""
    return linefit.fit(list(PAPER), [8 * size / rate for size, rate in PAPER.items()])


@dataclass(frozen=True)
class Point:
    """A cell that was measured."""

    cell: Cell
    buffer: int
    """Bytes."""
    depth: int
    """Requests under way at once."""
    seconds: float
    """Of one operation."""
    low: float
    """Where the interval of the seconds begins; NaN where there is none."""
    high: float
    """Where it ends; NaN where there is none."""
    samples: int
    """How many count."""


@dataclass(frozen=True)
class Curve:
    """One cipher, driver and operation of one suite."""

    suite: str
    cipher: str
    path: str
    driver: str
    """As requested."""
    found: str
    """What the kernel or library bound."""
    points: tuple[Point, ...]
    blocks: dict[Block, dict[float, float]]
    """Seconds of one operation, one request at a time, by block and by buffer in bytes."""
    several: bool = False
    """Whether the kernel was asked by more than one interface, so that its name says by which."""

    @property
    def interface(self) -> str | None:
        """By which the kernel was asked; None of user space."""
        found = interfaces.of_path(self.path)
        return found.name if found else None

    @property
    def operation(self) -> str:
        """``encrypt`` or ``decrypt``."""
        return ENCRYPT if self.path == OPENSSL else interfaces.operation(self.path) or self.path

    @property
    def enciphers(self) -> bool:
        """Whether it is the kernel that enciphers."""
        return self.interface is not None and self.operation == ENCRYPT

    @property
    def name(self) -> str:
        """Its driver as requested; OpenSSL's curve by the library."""
        if self.path == OPENSSL:
            return "OpenSSL, user space"
        return f"{self.driver}, {self.interface}" if self.several else self.driver

    @cached_property
    def lines(self) -> dict[Block, Line]:
        """The line of every block."""
        return linefit.by_block(self.blocks)

    @cached_property
    def model(self) -> Model | None:
        """The line over all blocks; None where fewer than two sizes were measured."""
        return linefit.model(self.blocks)

    @property
    def single(self) -> list[Point]:
        """Its points with one request under way, by buffer size."""
        return [point for point in self.points if point.depth == 1]


@dataclass(frozen=True)
class KernelCrypto:
    """What one or more suites of one kind measured."""

    key: str
    suites: tuple[SuiteEntry, ...]
    curves: tuple[Curve, ...]
    cells: tuple[Cell, ...]

    @property
    def ciphers(self) -> list[str]:
        """Its ciphers, the null cipher first."""
        names = dict.fromkeys(curve.cipher for curve in self.curves)
        return sorted(names, key=lambda name: name != "null")

    @property
    def interfaces(self) -> list[str]:
        """By which the kernel was asked, in order."""
        return list(dict.fromkeys(c.interface for c in self.curves if c.interface and c.points))

    @property
    def null(self) -> Curve | None:
        """What no other cipher can beat: the null cipher, enciphering, by any driver."""
        curves = [c for c in self.curves if c.cipher == "null" and c.enciphers and c.single]
        return min(curves, key=lambda curve: curve.driver != "any", default=None)

    def series(self) -> dict[str, int]:
        """A number for each driver that is drawn: its colour and sign in every figure."""
        names = sorted({c.name: c.path == OPENSSL for c in self.curves if c.points}.items(), key=lambda item: item[1])
        return {name: n for n, (name, _) in enumerate(names)}

    def unmeasured(self) -> list[tuple[str, str, str]]:
        """Cells without a number: (which, outcome, reason), those of one driver and reason together."""
        measured = {point.cell.id for curve in self.curves for point in curve.points}
        merged: dict[tuple[str, str, str], list[str]] = {}
        for cell in self.cells:
            if cell.id in measured:
                continue
            outcome: str = cell.outcome if cell.outcome != "measured" else "no samples"
            what = f"{words.cipher(cell.cipher)}, {cell.path}, {cell.driver}"
            merged.setdefault((what, outcome, cell.reason or "no reason was recorded"), []).append(words.place(cell))
        return [(f"{what}: {', '.join(where)}", *why) for (what, *why), where in merged.items()]  # type: ignore[misc]


def of_run(head: Head, samples: pd.DataFrame, summary: pd.DataFrame) -> list[KernelCrypto]:
    """A record's kernel crypto. Suites of one kind stand together, unless they measured the same thing twice."""
    groups: list[tuple[list[SuiteEntry], list[Cell]]] = []
    for suite in head.suites:
        if words.question(suite) != "kernel-crypto":
            continue
        mine = [cell for cell in head.cells if cell.suite == suite.name]
        for suites, cells in groups:
            if suites[0].instructions == suite.instructions and not _what(cells) & _what(mine):
                suites.append(suite)
                cells.extend(mine)
                break
        else:
            groups.append(([suite], mine))
    counted = samples[samples["counted"]]
    rows = {str(name): part for name, part in counted.groupby("cell", sort=False)} if groups else {}
    known = summary.set_index("cell", drop=False)
    return [
        KernelCrypto(f"raw{n + 1}", tuple(suites), tuple(_curves(cells, rows, known)), tuple(cells))
        for n, (suites, cells) in enumerate(groups)
    ]


def _what(cells: Iterable[Cell]) -> set[tuple[object, ...]]:
    return {(cell.path, cell.cipher, cell.driver, cell.buffer_bytes, cell.depth) for cell in cells}


def _curves(cells: Sequence[Cell], rows: dict[str, pd.DataFrame], summary: pd.DataFrame) -> list[Curve]:
    several = len({found.name for cell in cells if (found := interfaces.of_path(cell.path))}) > 1
    parts: dict[tuple[str, str, str, str], list[Cell]] = {}
    for cell in cells:
        if cell.buffer_bytes:
            parts.setdefault((cell.suite, cell.cipher, cell.path, cell.driver), []).append(cell)
    return [_curve(of_curve, rows, summary, several) for of_curve in parts.values()]


def _curve(cells: Sequence[Cell], rows: dict[str, pd.DataFrame], summary: pd.DataFrame, several: bool) -> Curve:
    first = cells[0]
    points = []
    blocks: dict[Block, dict[float, float]] = {}
    for cell in sorted(cells, key=lambda cell: (cell.buffer_bytes or 0, cell.depth or 1)):
        part = rows.get(cell.id)
        if part is None:
            continue
        row = summary.loc[cell.id].to_dict()
        seconds, low, high = (float(row[f"seconds{end}"]) for end in ("", "_low", "_high"))
        points.append(Point(cell, cell.buffer_bytes or 0, cell.depth or 1, seconds, low, high, len(part)))
        if (cell.depth or 1) == 1:
            for block, seconds in zip(linefit.places(part["round"].tolist()), part["seconds"].tolist(), strict=True):
                blocks.setdefault(block, {})[float(cell.buffer_bytes or 0)] = seconds
    found = next((cell.driver_found for cell in cells if cell.driver_found), "")
    return Curve(first.suite, first.cipher, first.path, first.driver, found, tuple(points), blocks, several)


def pairs(crypto: KernelCrypto) -> list[tuple[Curve, Curve]]:
    """Drivers of one cipher and operation that were measured in the same blocks and are not the same driver.

    Of one interface; user space beside the first of them.
    """
    first = (*crypto.interfaces, None)[0]
    curves = [curve for curve in crypto.curves if curve.lines]
    return [
        (one, other)
        for n, one in enumerate(curves)
        for other in curves[n + 1 :]
        if _rivals(one, other) and (one.interface or first) == (other.interface or first)
    ]


def _rivals(one: Curve, other: Curve) -> bool:
    """Whether both are of one cipher and operation, measured in the same blocks, and not of the same driver."""
    together = (one.suite, one.cipher, one.operation) == (other.suite, other.cipher, other.operation)
    return together and (one.found != other.found or not one.found)


@dataclass(frozen=True)
class Meters:
    """One driver and operation, measured in the same blocks by two interfaces."""

    first: Curve
    second: Curve
    beside: Beside
    """What the second costs beside the first."""

    @property
    def agree(self) -> bool | None:
        """Whether both find the same cost of a byte: surely within AGREE (True), surely not (False), or not known."""
        ratio = self.beside.byte_ratio
        if ratio is None or ratio.low is None or ratio.high is None:
            return None
        if ratio.low >= 1 / (1 + AGREE) and ratio.high <= 1 + AGREE:
            return True
        return False if ratio.high < 1 / (1 + AGREE) or ratio.low > 1 + AGREE else None


def meters(crypto: KernelCrypto) -> list[Meters]:
    """What the interfaces' lines say of the same driver, each against the first one."""
    curves = [curve for curve in crypto.curves if curve.lines and curve.found]
    by = {(c.interface, c.suite, c.cipher, c.operation, c.driver, c.found): c for c in curves if c.interface}
    made = []
    for (interface, *what), second in by.items():
        first = by.get((crypto.interfaces[0], *what))  # type: ignore[arg-type]
        found = linefit.beside(first.lines, second.lines) if first and interface != crypto.interfaces[0] else None
        if first and found:
            made.append(Meters(first, second, found))
    return made


def turns(first: Curve, second: Curve) -> list[tuple[int, int]]:
    """Neighbouring sizes that both measured, between which the cheaper driver changed: what no line is needed for."""
    ours, theirs = ({point.buffer: point.seconds for point in curve.single} for curve in (first, second))
    order = [(size, ours[size] < theirs[size]) for size in sorted(ours.keys() & theirs.keys())]
    return [(a, b) for (a, less), (b, then) in itertools.pairwise(order) if less != then]


def sentences(found: Sequence[KernelCrypto]) -> list[str]:
    """What a call and a byte cost, the null cipher and the paper first."""
    said = []
    for crypto in found:
        for cipher in crypto.ciphers:
            mine = [c for c in crypto.curves if c.cipher == cipher and c.enciphers and c.model]
            if mine:
                said.append(_sentence(mine))
    return said


def adds(found: Sequence[Meters]) -> str:
    """What an interface adds to a request beyond the first one, and whether both agree about a byte; "" of none."""
    mine = [one for one in found if one.first.enciphers and one.first.driver == "any"]
    if not mine:
        return ""
    first, second = mine[0].first.interface, mine[0].second.interface
    calls = [one.beside.call_seconds.mean * 1e6 for one in mine]
    low, high = (words.number(value, 3) for value in (min(calls), max(calls)))
    text = f"A request by {second} costs {low if low == high else f'{low} to {high}'} µs more than one by {first}"
    words_of = {True: "agree", False: "differ", None: "are not known well enough"}
    parts = []
    for agree, said in words_of.items():
        ciphers = dict.fromkeys(words.cipher(one.first.cipher) for one in mine if one.agree is agree)
        if ciphers:
            parts.append(f"{said} with {', '.join(ciphers)}")
    return f"{text}. About a byte, within {AGREE:.0%}, they {'; '.join(parts)}."


def _sentence(curves: Sequence[Curve]) -> str:
    first, several = curves[0], len({curve.found or curve.driver for curve in curves}) > 1
    what = "a null cipher" if first.cipher == "null" else words.cipher(first.cipher)
    costs = "; ".join([_costs(curve, several) for curve in curves] + _overtaking(curves))
    text = f"Enciphering with {what} in the kernel costs {costs}"
    if first.cipher == "null":
        line = paper_line()
        text += (
            f" (the paper's OpenBSD: {words.number(line.call_seconds * 1e6, 2)} µs and "
            f"{words.number(line.byte_seconds * 1e9, 3)} ns)"
        )
    return f"{text}."


def _overtaking(curves: Sequence[Curve]) -> list[str]:
    """From which size on a driver is cheaper than another, where that lies among the sizes that were measured and has
    an interval: lines that noise makes cross do not do so in every block."""
    parts = []
    for one, other in itertools.combinations(curves, 2):
        alike = _rivals(one, other) and one.interface == other.interface
        crossover = linefit.crossover(one.lines, other.lines) if alike else None
        sizes = [point.buffer for point in (*one.single, *other.single)]
        if crossover and crossover.low and crossover.high and min(sizes) < crossover.size < max(sizes):
            above = other if crossover.first_below else one
            by = f" by {above.interface}" if above.several else ""
            parts.append(f"{above.found or above.driver} is the cheaper from {amount(crossover.size)} on{by}")
    return parts


def amount(size: float) -> str:
    """A computed size in bytes to three figures: ``22.9 KiB``."""
    return f"{size / 1024:.3g} KiB" if size >= 1024 else f"{size:.3g} B"


def _costs(curve: Curve, several: bool) -> str:
    model = curve.model
    if model is None:
        return ""
    call = f"{words.number(model.call_seconds.mean * 1e6, 3)} µs a call"
    byte = f"{words.number(model.byte_seconds.mean * 1e9, 3)} ns a byte"
    most = f", so at most {words.rate(float(f'{model.bits_per_second.mean:.3g}'))}" if model.bits_per_second else ""
    driver = f" with {curve.found or curve.driver}" if several else ""
    driver += f" by {curve.interface}" if curve.several else ""
    doubt = " (but no line describes it)" if model.describes is False else ""
    return f"{call} and {byte}{driver}{most}{doubt}"
