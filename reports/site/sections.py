"""The parts of a run's page: one for each question that its suites ask, with figures and tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd

from harness.record import Cell, Run, SuiteEntry
from harness.units import size_name
from harness.verdicts.answer import listed
from hosts.roles import ROLES
from reports import words
from reports.drawing import (
    crossings,
    disturbed,
    figures,
    forest,
    kernel_crypto_figures,
    kernel_crypto_tables,
    loadfigures,
    smallfigures,
    strip,
)
from reports.drawing.figures import Figure
from reports.drawing.strip import Strip
from reports.drawing.tables import Table
from reports.findings import answer, kernel_crypto, load, panels, small
from reports.findings.panels import Panel


@dataclass(frozen=True)
class Section:
    """A heading with its figures and tables."""

    key: str
    """Names it in the page."""
    title: str
    subtitle: str
    notes: Sequence[str] = ()
    """What is needed to read it right."""
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = field(default=())
    sentence: str = ""
    """What it found: all that is shown of it in words while it is folded."""
    glimpse: Strip | None = None
    """The picture that is shown while it is folded."""
    masked: bool = False
    """Whether AES and vector instructions were hidden from user space."""


def sections(
    run: Run, samples: pd.DataFrame, cells: pd.DataFrame, crypto: Sequence[kernel_crypto.KernelCrypto]
) -> list[Section]:
    """The sections of a record, in the order of its suites."""
    head = run.head
    index = {cell.id: n for n, cell in enumerate(head.cells)}
    every = panels.panels(run, cells)
    parts = [(made.suites[0].name, _kernel_crypto(made, run)) for made in crypto]
    parts += [(made.suites[0].name, _small(made, run)) for made in small.small(every, run, samples)]
    parts += [(made.panel.suite.name, _load(made, run)) for made in load.loaded(every, run)]
    parts += [
        (p.suite.name, _files(p, index, run)) for p in every if words.question(p.suite) not in ("small-files", "load")
    ]
    order = [suite.name for suite in head.suites]
    parts.sort(key=lambda part: order.index(part[0]) if part[0] in order else len(order))
    made = [section for _, section in parts]
    counted = crossings.tables(head)
    if counted:
        title = "Crossings between user and kernel memory"
        made.append(Section("crossings", title, "", crossings.READING, (), counted, crossings.sentence(head)))
    if watched := disturbed.tables(run.blocks):
        title, said = "What else happened on the machines", disturbed.sentence(run.blocks)
        made.append(Section("disturbed", title, "", disturbed.READING, (), watched, said))
    return made


def limits(run: Run) -> list[str]:
    """What the headline cannot say: how the testbed, what was not quiet on it and hidden instructions bear upon its
    numbers."""
    head = run.head
    chosen = head.testbed.chosen
    said = [caveat] if (caveat := words.caveat(head.testbed)) else []
    said += [f"Chosen by the run: {chosen}."] if chosen else []
    loud = {role: told for role in ROLES if (told := head.hosts.get(role, {}).get("not_quiet"))}
    said += [f"The {role} was not quiet: {', '.join(map(str, told))}." for role, told in loud.items()]
    each = [(words.instructions(head, suite, head.cells), suite.name) for suite in head.suites]
    for told in dict.fromkeys(sentence for sentence, _ in each if sentence):
        of = [name for sentence, name in each if sentence == told]
        said.append(told if len(of) == len(each) else f"{_suites(of)}: {told}")
    return said


def _suites(names: Sequence[str]) -> str:
    return f"Suite{'s' if len(names) > 1 else ''} {', '.join(names)}"


def _notes(suites: Sequence[SuiteEntry], run: Run, cells: list[Cell]) -> list[str]:
    """What is to be said under the heading of suites: about instructions, and what part of the time was transfers."""
    each = [words.instructions(run.head, suite, cells) for suite in suites]
    each += [_transfers(suite, cells, f"{suite.name}: " if len(suites) > 1 else "") for suite in suites]
    return [told for told in dict.fromkeys(each) if told]


def _transfers(suite: SuiteEntry, cells: Sequence[Cell], before: str) -> str:
    """What part of the time of a suite's blocks was transfers; "" where the record does not say."""
    sizes = sorted({cell.size_bytes for cell in cells if cell.suite == suite.name and cell.size_bytes})
    shares = suite.transfer_share
    known = [(words.size(size), words.percent(shares[name])) for size in sizes if (name := size_name(size)) in shares]
    told = listed([f"{share} at {size}" for size, share in known])
    rest = "the rest went into looks at the hosts, logs and digests"
    return f"{before}Of the time of its blocks, transfers took {told}; {rest}." if told else ""


def _files(panel: Panel, index: dict[str, int], run: Run) -> Section:
    drawn = (figures.bars(panel, index), forest.forest(panel), figures.cpu(panel, index))
    return Section(
        panel.key,
        panel.title,
        panel.subtitle,
        _notes([panel.suite], run, panel.cells),
        [figure for figure in drawn if figure is not None],
        sentence=answer.of_part(run.head, panel.verdicts.values()),
        glimpse=strip.panel(panel),
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
        sentence=answer.of_part(run.head, panel.verdicts.values()),
        glimpse=strip.panel(panel),
        masked=panel.suite.instructions == "masked",
    )


def _load(made: load.Loaded, run: Run) -> Section:
    panel = made.panel
    drawn = (loadfigures.capacity(made), forest.forest(panel), loadfigures.latencies(made))
    said = " ".join(load.sentences(made))
    return Section(
        panel.key,
        panel.title,
        panel.subtitle,
        [*_notes([panel.suite], run, panel.cells), *([said] if said else [])],
        [figure for figure in drawn if figure is not None],
        [
            table
            for table in (loadfigures.table(made), loadfigures.handshakes(made), loadfigures.processors(made))
            if table
        ],
        sentence=answer.of_part(run.head, panel.verdicts.values()),
        glimpse=strip.panel(panel),
        masked=panel.suite.instructions == "masked",
    )


def _kernel_crypto(made: kernel_crypto.KernelCrypto, run: Run) -> Section:
    return Section(
        made.key,
        words.FIGURES[4],
        _from(made.suites),
        _notes(made.suites, run, list(made.cells)) if any(c.path == kernel_crypto.OPENSSL for c in made.curves) else [],
        kernel_crypto_figures.figures(made),
        kernel_crypto_tables.tables(made),
        sentence=" ".join(
            filter(
                None,
                (
                    next(iter(kernel_crypto.sentences([made])), "No cipher could be measured here."),
                    kernel_crypto.adds(kernel_crypto.meters(made)),
                ),
            )
        ),
        glimpse=strip.crypto(made),
        masked=made.suites[0].instructions == "masked",
    )


def _from(suites: Sequence[SuiteEntry]) -> str:
    """Which suites a section is made of."""
    shown = f"; answers Figure {suites[0].figure} of the paper" if suites[0].figure else ""
    limit = {suite.link_rate_bits_per_second for suite in suites}
    rate = f"; link rate {words.rate(next(iter(limit)))}" if len(limit) == 1 and suites[0].figure != 4 else ""
    return f"{_suites([suite.name for suite in suites])}{shown}{rate}"
