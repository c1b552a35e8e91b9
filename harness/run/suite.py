"""What becomes of a suite's cells, and what its two kinds (transfers, kernel crypto) do in their own ways."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Protocol

from harness.api.bench import Bench
from harness.blocks import BlockFacts
from harness.measuring.opened import OpenTestbed
from harness.plan import CellPlan
from harness.record import Cell, Outcome, Verdict
from harness.records import Writer
from harness.samples import Sample, counted
from harness.spans import Span
from hosts.errors import Refusal


class GivenUp(Refusal):
    """A cell is not sampled any further. ``outcome``: what it ends as."""

    def __init__(self, outcome: Outcome, what: str) -> None:
        super().__init__(what)
        self.outcome = outcome


@dataclass
class Outcomes:
    """What becomes of a suite's cells, kept in the record."""

    writer: Writer
    cells: dict[str, Cell] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    blocks: list[BlockFacts] = field(default_factory=list)

    def add(self, cell: CellPlan, reason: str | None = None) -> None:
        """A row for a cell: unsupported for a ``reason``, or measured until something else is seen."""
        self.cells[cell.id] = cell.row("unsupported" if reason else "measured", reason)
        self.writer.head.cells.append(self.cells[cell.id])

    def live(self, cells: Iterable[CellPlan]) -> list[CellPlan]:
        """Those that were not given up."""
        return [cell for cell in cells if self.cells[cell.id].outcome == "measured"]

    def give_up(self, cells: Iterable[CellPlan | Cell], outcome: Outcome, reason: str) -> None:
        """These end as ``outcome``."""
        for cell in cells:
            self.cells[cell.id].outcome, self.cells[cell.id].reason = outcome, reason
        self.writer.write_head()

    def bind(self, cells: Iterable[CellPlan], driver: str | None) -> None:
        """Keep which driver these were deployed on in this round, where one is told. Samples of two drivers are none of
        one cell: where it was another before, they end as invalid."""
        for cell in cells:
            row = self.cells[cell.id]
            row.driver_found = row.driver_found or driver
            if driver and driver != row.driver_found:
                self.give_up([cell], "invalid", f"{driver} was bound in a later round, {row.driver_found} before")

    def bind_there(self, cell: str, driver: str) -> None:
        """The same of the receiver, of which a transfer alone tells who deciphered it."""
        row = self.cells[cell]
        row.receiver_driver = row.receiver_driver or driver
        if driver != row.receiver_driver:
            self.give_up([row], "invalid", f"{driver} deciphered on the receiver, {row.receiver_driver} before")

    def keep(self, *samples: Sample) -> None:
        """Add samples. Raises RecordError."""
        self.samples += samples
        self.writer.append(*samples)

    def keep_block(self, facts: BlockFacts) -> None:
        """Add what else happened while a block was taken. Raises RecordError."""
        self.blocks.append(facts)
        self.writer.append_block(facts)

    def counted(self) -> dict[str, dict[int, Sample]]:
        """The samples that count, by cell and block."""
        return counted(self.samples, {name for name, cell in self.cells.items() if cell.outcome == "measured"})

    def next_block(self, cells: Iterable[CellPlan]) -> int:
        """The number of the next block of these cells: none of them has had it."""
        known = {cell.id for cell in cells}
        return 1 + max((sample.block for sample in self.samples if sample.cell in known), default=-1)


@dataclass(frozen=True)
class Group:
    """Cells that are compared: a sample of each in every block.

    ``name`` is the same in every round.
    """

    name: str
    cells: Sequence[CellPlan]
    span: Span
    take: TakeBlock
    warm_share: float = 1.0
    """The share of a sample's transfers that one of a warm-up makes."""


Began = Callable[[str], None]
"""Told the id of a cell whose sample is about to be taken."""
TakeBlock = Callable[[Sequence[CellPlan], int, bool, Began], Sequence[Sample]]
"""Takes a block of these cells in their order: its number, and whether it is a warm-up. Cells that cannot be sampled
are invalid samples, or given up without one. Raises HostLost, and Refusal where none can be sampled."""


def one_by_one(outcomes: Outcomes, take: Callable[[CellPlan, int, int, bool], Sample]) -> TakeBlock:
    """A block of samples that have nothing in common: of a cell, a block, the place there, and whether it warms up.

    Where that raises Refusal or GivenUp, the cell is given up.
    """

    def block(cells: Sequence[CellPlan], number: int, warmup: bool, began: Began) -> Sequence[Sample]:
        samples = []
        for index, cell in enumerate(cells):
            began(cell.id)
            try:
                samples.append(take(cell, number, index, warmup))
            except Refusal as error:
                outcomes.give_up([cell], error.outcome if isinstance(error, GivenUp) else "failed", error.what)
        return samples

    return block


class Kind(Protocol):
    """What one kind of suite does in its own way; one object for each suite of a run."""

    outcomes: Outcomes

    def why_not(self, opened: OpenTestbed, cell: CellPlan) -> str | None:
        """Why a cell cannot be measured on these hosts; None where it can."""

    def prepare(
        self, opened: OpenTestbed, bench: Bench, stack: ExitStack, live: list[CellPlan], spans: Spans
    ) -> list[Group]:
        """Make all ready for a round on the hosts; what ends with the round goes on ``stack``. Raises Refusal."""

    def finish(self, bench: Bench, live: list[CellPlan]) -> None:
        """What is left to do when all samples of a round are taken. Raises HostLost."""

    def verdicts(self) -> list[Verdict]:
        """From what there is, still without numbers that a whole run shares."""


Spans = Callable[[CellPlan], Span]
"""How long a stage of a run measures a cell."""
