"""Pure: samples become verdicts, and each cell's bottleneck is named."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Literal

from harness import stats
from harness.ceiling import Clear
from harness.record import Cell, Metric, Sample, Verdict

TICKS = 10
"""A busy time shorter than this many steps of its clock is not compared."""
TIMER_SECONDS = 1e-6
"""The step of the receiver's timer: libcurl tells whole microseconds. Samples by another clock tell its step."""
LINK_SHARE = 0.93
BUSY_SHARE = 0.90


def counted(samples: Iterable[Sample], cell: str) -> dict[int, Sample]:
    """The samples of a cell that count, by block: valid and not a warm-up."""
    return {s.block: s for s in samples if s.cell == cell and s.valid and not s.warmup and s.seconds}


def cpu_seconds_per_gb(sample: Sample, role: Literal["sender", "receiver"] = "sender") -> float | None:
    """A host's busy seconds for each 10^9 bytes received; None where its clock is too coarse for this sample."""
    host = sample.sender if role == "sender" else sample.receiver
    if host.cpu_seconds is None or host.cpu_resolution_seconds is None or not sample.bytes:
        return None
    if host.cpu_seconds < TICKS * host.cpu_resolution_seconds:
        return None
    return host.cpu_seconds / sample.bytes * 1e9


METRICS: dict[Metric, Callable[[Sample], float | None]] = {
    "seconds": lambda sample: sample.seconds,
    "cpu_seconds_per_gb": cpu_seconds_per_gb,
}


def step(sample: Sample, metric: Metric) -> float:
    """The step of the clock that measured this metric, as a fraction of what it measured."""
    if metric == "cpu_seconds_per_gb":
        return (sample.sender.cpu_resolution_seconds or 0.0) / (sample.sender.cpu_seconds or math.inf)
    operations, known = (sample.witness.get(name) for name in ("operations", "clock_step_seconds"))
    batch = operations if isinstance(operations, int) and operations > 1 else 1
    clock = known if isinstance(known, float) else TIMER_SECONDS
    return clock / batch / (sample.seconds or math.inf)


def paired(
    samples: Iterable[Sample], baseline: str, candidate: str, metric: Metric
) -> dict[int, tuple[Sample, Sample]]:
    """The counted samples of two cells in the blocks that both have; none where one is too short for its clock."""
    rows = list(samples)
    base, other = counted(rows, baseline), counted(rows, candidate)
    both = {block: (base[block], other[block]) for block in sorted(base.keys() & other.keys())}
    value = METRICS[metric]
    if any(value(sample) is None for pair in both.values() for sample in pair):
        return {}  # the blocks that happen to be measurable are not a fair sample of all
    return both


def series(pairs: Iterable[tuple[Sample, Sample]], metric: Metric, looks: int = 1) -> stats.Series:
    """Log ratios of paired samples; ``looks`` as in stats.Series."""
    both, value = list(pairs), METRICS[metric]
    known = [(value(a) or math.nan, value(b) or math.nan) for a, b in both]
    steps = [step(sample, metric) for pair in both for sample in pair]
    return stats.series([a for a, _ in known], [b for _, b in known], looks, steps)


def verdicts(
    cells: Sequence[Cell],
    samples: Sequence[Sample],
    baseline: str,
    margin: float,
    limits: Mapping[str, str | None],
    ceiling: Callable[[Metric, str], float | None],
    looks: int = 1,
    planned: int = 0,
) -> list[Verdict]:
    """Every measured cell of one suite and size against the first measured one whose path is ``baseline``.

    Cells of one path that is listed twice are compared like others. ``ceiling`` of a metric and a candidate's path: the
    ratio predicted from prices, None where there is none. ``looks`` as in stats.Series, ``planned`` as in
    stats.family. Of a run with more than these cells the verdicts are not the last word: see ``settled``.
    """
    measured = [cell for cell in cells if cell.outcome == "measured"]
    base = next((cell for cell in measured if cell.path == baseline), None)
    if base is None:
        return []
    rows = [
        row
        for cell in measured
        if cell is not base
        for row in against(base, cell, margin, partial(_of_path, ceiling, cell.path), limits.get(cell.id))
    ]
    return settled(rows, samples, {cell.id: looks for cell in measured}, planned)


def against(
    base: Cell,
    cell: Cell,
    margin: float,
    ceiling: Callable[[Metric], float | None] = lambda _metric: None,
    bottleneck: str | None = None,
) -> list[Verdict]:
    """One cell against another, a verdict for each metric, still without numbers: ``settled`` gives them."""
    return [
        Verdict(
            comparison=f"{_name(base, cell)} / {_name(cell, base)}, {cell.suite} {cell.id.rsplit('/', 1)[1]}",
            baseline=base.id,
            candidate=cell.id,
            metric=metric,
            ratio=None,
            ci_low=None,
            ci_high=None,
            blocks=0,
            verdict="cannot_tell",
            margin=margin,
            detectable=None,
            ceiling=ceiling(metric),
            bottleneck=bottleneck,
        )
        for metric in METRICS
    ]


def _of_path(ceiling: Callable[[Metric, str], float | None], path: str, metric: Metric) -> float | None:
    return ceiling(metric, path)


def settled(
    rows: Sequence[Verdict], samples: Sequence[Sample], looks: Mapping[str, int] | None = None, planned: int = 0
) -> list[Verdict]:
    """These verdicts anew, as those of one run: corrected for the number of all of them.

    ``samples``: of all their cells. ``looks``: of each candidate, by the cell's id, as in stats.Series; 1 where it is
    not named. ``planned``: how many verdicts the run will have, where these are not all. What is not statistics (the
    comparison, ceiling, bottleneck) stays; a ceiling is left out where there are no blocks to hold it against.
    Raises ValueError where their margins differ.
    """
    all_series = _all_series(rows, samples, looks or {})
    margins = {row.margin for row in rows}
    if len(margins) > 1:
        raise ValueError("the verdicts of one run have one margin")
    found = stats.family(all_series, margins.pop(), planned) if margins else []
    return [
        row.model_copy(
            update={
                "ratio": result.ratio,
                "ci_low": result.low,
                "ci_high": result.high,
                "blocks": result.blocks,
                "verdict": result.verdict,
                "detectable": result.detectable,
                "ceiling": row.ceiling if result.blocks else None,
            }
        )
        for row, result in zip(rows, found, strict=True)
    ]


def _all_series(rows: Sequence[Verdict], samples: Iterable[Sample], looks: Mapping[str, int]) -> list[stats.Series]:
    return [
        series(pairs.values(), row.metric, looks.get(row.candidate, 1))
        for row, pairs in zip(rows, _all_pairs(rows, samples), strict=True)
    ]


def _all_pairs(rows: Sequence[Verdict], samples: Iterable[Sample]) -> list[dict[int, tuple[Sample, Sample]]]:
    by_cell: dict[str, list[Sample]] = {}
    for sample in samples:
        by_cell.setdefault(sample.cell, []).append(sample)
    return [
        paired(by_cell.get(row.baseline, []) + by_cell.get(row.candidate, []), row.baseline, row.candidate, row.metric)
        for row in rows
    ]


def remarks(rows: Sequence[Verdict], samples: Iterable[Sample]) -> list[str]:
    """A line for each verdict with blocks that stand out, to be shown beside it. All of them count."""
    lines = []
    for row, pairs in zip(rows, _all_pairs(rows, samples), strict=True):
        logs, blocks = series(pairs.values(), row.metric).logs, list(pairs)
        if places := stats.outliers(logs):
            usual = math.exp(statistics.median(logs))
            far = ", ".join(f"{blocks[place]} (x{math.exp(logs[place]):.3g})" for place in places)
            lines.append(f"{row.comparison}, {row.metric}: far from the median of x{usual:.3g}: block {far}; counted")
    return lines


def _name(cell: Cell, other: Cell) -> str:
    """A side of a comparison: its path, with what else tells it from the other: driver, or requests under way."""
    _, path, cipher, driver, *_ = cell.id.split("/")
    name = path if cell.buffer_bytes is None else f"{cipher} {path}"
    if cell.depth != other.depth:
        return f"{name} {driver} x{cell.depth}"
    return f"{name} {driver}" if other.id.split("/")[1] == path else name


def clear(samples: Iterable[Sample]) -> Clear | None:
    """Medians of a clear sendfile's counted samples; None where it was not measured or CPU not finely enough."""
    rows = [(s.seconds, s.sender.cpu_seconds, s.receiver.cpu_seconds) for s in samples if cpu_seconds_per_gb(s)]
    known = [(a, b, c) for a, b, c in rows if a is not None and b is not None and c is not None]
    return Clear(*(statistics.median(column) for column in zip(*known, strict=True))) if known else None


def bottleneck(
    samples: Iterable[Sample],
    processors: dict[str, int],
    link_bits_per_second: float | None,
    cipher_seconds: float | None = None,
) -> str | None:
    """What a cell waited for: ``link``, ``cipher``, ``sender`` or ``receiver``; None where nothing was full.

    From medians: goodput against the link's measured goodput, busy time against elapsed time and processors. ``cipher``
    is a full sender that spent over half of its time enciphering, by the measured price (``cipher_seconds``).
    """
    rows = [s for s in samples if s.seconds and s.bytes]
    if not rows:
        return None
    goodput = statistics.median(s.bytes * 8 / s.seconds for s in rows if s.bytes and s.seconds)
    if link_bits_per_second and goodput >= LINK_SHARE * link_bits_per_second:
        return "link"
    shares = {}
    for role in ("sender", "receiver"):
        busy = [getattr(s, role).cpu_seconds for s in rows]
        if all(value is not None for value in busy):
            ratios = [value / s.seconds for value, s in zip(busy, rows, strict=True)]
            shares[role] = statistics.median(ratios) / max(1, processors.get(role, 1))
    fullest = max(shares, key=lambda role: shares[role], default=None)
    if fullest is None or shares[fullest] < BUSY_SHARE:
        return None
    spent = statistics.median(s.sender.cpu_seconds or 0.0 for s in rows)
    return "cipher" if fullest == "sender" and cipher_seconds and cipher_seconds > spent / 2 else fullest
