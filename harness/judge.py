"""Pure: samples become verdicts, and each cell's bottleneck is named."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from harness import stats
from harness.ceiling import Clear
from harness.record import Cell, Metric, Sample, Verdict

TICKS = 10
"""A busy time shorter than this many steps of its clock is not compared."""
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


def verdicts(
    cells: Sequence[Cell],
    samples: Sequence[Sample],
    baseline: str,
    margin: float,
    limits: dict[str, str | None],
    ceiling: Callable[[Metric, str], float | None],
) -> list[Verdict]:
    """Every measured cell of one suite and size against the measured one whose path is ``baseline``.

    ``ceiling`` of a metric and a candidate's path: the ratio predicted from prices, None where there is none.
    """
    measured = {cell.path: cell for cell in cells if cell.outcome == "measured"}
    if baseline not in measured:
        return []
    base = measured.pop(baseline)
    return [
        verdict.model_copy(
            update={
                "ceiling": ceiling(verdict.metric, path) if verdict.blocks else None,
                "bottleneck": limits.get(cell.id),
            }
        )
        for path, cell in measured.items()
        for verdict in against(base, cell, samples, margin)
    ]


def against(base: Cell, cell: Cell, samples: Sequence[Sample], margin: float) -> list[Verdict]:
    """One cell against another of the same blocks, a verdict for each metric."""
    first, second = counted(samples, base.id), counted(samples, cell.id)
    found = []
    for metric, value in METRICS.items():
        pairs = [(value(first[block]), value(second[block])) for block in sorted(first.keys() & second.keys())]
        known = [(a, b) for a, b in pairs if a is not None and b is not None]
        if len(known) < len(pairs):
            known = []  # the blocks that happen to be measurable are not a fair sample of all
        result = stats.compare([a for a, _ in known], [b for _, b in known], margin)
        found.append(
            Verdict(
                comparison=f"{_title(base, cell)} / {_title(cell, base)}, {cell.suite} {cell.id.rsplit('/', 1)[1]}",
                baseline=base.id,
                candidate=cell.id,
                metric=metric,
                ratio=result.ratio,
                ci_low=result.low,
                ci_high=result.high,
                blocks=result.blocks,
                verdict=result.verdict,
                margin=margin,
                detectable=result.detectable,
            )
        )
    return found


def _title(cell: Cell, other: Cell) -> str:
    """Its path, and what else tells it from the other: driver, or requests under way at once."""
    if cell.path != other.path:
        return cell.path if cell.buffer_bytes is None else f"{cell.cipher} {cell.path}"
    name = f"{cell.cipher} {cell.path} {cell.driver}"
    return f"{name} x{cell.depth}" if cell.depth != other.depth else name


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
