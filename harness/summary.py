"""What a run found, in lines for a terminal: by suite, with what was not measured and why."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence

from harness import ceiling, judge, linefit
from harness.record import Cell, Head, Sample, SuiteEntry, Verdict

PAPER = "the paper's scheme over the traditional one: about 27 % (time x1.27, or x1.37 if it means -27 % time)"

CPU_WORDS = {"faster": "cheaper", "slower": "dearer", "same": "same", "cannot_tell": "cannot tell"}


def lines(head: Head, samples: Sequence[Sample]) -> list[str]:
    """All lines of a run."""
    by_cell: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_cell[sample.cell].append(sample)
    found: list[str] = []
    for suite in head.suites:
        cells = [cell for cell in head.cells if cell.suite == suite.name]
        ids = {cell.id for cell in cells}
        about = [
            *_costs(suite, cells, by_cell),
            *_latencies(suite, cells, by_cell),
            *(_verdict(v) for v in head.verdicts if v.candidate in ids and v.ratio is not None),
        ]
        found += ["", _title(suite), *(f"  {line}" for line in about)]
    if any("afalg-copy / " in verdict.comparison for verdict in head.verdicts):
        found += ["", PAPER]
    return [*found, *_not_measured(head.cells)]


def _title(suite: SuiteEntry) -> str:
    figure = f" (the paper's Figure {suite.figure})" if suite.figure else ""
    masked = ", user space without AES and vector instructions" if suite.instructions == "masked" else ""
    return f"{suite.name}{figure}{masked}"


def _verdict(verdict: Verdict) -> str:
    timed = verdict.metric == "seconds"
    what = "time" if timed else "sender CPU per GB"
    word = verdict.verdict.replace("_", " ") if timed else CPU_WORDS[verdict.verdict]
    interval = (
        f"[{_number(verdict.ci_low)}, {_number(verdict.ci_high)}]"
        if verdict.ci_low and verdict.ci_high
        else "[no interval]"
    )
    limit = f", limited by the {verdict.bottleneck}" if verdict.bottleneck else ""
    if verdict.ceiling and verdict.ci_low and verdict.ci_high:
        fits = ceiling.agrees(verdict.ceiling, verdict.ci_low, verdict.ci_high, verdict.margin)
        limit += f"; predicted x{_number(verdict.ceiling)}: {'agrees' if fits else 'does not agree'}"
    return f"{verdict.comparison}: {what} x{_number(verdict.ratio)} {interval} {word} ({verdict.blocks} blocks{limit})"


def _number(value: float | None) -> str:
    """Three decimals, which tell 0.996 from 1; from 10 on four digits."""
    if value is None:
        return "-"
    return f"{value:.3f}" if value < 10 else f"{value:.4g}" if value < 1000 else f"{value:.0f}"


def _costs(suite: SuiteEntry, cells: Iterable[Cell], samples: dict[str, list[Sample]]) -> list[str]:
    """What a call and a byte cost each driver (t = a + b n), from raw crypto."""
    if suite.question != "kernel-crypto":
        return []
    times: dict[tuple[str, str, str], dict[int, dict[float, float]]] = defaultdict(lambda: defaultdict(dict))
    for cell in cells:
        if cell.outcome != "measured" or cell.buffer_bytes is None or (cell.depth or 1) > 1:
            continue
        driver = cell.driver_found or cell.driver
        name = cell.path if driver == "any" else f"{cell.path} by {driver}"
        for block, sample in judge.counted(samples[cell.id], cell.id).items():
            if sample.seconds:
                times[cell.cipher, cell.path, name][block][cell.buffer_bytes] = sample.seconds
    found = []
    for (cipher, _, name), blocks in times.items():
        if model := linefit.model(blocks):
            rate = f"{model.bits_per_second.mean / 1e6:.0f} Mbit/s" if model.bits_per_second else "no limit seen"
            doubt = "" if model.describes is not False else f"; the line is up to {model.residual:.0%} off"
            found.append(
                f"{cipher} {name}: {model.call_seconds.mean * 1e6:.1f} µs a call, "
                f"{model.byte_seconds.mean * 1e9:.3g} ns a byte, at most {rate}{doubt}"
            )
    return found


def _latencies(suite: SuiteEntry, cells: Iterable[Cell], samples: dict[str, list[Sample]]) -> list[str]:
    """What requests of small files took: median, 99 % and how many a second."""
    found = []
    for cell in cells:
        counted = judge.counted(samples[cell.id], cell.id).values()
        pooled = sorted(value for sample in counted for value in sample.latencies_us or [])
        if cell.outcome != "measured" or not pooled:
            continue
        total = math.fsum(sample.seconds or 0.0 for sample in counted)
        found.append(
            f"{cell.path}, {suite.connection} connections: {len(pooled) / total:.0f} requests/s, median "
            f"{statistics.median(pooled):.0f} µs, 99 % {pooled[math.ceil(0.99 * len(pooled)) - 1]:.0f} µs"
        )
    return found


def _not_measured(cells: Iterable[Cell]) -> list[str]:
    """Cells without a number, those of one reason together."""
    groups: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for cell in cells:
        if cell.outcome != "measured":
            start, _, size = cell.id.rpartition("/")
            groups[start, cell.outcome, cell.reason or "no reason was recorded"].append(size)
    if not groups:
        return []
    return [
        "",
        *(f"{start}/{','.join(sizes)}: {outcome}: {reason}" for (start, outcome, reason), sizes in groups.items()),
    ]
