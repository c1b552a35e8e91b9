"""Small files drawn and listed: the median request with its tail, whole distributions, percentiles."""

from __future__ import annotations

import math
from typing import Any

from reports import words
from reports.drawing import figures, lines
from reports.drawing.figures import Facet, Figure, axis, layout, note, text
from reports.drawing.tables import Table, Value, number, span
from reports.drawing.tables import text as text_value
from reports.findings import panels
from reports.findings.panels import Panel
from reports.findings.small import SHARES, Requests, Small

SHOWN = 0.999
"""The share of requests that a chart of distributions has room for: the slowest one may be far off."""
MANY = 1000
"""Transfers whose total is told: as many as the paper timed."""
TOLD = ((0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p99.9"), (1.0, "max"))
COLUMNS = ("Path", "Connection", *(f"{name} (ms)" for _, name in TOLD), "Requests/s",
           f"{MANY:,} transfers (s)".replace(",", "\N{THIN SPACE}"), "Sender CPU (µs/request)",
           "Receiver CPU (µs/request)", "Requests", "Total low (s)", "Total high (s)")  # fmt: skip


def request(found: Small) -> Figure | None:
    """The median time of a request with whiskers to 90 and 99 % of requests, for each path and connection."""
    panel = found.panel
    timed = {at: told for at in sorted(panel.slots) if (told := found.of(*at)) and len(told.milliseconds)}
    if not timed:
        return None
    ends = [value for told in timed.values() for share in (0.5, 0.99) if (value := told.at(share)) is not None]
    traces = [trace for s in range(len(panel.series)) for trace in _whiskers(panel, s, timed)]
    spec = {
        "data": traces,
        "layout": layout(
            360,
            margin={"l": 60, "b": 56},
            xaxis=axis(
                "Connection (for each request)",
                tickvals=list(range(len(panel.groups))),
                ticktext=[text(group).replace(" ", "<br>", 1) for group in panel.groups],
                range=[-0.5, len(panel.groups) - 0.5],
                showgrid=False,
            ),
            yaxis=lines.log_axis("Time of a request (ms)", min(ends), max(ends)),
            annotations=[_missing(panel, at) for at in sorted(panel.slots) if at not in timed],
        ),
    }
    return Figure(
        id=f"{panel.key}-request",
        title="Time of a request, lower is better",
        caption="Mark: the median of all requests that count. Thick line: up to 90 % of requests; thin line: up to "
        "99 %.",
        spec=spec,
        legend=figures.legend(panel),
        columns=["path", "connection", "requests", "p50 (ms)", "p90 (ms)", "p99 (ms)"],
        rows=[
            [panel.series[s].label, panel.groups[g], len(told.milliseconds), *(told.at(q) for q in (0.5, 0.9, 0.99))]
            for (s, g), told in timed.items()
        ],
        absent=panels.absent(panel),
        lines=True,
    )


def _whiskers(panel: Panel, s: int, timed: dict[tuple[int, int], Requests]) -> list[dict[str, Any]]:
    """A path's medians twice: with thin lines to 99 %, and over them with thick ones to 90 %."""
    mine = [(g, told) for (at, g), told in timed.items() if at == s]
    traces = []
    for share, thickness, cap in ((0.99, 1.4, 6), (0.9, 4.5, 0)):
        x, y, up, hover = [], [], [], []
        for g, told in mine:
            median, end = told.at(0.5), told.at(share)
            if median is None:
                continue
            x.append(_place(panel, s, g))
            y.append(median)
            up.append(float(f"{end - median:.5g}") if end is not None else 0)
            hover.append(_hover(panel, s, g, told))
        label = f"{panel.series[s].label} to {share:.0%}"
        trace = lines.line(label, [s], x, y, hover, {"line": s}, symbol=lines.SYMBOLS[s % len(lines.SYMBOLS)])
        trace["mode"] = "markers"
        trace["marker"]["size"] = 9
        trace["error_y"] = {"type": "data", "symmetric": False, "array": up, "arrayminus": [0] * len(up),
                            "thickness": thickness, "width": cap}  # fmt: skip
        traces.append(trace)
    return traces


def _place(panel: Panel, s: int, g: int) -> float:
    width = 0.8 / len(panel.series)
    return round(g + (s - (len(panel.series) - 1) / 2) * width, 4)


def _missing(panel: Panel, at: tuple[int, int]) -> dict[str, Any]:
    cell = panel.slots[at]
    said = cell.outcome if cell.outcome != "measured" else "no samples"
    return note(
        "missing", said, x=_place(panel, *at), y=0, yref="paper", yanchor="bottom", textangle=-90, yshift=3,
        hovertext=text(f"{said}: {cell.reason[:120]}" if cell.reason else said), font={"size": 11},
    )  # fmt: skip


def _hover(panel: Panel, s: int, g: int, told: Requests) -> str:
    known = [(name, value) for share, name in TOLD if (value := told.at(share)) is not None]
    listed = "<br>".join(f"{name}: {words.number(value)} ms" for name, value in known)
    return (
        f"<b>{text(panel.series[s].label)}</b>, {text(panel.groups[g])}<br>{listed}"
        f"<br>{words.count(len(told.milliseconds), 'request')}"
    )


def distribution(found: Small) -> Figure | None:
    """The share of requests done within a time, for each path: a small chart for each kind of connection."""
    panel = found.panel
    drawn: dict[int, list[dict[str, Any]]] = {}
    columns: dict[str, dict[float, float]] = {}
    ends: list[float] = []
    for s, g in sorted(panel.slots):
        told = found.of(s, g)
        if told is None or not len(told.milliseconds):
            continue
        points = [(share, value) for share in SHARES if (value := _quantile(told, share)) is not None]
        ends += [value for share, value in points if share <= SHOWN]
        label = panel.series[s].label
        drawn.setdefault(g, []).append(
            lines.line(
                label,
                [s],
                [float(f"{value:.4g}") for _, value in points],
                [round(share * 100, 2) for share, _ in points],
                [],
                {"line": s},
            )
            | {
                "hoverinfo": "all",
                "hovertemplate": f"<b>{text(label)}</b><br>%{{y}} % within %{{x:.4~g}} ms<extra></extra>",
            }
        )
        columns[f"{label}, {panel.groups[g]} (ms)"] = dict(points)
    if not drawn:
        return None
    xaxis = lines.log_axis("Time of a request (ms)", min(ends), max(ends))
    yaxis = axis("Share of requests (%)", range=[-2, 102], tickvals=[0, 25, 50, 75, 90, 100])
    return Figure(
        id=f"{panel.key}-distribution",
        title="Requests done within a time, left is better",
        caption="All requests of the samples that count, pooled; "
        f"{len(SHARES)} points of each distribution are drawn, closer together in the tail.",
        spec={},
        legend=[(label, colour, "") for label, colour, _ in figures.legend(panel)],
        columns=["share (%)", *columns],
        rows=[
            [round(share * 100, 2), *(_rounded(values.get(share)) for values in columns.values())] for share in SHARES
        ],
        wide=True,
        facets=[
            Facet(f"{panel.key}-distribution-{g}", panel.groups[g], lines.small(traces, xaxis, yaxis))
            for g, traces in sorted(drawn.items())
        ],
        lines=True,
    )


def _quantile(told: Requests, share: float) -> float | None:
    """As drawn: the fastest request at 0, and nothing between the last whole request and the slowest."""
    return float(told.milliseconds[0]) if share == 0 else told.at(share)


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def percentiles(found: Small) -> Table:
    """What the paper's figure told, and what it did not: percentiles, rates, the total of 1,000 transfers."""
    panel = found.panel
    rows = []
    for g, group in enumerate(panel.groups):
        for s, series in enumerate(panel.series):
            cell = panel.slots.get((s, g))
            if cell is None:
                continue
            start = [text_value(series.label), text_value(group)]
            told = found.requests.get(cell.id)
            if told is None:
                why = cell.outcome if cell.outcome != "measured" else "no samples"
                rows.append([*start, Value(why, None, cell.reason or ""), *[number(None)] * 11])
                continue
            total, low, high = told.total(MANY)
            rows.append(
                [
                    *start,
                    *(number(told.at(share), 4) for share, _ in TOLD),
                    number(told.per_second, 4),
                    number(total, 4, span(_known(low), _known(high), 4)),
                    number(_known(told.sender_us)),
                    number(_known(told.receiver_us)),
                    Value(f"{len(told.milliseconds):,}".replace(",", "\N{THIN SPACE}"), len(told.milliseconds)),
                    number(_known(low), 4),
                    number(_known(high), 4),
                ]
            )
    batch = sorted({suite.requests for suite in found.suites})
    return Table(
        id=f"{panel.key}-percentiles",
        title="Percentiles",
        columns=COLUMNS,
        rows=rows,
        notes=[
            f"A sample is a batch of {' or '.join(words.count(n, 'request') for n in batch)} one after another; "
            "requests of all samples that count are pooled. Percentiles that fewer than one request lies beyond are "
            f"left out. The total is what the paper showed: from whole batches, geometric mean and {words.INTERVAL}."
        ],
        hidden=frozenset((12, 13)),
    )


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
