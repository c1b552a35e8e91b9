"""Small files, the paper's Figure 6: what a request takes over new, resumed and kept connections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.record import Cell, Run, SuiteEntry, Verdict
from hosts.roles import ROLES
from reports import frame, words
from reports.findings.panels import Panel

SHARES = tuple(
    sorted({*(n / 100 for n in range(99)), *(0.98 + n / 2000 for n in range(39)), 0.9993, 0.9996, 0.9998, 0.9999, 1.0})
)
"""The shares of requests at which a distribution is drawn: about 140, closer together in the tail."""
ORDER = ("new", "resumed", "kept")


@dataclass(frozen=True)
class Requests:
    """The requests of a cell that count, pooled: milliseconds, sorted; and what its batches took.

    ``batch_seconds`` is the geometric mean of whole batches of ``batch`` requests, with its interval; CPU is busy
    microseconds of a whole host for each request, NaN where it was not counted or its clock too coarse.
    """

    milliseconds: NDArray[np.float64]
    batch: int
    batch_seconds: tuple[float, float, float]
    sender_us: float
    receiver_us: float

    def at(self, share: float) -> float | None:
        """The time within which a share of requests was done; None where too few requests lie beyond it to tell."""
        known = len(self.milliseconds)
        if not known or (share < 1 and known * (1 - share) < 0.999):
            return None
        return float(np.quantile(self.milliseconds, share))

    @property
    def per_second(self) -> float:
        """Requests in a second, one after another."""
        return self.batch / self.batch_seconds[0]

    def total(self, requests: int) -> tuple[float, float, float]:
        """Seconds that so many transfers take one after another, with the interval."""
        mean, low, high = (value * requests / self.batch for value in self.batch_seconds)
        return mean, low, high


@dataclass(frozen=True)
class Small:
    """Suites that differ in their connections only, side by side: ``panel`` has a group for each."""

    panel: Panel
    suites: tuple[SuiteEntry, ...]
    requests: dict[str, Requests]

    def of(self, s: int, g: int) -> Requests | None:
        """What a path's requests took in a group; None where it was not measured."""
        cell = self.panel.slots.get((s, g))
        return self.requests.get(cell.id) if cell else None


def small(panels: Sequence[Panel], run: Run, samples: pd.DataFrame) -> list[Small]:
    """The small-file suites among panels, those of one cipher and TLS version together."""
    groups: dict[tuple[str, str | None, str], list[Panel]] = {}
    for panel in panels:
        if words.question(panel.suite) == "small-files":
            key = panel.cipher, panel.suite.tls, panel.suite.instructions
            groups.setdefault(key, []).append(panel)
    found = []
    for some in groups.values():
        some.sort(key=lambda panel: ORDER.index(panel.suite.connection) if panel.suite.connection else len(ORDER))
        merged = _merged(some)
        entries = {panel.suite.name: panel.suite for panel in some}
        requests = _requests(merged.cells, run, samples, entries)
        found.append(Small(merged, tuple(entries.values()), requests))
    return found


def _merged(panels: Sequence[Panel]) -> Panel:
    """One panel with the groups of all: each suite's connection, and its sizes where it has several."""
    series = {one.label: one for panel in panels for one in panel.series}
    labels = list(series)
    names = [_group(panel, panels) for panel in panels]
    groups: list[str] = []
    slots: dict[tuple[int, int], Cell] = {}
    verdicts: dict[tuple[str, str], Verdict] = {}
    for panel, name in zip(panels, names, strict=True):
        first = len(groups)
        groups += [name if len(panel.groups) == 1 else f"{name}, {size}" for size in panel.groups]
        for (s, g), cell in panel.slots.items():
            slots[labels.index(panel.series[s].label), first + g] = cell
        verdicts |= panel.verdicts
    return replace(
        panels[0],
        series=tuple(replace(one, colour=n) for n, one in enumerate(series.values())),
        groups=tuple(groups),
        slots=slots,
        summary=pd.concat([panel.summary for panel in panels]),
        verdicts=verdicts,
    )


def _group(panel: Panel, panels: Sequence[Panel]) -> str:
    """A suite's connections in words; its name where it does not say them or another has the same."""
    own = panel.suite.connection
    alone = sum(other.suite.connection == own for other in panels) == 1
    return words.CONNECTIONS[own] if own and alone else panel.suite.name


def _requests(
    cells: Sequence[Cell], run: Run, samples: pd.DataFrame, suites: dict[str, SuiteEntry]
) -> dict[str, Requests]:
    wanted = {cell.id: suites[cell.suite].requests for cell in cells}
    counted = samples[samples["counted"] & samples["cell"].isin(list(wanted))]
    pooled: dict[str, list[float]] = {}
    for row in counted.index:
        sample = run.samples[int(row)]
        pooled.setdefault(sample.cell, []).extend(sample.latencies_us or [])
    found = {}
    for name, part in counted.groupby("cell", sort=False):
        batch = wanted[str(name)]
        fine = {host: part[f"{host}_cpu_seconds_per_gb"].notna() for host in ROLES}
        busy = [part[f"{host}_cpu_seconds"].where(known) for host, known in fine.items()]
        sender, receiver = (float(column.mean(skipna=False)) / batch * 1e6 for column in busy)
        times = np.sort(np.array(pooled[str(name)], dtype=np.float64)) / 1e3
        seconds = frame.interval(part["seconds"].to_numpy(dtype=float), part["round"].to_numpy(), geometric=True)
        found[str(name)] = Requests(times, batch, seconds, sender, receiver)
    return found
