"""The last lines of a run, at most LINES: the answer and its intervals, beside what was to be expected and why; what
could not be told; where record and report are."""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from harness.cli import summary
from harness.costs import prediction
from harness.record import Head, Metric, Verdict
from harness.samples import Sample
from harness.verdicts import answer, reasons
from harness.verdicts.answer import Answer, Place

LINES = 10
COLUMNS = 100
DETAILS = "-v lists them"
PAPER = (
    "The paper found about 27 % on a crypto card: x1.27 (x1.37 if 27 % less time).",
    "The paper: about 27 % (x1.27 or x1.37).",
    "The paper: x1.27 or x1.37.",
)
REASON, SHORT = 60, 35
"""Characters of a reason, where there is room and where there is little."""


@dataclass(frozen=True)
class Part:
    """A part of the last lines: ways to say it, the fullest first."""

    ways: tuple[str, ...]

    def lines(self, way: int) -> list[str]:
        """In lines of at most COLUMNS; beyond its last way, that in a single line."""
        if way < len(self.ways):
            return [line for text in self.ways[way].splitlines() for line in _wrapped(text)]
        return _wrapped(self.ways[-1], max_lines=1, placeholder=" …")


def _wrapped(text: str, **options: Any) -> list[str]:
    """In lines of at most COLUMNS, with numbers and their units together."""
    together = re.sub(r"(\d) (%|[kMG]?B\b|KiB\b|µs\b)", "\\1\N{NO-BREAK SPACE}\\2", text)
    wrapped = textwrap.wrap(together, COLUMNS, break_on_hyphens=False, **options)
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in wrapped]


def lines(head: Head, samples: Sequence[Sample], where: Sequence[str]) -> list[str]:
    """At most LINES lines of at most COLUMNS columns. ``where`` names files: as many of them, never wrapped or cut."""
    found = answer.about(head)
    parts = [Part((answer.sentence(head),))]
    if found and found.compared:
        parts += [_rows(found), _expected(head, found), _why(head, found, samples)]
    parts += [_not_measured(head), _link(head), _caveat(head)]
    return [*fitted([part for part in parts if part.ways], LINES - len(where)), *where]


def fitted(parts: Sequence[Part], room: int) -> list[str]:
    """All parts in at most ``room`` lines, which is one for each at least.

    The later a part, the sooner a shorter way is taken. Where no part has one left they are cut, the latest first.
    """
    ways = [0] * len(parts)

    def said() -> list[list[str]]:
        return [part.lines(way) for part, way in zip(parts, ways, strict=True)]

    while sum(map(len, said())) > room:
        long = [n for n, each in enumerate(said()) if len(each) > 1]
        shorter = [n for n in long if ways[n] + 1 < len(parts[n].ways)]
        ways[max(shorter or long)] += 1
    return [line for each in said() for line in each]


def _rows(found: Answer) -> Part:
    """The intervals of each suite: a line of times, and one of the CPU of the host that is compared."""
    cpu = f"{found.host} CPU"
    named: dict[Metric, str] = dict(zip(answer.METRICS, ("time", cpu), strict=True))
    suites = list(dict.fromkeys(place.suite for place in found.places))
    several = len(suites) > 1

    def rows(interval: Callable[[Verdict], str]) -> list[str]:
        each = [
            (suite, metric, [place for place in found.places if place.suite == suite and place.verdict(metric)])
            for suite in suites
            for metric in named
        ]
        return [
            (f"{named[metric].removeprefix('sender ')}, {suite}: " if several else f"{named[metric]:<{len(cpu)}} ")
            + _intervals(mine, metric, interval)
            for suite, metric, mine in each
            if mine
        ]

    full, short = rows(summary.interval), rows(_short)
    return Part(("\n".join(full), "\n".join(short), *(["\n".join(short[:2]) + " …"] if short[2:] else [])))


def _intervals(places: Sequence[Place], metric: Metric, written: Callable[[Verdict], str]) -> str:
    """Each place with its interval; numbers of connections that alone differ stand before all of theirs."""
    numbers = [str(place.connections) for place in places if place.connections and not place.workers]
    told = [_interval(place.verdict(metric), written) for place in places]
    if len(numbers) == len(places) > 1 and len({place.size for place in places}) == 1:
        return f"{'/'.join(numbers)} connections {', '.join(told)}"
    return ", ".join(f"{answer.spots([place])} {text}" for place, text in zip(places, told, strict=True))


def _interval(verdict: Verdict | None, written: Callable[[Verdict], str]) -> str:
    if verdict is None or verdict.ratio is None:
        return "not measured"
    return f"{written(verdict)}{'?' if verdict.verdict == 'cannot_tell' else ''}"


def _short(verdict: Verdict) -> str:
    """A ratio and its interval in few digits."""
    ratio = answer.ratio(verdict.ratio) if verdict.ratio else "-"
    if not (verdict.ci_low and verdict.ci_high):
        return f"{ratio} {summary.NO_INTERVAL}"
    return f"{ratio} [{answer.ratio(verdict.ci_low)[1:]}, {answer.ratio(verdict.ci_high)[1:]}]"


def _expected(head: Head, found: Answer) -> Part:
    """What would have been found where it is undecided, what prices predict of the time, and what the paper found."""
    times = [(place.size, place.time) for place in found.places if place.time and place.time.ceiling]
    predicted, but = "", ""
    if times:
        low = min(verdict.ceiling_low or verdict.ceiling or 0.0 for _, verdict in times)
        high = max(verdict.ceiling_high or verdict.ceiling or 0.0 for _, verdict in times)
        span = dict.fromkeys(answer.ratio(value) for value in (low, high))
        predicted = f"Predicted: {' to '.join(span)}"
        wrong = [size for size, verdict in times if not _agrees(verdict)]
        but = f", outside the interval at {answer.sizes(wrong)}" if wrong else ""
    papers = PAPER if answer.of_the_paper(head, [place.suite for place in found.places], found.paths) else ("", "", "")
    undecided = _undecided(found)
    ways = [
        (undecided[0], predicted + but, papers[0]),
        (undecided[1], predicted + but, papers[1]),
        (undecided[1], predicted, papers[2]),
    ]
    told = [" ".join(f"{part.removesuffix('.')}." for part in way if part) for way in ways]
    return Part(tuple(dict.fromkeys(text for text in told if text)))


def _undecided(found: Answer) -> tuple[str, str]:
    """What would have been found where a verdict cannot tell, in two lengths; empty where all can."""
    verdicts = [place.verdict(metric) for place in found.places for metric in answer.METRICS]
    rows = [verdict for verdict in verdicts if verdict and verdict.ratio and verdict.verdict == "cannot_tell"]
    known = [verdict.detectable * 100 for verdict in rows if verdict.detectable]
    if not rows:
        return "", ""
    if not known:
        return "? is undecided", "? undecided"
    span = " to ".join(
        dict.fromkeys(f"{value:.2g}" if value < 99.5 else f"{value:.0f}" for value in (min(known), max(known)))
    )
    return f"? is undecided: {span} % would likely have been found", f"? undecided: {span} % would be found"


def _agrees(verdict: Verdict) -> bool:
    """Whether its prediction fits; True where there is nothing to compare."""
    return prediction.agrees(verdict) is not False


def _why(head: Head, found: Answer, samples: Sequence[Sample]) -> Part:
    """What a crossing costs, how many are saved, the cipher's share of the judged host's time, and what limits."""
    why = reasons.reasons(head, found, samples)
    if why is None or not why.each:
        return Part(())
    word = f"Why, {why.suite}" if why.some else "Why"
    return Part((f"{word}: {why.told()}.", f"{word}: {why.told(short=True)}."))


def _not_measured(head: Head) -> Part:
    """Cells without a number, counted, with the main reasons; and those whose proof lacks something."""
    cells = [cell for cell in head.cells if cell.outcome != "measured"]
    unproven = sum(cell.outcome == "measured" and bool(cell.unproven) for cell in head.cells)
    counts = Counter(cell.outcome for cell in cells)
    reasons = Counter((cell.reason or "no reason was recorded").partition(": ")[0] for cell in cells).most_common()

    def told(shown: int, longest: int = REASON, of: str = f" of {len(head.cells)} cells", more: str = DETAILS) -> str:
        whys = [f"{n}: {textwrap.shorten(reason, longest, placeholder=' …')}" for reason, n in reasons[:shown]]
        why = "; ".join([*whys, "…"] if 0 < shown < len(reasons) else whys)
        count = ", ".join(f"{n} {outcome}" for outcome, n in counts.items())
        missing = f"{count}{of}{f' ({why})' if why else ''}" if cells else ""
        lacking = f"{unproven} not wholly proven" if unproven else ""
        return f"Not measured: {', '.join(part for part in (missing, lacking) if part)}; {more}."

    if not (cells or unproven):
        return Part(())
    return Part((*(told(shown) for shown in (3, 2, 1) if shown <= len(reasons)), told(1, SHORT, "", "-v"), told(0)))


def _link(head: Head) -> Part:
    """A rate that the profile asks for and the testbed does not let the harness put on its link."""
    asked = {suite["name"]: suite.get("link_rate") for suite in head.profile.content.get("suites", ())}
    left = {asked.get(suite.name) for suite in head.suites if suite.link_rate_bits_per_second is None}
    if not any(left):
        return Part(())
    rates = answer.listed([f"{rate / 1e6:g} Mbit/s" for rate in sorted(filter(None, left))])
    said = f"The link was measured as it is, not at {rates}"
    return Part((f"{said}: the testbed does not say shape = true.", f"{said}."))


def _caveat(head: Head) -> Part:
    """What a reader of a lab's figures must know; in short, its last clause: what follows from it."""
    caveat = head.testbed.caveat
    if not caveat:
        return Part(())
    follows = caveat.rpartition("; ")[2].removeprefix("so ")
    label = f"{head.testbed.label.capitalize()}: " if head.testbed.label else ""
    return Part(tuple(dict.fromkeys((caveat, follows if follows == caveat else f"{label}{follows}"))))
