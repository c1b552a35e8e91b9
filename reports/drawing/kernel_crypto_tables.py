"""Kernel cryptography in tables: what a call and a byte cost, and at which size one driver overtakes another."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.verdicts import linefit
from harness.verdicts.linefit import DESCRIBES, Estimate
from reports import words
from reports.drawing.tables import Table, Value, number, span, text
from reports.findings import kernel_crypto
from reports.findings.kernel_crypto import Curve, KernelCrypto, Meters, amount

MODEL = (
    "The line t = a + b n through the times of one operation on n bytes: a is what every call costs, b what every byte "
    "adds, 8 / b what large buffers approach. Fitted to relative errors in each block; means over blocks with their "
    "95 % intervals.",
    f"The residual is the line's largest relative distance from a mean time. Over {words.percent(DESCRIBES)} the line "
    "does not describe the driver: do not use its costs.",
)
SHOWN = (
    "The runs were made one after another: costs are shown, never judged. ⚠ stands where no line describes a driver: "
    "do not use its costs."
)
CROSSING = (
    "Where two lines cost the same. “Measured” are the neighbouring sizes between which the cheaper of the two "
    "changed in the measured means, without any line; where both are given they should agree.",
)
COSTS = ("Cipher", "Driver", "Per call (µs)", "Per byte (ns)", "Large buffers (Mbit/s)", "Residual", "Sizes",
         "Operation", "Driver found", "Per call low", "Per call high", "Per byte low", "Per byte high",
         "Large buffers low", "Large buffers high", "Interface")  # fmt: skip
METERS = (
    "What an interface adds to a request is the difference of the lines' costs of a call, block by block; how many "
    "times as much a byte costs is the ratio of their costs of a byte. Means with their 95 % intervals.",
    f"They agree about a byte where the whole interval lies within {words.percent(kernel_crypto.AGREE)} of 1. A byte "
    "by /dev/crypto is copied in and out; by AF_ALG it is copied in, and the cipher writes into the user's pages: a "
    "cipher that costs little more than a copy need not agree.",
)
BESIDE = ("Cipher", "Driver", "Against", "More a call (µs)", "Times a byte", "About a byte", "Operation",
          "Interface", "Other interface", "More a call low", "More a call high", "Times a byte low",
          "Times a byte high")  # fmt: skip
CROSSINGS = ("Cipher", "Driver", "Against", "Same cost at (B)", "Cheaper below", "Cheaper above", "Measured",
             "Operation", "Low (B)", "High (B)")  # fmt: skip


def tables(found: KernelCrypto) -> list[Table]:
    """The tables that there is something to say in."""
    made = []
    rows = [row for curve in found.curves if (row := _costs(curve))]
    if rows:
        at = next((n + 1 for n, row in reversed(list(enumerate(rows))) if row[0].raw == "null"), None)
        if at is not None:
            rows.insert(at, _paper())
        made.append(
            Table(f"{found.key}-costs", "What a call and a byte cost", COSTS, rows, MODEL, frozenset(range(7, 16)))
        )
    met = [_meters(one) for one in kernel_crypto.meters(found)]
    if met:
        title = "What an interface adds to a request"
        made.append(Table(f"{found.key}-interfaces", title, BESIDE, met, METERS, frozenset(range(6, 13))))
    crossed = [_crossing(one, other) for one, other in kernel_crypto.pairs(found)]
    if crossed:
        title = "Where one driver overtakes another"
        made.append(Table(f"{found.key}-crossovers", title, CROSSINGS, crossed, CROSSING, frozenset((7, 8, 9))))
    return made


def side_by_side(labels: Sequence[str], found: Sequence[Sequence[KernelCrypto]]) -> Table | None:
    """What a call and a byte cost on each of several kernels, ``found`` in the order of their labels; None without."""
    columns = [f"{what} on {label}" for what in ("Per call (µs)", "Per byte (ns)") for label in labels]
    models: dict[tuple[str, str, str], dict[str, linefit.Model]] = {}
    for label, crypto in zip(labels, found, strict=True):
        for curve in (curve for one in crypto for curve in one.curves):
            if curve.model:
                models.setdefault((curve.cipher, curve.name, curve.operation), {})[label] = curve.model
    rows = [
        [
            Value(words.cipher_title(cipher), cipher, operation),
            text(name),
            *(_of(by_kernel.get(label), lambda model: model.call_seconds, 1e6) for label in labels),
            *(_of(by_kernel.get(label), lambda model: model.byte_seconds, 1e9) for label in labels),
            text(operation),
        ]
        for (cipher, name, operation), by_kernel in models.items()
    ]
    names = ("Cipher", "Driver", *columns, "Operation")
    if not rows:
        return None
    title = "What a call and a byte cost on each kernel"
    return Table("raw-kernels", title, names, rows, (MODEL[0], SHOWN), frozenset({len(names) - 1}))


def _of(model: linefit.Model | None, cost: Callable[[linefit.Model], Estimate], factor: float) -> Value:
    """One kernel's field; marked where no line describes the driver there."""
    if model is None:
        return Value("not measured", None)
    found = _with_span(cost(model), factor)
    return found._replace(text=f"⚠ {found.text}") if model.describes is False else found


def _costs(curve: Curve) -> list[Value] | None:
    model = curve.model
    if model is None:
        return None
    mega, rate = 1e-6, model.bits_per_second
    doubt = "" if model.describes is not False else "the line does not describe it"
    found = curve.found if curve.found != curve.driver else ""
    return [
        Value(words.cipher_title(curve.cipher), curve.cipher, curve.operation),
        Value(curve.name, curve.name, found),
        _with_span(model.call_seconds, 1e6),
        _with_span(model.byte_seconds, 1e9),
        _with_span(rate, mega) if rate else Value("no limit seen", None),
        Value("–", None, "two sizes: any line fits")
        if model.residual is None
        else Value(f"{'⚠ ' if doubt else ''}{words.percent(model.residual)}", model.residual, doubt),
        number(model.sizes, 3),
        text(curve.operation),
        text(curve.found),
        *_limits(model.call_seconds, 1e6),
        *_limits(model.byte_seconds, 1e9),
        *(_limits(rate, mega) if rate else (number(None), number(None))),
        text(curve.interface or ""),
    ]


def _meters(one: Meters) -> list[Value]:
    first, ratio = one.first, one.beside.byte_ratio
    said = {True: "agree", False: "differ", None: "not known well enough"}[one.agree]
    return [
        Value(words.cipher_title(first.cipher), first.cipher, first.operation),
        Value(one.second.name, one.second.name, one.second.found if one.second.found != one.second.driver else ""),
        text(first.name),
        _with_span(one.beside.call_seconds, 1e6),
        _with_span(ratio, 1) if ratio else Value("not known", None),
        text(said),
        text(first.operation),
        text(one.second.interface or ""),
        text(first.interface or ""),
        *_limits(one.beside.call_seconds, 1e6),
        *(_limits(ratio, 1) if ratio else (number(None), number(None))),
    ]


def _paper() -> list[Value]:
    """The line through the paper's own points for its null cipher."""
    line = kernel_crypto.paper_line()
    return [
        Value("Null cipher", "null"),
        Value("paper 2005", "paper 2005", "OpenBSD, /dev/crypto"),
        number(line.call_seconds * 1e6, 2),
        number(line.byte_seconds * 1e9, 3),
        number(8 / line.byte_seconds / 1e6, 3),
        Value("–", None, "computed from two points"),
        number(len(kernel_crypto.PAPER)),
        *[number(None)] * 8,
        text("/dev/crypto"),
    ]


def _with_span(estimate: Estimate, factor: float) -> Value:
    low, high = (None if v is None else v * factor for v in (estimate.low, estimate.high))
    return number(estimate.mean * factor, 3, span(low, high))


def _limits(estimate: Estimate, factor: float) -> tuple[Value, Value]:
    low, high = (number(None if v is None else v * factor) for v in (estimate.low, estimate.high))
    return low, high


def _crossing(one: Curve, other: Curve) -> list[Value]:
    found = linefit.crossover(one.lines, other.lines)
    doubt = [curve for curve in (one, other) if curve.model and curve.model.describes is False]
    turned = "; ".join(f"{words.size(a)} to {words.size(b)}" for a, b in kernel_crypto.turns(one, other))
    start = [
        Value(words.cipher_title(one.cipher), one.cipher, one.operation),
        *(Value(c.name, c.name, c.found if c.found != c.driver else "") for c in (one, other)),
    ]
    told = [text(turned or "no change"), text(one.operation)]
    if found is None:
        cheaper = text(min((one, other), key=_cost_of_most).name)
        never = Value("never", None, _unsure(doubt))
        return [*start, never, cheaper, cheaper, *told, number(None), number(None)]
    below, above = (text(c.name) for c in ((one, other) if found.first_below else (other, one)))
    sizes = [point.buffer for curve in (one, other) for point in curve.single]
    outside = "" if min(sizes) <= found.size <= max(sizes) else "beyond what was measured"
    limits = f"{amount(found.low)} to {amount(found.high)}" if found.low and found.high else ""
    at = Value(amount(found.size), round(found.size), "; ".join(filter(None, (limits, outside, _unsure(doubt)))))
    return [*start, at, below, above, *told, number(found.low, 4), number(found.high, 4)]


def _unsure(doubt: list[Curve]) -> str:
    return f"⚠ no line describes {' or '.join(curve.name for curve in doubt)}" if doubt else ""


def _cost_of_most(curve: Curve) -> float:
    return curve.model.call_seconds.mean + curve.model.byte_seconds.mean * 65536 if curve.model else 0.0
