"""Runs one suite on a testbed: deploy, warm up, blocks, verify, undeploy."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from harness import ceiling, judge, link, measure, plan
from harness.bed import Bed
from harness.bench import Bench
from harness.ciphers import CIPHERS
from harness.events import Events, Note, Sampled, Sampling, SuiteEnded, SuiteStarted
from harness.paths import DataPath, Deployed, _datapath
from harness.plan import CellPlan
from harness.profile import Profile, Suite
from harness.record import Cell, Metric, Sample, SuiteEntry, Writer
from hosts.errors import HarnessError
from hosts.ssh import SshError


class Campaign:
    """One suite's run. Outcomes, samples and verdicts go to the record as they happen.

    ``sabotage`` is for tests of the promises: called with the bench and the deployments when all is ready.
    """

    def __init__(
        self,
        bed: Bed,
        profile: Profile,
        suite: Suite,
        paths: dict[str, DataPath],
        writer: Writer,
        events: Events,
        sabotage: Callable[[Bench, dict[str, Deployed]], None] | None = None,
    ) -> None:
        self.bed, self.profile, self.suite = bed, profile, suite
        self.paths, self.writer, self.events = paths, writer, events
        self.sabotage = sabotage
        self.samples: list[Sample] = []
        self.cells: dict[str, Cell] = {}
        self._taken = 0
        self._prices: dict[str, ceiling.Price] = {}

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

    def _decide(self, cell: CellPlan) -> Cell:
        """Its first outcome: unsupported with a reason, or measured until something else is seen."""
        reason = self.paths[cell.path].unsupported(
            CIPHERS.get(cell.cipher), cell.driver, self.bed.sender_facts, self.bed.receiver_facts
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
        blocks = {size: count + self.profile.warmup_blocks for size, count in self.suite.sizes.items()}
        with ExitStack() as stack:
            bench = self.bed.bench(self.suite.name, stack)
            self.events.progress(f"{self.suite.name}: making files")
            for size in {cell.size for cell in live}:
                self.bed.payload(size, self.profile.seed)
            stack.enter_context(self.bed.measuring())
            self.events.progress(f"{self.suite.name}: preparing and measuring the link")
            entry = self._entry()
            entry.link = link.prepare(bench, self.suite.link_rate, self.bed.may_shape)
            deployed = self._deploy(bench, live)
            self._price(bench, entry, deployed)
            if self.sabotage:
                self.sabotage(bench, deployed)
            sizes = {cell.size: [c for c in live if c.size == cell.size and c.path in deployed] for cell in live}
            self.events(SuiteStarted(self.suite.name, sum(len(cells) * blocks[s] for s, cells in sizes.items())))
            for size, cells in sizes.items():
                self._blocks(cells, deployed, blocks[size])

    def _entry(self) -> SuiteEntry:
        rate = self.suite.link_rate
        if rate is not None and not self.bed.may_shape:
            self.events(Note(f"{self.suite.name}: the testbed does not let its link be shaped; measured as it is"))
            rate = None
        entry = SuiteEntry(
            name=self.suite.name,
            figure=self.suite.figure,
            link_rate_bits_per_second=rate,
            baseline=self.suite.baseline,
        )
        self.writer.head.suites.append(entry)
        return entry

    def _price(self, bench: Bench, entry: SuiteEntry, deployed: dict[str, Deployed]) -> None:
        """What the steps of the deployed paths cost on the sender, measured by our own server, untimed."""
        skcipher = CIPHERS[self.suite.cipher].skcipher
        if skcipher and any(self.paths[name].steps for name in deployed):
            self.events.progress(f"{self.suite.name}: measuring what calls, copies and the cipher cost")
            self._prices = _datapath.prices(bench, skcipher if self.suite.driver == "any" else self.suite.driver)
            for name, price in self._prices.items():
                entry.prices |= {f"{name}_call_ns": price.call_ns, f"{name}_byte_ns": price.byte_ns}

    def _enciphering(self, cell: Cell, size: int) -> float | None:
        """Seconds that the cipher alone takes for one transfer, by its price; None where it is not known."""
        steps = self.paths[cell.path].steps or ()
        known = self._prices.get("cipher")
        return size * known.byte_ns / 1e9 if known and any(step.price == "cipher" for step in steps) else None

    def _ceiling(self, size: int, cells: list[Cell]) -> Callable[[Metric, str], float | None]:
        """The predicted ratio of the baseline to a path, for one size."""
        clear = next((c for c in cells if c.path == "plain" and c.outcome == "measured"), None)
        base = judge.plain(judge.counted(self.samples, clear.id).values()) if clear else None
        first = self.paths[self.suite.baseline].steps

        def predict(metric: Metric, path: str) -> float | None:
            second = self.paths[path].steps
            if base is None or first is None or second is None or not self._prices:
                return None
            return ceiling.predicted(metric, first, second, self._prices, base, size)

        return predict

    def _deploy(self, bench: Bench, live: list[CellPlan]) -> dict[str, Deployed]:
        """Every path once, for all sizes. One that cannot be deployed fails its cells and leaves the others."""
        deployed: dict[str, Deployed] = {}
        for cell in {cell.path: cell for cell in live}.values():
            self.events.progress(f"{self.suite.name}: deploying {cell.path}")
            try:
                deployed[cell.path] = self.paths[cell.path].deploy(bench, CIPHERS.get(cell.cipher), cell.driver)
            except SshError:
                raise
            except HarnessError as error:
                self._give_up([c for c in live if c.path == cell.path], "failed", f"not deployed: {error.what}")
                self.events(Note(f"{cell.path}: {error}"))
                continue
            for other in live:
                if other.path == cell.path:
                    self.cells[other.id].driver_found = deployed[cell.path].driver_found
        return deployed

    def _blocks(self, cells: list[CellPlan], deployed: dict[str, Deployed], blocks: int) -> None:
        """Blocks of one size; a cell that failed or is invalid is not sampled again."""
        for block, order in enumerate(plan.orders(len(cells), blocks, self.profile.seed)):
            warmup = block < self.profile.warmup_blocks
            for index, which in enumerate(order):
                cell = cells[which]
                if self.cells[cell.id].outcome == "measured":
                    self.events(Sampling(cell.id, block, blocks, warmup))
                    payload = self.bed.payload(cell.size, self.profile.seed)
                    sample = measure.take(self.bed, deployed[cell.path], payload, cell.id, block, index, warmup)
                    self.samples.append(sample)
                    self.writer.append(sample)
                    if not sample.valid:
                        outcome = "failed" if sample.seconds is None else "invalid"
                        self._give_up([cell], outcome, sample.reason or "not valid")
                self._taken += 1
                self.events(Sampled(cell.id, self._taken))

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
                    judge.counted(self.samples, cell.id).values(), processors, goodput, self._enciphering(cell, size)
                )
                for cell in cells
            }
            self.writer.head.verdicts += judge.verdicts(
                cells, self.samples, self.suite.baseline, self.profile.margin, limits, self._ceiling(size, cells)
            )
        self.writer.write_head()
