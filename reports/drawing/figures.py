"""Panels as Plotly figures: plain dicts in Plotly's own format, checked against its schema by the tests.

Building the dicts by hand keeps pages small and a site of hundreds of runs quick. The page's script adds the
samples as points (``meta.samples``, from the one table of samples in the page) and the colours of the theme
(``meta.series``; shapes and annotations by ``name``). No text in a figure is trusted: ``text`` escapes it.
"""

from __future__ import annotations

import html
import math
from dataclasses import dataclass, field
from typing import Any

from hosts.roles import ROLES
from reports import words
from reports.findings.panels import Panel, absent, counted, has_cpu, quantity, value

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', sans-serif"
PATTERNS = ("", "/", "\\", "x", "-", "|", ".", "+")
BARS = {
    "goodput_bits_per_second": ("Goodput", "Mbit/s", 1e6),
    "latency_p50_us": ("Median time of a request", "µs", 1.0),
    "sender_cpu_seconds_per_gb": ("Sender", "CPU s/GB", 1.0),
    "receiver_cpu_seconds_per_gb": ("Receiver", "CPU s/GB", 1.0),
}
SPREAD = 0.6  # of a bar's width, over which its samples are laid out in the order they were taken


@dataclass(frozen=True)
class Facet:
    """One of the small charts of a figure that has several: its place in the page, its heading, Plotly's dict."""

    id: str
    title: str
    spec: dict[str, Any]


@dataclass(frozen=True)
class Figure:
    """One figure, its words and the data that it shows."""

    id: str
    title: str
    caption: str
    spec: dict[str, Any]
    """Plotly's dict."""
    legend: list[tuple[str, int, str]]
    """Label, number of the series, explanation."""
    columns: list[str]
    """Of the table that holds its data."""
    rows: list[list[Any]]
    """Of the same table."""
    absent: list[tuple[str, str, str]] = field(default_factory=list)
    """What it cannot show: path and sizes, outcome, reason."""
    wide: bool = False
    """Whether it takes the page's whole width."""
    facets: list[Facet] = field(default_factory=list)
    """Several small charts instead of one ``spec``."""
    lines: bool = False
    """Whether it shows lines rather than bars."""
    data_of: str = ""
    """The figure whose table holds this one's data too."""

    @property
    def specs(self) -> dict[str, dict[str, Any]]:
        """What Plotly is to draw, by place in the page."""
        return {facet.id: facet.spec for facet in self.facets} or {self.id: self.spec}


def text(value: object) -> str:
    """Any text for use in a Plotly figure, which reads tags and entities."""
    return html.escape(str(value)).replace("%{", "%&#123;")


def layout(height: int, **more: Any) -> dict[str, Any]:
    """What all figures share."""
    margin = more.pop("margin", {})
    return {
        "height": height,
        "margin": {"l": 56, "r": 12, "t": 34, "b": 44} | margin,
        "font": {"family": FONT, "size": 12},
        "showlegend": False,
        "hovermode": "closest",
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "dragmode": False,
        **more,
    }


def axis(title: str, **more: Any) -> dict[str, Any]:
    """An axis with its unit."""
    return {"title": {"text": title, "standoff": 8}, "zeroline": False, "fixedrange": True, **more}


def bars(panel: Panel, cell_index: dict[str, int]) -> Figure:
    """Goodput by size (or time of a request): a bar per path, its interval, every sample as a point."""
    name = quantity(panel)
    what, unit, factor = BARS[name]
    traces, notes, rows = _bars(panel, name, cell_index, "x", "y")
    limit = panel.suite.link_rate_bits_per_second
    top = max((row[3] * factor for row in rows if row[3] is not None), default=0.0)
    shapes = []
    if name == "goodput_bits_per_second" and limit and top > 0.4 * limit:
        shapes.append(line_across("link", "y", limit / factor))
        label = f"– – link rate {words.rate(limit)}"
        notes.append(
            note("link", label, xref="paper", x=1, xanchor="right", yref="paper", y=1, yanchor="bottom", yshift=4)
        )
    groups = list(range(len(panel.groups)))
    spec = {
        "data": traces,
        "layout": layout(
            380,
            xaxis=axis(
                "File size" if "buffer" not in "".join(panel.groups) else "Size of file and buffer",
                tickvals=groups,
                ticktext=[text(g) for g in panel.groups],
                range=[-0.5, len(groups) - 0.5],
                showgrid=False,
            ),
            yaxis=axis(f"{what} ({unit})", **_up(rows)),
            shapes=shapes,
            annotations=notes,
        ),
    }
    better = "higher is better" if name == "goodput_bits_per_second" else "lower is better"
    return Figure(
        id=f"{panel.key}-{'goodput' if better[0] == 'h' else 'latency'}",
        title=f"{what}, {better}",
        caption=f"Bar: geometric mean. Line: its {words.INTERVAL}. Points: every sample that counts, in the order "
        "they were taken. To compare two paths use the ratios: they are paired, these intervals are not.",
        spec=spec,
        legend=legend(panel),
        columns=["path", "size", "samples", f"mean ({unit})", f"low ({unit})", f"high ({unit})", "outcome"],
        rows=rows,
        absent=absent(panel),
        wide=True,
    )


def cpu(panel: Panel, cell_index: dict[str, int]) -> Figure | None:
    """Busy CPU-seconds per GB, the sender above the receiver. None where no host counted any."""
    if not has_cpu(panel):
        return None
    traces, notes, rows = [], [], []
    for n, host in enumerate(ROLES):
        ref = str(n + 1) if n else ""
        of_host, words_in, table = _bars(panel, f"{host}_cpu_seconds_per_gb", cell_index, "x", f"y{ref}")
        traces += of_host
        notes += words_in
        rows += [[row[0], row[1], host, *row[2:]] for row in table]
    groups = list(range(len(panel.groups)))
    ticks = {"tickvals": groups, "ticktext": [text(g) for g in panel.groups]}
    spec = {
        "data": traces,
        "layout": layout(
            400,
            margin={"l": 64},
            xaxis=axis("File size", range=[-0.5, len(groups) - 0.5], showgrid=False, anchor="y2", **ticks),
            yaxis=axis("Sender (s/GB)", **_up(rows, "sender"), domain=[0.56, 1]),
            yaxis2=axis("Receiver (s/GB)", **_up(rows, "receiver"), domain=[0, 0.44]),
            annotations=notes,
        ),
    }
    return Figure(
        id=f"{panel.key}-cpu",
        title="Processor time per GB, lower is better",
        caption="Busy CPU-seconds of the whole host, interrupts and crypto workers included, per 10⁹ payload "
        f"bytes. Bar: mean. Line: its {words.INTERVAL}. Points: samples.",
        spec=spec,
        legend=[(label, colour, "") for label, colour, _ in legend(panel)],
        columns=["path", "size", "host", "samples", "mean (s/GB)", "low (s/GB)", "high (s/GB)", "outcome"],
        rows=rows,
    )


Built = tuple[list[dict[str, Any]], list[dict[str, Any]], list[list[Any]]]


def _bars(panel: Panel, name: str, cell_index: dict[str, int], xaxis: str, yaxis: str) -> Built:
    """Traces (bars and the places of their points), annotations for what is missing, rows of the data table."""
    what, unit, factor = BARS[name]
    width = 0.84 / len(panel.series)
    total = len(panel.series) * len(panel.groups)
    traces: list[dict[str, Any]] = []
    notes: list[dict[str, Any]] = []
    rows: list[list[Any]] = []
    for s, series in enumerate(panel.series):
        x, y, up, down, hover, points = [], [], [], [], [], []
        for g, group in enumerate(panel.groups):
            cell = panel.slots.get((s, g))
            if cell is None:
                continue
            mean, low, high = (v / factor for v in value(panel, cell, name))
            samples = counted(panel, cell)
            at = round(g + (s - (len(panel.series) - 1) / 2) * width, 4)
            rows.append([series.label, group, samples, *(_or_none(v) for v in (mean, low, high)), cell.outcome])
            if math.isnan(mean):
                outcome = cell.outcome if cell.outcome != "measured" else "no samples"
                notes.append(_missing(outcome, cell.reason or "", at, yaxis, total))
                continue
            has_interval = not math.isnan(low)
            x.append(at)
            y.append(_compact(mean))
            up.append(_compact(high - mean) if has_interval else 0)
            down.append(_compact(mean - low) if has_interval else 0)
            span = f" (95 % {words.number(low)}–{words.number(high)})" if has_interval else ""
            hover.append(
                f"<b>{text(series.label)}</b>, {text(group)}<br>{what}: {words.number(mean)} {unit}{span}"
                f"<br>{words.count(samples, 'sample')}"
            )
            points.append([cell_index[cell.id], at])
        common = {"xaxis": xaxis, "yaxis": yaxis, "legendgroup": str(s), "name": text(series.label)}
        pattern = {"shape": PATTERNS[series.colour % 8], "size": 6, "solidity": 0.25, "fillmode": "overlay"}
        traces.append(
            common
            | {"type": "bar", "x": x, "y": y, "width": round(width * 0.92, 4), "hovertext": hover, "hoverinfo": "text"}
            | {"marker": {"pattern": pattern}, "meta": {"series": series.colour}}
            | {"error_y": {"type": "data", "array": up, "arrayminus": down, "thickness": 1.5, "width": 4}}
        )
        traces.append(
            common
            | {"type": "scatter", "mode": "markers", "x": [], "y": [], "hoverinfo": "text"}
            | {"marker": {"size": 5, "symbol": "circle-open", "line": {"width": 1.2}}}
            | {"meta": {"samples": points, "quantity": name, "spread": round(width * SPREAD, 4), "factor": factor}}
        )
    return traces, notes, rows


def _up(rows: list[list[Any]], host: str | None = None) -> dict[str, Any]:
    """The range of an axis from zero up. A wild interval of few samples runs off it rather than flatten all bars."""
    mine = [row for row in rows if host is None or row[2] == host]
    means = [row[-4] for row in mine if row[-4] is not None]
    highs = [row[-2] for row in mine if row[-2] is not None]
    if means and max(highs, default=0) > 1.8 * max(means) > 0:
        return {"range": [0, _compact(1.8 * max(means))]}
    return {"rangemode": "tozero"}


def _missing(outcome: str, reason: str, x: float, yref: str, total: int) -> dict[str, Any]:
    """A word in a bar's place: what became of the cell instead of a number."""
    word = outcome if total < 40 else "×"
    return note(
        "missing", word, x=x, y=0, yref=yref, yanchor="bottom", textangle=-90, yshift=3,
        hovertext=text(f"{outcome}: {reason[:120]}" if reason else outcome), font={"size": 11 if total < 25 else 9},
    )  # fmt: skip


def note(name: str, words_: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "text": words_, "showarrow": False, **more}


def line_across(name: str, along: str, at: float, dash: str = "dash") -> dict[str, Any]:
    """A line across the plot at a value of the axis ``along``."""
    other = "x" if along == "y" else "y"
    return {
        "name": name, "type": "line", "layer": "below", "line": {"width": 1.5, "dash": dash},
        f"{along}0": at, f"{along}1": at, f"{other}0": 0, f"{other}1": 1, f"{other}ref": "paper",
    }  # fmt: skip


def legend(panel: Panel) -> list[tuple[str, int, str]]:
    """A panel's paths, with what they are."""
    return [(s.label, s.colour, s.title + (" (baseline)" if s.baseline else "")) for s in panel.series]


def _compact(value: float) -> float:
    return float(f"{value:.6g}")


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
