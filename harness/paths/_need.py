"""The reasons why a path cannot run on a host, in one wording."""

from __future__ import annotations

import re

from hosts import packages
from hosts.facts import Facts

CHOOSES_SUITES = (8, 13)
"""The first libcurl that hands a list of TLS suites on to GnuTLS; older ones offer what they like without a word."""


def one_suite(receiver: Facts) -> str | None:
    """Why the receiver's libcurl cannot be made to offer exactly one TLS suite, or None."""
    said = receiver.programs.get("pycurl") or ""
    version = re.search(r"libcurl/(\d+)\.(\d+)", said)
    if not version:
        return None  # that it is missing is said elsewhere
    if "GnuTLS/" not in said:
        return "the receiver's libcurl is not linked with GnuTLS, which offers one TLS suite by a priority string"
    if (int(version[1]), int(version[2])) < CHOOSES_SUITES:
        return (
            f"the receiver's {version[0]} ignores the TLS suites it is told to offer with GnuTLS "
            f"({'.'.join(map(str, CHOOSES_SUITES))} and newer do not)"
        )
    return None


def missing(
    sender: Facts,
    receiver: Facts | None,
    *,
    sender_programs: tuple[str, ...] = (),
    sender_modules: tuple[str, ...] = (),
    receiver_modules: tuple[str, ...] = (),
) -> str | None:
    """What is missing for a path, with the command that would install it; None when nothing is.

    ``receiver`` is None where it takes no part.
    """
    reasons = []
    for facts, programs, modules in (
        (sender, sender_programs, sender_modules),
        (receiver, ("pycurl",), receiver_modules),
    ):
        if facts is None:
            continue
        if absent := facts.missing(programs):
            how = packages.advice(absent, facts.shown.get("os"))
            reasons.append(f"the {facts.role} has no {', '.join(absent)} ({how})")
        if lacking := facts.lacking(modules):
            reasons.append(f"the {facts.role}'s kernel {facts.kernel} has no module {', '.join(lacking)}")
    return "; ".join(reasons) or None


def together(*reasons: str | None) -> str | None:
    """All reasons that there are, in one; None where there is none."""
    return "; ".join(reason for reason in reasons if reason) or None
