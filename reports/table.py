"""The samples of a run as columns, and those that count as numbers by cell and block: what ratios are made of."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.record import Head, Metric
from harness.samples import TICKS, Sample, Timed
from harness.verdicts.stats import FEWEST, STEPS, Mean, Series, mean
from hosts.roles import ROLES
from reports.means import means

Numbers = NDArray[np.float64]
Rows = NDArray[np.int64] | list[int]
Columns = dict[str, NDArray[Any]]
"""By name, all of one length."""
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
STEP_OF: dict[Metric, str] = {
    "seconds": "seconds_step",
    "cpu_seconds_per_gb": "sender_step",
    "receiver_cpu_seconds_per_gb": "receiver_step",
}
"""The column of the steps of its clock, as fractions of what it measured."""
NOTHING = -1
"""The round of a sample that does not count."""


@dataclass(frozen=True, eq=False)
class Table:
    """A row for each cell, a column for each number of a block; NaN where nothing counts.

    ``values``: by metric, seconds as sampled, and busy seconds of a host for each 10^9 bytes, NaN too where its clock
    is too coarse for the sample. ``steps``: those of the clock that measured it, as fractions of what it measured.
    ``rounds``: the boot or deployment that each was taken in, NOTHING where nothing counts. Cells that are compared
    share their blocks; others may have had blocks of these numbers in other rounds.
    """

    rows: dict[str, int]
    values: Mapping[Metric, Numbers]
    steps: Mapping[Metric, Numbers]
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
    def _alike(self) -> list[int]:
        """Of each cell a number: the same one where the same blocks count, taken in the same rounds."""
        found: dict[bytes, int] = {}
        return [found.setdefault(row.tobytes(), len(found)) for row in self.rounds]

    @cached_property
    def _logs(self) -> dict[Metric, Numbers]:
        with np.errstate(divide="ignore"):  # a host that was not busy at all: no ratio is finite
            return {metric: np.log(values) for metric, values in self.values.items()}

    @cached_property
    def _squares(self) -> dict[Metric, Numbers]:
        with np.errstate(over="ignore"):  # of what is nothing beside its clock's step, nothing is known
            return {metric: np.square(steps) for metric, steps in self.steps.items()}

    def series(self, baseline: str, candidate: str, metric: Metric) -> Series:
        """ln(baseline / candidate) of the blocks that both have; none where one of them cannot be measured: the blocks
        that happen to be measurable are no fair sample of all."""
        a, b = self.rows.get(baseline), self.rows.get(candidate)
        if a is None or b is None:
            return Series(())
        both = self._both(a, b)
        logs = (self._logs[metric][a] - self._logs[metric][b])[both]
        if not len(logs):
            return Series(())
        (grain,) = self._grains([a], [b], both, metric).tolist()
        if not np.isfinite([*logs, grain]).all():
            return Series(())
        return Series(tuple(logs.tolist()), grain=grain, rounds=tuple(self.rounds[a, both].tolist()))

    def _grains(self, first: Rows, second: Rows, both: NDArray[np.bool_], metric: Metric) -> Numbers:
        """Of pairs of rows with these blocks, as ``Series`` has it."""
        squares = self._squares[metric]
        grains: Numbers = np.sqrt(STEPS * (squares[first] + squares[second])[:, both].mean(axis=1) / 2)
        return grains

    def _both(self, a: int, b: int) -> NDArray[np.bool_]:
        """The blocks that count of both cells."""
        both: NDArray[np.bool_] = (self.rounds[a] != NOTHING) & (self.rounds[b] != NOTHING)
        return both

    def mean(self, baseline: str, candidate: str, metric: Metric) -> Mean | None:
        """What these come to, as a run's own verdicts have it; None for fewer than FEWEST."""
        found = self.series(baseline, candidate, metric)
        return mean(found) if len(found.logs) >= FEWEST else None

    def means(self, pairs: Sequence[tuple[str, str]], metric: Metric) -> list[tuple[float, float, int] | None]:
        """Of many pairs of baseline and candidate at once: mean, standard error and blocks, as ``mean`` has them."""
        together: dict[tuple[int, int], list[tuple[int, int, int]]] = {}
        for n, pair in enumerate(pairs):
            a, b = map(self.rows.get, pair)
            if a is not None and b is not None:
                together.setdefault((self._alike[a], self._alike[b]), []).append((n, a, b))
        made: list[tuple[float, float, int] | None] = [None for _ in pairs]
        for some in together.values():  # of one: the same blocks in the same rounds
            wanted, first, second = np.array(some).T
            both = self._both(first[0], second[0])
            count = int(both.sum())
            if count < FEWEST:
                continue
            logs = (self._logs[metric][first] - self._logs[metric][second])[:, both]
            grains = self._grains(first, second, both, metric)
            finite = np.isfinite(logs).all(axis=1) & np.isfinite(grains)
            found = means(logs[finite], self.rounds[first[0], both], grains[finite])
            centres, errors = (numbers.tolist() for numbers in found)
            for n, centre, error in zip(wanted[finite].tolist(), centres, errors, strict=True):
                made[n] = centre, error, count
        return made


def columns(name: str, head: Head, samples: Sequence[Timed | Sample]) -> Columns:
    """All samples of a run as COLUMNS and STEP_OF, in the order they were taken; NaN where a number is missing.

    ``name``: of its folder. Raises OverflowError for a block that is no number of 64 bits.
    """
    known: dict[str, Any] = {
        "run": [name] * len(samples),
        "cell": [one.cell for one in samples],
        "block": [one.block for one in samples],
        "index": [one.index for one in samples],
        "round": [one.round for one in samples],
        "warmup": [one.warmup for one in samples],
        "valid": [one.valid for one in samples],
        "seconds": [one.seconds for one in samples],
        "handshake_seconds": [one.handshake_seconds for one in samples],
        "bytes": [one.bytes for one in samples],
    }
    for role in ROLES:
        hosts = [one.sender if role == "sender" else one.receiver for one in samples]
        known[f"{role}_cpu_seconds"] = [host.cpu_seconds for host in hosts]
        known[f"{role}_step"] = [host.cpu_resolution_seconds for host in hosts]
    known["seconds_step"] = [one.step_seconds for one in samples]
    made = {name: np.array(some, COLUMNS.get(name, "float64")) for name, some in known.items()}
    made["counted"] = _counted(made, head.measured)
    for role in ROLES:
        busy = made[f"{role}_cpu_seconds"], made[f"{role}_step"], made["bytes"]
        made[f"{role}_cpu_seconds_per_gb"] = cpu_seconds_per_gb(*busy)
    with np.errstate(all="ignore"):  # nothing is made of samples without a time
        for step, of in zip(STEP_OF.values(), ("seconds", "sender_cpu_seconds", "receiver_cpu_seconds"), strict=True):
            made[step] /= made[of]
    return {name: made[name] for name in (*COLUMNS, *STEP_OF.values())}


def _counted(columns: Columns, measured: Container[str]) -> NDArray[np.bool_]:
    """Which samples count, as ``harness.samples.counted`` has it: of several in one cell and block, the last."""
    cells, names = pd.factorize(columns["cell"])
    blocks, numbers = pd.factorize(columns["block"])
    wanted = np.array([name in measured for name in names], dtype=bool)
    good = columns["valid"] & ~columns["warmup"] & (columns["seconds"] > 0) & wanted[cells]
    places = np.flatnonzero(good)
    last = np.full((len(names), len(numbers)), -1)
    last[cells[places], blocks[places]] = places  # where two are for one place, the later one stays
    counted = np.zeros(len(good), dtype=bool)
    counted[last[last >= 0]] = True
    return counted


def cpu_seconds_per_gb(seconds: Numbers, step: Numbers, size: Numbers) -> Numbers:
    """Busy seconds for each 10^9 bytes, as ``harness.samples.cpu_seconds_per_gb`` has it; NaN where it has none.

    ``step``: of the clock. ``size``: bytes received.
    """
    with np.errstate(all="ignore"):  # what cannot be held, or divided by, is not known
        return np.where((seconds >= TICKS * step) & (size > 0), seconds / size * 1e9, np.nan)


def table(samples: Columns) -> Table:
    """The samples of one run that count, by cell and block."""
    kept = samples["counted"]
    cell, block, number = (samples[name][kept] for name in ("cell", "block", "round"))
    cells, names = pd.factorize(cell)
    blocks, numbers = pd.factorize(block, sort=True)
    every = np.full((2, len(OF_METRIC), len(names), len(numbers)), np.nan)
    for one, wanted in zip(every, (OF_METRIC, STEP_OF), strict=True):
        one[:, cells, blocks] = [samples[name][kept] for name in wanted.values()]
    rounds = np.full((len(names), len(numbers)), NOTHING, dtype=np.int64)
    rounds[cells, blocks] = number
    rows = {str(name): row for row, name in enumerate(names)}
    values, steps = (dict(zip(OF_METRIC, one, strict=True)) for one in every)
    return Table(rows, values, steps, rounds)


def factor(log: float) -> float:
    """What a logarithm stands for, within what a number can hold."""
    return math.exp(max(-700.0, min(700.0, log)))
