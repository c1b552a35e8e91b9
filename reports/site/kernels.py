"""Runs of one profile on several kernels as one page: what changed for each path, and what its steps cost there.

Runs are made one after another, so only ratios within a run are compared; times are shown, no more.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from harness.record import Cell, Head, Run, Verdict
from reports import facts, words
from reports.drawing import forest, kernel_crypto_tables
from reports.drawing.figures import Figure
from reports.findings import costs, headline, panels
from reports.findings.panels import Panel
from reports.site import packing, pages
from reports.site.across import Kernel, brief, change, ended, headline_of, kernels
from reports.site.became import became

TESTBEDS = ("lab-bookworm", "lab", "lab-7-2", "lab-7-3")
"""The built-in testbeds that differ in their kernel."""
ENDED = ("failed", "interrupted")
"""How a run ends that is not complete."""
READING = (
    "The runs were made one after another: a ratio pairs two paths block by block within one run and can be compared "
    "with the same ratio of another run; times and processor seconds of different runs are shown, never judged.",
    "A change is claimed only where the two 95 % intervals do not overlap. An interval covers the blocks of one run, "
    "not what differs from boot to boot, and the hosts differ in more than the kernel: see the facts below.",
)


@dataclass(frozen=True)
class Section:
    """One suite and cipher on all kernels: a figure, a table for each size, and the prices of its steps."""

    panel: Panel
    figure: Figure | None
    tables: list[tuple[str, str, list[dict[str, Any]]]]
    prices: list[costs.Price]


def newest(rows: Iterable[dict[str, str]], profile: str) -> list[dict[str, str]]:
    """Of the index's rows, the newest complete run of a profile on each testbed, by kernel release.

    Where a testbed has none, its newest run that ended otherwise; last where not even its kernel is known.
    """
    found: dict[str, dict[str, str]] = {}
    for row in _by_time(rows, profile):
        whole = row["status"] == "complete" and bool(row["kernel"])
        if whole or (row["status"] in ENDED and found.get(row["testbed"], row)["status"] in ENDED):
            found[row["testbed"]] = row
    return sorted(found.values(), key=lambda row: (not row["kernel"], _order(row["kernel"]), row["testbed"]))


def enough(chosen: Sequence[dict[str, str]]) -> bool:
    """Whether there is something to show side by side: a complete run, and another kernel, if only one that a lab was
    to have."""
    different = {row["kernel"] or row["testbed"] for row in chosen if row["kernel"] or row["kind"] != "hosts"}
    return len(different) > 1 and any(row["status"] == "complete" for row in chosen)


def ended_since(rows: Iterable[dict[str, str]], chosen: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """Of the index's rows, the newest run on each testbed that ended otherwise after the complete one chosen there."""
    found: dict[str, dict[str, str]] = {}
    whole = {row["testbed"]: row for row in chosen if row["status"] == "complete"}
    for row in _by_time(rows, chosen[0]["profile"] if chosen else ""):
        if row["testbed"] in whole and row["status"] in ENDED and _when(row) > _when(whole[row["testbed"]]):
            found[row["testbed"]] = row
    return list(found.values())


def _by_time(rows: Iterable[dict[str, str]], profile: str) -> list[dict[str, str]]:
    return sorted((row for row in rows if row["profile"] == profile), key=_when)


def _when(row: dict[str, str]) -> tuple[str, str]:
    return row["started"], row["folder"]


def _order(release: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", release)]


def render(runs: Sequence[Run], since: Sequence[Head] = ()) -> pages.Page:
    """The page of runs of one profile, in the order of their kernels.

    ``since``: of later runs on the same testbeds, which did not end well.
    """
    found = kernels(runs)
    sections = [_section(panel, found) for panel in side_by_side(found)]
    head = found[-1].run.head
    known = [kernel for kernel in found if kernel.run.head.hosts]
    sentence = headline_of(found)
    testbeds = [kernel.run.head.testbed for kernel in found]
    html = pages.environment().get_template("kernels.html.j2").render(
        profile=head.profile.name,
        headline=sentence,
        brief=brief(found),
        kernels=found,
        labels=[kernel.label for kernel in found],
        banners=_banners(found, since),
        reading=[*READING, *costs.reading(v for section in sections for v in section.panel.verdicts.values())],
        became=[
            row
            for section in sections
            for row in became(section.panel.suite.name, section.tables, [kernel.label for kernel in found])
        ],
        sections=sections,
        kernel_crypto=kernel_crypto_tables.side_by_side(
            [kernel.label for kernel in found], [kernel.crypto for kernel in found]
        ),
        emulated=[said for said in dict.fromkeys(map(words.caveat, testbeds)) if said],
        known=[kernel.label for kernel in known],
        drivers=facts.side_by_side(*(_drivers(kernel) for kernel in known)),
        differing=_differing(known),
        data=packing.packed(pages.figure_data(section.figure for section in sections if section.figure)),
    )  # fmt: skip
    row = {
        "folder": folder(head.profile.name),
        "started": words.when(max(kernel.run.head.started for kernel in found)),
        "profile": head.profile.name,
        "testbed": ", ".join(kernel.run.head.testbed.name for kernel in found),
        "kernel": ", ".join(kernel.release for kernel in found),
        "kind": ", ".join(dict.fromkeys(map(words.label, testbeds))),
        "status": "kernels",
        "headline": sentence,
        "verdict": "",
    }
    return pages.Page(html, {"kernels.csv": _frame(found)}, row)


def folder(profile: str) -> str:
    """Where the page of a profile is, below the site; empty for a name that is none of a folder."""
    return f"kernels-{profile}" if re.fullmatch(r"[A-Za-z0-9][\w.-]*", profile) else ""


def side_by_side(found: Sequence[Kernel]) -> list[Panel]:
    """A panel for each suite and cipher that holds the cells of all kernels, a group for each size and kernel."""
    parts: dict[tuple[str, str], list[Panel | None]] = {}
    for n, kernel in enumerate(found):
        for panel in kernel.panels:
            parts.setdefault((panel.suite.name, panel.cipher), [None] * len(found))[n] = panel
    return [_merged(n, some, [kernel.label for kernel in found]) for n, some in enumerate(parts.values())]


def _merged(number: int, parts: Sequence[Panel | None], labels: Sequence[str]) -> Panel:
    some = [panel for panel in parts if panel]
    series = {s.label: s for panel in some for s in panel.series}
    sizes = list(dict.fromkeys(size for panel in sorted(some, key=lambda p: -len(p.groups)) for size in panel.groups))
    slots: dict[tuple[int, int], Cell] = {}
    verdicts: dict[tuple[str, str], Verdict] = {}
    summaries = []
    for k, panel in enumerate(parts):
        if panel is None:
            continue
        own = {cell.id: f"{cell.id}@{k}" for cell in panel.slots.values()}
        for (s, g), cell in panel.slots.items():
            at = list(series).index(panel.series[s].label), sizes.index(panel.groups[g]) * len(parts) + k
            slots[at] = cell.model_copy(update={"id": own[cell.id]})
        verdicts |= {(own[name], metric): verdict for (name, metric), verdict in panel.verdicts.items()}
        summaries.append(panel.summary.rename(index=own))
    return replace(
        some[-1],
        key=f"k{number + 1}-{some[-1].key.partition('-')[2]}",
        series=tuple(replace(s, colour=n) for n, s in enumerate(series.values())),
        groups=tuple(f"{size} · {label}" for size in sizes for label in labels),
        slots=slots,
        summary=pd.concat(summaries),
        verdicts=verdicts,
    )


def _section(panel: Panel, found: Sequence[Kernel]) -> Section:
    made = forest.forest(panel)
    base = panel.suite.baseline
    if made:
        made = replace(made, title=f"Ratio to {base} on each kernel, right of 1 is better", absent=panels.absent(panel))
    across = len(found)
    tables = []
    for first in range(0, len(panel.groups), across):
        size = panel.groups[first].rpartition(" · ")[0]
        rows = [_row(panel, s, range(first, first + across), found) for s in range(len(panel.series))]
        tables.append((size, f"{panel.key}-{first // across}", rows))
    entries = [headline.suite_of(kernel.run.head, panel.suite.name) for kernel in found]
    return Section(panel, made, tables, costs.prices(entries))


def _row(panel: Panel, s: int, groups: range, found: Sequence[Kernel]) -> dict[str, Any]:
    """A path and size: what each kernel gave, and what can be said from each kernel to the next."""
    series = panel.series[s]
    entries = [
        _entry(panel, panel.slots.get((s, g)), series.baseline, kernel) for g, kernel in zip(groups, found, strict=True)
    ]
    seen = [entry["verdict"] for entry in entries]
    pairs = zip(seen, seen[1:], found, found[1:], strict=False)
    return {
        "path": series.label,
        "title": series.title,
        "entries": entries,
        "changes": ["–"] if series.baseline else [change(a, b, *names) for a, b, *names in pairs],
    }


def _entry(panel: Panel, cell: Cell | None, baseline: bool, kernel: Kernel) -> dict[str, Any]:
    verdict = panel.verdicts.get((cell.id, "seconds")) if cell else None
    said = ""
    if cell is None:
        said = "not in this run"
    elif cell.outcome != "measured":
        said = f"{cell.outcome}: {cell.reason or 'no reason was recorded'}"
    elif baseline:
        said = "baseline"
    elif verdict is None or verdict.ratio is None:
        said = forest.unmeasured(panel, cell)
    measured = cell is not None and panels.counted(panel, cell) > 0
    return {
        # a path that its run had not come to, or was stopped in, says nothing of the path
        "ended": kernel.ended if cell is None or cell.outcome == "failed" else "",
        "verdict": verdict if verdict and verdict.ratio else None,
        "said": said,
        "seconds": panels.value(panel, cell, "seconds")[0] if cell and measured else None,
        "cpu": panels.value(panel, cell, "sender_cpu_seconds_per_gb")[0] if cell and measured else None,
    }


def _banners(found: Sequence[Kernel], since: Sequence[Head]) -> list[tuple[str, str]]:
    said = []
    if len({kernel.run.head.profile.sha256 for kernel in found}) > 1:
        text = "The profile's content is not the same in all runs: sizes, blocks or paths differ between them."
        said.append(("warning", text))
    for kernel in found:
        said += [(kind, f"{kernel.label}: {text}") for kind, text in pages.banners(kernel.run)]
        for head in (head for head in since if head.testbed.name == kernel.run.head.testbed.name):
            later = f"a later run there, of {words.when(head.started)}, {ended(head)}."
            said.append(("warning", f"{kernel.label}: {later}"))
    return said


def _drivers(kernel: Kernel) -> dict[str, Any]:
    """By suite and path, what did the cryptography."""
    names: dict[str, dict[str, list[str]]] = {}
    for cell in kernel.run.head.cells:
        if cell.driver_found:
            listed = names.setdefault(cell.suite, {}).setdefault(cell.path, [])
            listed += [cell.driver_found] if cell.driver_found not in listed else []
    return names


def _differing(found: Sequence[Kernel]) -> dict[str, list[facts.Row]]:
    """The facts of senders, receivers and what emulates them that are not the same on all kernels."""
    rows = facts.side_by_side(*(kernel.run.head.machines for kernel in found))
    return {group: differ for group, some in rows.items() if (differ := [row for row in some if row.differs])}


def _frame(found: Sequence[Kernel]) -> pd.DataFrame:
    """Every cell of every kernel with its verdict on time, for other programs."""
    parts = []
    for kernel in found:
        head = kernel.run.head
        verdicts = {v.candidate: v for v in head.verdicts if v.metric == "seconds"}
        mine = [verdicts.get(name) for name in kernel.cells["cell"]]
        told: dict[str, Any] = {"kernel": kernel.release, "testbed": head.testbed.name, "run": head.run_id}
        for name in ("ratio", "ci_low", "ci_high", "verdict", "blocks", "margin", "ceiling"):
            told[name] = pd.Series([getattr(v, name) if v else None for v in mine], dtype=object)
        parts.append(kernel.cells.assign(**told))
    return pd.concat(parts, ignore_index=True)
