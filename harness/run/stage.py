"""Runs a stage of a run: in every round each of its suites is deployed anew and sampled, whatever ends it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count

from harness import plan
from harness.events import Events, Note, Planned, Sampled, Sampling, StageEnded, StageStarted
from harness.measuring.disturbance import Surroundings, watching
from harness.measuring.opened import Fresh, OpenTestbed
from harness.plan import CellPlan, Stage
from harness.profile import Profile
from harness.record import Outcome
from harness.run.suite import Group, Kind
from harness.samples import Sample
from harness.spans import Span
from hosts.errors import HarnessError, Refusal

WARM_SECONDS, WARM_BLOCKS = 0.5, 3
"""The first round's warm-up tells how many blocks there will be: short ones are repeated, the quickest counts."""


@dataclass
class Taking:
    """How far a group is, over all rounds."""

    cells: Sequence[CellPlan]
    """Those that it began with; in a later round some of them may be missing."""
    blocks: int | None = None
    """Counted blocks that there will be; None before the first round's warm-up."""
    orders: list[list[int]] = field(default_factory=list)
    """The places of cells in these."""
    taken: int = 0
    """Counted blocks that there are."""


@dataclass
class StageRun:
    """One stage's run. ``look`` is called at each of the stage's looks, with the number of rounds that are over; it
    says which cells are known well enough."""

    stage: Stage
    kinds: Mapping[str, Kind]
    fresh: Fresh
    profile: Profile
    events: Events
    look: Callable[[int], frozenset[str]] = lambda _round: frozenset()
    _groups: dict[tuple[str, str], Taking] = field(default_factory=dict)
    _let_go: frozenset[str] = frozenset()
    _paces: dict[str, float] = field(default_factory=dict)
    """Seconds within transfers for each byte of a block, by suite: those of the last size that was warmed up for it."""
    _done: int = 0
    """Samples so far."""
    _number: int = 0
    """Of the round that goes on, counted on from the stage before."""
    _before: frozenset[str] = frozenset()
    """Cells that had their row when the stage began."""
    _surroundings: Surroundings = field(init=False)
    """Of the testbed of this round."""

    def run(self) -> None:
        """Measure. Raises HostLost when a host is lost, after giving every cell its outcome."""
        ended = "measured"
        self._before = frozenset(cell for kind in self.kinds.values() for cell in kind.outcomes.cells)
        older = [sample.round for kind in self.kinds.values() for sample in kind.outcomes.samples]
        self.events(StageStarted(self.stage.name, self._due()))
        try:
            for number in range(self.stage.rounds):
                wanted = self._wanted(number)
                if not wanted:
                    continue
                self._number = max(older, default=-1) + 1 + number
                with self.fresh() as opened:
                    self._surroundings = opened.surroundings
                    for suite in wanted:
                        self._suite(opened, suite, number)
                if number + 1 in self.stage.looks:
                    self._let_go |= self.look(number + 1)
                    self.events(Planned(self.stage.name, self._due()))
        except BaseException as error:
            interrupted = isinstance(error, KeyboardInterrupt | SystemExit)
            ended = "interrupted" if interrupted else "failed"
            for suite in self.stage.suites:
                self._cut_short(suite, error, interrupted)
            raise
        finally:
            self.events(StageEnded(self.stage.name, ended))

    def _wanted(self, number: int) -> list[str]:
        """The suites that have something to take in this round."""
        if number == 0:
            return self.stage.suites
        left = {cell for suite in self.stage.suites for cell in self._left(suite)}
        open_ = [
            suite
            for (suite, _), one in self._groups.items()
            if self._until(one, number) > one.taken and left & {*one.cells}
        ]
        return [suite for suite in self.stage.suites if suite in open_]

    def _left(self, suite: str) -> list[CellPlan]:
        """Cells of a suite that are sampled further."""
        known = self.kinds[suite].outcomes.cells
        mine = [cell for cell in self.stage.cells if cell.suite == suite and cell.id in known]
        return [cell for cell in self.kinds[suite].outcomes.live(mine) if cell.id not in self._let_go]

    def _until(self, group: Taking, number: int) -> int:
        """How many counted blocks of a group there are after this round."""
        return plan.due(group.blocks or 0, self.stage.rounds, number + 1)

    def _suite(self, opened: OpenTestbed, suite: str, number: int) -> None:
        """One suite in one round. What a host refuses fails its cells and leaves the other suites."""
        kind = self.kinds[suite]
        for cell in self.stage.cells:
            if number == 0 and cell.suite == suite and cell.id not in kind.outcomes.cells:
                kind.outcomes.add(cell, kind.why_not(opened, cell))
        kind.outcomes.writer.write_head()
        try:
            if live := self._left(suite):
                with ExitStack() as stack:
                    bench = opened.bench(suite, stack)
                    groups = kind.prepare(opened, bench, stack, live, self._span)
                    for place, group in enumerate(groups):
                        self._round(suite, kind, group, number, first=place == 0)
                    if number == 0:
                        kind.finish(bench, kind.outcomes.live(live))
        except Refusal as error:
            self._cut_short(suite, error, interrupted=False)
            self.events(Note(f"{suite}: {error.what}"))

    def _span(self, cell: CellPlan) -> Span:
        return self.stage.spans[cell.suite, cell.size]

    def _cut_short(self, suite: str, error: BaseException, interrupted: bool) -> None:
        """Cells without the samples that the stage is to take at least fail; not what is known well enough, from this
        stage or the one before."""
        reason = error.what if isinstance(error, HarnessError) else f"{type(error).__name__}: {error}"
        kind = self.kinds[suite]
        taken = kind.outcomes.counted()
        for row in kind.outcomes.cells.values():
            if row.id in self._let_go | self._before:
                continue
            fewest = self.stage.spans[row.suite, row.size_bytes].blocks
            if row.outcome == "measured" and len(taken.get(row.id, ())) < fewest:
                row.outcome, row.reason = "failed", "the run was interrupted" if interrupted else reason

    def _round(self, suite: str, kind: Kind, group: Group, number: int, *, first: bool) -> None:
        """The blocks of a group that are due in this round.

        A suite is warmed up by its first group. A size that has seconds is warmed up in the first round,
        to know how long a block takes; not where its fewest blocks fill these by the pace of a smaller size.
        """
        taking = self._groups.setdefault((suite, group.name), Taking(tuple(group.cells)))
        block = count(kind.outcomes.next_block(taking.cells))
        size = sum(cell.size or 0 for cell in group.cells)
        full = self._paces.get(suite, 0.0) * size * group.span.blocks >= group.span.seconds
        timed = taking.blocks is None and not full
        quickest = self._warm_up(kind, group, taking, block) if timed else None
        if quickest and size:
            self._paces[suite] = quickest / size
        if taking.blocks is None:
            taking.blocks = plan.blocks(group.span, quickest) if quickest else group.span.blocks
            taking.orders = plan.orders(len(taking.cells), taking.blocks, self.profile.seed)
        for _ in range(self.profile.warmup_blocks if first and not timed else 0):
            self._block(kind, group, taking, range(len(taking.cells)), next(block), warmup=True)
        self.events(Planned(self.stage.name, self._due()))
        until = self._until(taking, number)
        while taking.taken < until and kind.outcomes.live(group.cells):
            self._block(kind, group, taking, taking.orders[taking.taken], next(block), warmup=False)
            taking.taken += 1

    def _warm_up(self, kind: Kind, group: Group, taking: Taking, block: count[int]) -> float | None:
        """Uncounted blocks; the seconds that one which counts would take within its transfers by the quickest of them,
        None where nothing was transferred."""
        started, found = time.monotonic(), []
        for done in range(max(WARM_BLOCKS, self.profile.warmup_blocks)):
            if done >= self.profile.warmup_blocks and time.monotonic() - started > WARM_SECONDS:
                break
            before = len(kind.outcomes.samples)
            self._block(kind, group, taking, range(len(taking.cells)), next(block), warmup=True)
            spent = sum(sample.seconds or 0.0 for sample in kind.outcomes.samples[before:])
            found.append(spent / group.warm_share)
        return min((seconds for seconds in found if seconds > 0), default=None)

    def _block(
        self, kind: Kind, group: Group, taking: Taking, order: Sequence[int], block: int, *, warmup: bool
    ) -> None:
        """One sample of each cell that is not given up; one that failed or is invalid is not sampled again."""

        def began(cell: str) -> None:
            self.events(Sampling(cell, taking.taken, taking.blocks or 0, warmup))

        due = [taking.cells[which] for which in order]
        live = kind.outcomes.live(cell for cell in due if cell in group.cells)
        ids = [cell.id for cell in group.cells if cell in live]
        samples: Sequence[Sample] = []
        with watching(self._surroundings, kind.outcomes.keep_block, ids, block, warmup, self._number):
            try:
                samples = group.take(live, block, warmup, began) if live else []
            except Refusal as error:
                kind.outcomes.give_up(live, "failed", error.what)
        for sample in samples:
            sample.round = self._number
        kind.outcomes.keep(*samples)
        for sample in samples:
            if not sample.valid:
                bad: Outcome = "failed" if sample.seconds is None else "invalid"
                kind.outcomes.give_up(
                    [cell for cell in live if cell.id == sample.cell], bad, sample.reason or "not valid"
                )
        for cell in due:
            self._done += 1
            self.events(Sampled(cell.id, self._done))

    def _due(self) -> int:
        """Samples that there will be, as far as that is known: of what has not begun, the fewest."""
        begun = {cell for group in self._groups.values() for cell in group.cells}
        going = [
            group
            for (suite, _), group in self._groups.items()
            if any(cell.id not in self._let_go for cell in self.kinds[suite].outcomes.live(group.cells))
        ]
        left = sum(len(group.cells) * ((group.blocks or 0) - group.taken) for group in going)
        return self._done + left + sum(self._span(cell).blocks for cell in self.stage.cells if cell not in begun)
