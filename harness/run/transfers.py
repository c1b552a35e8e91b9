"""A suite of transfers: every path deployed once, files of each size fetched over all of them in blocks."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

from harness import plan
from harness.api.bench import Bench, OnDisk, Payload
from harness.api.parameters import Parameters
from harness.api.path import DataPath, Deployed
from harness.ciphers.table import CIPHERS
from harness.costs.explanation import Explanation, counted_size
from harness.costs.prediction import Prediction
from harness.events import Events, Note
from harness.load import generator
from harness.load.generator import Asked
from harness.measuring import conditions, crossings, disk, link, loading, sampling, steering
from harness.measuring.crossings import NotThisPath
from harness.measuring.opened import OpenTestbed
from harness.measuring.proof import Batch
from harness.plan import CellPlan
from harness.profile import Profile, TransferSuite
from harness.record import Cell, Metric, SuiteEntry, Verdict
from harness.run import feasible
from harness.run.suite import Began, Group, Outcomes, Spans, TakeBlock, one_by_one
from harness.samples import Sample
from harness.units import size_name
from harness.verdicts import judging
from hosts import offloads
from hosts.errors import Refusal
from hosts.offloads import Link
from hosts.roles import Role

Sabotage = Callable[[Bench, dict[str, Deployed]], None]
WARMING = 10
"""A warm-up of small files has one request for so many of a sample, two at least: what is slow at first is
the first few."""
LEAST_SECONDS = 1.0
"""A warm-up of load takes a quarter of a sample's time, but no less: slow hosts make many first handshakes in it."""


class Transfers:
    """The kind of suite (``suite.Kind``) that transfers files.

    ``explain``: prices and crossings, which say why a path costs what it does, are measured too, untimed.
    ``sabotage`` is for tests of the promises: called with the bench and the deployments when all is ready.
    """

    def __init__(
        self,
        profile: Profile,
        suite: TransferSuite,
        paths: dict[str, DataPath],
        outcomes: Outcomes,
        events: Events,
        *,
        explain: bool,
        sabotage: Sabotage | None = None,
    ) -> None:
        self.profile, self.suite = profile, suite
        self.paths, self.outcomes, self.events = paths, outcomes, events
        self.sabotage = sabotage
        # of small files, handshakes are the cost, of load what all connections share, on disks they are: no price
        self.explain = explain and suite.requests == 1 and not suite.connections and suite.files == "memory"
        self.explanation = Explanation(profile, suite, paths, events)
        self.opened: OpenTestbed | None = None
        self.deployed: dict[str, Deployed] = {}
        self._begun: set[str] = set()
        self.crossed: dict[str, Refusal | None] = {}
        """Paths whose crossings were counted, with why they were not seen."""
        self.entry: SuiteEntry | None = None
        self._batch = Batch(suite.requests, suite.connection)
        self._warming = replace(self._batch, requests=min(suite.requests, max(2, suite.requests // WARMING)))
        self._disk: OnDisk | None = None
        self._capacity: dict[tuple[int | None, int | None, int | None], float] = {}
        """Requests a second that fixed rates are shares of, by size, connections and workers."""
        self._spent: dict[int, tuple[float, float]] = {}
        """Seconds of the blocks of a size, and those of their transfers."""

    def _parameters(self, opened: OpenTestbed, cell: CellPlan) -> Parameters:
        """What the suite asks of a cell's path, its driver by name."""
        return feasible.parameters(self.paths[cell.path], self.suite, opened.sender_facts, cell.workers)

    def why_not(self, opened: OpenTestbed, cell: CellPlan) -> str | None:
        """Why its path cannot do what the suite asks, or the suite cannot be had at all."""
        facts = opened.sender_facts, opened.receiver_facts
        kept = feasible.link_kept(self.suite, opened.may_shape)
        return kept or feasible.why_not(self.paths[cell.path], self._parameters(opened, cell), *facts)

    def prepare(
        self, opened: OpenTestbed, bench: Bench, stack: ExitStack, live: list[CellPlan], spans: Spans
    ) -> list[Group]:
        """Files, the link, every path deployed, prices; a group for each size, and of load for each number of
        connections, those at a fixed rate last."""
        self.opened = opened
        self.events.progress(f"{self.suite.name}: making files")
        sizes = list(dict.fromkeys(cell.size for cell in live if cell.size is not None))
        if self.suite.files == "disk":
            bench = disk.prepare(bench)
            self._disk = bench.disk
            payloads = {size: disk.payload(bench, size, self.profile.seed) for size in sizes}
        else:
            payloads = {size: opened.payload(size, self.profile.seed) for size in sizes}
        stack.enter_context(opened.measuring())
        self.events.progress(f"{self.suite.name}: preparing and measuring the link")
        far = conditions.asked(self.suite)
        if self.entry is None:
            self.entry = self._entry(opened, far)
            self.outcomes.writer.head.suites.append(self.entry)
        rate, earlier = self.suite.link_rate, self.entry.link or None
        measured = link.prepare(bench, rate, opened.may_shape, opened.links, earlier)
        if far:
            measured = measured | conditions.prepare(bench, far, rate, seen=earlier is not None)
            opened.links[str(far)] = {"goodput_bits_per_second": measured["far_bits_per_second"]}
        if self.suite.receive_on:
            steering.make(bench, self.suite.receive_on)
        self.entry.link = measured  # a link or way that was refused is not known in the next round
        if self.suite.connections:
            generator.compiled(bench)
        self._deploy(opened, bench, live)
        self.entry.tls = self.suite.parameters.tls if any(made.tls for made in self.deployed.values()) else None
        if self.explain:
            self.explanation.price(opened, bench, self.entry, self.deployed)
        if self.sabotage:
            self.sabotage(bench, self.deployed)
        compared: dict[str, list[CellPlan]] = {}
        for cell in self.outcomes.live(live):
            compared.setdefault(cell.what, []).append(cell)
        groups, warm_share = [], self._warming.requests / self._batch.requests
        for name, cells in compared.items():
            payload = payloads[cells[0].size or 0]
            take: TakeBlock = partial(self._take, opened, payload)
            if cells[0].connections:
                take = one_by_one(self.outcomes, partial(self._load, opened, bench, payload))
            groups.append(Group(name, cells, spans(cells[0]), take, warm_share))
        return groups

    def _entry(self, opened: OpenTestbed, far: conditions.Conditions | None) -> SuiteEntry:
        rate = self.suite.link_rate
        where = self.suite.receive_on
        said = [*([str(far)] if far else []), *([steering.WORDS[where]] if where else [])]
        if not opened.may_shape and rate is not None:
            self.events(Note(f"{self.suite.name}: the testbed does not let its link be shaped; measured as it is"))
            rate = None
        authenticated = self.suite.question != "schemes" and not CIPHERS[self.suite.cipher].aead
        return SuiteEntry(
            name=self.suite.name,
            figure=self.suite.figure,
            link_rate_bits_per_second=rate,
            conditions=", ".join(said) or None,
            baseline=self.suite.baseline,
            sent_by=self.suite.sent_by,
            files=self.suite.files,
            question=self.suite.question,
            integrity=self.suite.integrity if authenticated else None,
            connection=self.suite.connection if self.suite.requests > 1 or self.suite.connections else None,
            requests=self.suite.requests,
            instructions=self.profile.instructions,
        )

    def _deploy(self, opened: OpenTestbed, bench: Bench, live: list[CellPlan]) -> None:
        """Every path once, for all sizes. One that cannot be deployed fails its cells and leaves the others."""
        self.deployed = {}
        benches = {"": bench}
        for cell in {cell.side: cell for cell in live}.values():
            self.events.progress(f"{self.suite.name}: deploying {cell.side}")
            mine = [other for other in live if other.side == cell.side]
            beside = cell.side.removeprefix(cell.path).strip().replace(" ", "-")
            if beside not in benches:
                benches[beside] = bench.beside(beside)
            where = benches[beside]
            try:
                made = self.deployed[cell.side] = self.paths[cell.path].deploy(where, self._parameters(opened, cell))
            except Refusal as error:
                self.outcomes.give_up(mine, "failed", f"not deployed: {error.what}")
                self.events(Note(f"{cell.side}: {error}"))
                continue
            self.outcomes.bind(mine, made.driver_found)
            for other in mine:
                if other.id not in self._begun:  # what the first round saw of a path holds for later ones
                    self._begun.add(other.id)
                    self.outcomes.cells[other.id].unproven = _unproven(made, "no untimed transfer was watched")

    def _take(
        self,
        opened: OpenTestbed,
        payload: Payload,
        cells: Sequence[CellPlan],
        block: int,
        warmup: bool,
        began: Began,
    ) -> list[Sample]:
        """A block; and what share of the time of all blocks of its size so far was transfers."""
        deployed = [(cell.id, self.deployed[cell.side]) for cell in cells]
        batch = self._warming if warmup else self._batch
        started = time.monotonic()
        samples = sampling.take(opened, deployed, payload, block, warmup, batch, began, self._linked, self._disk)
        for sample in samples:
            if there := sample.receiver_driver:
                self.outcomes.bind_there(sample.cell, there)
        wall, busy = self._spent.get(payload.size, (0.0, 0.0))
        wall += time.monotonic() - started
        busy += sum(sample.seconds or 0.0 for sample in samples)
        self._spent[payload.size] = wall, busy
        if self.entry:
            self.entry.transfer_share[size_name(payload.size)] = busy / wall
        return samples

    def _load(
        self, opened: OpenTestbed, bench: Bench, payload: Payload, cell: CellPlan, block: int, place: int, warmup: bool
    ) -> Sample:
        """A sample of load. Raises HostLost, Refusal."""
        seconds = max(LEAST_SECONDS, self.suite.seconds / 4) if warmup else self.suite.seconds
        asked = Asked(cell.connections or 1, self.suite.connection, seconds, self._rate(cell), cell.workers)
        deployed = self.deployed[cell.side]
        return loading.take(opened, bench, cell.id, deployed, payload, asked, block, place, warmup, linked=self._linked)

    def _rate(self, cell: CellPlan) -> float | None:
        """Requests a second of an open loop: its share of what the baseline's closed loop gave in this run before the
        first of them, the same in all rounds.

        Raises Refusal where that is not known.
        """
        if cell.rate_share is None:
            return None
        place = cell.size, cell.connections, cell.workers
        if place not in self._capacity:
            self._capacity[place] = self._closed(place)
        return cell.rate_share * self._capacity[place]

    def _closed(self, place: tuple[int | None, int | None, int | None]) -> float:
        """Requests a second that the baseline's closed loop gave so far. Raises Refusal where that is not known."""
        same = [
            row.id
            for row in self.outcomes.cells.values()
            if row.path == self.suite.baseline
            and (row.size_bytes, row.connections, row.workers) == place
            and row.rate_share is None
        ]
        counted = self.outcomes.counted()
        known = [rate for name in same for s in counted.get(name, {}).values() if (rate := s.requests_per_second)]
        if not known:
            raise Refusal(
                f"what {self.suite.baseline} gives in a closed loop is not known, and the rate is a share of it"
            )
        return statistics.median(known)

    def _linked(self, cell: str, links: dict[Role, Link]) -> str | None:
        """Keep over what links a cell's first transfer went; why a later one that went over others does not count."""
        row = self.outcomes.cells[cell]
        if not row.links:
            row.links = {role: link for role, link in links.items() if link}
        others = [
            f"the {role}'s link is not what it was: {'; '.join(found)}"
            for role, link in links.items()
            if (found := offloads.differences(row.links.get(role, {}), link))
        ]
        return "; ".join(others) or None

    def finish(self, bench: Bench, live: list[CellPlan]) -> None:
        """Count what each path takes across the border; one that is seen to go another way is given up."""
        opened = self.opened
        if self.suite.receives:
            self._crossed_there()
            return
        if not self.explain or self.entry is None or opened is None:
            return
        for cell in {cell.path: cell for cell in live if cell.side == cell.path}.values():
            deployed = self.deployed[cell.path]
            if cell.path not in self.crossed:
                asked = self._parameters(opened, cell)
                self.crossed[cell.path] = self.explanation.cross(opened, bench, self.entry, cell, asked, deployed)
            wrong = self.crossed[cell.path]
            mine = [other for other in live if other.path == cell.path]
            if isinstance(wrong, NotThisPath):
                self.outcomes.give_up(mine, "invalid", wrong.what)
            for other in mine:
                self.outcomes.cells[other.id].unproven = _unproven(deployed, wrong.what) if wrong else None
        self.outcomes.writer.write_head()

    def _crossed_there(self) -> None:
        """What each way of receiving took across the receiver's border, as its client counted it in a sample."""
        if self.entry is None or self.entry.crossings:
            return
        size = counted_size(self.suite)
        for cell in self.outcomes.cells.values():
            sample = next((one for one in self.outcomes.samples if one.cell == cell.id and one.valid), None)
            if cell.size_bytes == size and sample and (deployed := self.deployed.get(cell.path)):
                self.entry.crossings.append(crossings.of_sample(sample, cell, deployed))

    def verdicts(self) -> list[Verdict]:
        """Every path against the baseline, for each size and load, with what limited it and what prices predict.

        At a fixed rate all of them give the same: nothing is compared.
        """
        found: list[Verdict] = []
        compared: dict[tuple[int, int, int], list[Cell]] = {}
        for cell in self.outcomes.cells.values():
            if cell.rate_share is None:
                place = cell.size_bytes or 0, cell.workers or 0, cell.connections or 0
                compared.setdefault(place, []).append(cell)
        for (size, *_), cells in sorted(compared.items()):
            limits, predictions = self._limits(size, cells), partial(self._predicted, size)
            asked = next((cell.path for cell in cells if plan.of_question(self.profile, cell)), None)
            found += judging.rows(
                cells, self.suite.baseline, self.profile.margin, limits, predictions, asked, self._judged
            )
        return found

    @property
    def _judged(self) -> Role:
        """The host whose CPU its question is about."""
        return "receiver" if self.suite.receives else "sender"

    def _predicted(self, size: int, metric: Metric, path: str) -> Prediction | None:
        return judging.combined(self.explanation.predict(size, metric, path))

    def _limits(self, size: int, cells: list[Cell]) -> dict[str, str | None]:
        """What each cell waited for."""
        if self.opened is None:
            return {}
        facts = {"sender": self.opened.sender_facts, "receiver": self.opened.receiver_facts}
        # a lab's host has one processor of this machine, however many its guest emulates
        several = self.opened.meter is None
        processors = {role: int(fact.shown["processors"]) or 1 if several else 1 for role, fact in facts.items()}
        goodput = self.entry.link.get("goodput_bits_per_second") if self.entry else None
        counted = self.outcomes.counted()
        return {
            cell.id: judging.bottleneck(
                counted.get(cell.id, {}).values(), processors, goodput, self.explanation.enciphering(cell.path, size)
            )
            for cell in cells
        }


def _unproven(deployed: Deployed, why: str) -> str | None:
    """What of a path's proof is missing where its system calls were not seen, for the cell's row; None if nothing."""
    return f"its {', '.join(sorted(deployed.calls))} calls were not seen: {why}" if deployed.calls else None
