"""What the harness's verdicts are worth, by simulation on recorded noise, beside what others say of the same samples.

``python -m simulations.statistics`` prints Markdown, some minutes later; the figures in docs/statistics.md were made
with it. A run of the size of gigabit-3des is put together from whole recorded blocks (simulations/data): every group
compares a path with itself, and in each block the sides are dealt again, so there is no difference but those that
are planted. All blocks are of one round; simulations.rounds is about several. Nothing here is part of the harness or
its tests.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats as scipy_stats

from harness.verdicts import stats

DATA = Path(__file__).parent / "data"
UNIT = 1e-4
MARGIN = 0.03
BLOCKS = (6, 10, 15, 20, 30)
EFFECTS = (0.03, 0.05, 0.10)
PLANTED_SHARE = 0.3
SEED = 2005
MADE_UP = "normal"

Floats = NDArray[np.float64]
Claims = NDArray[np.int64]
"""For each comparison 1 (candidate faster), -1 (slower) or 0 (nothing said)."""


@dataclass(frozen=True)
class Noise:
    """A group of sides of one path: logarithms by block, side and metric (elapsed, busy)."""

    name: str
    logs: Floats


@dataclass(frozen=True)
class Run:
    """Logarithms of all comparisons by comparison and block. ``truth``: what was planted, as a log ratio."""

    baseline: Floats
    candidate: Floats
    truth: Floats

    @property
    def ratios(self) -> Floats:
        """Log ratios, baseline / candidate."""
        return self.baseline - self.candidate


def load(name: str) -> list[Noise]:
    """The groups of a noise file; ``normal`` is made up instead: what a machine would do that never stalls."""
    if name == MADE_UP:
        return made_up(np.random.default_rng(SEED))
    rows = json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))
    return [
        Noise(row["group"], UNIT * np.array([row["seconds"], row["cpu_seconds"]]).transpose(1, 2, 0)) for row in rows
    ]


def made_up(source: np.random.Generator) -> list[Noise]:
    """Normal noise of 0.5 to 5 % for each side, and 0 to 2 times as much again that a block's sides share."""
    groups = []
    for number, (own, shared) in enumerate(
        zip(np.geomspace(0.005, 0.05, 16), np.tile([0.0, 0.5, 1.0, 2.0], 4), strict=True)
    ):
        common = shared * own * source.normal(size=(400, 1, 2))
        groups.append(Noise(f"normal {number}", common + own * source.normal(size=(400, 4, 2))))
    return groups


def draw(source: np.random.Generator, groups: list[Noise], blocks: int, whole: bool = False) -> Run:
    """A run without differences. ``whole``: blocks that followed one another, each side staying what it is."""
    sides = []
    for group in groups:
        count, width, _ = group.logs.shape
        if whole:
            taken = group.logs[(source.integers(count) + np.arange(blocks)) % count]
            dealt = np.tile(source.permutation(width), (blocks, 1))
        else:
            taken = group.logs[source.integers(count, size=blocks)]
            dealt = source.permuted(np.tile(np.arange(width), (blocks, 1)), axis=1)
        sides.append(np.take_along_axis(taken, dealt[:, :, None], axis=1))
    first = [np.repeat(one[:, :1], one.shape[1] - 1, axis=1) for one in sides]
    baseline = np.concatenate([one.reshape(blocks, -1).T for one in first])
    candidate = np.concatenate([one[:, 1:].reshape(blocks, -1).T for one in sides])
    return Run(baseline, candidate, np.zeros(len(baseline)))


def plant(source: np.random.Generator, run: Run, effects: tuple[float, ...], share: float) -> Run:
    """Make a share of the candidates faster or slower, both metrics alike, by each of the effects in turn."""
    pairs = len(run.baseline) // 2
    chosen = source.permutation(pairs)[: round(share * pairs)]
    truth = np.zeros(pairs)
    truth[chosen] = [math.log1p(effects[place % len(effects)]) for place in range(len(chosen))]
    truth *= source.choice([-1.0, 1.0], pairs)
    truth = np.repeat(truth, 2)
    return Run(run.baseline, run.candidate - truth[:, None], truth)


def ours(run: Run) -> Claims:
    """The harness's own words."""
    found = stats.family([stats.Series(tuple(row)) for row in run.ratios], MARGIN)
    return np.array([{"faster": 1, "slower": -1}.get(one.verdict, 0) for one in found])


def uncorrected(run: Run) -> Claims:
    """Each comparison by itself: a paired t interval of 95 %."""
    p = scipy_stats.ttest_1samp(run.ratios, 0.0, axis=1).pvalue
    return np.where(p < stats.ALPHA, np.sign(run.ratios.mean(axis=1)), 0).astype(np.int64)


def rank_p(run: Run) -> Floats:
    """Mann-Whitney as asv takes it: exact up to 20 samples, then the normal approximation, not corrected."""
    exact = run.baseline.shape[1] <= 20
    found = scipy_stats.mannwhitneyu(
        run.baseline, run.candidate, axis=1, method="exact" if exact else "asymptotic", use_continuity=False
    )
    return np.asarray(found.pvalue, dtype=np.float64)


def asv(run: Run, threshold: float = 0.002, factor: float = 1.1) -> Claims:
    """asv compare and continuous: p under 0.002, and medians that differ by the factor (1.1 unless told)."""
    change = np.median(run.baseline, axis=1) - np.median(run.candidate, axis=1)
    said = (rank_p(run) < threshold) & (np.abs(change) > math.log(factor))
    return np.where(said, np.sign(change), 0).astype(np.int64)


def mean_change(run: Run) -> Floats:
    """log of the ratio of mean times, which pytest-benchmark compares."""
    return np.asarray(np.log(np.exp(run.baseline).mean(axis=1) / np.exp(run.candidate).mean(axis=1)), dtype=np.float64)


def threshold_on_means(run: Run, limit: float = 0.05) -> Claims:
    """pytest-benchmark --benchmark-compare-fail=mean:5%, asked in both directions."""
    change = mean_change(run)
    return np.where(np.abs(change) > math.log1p(limit), np.sign(change), 0).astype(np.int64)


@dataclass(frozen=True)
class Calibrated:
    """Thresholds at which the others have as many A/A runs with a false verdict as ours, for one number of blocks.

    Ranks give only some values of p: then no more than ours.
    """

    rank_p: float
    change: float


def calibrate(runs: list[Run]) -> Calibrated:
    """From A/A runs: the rules as they are, their thresholds moved; without asv's factor, which hides small changes."""
    share = max(false_runs(ours, runs), 1 / len(runs))
    return Calibrated(
        rank_p=float(np.quantile([rank_p(run).min() for run in runs], share, method="higher")),
        change=math.expm1(float(np.quantile([np.abs(mean_change(run)).max() for run in runs], 1 - share))),
    )


def rules(at: Calibrated) -> dict[str, Callable[[Run], Claims]]:
    """All that is compared, by the name in the tables."""
    return {
        "pathproof": ours,
        "paired t, not corrected": uncorrected,
        "asv as it is": asv,
        "pytest-benchmark mean:5%": threshold_on_means,
        "Mann-Whitney, p for equal false alarms": lambda run: asv(run, at.rank_p, 1.0),
        "mean, limit for equal false alarms": lambda run: threshold_on_means(run, at.change),
    }


def false_runs(rule: Callable[[Run], Claims], runs: list[Run]) -> float:
    """The share of A/A runs in which anything is said to differ."""
    return float(np.mean([rule(run).any() for run in runs]))


def found_share(rule: Callable[[Run], Claims], runs: list[Run]) -> dict[float, float]:
    """For each effect the share of planted changes that were found, in the right direction."""
    said = np.concatenate([rule(run) for run in runs])
    truth = np.concatenate([run.truth for run in runs])
    return {
        effect: float(np.mean((said == np.sign(truth))[np.isclose(np.abs(truth), math.log1p(effect))]))
        for effect in EFFECTS
    }


def wrong(verdict: stats.Word, truth: float) -> bool:
    """Whether a verdict is false of a true log ratio."""
    if verdict == "same":
        return abs(truth) >= math.log1p(MARGIN) - 1e-12
    return (verdict == "faster" and truth <= 0) or (verdict == "slower" and truth >= 0)


def wrong_runs(runs: list[Run], holm: bool = False) -> float:
    """The share of runs with any wrong verdict of ours; ``holm``: by intervals at Holm's own levels instead."""
    count = 0
    for run in runs:
        words = holm_words(run) if holm else [one.verdict for one in _family(run)]
        count += any(wrong(word, truth) for word, truth in zip(words, run.truth, strict=True))
    return count / len(runs)


def _family(run: Run) -> list[stats.Comparison]:
    return stats.family([stats.Series(tuple(row)) for row in run.ratios], MARGIN)


def holm_words(run: Run) -> list[stats.Word]:
    """Words of t intervals at the levels at which Holm rejects, alpha / (m - k + 1): what ours are not."""
    rows, blocks = run.ratios.shape
    mean, error = run.ratios.mean(axis=1), run.ratios.std(axis=1, ddof=1) / math.sqrt(blocks)
    p = 2 * scipy_stats.t.sf(np.abs(mean) / error, blocks - 1)
    words: list[stats.Word] = ["cannot_tell"] * rows
    left, stopped = rows, False
    for place in np.argsort(p):
        stopped = stopped or bool(p[place] > stats.ALPHA / left)
        half = scipy_stats.t.isf(stats.ALPHA / left / 2, blocks - 1) * error[place]
        words[place] = stats.word(math.exp(mean[place] - half), math.exp(mean[place] + half), MARGIN)
        left -= 0 if stopped else 1
    return words


def row(*cells: object) -> str:
    """A line of a Markdown table."""
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def percent(share: float) -> str:
    """0.0123 as ``1.2 %``."""
    return f"{100 * share:.1f} %"


def table(title: str, columns: list[str], lines: dict[str, list[str]]) -> None:
    """Print a table whose first column is named ``title``."""
    print(row(title, *columns), row(*["---"] * (len(columns) + 1)), sep="\n")
    for name, cells in lines.items():
        print(row(name, *cells))
    print()


def report(name: str, runs: int) -> None:
    """All tables for one noise file, from so many runs for each figure."""
    groups, source = load(name), np.random.default_rng(SEED)
    spread = [float(np.std(one.logs[:, 0, 0] - one.logs[:, 1, 0], ddof=1)) for one in groups]
    comparisons = sum((one.logs.shape[1] - 1) * 2 for one in groups)
    print(f"### Noise `{name}`: {len(groups)} groups, {comparisons} verdicts a run, {runs} runs a figure\n")
    print(f"Standard deviation of a block's log ratio, time: {min(spread):.3f} to {max(spread):.3f}, ", end="")
    print(f"median {np.median(spread):.3f}.\n")
    false: dict[str, list[str]] = {}
    found: dict[float, dict[str, list[str]]] = {effect: {} for effect in EFFECTS}
    for blocks in BLOCKS:
        at = calibrate([draw(source, groups, blocks) for _ in range(runs)])
        nothing = [draw(source, groups, blocks) for _ in range(runs)]
        planted = [plant(source, draw(source, groups, blocks), EFFECTS, PLANTED_SHARE) for _ in range(runs // 4)]
        for rule_name, rule in rules(at).items():
            false.setdefault(rule_name, []).append(percent(false_runs(rule, nothing)))
            for effect, share in found_share(rule, planted).items():
                found[effect].setdefault(rule_name, []).append(percent(share))
        false.setdefault("(p for equal false alarms)", []).append(f"{at.rank_p:.1e}")
        false.setdefault("(limit for equal false alarms)", []).append(percent(at.change))
    columns = [f"{blocks} blocks" for blocks in BLOCKS]
    table("A/A runs with a false verdict", columns, false)
    for effect, lines in found.items():
        table(f"found of changes of {effect:.0%}", columns, lines)
    hard: dict[str, Callable[[int], Run]] = {
        "nothing differs, blocks in the order they were recorded": lambda n: draw(source, groups, n, whole=True),
        "all differ by just the margin": lambda n: plant(source, draw(source, groups, n), (MARGIN,), 1.0),
        "half differ by 30 %": lambda n: plant(source, draw(source, groups, n), (0.3,), 0.5),
    }
    wrongs: dict[str, list[str]] = {}
    for case, make in hard.items():
        for n in BLOCKS:
            drawn = [make(n) for _ in range(runs // 2)]
            wrongs.setdefault(case, []).append(percent(wrong_runs(drawn)))
            if "margin" in case:
                by_holm = f"{case}, by intervals at Holm's levels"
                wrongs.setdefault(by_holm, []).append(percent(wrong_runs(drawn, holm=True)))
    table("runs with a wrong verdict of ours", columns, wrongs)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("names", nargs="*", default=["shared", MADE_UP])
    wanted = parser.parse_args()
    for name in wanted.names:
        report(name, wanted.runs)


if __name__ == "__main__":
    main()
