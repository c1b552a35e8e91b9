"""All that a run found, in lines for a terminal: by suite, its notes, what was not measured and why."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence

from harness.costs import prediction
from harness.load import latency
from harness.record import ON_DISK, Cell, Head, SuiteEntry, Verdict
from harness.samples import Sample, counted
from harness.units import size_name
from harness.verdicts import answer, linefit
from harness.verdicts.linefit import Block

NO_INTERVAL = "[no interval]"
CPU_WORDS = {"faster": "cheaper", "slower": "dearer", "same": "same", "cannot_tell": "cannot tell"}


def lines(head: Head, samples: Sequence[Sample]) -> list[str]:
    """All lines of a run."""
    by_cell = counted(samples, head.measured)
    found: list[str] = []
    for suite in head.suites:
        cells = [cell for cell in head.cells if cell.suite == suite.name]
        ids = {cell.id for cell in cells}
        about = [
            *_costs(suite, cells, by_cell),
            *_latencies(suite, cells, by_cell),
            *_loads(cells, by_cell),
            *_uncounted(suite),
            *(_verdict(v) for v in head.verdicts if v.candidate in ids),
        ]
        found += ["", _title(suite), *(f"  {line}" for line in about)]
    notes = ["", *(f"note: {note}" for note in head.notes)] if head.notes else []
    return [*found, *notes, *_not_measured(head.cells), *_not_proven(head.cells)]


def _title(suite: SuiteEntry) -> str:
    figure = f" (the paper's Figure {suite.figure})" if suite.figure else ""
    masked = ", user space without AES and vector instructions" if suite.instructions == "masked" else ""
    disk = f", {ON_DISK}" if suite.files == "disk" else ""
    return f"{suite.name}{figure}{masked}{disk}"


def _verdict(verdict: Verdict) -> str:
    timed = verdict.metric == "seconds"
    what = "time" if timed else f"{answer.cpu_host(verdict)} CPU per GB"
    if verdict.ratio is None:
        return f"{verdict.comparison}: {what} not measured"
    word = verdict.verdict.replace("_", " ") if timed else CPU_WORDS[verdict.verdict]
    limit = f", limited by the {verdict.bottleneck}" if verdict.bottleneck else ""
    if (fits := prediction.agrees(verdict)) is not None:
        own = f" [{_number(verdict.ceiling_low)}, {_number(verdict.ceiling_high)}]" if verdict.ceiling_low else ""
        limit += f"; predicted x{_number(verdict.ceiling)}{own}: {'agrees' if fits else 'does not agree'}"
    return f"{verdict.comparison}: {what} {interval(verdict)} {word} ({_spread(verdict)}{limit})"


def _spread(verdict: Verdict) -> str:
    """Its blocks, over how many rounds, how much of its error's variance lies between these, how many blocks were
    disturbed."""
    told = f"{verdict.blocks} blocks"
    if (verdict.rounds or 1) > 1:
        told += f" in {verdict.rounds} rounds"
    told += "" if verdict.between is None else f", {verdict.between * 100:.0f} % of the variance between them"
    return told if verdict.disturbed is None else f"{told}, {verdict.disturbed} disturbed"


def interval(verdict: Verdict) -> str:
    """A ratio and its interval: ``x1.073 [1.021, 1.120]``."""
    known = verdict.ci_low and verdict.ci_high
    span = f"[{_number(verdict.ci_low)}, {_number(verdict.ci_high)}]" if known else NO_INTERVAL
    return f"x{_number(verdict.ratio)} {span}"


def _number(value: float | None) -> str:
    """Three decimals, which tell 0.996 from 1; from 10 on four digits."""
    if value is None:
        return "-"
    return f"{value:.3f}" if value < 10 else f"{value:.4g}" if value < 1000 else f"{value:.0f}"


def _costs(suite: SuiteEntry, cells: Iterable[Cell], samples: dict[str, dict[int, Sample]]) -> list[str]:
    """What a call and a byte cost each driver (t = a + b n), from kernel crypto."""
    if suite.question != "kernel-crypto":
        return []
    times: dict[tuple[str, str, str], dict[Block, dict[float, float]]] = defaultdict(lambda: defaultdict(dict))
    for cell in cells:
        if cell.buffer_bytes is None or (cell.depth or 1) > 1:
            continue
        driver = cell.driver_found or cell.driver
        name = cell.path if driver == "any" else f"{cell.path} by {driver}"
        mine = [*samples.get(cell.id, {}).values()]
        for block, sample in zip(linefit.places(sample.round for sample in mine), mine, strict=True):
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


def _latencies(suite: SuiteEntry, cells: Iterable[Cell], samples: dict[str, dict[int, Sample]]) -> list[str]:
    """What requests of small files took: median, 99 % and how many a second."""
    found = []
    for cell in cells:
        mine = samples.get(cell.id, {}).values()
        pooled = sorted(value for sample in mine for value in sample.latencies_us or [])
        if not pooled:
            continue
        total = math.fsum(sample.seconds or 0.0 for sample in mine)
        found.append(
            f"{cell.path}, {suite.connection} connections: {len(pooled) / total:.0f} requests/s, median "
            f"{statistics.median(pooled):.0f} µs, 99 % {pooled[math.ceil(0.99 * len(pooled)) - 1]:.0f} µs"
        )
    return found


def _loads(cells: Sequence[Cell], samples: dict[str, dict[int, Sample]]) -> list[str]:
    """What many connections at once were given: requests a second, latencies, and whether the generator was full."""
    found = []
    several_sizes = len({cell.size_bytes for cell in cells}) > 1
    several_workers = len({cell.workers for cell in cells}) > 1
    for cell in cells:
        mine = samples.get(cell.id, {}).values()
        loads = [sample.load for sample in mine if sample.load]
        if not loads:
            continue
        rate = statistics.geometric_mean(filter(None, (sample.requests_per_second for sample in mine)))
        told = latency.of(loads)
        known = ", ".join(f"{name} {value * 1e3:.3g} ms" for name, value in told.seconds.items() if value is not None)
        at = "" if cell.rate_share is None else f" at {cell.rate_share * 100:g} %"
        full = sum(load.generator_full for load in loads)
        doubt = f", the generator took a whole processor in {full} of {len(loads)} samples" if full else ""
        doubt += "".join(f", {name} not told: {why}" for name, why in told.doubts.items())
        number = f"{cell.connections} connection{'s' if cell.connections != 1 else ''}"
        if several_workers and cell.workers:
            number += f", {cell.workers} worker{'s' if cell.workers != 1 else ''}"
        if several_sizes and cell.size_bytes is not None:
            number = f"{size_name(cell.size_bytes)}, {number}"
        found.append(f"{cell.path}, {number}{at}: {rate:.4g} requests/s{f', {known}' if known else ''}{doubt}")
    return found


def _uncounted(suite: SuiteEntry) -> list[str]:
    """Crossings that are known to be too low."""
    return [
        f"crossings of {crossing.path}: at least {crossing.crossing_bytes} bytes, not counting those of "
        f"{', '.join(crossing.uncounted)}"
        for crossing in suite.crossings
        if crossing.uncounted
    ]


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


def _not_proven(cells: Iterable[Cell]) -> list[str]:
    """Measured cells that lack a part of their proof, those that lack the same together."""
    groups: dict[str, list[str]] = defaultdict(list)
    for cell in cells:
        if cell.outcome == "measured" and cell.unproven:
            groups[cell.unproven].append(cell.id)
    return [line for what, ids in groups.items() for line in ("", f"not wholly proven: {what}", f"  {', '.join(ids)}")]
