"""What a minute of measuring resolves: a path against its twin that is dearer by a known share, and against itself.

``python -m simulations.resolution measure FILE --minutes 20`` measures minutes of both kinds in turns, each a whole run
of one question by the harness itself (boots, rounds and looks included), and adds a line to FILE after every one; what
FILE has already is not measured again. ``python -m simulations.resolution report FILE`` prints the tables of
docs/statistics.md: how often the twin is found, how often a path is told from itself, what others say of the same
samples, and what the noise is made of. ``--per-mille`` and ``--path`` ask for another twin.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats as scipy_stats

from harness.blocks import DISTURBED_SHARE
from harness.profile import Question
from harness.verdicts import stats
from simulations import statistics as rules
from simulations.minutes import MARGIN, ROUNDS, SECONDS, Minute, load, measure_all
from simulations.statistics import Floats, percent, table

ALPHA = stats.ALPHA / 2
"""Of a question: the other half of a run's error is for all else that a run compares."""
DRAWS, WORLDS = 1000, 50
"""Minutes drawn for a share; sets of minutes drawn for its interval."""
SEED = 2005

Round = NDArray[np.float64]
"""Natural logarithms by block and column: time and busy time of the path, the same of its twin."""


def logs(minute: Minute) -> list[Round]:
    """Of each round."""
    return [np.log(np.array(blocks, dtype=np.float64)[:, :4]) for blocks in minute.rounds]


def ratios(blocks: Round) -> Floats:
    """Log ratios path / twin by metric and block, as verdicts have them: below 0 where the twin is slower."""
    return np.asarray((blocks[:, :2] - blocks[:, 2:]).T, dtype=np.float64)


Rule = Callable[[Sequence[Round]], rules.Claims]
"""What is said of time and of CPU: 1 the twin is faster or cheaper, -1 slower or dearer, 0 nothing."""


def series(rows: Sequence[Floats], looks: int = 1) -> list[stats.Series]:
    """Log ratios by metric and block, of one round after the other, as verdicts take them."""
    numbers = tuple(number for number, both in enumerate(rows) for _ in range(both.shape[1]))
    return [stats.Series(tuple(row), looks, 0.0, numbers) for row in np.hstack(rows).tolist()]


def percent2(share: float) -> str:
    """0.00123 as ``0.12 %``."""
    return f"{100 * share:.2f} %"


def ours(rounds: Sequence[Round], looks: tuple[int, ...]) -> rules.Claims:
    """The harness: after each of the looks, until both are decided."""
    said = np.zeros(2, dtype=np.int64)
    for look in looks:
        part = [ratios(blocks) for blocks in rounds[:look]]
        found = stats.family(series(part, len(looks)), MARGIN, alpha=ALPHA)
        said = np.array([{"faster": 1, "slower": -1}.get(one.verdict, 0) for one in found])
        if all(one.verdict != "cannot_tell" for one in found):
            break
    return said


@dataclass(frozen=True)
class Draws:
    """Of which minutes are drawn: ``same`` for A/A."""

    rounds: int
    same: bool

    def told(self, said: rules.Claims) -> NDArray[np.bool_]:
        """Where what was said tells the two apart: the twin dearer, of A/A anything."""
        return said != 0 if self.same else said < 0


def as_run(rounds: Sequence[Round]) -> rules.Run:
    """All samples of a minute, as the rules of others take them: nobody else knows blocks or rounds."""
    whole = np.vstack(rounds).T
    return rules.Run(whole[:2], whole[2:], np.zeros(2))


def least(run: rules.Run) -> Floats:
    """log of the ratio of the least times: what pytest-benchmark compares with min."""
    return np.asarray(run.baseline.min(axis=1) - run.candidate.min(axis=1), dtype=np.float64)


def beyond(change: Floats, limit: float) -> rules.Claims:
    """What a limit on a change says of it, as a log ratio."""
    return np.where(np.abs(change) > limit, np.sign(change), 0).astype(np.int64)


def others() -> dict[str, Rule]:
    """The rules of others, by the name in the tables. pytest-benchmark is asked in both directions."""
    one = math.log1p(0.01)
    return {
        "asv, Mann-Whitney: p < 0.002": lambda rounds: rules.asv(as_run(rounds), factor=1.0),
        "asv compare: and medians 1.1 apart": lambda rounds: rules.asv(as_run(rounds)),
        "pytest-benchmark mean:1%": lambda rounds: beyond(rules.mean_change(as_run(rounds)), one),
        "pytest-benchmark min:1%": lambda rounds: beyond(least(as_run(rounds)), one),
    }


def calibrated(source: np.random.Generator, same: Sequence[Sequence[Round]], rounds: int) -> dict[str, Rule]:
    """The same with what nobody knows before: the thresholds at which A/A on this noise is told apart as often as ours
    promises at most."""
    pool = [blocks for minute in same for blocks in minute]
    runs = [as_run(draw(source, pool, rounds, deal=True)) for _ in range(DRAWS)]
    p = float(np.quantile([rules.rank_p(run).min() for run in runs], ALPHA))
    mean, low = (
        float(np.quantile([np.abs(change(run)).max() for run in runs], 1 - ALPHA))
        for change in (rules.mean_change, least)
    )
    return {
        f"Mann-Whitney, p < {p:.2g}": lambda rounds: rules.asv(as_run(rounds), p, 1.0),
        f"mean:{percent2(math.expm1(mean))}": lambda rounds: beyond(rules.mean_change(as_run(rounds)), mean),
        f"min:{percent2(math.expm1(low))}": lambda rounds: beyond(least(as_run(rounds)), low),
    }


def draw(source: np.random.Generator, pool: Sequence[Round], count: int, deal: bool) -> list[Round]:
    """A minute of so many whole rounds, whose blocks stay as they followed one another.

    Nothing is drawn within a round: the noise of its blocks is in its mean already, and would count twice. ``deal``: in
    each round, which side is the path and which its twin is dealt anew; right for A/A only.
    """
    drawn = [pool[number] for number in source.integers(len(pool), size=count)]
    turned = source.random(count) < 0.5
    return [blocks[:, [2, 3, 0, 1]] if deal and turn else blocks for blocks, turn in zip(drawn, turned, strict=True)]


def shares(source: np.random.Generator, minutes: Sequence[Sequence[Round]], draws: Draws, rule: Rule, n: int) -> Floats:
    """Of ``n`` drawn minutes, the shares in which time, CPU, and any of both are told apart."""
    pool = [blocks for rounds in minutes for blocks in rounds]
    said = np.array([rule(draw(source, pool, draws.rounds, draws.same)) for _ in range(n)])
    hit = draws.told(said)
    return np.append(hit.mean(axis=0), hit.any(axis=1).mean())


def interval(minutes: Sequence[Sequence[Round]], draws: Draws, rule: Rule) -> list[str]:
    """``shares``, and where 95 % of them lie when the minutes themselves are drawn again."""
    source = np.random.default_rng(SEED)
    found = shares(source, minutes, draws, rule, DRAWS)
    worlds = [[minutes[n] for n in source.integers(len(minutes), size=len(minutes))] for _ in range(WORLDS)]
    again = np.array([shares(source, world, draws, rule, DRAWS // 10) for world in worlds])
    low, high = np.quantile(again, [0.025, 0.975], axis=0)
    return [f"{percent(a)} [{percent(b)}, {percent(c)}]" for a, b, c in zip(found, low, high, strict=True)]


def exact(hits: int, of: int) -> str:
    """A share of real minutes with its interval of 95 % (C. J. Clopper, E. S. Pearson, Biometrika 26, 1934)."""
    low, high = scipy_stats.binomtest(hits, of).proportion_ci(0.95, "exact")
    return f"{hits} of {of} [{percent(low)}, {percent(high)}]"


def verdict_tables(minutes: Sequence[Minute], draws: Draws, every: dict[str, Rule]) -> None:
    """What every rule says of the real minutes, and of drawn ones."""
    real = [logs(minute) for minute in minutes]
    seen, drawn = dict[str, list[str]](), dict[str, list[str]]()
    for name, rule in every.items():
        hit = draws.told(np.array([rule(rounds) for rounds in real]))
        seen[name] = [exact(int(column.sum()), len(real)) for column in (*hit.T, hit.any(axis=1))]
        drawn[name] = interval(real, draws, rule)
    what = "told from itself" if draws.same else f"{minutes[0].per_mille / 10:g} % dearer: found"
    table(f"{what}, {len(real)} real minutes", ["time", "CPU", "any"], seen)
    table(f"{what}, drawn minutes", ["time", "CPU", "any"], drawn)


def correlation(rows: Iterable[Floats]) -> float:
    """Of neighbouring blocks, over all rounds (each less its own mean)."""
    pairs = [(row[:-1] - row.mean(), row[1:] - row.mean()) for row in rows if len(row) > 2]
    first, second = (np.concatenate(column) for column in zip(*pairs, strict=True))
    return float(np.corrcoef(first, second)[0, 1])


def deviations(rows: Sequence[Floats]) -> tuple[float, float]:
    """Of values within their rows: the standard deviation, and what the median distance makes of it."""
    away = np.concatenate([row - np.median(row) for row in rows])
    usual = math.sqrt(statistics.fmean(float(np.var(row, ddof=1)) for row in rows))
    return usual, float(np.median(np.abs(away)) / scipy_stats.norm.ppf(0.75))


def noise_table(minutes: Sequence[Minute]) -> None:
    """What a log ratio varies by: from block to block, from boot to boot, from minute to minute."""
    lines: dict[str, list[str]] = {}
    for place in range(2):
        found: dict[str, str] = {}
        rounds = [[ratios(blocks)[place] for blocks in logs(minute)] for minute in minutes]
        rows = [row for minute in rounds for row in minute]
        usual, robust = deviations(rows)
        found["a block, within a boot: standard deviation"] = percent2(usual)
        found["the same by the median distance"] = percent2(robust)
        found["neighbouring blocks: correlation"] = f"{correlation(rows):+.2f}"
        means = [stats.mean(series([row[None] for row in minute])[0]) for minute in rounds]
        found["a minute: standard error by its own boots"] = percent2(
            math.sqrt(statistics.fmean(one.error**2 for one in means))
        )
        found["of that (variance) between boots"] = percent(statistics.fmean(one.between or 0.0 for one in means))
        found["a minute: standard deviation seen"] = percent2(statistics.stdev(one.mean for one in means))
        for name, cell in found.items():
            lines.setdefault(name, []).append(cell)
    table("noise", ["time", "CPU"], lines)


def disturbance_table(minutes: Sequence[Minute]) -> None:
    """Blocks in which a host was kept from its processor by what no path causes, beside the others."""
    away: dict[bool, list[Floats]] = {True: [], False: []}
    for minute in minutes:
        for blocks, rows in zip(logs(minute), minute.rounds, strict=True):
            both = np.abs(ratios(blocks) - np.median(ratios(blocks), axis=1, keepdims=True)).T
            for distance, (*_, kept, window) in zip(both, rows, strict=True):
                if kept is not None and window:
                    away[kept > DISTURBED_SHARE * window].append(distance)
    lines = {}
    for name, marked in (("disturbed", True), ("others", False)):
        if of := away[marked]:
            share = len(of) / (len(away[True]) + len(away[False]))
            squares = np.sqrt(np.square(of).mean(axis=0))
            lines[name] = [percent(share), *map(percent2, np.median(of, axis=0)), *map(percent2, squares)]
    columns = ["share", "distance from the median: time", "CPU", "root mean square: time", "CPU"]
    table("blocks", columns, lines)


def needed(rounds: int, looks: int, power: float = 0.95) -> float:
    """How many standard errors of a minute's mean a difference must be, to be found so often."""
    from scipy.optimize import brentq

    critical = float(scipy_stats.t.isf(ALPHA / 2 / looks / 2, rounds - 1))
    return float(brentq(lambda shift: scipy_stats.nct.sf(critical, rounds - 1, shift) - power, 0.0, 20 * critical))


def planted(minutes: Iterable[Minute]) -> float:
    """What twins spent on purpose, as a share of what their clients waited for else: the median."""
    rows = [np.array(blocks, dtype=np.float64) for minute in minutes for blocks in minute.rounds]
    return float(np.median(np.concatenate([block[:, 4] / (block[:, 2] - block[:, 4]) for block in rows])))


def report(asked: argparse.Namespace) -> None:
    """All tables."""
    minutes = load(asked.file)
    by_kind = {kind: [minute for minute in minutes if minute.kind == kind] for kind in ("dearer", "same")}
    rounds = max(len(minute.rounds) for minute in minutes)
    looks = Question.model_validate(
        {"candidate": "b", "baseline": "a", "suites": ["s"], "sizes": {"1MB": {"blocks": 2}}, "rounds": rounds}
    ).looks
    first = minutes[0]
    blocks = statistics.median(sum(map(len, minute.rounds)) / len(minute.rounds) for minute in minutes)
    print(f"{first.machine}; {first.path}; {first.harness}")
    print(f"{rounds} boots a minute, looks after {looks}, {blocks:.0f} blocks a boot; ", end="")
    print(f"{statistics.median(minute.seconds for minute in minutes):.0f} s a minute (median)\n")
    if by_kind["dearer"]:
        print(f"Spent on purpose, of the client's time without it: median {percent2(planted(by_kind['dearer']))}\n")
    every: dict[str, Rule] = {"pathproof": partial(ours, looks=looks)} | others()
    if by_kind["same"]:
        every |= calibrated(np.random.default_rng(SEED), [logs(minute) for minute in by_kind["same"]], rounds)
    for kind in ("dearer", "same"):
        if by_kind[kind]:
            verdict_tables(by_kind[kind], Draws(rounds, kind == "same"), every)
    quiet = by_kind["same"] or by_kind["dearer"]
    noise_table(quiet)
    disturbance_table(quiet)
    shift = needed(rounds, len(looks))
    print(f"To be found in 95 % of minutes, 1 % must be {shift:.1f} standard errors of a minute's mean: ", end="")
    print(f"{percent2(math.log1p(0.01) / shift)} at most.\n")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("measure")
    one.add_argument("file", type=Path)
    one.add_argument("--minutes", type=int, default=20)
    one.add_argument("--per-mille", type=int, default=10)
    one.add_argument("--path", default="so-crypt")
    one.add_argument("--cipher", default="3des")
    one.add_argument("--size", default="1MB")
    one.add_argument("--rounds", type=int, default=ROUNDS)
    one.add_argument("--seconds", type=float, default=SECONDS)
    one.add_argument("--testbed", default="lab")
    one.set_defaults(act=measure_all)
    other = commands.add_parser("report")
    other.add_argument("file", type=Path)
    other.set_defaults(act=report)
    wanted = parser.parse_args()
    wanted.act(wanted)


if __name__ == "__main__":
    main()
