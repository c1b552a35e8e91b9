"""The samples of a run as columns, and those that count as numbers by cell and block: what ratios are made of."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.record import Metric, Run
from harness.samples import cpu_seconds_per_gb
from harness.verdicts.stats import FEWEST, Mean, Series, mean

Numbers = NDArray[np.float64]
COLUMNS = {
    "run": "object",
    "cell": "object",
    "block": "int64",
    "index": "int64",
    "round": "int64",
    "warmup": "bool",
    "valid": "bool",
    "counted": "bool",
    "seconds": "float64",
    "handshake_seconds": "float64",
    "bytes": "float64",
    "sender_cpu_seconds": "float64",
    "sender_cpu_seconds_per_gb": "float64",
    "receiver_cpu_seconds": "float64",
    "receiver_cpu_seconds_per_gb": "float64",
}
"""Of a run's samples, with their types; docs/history.md says what they mean."""
OF_METRIC: dict[Metric, str] = {
    "seconds": "seconds",
    "cpu_seconds_per_gb": "sender_cpu_seconds_per_gb",
    "receiver_cpu_seconds_per_gb": "receiver_cpu_seconds_per_gb",
}
"""The column that a metric is in."""


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

    @cached_property
    def _known(self) -> NDArray[np.bool_]:
        """What has a sample that counts."""
        return ~np.isnan(self.values["seconds"])

    @cached_property
    def _whole(self) -> list[bool]:
        """Whether a cell has one in every block."""
        return [bool(row.all()) for row in self._known]

    @cached_property
    def _logs(self) -> dict[Metric, Numbers]:
        with np.errstate(divide="ignore"):  # a host that was not busy at all: no ratio is finite
            return {metric: np.log(values) for metric, values in self.values.items()}

    def series(self, baseline: str, candidate: str, metric: Metric) -> Series:
        """ln(baseline / candidate) of the blocks that both have; none where one of them cannot be measured: the blocks
        that happen to be measurable are no fair sample of all."""
        a, b = self.rows.get(baseline), self.rows.get(candidate)
        if a is None or b is None:
            return Series(())
        values = self._logs[metric]
        logs, rounds = values[a] - values[b], self.rounds
        if not (self._whole[a] and self._whole[b]):
            both = self._known[a] & self._known[b]
            logs, rounds = logs[both], rounds[both]
        if not np.isfinite(logs).all():
            return Series(())
        return Series(tuple(logs.tolist()), rounds=tuple(rounds.tolist()))

    def mean(self, baseline: str, candidate: str, metric: Metric) -> Mean | None:
        """What these come to, as a run's own verdicts have it; None for fewer than FEWEST."""
        found = self.series(baseline, candidate, metric)
        return mean(found) if len(found.logs) >= FEWEST else None


def columns(run: Run) -> pd.DataFrame:
    """All samples of a run as COLUMNS, in the order they were taken; NaN where a number is missing.

    Raises OverflowError for a block that is no number of 64 bits.
    """
    counted = {id(sample) for blocks in run.counted().values() for sample in blocks.values()}
    rows = [
        (
            run.path.name, one.cell, one.block, one.index, one.round, one.warmup, one.valid, id(one) in counted,
            one.seconds, one.handshake_seconds, one.bytes,
            one.sender.cpu_seconds, cpu_seconds_per_gb(one),
            one.receiver.cpu_seconds, cpu_seconds_per_gb(one, "receiver"),
        )
        for one in run.samples
    ]  # fmt: skip
    each = zip(*rows, strict=True) if rows else [()] * len(COLUMNS)
    made = {name: np.array(some, kind) for (name, kind), some in zip(COLUMNS.items(), each, strict=True)}
    return pd.DataFrame(made, copy=False)


def table(samples: pd.DataFrame) -> Table:
    """The samples of one run that count, by cell and block."""
    kept = samples["counted"].to_numpy()
    cell, block, number = (samples[name].to_numpy()[kept] for name in ("cell", "block", "round"))
    cells, names = pd.factorize(cell)
    blocks, numbers = pd.factorize(block)
    every = np.full((len(OF_METRIC), len(names), len(numbers)), np.nan)
    every[:, cells, blocks] = [samples[name].to_numpy()[kept] for name in OF_METRIC.values()]
    rounds = np.zeros(len(numbers), dtype=np.int64)
    rounds[blocks] = number
    rows = {str(name): row for row, name in enumerate(names)}
    return Table(rows, dict(zip(OF_METRIC, every, strict=True)), rounds)


def factor(log: float) -> float:
    """What a logarithm stands for, within what a number can hold."""
    return math.exp(max(-700.0, min(700.0, log)))
