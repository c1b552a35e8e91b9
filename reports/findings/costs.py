"""What steps were measured to cost the sender, and how the ratios predicted from it fit the measured ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.costs import prediction
from harness.record import SuiteEntry, Verdict
from reports import older, words

CALL, BYTE = "_call_ns", "_byte_ns"
NOTHING = ("syscall_byte_ns",)  # there is no byte in the cheapest call
UNKNOWN = "not measured"


@dataclass(frozen=True)
class Price:
    """What a step costs in each of several places, for every call or every byte, in words."""

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
    return [_price(name, steps, [suite.prices.get(name) for suite in suites]) for name in names if name not in NOTHING]


def _price(name: str, steps: Mapping[str, str], values: Sequence[float | None]) -> Price:
    step = next((name.removesuffix(end) for end in (CALL, BYTE) if name.endswith(end)), name)
    call = name.endswith(CALL)
    shown = tuple(UNKNOWN if value is None else words.number(value / 1e3 if call else value, 3) for value in values)
    unit = "µs per call" if call else "ns per byte" if name.endswith(BYTE) else "ns"
    return Price(step, steps.get(step, step), unit, shown)


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
