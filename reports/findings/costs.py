"""What steps were measured to cost the sender, and how the ratios predicted from it fit the measured ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness import ceiling
from harness.record import Verdict
from reports import words

STEPS = {
    "syscall": "the cheapest system call",
    "read": "read from the page cache",
    "alg_send": "send to AF_ALG",
    "alg_sendfile": "sendfile to AF_ALG",
    "cipher": "recv from AF_ALG: the cipher",
    "tcp_copy": "send to TCP, beyond sendfile",
    "kernel_cipher": "the cipher, called within the kernel",
    "openssl": "a TLS record by OpenSSL",
    "openssl_qat": "a TLS record by OpenSSL's QAT engine",
    "gnutls": "a TLS record by GnuTLS",
    "receiver_gnutls": "a TLS record by the receiver's GnuTLS",
    "esp": "a packet by ESP: cipher and integrity",
    "receiver_esp": "a packet by the receiver's ESP",
}
CALL, BYTE = "_call_ns", "_byte_ns"
NOTHING = ("syscall_byte_ns",)  # there is no byte in the cheapest call
UNKNOWN = "not measured"


@dataclass(frozen=True)
class Price:
    """What a step costs in each of several places, for every call or every byte, in words."""

    name: str
    unit: str
    values: tuple[str, ...]


def prices(places: Sequence[Mapping[str, float]]) -> list[Price]:
    """Every price that any of the places has, the known ones first. Missing is said, never zero."""
    known = [step + end for step in STEPS for end in (CALL, BYTE)]
    told = list(dict.fromkeys(name for place in places for name in place))
    names = [name for name in known if name in told] + [name for name in told if name not in known]
    return [_price(name, [place.get(name) for place in places]) for name in names if name not in NOTHING]


def _price(name: str, values: Sequence[float | None]) -> Price:
    step = next((name.removesuffix(end) for end in (CALL, BYTE) if name.endswith(end)), name)
    call = name.endswith(CALL)
    shown = tuple(UNKNOWN if value is None else words.number(value / 1e3 if call else value, 3) for value in values)
    return Price(
        STEPS.get(step, step), "µs per call" if call else "ns per byte" if name.endswith(BYTE) else "ns", shown
    )


def agrees(verdict: Verdict) -> bool | None:
    """Whether a verdict's prediction fits what was measured; None where either is missing."""
    if not (verdict.ceiling and verdict.ci_low and verdict.ci_high):
        return None
    return ceiling.agrees(verdict.ceiling, verdict.ci_low, verdict.ci_high, verdict.margin)


def fits(verdict: Verdict) -> str:
    """``agrees`` or ``does not agree``; empty where that cannot be said."""
    known = agrees(verdict)
    return "" if known is None else "agrees" if known else "does not agree"


def reading(verdicts: Iterable[Verdict]) -> list[str]:
    """What to make of the predictions among verdicts: nothing where there are none."""
    judged = [(verdict, agrees(verdict)) for verdict in verdicts]
    known = [verdict for verdict, fit in judged if fit is not None]
    if not known:
        return []
    said = [
        "“Predicted” is the ratio that the measured prices of calls, copies and the cipher allow (the record's "
        "ceiling); it agrees if it lies within the measured interval widened by the margin."
    ]
    wrong = [verdict for verdict, fit in judged if fit is False]
    if wrong:
        below = sum(1 for v in wrong if v.ceiling and v.ratio and v.ratio < v.ceiling)
        sides = " and ".join(f"{n} {side}" for n, side in ((below, "below"), (len(wrong) - below, "above")) if n)
        said.append(
            f"Predicted and measured disagree in {len(wrong)} of {words.count(len(known), 'comparison')} ({sides} the "
            "prediction): there, what calls, copies and the cipher cost does not by itself explain what was measured."
        )
    return said
