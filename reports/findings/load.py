"""Many connections at once: requests a second over connections, latencies over load, from where on a path overtakes."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from harness.load import latency
from harness.record import Cell, Run
from harness.samples import FULL_SHARE, Sample, cpu_seconds_per_gb, joules_per_gb
from hosts.roles import ROLES, Role
from reports import frame, words
from reports.findings.panels import Panel


@dataclass(frozen=True)
class Point:
    """What a path gave over so many connections, from all samples that count."""

    connections: int
    size: int
    rate_share: float | None
    """None for a closed loop."""
    workers: int | None
    """Processes that serve; None where the suite does not say."""
    per_second: tuple[float, float, float]
    """Requests that were answered each second, by their bytes: geometric mean and 95 % interval."""
    latencies: dict[str, float | None]
    """In seconds by name (``p50``, …); None where too few were slower to tell, or ``doubts`` says why."""
    doubts: dict[str, str]
    """Why a latency may be the generator's own lateness, by name, of an open loop."""
    longest: float | None
    """None where no answer ended within a window."""
    responses: int
    """That latencies are of."""
    sender_us: float | None
    """Busy microseconds of the whole host for each request; None where they were not counted for every sample."""
    receiver_us: float | None
    generator: float
    """The median share of a processor that the generator took."""
    handshakes_per_second: float | None = None
    """TLS handshakes, of all samples together; None where there were none within the window."""
    handshakes: dict[str, float | None] = field(default_factory=dict)
    """What they took, in seconds by name, as ``latencies``."""
    exchange: str = ""
    """The group of their key exchange and the server's key, where the suite asks for them."""
    sender_joules: float | None = None
    """Of its processors and their memory, for each 10^9 bytes; None where one sample has none."""
    receiver_joules: float | None = None
    busy: dict[Role, dict[str, float]] = field(default_factory=dict)
    """By host, what share of the time each of its processors was busy, by number; missing where a host did not tell."""
    softirq: dict[Role, dict[str, float]] = field(default_factory=dict)
    """The same of interrupts' later half."""

    @property
    def generator_full(self) -> bool:
        """Whether the generator took all of a processor in most samples: it, and not the path, is what was measured."""
        return self.generator > FULL_SHARE


@dataclass(frozen=True)
class Crossover:
    """From how many connections on a path carries more than the baseline, by the lines between measured numbers.

    ``late`` is None where the lower ends of the intervals never stay above 1 (what is the same is not above it),
    ``early``, ``at`` and ``late`` are the fewest that were measured where it carries more at all of them.
    """

    label: str
    size: int
    workers: int | None
    numbers: tuple[int, int]
    """The fewest connections that were measured, and the most."""
    at: float
    early: float
    late: float | None


@dataclass(frozen=True)
class Loaded:
    """One suite of load and one cipher: points by the number of a series."""

    panel: Panel
    closed: dict[int, list[Point]]
    open: dict[int, list[Point]]
    crossovers: tuple[Crossover, ...]


def loaded(panels: Sequence[Panel], run: Run) -> list[Loaded]:
    """The suites of load among panels."""
    counted = run.counted()
    found = []
    for panel in panels:
        if words.question(panel.suite) != "load":
            continue
        names = {(series.path, series.driver): s for s, series in enumerate(panel.series)}
        several = any(series.driver for series in panel.series)
        closed: dict[int, list[Point]] = {}
        open_: dict[int, list[Point]] = {}
        for cell in run.head.cells:
            s = names.get((cell.path, cell.driver if several else None))
            if cell.suite != panel.suite.name or s is None or cell.cipher not in {panel.cipher, *words.UNENCRYPTED}:
                continue
            if point := _point(cell, counted.get(cell.id, {}).values()):
                (closed if cell.rate_share is None else open_).setdefault(s, []).append(point)
        found.append(Loaded(panel, closed, open_, tuple(_crossovers(panel))))
    return found


def _point(cell: Cell, samples: Iterable[Sample]) -> Point | None:
    both = [(sample, sample.load) for sample in samples if sample.load]
    if not both:
        return None
    counted, loads = [sample for sample, _ in both], [load for _, load in both]
    found, shaken = latency.of(loads), latency.together(load.handshake for load in loads)
    return Point(
        connections=cell.connections or 1,
        size=cell.size_bytes or 0,
        rate_share=cell.rate_share,
        workers=cell.workers,
        per_second=frame.interval(
            np.array([sample.requests_per_second for sample in counted]),
            np.array([sample.round for sample in counted]),
            geometric=True,
        ),
        latencies=found.seconds,
        doubts=found.doubts,
        longest=max(load.longest_seconds for load in loads) or None,
        responses=sum(sum(load.latency.values()) for load in loads),
        sender_us=_busy(counted, "sender"),
        receiver_us=_busy(counted, "receiver"),
        generator=statistics.median(load.generator_share for load in loads),
        handshakes_per_second=sum(shaken.values()) / sum(load.window_seconds for load in loads) or None,
        handshakes=latency.told(shaken),
        exchange=", ".join(dict.fromkeys(f"{load.group}, {load.key}" for load in loads if load.group)),
        sender_joules=_mean([joules_per_gb(sample, "sender") for sample in counted]),
        receiver_joules=_mean([joules_per_gb(sample, "receiver") for sample in counted]),
        busy={role: each for role in ROLES if (each := _each(getattr(s, role).processors for s in counted))},
        softirq={role: each for role in ROLES if (each := _each(getattr(s, role).softirqs for s in counted))},
    )


def _busy(samples: Sequence[Sample], role: Role) -> float | None:
    found = [cpu_seconds_per_gb(sample, role) for sample in samples]
    return _mean(
        [
            None if known is None else known * (sample.bytes or 0) / 1e3
            for known, sample in zip(found, samples, strict=True)
        ]
    )


def _mean(some: Sequence[float | None]) -> float | None:
    """None where one is missing: those that are known are no fair sample of all."""
    known = [value for value in some if value is not None]
    return statistics.fmean(known) if known and len(known) == len(some) else None


def _each(told: Iterable[dict[str, float] | None]) -> dict[str, float]:
    """The mean share of each processor; nothing where a sample did not tell, or told of others."""
    some = list(told)
    known = [each for each in some if each]
    if not known or len(known) < len(some) or len({frozenset(each) for each in known}) > 1:
        return {}
    return {number: statistics.fmean(each[number] for each in known) for number in known[0]}


def _crossovers(panel: Panel) -> Iterable[Crossover]:
    for s, series in enumerate(panel.series):
        rows: dict[tuple[int, int], list[tuple[int, float, float, float]]] = {}
        for (mine, _), cell in panel.slots.items():
            verdict = panel.verdicts.get((cell.id, "seconds"))
            if mine == s and verdict and verdict.ratio and verdict.ci_low and verdict.ci_high and cell.connections:
                low = min(1.0, verdict.ci_low) if verdict.verdict == "same" else verdict.ci_low
                row = (cell.connections, verdict.ratio, low, verdict.ci_high)
                rows.setdefault((cell.size_bytes or 0, cell.workers or 0), []).append(row)
        for (size, workers), some in rows.items():
            some.sort()
            numbers = [row[0] for row in some]
            at, late, early = (crossing(numbers, [row[place] for row in some]) for place in (1, 2, 3))
            if at is not None and early is not None and len(some) > 1:
                yield Crossover(series.label, size, workers or None, (numbers[0], numbers[-1]), at, early, late)


def crossing(numbers: Sequence[int], ratios: Sequence[float]) -> float | None:
    """From which number on a ratio stays above 1, on straight lines between logarithms; None where it ends below.

    Where it is above 1 from the first number on, that number. Raises ValueError where there is none.
    """
    if not numbers:
        raise ValueError("a crossing needs numbers")
    if ratios[-1] <= 1:
        return None
    place = len(ratios) - 1
    while place and ratios[place - 1] > 1:
        place -= 1
    if not place:
        return float(numbers[0])
    (x0, y0), (x1, y1) = ((math.log(numbers[at]), math.log(ratios[at])) for at in (place - 1, place))
    return math.exp(x0 - y0 * (x1 - x0) / (y1 - y0))


def sentences(found: Loaded) -> list[str]:
    """Which paths overtake the baseline by what intervals tell, and from how many connections on; a sentence each."""
    panel = found.panel
    told = []
    several = len({point.size for some in found.closed.values() for point in some}) > 1
    for one in found.crossovers:
        where = [words.size(one.size)] if several else []
        where += [words.count(one.workers, "worker")] if one.workers else []
        size = f" with {' and '.join(where)}" if where else ""
        fewest, most = one.numbers
        if one.late is None:
            told.append(f"{one.label} is not told apart from {panel.against}{size} at {most} connections.")
        elif one.late <= fewest:
            told.append(f"{one.label} carries more than {panel.against}{size} at every number of connections.")
        elif one.at <= fewest:
            from_ = f"surely from {_from(one.late)} connections on"
            told.append(f"{one.label} carries more than {panel.against}{size} {from_}.")
        else:
            told.append(
                f"{one.label} overtakes {panel.against}{size} from {_from(one.at)} connections "
                f"(interval: {_from(one.early)} to {_from(one.late)})."
            )
    return told


def _from(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"
