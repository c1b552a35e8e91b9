"""Kernel cryptography drawn: throughput and operations by buffer size, throughput by requests under way."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from reports import words
from reports.drawing import lines
from reports.drawing.figures import Facet, Figure, text
from reports.findings.kernel_crypto import DECRYPT, ENCRYPT, OPENSSL, PAPER, Curve, KernelCrypto, Point

DASHES = {ENCRYPT: "solid", DECRYPT: "dash"}
NULL, REFERENCE = -7, -8
COLUMNS = ["cipher", "driver", "driver found", "operation", "buffer (B)", "depth", "samples", "Mbit/s", "low", "high",
           "operations/s", "interface"]  # fmt: skip
INTERVALS = f"Marks are geometric means, each line its {words.INTERVAL}."


@dataclass(frozen=True)
class Quantity:
    """What is drawn: its name, its unit, and how it comes from seconds of one operation on a buffer."""

    name: str
    unit: str
    of: Callable[[float, int], float]


THROUGHPUT = Quantity("Throughput", "Mbit/s", lambda seconds, size: 8 * size / seconds / 1e6)
OPERATIONS = Quantity("Operations", "per second", lambda seconds, _: 1 / seconds)


def figures(crypto: KernelCrypto) -> list[Figure]:
    """Every figure that the curves have points for."""
    if not any(curve.single for curve in crypto.curves):
        return []
    made = [
        _by_size(crypto, THROUGHPUT, "throughput", "Throughput by buffer size, higher is better"),
        _by_size(crypto, OPERATIONS, "operations", "Operations by buffer size, higher is better"),
    ]
    deep = depths(crypto)
    return [*made, deep] if deep else made


def _by_size(crypto: KernelCrypto, quantity: Quantity, name: str, title: str) -> Figure:
    first = quantity is THROUGHPUT
    series = crypto.series()
    shown = [point for curve in crypto.curves for point in curve.single]
    ends = _ends(shown, quantity)
    paper = {size: quantity.of(8 * size / rate, size) for size, rate in PAPER.items()}
    ends += paper.values() if "null" in crypto.ciphers else []
    xaxis = lines.steps_axis("Buffer size", [point.buffer for point in shown], words.size)
    yaxis = lines.log_axis(f"{quantity.name} ({quantity.unit})", min(ends), max(ends))
    facets: list[Facet] = []
    for cipher in crypto.ciphers:
        curves = [curve for curve in crypto.curves if curve.cipher == cipher and curve.single]
        traces = [_trace(curve, curve.single, series, quantity, lambda p: p.buffer) for curve in curves]
        if cipher == "null":
            traces.append(_paper(paper, quantity))
        elif crypto.null:
            traces.insert(0, _null_line(crypto.null, quantity))
        if curves:
            key = f"{crypto.key}-{name}-{len(facets)}"
            facets.append(Facet(key, words.cipher_title(cipher), lines.small(traces, xaxis, yaxis)))
    caption = (
        f"One chart for each cipher, all on the same axes. {_asked(crypto)}{INTERVALS} The grey line is the null cipher"
        f"{_by_first(crypto)}: what a call costs before any cryptography."
        if first
        else "The same measurements as calls: towards small buffers the lines level out at what a call costs."
    )
    return Figure(
        id=f"{crypto.key}-{name}",
        title=title,
        caption=caption,
        spec={},
        legend=_legend(crypto, series),
        columns=COLUMNS if first else [],
        rows=_rows(crypto.curves) if first else [],
        absent=crypto.unmeasured() if first else [],
        wide=True,
        facets=facets,
        lines=True,
        data_of="" if first else f"{crypto.key}-throughput",
    )


def _asked(crypto: KernelCrypto) -> str:
    """By which interfaces, as a sentence."""
    names = [f"{name} (the paper's own)" if name == "/dev/crypto" else name for name in crypto.interfaces]
    return f"The kernel is asked by {' and by '.join(names)}. " if names else ""


def _by_first(crypto: KernelCrypto) -> str:
    return f" by {crypto.interfaces[0]}" if len(crypto.interfaces) > 1 else " by the same interface"


def depths(crypto: KernelCrypto) -> Figure | None:
    """Throughput by requests under way at once; None where there was never more than one."""
    series = crypto.series()
    places = list(dict.fromkeys((c.cipher, p.buffer) for c in crypto.curves for p in c.points if p.depth > 1))
    parts = {
        (cipher, buffer): [
            (curve, mine)
            for curve in crypto.curves
            if curve.cipher == cipher
            and (mine := [point for point in curve.points if point.buffer == buffer])
            and any(point.depth > 1 for point in mine)
        ]
        for cipher, buffer in places
    }
    shown = [point for some in parts.values() for _, mine in some for point in mine]
    if not shown:
        return None
    ends = _ends(shown, THROUGHPUT)
    xaxis = lines.steps_axis("Depth (requests under way)", [point.depth for point in shown], str)
    yaxis = lines.log_axis("Throughput (Mbit/s)", min(ends), max(ends))
    facets = [
        Facet(
            f"{crypto.key}-depth-{n}",
            f"{words.cipher_title(cipher)}, {words.size(buffer)}",
            lines.small([_trace(c, m, series, THROUGHPUT, lambda p: p.depth) for c, m in some], xaxis, yaxis),
        )
        for n, ((cipher, buffer), some) in enumerate(parts.items())
    ]
    deep = [curve for some in parts.values() for curve, _ in some]
    return Figure(
        id=f"{crypto.key}-depth",
        title="Throughput by requests under way at once, higher is better",
        caption=f"{INTERVALS} A driver that works beside the processor, as a card does, gains from more than one "
        "request at once; one that runs on the calling processor does not.",
        spec={},
        legend=_legend(crypto, series, deep),
        columns=COLUMNS,
        rows=_rows(deep, every=True),
        wide=True,
        facets=facets,
        lines=True,
    )


def _ends(points: Iterable[Point], quantity: Quantity) -> list[float]:
    """What the axis must hold: every mean, and its interval as far as that is not out of all proportion."""
    ends = []
    for point in points:
        mean = quantity.of(point.seconds, point.buffer)
        limits = [quantity.of(v, point.buffer) for v in (point.low, point.high) if not math.isnan(v)]
        ends += [mean, *(min(max(limit, mean / 2), mean * 2) for limit in limits)]
    return ends


def _trace(
    curve: Curve, points: Sequence[Point], series: dict[str, int], quantity: Quantity, along: Callable[[Point], int]
) -> dict[str, Any]:
    number = series[curve.name]
    dash = "dot" if curve.path == OPENSSL else DASHES.get(curve.operation, "solid")
    groups = [number] if curve.path == OPENSSL else [number, lines.MARKS[dash]]
    return lines.line(
        f"{curve.name}, {curve.operation}",
        groups,
        [along(point) for point in points],
        [quantity.of(point.seconds, point.buffer) for point in points],
        [_hover(point) for point in points],
        {"line": number},
        dash=dash,
        symbol=lines.SYMBOLS[number % len(lines.SYMBOLS)],
        head=f"<b>{text(words.cipher_title(curve.cipher))}, {text(curve.operation)}</b><br>{text(_driver(curve))}",
        limits=[(quantity.of(point.high, point.buffer), quantity.of(point.low, point.buffer)) for point in points],
    )


def _null_line(null: Curve, quantity: Quantity) -> dict[str, Any]:
    points = null.single
    y = [quantity.of(point.seconds, point.buffer) for point in points]
    return lines.line("null cipher", [NULL], [point.buffer for point in points], y, [], {"muted": True}, width=1.2)


def _paper(points: dict[int, float], quantity: Quantity) -> dict[str, Any]:
    hover = [
        f"<b>paper 2005</b>, null cipher on OpenBSD<br>{words.size(size)}: {words.number(value, 3)} {quantity.unit}"
        for size, value in points.items()
    ]
    return lines.line("paper 2005", [REFERENCE], list(points), list(points.values()), hover, {"accent": True}) | {
        "mode": "markers",
        "marker": {"symbol": "star-diamond", "size": 10},
    }


def _driver(curve: Curve) -> str:
    return f"{curve.name} ({curve.found})" if curve.found and curve.found != curve.driver else curve.name


def _hover(point: Point) -> str:
    low, high = (THROUGHPUT.of(limit, point.buffer) for limit in (point.high, point.low))
    span = f" (95 % {words.number(low)}–{words.number(high)})" if not math.isnan(low) else ""
    deep = f", {point.depth} at once" if point.depth > 1 else ""
    return (
        f"{words.size(point.buffer)}{deep}: {words.number(THROUGHPUT.of(point.seconds, point.buffer))} Mbit/s{span}"
        f"<br>{words.number(1 / point.seconds)} operations/s, {words.count(point.samples, 'sample')}"
    )


def _legend(
    crypto: KernelCrypto, series: dict[str, int], only: Iterable[Curve] | None = None
) -> list[tuple[str, int, str]]:
    """Drivers first, then kinds of lines; of all curves, or of those that ``only`` names."""
    curves = list(crypto.curves if only is None else only)
    drawn = {curve.name for curve in curves if curve.points}
    entries = [(name, n, "dotted" if name.startswith("OpenSSL") else "") for name, n in series.items() if name in drawn]
    done = {curve.operation for curve in curves if curve.interface and curve.points}
    entries += [(operation, lines.MARKS[dash], "") for operation, dash in DASHES.items() if operation in done]
    if only is None and crypto.null:
        entries += [("null cipher", NULL, "")] if len(crypto.ciphers) > 1 else []
        entries.append(("paper 2005", REFERENCE, "null cipher on OpenBSD"))
    return entries


def _rows(curves: Iterable[Curve], every: bool = False) -> list[list[Any]]:
    rows: list[list[Any]] = []
    for curve in curves:
        for point in curve.points if every else curve.single:
            values = [THROUGHPUT.of(v, point.buffer) for v in (point.seconds, point.high, point.low)]
            rows.append(
                [words.cipher(curve.cipher), curve.name, curve.found or None, curve.operation, point.buffer]
                + [point.depth, point.samples]
                + [None if math.isnan(value) else value for value in values]
                + [1 / point.seconds, curve.interface]
            )
    return rows
