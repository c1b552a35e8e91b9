"""A real quick run of gigabit-3des, kept small, and records that tests make of it by editing it.

An edit changes a run in place; ``written`` applies edits to a fresh copy and has the harness judge its samples again.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from harness import paths, receiving, records
from harness.api.parameters import Parameters
from harness.ciphers.table import CIPHERS
from harness.record import Head, Outcome, Run, Status
from harness.samples import Sample
from harness.verdicts import judging, stats
from hosts.roles import Role
from tests.support.shrink import write

DATA = Path(__file__).parents[1] / "data" / "gigabit-3des"
SIZE = "10MB"
"""The size of the schemes' files."""
Edit = Callable[[Run], None]


def written(results: Path, *edits: Edit) -> Path:
    """Write the edited run below ``results``; its folder."""
    run = records.read(DATA)
    for edit in edits:
        edit(run)
    measured = {cell.id for cell in run.head.cells if cell.outcome == "measured"}
    rows = [row for row in run.head.verdicts if {row.baseline, row.candidate} <= measured]
    run.head.verdicts, run.head.estimator = judging.settled(rows, run.samples), stats.ESTIMATOR
    return write(run, results / run.head.run_id)


def night(number: int) -> Edit:
    """The same run made again that many days later: other noise (2 % of each duration), other name."""

    def edit(run: Run) -> None:
        rng = random.Random(number)
        head = run.head
        head.started += timedelta(days=number)
        head.finished = head.finished and head.finished + timedelta(days=number)
        head.run_id = f"{head.started:%Y%m%d-%H%M%S}-{head.profile.name}-{number:04x}"
        for sample in run.samples:
            _scale(sample, math.exp(rng.gauss(0, 0.02)))

    return edit


def boots(run: Run) -> None:
    """Every block in a boot of its own: a run of one boot is shown beside another and not judged."""
    for sample in run.samples:
        sample.round = sample.block


def times(path: str, factor: float) -> Edit:
    """Every duration and busy time of a path is ``factor`` times as long."""

    def edit(run: Run) -> None:
        for sample in run.samples:
            if sample.cell.split("/")[1] == path:
                _scale(sample, factor)

    return edit


def _scale(sample: Sample, factor: float) -> None:
    sample.seconds = sample.seconds and sample.seconds * factor
    sample.sender, sample.receiver = (
        msgspec.structs.replace(host, cpu_seconds=host.cpu_seconds and host.cpu_seconds * factor)
        for host in (sample.sender, sample.receiver)
    )


def became(cell: str, outcome: Outcome, reason: str) -> Edit:
    """A cell that was measured is not: it has no samples, or, where it is invalid, a bad last one."""

    def edit(run: Run) -> None:
        row = next(row for row in run.head.cells if row.id == cell)
        row.outcome, row.reason = outcome, reason
        if outcome == "invalid":
            bad = [sample for sample in run.samples if sample.cell == cell][-1]
            bad.valid, bad.sha256_ok, bad.reason = False, False, reason
        else:
            run.samples[:] = [sample for sample in run.samples if sample.cell != cell]

    return edit


def ended(status: Status, reason: str) -> Edit:
    """The run did not end well."""

    def edit(run: Run) -> None:
        run.head.status, run.head.reason = status, reason

    return edit


def told(role: Role, **facts: Any) -> Edit:
    """Other facts of a host."""
    return lambda run: run.head.hosts[role].update(facts)


def by_devcrypto(run: Run) -> None:
    """The baseline is the traditional scheme by /dev/crypto; the record says its words and steps, as today's do."""
    text = run.head.model_dump_json(by_alias=True).replace("afalg-copy", "devcrypto-copy")
    head = run.head = Head.model_validate_json(text.replace("alg_send_", "devcrypto_copy_"))
    known = receiving.beside(paths.discover())
    head.paths |= {cell.path: known[cell.path].words for cell in head.cells if cell.path in known}
    for entry in head.suites:
        cells = [cell for cell in head.cells if cell.suite == entry.name and cell.path in known]
        asked = {cell.path: Parameters(CIPHERS.get(cell.cipher)) for cell in cells}
        taken = {path: known[path].steps(parameters) for path, parameters in asked.items()}
        entry.taken = {path: steps for path, steps in taken.items() if steps is not None}
        entry.ciphering = ["cipher", "kernel_cipher"]
    for sample in run.samples:
        sample.cell = sample.cell.replace("afalg-copy", "devcrypto-copy")


def only(*suites: str) -> Edit:
    """No suite but these."""

    def edit(run: Run) -> None:
        head = run.head
        head.suites = [suite for suite in head.suites if suite.name in suites]
        head.cells = [cell for cell in head.cells if cell.suite in suites]
        names = {cell.id for cell in head.cells}
        head.verdicts = [row for row in head.verdicts if row.candidate in names]
        run.samples[:] = [sample for sample in run.samples if sample.cell in names]

    return edit
