"""Comparisons in full sentences, with what an engineer checks them by; which of them speaks for the run."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from harness.record import Cell, Head, Run, SuiteEntry, Verdict
from harness.verdicts import answer
from reports import words


def headline(run: Run, told: Sequence[str] = ()) -> str:
    """The run's result in one sentence, honest about what it does not show.

    ``told`` are sentences that need no comparison, on what kernel cryptography costs: the first speaks for a run that
    compared nothing.
    """
    chosen = main_verdict(run.head)
    if chosen is None and not told:
        return nothing(run)
    text = sentence(run.head, chosen) if chosen else told[0]
    unfinished = {
        "running": "So far, with the run still going: ",
        "interrupted": "From what was measured before the run was interrupted: ",
        "failed": "From what was measured before the run failed: ",
    }
    before = unfinished.get(run.head.status)
    return before + _lower(text) if before else text


def against(candidate: Cell | None, baseline: Cell | None) -> str:
    """Two cells by what differs: their paths, else their drivers; empty where one is not in the record."""
    if candidate is None or baseline is None:
        return ""
    if candidate.path == baseline.path:
        return f"{candidate.path} by {candidate.driver} against {baseline.driver}"
    return f"{candidate.path} against {baseline.path}"


def main_verdict(head: Head) -> Verdict | None:
    """The comparison that speaks for the run: Figure 7 first, the scheme itself, the largest file."""
    cells, suites = _cells(head), _suites(head)

    def rank(verdict: Verdict) -> tuple[object, ...]:
        cell = cells[verdict.candidate]
        path = words.path(head, cell.path)
        over_clear = path.order_over_clear if cells[verdict.baseline].cipher in words.UNENCRYPTED else None
        return (
            verdict.ratio is None,
            cell.cipher in words.UNENCRYPTED or cell.cipher == "null",
            suites[cell.suite],
            path.order if over_clear is None else over_clear,
            -(cell.size_bytes or 0),
        )

    known = [v for v in head.verdicts if v.metric == "seconds" and v.candidate in cells and v.baseline in cells]
    return min(known, key=rank, default=None)


def in_order(head: Head) -> list[Verdict]:
    """All verdicts, suite by suite, those that speak for the run first; within a suite as recorded."""
    cells, suites = _cells(head), _suites(head)
    return sorted(head.verdicts, key=lambda v: suites[cells[v.candidate].suite if v.candidate in cells else ""])


def _suites(head: Head) -> defaultdict[str, tuple[bool, bool, int]]:
    """What the suites are ranked by: Figure 7 first, kernel crypto last, else as in the profile."""
    ranks = {
        suite.name: (suite.figure != 7, words.question(suite) == "kernel-crypto", n)
        for n, suite in enumerate(head.suites)
    }
    return defaultdict(lambda: (True, True, len(ranks)), ranks)


def sentence(head: Head, verdict: Verdict) -> str:
    """One comparison in words: its times, and what it cost the host that is compared."""
    cells = _cells(head)
    cell, base = cells[verdict.candidate], cells[verdict.baseline]
    subject = words.path(head, cell.path).subject or f"Using {cell.path}"
    baseline = words.baseline(head, base.path)
    suite = suite_of(head, cell.suite)
    mac = words.hmac(suite, cell.cipher)
    what = words.transfer(cell) + (f" with {mac}" if mac else "")
    what += words.OVER.get(suite.connection or "", "")
    if cell.path == base.path:
        subject, baseline = f"Using driver {cell.driver}", f"driver {base.driver}"
    elif cell.cipher in words.UNENCRYPTED and base.cipher in words.UNENCRYPTED:
        called = words.baseline(head, cell.path)  # that it does not encrypt is no difference here
        subject = f"Using {called}" + (f" ({cell.path})" if called != cell.path else "")
    if verdict.ratio is None:
        return (
            f"This run cannot tell whether {_lower(subject)} changes {what} against {baseline}: "
            "no block has a sample of both that counts."
        )
    checked = f"{span(verdict)}, {words.count(verdict.blocks, 'block')}"
    times = words.ratio(verdict.ratio)
    sure = checked.removeprefix(f"{times}, ")
    margin = words.percent(verdict.margin)
    if verdict.verdict == "faster":
        text = f"{subject} made {what} {times} times as fast as {baseline} ({sure})"
    elif verdict.verdict == "slower":
        text = f"{subject} made {what} slower: {times} times as fast as {baseline} ({sure})"
    elif verdict.verdict == "same":
        text = f"{subject} made no difference beyond ±{margin} to {what} against {baseline} ({checked})"
    else:
        found = f"; a difference of {words.percent(verdict.detectable)} would likely have been found"
        text = (
            f"This run cannot tell whether {_lower(subject)} changes {what} against {baseline} "
            f"({checked}{found if verdict.detectable else ''})"
        )
    if verdict.bottleneck:
        text += f", with the {verdict.bottleneck} as the bottleneck"
    if paper := _paper(head, cell, base):
        text += f"; {paper}"
    cpu = _cpu(head, verdict)
    return f"{text}. {cost(cpu)}" if cpu else f"{text}."


def cost(verdict: Verdict) -> str:
    """A comparison of a host's CPU time per GB in words; its ratio must be known."""
    host = answer.cpu_host(verdict)
    if not verdict.ratio:
        raise ValueError(f"{verdict.comparison} has no ratio")
    sure = f"({span(verdict)})"
    if verdict.verdict == "faster":
        return f"The {host} needed {words.percent(1 - 1 / verdict.ratio)} less CPU per GB {sure}."
    if verdict.verdict == "slower":
        times = 1 / verdict.ratio
        more = f"{words.percent(times - 1)} more" if times < 2 else f"{words.ratio(times)} times the"
        return f"The {host} needed {more} CPU per GB {sure}."
    if verdict.verdict == "same":
        return f"The {host} needed the same CPU per GB within ±{words.percent(verdict.margin)} {sure}."
    return f"Whether the {host} needed less CPU per GB cannot be told {sure}."


def _cpu(head: Head, verdict: Verdict) -> Verdict | None:
    """What the comparison of times ``verdict`` found of a host's CPU; None where that was not compared."""
    pair = (verdict.candidate, verdict.baseline)
    found = (v for v in head.verdicts if (v.candidate, v.baseline) == pair and v.metric != "seconds")
    return next((other for other in found if other.ratio), None)


def span(verdict: Verdict) -> str:
    """Ratio and interval: ``1.24, 95 % interval 1.20–1.28``."""
    if verdict.ratio is None:
        return "no ratio"
    between = f"95 % interval {words.ratio(verdict.ci_low)}–{words.ratio(verdict.ci_high)}"
    return (
        f"{words.ratio(verdict.ratio)}, {between}" if verdict.ci_low and verdict.ci_high else words.ratio(verdict.ratio)
    )


def brief(head: Head, told: Sequence[str] = ()) -> list[str]:
    """One sentence for each further suite and cipher, in the record's order; ``told`` as for ``headline``."""
    main = main_verdict(head)
    seen = []
    cells = _cells(head)
    groups: dict[tuple[str, str], list[Verdict]] = {}
    for verdict in head.verdicts:
        cell = cells.get(verdict.candidate)
        # what kernel crypto costs is told in sentences of its own, not against user space buffer by buffer
        if cell and verdict.baseline in cells and cell.cipher not in words.UNENCRYPTED and cell.buffer_bytes is None:
            groups.setdefault((cell.suite, cell.cipher), []).append(verdict)
    for verdicts in groups.values():
        part = head.model_copy(update={"verdicts": verdicts})
        best = main_verdict(part)
        if best is not None and best is not main:
            seen.append(sentence(head, best))
    return seen + list(told if main else told[1:])


def _paper(head: Head, cell: Cell, base: Cell) -> str:
    """What the paper found for the same two schemes: 3DES, by a card (its Figure 7)."""
    if not answer.of_the_paper(words.spoken(head), [cell.suite], (cell.path, base.path)):
        return ""
    return f"the paper reports about 27 %, × 1.27{'' if cell.cipher == '3des' else ', for 3DES by a crypto card'}"


def nothing(run: Run, reason: bool = True) -> str:
    """What is to be said of a run that compared nothing, with the reason for its end if there is one."""
    head = run.head
    counts = Counter(cell.outcome for cell in head.cells)
    if head.status == "running":
        return f"The run is still going: {words.count(len(run.samples), 'sample')} so far, nothing compared yet."
    if head.status in ("interrupted", "failed"):
        how = "failed" if head.status == "failed" else "was interrupted"
        why = f": {head.reason}" if reason and head.reason else ""
        return f"No result: the run {how} before anything could be compared{why}."
    if not head.cells:
        return "No result: the run had nothing to measure."
    if not counts["measured"]:
        listed = ", ".join(f"{n} {name}" for name, n in counts.items())
        return f"No result: none of {words.count(len(head.cells), 'cell')} could be measured ({listed})."
    return (
        f"Nothing could be compared: {counts['measured']} of {words.count(len(head.cells), 'cell')} measured, "
        "but no path together with its baseline."
    )


def suite_of(head: Head, name: str) -> SuiteEntry:
    """The suite called ``name``; a bare one where the record does not list it."""
    for suite in head.suites:
        if suite.name == name:
            return suite
    return SuiteEntry(name=name, figure=None, link_rate_bits_per_second=None, baseline="")


def _cells(head: Head) -> dict[str, Cell]:
    return {cell.id: cell for cell in head.cells}


def _lower(text: str) -> str:
    return text[0].lower() + text[1:]
