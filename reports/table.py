"""The samples of a run that count, as numbers by cell and block: what ratios are made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from harness.record import Metric
from reports.quick import Samples

TICKS = 10
"""As in a run's own verdicts: a busy time shorter than this many steps of its clock is not compared."""
FEWEST = 3
"""Fewest blocks that a ratio is kept for."""

Numbers = NDArray[np.float64]
Mean = tuple[float, float, int]
"""Of log ratios: mean, its standard error, and how many blocks."""


@dataclass(frozen=True, eq=False)
class Table:
    """A row for each cell, a column for each block; NaN where nothing counts.

    ``seconds``: as sampled. ``busy``: the sender's busy seconds for each 10^9 bytes, NaN too where its clock is too
    coarse for the sample.
    """

    rows: dict[str, int]
    seconds: Numbers
    busy: Numbers

    def median_seconds(self, cell: str) -> float | None:
        """The median of a cell's samples that count; None where there are none."""
        row = self.rows.get(cell)
        return None if row is None else self._medians[row]

    @cached_property
    def _medians(self) -> list[float]:
        """Of every row; each has at least one number."""
        ranked = np.sort(self.seconds, axis=1)  # NaN last
        counts = (~np.isnan(ranked)).sum(axis=1)
        each = np.arange(len(ranked))
        middle: list[float] = ((ranked[each, (counts - 1) // 2] + ranked[each, counts // 2]) / 2).tolist()
        return middle

    def log_ratios(self, baseline: str, candidate: str, metric: Metric) -> Numbers:
        """ln(baseline / candidate) of the blocks that both have; none where one of them cannot be measured: the blocks
        that happen to be measurable are no fair sample of all."""
        a, b = self.rows.get(baseline), self.rows.get(candidate)
        if a is None or b is None:
            return np.array([])
        both = ~np.isnan(self.seconds[a]) & ~np.isnan(self.seconds[b])
        values = self.seconds if metric == "seconds" else self.busy
        logs = np.log(values[a][both]) - np.log(values[b][both])
        return logs if np.isfinite(logs).all() else np.array([])

    def means(self, pairs: Sequence[tuple[str, str]], metric: Metric) -> list[Mean | None]:
        """For each pair (baseline, candidate) what its log ratios come to; None for fewer than FEWEST."""
        known = [n for n, (a, b) in enumerate(pairs) if a in self.rows and b in self.rows]
        found: list[Mean | None] = [None] * len(pairs)
        if not known:
            return found
        first, second = ([self.rows[pairs[n][side]] for n in known] for side in (0, 1))
        both = ~np.isnan(self.seconds[first]) & ~np.isnan(self.seconds[second])
        with np.errstate(divide="ignore", invalid="ignore"):
            values = np.log(self.seconds if metric == "seconds" else self.busy)
            logs = np.where(both, values[first] - values[second], 0.0)
        counts = both.sum(axis=1)
        sound = (counts >= FEWEST) & np.isfinite(logs).all(axis=1)
        number = np.maximum(counts, 2)
        means = logs.sum(axis=1) / number
        squares = np.where(both, np.square(logs - means[:, None]), 0.0).sum(axis=1)
        errors = np.sqrt(squares / (number - 1) / number)
        rows = zip(known, sound.tolist(), means.tolist(), errors.tolist(), counts.tolist(), strict=True)
        for n, good, mean, error, count in rows:
            if good:
                found[n] = (mean, error, count)
        return found


def table(samples: Samples) -> Table:
    """The samples that count: valid, no warm-up, with a time. Of several in one cell and block, the last."""
    rows: dict[str, int] = {}
    columns: dict[int, int] = {}
    at: list[tuple[int, int]] = []
    numbers: list[tuple[float, float]] = []
    for sample in samples:
        seconds = sample.seconds
        if seconds and sample.valid and not sample.warmup:
            at.append((rows.setdefault(sample.cell, len(rows)), columns.setdefault(sample.block, len(columns))))
            host = sample.sender
            busy, step, moved = host.cpu_seconds, host.cpu_resolution_seconds, sample.bytes
            fine = busy is not None and step is not None and moved and busy >= TICKS * step
            numbers.append((seconds, busy / moved * 1e9 if fine and busy and moved else math.nan))
    both = np.full((2, len(rows), len(columns)), np.nan)
    if at:
        both[:, *np.array(at).T] = np.array(numbers).T
    return Table(rows, both[0], both[1])


def mean_and_error(logs: Numbers) -> tuple[float, float]:
    """The mean of at least two values and its standard error."""
    return float(logs.mean()), float(logs.std(ddof=1)) / math.sqrt(len(logs))


def factor(log: float) -> float:
    """What a logarithm stands for, within what a number can hold."""
    return math.exp(max(-700.0, min(700.0, log)))
