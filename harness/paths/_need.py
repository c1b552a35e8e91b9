"""The reasons why a path cannot run on a host, in one wording."""

from __future__ import annotations

from hosts import packages
from hosts.facts import Facts


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
