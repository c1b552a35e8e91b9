"""Pure: why a run's answer is what it is: price of a crossing, how many are saved, the cipher's share, what limits.

The terminal and the report say the same: both take it from here.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from harness.profile import RECEIVING
from harness.record import Crossing, Head, SuiteEntry
from harness.samples import Sample, counted, cpu_seconds_per_gb
from harness.verdicts import answer
from harness.verdicts.answer import Answer, Place
from hosts.roles import Role


@dataclass(frozen=True)
class Reason:
    """One, as the part of a sentence, and in few words."""

    full: str
    short: str


@dataclass(frozen=True)
class Reasons:
    """All of them, of the suite that the first comparison is of."""

    suite: str
    some: bool
    """Whether the answer is about other suites too."""
    each: tuple[Reason, ...]

    def told(self, short: bool = False) -> str:
        """All in a row; empty where there are none."""
        return ", ".join(one.short for one in self.each) if short else "; ".join(one.full for one in self.each)


def judged(suite: SuiteEntry) -> Role:
    """The host that a suite is about."""
    return "receiver" if suite.question in RECEIVING else "sender"


def reasons(head: Head, found: Answer, samples: Sequence[Sample]) -> Reasons | None:
    """Those of an answer that compared something; None where the record has nothing of its suite."""
    first = next(place.suite for place in found.places if place.time or place.cpu)
    mine = [place for place in found.places if place.suite == first]
    suite = next((suite for suite in head.suites if suite.name == first), None)
    if suite is None:
        return None
    each = []
    role = judged(suite)
    call = suite.prices.get("syscall_call_ns") if role == "sender" else None  # it is measured there
    if call:
        each.append(Reason(f"a system call costs {call / 1e3:.1f} µs here", f"{call / 1e3:.1f} µs a call"))
    if saved := crossings_saved(suite.crossings, found.paths):
        crossings, calls = saved
        full = f"{found.paths[0]} saves {crossings:.3g} crossings of each byte and {calls:.0f} calls a MB"
        each.append(Reason(full, f"{crossings:.3g} crossings a byte saved"))
    share = _cipher_share(head, suite, mine[-1], samples, role)
    if share is not None:
        whole = 0 <= share <= 1  # else the machine's speed differed between the two
        takes, by = ("takes", "") if whole else ("alone, by its price, would take", " by its price")
        full = f"the cipher {takes} {share * 100:.0f} % of the {role}'s CPU"
        each.append(Reason(full, f"the cipher{by} {share * 100:.0f} % of the CPU"))
    limits: dict[str, list[Place]] = {}
    for place in mine:
        if place.time and place.time.bottleneck:
            limits.setdefault(place.time.bottleneck, []).append(place)
    if limits:
        limited = [f"the {what}{'' if at == mine else f' at {answer.spots(at)}'}" for what, at in limits.items()]
        each.append(Reason(f"limited by {answer.listed(limited)}", f"limit: {answer.listed(list(limits))}"))
    return Reasons(first, len(mine) < len(found.places), tuple(each))


def crossings_saved(crossings: Sequence[Crossing], paths: tuple[str, str]) -> tuple[float, float] | None:
    """What the first path saves against the second, each with its usual buffer: crossings for each byte, calls a MB.

    None where one of the two was not counted, or not wholly, or both not in the same way.
    """
    usual: dict[str, Crossing] = {}
    for crossing in crossings:
        usual.setdefault(crossing.path, crossing)  # the usual buffer's comes first
    mine, theirs = (usual.get(path) for path in paths)
    if mine is None or theirs is None or mine.uncounted or theirs.uncounted or mine.source != theirs.source:
        return None
    each = theirs.crossing_bytes / theirs.size_bytes - mine.crossing_bytes / mine.size_bytes
    calls = [sum(one.calls.values()) / one.size_bytes * 1e6 for one in (theirs, mine)]
    return (each, calls[0] - calls[1]) if each > 0.01 else None


def _cipher_share(head: Head, suite: SuiteEntry, place: Place, samples: Sequence[Sample], role: Role) -> float | None:
    """How much of the candidate's CPU on a host is the cipher's, by its price; None where that is not known."""
    verdict = place.time or place.cpu
    cell = next((cell for cell in head.cells if verdict and cell.id == verdict.candidate), None)
    if cell is None or cell.path not in suite.taken or cell.driver != "any":
        return None
    steps = suite.taken[cell.path]
    there = steps.sender if role == "sender" else steps.receiver
    own = [step.price for step in there if step.price in suite.ciphering]
    prices = [suite.prices.get(f"{name}_byte_ns") for name in own]
    mine = counted(samples, head.measured).get(cell.id, {}).values()
    each = [cpu_seconds_per_gb(sample, role) for sample in mine]
    spent = [seconds for seconds in each if seconds]
    known = [price for price in prices if price is not None]
    if not known or len(known) < len(prices) or not spent or len(spent) < len(each):
        return None
    return sum(known) / statistics.median(spent)
