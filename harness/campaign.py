"""Runs one suite on a testbed: deploy, warm up, blocks, verify, undeploy."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack

from harness import explain, judge, link, measure, plan, possible, stats
from harness.bed import Bed
from harness.bench import Bench, Payload
from harness.budget import Budget
from harness.ciphers import CIPHERS
from harness.events import Events, Note, Planned, Sampled, Sampling, SuiteEnded, SuiteStarted
from harness.explain import Explanation
from harness.measure import Batch
from harness.paths import DataPath, Deployed
from harness.plan import CellPlan
from harness.profile import Profile, TransferSuite
from harness.record import Cell, Metric, Sample, SuiteEntry, Writer
from harness.setup import Setup
from hosts.errors import HarnessError
from hosts.ssh import SshError

MOST_TIMES = 2
"""How many times the blocks of a profile are taken at most where they do not tell."""


class Campaign:
    """One suite's run. Outcomes, samples and verdicts go to the record as they happen.

    ``explain``: prices and crossings, which say why a path costs what it does, are measured too, untimed.
    ``budget`` is for more blocks where a comparison cannot tell yet; ``looks`` then says of each cell how often its
    verdict was looked at to decide that. ``sabotage`` is for tests of the promises: called with the bench and the
    deployments when all is ready.
    """

    def __init__(
        self,
        bed: Bed,
        profile: Profile,
        suite: TransferSuite,
        paths: dict[str, DataPath],
        writer: Writer,
        events: Events,
        sabotage: Callable[[Bench, dict[str, Deployed]], None] | None = None,
        explain: bool = True,
        budget: Budget | None = None,
    ) -> None:
        self.bed, self.profile, self.suite = bed, profile, suite
        self.paths, self.writer, self.events = paths, writer, events
        self.sabotage = sabotage
        self.explain = explain and suite.requests == 1  # of small files, handshakes are the cost: no price is known
        self.budget = budget or Budget()
        self.samples: list[Sample] = []
        self.cells: dict[str, Cell] = {}
        self.looks: dict[str, int] = {}
        self._taken = self._due = 0
        self.explanation = Explanation(bed, profile, suite, paths, events)

    def run(self, wanted: list[CellPlan]) -> None:
        """Measure the wanted cells. Raises SshError when a host is lost, after giving every cell its outcome."""
        self.writer.head.cells += [self._decide(cell) for cell in wanted]
        self.writer.write_head()
        try:
            self._run([cell for cell in wanted if self.cells[cell.id].outcome == "measured"])
        except BaseException as error:
            reason = error.what if isinstance(error, HarnessError) else "the run was interrupted"
            for cell in self.cells.values():
                if cell.outcome == "measured" and not self._whole(cell):
                    cell.outcome, cell.reason = "failed", reason
            if isinstance(error, SshError) or not isinstance(error, HarnessError):
                raise
            self.events(Note(f"{self.suite.name}: {error.what}"))
        finally:
            self._conclude()
            self.events(SuiteEnded(self.suite.name))

    def _setup(self, cell: CellPlan) -> Setup:
        """What the suite asks of a cell's path, its driver by name."""
        return possible.setup(self.paths[cell.path], self.suite, self.bed.sender_facts)

    def _decide(self, cell: CellPlan) -> Cell:
        """Its first outcome: unsupported with a reason, or measured until something else is seen."""
        reason = possible.why_not(
            self.paths[cell.path], self._setup(cell), self.bed.sender_facts, self.bed.receiver_facts
        )
        self.cells[cell.id] = cell.row("unsupported" if reason else "measured", reason)
        return self.cells[cell.id]

    def _whole(self, cell: Cell) -> bool:
        """Whether it has all the samples that the profile asks for."""
        blocks = self.suite.sizes[cell.size_bytes or 0]
        return len(judge.counted(self.samples, cell.id)) >= blocks

    def _run(self, live: list[CellPlan]) -> None:
        if not live:
            return
        with ExitStack() as stack:
            bench = self.bed.bench(self.suite.name, stack)
            self.events.progress(f"{self.suite.name}: making files")
            for size in self.suite.sizes:
                self.bed.payload(size, self.profile.seed)
            stack.enter_context(self.bed.measuring())
            self.events.progress(f"{self.suite.name}: preparing and measuring the link")
            entry = self._entry()
            entry.link = link.prepare(bench, self.suite.link_rate, self.bed.may_shape)
            deployed = self._deploy(bench, live)
            entry.tls = self.suite.setup.tls if any(made.tls for made in deployed.values()) else None
            if self.explain:
                self.explanation.price(bench, entry, deployed)
            if self.sabotage:
                self.sabotage(bench, deployed)
            sizes = {size: [c for c in live if c.size == size and c.side in deployed] for size in self.suite.sizes}
            stops = {size: self._stopping(size, len(cells)) for size, cells in sizes.items() if cells}
            warmups = self.profile.warmup_blocks
            self._due = sum(len(sizes[size]) * (warmups + stop.looks[0]) for size, stop in stops.items())
            self.events(SuiteStarted(self.suite.name, self._due))
            for size, stop in stops.items():
                self._blocks(sizes[size], size, deployed, stop)
            if self.explain:
                self._cross(bench, entry, live, deployed)

    def _entry(self) -> SuiteEntry:
        rate = self.suite.link_rate
        if rate is not None and not self.bed.may_shape:
            self.events(Note(f"{self.suite.name}: the testbed does not let its link be shaped; measured as it is"))
            rate = None
        authenticated = self.suite.question != "schemes" and not CIPHERS[self.suite.cipher].aead
        entry = SuiteEntry(
            name=self.suite.name,
            figure=self.suite.figure,
            link_rate_bits_per_second=rate,
            baseline=self.suite.baseline,
            question=self.suite.question,
            integrity=self.suite.integrity if authenticated else None,
            connection=self.suite.connection if self.suite.requests > 1 else None,
            requests=self.suite.requests,
            instructions=self.profile.instructions,
        )
        self.writer.head.suites.append(entry)
        return entry

    def _cross(self, bench: Bench, entry: SuiteEntry, live: list[CellPlan], deployed: dict[str, Deployed]) -> None:
        """Count what each path takes across the border; one that is seen to go another way is given up."""
        measured = [cell for cell in live if self.cells[cell.id].outcome == "measured" and cell.side in deployed]
        paths = {cell.path: cell for cell in measured if cell.side == cell.path}
        for cell in paths.values():
            why = self.explanation.cross(bench, entry, cell, self._setup(cell), deployed[cell.path])
            if why:
                self._give_up([c for c in live if c.path == cell.path], "invalid", why)
        self.writer.write_head()

    def _deploy(self, bench: Bench, live: list[CellPlan]) -> dict[str, Deployed]:
        """Every path once, for all sizes. One that cannot be deployed fails its cells and leaves the others."""
        deployed: dict[str, Deployed] = {}
        second = bench.beside() if self.suite.again else bench
        for cell in {cell.side: cell for cell in live}.values():
            self.events.progress(f"{self.suite.name}: deploying {cell.side}")
            mine = [other for other in live if other.side == cell.side]
            where = second if cell.side != cell.path else bench
            try:
                made = deployed[cell.side] = self.paths[cell.path].deploy(where, self._setup(cell))
            except SshError:
                raise
            except HarnessError as error:
                self._give_up(mine, "failed", f"not deployed: {error.what}")
                self.events(Note(f"{cell.side}: {error}"))
                continue
            for other in mine:
                self.cells[other.id].driver_found = made.driver_found
        return deployed

    def _stopping(self, size: int, cells: int) -> stats.Stopping:
        """When blocks of this size end: at the number that the profile says, or where that does not tell, later."""
        fewest, precision = self.suite.sizes[size], self.profile.precision
        most = fewest * MOST_TIMES if precision and cells > 1 else fewest
        return stats.stopping(fewest, most, len(plan.williams(cells)), precision or 1.0)

    def _blocks(self, cells: list[CellPlan], size: int, deployed: dict[str, Deployed], stop: stats.Stopping) -> None:
        """Blocks of one size; a cell that failed or is invalid is not sampled again."""
        payload, batch = self.bed.payload(size, self.profile.seed), Batch(self.suite.requests, self.suite.connection)
        warmups, started = self.profile.warmup_blocks, time.monotonic()
        self.looks |= {cell.id: len(stop) for cell in cells}
        orders = plan.orders(len(cells), warmups + stop.looks[-1], self.profile.seed)
        end, share, spending = warmups + stop.looks[0], self.budget.share, ExitStack()
        with spending:
            for block, order in enumerate(orders):
                if block == end:
                    each = (time.monotonic() - started) / block
                    found = self._found(size, len(stop))
                    further = stop.blocks(block - warmups, found, each, share)
                    if further is None:
                        break
                    share -= (warmups + further - end) * each
                    self._due += len(cells) * (warmups + further - end)
                    self.events(Planned(self.suite.name, self._due))
                    end = warmups + further
                    spending.enter_context(self.budget.spending())
                self._block(cells, block, end, order, payload, batch, deployed)
        self.budget.groups -= 1

    def _block(
        self,
        cells: list[CellPlan],
        block: int,
        blocks: int,
        order: list[int],
        payload: Payload,
        batch: Batch,
        deployed: dict[str, Deployed],
    ) -> None:
        warmup = block < self.profile.warmup_blocks
        for index, which in enumerate(order):
            cell = cells[which]
            if self.cells[cell.id].outcome == "measured":
                self.events(Sampling(cell.id, block, blocks, warmup))
                sample = measure.take(self.bed, deployed[cell.side], payload, cell.id, block, index, warmup, batch)
                self.samples.append(sample)
                self.writer.append(sample)
                if not sample.valid:
                    outcome = "failed" if sample.seconds is None else "invalid"
                    self._give_up([cell], outcome, sample.reason or "not valid")
            self._taken += 1
            self.events(Sampled(cell.id, self._taken))

    def _found(self, size: int, looks: int) -> list[stats.Comparison]:
        """The comparisons of one size as they stand now, at the level that the whole run's plan asks for."""
        cells = [cell for cell in self.cells.values() if cell.size_bytes == size]
        rows = judge.verdicts(
            cells,
            self.samples,
            self.suite.baseline,
            self.profile.margin,
            {},
            lambda _metric, _path: None,
            looks,
            plan.comparisons(self.profile),
        )
        return [
            stats.Comparison(row.ratio, row.ci_low, row.ci_high, row.blocks, row.verdict, row.detectable)
            for row in rows
        ]

    def _predictions(self, size: int, cells: list[Cell]) -> Callable[[Metric, str], float | None]:
        """The predicted ratio of the baseline to a path, for one size."""
        clear = next((c for c in cells if c.path in explain.CLEAR and c.outcome == "measured"), None)
        base = judge.clear(judge.counted(self.samples, clear.id).values()) if clear else None
        return self.explanation.predictions(size, base)

    def _give_up(self, cells: list[CellPlan], outcome: str, reason: str) -> None:
        for cell in cells:
            self.cells[cell.id].outcome = "failed" if outcome == "failed" else "invalid"
            self.cells[cell.id].reason = reason
        self.writer.write_head()

    def _conclude(self) -> None:
        """Verdicts from what there is."""
        facts = {"sender": self.bed.sender_facts, "receiver": self.bed.receiver_facts}
        processors = {role: int(fact.shown["processors"]) or 1 for role, fact in facts.items()}
        entry = next((e for e in self.writer.head.suites if e.name == self.suite.name), None)
        goodput = entry.link.get("goodput_bits_per_second") if entry else None
        for size in self.suite.sizes:
            cells = [cell for cell in self.cells.values() if cell.size_bytes == size]
            limits = {
                cell.id: judge.bottleneck(
                    judge.counted(self.samples, cell.id).values(),
                    processors,
                    goodput,
                    self.explanation.enciphering(cell.path, size),
                )
                for cell in cells
            }
            self.writer.head.verdicts += judge.verdicts(
                cells, self.samples, self.suite.baseline, self.profile.margin, limits, self._predictions(size, cells)
            )  # the last word on all verdicts of a run is its session's
        self.writer.write_head()
