"""What verdicts over several boots are worth, by simulation: which interval holds, whole runs, two runs compared.

``python -m simulations.rounds`` prints Markdown; the tables in docs/statistics.md were made with it. First intervals
for the mean of several boots on made-up noise, then whole runs on recorded noise (simulations/data): a question in ten
boots with looks after five and ten, and all other comparisons in eight, as two families; then pairs of such runs.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import brentq
from scipy.special import digamma, fdtri, polygamma, stdtrit

from harness.verdicts import stats
from reports.compare import holm, welch
from simulations.statistics import EFFECTS, MARGIN, SEED, Floats, Noise, load, percent, plant, table, wrong
from simulations.statistics import Run as OneRound

ALPHAS = (0.05, 0.002, 0.0005)
BETWEEN = (0.0, 0.1, 1.0, 10.0)
"""Variance between rounds over that within."""
PLANS = ((5, 2), (5, 10), (10, 3), (10, 30))
"""Rounds, and blocks in each."""
QUESTION_ROUNDS, REST_ROUNDS = 10, 8
LOOKS = (5, 10)
ASKED = (5, 2, 1)
"""Blocks in a round of the question, for each of its sizes."""
NARROW = 0.01
BOOTS = (0.0, 0.5, 2.0)
"""What a boot adds to a log ratio: its standard deviation over that of a block."""


# ---- which interval holds


def t_value(freedom: float | Floats, alpha: float) -> Floats:
    """Half a t interval, in standard errors."""
    return np.asarray(-stdtrit(freedom, alpha / 2))


def half_widths(values: Floats, alpha: float) -> dict[str, Floats]:
    """Half the interval of each trial's mean by each method; ``values`` by trial, round and block."""
    _, rounds, blocks = values.shape
    total = rounds * blocks
    among = blocks * values.mean(axis=2).var(axis=1, ddof=1)
    inside = values.var(axis=2, ddof=1).mean(axis=1)
    limit = among / inside / fdtri(rounds - 1, total - rounds, 0.1)
    return {
        "all blocks alike, t": t_value(total - 1, alpha) * values.reshape(len(values), -1).std(axis=1, ddof=1)
        / math.sqrt(total),
        "one number a round, t": t_value(rounds - 1, alpha) * np.sqrt(among / total),
        "variance components": np.where(
            among > inside,
            t_value(rounds - 1, alpha) * np.sqrt(among / total),
            t_value(total - rounds, alpha) * np.sqrt(inside / total),
        ),
        "with their upper limit (90 %)": t_value(total - rounds, alpha)
        * np.sqrt(inside * np.maximum(1.0, limit) / total),
    }  # fmt: skip


def gaussian(source: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Normal noise."""
    return source.standard_normal(shape)


def heavy(source: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Student's t with three degrees of freedom, of variance 1."""
    return source.standard_t(3, shape) / math.sqrt(3)


def bursts(source: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Normal noise of variance 1, a tenth of it six times as wide as the rest."""
    wide = np.where(source.random(shape) < 0.1, 6.0, 1.0)
    return source.standard_normal(shape) * wide / math.sqrt(0.9 + 0.1 * 36)


KINDS: tuple[Callable[[np.random.Generator, tuple[int, ...]], Floats], ...] = (gaussian, heavy, bursts)


def methods(trials: int) -> None:
    """The worst of all kinds of noise and variances between rounds, and the width where rounds do not differ."""
    source = np.random.default_rng(SEED)
    cells: dict[str, list[str]] = {}
    for rounds, blocks in PLANS:
        missed: dict[tuple[str, float], list[float]] = {}
        widths: dict[tuple[str, float], float] = {}
        for kind in KINDS:
            for ratio in BETWEEN:
                values = np.concatenate([
                    kind(source, (1000, rounds, blocks)) + math.sqrt(ratio) * source.standard_normal((1000, rounds, 1))
                    for _ in range(trials // 1000)
                ])  # fmt: skip
                middle = np.abs(values.mean(axis=(1, 2)))
                for alpha in ALPHAS:
                    for name, half in half_widths(values, alpha).items():
                        missed.setdefault((name, alpha), []).append(float(np.mean(middle > half)) / alpha)
                        if kind is gaussian and ratio == 0:
                            widths[name, alpha] = float(np.mean(half)) * math.sqrt(rounds * blocks)
        for (name, alpha), rates in missed.items():
            cells.setdefault(name, []).append(f"{max(rates):.1f}, {widths[name, alpha]:.1f}")
    columns = [f"{rounds} x {blocks} at {alpha:g}" for rounds, blocks in PLANS for alpha in ALPHAS]
    table("rounds x blocks at level", columns, cells)


def borrowed(values: Floats, alpha: float) -> Floats:
    """Half the intervals of one family's means, by comparison, round and block: variance borrowed from one another.

    The ratio of variance between rounds to that within is taken to be drawn from one distribution, whose two parameters
    the family tells (G. K. Smyth, Statistical Applications in Genetics and Molecular Biology 3, 2004).
    """
    _, rounds, blocks = values.shape
    own, free = rounds - 1, rounds * (blocks - 1)
    among, inside = values.mean(axis=2).var(axis=1, ddof=1), values.var(axis=2, ddof=1).mean(axis=1) / blocks
    logs = np.log(among / inside) - _log_mean(own) + _log_mean(free)
    excess = float(logs.var(ddof=1) - polygamma(1, own / 2) - polygamma(1, free / 2))
    prior = min(free, 2 * brentq(lambda half: float(polygamma(1, half)) - excess, 1e-3, 1e6) if excess > 1e-5 else free)
    usual = max(1.0, math.exp(float(logs.mean()) + _log_mean(prior)))
    variance = (prior * usual * inside + own * among) / (prior + own)
    return np.asarray(t_value(prior + own, alpha) * np.sqrt(variance / rounds))


def _log_mean(freedom: float) -> float:
    """The mean logarithm of a variance of so many degrees of freedom whose mean is 1."""
    return float(digamma(freedom / 2)) - math.log(freedom / 2)


def borrowing(runs_each: int) -> None:
    """How often intervals with borrowed variance miss, by how the comparisons of a run differ between rounds."""
    source, count = np.random.default_rng(SEED), 98
    alpha = stats.ALPHA / 2 / count
    cases: dict[str, Callable[[], Floats]] = {
        "none differs between rounds": lambda: np.zeros(count),
        "all differ alike": lambda: np.full(count, 1.0),
        "half of them do": lambda: np.where(np.arange(count) % 2, 2.0, 0.0),
        "one in ten does, much": lambda: np.where(np.arange(count) % 10, 0.0, 10.0),
    }
    cells: dict[str, list[str]] = {}
    for rounds, blocks in ((5, 2), (8, 2)):
        for case, ratios in cases.items():
            missed = 0
            for _ in range(runs_each):
                between = np.sqrt(ratios())[:, None, None] * gaussian(source, (count, rounds, 1))
                values = gaussian(source, (count, rounds, blocks)) + between
                missed += int((np.abs(values.mean(axis=(1, 2))) > borrowed(values, alpha)).sum())
            cells.setdefault(case, []).append(f"{missed / runs_each / count / alpha:.1f}")
    table("variance borrowed from one another: misses", ["5 x 2 at 0.00026", "8 x 2 at 0.00026"], cells)


# ---- whole runs


def drawn(
    source: np.random.Generator, groups: list[Noise], rounds: int, blocks: int, between: float
) -> tuple[OneRound, tuple[int, ...]]:
    """A run without differences, and the round of each block; a boot adds ``between`` to each candidate."""
    sides = []
    for group in groups:
        count, width, _ = group.logs.shape
        taken = group.logs[source.integers(count, size=rounds * blocks)]
        dealt = source.permuted(np.tile(np.arange(width), (rounds * blocks, 1)), axis=1)
        one = np.take_along_axis(taken, dealt[:, :, None], axis=1)
        usual = 1.4826 * np.median(np.abs(one[:, 1:] - one[:, :1]))
        boots = between * usual * source.standard_normal((rounds, width - 1, 1))
        one[:, 1:] += np.repeat(boots, blocks, axis=0)
        sides.append(one)
    total = rounds * blocks
    baseline = np.concatenate([np.repeat(one[:, :1], one.shape[1] - 1, axis=1).reshape(total, -1).T for one in sides])
    candidate = np.concatenate([one[:, 1:].reshape(total, -1).T for one in sides])
    numbered = tuple(int(number) for number in np.repeat(np.arange(rounds), blocks))
    return OneRound(baseline, candidate, np.zeros(len(baseline))), numbered


def all_series(run: OneRound, rounds: tuple[int, ...], looks: int = 1) -> list[stats.Series]:
    """Its comparisons, as the harness has them."""
    return [stats.Series(tuple(row), looks, rounds=rounds) for row in run.ratios]


def asked(
    source: np.random.Generator, groups: list[Noise], between: float, effect: float
) -> tuple[list[stats.Comparison], bool]:
    """The six verdicts of a question, sizes let go after the first look where both are known; and whether any was."""
    chosen = source.permutation(len(groups))[: len(ASKED)]
    whole: list[stats.Series] = []
    for place, blocks in zip(chosen, ASKED, strict=True):
        run, rounds = drawn(source, [groups[place]], QUESTION_ROUNDS, blocks, between)
        shifted = OneRound(run.baseline[:2], run.candidate[:2] - math.log1p(effect), run.truth[:2])
        whole += all_series(shifted, rounds, len(LOOKS))
    first = [
        stats.Series(one.logs[: len(one.logs) // 2], one.interim_looks, rounds=one.rounds[: len(one.logs) // 2])
        for one in whole
    ]
    seen = stats.family(first, MARGIN, alpha=stats.ALPHA / 2)
    known = [one.verdict != "cannot_tell" or _narrow(one) for one in seen]
    done = [all(known[place : place + 2]) for place in range(0, len(whole), 2)]
    ended = [first[n] if done[n // 2] else whole[n] for n in range(len(whole))]
    return stats.family(ended, MARGIN, alpha=stats.ALPHA / 2), any(done)


def _narrow(one: stats.Comparison) -> bool:
    return bool(one.low and one.high and one.high / one.low <= (1 + NARROW) ** 2)


def runs(name: str, count: int) -> None:
    """How many whole runs have any wrong verdict, and what the question finds."""
    groups, source = load(name), np.random.default_rng(SEED)
    lines: dict[str, list[str]] = {}
    cases: dict[str, tuple[float, tuple[float, ...], float]] = {
        "nothing differs": (0.0, (), 0.0),
        "all differ by just the margin": (MARGIN, (MARGIN,), 1.0),
        "a third differ by 3, 5 or 10 %, the question by 5 %": (0.05, EFFECTS, 0.3),
    }
    for case, (effect, effects, share) in cases.items():
        for between in BOOTS:
            bad, decided, early = 0, 0, 0
            for _ in range(count):
                question, let_go = asked(source, groups, between, effect)
                rest, rounds = drawn(source, groups, REST_ROUNDS, 2, between)
                if effects:
                    rest = plant(source, rest, effects, share)
                found = stats.family(all_series(rest, rounds), MARGIN, alpha=stats.ALPHA / 2)
                truth = math.log1p(effect)
                bad += any(wrong(one.verdict, truth) for one in question) or any(
                    wrong(one.verdict, own) for one, own in zip(found, rest.truth, strict=True)
                )
                decided += sum(one.verdict != "cannot_tell" for one in question)
                early += let_go
            lines.setdefault(case, []).append(
                f"{percent(bad / count)}, {percent(decided / count / 6)}, {percent(early / count)}"
            )
    columns = [f"boots differ by {between:g} of a block" for between in BOOTS]
    print(f"Noise `{name}`, {count} runs a figure:\n")
    table("runs with a wrong verdict, verdicts of the question decided, runs with a size let go", columns, lines)


def pairs(name: str, count: int) -> None:
    """Two runs of the same: how often any pair is called worse or better."""
    groups, source = load(name), np.random.default_rng(SEED)
    lines: dict[str, list[str]] = {}
    for rounds in (3, 5, REST_ROUNDS):
        for between in BOOTS:
            said, blind = 0, 0
            for _ in range(count):
                both = [drawn(source, groups, rounds, 2, between) for _ in range(2)]
                said += _told([all_series(run, numbered) for run, numbered in both])
                blind += _told([all_series(run, ()) for run, _ in both])
            lines.setdefault(f"{rounds} boots each", []).append(percent(said / count))
            lines.setdefault(f"{rounds} boots each, taken for one", []).append(percent(blind / count))
    print(f"Noise `{name}`, {count} pairs a figure:\n")
    table("pairs of runs of which anything is told", [f"boots differ by {b:g} of a block" for b in BOOTS], lines)


def _told(both: Sequence[list[stats.Series]]) -> bool:
    values = [welch(stats.mean(a), stats.mean(b))[2] for a, b in zip(*both, strict=True)]
    return any(p is not None and p < stats.ALPHA for p in holm(values))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=40_000)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("names", nargs="*", default=["shared", "normal"])
    wanted = parser.parse_args()
    methods(wanted.trials)
    borrowing(wanted.trials // 10)
    for name in wanted.names:
        runs(name, wanted.runs)
        pairs(name, wanted.runs)


if __name__ == "__main__":
    main()
