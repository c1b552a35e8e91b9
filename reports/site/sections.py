"""The parts of a run's page: one for each question that its suites ask, with figures and tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd

from harness.record import Cell, Run, SuiteEntry
from reports import words
from reports.drawing import crossings, figures, forest, rawfigures, rawtables, smallfigures
from reports.drawing.figures import Figure
from reports.drawing.tables import Table
from reports.findings import panels, raw, small
from reports.findings.panels import Panel


@dataclass(frozen=True)
class Section:
    """A heading, what it needs to be read right, figures, tables."""

    key: str
    title: str
    subtitle: str
    notes: Sequence[str] = ()
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = field(default=())
    masked: bool = False


def sections(run: Run, samples: pd.DataFrame, cells: pd.DataFrame, raws: Sequence[raw.Raw]) -> list[Section]:
    """The sections of a record, in the order of its suites."""
    head = run.head
    index = {cell.id: n for n, cell in enumerate(head.cells)}
    every = panels.panels(run, cells)
    parts = [(made.suites[0].name, _raw(made, run)) for made in raws]
    parts += [(made.suites[0].name, _small(made, run)) for made in small.small(every, run, samples)]
    parts += [(p.suite.name, _files(p, index, run)) for p in every if words.question(p.suite) != "small-files"]
    order = [suite.name for suite in head.suites]
    parts.sort(key=lambda part: order.index(part[0]) if part[0] in order else len(order))
    made = [section for _, section in parts]
    counted = crossings.tables(head.suites)
    if counted:
        title = "Crossings between user and kernel memory"
        made.append(Section("crossings", title, "", crossings.READING, (), counted))
    return made


def limits(run: Run) -> list[str]:
    """What the headline cannot say: how the testbed and hidden instructions bear upon its numbers."""
    head = run.head
    said = [words.KINDS[head.testbed.kind]] if head.testbed.kind in words.KINDS else []
    masked = [suite.name for suite in head.suites if suite.instructions == "masked"]
    if masked:
        said.append(words.MASKED if len(masked) == len(head.suites) else f"{_suites(masked)}: {words.MASKED}")
    plain = [suite.name for suite in head.suites if words.generic(head.testbed.kind, suite, head.cells)]
    if plain:
        said.append(words.UNMASKED if len(plain) == len(head.suites) else f"{_suites(plain)}: {words.UNMASKED}")
    return said


def _suites(names: Sequence[str]) -> str:
    return f"Suite{'s' if len(names) > 1 else ''} {', '.join(names)}"


def _notes(suites: Sequence[SuiteEntry], run: Run, cells: list[Cell]) -> list[str]:
    """What is to be said about instructions under the heading of suites."""
    if any(suite.instructions == "masked" for suite in suites):
        return [words.MASKED]
    return [words.UNMASKED] if any(words.generic(run.head.testbed.kind, s, cells) for s in suites) else []


def _files(panel: Panel, index: dict[str, int], run: Run) -> Section:
    drawn = (figures.bars(panel, index), forest.forest(panel), figures.cpu(panel, index))
    return Section(
        panel.key,
        panel.title,
        panel.subtitle,
        _notes([panel.suite], run, panel.cells),
        [figure for figure in drawn if figure is not None],
        masked=panel.suite.instructions == "masked",
    )


def _small(made: small.Small, run: Run) -> Section:
    panel = made.panel
    drawn = (smallfigures.request(made), forest.forest(panel), smallfigures.distribution(made))
    return Section(
        panel.key,
        panel.title,
        _from(made.suites),
        _notes(made.suites, run, panel.cells),
        [figure for figure in drawn if figure is not None],
        [smallfigures.percentiles(made)],
        masked=panel.suite.instructions == "masked",
    )


def _raw(made: raw.Raw, run: Run) -> Section:
    return Section(
        made.key,
        words.FIGURES[4],
        _from(made.suites),
        _notes(made.suites, run, list(made.cells)) if any(c.path == raw.OPENSSL for c in made.curves) else [],
        rawfigures.figures(made),
        rawtables.tables(made),
        masked=made.suites[0].instructions == "masked",
    )


def _from(suites: Sequence[SuiteEntry]) -> str:
    """Which suites a section is made of."""
    shown = f"; answers Figure {suites[0].figure} of the paper" if suites[0].figure else ""
    limit = {suite.link_rate_bits_per_second for suite in suites}
    rate = f"; link rate {words.rate(next(iter(limit)))}" if len(limit) == 1 and suites[0].figure != 4 else ""
    return f"{_suites([suite.name for suite in suites])}{shown}{rate}"
