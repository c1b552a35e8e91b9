"""Runs one suite on a testbed: deploy, warm up, blocks, verify, undeploy."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace

from harness import ceiling, crossings, drivers, judge, link, measure, plan, possible, prices
from harness.bed import Bed
from harness.bench import Bench
from harness.ciphers import CIPHERS
from harness.crossings import NotThisPath
from harness.events import Events, Note, Sampled, Sampling, SuiteEnded, SuiteStarted
from harness.measure import Batch
from harness.paths import DataPath, Deployed
from harness.plan import CellPlan
from harness.profile import Profile, TransferSuite, size_name
from harness.record import Cell, Metric, Sample, SuiteEntry, Writer
from harness.setup import Setup
from hosts.errors import HarnessError
from hosts.ssh import SshError

CLEAR = ("plain", "http")
"""Paths that a prediction may stand on: sendfile in clear."""
CIPHERING = frozenset({"cipher", "kernel_cipher", "openssl", "gnutls", "esp"})
"""Prices of the sender that are the cipher's (and its MAC's) own."""
CROSSING_BYTES = 10**7
"""Crossings are counted with the largest file of a suite up to this size."""


class Campaign:
    """One suite's run. Outcomes, samples and verdicts go to the record as they happen.

    ``explain``: prices and crossings, which say why a path costs what it does, are measured too, untimed.
    ``sabotage`` is for tests of the promises: called with the bench and the deployments when all is ready.
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
    ) -> None:
        self.bed, self.profile, self.suite = bed, profile, suite
        self.paths, self.writer, self.events = paths, writer, events
        self.sabotage = sabotage
        self.explain = explain and suite.requests == 1  # of small files, handshakes are the cost: no price is known
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
        blocks = {size: count + self.profile.warmup_blocks for size, count in self.suite.sizes.items()}
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
            if self.explain:
                self._price(bench, entry, deployed)
            if self.sabotage:
                self.sabotage(bench, deployed)
            sizes = {size: [c for c in live if c.size == size and c.path in deployed] for size in self.suite.sizes}
            self.events(SuiteStarted(self.suite.name, sum(len(cells) * blocks[s] for s, cells in sizes.items())))
            for size, cells in sizes.items():
                self._blocks(cells, size, deployed, blocks[size])
            if self.explain:
                self._cross(bench, entry, live, deployed)

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
            question=self.suite.question,
            tls=self.suite.setup.tls if CIPHERS[self.suite.cipher].tls else None,
            connection=self.suite.connection if self.suite.requests > 1 else None,
            requests=self.suite.requests,
            instructions=self.profile.instructions,
        )
        self.writer.head.suites.append(entry)
        return entry

    def _steps(self, path: str) -> ceiling.Steps | None:
        return self.paths[path].steps(Setup(None) if self.paths[path].clear else self.suite.setup)

    def _price(self, bench: Bench, entry: SuiteEntry, deployed: dict[str, Deployed]) -> None:
        """What the steps of the deployed paths cost on these hosts, measured untimed."""
        needed = {name for path in deployed for name in (self._steps(path) or ceiling.Steps()).names()}
        if not needed:
            return
        self.events.progress(f"{self.suite.name}: measuring what calls, copies and the cipher cost")
        try:
            driver = drivers.chosen(self.suite.driver, CIPHERS[self.suite.cipher], self.bed.sender_facts)
            self._prices = prices.measure(bench, replace(self.suite.setup, driver=driver or drivers.CARD), needed)
        except SshError:
            raise
        except HarnessError as error:
            self.events(Note(f"{self.suite.name}: no prices, so no prediction: {error.what}"))
        for name, price in self._prices.items():
            entry.prices |= {f"{name}_call_ns": price.call_ns, f"{name}_byte_ns": price.byte_ns}

    def _enciphering(self, cell: Cell, size: int) -> float | None:
        """Seconds that the cipher alone takes the sender for one transfer, by its price; None where not known."""
        steps = self._steps(cell.path)
        known = [step for step in steps.sender if step.price in CIPHERING] if steps else []
        if not known or any(step.price not in self._prices for step in known):
            return None
        return sum(size * self._prices[step.price].byte_ns for step in known) / 1e9

    def _ceiling(self, size: int, cells: list[Cell]) -> Callable[[Metric, str], float | None]:
        """The predicted ratio of the baseline to a path, for one size."""
        clear = next((c for c in cells if c.path in CLEAR and c.outcome == "measured"), None)
        base = judge.clear(judge.counted(self.samples, clear.id).values()) if clear else None
        first = self._steps(self.suite.baseline)

        def predict(metric: Metric, path: str) -> float | None:
            second = self._steps(path)
            if base is None or first is None or second is None or not self._prices:
                return None
            return ceiling.predicted(metric, first, second, self._prices, base, size)

        return predict

    def _cross(self, bench: Bench, entry: SuiteEntry, live: list[CellPlan], deployed: dict[str, Deployed]) -> None:
        """Count what each path takes across the border, with its usual buffer and others; untimed."""
        size = max([size for size in self.suite.sizes if size <= CROSSING_BYTES], default=min(self.suite.sizes))
        payload = self.bed.payload(size, self.profile.seed)
        for cell in {cell.path: cell for cell in live if self.cells[cell.id].outcome == "measured"}.values():
            if cell.path not in deployed:
                continue
            self.events.progress(f"{self.suite.name}: counting the crossings of {cell.path} (untimed)")
            usual = deployed[cell.path]
            others = self.paths[cell.path].buffers if usual.buffer_bytes is not None else ()
            for buffer in (None, *others):
                try:
                    with bench.anew() as other:
                        setup = replace(self._setup(cell), buffer_bytes=buffer)
                        how = usual if buffer is None else self.paths[cell.path].deploy(other, setup)
                        entry.crossings.append(crossings.count(self.bed, bench, how, payload, cell.path, cell.cipher))
                except SshError:
                    raise
                except HarnessError as error:
                    what = f" with {size_name(buffer)}" if buffer else ""
                    self.events(Note(f"{self.suite.name}: crossings of {cell.path}{what} not counted: {error.what}"))
                    if isinstance(error, NotThisPath) and buffer is None:
                        self._give_up([c for c in live if c.path == cell.path], "invalid", error.what)
        self.writer.write_head()

    def _deploy(self, bench: Bench, live: list[CellPlan]) -> dict[str, Deployed]:
        """Every path once, for all sizes. One that cannot be deployed fails its cells and leaves the others."""
        deployed: dict[str, Deployed] = {}
        for cell in {cell.path: cell for cell in live}.values():
            self.events.progress(f"{self.suite.name}: deploying {cell.path}")
            try:
                deployed[cell.path] = self.paths[cell.path].deploy(bench, self._setup(cell))
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

    def _blocks(self, cells: list[CellPlan], size: int, deployed: dict[str, Deployed], blocks: int) -> None:
        """Blocks of one size; a cell that failed or is invalid is not sampled again."""
        if not cells:
            return
        payload, batch = self.bed.payload(size, self.profile.seed), Batch(self.suite.requests, self.suite.connection)
        for block, order in enumerate(plan.orders(len(cells), blocks, self.profile.seed)):
            warmup = block < self.profile.warmup_blocks
            for index, which in enumerate(order):
                cell = cells[which]
                if self.cells[cell.id].outcome == "measured":
                    self.events(Sampling(cell.id, block, blocks, warmup))
                    sample = measure.take(self.bed, deployed[cell.path], payload, cell.id, block, index, warmup, batch)
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
