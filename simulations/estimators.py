"""Which mean of log ratios, and which interval: candidates on recorded noise, at the levels that runs use.

``python -m simulations.estimators`` prints Markdown; the tables in docs/statistics.md were made with it. Blocks are
drawn from recordings (simulations/data): of paths with themselves, sides dealt again in each block, and of two paths,
each block's log ratio less the middle, its sign thrown. So the true log ratio is 0. A cell of a table holds how often
the interval leaves 0 out, in multiples of what it may, and its width, in multiples of that of the first row; both are
means over the series of a kind of noise.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from functools import cache

import numpy as np
from scipy import stats as scipy_stats
from scipy.special import stdtrit

from simulations.statistics import DATA, MADE_UP, SEED, UNIT, Floats, load, table

NOISES = {
    MADE_UP: MADE_UP,
    "with priority, first": "shared",
    "with priority, second": "priority",
    "others at work": "others",
    "bursts": "bursts",
}
"""Kinds of noise by their names in the tables: made up, and recorded on a machine with others."""
ALPHAS = (0.05, 0.001)
COUNTS = (5, 10, 20, 50, 200)
ROUNDS = ((5, 2), (5, 10), (10, 3), (10, 30))
"""Rounds, and blocks in each."""

Half = Callable[[Floats, float], tuple[Floats, Floats]]
"""The ends of the interval of each row, given how often it may miss."""


def cut(count: int, share: float) -> int:
    """How many values a trimmed mean leaves out at each end."""
    return math.floor(count * share)


def trimmed(rows: Floats, share: float) -> Floats:
    """The mean of each row without so large a share at each end."""
    out = cut(rows.shape[1], share)
    return np.asarray(np.sort(rows, axis=1)[:, out : rows.shape[1] - out].mean(axis=1))


def walsh(rows: Floats) -> Floats:
    """The mean of each pair of a row's values, and each value."""
    first, second = np.triu_indices(rows.shape[1])
    return np.asarray((rows[:, first] + rows[:, second]) / 2)


def hodges_lehmann(rows: Floats) -> Floats:
    """The median of these."""
    return np.asarray(np.median(walsh(rows), axis=1))


def trimmed_t(share: float, lost: int) -> Half:
    """Tukey and McLaughlin's interval of a trimmed mean; ``lost``: degrees of freedom less for each cut pair."""

    def ends(rows: Floats, alpha: float) -> tuple[Floats, Floats]:
        count = rows.shape[1]
        out = cut(count, share)
        ranked = np.sort(rows, axis=1)
        if out:
            ranked[:, :out] = ranked[:, out : out + 1]
            ranked[:, count - out :] = ranked[:, count - out - 1 : count - out]
        error = ranked.std(axis=1, ddof=1) / ((count - 2 * out) / count) / math.sqrt(count)
        centre = trimmed(rows, share)
        half = -float(stdtrit(count - 1 - lost * out, alpha / 2)) * error
        return centre - half, centre + half

    return ends


@cache
def signed_ranks(count: int) -> Floats:
    """The distribution of the sum of the ranks of positive values, by the sum."""
    chances = np.ones(1)
    for rank in range(1, count + 1):
        longer = np.zeros(len(chances) + rank)
        longer[: len(chances)] += chances / 2
        longer[rank:] += chances / 2
        chances = longer
    return np.cumsum(chances)


def wilcoxon(rows: Floats, alpha: float) -> tuple[Floats, Floats]:
    """The interval of Wilcoxon's signed-rank test; without end where its steps are too coarse for the level."""
    means = np.sort(walsh(rows), axis=1)
    outside = int(np.searchsorted(signed_ranks(rows.shape[1]), alpha / 2, side="right"))
    return _inside(means, outside)


def signs(rows: Floats, alpha: float) -> tuple[Floats, Floats]:
    """The interval of a median by the sign test."""
    count = rows.shape[1]
    chances = scipy_stats.binom.cdf(np.arange(count + 1), count, 0.5)
    return _inside(np.sort(rows, axis=1), int(np.searchsorted(chances, alpha / 2, side="right")))


def _inside(ranked: Floats, outside: int) -> tuple[Floats, Floats]:
    if not outside:
        endless = np.full(len(ranked), np.inf)
        return -endless, endless
    return ranked[:, outside - 1], ranked[:, -outside]


INTERVALS: dict[str, Half] = {
    "mean, t": trimmed_t(0.0, 0),
    "10 % trimmed from 15 blocks, t": lambda rows, alpha: trimmed_t(0.1 if rows.shape[1] >= 15 else 0.0, 3)(
        rows, alpha
    ),
    "20 % trimmed, t": trimmed_t(0.2, 2),
    "20 % trimmed, t, fewer degrees": trimmed_t(0.2, 3),
    "25 % trimmed, t": trimmed_t(0.25, 2),
    "Hodges-Lehmann, Wilcoxon": wilcoxon,
    "median, signs": signs,
}
"""Of the blocks of one round."""
CENTRES: dict[str, Callable[[Floats], Floats]] = {
    "mean": lambda rows: np.asarray(rows.mean(axis=1)),
    "10 % trimmed from 15 blocks": lambda rows: trimmed(rows, 0.1 if rows.shape[1] >= 15 else 0.0),
    "20 % trimmed": lambda rows: trimmed(rows, 0.2),
    "25 % trimmed": lambda rows: trimmed(rows, 0.25),
    "Hodges-Lehmann": hodges_lehmann,
    "median": lambda rows: np.asarray(np.median(rows, axis=1)),
}
"""Of the blocks of each of several rounds; the interval is Student's t on these."""


def series(kind: str) -> list[Floats]:
    """Log ratios whose truth is 0, each series with every sign that it might have had."""
    if kind in ("others", "bursts"):
        rows = json.loads((DATA / "disturbed.json").read_text(encoding="utf-8"))
        chosen = [row for row in rows if row["load"].startswith(kind)]
        rests = [UNIT * np.array(row[metric]) for row in chosen for metric in ("seconds", "cpu")]
        rests = [one - hodges_lehmann(one[None, :]) for one in rests]
        return [np.concatenate([one, -one]) for one in rests]
    sides = [group.logs[:, :, metric] for group in load(kind) for metric in (0, 1)]
    first, second = np.nonzero(~np.eye(sides[0].shape[1], dtype=bool))
    return [(one[:, first] - one[:, second]).ravel() for one in sides]


def of_rounds(centres: Floats, alpha: float) -> tuple[Floats, Floats]:
    """Student's t on one number of each round, a row a trial."""
    return trimmed_t(0.0, 0)(centres, alpha)


def report(kind: str, trials: int) -> None:
    """Both tables for one kind of noise."""
    found, source = series(NOISES[kind]), np.random.default_rng(SEED)
    trials //= len(found)
    spread = np.median([(one.std(), 1.4826 * np.median(np.abs(one))) for one in found], axis=0)
    print(f"### Noise: {kind}, {len(found)} series\n")
    print(f"Median over series: standard deviation of a log ratio {spread[0]:.3f}, by the median distance ", end="")
    print(f"{spread[1]:.3f}.\n")
    columns = [f"{count} at {alpha:g}" for count in COUNTS for alpha in ALPHAS]
    cells: dict[str, list[str]] = {}
    for count in COUNTS:
        some = [source.choice(one, size=(_fewer(trials, count), count)) for one in found]
        for alpha in ALPHAS:
            _fill(cells, {name: [half(rows, alpha) for rows in some] for name, half in INTERVALS.items()}, alpha)
    table("one round: blocks at level", columns, cells)
    columns = [f"{rounds} x {blocks} at {alpha:g}" for rounds, blocks in ROUNDS for alpha in ALPHAS[1:]]
    cells = {}
    for rounds, blocks in ROUNDS:
        some = [source.choice(one, size=(_fewer(trials, blocks) * rounds, blocks)) for one in found]
        centres = {name: [centre(rows).reshape(-1, rounds) for rows in some] for name, centre in CENTRES.items()}
        for alpha in ALPHAS[1:]:
            ends = {name: [of_rounds(one, alpha) for one in each] for name, each in centres.items()}
            _fill(cells, ends, alpha)
    table("rounds x blocks at level", columns, cells)


def _fewer(trials: int, count: int) -> int:
    return trials if count <= 50 else max(1, trials // 10)


def _fill(cells: dict[str, list[str]], ends: dict[str, list[tuple[Floats, Floats]]], alpha: float) -> None:
    """A column: misses over what is allowed, and the mean width over that of the first row."""
    base = np.array([np.mean(high - low) for low, high in next(iter(ends.values()))])
    for kind, each in ends.items():
        missed = np.mean([np.mean((low > 0) | (high < 0)) for low, high in each])
        width = np.mean([np.mean(high - low) for low, high in each] / base)
        shown = "-" if math.isinf(width) else f"{missed / alpha:.1f}, {width:.2f}"
        cells.setdefault(kind, []).append(shown)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=64_000, help="for each figure, over all series")
    parser.add_argument("kinds", nargs="*", default=list(NOISES))
    wanted = parser.parse_args()
    for kind in wanted.kinds:
        report(kind, wanted.trials)


if __name__ == "__main__":
    main()
