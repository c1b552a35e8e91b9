"""The short page of an older run, made from its verdicts alone: a hundred of them take as long as a few long ones.

The long page is made when the run is new, and whenever it is asked for by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from markupsafe import Markup, escape

from harness.record import Run, Verdict
from reports import words
from reports.findings import headline
from reports.site import pages


def render(run: Run, answered: str) -> str:
    """The page of a record whose samples need not have been kept. ``answered``: its answer in a sentence."""
    head = run.head
    return pages.environment().get_template("brief.html.j2").render(
        head=head,
        folder=run.path.name,
        headline=answered,
        sentence=headline.headline(run),
        banners=pages.banners(run),
        measured=sum(1 for cell in head.cells if cell.outcome == "measured"),
        verdicts=_rows(headline.in_order(head)),
        unmeasured=pages.unmeasured(head),
        label=words.label(head.testbed),
    )  # fmt: skip


def _rows(verdicts: Sequence[Verdict]) -> Markup:
    """The table's rows; a template takes ten times as long. Of the record's text there are names alone: escaped."""
    rows = []
    for verdict in verdicts:
        named = words.VERDICTS if verdict.metric == "seconds" else words.CPU_VERDICTS
        between = f"{words.ratio(verdict.ci_low)}–{words.ratio(verdict.ci_high)}" if verdict.ci_low else "–"
        rows.append(
            f"<tr>{_name(verdict.candidate)}{_name(verdict.baseline)}<td>{words.METRICS[verdict.metric]}</td>"
            f"<td>{named[verdict.verdict] if verdict.ratio else '– not measured'}</td>"
            f'<td class="n" data-v="{verdict.ratio or ""}">{words.ratio(verdict.ratio)}</td>'
            f'<td class="n">{between}</td><td class="n">{verdict.blocks}</td></tr>'
        )
    return Markup("\n".join(rows))  # noqa: S704


@lru_cache(4096)
def _name(cell: str) -> str:
    """A cell's field: runs of one profile have the same."""
    return f'<td class="mono">{escape(cell)}</td>'
