"""A suite of kernel crypto (the paper's Figure 4): every cipher, buffer, driver and operation, in blocks."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

from harness import plan
from harness.api.bench import Bench
from harness.ciphers import drivers
from harness.ciphers.interfaces import INTERFACES, Interface
from harness.ciphers.table import CIPHERS, Cipher
from harness.events import Events
from harness.measuring.opened import OpenTestbed
from harness.plan import REFERENCE, CellPlan
from harness.profile import CryptoSuite, Profile
from harness.record import SuiteEntry, Verdict
from harness.run import operations, qualifying
from harness.run.qualifying import Qualified, Refused
from harness.run.suite import Group, Outcomes, Spans, one_by_one
from harness.samples import Sample
from harness.servers import datapath, interfaces, requirements
from harness.verdicts import judging
from hosts.errors import Refusal


class KernelCrypto:
    """The kind of suite (``suite.Kind``) that times operations of the kernel's ciphers.

    ``sabotage`` is for tests of the promises: called with the bench before drivers are tried.
    """

    def __init__(
        self,
        profile: Profile,
        suite: CryptoSuite,
        outcomes: Outcomes,
        events: Events,
        sabotage: Callable[[Bench], None] | None = None,
    ) -> None:
        self.profile, self.suite = profile, suite
        self.outcomes, self.events = outcomes, events
        self.sabotage = sabotage
        self.begun = False

    def why_not(self, opened: OpenTestbed, cell: CellPlan) -> str | None:
        """Why the sender cannot time this cipher, or has no `openssl`."""
        if cell.interface is None:
            return requirements.missing(opened.sender_facts, None, sender_programs=("openssl",))
        return interfaces.why_not(cell.interface, CIPHERS[cell.cipher], opened.sender_facts)

    def prepare(
        self, opened: OpenTestbed, bench: Bench, stack: ExitStack, live: list[CellPlan], spans: Spans
    ) -> list[Group]:
        """Our program compiled, drivers found and tried; a group for each cipher and buffer."""
        first, self.begun = not self.begun, True
        if first:
            self.outcomes.writer.head.suites.append(self._entry())
        stack.enter_context(opened.measuring())
        self.events.progress(f"{self.suite.name}: compiling")
        datapath.compiled(bench)
        if self.sabotage:
            self.sabotage(bench)
        cells = list(live)
        for cipher in dict.fromkeys(cell.cipher for cell in live):
            self.events.progress(f"{self.suite.name}: {cipher}: finding drivers and checking their answers")
            for interface in dict.fromkeys(cell.interface for cell in live if cell.cipher == cipher):
                if interface:
                    cells += self._found(bench, interface, cipher, live, first)
        groups: dict[str, list[CellPlan]] = {}
        for cell in self.outcomes.live(cells):
            groups.setdefault(f"{cell.cipher} {cell.buffer}B", []).append(cell)
        take = one_by_one(self.outcomes, partial(self._take, bench))
        return [Group(name, group, spans(group[0]), take) for name, group in groups.items()]

    def _entry(self) -> SuiteEntry:
        return SuiteEntry(
            name=self.suite.name,
            figure=self.suite.figure,
            link_rate_bits_per_second=None,
            baseline=INTERFACES[self.suite.interfaces[0]].path("encrypt"),
            question=self.suite.question,
            instructions=self.profile.instructions,
        )

    def _found(
        self, bench: Bench, interface: Interface, cipher: str, live: list[CellPlan], first: bool
    ) -> list[CellPlan]:
        """The cells of one cipher and interface whose drivers were found there; where it refuses, all are given up."""
        mine = [cell for cell in live if cell.cipher == cipher and cell.interface == interface]
        try:
            return self._prepare(bench, interface, CIPHERS[cipher], mine, first)
        except Refusal as error:
            rows = [row for row in self.outcomes.cells.values() if row.cipher == cipher]
            left = [row for row in rows if row.interface == interface.name and row.outcome == "measured"]
            self.outcomes.give_up(left, "failed", error.what)
            return []

    def _prepare(
        self, bench: Bench, interface: Interface, cipher: Cipher, mine: list[CellPlan], first: bool
    ) -> list[CellPlan]:
        """Try the named drivers, find the others and try them; the cells of those that were found.

        What is found is measured from the first round on, or not at all.
        """
        datapath.make_ready(bench, interface, cipher)
        names = list(dict.fromkeys(cell.driver for cell in mine))
        bound = {
            self._try(bench, interface, cipher, name, [cell for cell in mine if cell.driver == name]) for name in names
        }
        if "each" not in self.suite.drivers:
            return []
        asked = {(cell.path, cell.buffer, cell.depth) for cell in mine if cell.driver == "any"}
        found: list[CellPlan] = []
        for driver in qualifying.offered(bench, cipher):
            if driver not in bound and driver not in names:
                cells = plan.for_driver(self.suite, interface, cipher.name, driver)
                found += [cell for cell in cells if (cell.path, cell.buffer, cell.depth) in asked]
        for cell in found if first else ():
            self.outcomes.add(cell)
        found = self.outcomes.live(cell for cell in found if cell.id in self.outcomes.cells)
        for name in dict.fromkeys(cell.driver for cell in found):
            self._try(bench, interface, cipher, name, [cell for cell in found if cell.driver == name])
        return found

    def _try(self, bench: Bench, interface: Interface, cipher: Cipher, name: str, cells: list[CellPlan]) -> str | None:
        """The driver behind a name; its cells are given up where it does not qualify."""
        deep = [cell for cell in cells if (cell.depth or 1) > 1]
        driver = cipher.kernel if name == "any" else drivers.chosen(name, cipher, bench.facts)
        if driver is None:
            found = Qualified(None, Refused("unsupported", drivers.no_card(cipher, bench.facts)))
        else:
            trial = partial(self._timed, bench, replace(deep[0], depth=qualifying.TRIAL)) if deep else None
            found = qualifying.qualify(bench, interface, cipher, driver, trial)
        for which, refused in ((cells, found.refused), (deep, found.shallow)):
            if refused:
                self.outcomes.give_up(which, refused.outcome, refused.reason)
        self.outcomes.bind(cells, found.driver)
        return found.driver

    def _timed(self, bench: Bench, cell: CellPlan, driver: str) -> dict[str, object]:
        return operations.timed(bench, cell, driver, self.suite.seconds)

    def _take(self, bench: Bench, cell: CellPlan, block: int, index: int, warmup: bool) -> Sample:
        if cell.path == REFERENCE:
            return operations.reference(bench, cell, block, index, warmup)
        driver = self.outcomes.cells[cell.id].driver_found or ""
        return operations.take(bench, cell, driver, self.suite.seconds, block, index, warmup)

    def finish(self, bench: Bench, live: list[CellPlan]) -> None:
        """Nothing is left to do."""

    def verdicts(self) -> list[Verdict]:
        """Other drivers, depths, interfaces and user space against the kernel's own choice, for each buffer."""
        measured = [row for row in self.outcomes.cells.values() if row.outcome == "measured"]
        there = {row.interface for row in measured}
        first = next((name for name in self.suite.interfaces if name in there), self.suite.interfaces[0])
        rows: list[Verdict] = []
        for base in measured:
            for other in measured:
                if plan.compared(base, other, first):
                    both = judging.against(base, other, self.profile.margin)
                    rows += [row for row in both if row.metric == "seconds"]  # a batch's CPU is not an operation's
        return rows
