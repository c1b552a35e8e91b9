"""A kind of suite and a testbed that need no host, for tests of the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

from harness import plan
from harness.api.bench import Bench
from harness.measuring.disturbance import Surroundings
from harness.measuring.opened import OpenTestbed
from harness.plan import CellPlan
from harness.profile import Profile
from harness.record import Verdict
from harness.run.suite import Group, Outcomes, Spans, one_by_one
from harness.samples import Sample
from harness.verdicts import judging
from hosts.disturbance import Disturbance
from hosts.facts import PROGRAMS
from hosts.roles import ROLES

LIBCURL = "libcurl/8.14.1 GnuTLS/3.8.9 zlib/1.3.1"


def programs_of_today() -> dict[str, str | None]:
    """What a host has that has all programs, as facts tell it."""
    versions = {"nginx": "nginx/1.26.3", "openssl": "OpenSSL 3.5.1", "libcurl": LIBCURL, "lighttpd-gnutls": "1.0"}
    return {**dict.fromkeys(PROGRAMS, "1.0"), **versions}


@dataclass(frozen=True)
class Place:
    """Where a sample would be taken."""

    cell: CellPlan
    block: int
    boot: int
    warmup: bool


Step = Callable[[Place], Any]
"""Raises, or says what is different about the sample of a place."""


class Made:
    """A kind of suite that needs no host."""

    def __init__(
        self,
        profile: Profile,
        suite: Any,
        outcomes: Outcomes,
        step: Step,
        ready: Callable[[int], None] = lambda _boot: None,
        warm_share: float = 1.0,
    ) -> None:
        self.profile, self.suite, self.outcomes, self.warm_share = profile, suite, outcomes, warm_share
        self.step, self.ready = step, ready
        self.finished: list[list[str]] = []

    def why_not(self, _opened: OpenTestbed, cell: CellPlan) -> str | None:
        return "no such path here" if cell.path == "absent" else None

    def prepare(
        self, opened: OpenTestbed, _bench: Bench, _stack: ExitStack, live: list[CellPlan], spans: Spans
    ) -> list[Group]:
        boot = cast(Any, opened).boot
        self.ready(boot)

        def take(cell: CellPlan, block: int, index: int, warmup: bool) -> Sample:
            fields: dict[str, Any] = {"seconds": 1.0 + block / 100, "valid": True}
            fields |= self.step(Place(cell, block, boot, warmup)) or {}
            return Sample(cell=cell.id, block=block, index=index, warmup=warmup, **fields)

        groups: dict[str, list[CellPlan]] = {}
        for cell in live:
            groups.setdefault(cell.what, []).append(cell)
        block = one_by_one(self.outcomes, take)
        return [Group(name, cells, spans(cells[0]), block, self.warm_share) for name, cells in groups.items()]

    def finish(self, _bench: Bench, live: list[CellPlan]) -> None:
        assert all(self.outcomes.cells[cell.id].outcome == "measured" for cell in live)
        self.finished.append([cell.id for cell in live])

    def verdicts(self) -> list[Verdict]:
        found: list[Verdict] = []
        for size in self.suite.sizes:
            rows = [row for row in self.outcomes.cells.values() if row.size_bytes == size]
            asked = next((row.path for row in rows if plan.of_question(self.profile, row)), None)
            found += judging.rows(rows, self.suite.baseline, 0.03, {}, lambda *_: None, asked)
        return found


@dataclass
class Bed:
    """Boots that follow one another; the last one's number."""

    surroundings: Surroundings = lambda: dict.fromkeys(ROLES, Disturbance())
    boots: int = 0
    up: bool = False

    @contextmanager
    def fresh(self) -> Iterator[OpenTestbed]:
        assert not self.up, "the boot before has ended"
        self.boots, self.up = self.boots + 1, True
        try:
            shown = SimpleNamespace(shown={"boot": self.boots}, programs=programs_of_today())
            opened = SimpleNamespace(
                bench=lambda *_: None,
                boot=self.boots,
                sender_facts=shown,
                receiver_facts=shown,
                surroundings=self.surroundings,
            )
            yield cast(OpenTestbed, opened)
        finally:
            self.up = False
