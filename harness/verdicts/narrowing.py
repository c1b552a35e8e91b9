"""Pure: what a question's verdicts are while it is measured, for those who watch."""

from __future__ import annotations

from collections.abc import Iterable

from harness.events import Interval, Narrowed
from harness.record import Cell, Verdict
from harness.verdicts.answer import Place, bytes_of, spots


def so_far(verdicts: Iterable[Verdict], cells: Iterable[Cell]) -> Narrowed:
    """The event that tells what a question's verdicts are at a look; those without an interval yet are left out."""
    by_id = {cell.id: cell for cell in cells}
    rows = [verdict for verdict in verdicts if verdict.candidate in by_id]
    several = len({by_id[verdict.candidate].suite for verdict in rows}) > 1
    return Narrowed(
        tuple(
            Interval(_where(verdict, by_id[verdict.candidate], several), verdict.ci_low, verdict.ci_high,
                     verdict.verdict != "cannot_tell")
            for verdict in rows
            if verdict.ci_low and verdict.ci_high
        )
    )  # fmt: skip


def _where(verdict: Verdict, cell: Cell, several: bool) -> str:
    what = {"seconds": "time", "cpu_seconds_per_gb": "CPU"}.get(verdict.metric, "receiver CPU")
    at = spots([Place(cell.suite, cell.cipher, bytes_of(cell), None, None, cell.connections, cell.workers)])
    return f"{what} at {at}{f' ({cell.suite})' if several else ''}"
