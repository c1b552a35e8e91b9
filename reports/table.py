"""The samples of a run that count, as numbers by cell and block: what ratios are made of."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from harness.record import Metric
from harness.samples import Sample, cpu_seconds_per_gb
from harness.verdicts.stats import FEWEST, Mean, Series, mean
from hosts.roles import Role

Numbers = NDArray[np.float64]
HOSTS: dict[Metric, Role] = {"cpu_seconds_per_gb": "sender", "receiver_cpu_seconds_per_gb": "receiver"}
"""Whose CPU a metric is."""


@dataclass(frozen=True, eq=False)
class Table:
    """A row for each cell, a column for each block; NaN where nothing counts.

    ``values``: by metric, seconds as sampled, and busy seconds of a host for each 10^9 bytes, NaN too where its clock
    is too coarse for the sample. ``rounds``: of each block, the boot or deployment it was taken in.
    """

    rows: dict[str, int]
    values: Mapping[Metric, Numbers]
    rounds: NDArray[np.int64]

    def median_seconds(self, cell: str) -> float | None:
        """The median of a cell's samples that count; None where there are none."""
        row = self.rows.get(cell)
        return None if row is None else self._medians[row]

    @cached_property
    def _medians(self) -> list[float]:
        """Of every row; each has at least one number."""
        ranked = np.sort(self.values["seconds"], axis=1)  # NaN last
        counts = (~np.isnan(ranked)).sum(axis=1)
        each = np.arange(len(ranked))
        middle: list[float] = ((ranked[each, (counts - 1) // 2] + ranked[each, counts // 2]) / 2).tolist()
        return middle

    def series(self, baseline: str, candidate: str, metric: Metric) -> Series:
        """ln(baseline / candidate) of the blocks that both have; none where one of them cannot be measured: the blocks
        that happen to be measurable are no fair sample of all."""
        a, b = self.rows.get(baseline), self.rows.get(candidate)
        if a is None or b is None:
            return Series(())
        seconds, values = self.values["seconds"], self.values[metric]
        both = ~np.isnan(seconds[a]) & ~np.isnan(seconds[b])
        logs = np.log(values[a][both]) - np.log(values[b][both])
        if not np.isfinite(logs).all():
            return Series(())
        return Series(tuple(logs.tolist()), rounds=tuple(self.rounds[both].tolist()))

    def mean(self, baseline: str, candidate: str, metric: Metric) -> Mean | None:
        """What these come to, as a run's own verdicts have it; None for fewer than FEWEST."""
        found = self.series(baseline, candidate, metric)
        return mean(found) if len(found.logs) >= FEWEST else None


def table(counted: Mapping[str, Mapping[int, Sample]]) -> Table:
    """The samples that count, by cell and block, as ``harness.samples.counted`` gives them."""
    rows: dict[str, int] = {}
    columns: dict[int, int] = {}
    rounds: list[int] = []
    at: list[tuple[int, int]] = []
    numbers: list[list[float]] = []
    for cell, blocks in counted.items():
        row = rows.setdefault(cell, len(rows))
        for block, sample in blocks.items():
            if block not in columns:
                columns[block] = len(columns)
                rounds.append(sample.round)
            at.append((row, columns[block]))
            busy = (cpu_seconds_per_gb(sample, role) for role in HOSTS.values())
            numbers.append([sample.seconds or math.nan, *(math.nan if one is None else one for one in busy)])
    every = np.full((1 + len(HOSTS), len(rows), len(columns)), np.nan)
    if at:
        every[:, *np.array(at).T] = np.array(numbers).T
    metrics: list[Metric] = ["seconds", *HOSTS]
    return Table(rows, dict(zip(metrics, every, strict=True)), np.array(rounds, dtype=np.int64))


def factor(log: float) -> float:
    """What a logarithm stands for, within what a number can hold."""
    return math.exp(max(-700.0, min(700.0, log)))
