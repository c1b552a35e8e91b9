"""What taking disturbed blocks again would do to a verdict, by simulation and on recorded blocks.

``python -m simulations.disturbance`` prints Markdown, a minute later; docs/statistics.md has what came of it.
``python -m simulations.disturbance --keep NAME RECORD`` puts the blocks of a record with two paths into
``simulations/data/disturbed.json``. Nothing here is part of the harness or its tests.

A rule marks blocks; marked ones are taken again at the end, at most a fifth of all, and count then whatever happens.
What it costs in time is given to the same measurement without the rule, as more blocks: only what is left is a gain.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness import records
from harness.blocks import DISTURBED_SHARE
from harness.record import Metric
from harness.verdicts import judging
from simulations.estimators import hodges_lehmann, trimmed
from simulations.statistics import table

DATA = Path(__file__).parent / "data" / "disturbed.json"
UNIT = 1e-4
SEED = 2005
BLOCKS = 30
MOST_AGAIN = 0.2
RUNS = 2000
MADE = 40_000

Floats = NDArray[np.float64]
Marks = NDArray[np.bool_]
Estimator = Callable[[Floats], Floats]


ESTIMATORS: dict[str, Estimator] = {
    "tenth cut": partial(trimmed, share=0.1),
    "quarter cut": partial(trimmed, share=0.25),
    "Hodges-Lehmann": hodges_lehmann,
}


@dataclass(frozen=True)
class World:
    """Two paths on one processor, and who else wants it. Times in seconds."""

    first: float
    """How long the first path takes when it is alone."""
    second: float
    own_noise: float
    """Standard deviation of a transfer's own logarithm."""
    each: float
    """Seconds between two episodes of somebody else at work, on average."""
    lasts: float
    """Seconds that an episode lasts, on average."""
    loses: tuple[float, float]
    """What part of the processor each path loses to it."""
    pause: float = 0.02
    """After each transfer."""


@dataclass(frozen=True)
class Taken:
    """Blocks: the log ratio of each, its window, and how long each side waited, in seconds."""

    logs: Floats
    window: Floats
    seconds: Floats
    waited: Floats

    def marked(self, rule: str, planned: float) -> Marks:
        """By a rule; ``planned``: how long a block takes that nothing disturbs, as a warm-up would tell."""
        if rule == "part of the block's time":
            return np.asarray(self.waited.sum(axis=1) > DISTURBED_SHARE * self.window)
        if rule == "part of the planned time":
            return np.asarray(self.waited.sum(axis=1) > DISTURBED_SHARE * planned)
        return np.asarray((self.waited > DISTURBED_SHARE * self.seconds).any(axis=1))


METRICS: dict[str, Metric] = {"seconds": "seconds", "cpu": "cpu_seconds_per_gb"}
RULES = ("part of the block's time", "part of the planned time", "part of a transfer's own time")


def take(source: np.random.Generator, world: World, count: int) -> Taken:
    """Blocks one after the other, their two paths in turns first, while others come and go."""
    seconds, waited, window = np.empty((count, 2)), np.zeros((count, 2)), np.empty(count)
    work = np.exp(world.own_noise * source.normal(size=(count, 2))) * np.array([world.first, world.second])
    now, begins = 0.0, source.exponential(world.each)
    ends = begins + source.exponential(world.lasts)
    for block in range(count):
        started = now
        for side in (0, 1) if block % 2 else (1, 0):
            left, begun = work[block, side], now
            while left > 0:
                if now >= ends:
                    begins = ends + source.exponential(world.each)
                    ends = begins + source.exponential(world.lasts)
                busy = begins <= now
                speed = 1 - world.loses[side] if busy else 1.0
                step = min(left / speed, (ends if busy else begins) - now)
                left = left - step * speed if step < left / speed else 0.0
                waited[block, side] += step * (1 - speed)
                now += step
            seconds[block, side] = now - begun
            now += world.pause
            while now >= ends:
                begins = ends + source.exponential(world.each)
                ends = begins + source.exponential(world.lasts)
        window[block] = now - started
    logs = np.log(seconds[:, 0]) - np.log(seconds[:, 1])
    return Taken(logs, window, seconds, waited)


@dataclass(frozen=True)
class Compared:
    """Estimates with a rule, and without it from as many blocks as the same time allows."""

    with_rule: Floats
    without: Floats

    @property
    def gain(self) -> float:
        """By how much the rule makes the variance smaller: 0.1 is worth a tenth of the time."""
        return float(1 - self.with_rule.var() / self.without.var())


def compare(source: np.random.Generator, logs: Floats, marks: Marks, estimator: Estimator) -> Compared:
    """Many measurements of BLOCKS blocks, drawn from these."""
    most = int(BLOCKS * MOST_AGAIN)
    drawn = source.integers(len(logs), size=(RUNS, BLOCKS))
    again = source.integers(len(logs), size=(RUNS, BLOCKS))
    hit = marks[drawn] & (np.cumsum(marks[drawn], axis=1) <= most)
    more = round(float(hit.sum(axis=1).mean()))
    plain = source.integers(len(logs), size=(RUNS, BLOCKS + more))
    return Compared(estimator(logs[np.where(hit, again, drawn)]), estimator(logs[plain]))


WORLDS = {
    "alike": World(0.05, 0.05, 0.03, 1.5, 0.3, (0.5, 0.5)),
    "alike, as noisy by themselves as recorded": World(0.05, 0.05, 0.07, 1.5, 0.3, (0.5, 0.5)),
    "alike, one second in thirty": World(0.05, 0.05, 0.03, 9.7, 0.3, (0.5, 0.5)),
    "a third longer": World(0.0685, 0.05, 0.03, 1.5, 0.3, (0.5, 0.5)),
    "three times as long": World(0.15, 0.05, 0.03, 1.5, 0.3, (0.5, 0.5)),
    "three times, short episodes": World(0.15, 0.05, 0.03, 0.5, 0.02, (0.5, 0.5)),
    "three times, much noise of its own": World(0.15, 0.05, 0.15, 1.5, 0.3, (0.5, 0.5)),
    "a third longer, loses more": World(0.0685, 0.05, 0.03, 1.5, 0.3, (0.6, 0.4)),
    "a third longer, always somebody": World(0.0685, 0.05, 0.03, 0.1, 0.3, (0.5, 0.5)),
}


def simulated() -> None:
    """Tables of bias and gain for unequal paths."""
    biases: dict[str, list[str]] = {}
    gains: dict[str, list[str]] = {}
    for name, world in WORLDS.items():
        source = np.random.default_rng(SEED)
        taken = take(source, world, MADE)
        truth = math.log(world.first / world.second)
        planned = world.first + world.second + 2 * world.pause
        marks = {rule: taken.marked(rule, planned) for rule in RULES}
        found = [compare(source, taken.logs, marks[rule], ESTIMATORS["Hodges-Lehmann"]) for rule in RULES]
        estimates = [found[0].without, *(each.with_rule for each in found)]
        biases[name] = [f"{100 * marks[RULES[0]].mean():.0f} %"]
        biases[name] += [f"{100 * (each.mean() - truth):+.2f} %" for each in estimates]
        gains[name] = [
            f"{compare(source, taken.logs, marks[RULES[0]], each).gain:+.0%}" for each in ESTIMATORS.values()
        ]
    print("### Made up: bias of the log ratio, Hodges-Lehmann\n")
    table("paths", ["marked", "no block again", *RULES], biases)
    print("### Made up: gain in variance at equal time\n")
    table("paths", list(ESTIMATORS), gains)


def recorded() -> None:
    """A table for each metric of what the rule gains on the recorded blocks, and of what another estimator does."""
    rows = json.loads(DATA.read_text(encoding="utf-8"))
    columns = ["blocks", "marked", "distance, marked", "distance, others"]
    columns += [*(f"again, {name}" for name in ESTIMATORS), "Hodges-Lehmann instead of tenth cut"]
    for metric in METRICS:
        print(f"### Recorded: gain in variance at equal time, {metric}\n")
        table("load", columns, {f"{row['load']}, {row['size']}": _recorded(row, metric) for row in rows})


def _recorded(row: dict[str, list[int]], metric: str) -> list[str]:
    logs, marks = UNIT * np.array(row[metric]), UNIT * np.array(row["kept"]) > DISTURBED_SHARE
    far, source = 100 * np.abs(logs - np.median(logs)), np.random.default_rng(SEED)
    distances = [f"{np.median(far[which]):.1f} %" if which.any() else "–" for which in (marks, ~marks)]
    gains = [compare(source, logs, marks, each).gain for each in ESTIMATORS.values()]
    drawn = logs[source.integers(len(logs), size=(RUNS, BLOCKS))]
    gains.append(float(1 - ESTIMATORS["Hodges-Lehmann"](drawn).var() / ESTIMATORS["tenth cut"](drawn).var()))
    return [str(len(logs)), f"{100 * marks.mean():.0f} %", *distances, *(f"{gain:+.0%}" for gain in gains)]


def keep(load: str, path: Path) -> None:
    """Add the blocks of a record's two paths, a row for each size, to the data file. Raises RecordError."""
    run = records.read(path)
    by_cell = run.counted()
    rows = json.loads(DATA.read_text(encoding="utf-8")) if DATA.exists() else []
    for verdict in (each for each in run.head.verdicts if each.metric == "seconds"):
        base, other = by_cell[verdict.baseline], by_cell[verdict.candidate]
        row: dict[str, object] = {"load": load, "size": verdict.candidate.rsplit("/", 1)[1]}
        facts = {each.block: each for each in run.blocks if verdict.candidate in each.cells}
        blocks = sorted(base.keys() & other.keys() & facts.keys())
        for name, metric in METRICS.items():
            logs = judging.series([(base[block], other[block]) for block in blocks], metric).logs
            row[name] = [round(log / UNIT) for log in logs]
        kept = [max(facts[b].sender.kept_ns or 0, facts[b].receiver.kept_ns or 0) for b in blocks]
        row["kept"] = [round(ns / 1e9 / facts[b].window_seconds / UNIT) for ns, b in zip(kept, blocks, strict=True)]
        rows.append(row)
    lines = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
    DATA.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", nargs=2, metavar=("NAME", "RECORD"))
    wanted = parser.parse_args()
    if wanted.keep:
        keep(wanted.keep[0], Path(wanted.keep[1]))
        return
    simulated()
    recorded()


if __name__ == "__main__":
    main()
