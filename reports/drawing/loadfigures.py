"""Load drawn and listed: requests a second over connections, latencies over load, and all of it in a table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from reports import words
from reports.drawing import figures, lines
from reports.drawing.figures import Facet, Figure, axis, text
from reports.drawing.tables import Table, number, span
from reports.drawing.tables import text as text_value
from reports.findings import panels
from reports.findings.load import Loaded, Point

TOLD = ("p50", "p90", "p99", "p99.9")
COLUMNS = ("Path", "Load", "Requests/s", "Goodput (Mbit/s)", *(f"{name} (ms)" for name in TOLD), "max (ms)",
           "Sender CPU (µs/request)", "Receiver CPU (µs/request)", "Generator (% of a processor)",
           "Sender energy (J/GB)", "Receiver energy (J/GB)",
           "Requests", "Requests/s low", "Requests/s high")  # fmt: skip
FULLEST = 8
"""Processors that are listed by themselves."""
LEAST_SHARE = 0.01
"""Of one that is listed."""
READING = (
    "In a closed loop each connection asks again when it is served: a server that stops for a while is asked less, "
    "and its latencies hide that. In an open loop requests start at a fixed rate, and each one's latency counts from "
    "when it was to start, so that a stop counts for all that it delayed."
)


def capacity(found: Loaded) -> Figure | None:
    """Requests a second over connections, a line for each path; a small chart for each size and number of workers."""
    panel = found.panel
    points = [(s, point) for s, some in sorted(found.closed.items()) for point in some]
    if not points:
        return None
    facets = []
    for size, workers in sorted({(point.size, point.workers or 0) for _, point in points}):
        mine = [(s, point) for s, point in points if (point.size, point.workers or 0) == (size, workers)]
        ends = [value for _, point in mine for value in point.per_second if not math.isnan(value)]
        traces = [_curve(panel.series[s].label, s, [p for at, p in mine if at == s]) for s in dict(mine)]
        numbers = [point.connections for _, point in mine]
        facets.append(
            Facet(
                f"{panel.key}-capacity-{size}" + (f"-{workers}" if workers else ""),
                words.size(size) + (f", {words.count(workers, 'worker')}" if workers else ""),
                lines.small(
                    traces,
                    lines.steps_axis("Connections", numbers, str),
                    lines.log_axis("Requests/s", min(ends), max(ends)),
                ),
            )
        )
    return Figure(
        id=f"{panel.key}-capacity",
        title="Requests answered each second, higher is better",
        caption="Closed loop: each connection asks again when served. Mark: geometric mean; line: its "
        f"{words.INTERVAL}. To compare two paths use the ratios: they are paired, these intervals are not.",
        spec={},
        legend=figures.legend(panel),
        columns=["path", "size", "connections", "workers", "requests/s", "low", "high", "goodput (Mbit/s)"],
        rows=[
            [
                panel.series[s].label,
                words.size(p.size),
                p.connections,
                p.workers,
                *map(_known, p.per_second),
                _goodput(p),
            ]
            for s, p in points
        ],
        absent=panels.absent(panel),
        wide=True,
        facets=facets,
        lines=True,
    )


def _curve(label: str, s: int, some: list[Point]) -> dict[str, Any]:
    some = sorted(some, key=lambda point: point.connections)
    hover = [
        f"{words.count(p.connections, 'connection')}: {words.number(p.per_second[0])} requests/s, "
        f"{words.number(_goodput(p))} Mbit/s"
        for p in some
    ]
    return lines.line(
        label,
        [s],
        [point.connections for point in some],
        [point.per_second[0] for point in some],
        hover,
        {"line": s},
        symbol=lines.SYMBOLS[s % len(lines.SYMBOLS)],
        limits=[point.per_second[1:] for point in some],
        head=f"<b>{text(label)}</b>",
    )


def latencies(found: Loaded) -> Figure | None:
    """Latency over load: the median and 99 % of requests at fixed rates; a chart for each number of connections."""
    panel = found.panel
    points = [(s, point) for s, some in sorted(found.open.items()) for point in some]
    known = [(s, p) for s, p in points if p.latencies["p50"] is not None]
    if not known:
        return None
    facets = []
    for size, workers, connections in sorted({_chart(p) for _, p in known}):
        mine = [(s, p) for s, p in known if _chart(p) == (size, workers, connections)]
        ends = [value * 1e3 for _, p in mine for name in ("p50", "p99") if (value := p.latencies[name]) is not None]
        traces = [
            trace
            for s in dict(mine)
            for name, dash in (("p50", "solid"), ("p99", "dash"))
            if (trace := _over_load(panel.series[s].label, s, [p for at, p in mine if at == s], name, dash))
        ]
        facets.append(
            Facet(
                f"{panel.key}-latency-{size}-{connections}" + (f"-{workers}" if workers else ""),
                words.size(size) + words.over(connections, workers=workers or None),
                lines.small(
                    traces,
                    axis("Load (% of the baseline's capacity)", tickvals=sorted({_percent(p) for _, p in mine})),
                    lines.log_axis("Latency (ms)", min(ends), max(ends)),
                ),
            )
        )
    return Figure(
        id=f"{panel.key}-latency",
        title="Latency at fixed rates, lower is better",
        caption="Open loop, the same rates for all paths and rounds: shares of what the baseline answered in a closed "
        "loop before the first of them in this run. Solid: the median; dashed: 99 % of requests. A line ends where "
        "too few were slower to tell, or the generator itself may be what was late.",
        spec={},
        legend=figures.legend(panel),
        columns=["path", "size", "connections", "workers", "load (%)", *(f"{name} (ms)" for name in TOLD), "max (ms)"],
        rows=[
            [
                panel.series[s].label,
                words.size(p.size),
                p.connections,
                p.workers,
                _percent(p),
                *map(_ms, _told(p)),
                _ms(p.longest),
            ]
            for s, p in points
        ],
        wide=True,
        facets=facets,
        lines=True,
    )


def _chart(p: Point) -> tuple[int, int, int]:
    """In which chart it is drawn: its size, workers (0: not said) and connections."""
    return p.size, p.workers or 0, p.connections


def _over_load(label: str, s: int, some: list[Point], name: str, dash: str) -> dict[str, Any] | None:
    shown = [(p, value) for p in sorted(some, key=_percent) if (value := p.latencies[name]) is not None]
    if not shown:
        return None
    hover = [f"{_percent(p):g} %: {name} {words.number(value * 1e3)} ms" for p, value in shown]
    return lines.line(
        f"{label} {name}",
        [s],
        [_percent(p) for p, _ in shown],
        [value * 1e3 for _, value in shown],
        hover,
        {"line": s},
        dash=dash,
        symbol=lines.SYMBOLS[s % len(lines.SYMBOLS)],
        head=f"<b>{text(label)}</b>",
    )


def table(found: Loaded) -> Table:
    """Every point: rates, latencies, what it cost both hosts."""
    panel = found.panel
    rows, doubts, full = [], [], []
    for loop in (found.closed, found.open):
        for s, some in sorted(loop.items()):
            for p in some:
                label = panel.series[s].label
                asked = words.size(p.size) + words.over(p.connections, p.rate_share, p.workers)
                doubts += [f"{name} of {label}, {asked}: {why}" for name, why in p.doubts.items()]
                full += [f"{label}, {asked}"] if p.generator_full else []
                mean, low, high = map(_known, p.per_second)
                rows.append(
                    [
                        text_value(label),
                        text_value(asked),
                        number(mean, 4, span(low, high, 4)),
                        number(_goodput(p), 4),
                        *(number(_ms(value), 4) for value in _told(p)),
                        number(_ms(p.longest), 4),
                        number(p.sender_us),
                        number(p.receiver_us),
                        number(p.generator * 100),
                        number(p.sender_joules),
                        number(p.receiver_joules),
                        number(p.responses, 6),
                        number(low, 4),
                        number(high, 4),
                    ]
                )
    return Table(
        id=f"{panel.key}-load",
        title="Load",
        columns=COLUMNS,
        rows=rows,
        notes=[
            READING,
            "Requests/s are those that the bytes of answers make: answers that end together come in lumps.",
            "Percentiles are of all samples that count together; one is told where a hundred requests were slower.",
            *([f"Not told, as the generator itself may be what was late: {'; '.join(doubts)}."] if doubts else []),
            *([f"Limited by the generator, which took a whole processor: {'; '.join(full)}."] if full else []),
            "Energy is the whole host's, of its processors' packages and memory, where it tells that.",
        ],
        hidden=frozenset((15, 16)),
    )


def processors(found: Loaded) -> Table | None:
    """How full each processor was, of hosts that have several and told; None where none did."""
    rows = []
    for loop in (found.closed, found.open):
        for s, some in sorted(loop.items()):
            for p in some:
                for role, each in p.busy.items():
                    later = p.softirq.get(role, {})
                    rows.append(
                        [
                            text_value(found.panel.series[s].label),
                            text_value(words.size(p.size) + words.over(p.connections, p.rate_share, p.workers)),
                            text_value(role),
                            number(len(each), 6),
                            number(sum(each.values())),
                            text_value(_fullest(each)),
                            number(sum(later.values())),
                            text_value(_fullest(later)),
                        ]
                    )
    if not rows:
        return None
    return Table(
        id=f"{found.panel.key}-processors",
        title="Processors under load",
        columns=("Path", "Load", "Host", "Processors", "Busy (processors)", "Busy, by processor (%)",
                 "Softirq (processors)", "Softirq, by processor (%)"),
        rows=rows,
        notes=[f"By processor: its number and the share of the time, the fullest first, {FULLEST} of them at most."],
    )  # fmt: skip


def handshakes(found: Loaded) -> Table | None:
    """How many TLS handshakes there were and what they took, where connections were new; None where none were."""
    rows = [
        [
            text_value(found.panel.series[s].label),
            text_value(words.size(p.size) + words.over(p.connections, p.rate_share, p.workers)),
            text_value(p.exchange or "as the libraries chose"),
            number(p.handshakes_per_second, 4),
            *(number(_ms(p.handshakes[name]), 4) for name in TOLD),
        ]
        for loop in (found.closed, found.open)
        for s, some in sorted(loop.items())
        for p in some
        if p.handshakes_per_second
    ]
    if not rows:
        return None
    return Table(
        id=f"{found.panel.key}-handshakes",
        title="TLS handshakes",
        columns=("Path", "Load", "Key exchange, key", "Handshakes/s", *(f"{name} (ms)" for name in TOLD)),
        rows=rows,
        notes=["From the start of connecting to the end of the handshake, of those that ended in the measured time."],
    )


def _fullest(each: Mapping[str, float]) -> str:
    """The fullest processors and how full they were, as ``3: 97, 0: 12``; those under 1 % are left out."""
    some = sorted(each.items(), key=lambda one: (-one[1], int(one[0])))[:FULLEST]
    return ", ".join(f"{number}: {share * 100:.0f}" for number, share in some if share >= LEAST_SHARE) or "–"


def _told(point: Point) -> list[float | None]:
    return [point.latencies[name] for name in TOLD]


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1e3


def _goodput(point: Point) -> float | None:
    return _known(point.per_second[0] * point.size * 8 / 1e6)


def _percent(point: Point) -> float:
    return round((point.rate_share or 0.0) * 100, 1)


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
