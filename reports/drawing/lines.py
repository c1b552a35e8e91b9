"""Charts of lines on logarithmic axes, drawn as several small ones that share their axes and one legend."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from reports.drawing.figures import axis, layout, text

SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "triangle-down", "cross", "pentagon")
MARKS = {"solid": -4, "dash": -5, "dot": -6}
"""How the legend says a kind of line."""
ROOM = 0.04


def log_axis(title: str, low: float, high: float, **more: Any) -> dict[str, Any]:
    """A logarithmic axis from ``low`` to ``high`` and a little beyond, with ticks at round numbers."""
    span = max(math.log10(high / low), 0.2)
    ticks = round_ticks(low, high)
    return axis(
        title,
        type="log",
        range=[_four(math.log10(low) - ROOM * span), _four(math.log10(high) + ROOM * span)],
        tickvals=ticks,
        ticktext=[tick_text(tick) for tick in ticks],
        **more,
    )


def round_ticks(low: float, high: float) -> list[float]:
    """Round numbers from ``low`` to ``high``: 1, 2, 5 over two decades or less, else powers of ten."""
    steps = (1, 2, 5) if high / low <= 150 else (1,)
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    found = [float(f"{step}e{power}") for power in range(first, last + 1) for step in steps]
    return [tick for tick in found if low * 0.93 <= tick <= high * 1.07] or [float(f"{low:.2g}")]


def tick_text(value: float) -> str:
    """A tick's number: ``0.5``, ``200``, ``20 k``."""
    for unit, factor in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= factor:
            return f"{value / factor:g} {unit}"
    return f"{value:g}"


def steps_axis(title: str, values: Iterable[int], name: Callable[[int], str]) -> dict[str, Any]:
    """A logarithmic axis of values that were chosen (sizes, depths), with ticks at as many of them as there is room."""
    known = sorted(set(values))
    span = max(math.log10(known[-1] / known[0]), 0.2)
    apart = span / 4.5
    chosen: list[int] = []
    for value in [known[-1], *known]:
        if all(abs(math.log10(value / other)) >= apart * 0.999 for other in chosen):
            chosen.append(value)
    return axis(
        title,
        type="log",
        range=[_four(math.log10(known[0]) - ROOM * span), _four(math.log10(known[-1]) + ROOM * span)],
        tickvals=sorted(chosen),
        ticktext=[name(value) for value in sorted(chosen)],
    )


def line(
    label: str,
    groups: Sequence[int],
    x: Sequence[float],
    y: Sequence[float],
    hover: Sequence[str],
    meta: dict[str, Any],
    *,
    dash: str = "solid",
    symbol: str | None = None,
    limits: Sequence[tuple[float, float]] = (),
    head: str = "",
    width: float = 1.8,
) -> dict[str, Any]:
    """One line; hidden with any of its legend's ``groups``. ``limits`` are the ends of each point's interval.

    ``hover`` has what is said of each point, ``head`` what stands above it for all of them.
    """
    trace: dict[str, Any] = {
        "type": "scatter",
        "mode": "lines+markers" if symbol else "lines",
        "name": text(label),
        "x": list(x),
        "y": [_six(value) for value in y],
        "hovertext": list(hover),
        "hoverinfo": "text" if hover else "skip",
        "legendgroup": " ".join(map(str, groups)),
        "line": {"dash": dash, "width": width},
        "meta": meta,
    }
    if head:
        trace["hovertemplate"] = f"{head}<br>%{{hovertext}}<extra></extra>"
    if symbol:
        trace["marker"] = {"symbol": symbol, "size": 6}
    if limits:
        up = [_six(high - value) if not math.isnan(high) else 0 for value, (_, high) in zip(y, limits, strict=True)]
        down = [_six(value - low) if not math.isnan(low) else 0 for value, (low, _) in zip(y, limits, strict=True)]
        trace["error_y"] = {"type": "data", "array": up, "arrayminus": down, "thickness": 1.2, "width": 3}
    return trace


def small(
    traces: list[dict[str, Any]], xaxis: dict[str, Any], yaxis: dict[str, Any], height: int = 270, **more: Any
) -> dict[str, Any]:
    """A small chart."""
    made = layout(height, margin={"l": 58, "r": 18, "t": 8, "b": 44}, xaxis=xaxis, yaxis=yaxis, **more)
    return {"data": traces, "layout": made}


def _four(value: float) -> float:
    return round(value, 4)


def _six(value: float) -> float:
    return float(f"{value:.5g}")
