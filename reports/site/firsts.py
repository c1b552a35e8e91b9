"""What each part of a run's page says while it is folded: its first sentence, and the page's contents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from harness.record import Head, Verdict
from reports import words
from reports.facts import Row
from reports.findings import costs
from reports.findings.links import Links
from reports.site.sections import Section

STANDING = {
    "prices": "What steps cost",
    "unmeasured": "Not measured, and why",
    "cells": "Cells",
    "samples": "Samples",
    "link": "Link",
    "hosts": "Hosts",
    "profile": "Profile",
    "notes": "Notes",
}
"""The parts behind those of the suites, with their titles."""


def contents(head: Head, sections: Sequence[Section], absent: set[str]) -> list[tuple[str, str]]:
    """The parts of the page with their titles, in order; ``absent``: standing ones that it does not have."""
    first = [("sentences", "In full sentences")] + ([("verdicts", "Verdicts")] if head.verdicts else [])
    made = [(section.key, section.title) for section in sections]
    return [*first, *made, *((key, title) for key, title in STANDING.items() if key not in absent)]


def firsts(
    head: Head, counts: dict[str, int], spoken: int, facts: dict[str, list[Row]], links: Links
) -> dict[str, str]:
    """The first sentence of each part that stands on every page. ``spoken``: how many sentences the run has."""
    return {
        "sentences": f"{words.count(spoken, 'sentence says', 'sentences say')} what each suite found, with intervals.",
        "verdicts": _verdicts(head.verdicts),
        "prices": _prices(head.verdicts),
        "unmeasured": _unmeasured(head),
        "cells": f"{counts['measured']} of {words.count(counts['cells'], 'cell')} gave a number.",
        "samples": f"{counts['counted']} of {words.count(counts['samples'], 'sample')} count.",
        "link": f"{_link(head)}{_interfaces(links)}",
        "hosts": _hosts(head, facts),
        "profile": f"The profile {head.profile.name} says what was measured.",
        "notes": f"The run left {words.count(len(head.notes), 'note')}." if head.notes else "The run left no note.",
    }


def _verdicts(verdicts: Sequence[Verdict]) -> str:
    found = Counter(verdict.verdict if verdict.ratio else "missing" for verdict in verdicts)
    named = {"faster": "better", "slower": "worse", "same": "the same", "cannot_tell": "undecided",
             "missing": "not measured"}  # fmt: skip
    shown = [f"{found[state]} {word}" for state, word in named.items() if found[state]]
    return f"Of {words.count(len(verdicts), 'comparison')}, {', '.join(shown)}."


def _prices(verdicts: Sequence[Verdict]) -> str:
    fits = [fit for verdict in verdicts if (fit := costs.agrees(verdict)) is not None]
    if not fits:
        return "The sender's steps were measured alone."
    return f"Predictions from these prices agree with {sum(fits)} of {words.count(len(fits), 'comparison')}."


def _unmeasured(head: Head) -> str:
    found = Counter(cell.outcome for cell in head.cells if cell.outcome != "measured")
    shown = ", ".join(f"{n} {outcome}" for outcome, n in found.items())
    return f"{words.count(sum(found.values()), 'cell')} gave no number: {shown}."


def _link(head: Head) -> str:
    rates = sorted(rate for suite in head.suites if (rate := suite.link.get("goodput_bits_per_second")))
    if not rates:
        return "The record says nothing of the link's speed."
    low, high = (words.rate(float(f"{rate:.3g}")) for rate in (rates[0], rates[-1]))
    return f"The link carried {low}." if low == high else f"The link carried {low} to {high}."


def _interfaces(links: Links) -> str:
    if not links.cells:
        return ""
    what = (
        "1 setting of its interfaces was"
        if links.differing == 1
        else f"{links.differing} settings of its interfaces were"
    )
    if not links.differing:
        what = "The settings of its interfaces were"
    rest = "the same" if not links.differing else "not the same"
    return f" {what} {rest} for all {links.cells} cells."


def _hosts(head: Head, facts: dict[str, list[Row]]) -> str:
    rows = [row for group in facts.values() for row in group]
    if not rows:
        return "The record has no facts of the hosts."
    kernel = head.hosts.get("sender", {}).get("kernel")
    runs = f" The sender ran kernel {kernel}." if isinstance(kernel, str) else ""
    return f"The hosts differ in {sum(row.differs for row in rows)} of {words.count(len(rows), 'fact')}.{runs}"
