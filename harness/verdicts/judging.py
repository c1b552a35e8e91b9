"""Pure: samples become verdicts, and each cell's bottleneck is named."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from harness.costs.prediction import Predicted, Prediction
from harness.record import Cell, Metric, Verdict
from harness.samples import (
    ELSEWHERE,
    FULL_SHARE,
    TICKS,
    Sample,
    counted,
    cpu_seconds_per_gb,
    good,
    known_busy,
    placed,
)
from harness.verdicts import stats
from hosts.roles import ROLES, Role

GENERATOR = "generator"
"""Of load: what limits where it was full. A comparison of which one side waited for it is not the paths' alone."""
LINK_SHARE = 0.93
BUSY_SHARE = 0.90
PREDICTION_MISSES = 0.05
"""How often a measured ratio may lie outside of its prediction's interval."""


METRICS: dict[Metric, Callable[[Sample], float | None]] = {
    "seconds": lambda sample: sample.seconds,
    "cpu_seconds_per_gb": cpu_seconds_per_gb,
    "receiver_cpu_seconds_per_gb": partial(cpu_seconds_per_gb, role="receiver"),
}
HOST: dict[Metric, Role] = {"cpu_seconds_per_gb": "sender", "receiver_cpu_seconds_per_gb": "receiver"}
"""Whose CPU it is."""
JUDGED: dict[Role, tuple[Metric, ...]] = {role: ("seconds", metric) for metric, role in HOST.items()}
"""What is compared, by the host that the question is about."""


def step(sample: Sample, metric: Metric) -> float:
    """The step of the clock that measured this metric, as a fraction of what it measured."""
    if metric in HOST:
        host = sample.sender if HOST[metric] == "sender" else sample.receiver
        return (host.cpu_resolution_seconds or 0.0) / (host.cpu_seconds or math.inf)
    return sample.step_seconds / (sample.seconds or math.inf)


def paired(base: Mapping[int, Sample], other: Mapping[int, Sample], metric: Metric) -> dict[int, tuple[Sample, Sample]]:
    """The counted samples of two cells in the blocks that both have; none where one is too short for its clock."""
    both = {block: (base[block], other[block]) for block in sorted(base.keys() & other.keys())}
    value = METRICS[metric]
    if any(value(sample) is None for pair in both.values() for sample in pair):
        return {}  # the blocks that happen to be measurable are not a fair sample of all
    return both


def series(pairs: Iterable[tuple[Sample, Sample]], metric: Metric, interim_looks: int = 1) -> stats.Series:
    """Log ratios of paired samples, each with its round; ``interim_looks`` as in stats.Series."""
    both, value = list(pairs), METRICS[metric]
    values = [(value(a) or math.nan, value(b) or math.nan) for a, b in both]
    steps = [step(sample, metric) for pair in both for sample in pair]
    rounds = [sample.round for sample, _ in both]
    return stats.series([a for a, _ in values], [b for _, b in values], interim_looks, steps, rounds)


def rows(
    cells: Sequence[Cell],
    baseline: str,
    margin: float,
    limits: Mapping[str, str | None],
    prediction: Callable[[Metric, str], Prediction | None],
    question: str | None = None,
    judged: Role = "sender",
) -> list[Verdict]:
    """Every measured cell of one suite and size against the first measured one whose path is ``baseline``.

    Cells of one path that is listed twice are compared like others. ``prediction`` of a metric and a candidate's path:
    the ratio that prices allow, None where there is none. ``question``: the path whose comparison with the baseline the
    run's question asks for. ``judged``: whose CPU is compared. Still without numbers: ``settled`` gives them.
    """
    measured = [cell for cell in cells if cell.outcome == "measured"]
    base = next((cell for cell in measured if cell.path == baseline), None)
    if base is None:
        return []
    return [
        row
        for cell in measured
        if cell is not base
        for row in against(
            base,
            cell,
            margin,
            partial(_of_path, prediction, cell.path),
            GENERATOR if limits.get(base.id) == GENERATOR else limits.get(cell.id),
            cell.path == question,
            JUDGED[judged],
        )
    ]


def enough(row: Verdict, precision: float) -> bool:
    """Whether a verdict needs no more blocks: decided, narrower than ± ``precision``, or none can be had."""
    if not row.blocks or row.verdict != "cannot_tell":
        return True
    if row.ci_low is None or row.ci_high is None:
        return False
    return math.log(row.ci_high / row.ci_low) / 2 <= math.log1p(precision)


def against(
    base: Cell,
    cell: Cell,
    margin: float,
    prediction: Callable[[Metric], Prediction | None] = lambda _metric: None,
    bottleneck: str | None = None,
    of_question: bool = False,
    metrics: Sequence[Metric] = JUDGED["sender"],
) -> list[Verdict]:
    """One cell against another, a verdict for each metric, still without numbers: ``settled`` gives them."""
    return [
        Verdict(
            comparison=f"{_name(base, cell)} / {_name(cell, base)}, {cell.suite} {cell.id.rsplit('/', 1)[1]}",
            baseline=base.id,
            candidate=cell.id,
            metric=metric,
            ratio=None,
            ci_low=None,
            ci_high=None,
            blocks=0,
            verdict="cannot_tell",
            margin=margin,
            detectable=None,
            of_question=of_question,
            ceiling=predicted.ratio if predicted else None,
            ceiling_low=predicted.low if predicted else None,
            ceiling_high=predicted.high if predicted else None,
            bottleneck=bottleneck,
        )
        for metric, predicted in ((metric, prediction(metric)) for metric in metrics)
    ]


def _of_path(prediction: Callable[[Metric, str], Prediction | None], path: str, metric: Metric) -> Prediction | None:
    return prediction(metric, path)


def combined(ratios: Sequence[Predicted]) -> Prediction | None:
    """The prediction that the ratios of all takes make, by the verdicts' own estimator; None of none.

    The interval is where such a mean of as many further rounds would lie (two-sided, by Student's t), since that is
    what a measured ratio is; one round has none.
    """
    if not ratios:
        return None
    logs, rounds = zip(*((math.log(one.ratio), one.round) for one in ratios), strict=True)
    found = stats.mean(stats.Series(logs, rounds=rounds))
    if found.rounds == 1:
        return Prediction(math.exp(found.mean))
    half = found.half(PREDICTION_MISSES) * math.sqrt(2)
    return Prediction(math.exp(found.mean), math.exp(found.mean - half), math.exp(found.mean + half))


def settled(
    rows: Sequence[Verdict],
    samples: Sequence[Sample],
    interim_looks: Mapping[str, int] | None = None,
    planned: int = 0,
    planned_question: int = 0,
) -> list[Verdict]:
    """These verdicts made again as those of one run: corrected for the number of all of them.

    Those of the question are a family with half of the error that a run may have, all others another with the other
    half; a run without a question has one family.

    ``samples``: of all their cells. ``interim_looks``: of each candidate, by the cell's id, as in stats.Series; 1 where
    it is not named. ``planned`` and ``planned_question``: how many verdicts the run will have of all others and of the
    question, where these are not all. What is not statistics (comparison, prediction, bottleneck) stays; a prediction
    is left out where there are no blocks to compare it with. Raises ValueError where their margins differ.
    """
    margins = {row.margin for row in rows}
    if len(margins) > 1:
        raise ValueError("the verdicts of one run have one margin")
    all_series = _all_series(rows, samples, interim_looks or {})
    alpha = stats.ALPHA / (2 if planned_question or any(row.of_question for row in rows) else 1)
    found: dict[int, stats.Comparison] = {}
    for of_question, due in ((False, planned), (True, planned_question)):
        places = [place for place, row in enumerate(rows) if row.of_question == of_question]
        if places:
            results = stats.family([all_series[place] for place in places], rows[0].margin, due, alpha)
            found |= dict(zip(places, results, strict=True))
    return [_filled(row, found[place]) for place, row in enumerate(rows)]


def _filled(row: Verdict, result: stats.Comparison) -> Verdict:
    """A verdict with its numbers."""
    return row.model_copy(
        update={
            "ratio": result.ratio,
            "ci_low": result.low,
            "ci_high": result.high,
            "blocks": result.blocks,
            "verdict": result.verdict,
            "detectable": result.detectable,
            "rounds": result.rounds or None,
            "between": result.between,
            "ceiling": row.ceiling if result.blocks else None,
            "ceiling_low": row.ceiling_low if result.blocks else None,
            "ceiling_high": row.ceiling_high if result.blocks else None,
        }
    )


def _all_series(
    rows: Sequence[Verdict], samples: Iterable[Sample], interim_looks: Mapping[str, int]
) -> list[stats.Series]:
    return [
        series(pairs.values(), row.metric, interim_looks.get(row.candidate, 1))
        for row, pairs in zip(rows, all_pairs(rows, samples), strict=True)
    ]


def all_pairs(rows: Sequence[Verdict], samples: Iterable[Sample]) -> list[dict[int, tuple[Sample, Sample]]]:
    """The paired samples of each verdict, by block, as ``paired`` has them."""
    by_cell = counted(samples, {cell for row in rows for cell in (row.baseline, row.candidate)})
    return [paired(by_cell.get(row.baseline, {}), by_cell.get(row.candidate, {}), row.metric) for row in rows]


def remarks(rows: Sequence[Verdict], samples: Iterable[Sample]) -> list[str]:
    """A line for each verdict with blocks that stand out, to be shown beside it (all of them count), and why CPU is
    missing: one for each host whose clock is too coarse for some, one where it may have been another's.
    """
    taken = list(samples)
    lines = _too_short(rows, taken)
    for row, pairs in zip(rows, all_pairs(rows, taken), strict=True):
        logs, blocks = series(pairs.values(), row.metric).logs, list(pairs)
        if places := stats.outliers(logs):
            usual = math.exp(statistics.median(logs))
            far = ", ".join(f"{blocks[place]} (x{math.exp(logs[place]):.3g})" for place in places)
            lines.append(f"{row.comparison}, {row.metric}: far from the median of x{usual:.3g}: block {far}; counted")
    roles: set[Role] = {HOST[row.metric] for row in rows if row.metric in HOST} or {"sender"}
    shares = [(one.sender if role == "sender" else one.receiver).cpu_elsewhere for role in roles for one in taken]
    if missing := [share for share in shares if share is not None and not placed(share)]:
        lines.append(
            f"the CPU of {len(missing)} of {len(shares)} samples is missing: of the busy time there "
            f"{statistics.median(missing):.1%} (the median; allowed {ELSEWHERE:.0%}) may not be that host's"
        )
    return lines


def _too_short(rows: Sequence[Verdict], samples: Iterable[Sample]) -> list[str]:
    """Which comparisons of CPU have no number since a sample of theirs is too short for its clock, by host."""
    short = {(sample.cell, role) for sample in samples if good(sample) for role in ROLES if _short(sample, role)}
    found: dict[Role, list[str]] = {}
    for row in rows:
        role = HOST.get(row.metric)
        if role and row.ratio is None and not short.isdisjoint({(row.baseline, role), (row.candidate, role)}):
            found.setdefault(role, []).append(row.comparison)
    return [
        f"the {role}'s CPU was not compared where a sample of it is shorter than {TICKS} steps of its clock: "
        f"{'; '.join(comparisons)}"
        for role, comparisons in found.items()
    ]


def _short(sample: Sample, role: Role) -> bool:
    """Whether a host's busy time is known, and too short for its clock."""
    host = sample.sender if role == "sender" else sample.receiver
    known = host.cpu_seconds is not None and host.cpu_resolution_seconds is not None
    return known and known_busy(host.cpu_seconds, host.cpu_resolution_seconds) is None


def _name(cell: Cell, other: Cell) -> str:
    """A side of a comparison: its path, with what else tells it from the other: driver, or requests under way."""
    _, path, cipher, driver, *_ = cell.id.split("/")
    name = path if cell.buffer_bytes is None else f"{cipher} {path}"
    if cell.depth != other.depth:
        return f"{name} {driver} x{cell.depth}"
    return f"{name} {driver}" if other.id.split("/")[1] == path else name


def bottleneck(
    samples: Iterable[Sample],
    processors: dict[str, int],
    link_bits_per_second: float | None,
    cipher_seconds: float | None = None,
) -> str | None:
    """What a cell waited for: ``link``, ``cipher``, ``sender`` or ``receiver``, or the fullest processor of one of
    these; under load the ``generator`` that was full in most samples. None where nothing was full.

    From medians: goodput against the link's measured goodput, busy time against elapsed time and processors. One worker
    fills one processor, and then it does not matter how many others idle. ``cipher`` is a full sender that spent over
    half of its time enciphering, by the measured price (``cipher_seconds``).
    """
    rows = [s for s in samples if s.seconds and s.bytes]
    if not rows:
        return None
    goodput = statistics.median(s.bytes * 8 / s.seconds for s in rows if s.bytes and s.seconds)
    if link_bits_per_second and goodput >= LINK_SHARE * link_bits_per_second:
        return "link"
    loads = [s.load for s in rows if s.load]
    if loads and statistics.median(load.generator_share for load in loads) > FULL_SHARE:
        return GENERATOR
    shares: dict[str, float] = {}
    for role in ROLES:
        hosts = [getattr(s, role) for s in rows]
        busy = _shares(rows, [known_busy(host.cpu_seconds, host.cpu_resolution_seconds) for host in hosts])
        if busy is not None:
            shares[role] = busy / max(1, processors.get(role, 1))
        single = _shares(rows, [known_busy(host.busiest_cpu_seconds, host.cpu_resolution_seconds) for host in hosts])
        if single is not None and shares.get(role, 0.0) < BUSY_SHARE:
            shares[f"{role}'s fullest processor"] = single
    fullest = max(shares, key=lambda role: shares[role], default=None)
    if fullest is None or shares[fullest] < BUSY_SHARE:
        return None
    spent = statistics.median(s.sender.cpu_seconds or 0.0 for s in rows)
    return "cipher" if fullest.startswith("sender") and cipher_seconds and cipher_seconds > spent / 2 else fullest


def _shares(rows: Sequence[Sample], busy: Sequence[float | None]) -> float | None:
    """The median share of the elapsed time; None where one of them is not known."""
    known = [(seconds, row.seconds) for seconds, row in zip(busy, rows, strict=True) if seconds is not None]
    if len(known) < len(rows):
        return None
    return statistics.median(seconds / elapsed for seconds, elapsed in known if elapsed)
