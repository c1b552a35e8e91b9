"""A comparison of two runs in the terminal and as a page: what differs between the hosts first."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.record import Head
from reports import words
from reports.compare import Comparison, Difference, Row
from reports.plain import plain
from reports.site import pages

WIDTH = 150
"""Columns of a terminal that does not say how many it has."""
LONGEST = 60
"""Characters of a fact that are printed."""
ORDER = ("worse", "better", "cannot tell", "same")
WORDS = {"worse": "▼ worse", "better": "▲ better", "same": "= same", "cannot tell": "? cannot tell"}
STYLES = {"worse": "red", "better": "green", "same": "", "cannot tell": "dim"}
WEIGHTS = {"refuse": "cannot be compared", "warn": "unfair", "tell": "differs"}
DRIFT = "Absolute times drift by factors from boot to boot: they are shown, never judged."
READING = (
    "The change is ratio B ÷ ratio A of one pair: over 1 the candidate got better against its baseline. The interval "
    "holds the true change of this pair in 95 of 100 such comparisons.",
    "It reads “worse” or “better” only if Welch's t test on the mean log ratios says so at 5 % after Holm's "
    "correction for all ratios of the page, and “same” if the interval lies within ± the margin.",
)


def errors(found: Comparison) -> str:
    """What the intervals are made of."""
    if found.nights:
        return (
            "Errors are those of each run's boots, and what a run as a whole adds to a ratio, as "
            f"{words.count(found.nights, 'run')} of this profile and testbed tell it."
        )
    if any(row.change is not None and row.p is None for row in found.rows):
        return (
            "A run of one boot does not tell what a boot adds to a ratio, so its ratios are shown and not judged: that "
            "takes ten runs of this profile and testbed beside them."
        )
    return "Errors are those of each run's boots; what drifts for longer than a run is not in them."


def show(found: Comparison, console: Console | None = None) -> None:
    """Print a comparison."""
    out = console or Console(highlight=False, markup=False, emoji=False)
    if not out.is_terminal:
        out.width = max(out.width, WIDTH)
    for letter, side in (("A", found.a), ("B", found.b)):
        lost = f"; {side.lost}" if side.lost else ""
        out.print(Text(f"{letter}: {_run(side.path, side.head)}{lost}"))
    if found.differences:
        out.print(_differences(found))
    else:
        out.print(Text("The records tell of no difference between the hosts, profiles and links."))
    if found.rows:
        out.print(_rows(found))
    for word, names in (("only in A", found.only_a), ("only in B", found.only_b)):
        if names:
            out.print(Text(f"{word}: {', '.join(plain(name) for name in names)}"))
    for name, why in found.lost:
        out.print(Text(f"no longer measured: {plain(name)}: {plain(why)}"))
    out.print(Text(errors(found)))
    out.print(Text(DRIFT))
    out.print(Text(found.summary))


def _run(path: Path, head: Head) -> str:
    return plain(
        f"{path.name}, profile {head.profile.name} on {head.testbed.name} ({head.testbed.kind}), "
        f"{words.when(head.started)}, {head.status}"
    )


def _differences(found: Comparison) -> Table:
    table = Table(title="What differs", title_justify="left", box=None, pad_edge=False)
    for name in ("", "", "A", "B"):
        table.add_column(Text(name), overflow="fold")
    for one in found.differences:
        table.add_row(
            Text(WEIGHTS[one.weight], style="" if one.weight == "tell" else "red"),
            *(Text(plain(value, LONGEST)) for value in (one.name, one.a, one.b)),
        )
    return table


def _rows(found: Comparison) -> Table:
    table = Table(title="What changed", title_justify="left", box=None, pad_edge=False)
    for name in ("Candidate", "Metric", "Ratio A", "Ratio B", "B / A", "95 % interval", "p (Holm)", "Verdict",
                 "Seconds A", "Seconds B"):  # fmt: skip
        table.add_column(Text(name), justify="left" if name in ("Candidate", "Metric", "Verdict") else "right",
                         overflow="fold")  # fmt: skip
    times = {one.cell: one for one in found.absolute}
    for row in ordered(found):
        time = times.get(row.candidate) if row.metric == "seconds" else None
        shown = [
            row.candidate,
            words.METRICS[row.metric],
            words.ratio(row.ratio_a),
            words.ratio(row.ratio_b),
            words.ratio(row.change),
            interval(row),
            "–" if row.p is None else f"{row.p:.2g}",
            WORDS[row.word],
            words.number(time.a if time else None),
            words.number(time.b if time else None),
        ]
        table.add_row(*(Text(plain(value), style=STYLES[row.word]) for value in shown))
    return table


def ordered(found: Comparison) -> list[Row]:
    """The rows, those that changed first."""
    return sorted(found.rows, key=lambda row: ORDER.index(row.word))


def interval(row: Row) -> str:
    """The interval of a change."""
    return f"{words.ratio(row.low)}–{words.ratio(row.high)}" if row.low and row.high else "–"


def refusal(found: Comparison) -> str:
    """Why two runs cannot be compared."""
    return "; ".join(f"{one.name}: {one.a} and {one.b}" for one in found.refused[:3])


def folder(a: Path, b: Path) -> str:
    """Where the page of two runs is, below the site."""
    name = f"compare-{a.name}-{b.name}"
    if re.fullmatch(r"[\w.-]{1,200}", name):
        return name
    return f"compare-{hashlib.sha256(name.encode('utf-8', 'replace')).hexdigest()[:16]}"


def render(found: Comparison) -> tuple[str, dict[str, str]]:
    """The page of a comparison, and its row in the index."""
    absolute = [(one, one.b / one.a) for one in found.absolute]
    html = pages.environment().get_template("compare.html.j2").render(
        found=found,
        sides=[("A", found.a), ("B", found.b)],
        rows=ordered(found),
        absolute=absolute,
        shown=WORDS,
        weights=WEIGHTS,
        interval=interval,
        reading=[*READING, errors(found)],
        drift=DRIFT,
        unfair=_unfair(found.differences),
        verdicts={"worse": "slower", "better": "faster", "same": "same", "cannot tell": "cannot_tell"},
    )  # fmt: skip
    a, b = found.a.head, found.b.head
    row = {
        "folder": folder(found.a.path, found.b.path),
        "started": words.when(b.started),
        "profile": b.profile.name,
        "testbed": b.testbed.name,
        "kernel": pages.kernel(b),
        "kind": words.label(b.testbed),
        "status": "compare",
        "headline": f"{words.when(a.started)} against {words.when(b.started)}: {found.summary}",
        "verdict": "",
    }
    return html, row


def _unfair(differences: tuple[Difference, ...]) -> str:
    """A warning for the top of the page; empty where nothing is unfair."""
    if any(one.weight == "refuse" for one in differences):
        return "These runs did not measure the same thing: nothing below can be read as a change."
    some = sum(one.weight == "warn" for one in differences)
    if not some:
        return ""
    return f"{words.count(some, 'difference')} besides the one asked about may be what changed the numbers: see below."
