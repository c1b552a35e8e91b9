"""What one night of a fleet shows: every profile on every testbed, one comparison over all testbeds, and which of their
facts its ratios go with."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.night import Entry, Night
from harness.record import Head, Verdict
from harness.verdicts import answer as rules
from harness.verdicts.answer import Place as Where
from reports import words
from reports.findings import answer
from reports.findings.gain import Place

FEWEST = 6
"""Testbeds from which on a fact may be said to go with the ratios: of five, chance orders one of four too often."""
SHUFFLES = 4000
LEVEL = 0.05
"""Of all facts of one comparison together."""


@dataclass(frozen=True)
class Field:
    """One profile on one testbed: what became of it, and the verdicts of its question. ``head``: of its record."""

    entry: Entry
    head: Head | None
    verdicts: tuple[tuple[str, str], ...] = ()
    """A verdict's word on time, and the sizes that share it."""
    main: Verdict | None = None
    """On time, for the largest size that has one."""
    main_size: str = ""
    """That size."""

    @property
    def complete(self) -> bool:
        """Whether there is a complete run."""
        return self.entry.outcome == "complete"


@dataclass(frozen=True)
class Point:
    """One testbed in a comparison over all of them. Facts are None where the record does not tell them."""

    testbed: str
    run_id: str
    verdict: Verdict
    crossing: float | None
    """What a crossing costs, nanoseconds a byte."""
    cipher: float | None
    """The same of the candidate's cipher."""
    processor: str | None
    kernel: str | None
    label: str
    """What the testbed's figures are called in a word."""


@dataclass(frozen=True)
class Across:
    """One comparison over all testbeds, those with the cheapest crossings first."""

    profile: str
    candidate: str
    baseline: str
    place: str
    """Which size, of which suite."""
    points: tuple[Point, ...]
    sentences: tuple[str, ...]
    papers: bool
    """Whether the paper compared the same two schemes."""


def field(entry: Entry, head: Head | None) -> Field:
    """An entry with what its record says."""
    found = answer.about(head) if head else None
    if found is None:
        return Field(entry, head)
    sizes: dict[str, list[int]] = {}
    for place in found.places:
        sizes.setdefault(place.word("seconds"), []).append(place.size)
    known = [(place.size, place.time) for place in found.places if place.time and place.time.ratio]
    size, main = max(known, key=lambda one: one[0], default=(0, None))
    told = tuple((word, rules.sizes(sizes[word])) for word in rules.ORDER if word in sizes)
    return Field(entry, head, told, main, words.size(size) if main else "")


def headline(night: Night, worse: int, judged: bool) -> str:
    """The night in a sentence. ``worse``: on how many testbeds something changed for the worse; ``judged``: whether one
    of them has nights enough to tell."""
    entries = night.entries
    beds = {entry.testbed for entry in entries}
    done = sum(entry.outcome == "complete" for entry in entries)
    if night.finished is None:
        left = sum(entry.open or entry.stopped for entry in entries)
        return f"Not finished: {done} of {words.count(len(entries), 'run')} complete, {left} still to come."
    said = f"{done} of {words.count(len(entries), 'run')} on {words.count(len(beds), 'testbed')} complete"
    gone = sorted({entry.testbed for entry in entries if entry.outcome == "unreachable"})
    if gone:
        said += (
            f"; {rules.listed(gone[:3])}{f' and {len(gone) - 3} more' if len(gone) > 3 else ''} could not be reached"
        )
    counts = Counter(entry.outcome for entry in entries)
    said += "".join(
        f"; {counts[outcome]} {outcome}" for outcome in ("failed", "interrupted", "not run") if counts[outcome]
    )
    if worse:
        return f"{said}; something changed for the worse on {words.count(worse, 'testbed')}."
    return f"{said}; {'nothing changed for the worse' if judged else 'too few nights to tell what changed'}."


def asked(fields: Sequence[Field]) -> list[tuple[str, str]]:
    """Each profile whose records tell it, and its question in words."""
    found: dict[str, str] = {}
    for one in fields:
        about = answer.about(one.head) if one.head else None
        if about:
            found.setdefault(one.entry.profile, f"{about.candidate} against {about.baseline}")
    return list(found.items())


def across(profile: str, fields: Sequence[Field], prices: Mapping[str, Place | None]) -> Across | None:
    """A profile's question over all testbeds whose complete runs have a verdict on one of its sizes, or loads: the one
    that most of them have.

    None where fewer than two have one. ``prices``: what a crossing and the cipher cost, by the record's name.
    """
    mine = [one for one in fields if one.entry.profile == profile and one.complete and one.main]
    heads = {one.entry.testbed: one.head for one in mine if one.head}
    found = {bed: about for bed, head in heads.items() if (about := answer.about(head))}
    places = Counter(
        (about.paths, _where(place))
        for about in found.values()
        for place in about.places
        if place.time and place.time.ratio
    )
    if not places:
        return None
    chosen = max(places, key=lambda place: (places[place], place[1][1:]))
    points = [
        _point(bed, heads[bed], place.time, prices.get(heads[bed].run_id))
        for bed, about in found.items()
        for place in about.places
        if (about.paths, _where(place)) == chosen and place.time and place.time.ratio
    ]
    if len(points) < 2:
        return None
    points.sort(key=lambda point: (point.crossing is None, point.crossing or 0.0, point.processor or "", point.testbed))
    bed, some = next((bed, about) for bed, about in found.items() if about.paths == chosen[0])
    return Across(
        profile,
        some.candidate,
        some.baseline,
        _named(*chosen[1]),
        tuple(points),
        (_counted(some.candidate, some.baseline, points), *going(points)),
        answer.papers(heads[bed], some),
    )


def _where(place: Where) -> tuple[str, int, int, int]:
    """What tells a comparison of a run from all its others; 0 for a number that only load has."""
    return place.suite, place.size, place.connections or 0, place.workers or 0


def _named(suite: str, size: int, connections: int, workers: int) -> str:
    """The same in words."""
    load = [words.count(connections, "connection")] if connections else []
    served = [words.count(workers, "worker")] if workers else []
    return ", ".join([words.size(size), *load, *served, f"suite {suite}"])


def _point(testbed: str, head: Head, verdict: Verdict, here: Place | None) -> Point:
    sender: dict[str, Any] = head.hosts.get("sender", {})
    return Point(
        testbed=testbed,
        run_id=head.run_id,
        verdict=verdict,
        crossing=here.crossing if here else None,
        cipher=here.cipher if here else None,
        processor=head.testbed.machine.get("processor") or sender.get("processor"),
        kernel=sender.get("kernel"),
        label=words.label(head.testbed),
    )


def _counted(candidate: str, baseline: str, points: Sequence[Point]) -> str:
    """Which testbeds show the gain."""
    by_word: dict[str, list[str]] = {}
    for point in points:
        by_word.setdefault(point.verdict.verdict, []).append(point.testbed)
    parts = [
        f"{rules.TIME[word]} on {rules.listed(sorted(beds)) if len(beds) <= 4 else words.count(len(beds), 'testbed')}"
        for word in rules.ORDER
        if (beds := by_word.get(word))
    ]
    return f"{candidate[0].upper()}{candidate[1:]} against {baseline}: {', '.join(parts)}."


def going(points: Sequence[Point]) -> list[str]:
    """Which facts of the testbeds go with their ratios: by the order of numbers, by groups of words; by permutation,
    corrected by Holm's method for the number of facts."""
    if len(points) < FEWEST:
        return [
            f"{words.count(len(points), 'testbed')} cannot show which fact goes with the gain: {FEWEST} are needed, "
            "and more tell it better."
        ]
    tested = sorted(_tested(points), key=lambda one: one[2])
    if not tested:
        return ["The testbeds do not differ in any fact that their records tell."]
    said, largest = [], 0.0
    for done, (name, how, p) in enumerate(tested):
        largest = max(largest, min(1.0, p * (len(tested) - done)))
        if largest <= LEVEL:
            said.append(f"The gain goes with {name} ({how}, p = {largest:.2g}).")
    if said:
        return [
            *said,
            "That it goes with a fact does not say that the fact is why: testbeds differ in several at once.",
        ]
    looked = rules.listed([name for name, _, _ in tested])
    return [f"No fact goes with the gain so clearly that chance is ruled out; what was looked at: {looked}."]


def _tested(points: Sequence[Point]) -> list[tuple[str, str, float]]:
    """Facts with how they go with the ratios and the p value of each alone."""
    logs = np.array([math.log(point.verdict.ratio or 1.0) for point in points])
    found = []
    for name, values in (
        ("the price of a crossing", [point.crossing for point in points]),
        ("the price of the cipher", [point.cipher for point in points]),
    ):
        known = [n for n, value in enumerate(values) if value is not None]
        numbers = np.array([values[n] for n in known], dtype=np.float64)
        if len(known) >= FEWEST and len(set(numbers.tolist())) > 1:
            tau = _tau(numbers, logs[known])
            p = _chance(lambda shuffled, x=numbers: abs(_tau(x, shuffled)), logs[known])
            found.append((name, f"the {'higher' if tau > 0 else 'lower'}, the larger: Kendall's τ {tau:+.2f}", p))
    for name, told in (
        ("the processor", [point.processor for point in points]),
        ("the kernel", [point.kernel for point in points]),
    ):
        groups = np.array([told.index(value) for value in told])
        if 1 < len(set(told)) < len(told) and None not in told:
            share = _between(groups, logs) / max(1e-30, float(np.square(logs - logs.mean()).sum()))
            p = _chance(lambda shuffled, g=groups: _between(g, shuffled), logs)
            found.append((name, f"it tells {words.percent(share)} of the variance", p))
    return found


Numbers = npt.NDArray[np.float64]


def _tau(x: Numbers, y: Numbers) -> float:
    """Kendall's τ (1938): concordant pairs less discordant ones, over all pairs."""
    first, second = np.triu_indices(len(x), 1)
    return float((np.sign(x[first] - x[second]) * np.sign(y[first] - y[second])).mean())


def _between(groups: npt.NDArray[np.int_], y: Numbers) -> float:
    """The sum of squares between groups."""
    return float(sum((groups == g).sum() * (y[groups == g].mean() - y.mean()) ** 2 for g in np.unique(groups)))


def _chance(statistic: Any, y: Numbers) -> float:
    """The share of orders of ``y`` whose statistic is at least that of the order it has."""
    rng, here = np.random.default_rng(2005), statistic(y)
    more = sum(statistic(rng.permutation(y)) >= here - 1e-12 for _ in range(SHUFFLES))
    return float(more + 1) / (SHUFFLES + 1)


def failures(fields: Sequence[Field]) -> list[tuple[str, str, str, str]]:
    """What failed: testbed, profile, what became of it, and why. Cells of complete runs too, those of one reason
    together; what a host cannot do is no failure."""
    rows = []
    for one in fields:
        entry = one.entry
        if not one.complete and not entry.open:
            times = len([attempt for attempt in entry.attempts if attempt.run_id])
            more = f" ({words.count(times, 'attempt')})" if times > 1 else ""
            rows.append((entry.testbed, entry.profile, f"{entry.outcome}{more}", entry.reason or "no reason is known"))
            continue
        bad = Counter((c.outcome, c.reason or "no reason was recorded") for c in (one.head.cells if one.head else ())
                      if c.outcome in ("failed", "invalid"))  # fmt: skip
        rows += [
            (entry.testbed, entry.profile, f"{words.count(count, 'cell')} {outcome}", reason)
            for (outcome, reason), count in bad.items()
        ]
        if again := [attempt for attempt in entry.attempts[:-1] if attempt.reason]:
            rows.append((entry.testbed, entry.profile, "complete after another attempt", str(again[-1].reason)))
    return rows
