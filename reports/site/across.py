"""What can be said across the runs of one profile on several kernels, in sentences."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from harness.record import Cell, Head, Run, SuiteEntry, Verdict
from reports import frame, words
from reports.findings import costs, headline, kernel_crypto, panels
from reports.findings.kernel_crypto import KernelCrypto
from reports.findings.panels import Panel
from reports.site import pages


@dataclass(frozen=True)
class Kernel:
    """One run of the profile."""

    run: Run
    release: str
    """Its kernel's, in full; the testbed's name where the run ended before that was known."""
    label: str
    """Tells it from the others."""
    cells: pd.DataFrame
    """As ``frame.cells`` has them."""
    panels: list[Panel]
    crypto: list[KernelCrypto]

    @property
    def ended(self) -> str:
        """How its run ended before all was measured, and why; empty where it is complete."""
        return ended(self.run.head)


def ended(head: Head) -> str:
    """How a run ended before all was measured, and why; empty where it is complete."""
    return "" if head.status == "complete" else f"{head.status}: {head.reason or 'nobody said why'}"


def kernels(runs: Sequence[Run]) -> list[Kernel]:
    """Runs with what the page shows of them; labels as short as they can be and still differ."""
    runs = _asked_alike(runs)
    releases = [pages.kernel(run.head) or run.head.testbed.name for run in runs]
    named = [f"{release} ({run.head.testbed.name})" for release, run in zip(releases, runs, strict=True)]
    series = [match[0] if (match := re.match(r"\d+\.\d+", release)) else release for release in releases]
    labels = next((names for names in (series, releases) if len(set(names)) == len(runs)), named)
    found = []
    for run, release, label in zip(runs, releases, labels, strict=True):
        samples = frame.samples(run)
        cells = frame.cells(run, samples)
        found.append(
            Kernel(
                run, release, label, cells, panels.panels(run, cells), kernel_crypto.of_run(run.head, samples, cells)
            )
        )
    return found


def _asked_alike(runs: Sequence[Run]) -> list[Run]:
    """The runs, those that ended before they reached a suite with what the others were asked there."""
    asked = {suite.name: suite for run in runs for suite in run.head.suites}
    bare = {
        name: SuiteEntry(
            name=name,
            figure=suite.figure,
            link_rate_bits_per_second=suite.link_rate_bits_per_second,
            baseline=suite.baseline,
            sent_by=suite.sent_by,
            question=suite.question,
        )
        for name, suite in asked.items()
    }
    found = []
    for run in runs:
        reached = {suite.name for suite in run.head.suites}
        missing = {cell.suite: bare[cell.suite] for cell in run.head.cells if cell.suite in bare.keys() - reached}
        suites = [*run.head.suites, *missing.values()]
        found.append(replace(run, head=run.head.model_copy(update={"suites": suites})))
    return found


def overlap(one: Verdict, other: Verdict) -> bool | None:
    """Whether two intervals overlap; None where either is missing."""
    if not (one.ci_low and one.ci_high and other.ci_low and other.ci_high):
        return None
    return one.ci_low <= other.ci_high and other.ci_low <= one.ci_high


def change(a: Verdict | None, b: Verdict | None, first: Kernel, then: Kernel) -> str:
    """What one path did from a kernel to the next, as far as two runs can tell."""
    if a is None or b is None or a.ratio is None or b.ratio is None:
        missing = [kernel.label for kernel, verdict in ((first, a), (then, b)) if verdict is None]
        return f"nothing to compare: no ratio on {' and '.join(missing)}"
    common = overlap(a, b)
    if common is None:
        return "nothing to compare: no interval"
    if common:
        return "intervals overlap: no change can be claimed"
    way = "higher" if b.ratio > a.ratio else "lower"
    return f"{way} on {then.label} (x{words.ratio(a.ratio)} to x{words.ratio(b.ratio)}): intervals apart"


def headline_of(found: Sequence[Kernel]) -> str:
    """What became of the comparison that speaks for the profile, from the oldest kernel to the newest."""
    main = headline.main_verdict(_all(found))
    chosen = _common(found, main) if main else None
    if chosen is None:
        return f"Nothing can be compared on {_listed(kernel.label for kernel in found)}: no run has a verdict."
    return _sentence(found, chosen)


def _all(found: Sequence[Kernel], suite: str | None = None) -> Head:
    """A head that holds the cells and verdicts of all runs, or of one suite in them."""
    heads = [kernel.run.head for kernel in found]
    cells = [cell for head in heads for cell in head.cells if suite in (None, cell.suite)]
    wanted = {cell.id for cell in cells}
    verdicts = [v for head in heads for v in head.verdicts if v.candidate in wanted]
    paths = {name: said for head in heads for name, said in head.paths.items()}
    return heads[-1].model_copy(update={"paths": paths, "cells": cells, "verdicts": verdicts})


def _verdicts(found: Sequence[Kernel], name: str) -> list[Verdict | None]:
    """What each kernel says of a candidate's time; None where it has no ratio."""
    return [
        next((v for v in k.run.head.verdicts if v.candidate == name and v.metric == "seconds" and v.ratio), None)
        for k in found
    ]


def _common(found: Sequence[Kernel], main: Verdict) -> Cell:
    """The cell of the largest size that every kernel with a complete run has a ratio for, of the main one's kind; else
    the main one."""
    whole = [kernel for kernel in found if not kernel.ended]
    cells = {cell.id: cell for kernel in found for cell in kernel.run.head.cells}
    like = cells[main.candidate]

    def kind(cell: Cell) -> tuple[str, ...]:
        return cell.suite, cell.path, cell.cipher, cell.driver

    same = [cell for cell in cells.values() if kind(cell) == kind(like) and all(_verdicts(whole, cell.id))]
    return max(same, key=lambda cell: cell.size_bytes or 0, default=like)


def _sentence(found: Sequence[Kernel], cell: Cell) -> str:
    known = _verdicts(found, cell.id)
    verdict = next(v for v in known if v)
    cells = {c.id: c for kernel in found for c in kernel.run.head.cells}
    base = cells[verdict.baseline].path if verdict.baseline in cells else verdict.baseline
    head = _all(found)
    subject = f"{words.path(head, cell.path).short or cell.path} against {words.baseline(head, base)}"
    kind = "" if cell.cipher in words.UNENCRYPTED else f" {words.cipher(cell.cipher)}"
    what = f"for {words.size(cell.size_bytes)}{kind}"
    there = [(kernel.label, v) for kernel, v in zip(found, known, strict=True) if v]
    labels = [label for label, _verdict in there]
    first, last = there[0][1], there[-1][1]
    parts = [
        f"{_span(v)} on {kernel.label}" if v else f"gave no ratio on {kernel.label} ({_why(kernel, cell)})"
        for kernel, v in zip(found, known, strict=True)
    ]
    if len(there) < 2:
        return f"{subject} {what}: {', '.join(parts)}; nothing can be said of a change."
    spans = " to ".join(_span(v) for _label, v in there)
    between = "the intervals overlap" if len(found) == 2 else f"the intervals of {labels[0]} and {labels[-1]} overlap"
    common = overlap(first, last)
    if common is None:
        end = "without intervals no change can be claimed"
    elif common:
        end = f"{between}, so no change can be claimed"
    else:
        end = f"{between.replace('overlap', 'do not overlap')}: the ratio differs between these runs"
    if len(there) < len(found):
        return f"{subject} {what}: {', '.join(parts)}; {end}."
    return f"From {' to '.join(labels)}, {subject} went from {spans} {what}; {end}."


def _span(verdict: Verdict) -> str:
    between = f" [{words.ratio(verdict.ci_low)}–{words.ratio(verdict.ci_high)}]" if verdict.ci_low else ""
    return f"x{words.ratio(verdict.ratio)}{between}"


def _why(kernel: Kernel, wanted: Cell) -> str:
    cell = next((cell for cell in kernel.run.head.cells if cell.id == wanted.id), None)
    if kernel.ended:
        return f"its run {kernel.ended}"
    if cell is None:
        return "not in this run"
    if cell.outcome != "measured":
        return _became(cell)
    suite = headline.suite_of(kernel.run.head, cell.suite)
    for base in kernel.run.head.cells:
        alike = (base.suite, base.size_bytes, base.cipher) == (cell.suite, cell.size_bytes, cell.cipher)
        if alike and base.path == suite.baseline and base.outcome != "measured":
            return f"its baseline {'' if base.outcome == 'failed' else 'was '}{_became(base)}"
    return "too few blocks or no baseline"


def _became(cell: Cell) -> str:
    return f"{cell.outcome}{f': {cell.reason}' if cell.reason else ''}"


def brief(found: Sequence[Kernel]) -> list[str]:
    """The same sentence for each further suite, then for each suite what a call, a copy and the cipher cost."""
    main = headline.main_verdict(_all(found))
    said, priced = [], []
    for name in dict.fromkeys(cell.suite for kernel in found for cell in kernel.run.head.cells):
        best = headline.main_verdict(_all(found, name))
        if best is None:
            continue
        cell = _common(found, best)
        if main and cell.id != _common(found, main).id and cell.cipher not in words.UNENCRYPTED:
            said.append(_sentence(found, cell))
        priced += _priced(found, name, cell.cipher)
    return said + priced


def _priced(found: Sequence[Kernel], suite: str, cipher: str) -> list[str]:
    entries = [headline.suite_of(kernel.run.head, suite) for kernel in found]
    rows = {(price.step, price.unit): price.values for price in costs.prices(entries)}
    parts = []
    by_kernel = ("kernel_cipher", "ns per byte") in rows
    for step, unit, what in (
        ("syscall", "µs per call", "a system call cost"),
        ("read", "ns per byte", "read's copy"),
        ("kernel_cipher" if by_kernel else "cipher", "ns per byte", words.cipher(cipher)),
    ):
        values = rows.get((step, unit))
        if values:
            short = unit.removesuffix(" per call")
            told = [value if value == costs.UNKNOWN else f"{value} {short}" for value in values]
            parts.append(f"{what} {_listed(f'{t} on {k.label}' for t, k in zip(told, found, strict=True))}")
    return [f"On the sender, suite {suite}: {'; '.join(parts)}."] if parts else []


def _listed(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
