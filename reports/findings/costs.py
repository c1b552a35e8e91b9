"""What steps were measured to cost the sender, and how the ratios predicted from it fit the measured ones."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.costs import prediction
from harness.record import SuiteEntry, Verdict
from harness.verdicts import linefit
from reports import older, words

CALL, BYTE = "_call_ns", "_byte_ns"
NOTHING = ("syscall_byte_ns",)  # there is no byte in the cheapest call
UNKNOWN = "not measured"


@dataclass(frozen=True)
class Price:
    """What a step costs in each of several places, for every call or every byte, in words.

    A cost that came out below zero says so, with its 95 % interval over the run's rounds where there are enough.
    """

    step: str
    name: str
    unit: str
    values: tuple[str, ...]


def prices(suites: Sequence[SuiteEntry]) -> list[Price]:
    """Every price that any of the suites has, those with words first. Missing is said, never zero."""
    steps = {step: said for suite in suites if suite.prices for step, said in (suite.steps or older.STEPS).items()}
    ordered = [step + end for step in steps for end in (CALL, BYTE)]
    recorded = list(dict.fromkeys(name for suite in suites for name in suite.prices))
    names = [name for name in ordered if name in recorded] + [name for name in recorded if name not in ordered]
    return [_price(name, steps, suites) for name in names if name not in NOTHING]


def _price(name: str, steps: Mapping[str, str], suites: Sequence[SuiteEntry]) -> Price:
    step = next((name.removesuffix(end) for end in (CALL, BYTE) if name.endswith(end)), name)
    call = name.endswith(CALL)
    shown = tuple(_shown(suite, name, 1e3 if call else 1.0) for suite in suites)
    unit = "µs per call" if call else "ns per byte" if name.endswith(BYTE) else "ns"
    return Price(step, steps.get(step, step), unit, shown)


def _shown(suite: SuiteEntry, name: str, unit: float) -> str:
    value = suite.prices.get(name)
    if value is None:
        return UNKNOWN
    if value >= 0:
        return words.number(value / unit, 3)
    rounds = {(number, 0): one[name] / unit for number, one in enumerate(suite.prices_by_round) if name in one}
    found = linefit.estimate(rounds or {(0, 0): value / unit}, floor=-math.inf)
    if found.high is None:
        return f"below zero, in too few rounds to tell noise: {words.number(value / unit, 3)}"
    what = "within noise of zero" if found.high >= 0 else "below zero"
    return f"{what}: {words.number(found.mean, 3)} ± {words.number(found.high - found.mean, 2)}"


def agrees(verdict: Verdict) -> bool | None:
    """Whether a verdict's prediction fits what was measured; None where either is missing."""
    return prediction.agrees(verdict)


def fits(verdict: Verdict) -> str:
    """``agrees`` or ``does not agree``; empty where that cannot be said."""
    fit = agrees(verdict)
    return "" if fit is None else "agrees" if fit else "does not agree"


def _meaning(predicted: Sequence[Verdict]) -> str:
    if any(verdict.ceiling_low for verdict in predicted):
        return "its interval, from one measurement of all prices to the next, meets the measured one."
    return "it lies within the measured interval widened by the margin."


def reading(verdicts: Iterable[Verdict]) -> list[str]:
    """What to make of the predictions among verdicts: nothing where there are none."""
    rows = [(verdict, agrees(verdict)) for verdict in verdicts]
    predicted = [verdict for verdict, fit in rows if fit is not None]
    if not predicted:
        return []
    sentences = [
        "“Predicted” is the ratio that the measured prices of calls, copies and the cipher allow (the record's "
        "ceiling); it agrees if " + _meaning(predicted)
    ]
    wrong = [verdict for verdict, fit in rows if fit is False]
    if wrong:
        below = sum(1 for v in wrong if v.ceiling and v.ratio and v.ratio < v.ceiling)
        sides = " and ".join(f"{n} {side}" for n, side in ((below, "below"), (len(wrong) - below, "above")) if n)
        sentences.append(
            f"Predicted and measured disagree in {len(wrong)} of {words.count(len(predicted), 'comparison')} ({sides} "
            "the prediction): there, what calls, copies and the cipher cost does not by itself explain what was "
            "measured."
        )
    return sentences
