"""One comparison over all testbeds: a row for each, those with the cheapest crossings on top."""

from __future__ import annotations

import math
from typing import Any

from reports import words
from reports.drawing.figures import Figure, axis, layout, line_across, note, text
from reports.drawing.forest import PAPER, ticks
from reports.findings.fleet import Across, Point

ROW = 26
LONGEST = 30
"""Characters of a testbed's name and its price that there is room for."""


def figure(key: str, found: Across) -> Figure:
    """The forest of a comparison. ``key`` names it in the page."""
    low, high = _range(found)
    count = len(found.points)
    shown = ticks(low, high)
    labels = [_label(point) for point in found.points]
    left = min(230, round(24 + 6.6 * max(map(len, labels))))
    spec = {
        "data": [_trace(found)],
        "layout": layout(
            84 + ROW * count,
            margin={"l": left, "r": 76, "t": 30},
            xaxis=axis(
                f"Ratio of times: {text(found.baseline)} over {text(found.candidate)}",
                type="log",
                range=[math.log10(low), math.log10(high)],
                tickvals=shown,
                ticktext=[f"{tick:g}" for tick in shown],
            ),
            yaxis={
                "tickvals": [-n for n in range(count)], "ticktext": [text(label) for label in labels],
                "range": [-count + 0.4, 0.6], "fixedrange": True, "showgrid": False, "zeroline": False,
            },
            shapes=[
                {"name": "margin", "type": "rect", "layer": "below", "line": {"width": 0}, "yref": "paper", "y0": 0,
                 "y1": 1, "x0": 1 - found.points[0].verdict.margin, "x1": 1 + found.points[0].verdict.margin},
                line_across("one", "x", 1, "solid"),
                *([line_across("paper", "x", PAPER[0], "dash")] if found.papers else []),
            ],
            annotations=[
                *([_paper()] if found.papers else []),
                *(_value(point, n) for n, point in enumerate(found.points)),
            ],
        ),
    }  # fmt: skip
    return Figure(
        id=key,
        title=f"{found.profile}, {found.place}: right of 1, {found.candidate} is faster",
        caption="A mark is a testbed's ratio from paired blocks with its 95 % interval, corrected within its own run; "
        "below the testbeds with the cheapest crossings those with dearer ones, last those whose price is not known. "
        "The grey band is the margin: an interval inside it reads “same”.",
        spec=spec,
        legend=[("time", -1, "")],
        columns=["testbed", "crossing (ns/byte)", "cipher (ns/byte)", "processor", "kernel", "ratio", "low", "high",
                 "verdict", "run"],
        rows=[_row(point) for point in found.points],
        wide=True,
    )  # fmt: skip


def _label(point: Point) -> str:
    price = "price not known" if point.crossing is None else f"{words.number(point.crossing, 2)} ns/B"
    name = point.testbed if len(point.testbed) <= LONGEST else f"{point.testbed[: LONGEST - 1]}…"
    return f"{name} · {price}"


def _range(found: Across) -> tuple[float, float]:
    values = [0.93, 1.35 if found.papers else 1.08]
    for point in found.points:
        ratio = point.verdict.ratio or 1.0
        limits = (point.verdict.ci_low or ratio, ratio, point.verdict.ci_high or ratio)
        values += [min(max(value, ratio / 2), ratio * 2) for value in limits]
    room = (max(values) / min(values)) ** 0.04
    return min(values) / room, max(values) * room


def _trace(found: Across) -> dict[str, Any]:
    x, y, up, down, hover = [], [], [], [], []
    for n, point in enumerate(found.points):
        verdict = point.verdict
        ratio = verdict.ratio or 1.0
        x.append(float(f"{ratio:.5g}"))
        y.append(-n)
        up.append(float(f"{(verdict.ci_high or ratio) - ratio:.4g}"))
        down.append(float(f"{ratio - (verdict.ci_low or ratio):.4g}"))
        span = f" (95 % {words.ratio(verdict.ci_low)}–{words.ratio(verdict.ci_high)})" if verdict.ci_low else ""
        hover.append(
            f"<b>{text(point.testbed)}</b> ({text(point.label)})<br>{words.ratio(ratio)}{span}"
            f"<br>{words.VERDICTS[verdict.verdict]}, {words.count(verdict.blocks, 'block')}"
            f"<br>{text(point.processor or 'processor not known')}<br>kernel {text(point.kernel or 'not known')}"
        )
    return {
        "type": "scatter", "mode": "markers", "x": x, "y": y, "hovertext": hover, "hoverinfo": "text", "name": "time",
        "legendgroup": "-1",
        "marker": {"symbol": "circle", "size": 10, "line": {"width": 1.6}},
        "meta": {"colours": [0] * len(x)},
        "error_x": {"type": "data", "array": up, "arrayminus": down, "thickness": 1.6, "width": 4},
    }  # fmt: skip


def _value(point: Point, n: int) -> dict[str, Any]:
    arrow = {"faster": "▲", "slower": "▼", "same": "="}.get(point.verdict.verdict, "?")
    told = f"{arrow} {words.ratio(point.verdict.ratio)}"
    return note("value", told, xref="paper", x=1, xanchor="left", xshift=8, y=-n)


def _paper() -> dict[str, Any]:
    return note("paper", "paper: 27 %", x=math.log10(PAPER[0]), yref="paper", y=1, yanchor="bottom", yshift=2)


def _row(point: Point) -> list[Any]:
    v = point.verdict
    return [point.testbed, point.crossing, point.cipher, point.processor, point.kernel, v.ratio, v.ci_low, v.ci_high,
            v.verdict, point.run_id]  # fmt: skip
