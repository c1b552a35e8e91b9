"""One record as a page: everything the templates need, and nothing computed in a template."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup, escape

from harness.record import Cell, Head, Run, Verdict
from harness.verdicts import reasons, stats
from reports import facts, frame, words
from reports.drawing import figures, strip
from reports.drawing import gain as gain_picture
from reports.findings import answer, costs, gain, headline, kernel_crypto, links
from reports.site import firsts, packing
from reports.site import sections as parts
from reports.table import Table, columns, table

TEMPLATES = Path(__file__).parent / "templates"
ASSETS = TEMPLATES / "assets"
EVIDENCE = re.compile(r"\([^()]*interval[^()]*\)")
READING = (
    "A ratio is baseline ÷ candidate from paired blocks, so above 1 the candidate needs less; the interval holds the "
    "true ratio in 95 of 100 such runs.",
    "It reads “faster” or “slower” only if the interval excludes 1, “same” if it lies within ± the margin, and "
    "otherwise the run cannot tell; “detectable” is the difference that it would have found four times in five.",
    "A round is a boot of the lab or a deployment on hosts; “between” is the share of the variance behind an interval "
    "that lies between rounds.",
)


@dataclass(frozen=True)
class Page:
    """A rendered run: the page, its CSV files, and its row in the index."""

    html: str
    files: dict[str, pd.DataFrame]
    row: dict[str, str]


@cache
def environment() -> jinja2.Environment:
    """Templates with everything escaped."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "number": words.number, "ratio": words.ratio, "percent": words.percent, "size": words.size,
        "nobreak": words.nobreak,
        "claim": claim,
        "rate": words.rate, "when": words.when, "raw": words.raw,
    }  # fmt: skip
    made.globals |= {
        "words": words, "costs": costs, "version": assets_version(), "patterns": len(figures.PATTERNS)
    }  # fmt: skip
    return made


@cache
def assets_version() -> str:
    """A short hash of scripts and styles, so that a browser does not mix old with new."""
    digest = hashlib.sha256()
    for path in sorted(ASSETS.iterdir()):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:8]


def figure_data(shown: Iterable[figures.Figure]) -> dict[str, Any]:
    """What a page's scripts draw: the figures, and the tables of their data."""
    specs: dict[str, Any] = {}
    tables: dict[str, Any] = {}
    for figure in shown:
        specs |= figure.specs
        if not figure.data_of:
            tables[f"{figure.id}-data"] = packing.table(figure.columns, figure.rows)
    return {"figures": specs, "tables": tables}


def render(run: Run) -> Page:
    """The page of a record."""
    head = run.head
    samples = frame.samples(run)
    cells = frame.cells(run, samples)
    taken = columns(run.path.name, head, run.samples)
    numbers = table(taken)
    crypto = kernel_crypto.of_run(head, samples, cells)
    told = kernel_crypto.sentences(crypto)
    sections = parts.sections(run, samples, cells, crypto)
    data = figure_data(figure for section in sections for figure in section.figures)
    data |= {"samples": packing.sample_columns(samples, [cell.id for cell in head.cells])}
    found = answer.about(head)
    model = gain.model(head, taken)
    # in words where there is no picture
    why = reasons.reasons(head, found, run.samples) if isinstance(model, str) and found and found.compared else None
    said = [headline.headline(run, told), *headline.brief(head, told)]
    hosts = facts.side_by_side(head.hosts.get("sender", {}), head.hosts.get("receiver", {}))
    counted, linked = counts(run, samples), links.of_run(head)
    priced = [suite for suite in head.suites if suite.prices]
    missing = unmeasured(head)
    absent = {key for key, found in (("prices", priced), ("unmeasured", missing)) if not found}
    html = environment().get_template("run.html.j2").render(
        run=run,
        head=head,
        answer=answer.sentence(head, told),
        question=strip.question(head, found) if found else None,
        why=f"{why.told()}." if why and why.each else "",
        gain=model if isinstance(model, str) else gain_picture.picture(gain.drawn(model)),
        sentences=said,
        contents=firsts.contents(head, sections, absent),
        firsts=firsts.firsts(head, counted, len(said), hosts, linked),
        standing=firsts.STANDING,
        banners=banners(run),
        counts=counted,
        verdicts=[verdict_row(head, verdict, numbers) for verdict in headline.in_order(head)],
        reading=[*READING, *costs.reading(head.verdicts)],
        priced=[suite.name for suite in priced],
        prices=costs.prices(priced),
        sections=sections,
        cells=_cell_rows(cells, run),
        unmeasured=missing,
        linked=linked,
        interfaces={"settings": facts.side_by_side(*linked.alike).get("", [])},
        hosts=hosts,
        machine=facts.side_by_side(head.testbed.machine),
        machines=facts.machines(head),
        profile=facts.side_by_side(head.profile.content),
        data=packing.packed(data),
        limits=parts.limits(run),
        label=words.label(head.testbed),
    )  # fmt: skip
    return Page(html, {"samples.csv": samples, "cells.csv": cells}, index_row(run, told))


def render_index(
    rows: list[dict[str, str]],
    kernels: list[dict[str, str]],
    compared: list[dict[str, str]],
    trends: list[dict[str, str]],
    nights: list[dict[str, str]],
) -> str:
    """The index of all runs, and of the pages that hold several runs side by side."""
    template = environment().get_template("index.html.j2")
    return template.render(rows=rows, kernels=kernels, compared=compared, trends=trends, nights=nights)


def index_row(run: Run, told: Sequence[str] = ()) -> dict[str, str]:
    """What the index says of a run. ``told``: sentences on kernel cryptography, for a run that compared nothing."""
    head = run.head
    found = answer.about(head)
    return {
        "folder": run.path.name,
        "started": words.when(head.started),
        "profile": head.profile.name,
        "testbed": head.testbed.name,
        "kernel": kernel(head),
        "kind": words.label(head.testbed),
        "status": head.status,
        "headline": answer.sentence(head, told, found),
        "verdict": answer.word(found) if found else "",
    }


def kernel(head: Head) -> str:
    """The release of the sender's kernel; empty where the record does not say it."""
    found = head.hosts.get("sender", {}).get("kernel")
    return found if isinstance(found, str) else ""


def claim(sentence: str) -> Markup:
    """A sentence to quote, in which what an engineer checks it by, the interval in parentheses, is set smaller."""
    return Markup(EVIDENCE.sub(r"<small>\g<0></small>", str(escape(words.nobreak(sentence)))))  # noqa: S704


def banners(run: Run) -> list[tuple[str, str]]:
    """What a reader must know before believing the page: (kind, sentence)."""
    head = run.head
    why = f": {head.reason}" if head.reason else "."
    found = []
    if head.status == "interrupted":
        found.append(("warning", f"This run was interrupted{why}"))
    elif head.status == "failed":
        found.append(("error", f"This run failed{why}"))
    elif head.status == "running":
        found.append(("warning", "This run is still going; the page shows it as it was when the page was made."))
    if run.lost:
        kind = "error" if head.status == "complete" else "warning"  # what was whole was changed since
        found.append((kind, f"{run.lost[0].upper()}{run.lost[1:]}."))
    invalid = [cell for cell in head.cells if cell.outcome == "invalid"]
    if invalid:
        said = words.count(len(invalid), "cell is", "cells are")
        found.append(("error", f"{said} invalid: a payload or a witness did not check, so none of it counts."))
    strangers = {sample.cell for sample in run.samples} - {cell.id for cell in head.cells}
    if strangers:
        said = words.count(len(strangers), "cell")
        found.append(("warning", f"Samples of {said} are in no figure: the run ended before the cell was closed."))
    return found


def counts(run: Run, samples: pd.DataFrame) -> dict[str, int]:
    """How many samples and cells there are, and how many count."""
    outcomes = Counter(cell.outcome for cell in run.head.cells)
    return {
        "cells": len(run.head.cells),
        "measured": outcomes["measured"],
        "samples": len(samples),
        "counted": int(samples["counted"].sum()),
        "warmup": int(samples["warmup"].sum()),
        "invalid": int((~samples["valid"]).sum()),
    }


def verdict_row(head: Head, verdict: Verdict, numbers: Table) -> dict[str, Any]:
    """A verdict with its cells in words, and how many of its blocks are outliers."""
    cells = {cell.id: cell for cell in head.cells}
    candidate, baseline = cells.get(verdict.candidate), cells.get(verdict.baseline)
    logs = numbers.series(verdict.baseline, verdict.candidate, verdict.metric).logs
    named = words.VERDICTS if verdict.metric == "seconds" else words.CPU_VERDICTS
    return {
        "verdict": verdict,
        "word": named[verdict.verdict] if verdict.ratio else "– not measured",
        "what": headline.against(candidate, baseline) or f"{verdict.candidate} against {verdict.baseline}",
        "detail": _detail(candidate),
        "metric": words.METRICS[verdict.metric],
        "outliers": len(stats.outliers(logs)),
    }


def unmeasured(head: Head) -> list[tuple[str, str, str]]:
    """Cells that gave no number: (id, outcome, reason)."""
    return [
        (cell.id, cell.outcome, cell.reason or "no reason was recorded")
        for cell in head.cells
        if cell.outcome != "measured"
    ]


def _cell_rows(cells: pd.DataFrame, run: Run) -> list[dict[str, Any]]:
    """The cells with what their witnesses saw: the range of each counter over the samples that count."""
    seen: dict[str, dict[str, list[Any]]] = {}
    for name, blocks in run.counted().items():
        for sample in blocks.values():
            for key, value in sorted(sample.witness.items()):
                seen.setdefault(name, {}).setdefault(key, []).append(value)
    rows = []
    for row in cells.to_dict("records"):
        witness = "; ".join(f"{key} {_span(values)}" for key, values in seen.get(row["cell"], {}).items())
        if row["outcome"] == "measured" and row["unproven"]:
            witness = f"Not wholly proven: {row['unproven']}. {witness}"
        rows.append({str(key): value for key, value in row.items()} | {"witness": witness})
    return rows


def _span(values: list[Any]) -> str:
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) < len(values):
        return ", ".join(dict.fromkeys(str(v) for v in values))
    low, high = min(numbers), max(numbers)
    return words.number(low, 12) if low == high else f"{words.number(low, 12)}–{words.number(high, 12)}"


def _detail(cell: Cell | None) -> str:
    if cell is None:
        return "cell not in the record"
    driver = "" if cell.driver == "any" else f", {cell.driver}"
    kind = "" if cell.cipher in words.UNENCRYPTED else f"{words.cipher(cell.cipher)}, "
    return f"{kind}{words.place(cell)}{driver} · {cell.suite}"
