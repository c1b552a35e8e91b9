"""The ratio figure: every candidate against its baseline, with interval, prediction, and the paper's two lines."""

from __future__ import annotations

import math
from typing import Any

from harness.record import Cell, Verdict
from reports import words
from reports.drawing.figures import Figure, axis, layout, line_across, note, text
from reports.findings import costs
from reports.findings.panels import Panel

PAPER = (1.27, 1.37)  # "27 %" read as throughput x1.27, and as time -27 %: 1 / 0.73
TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.3, 1.4, 1.5, 1.75, 2, 2.5, 3,
         4, 5, 7, 10, 15, 20, 30, 50, 100)  # fmt: skip
ROW = 23
LONGEST = 24
"""Characters of a candidate's name that there is room for."""
METRICS = (("seconds", "circle", 0.17), ("cpu_seconds_per_gb", "diamond-open", -0.17))
"""The second stands for the CPU of whichever host is compared."""


def forest(panel: Panel) -> Figure | None:
    """Ratios to the baseline by candidate and size. None where the record has no verdict for the panel."""
    if not panel.verdicts:
        return None
    names = [series.label for series in panel.series if not series.baseline]
    left = round(max(74, 16 + 6.2 * max(map(len, panel.groups)), 12 + 7.2 * max(map(len, names), default=0)))
    left = min(left, 150)
    lines, notes, height = _rows(panel, left)
    low, high = _range(panel)
    traces = [trace for metric in metrics(panel) for trace in _trace(panel, metric, lines, low, high, notes)]
    predicted = _predictions(panel, lines, low, high)
    traces += [predicted] if predicted else []
    margin = next(iter(panel.verdicts.values())).margin
    paper = panel.suite.figure == 7
    shapes: list[dict[str, Any]] = [
        {"name": "margin", "type": "rect", "layer": "below", "line": {"width": 0}, "yref": "paper", "y0": 0, "y1": 1,
         "x0": 1 - margin, "x1": 1 + margin},
        line_across("one", "x", 1, "solid"),
    ]  # fmt: skip
    if paper:
        shapes += [line_across("paper", "x", PAPER[0], "dash"), line_across("paper", "x", PAPER[1], "dot")]
        middle = math.log10(PAPER[0] * PAPER[1]) / 2
        notes.append(note("paper", "paper: 27 %", x=middle, yref="paper", y=1, yanchor="bottom", yshift=2))
    shown = ticks(low, high)
    base = panel.suite.baseline
    spec = {
        "data": traces,
        "layout": layout(
            84 + ROW * height,
            margin={"l": left, "r": 70, "t": 30},
            xaxis=axis(
                f"Ratio to {text(base)} (times as good)",
                type="log",
                range=[math.log10(low), math.log10(high)],
                tickvals=shown,
                ticktext=[f"{tick:g}" for tick in shown],
            ),
            yaxis={
                "tickvals": [-line for line in lines.values()],
                "ticktext": [text(panel.groups[g]) for _, g in lines],
                "range": [-height + 0.4, 0.6], "fixedrange": True, "showgrid": False, "zeroline": False,
            },
            shapes=shapes,
            annotations=notes,
        ),
    }  # fmt: skip
    return Figure(
        id=f"{panel.key}-ratio",
        title=f"Ratio to {base}, right of 1 is better",
        caption="Each mark is baseline ÷ candidate from paired blocks with its 95 % interval. The grey band is "
        f"±{words.percent(margin)}: an interval inside it reads “same”."
        + (
            " The paper's “27 %” may mean throughput × 1.27 (dashed) or time − 27 %, that is × 1.37 (dotted)."
            if paper
            else ""
        ),
        spec=spec,
        legend=[(words.METRICS[name], -1 - n, "") for n, (name, _, _) in enumerate(metrics(panel))]
        + ([("predicted", -3, "from the measured prices")] if predicted else []),
        columns=["candidate", "size", "metric", "ratio", "low", "high", "verdict", "blocks", "predicted"],
        rows=_table(panel, lines),
    )


def metrics(panel: Panel) -> list[tuple[str, str, float]]:
    """What a panel's verdicts are of, each with its symbol and its place in a row: CPU is that of one host."""
    names = {name for _, name in panel.verdicts}
    own = [name for name in words.METRICS if name in names and name != "seconds"]
    return [METRICS[0], *((name, *METRICS[1][1:]) for name in own or [METRICS[1][0]])]


Lines = dict[tuple[int, int], int]


def _rows(panel: Panel, left: int) -> tuple[Lines, list[dict[str, Any]], int]:
    """Where each candidate and size goes, a heading for each candidate, and how many rows that makes."""
    lines: Lines = {}
    notes: list[dict[str, Any]] = []
    row = 0
    for s, series in enumerate(panel.series):
        groups = [g for g in range(len(panel.groups)) if (s, g) in panel.slots]
        if series.baseline or not groups:
            continue
        label = series.label if len(series.label) <= LONGEST else f"{series.label[: LONGEST - 1]}…"
        heading = f"<b>{text(label)}</b>"
        place = {"xref": "paper", "x": 0, "xanchor": "left", "xshift": 4 - left, "y": -row}
        notes.append(note("heading", heading, hovertext=text(series.label[:120]), **place))
        for g in groups:
            row += 1
            lines[(s, g)] = row
            outcome = unmeasured(panel, panel.slots[(s, g)])
            if outcome:
                why = text((panel.slots[(s, g)].reason or outcome)[:120])
                place = {"xref": "paper", "x": 0, "xanchor": "left", "xshift": 6, "y": -row}
                notes.append(note("missing", text(outcome), hovertext=why, **place))
        row += 1
    return lines, notes, row


def unmeasured(panel: Panel, cell: Cell) -> str:
    """Why a candidate has no ratio, in a word or two; empty where it has one."""
    verdict = panel.verdicts.get((cell.id, "seconds"))
    if cell.outcome != "measured":
        return cell.outcome
    if verdict is None:
        return "baseline not measured"
    return "" if verdict.ratio else "no block of both"


def _range(panel: Panel) -> tuple[float, float]:
    """Wide enough for every encrypted candidate and the paper's lines; unencrypted ones may be off the scale."""
    values = [0.93, 1.5 if panel.suite.figure == 7 else 1.08]
    cells = {cell.id: cell for cell in panel.slots.values()}
    alone = all(cells[candidate].cipher in words.UNENCRYPTED for candidate, _ in panel.verdicts)
    for (candidate, _), verdict in panel.verdicts.items():
        if verdict.ratio and (alone or cells[candidate].cipher not in words.UNENCRYPTED):
            limits = (verdict.ci_low or verdict.ratio, verdict.ratio, verdict.ci_high or verdict.ratio)
            values += [min(max(v, verdict.ratio / 2), verdict.ratio * 2) for v in limits]
    room = (max(values) / min(values)) ** 0.04
    return min(values) / room, max(values) * room


def _trace(
    panel: Panel,
    metric: tuple[str, str, float],
    lines: Lines,
    low: float,
    high: float,
    notes: list[dict[str, Any]],
) -> list[dict[str, Any]]:
    name, symbol, shift = metric
    label = words.METRICS[name]
    x, y, up, down, hover, colours = [], [], [], [], [], []
    for (s, g), line in lines.items():
        verdict = panel.verdicts.get((panel.slots[(s, g)].id, name))
        if verdict is None or verdict.ratio is None:
            continue
        ratio = verdict.ratio
        off = not low <= ratio <= high
        if name == "seconds":
            arrow = (
                ("▸" if ratio > high else "◂")
                if off
                else {"faster": "▲", "slower": "▼", "same": "="}.get(verdict.verdict, "?")
            )
            notes.append(
                note("value", f"{arrow} {words.ratio(ratio)}", xref="paper", x=1, xanchor="left", xshift=8, y=-line)
            )
        if off:
            continue
        x.append(float(f"{ratio:.5g}"))
        y.append(-line + shift)
        up.append(float(f"{(verdict.ci_high or ratio) - ratio:.4g}"))
        down.append(float(f"{ratio - (verdict.ci_low or ratio):.4g}"))
        colours.append(panel.series[s].colour)
        hover.append(_hover(panel, s, g, verdict, label))
    trace = {
        "type": "scatter", "mode": "markers", "x": x, "y": y, "hovertext": hover, "hoverinfo": "text",
        "name": label, "legendgroup": str(-1 if name == "seconds" else -2), "cliponaxis": True,
        "marker": {"symbol": symbol, "size": 9, "line": {"width": 1.6}}, "meta": {"colours": colours},
        "error_x": {"type": "data", "array": up, "arrayminus": down, "thickness": 1.6, "width": 4},
    }  # fmt: skip
    return [trace]


def _hover(panel: Panel, s: int, g: int, verdict: Verdict, label: str) -> str:
    named = words.VERDICTS if verdict.metric == "seconds" else words.CPU_VERDICTS
    span = (
        f" (95 % {words.ratio(verdict.ci_low)}–{words.ratio(verdict.ci_high)})"
        if verdict.ci_low and verdict.ci_high
        else ""
    )
    return (
        f"<b>{text(panel.series[s].label)}</b>, {text(panel.groups[g])}<br>{label}: {words.ratio(verdict.ratio)}{span}"
        f"<br>{named[verdict.verdict]}, {words.count(verdict.blocks, 'block')}"
    )


def _predictions(panel: Panel, lines: Lines, low: float, high: float) -> dict[str, Any] | None:
    x, y, hover = [], [], []
    for (s, g), line in lines.items():
        verdict = panel.verdicts.get((panel.slots[(s, g)].id, "seconds"))
        if verdict and verdict.ceiling and low <= verdict.ceiling <= high:
            x.append(verdict.ceiling)
            y.append(-line + METRICS[0][2])
            hover.append(f"predicted from the measured prices: {words.ratio(verdict.ceiling)}<br>{costs.fits(verdict)}")
    if not x:
        return None
    return {
        "type": "scatter", "mode": "markers", "x": x, "y": y, "hovertext": hover, "hoverinfo": "text",
        "name": "predicted", "legendgroup": "-3", "meta": {"ink": True},
        "marker": {"symbol": "line-ns-open", "size": 13, "line": {"width": 2.2}},
    }  # fmt: skip


def _table(panel: Panel, lines: Lines) -> list[list[Any]]:
    rows: list[list[Any]] = []
    for s, g in lines:
        for name, _, _ in metrics(panel):
            verdict = panel.verdicts.get((panel.slots[(s, g)].id, name))
            start: list[Any] = [panel.series[s].label, panel.groups[g], words.METRICS[name]]
            if verdict is None:
                if name == "seconds":
                    rows.append([*start, None, None, None, unmeasured(panel, panel.slots[(s, g)]), None, None])
                continue
            rows.append(
                [
                    *start,
                    verdict.ratio,
                    verdict.ci_low,
                    verdict.ci_high,
                    verdict.verdict,
                    verdict.blocks,
                    verdict.ceiling,
                ]
            )
    return rows


def ticks(low: float, high: float, most: int = 7) -> list[float]:
    """Round values, no more than ``most`` would be if they were evenly spread, 1 always among them."""
    apart = math.log(high / low) / most
    chosen = [1.0]
    for tick in TICKS:
        if low <= tick <= high and all(abs(math.log(tick / other)) >= apart for other in chosen):
            chosen.append(float(tick))
    return sorted(chosen)
