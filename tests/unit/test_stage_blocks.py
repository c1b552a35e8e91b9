"""A stage's blocks keep what else happened while they were taken, whatever becomes of their samples; a cell's
are of one driver."""

from __future__ import annotations

from contextlib import ExitStack, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness import plan, records
from harness.api.bench import Bench
from harness.api.path import Deployed, Witness
from harness.events import Events
from harness.measuring.opened import OpenTestbed
from harness.plan import CellPlan
from harness.record import Run
from harness.records import Writer
from harness.run.stage import StageRun
from harness.run.suite import Group, Outcomes, Spans
from harness.run.transfers import Transfers
from hosts.disturbance import Disturbance
from hosts.errors import HostLost, Refusal
from tests.support.made import Bed, Made, Place, Step
from tests.support.runs import profile_of, suite
from tests.unit.test_record import head

PROFILE = profile_of(suite("a", "b", "c", cipher="3des", sizes={"1MB": {"blocks": 4}}), rounds=2)
CELLS = plan.cells(PROFILE, frozenset())
A, B, C = (cell.id for cell in CELLS)


class Around:
    """What happens around hosts that are none: from one reading to the next, the sender's processor waits a second."""

    def __init__(self) -> None:
        self.readings = 0

    def __call__(self) -> dict[str, Disturbance]:
        self.readings += 1
        return {"sender": Disturbance(run_delay_ns=self.readings * 10**9), "receiver": Disturbance()}


def done(results: Path, step: Step = lambda _place: None, raises: type[BaseException] | None = None) -> Run:
    """The record of a stage of CELLS in two rounds, whose first begins with as many warm-ups as they take."""
    (stage,) = plan.stages(PROFILE, CELLS)
    with Writer(results, head()) as writer:
        kinds = {"small": Made(PROFILE, PROFILE.suites[0], Outcomes(writer), step)}
        running = StageRun(stage, kinds, Bed(Around()).fresh, PROFILE, Events())
        with pytest.raises(raises) if raises else nullcontext():
            running.run()
    return records.read(writer.path)


def fail(error: BaseException) -> Any:
    raise error


def test_each_block_keeps_what_else_happened(tmp_path: Path) -> None:
    run = done(tmp_path)
    taken = {(sample.block, sample.round, sample.warmup) for sample in run.samples}
    assert len(run.blocks) == len(taken)
    assert {(facts.block, facts.round, facts.warmup) for facts in run.blocks} == taken
    assert {facts.round for facts in run.blocks} == {0, 1}
    assert all(facts.cells == [A, B, C] and facts.disturbed for facts in run.blocks)
    assert all(facts.sender.run_delay_ns == 10**9 and facts.receiver.run_delay_ns is None for facts in run.blocks)


def test_a_block_that_was_not_finished_has_no_facts(tmp_path: Path) -> None:
    run = done(tmp_path, lambda at: fail(HostLost("gone")) if at.block == 2 else None, raises=HostLost)
    assert [facts.block for facts in run.blocks] == [0, 1]


def test_a_cell_that_was_given_up_is_in_no_later_block(tmp_path: Path) -> None:
    run = done(tmp_path, lambda at: fail(Refusal("no")) if (at.cell.path, at.block) == ("b", 1) else None)
    assert [facts.cells for facts in run.blocks[:4]] == [[A, B, C], [A, B, C], [A, C], [A, C]]


def test_nothing_is_taken_and_looked_at_where_no_cell_is_left(tmp_path: Path) -> None:
    def step(place: Place) -> None:
        if place.block == 4:
            raise Refusal("no")

    run = done(tmp_path, step)
    assert [facts.block for facts in run.blocks] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("seconds", "warmed"),
    [
        (79, False),  # by the pace of 1 MB, 8 blocks of 10 s fill them
        (81, True),
    ],
)
def test_a_size_whose_fewest_blocks_fill_its_seconds_is_not_warmed_up(
    tmp_path: Path, seconds: float, warmed: bool
) -> None:
    """What takes ten seconds tells nothing that a smaller size has not told."""
    sizes = {"1MB": {"seconds": 4, "blocks": 3}, "10MB": {"seconds": seconds, "blocks": 8}}
    asked = profile_of(suite("a", "b", cipher="3des", sizes=sizes), rounds=1)
    (stage,) = plan.stages(asked, plan.cells(asked, frozenset()))
    with Writer(tmp_path, head()) as writer:
        outcomes = Outcomes(writer)
        kinds = {"small": Made(asked, asked.suites[0], outcomes, lambda at: {"seconds": (at.cell.size or 0) / 2e6})}
        StageRun(stage, kinds, Bed().fresh, asked, Events()).run()
    large = [sample for sample in outcomes.samples if sample.cell.endswith("/10MB")]
    assert any(sample.warmup for sample in large) == warmed
    assert sum(not sample.warmup for sample in large) == 2 * (9 if warmed else 8)


def test_a_cell_that_another_driver_deciphers_later_is_no_measurement(tmp_path: Path) -> None:
    """On the receiver, where nobody chooses one."""
    asked = profile_of(suite("a", "b", cipher="3des"), rounds=1)
    with Writer(tmp_path, head()) as writer:
        outcomes = Outcomes(writer)
        one, other, *_ = plan.cells(asked, frozenset())
        outcomes.add(one)
        outcomes.add(other)
        for cell, driver in ((one, "generic"), (other, "generic"), (one, "generic"), (other, "card")):
            outcomes.bind_there(cell.id, driver)
    assert outcomes.live([one, other]) == [one]
    assert outcomes.cells[other.id].reason == "card deciphered on the receiver, generic before"
    assert {row.receiver_driver for row in outcomes.cells.values()} == {"generic"}


class Deploying(Transfers):
    """Deploys for itself, on hosts that are none; blocks are made."""

    def why_not(self, _opened: OpenTestbed, _cell: CellPlan) -> str | None:
        return None

    def prepare(
        self, opened: OpenTestbed, bench: Bench, stack: ExitStack, live: list[CellPlan], spans: Spans
    ) -> list[Group]:
        self._deploy(opened, cast(Bench, SimpleNamespace()), live)
        made = Made(self.profile, self.suite, self.outcomes, lambda _place: None)
        return made.prepare(opened, bench, stack, self.outcomes.live(live), spans)


@pytest.mark.parametrize("later", ["generic", "card"])
def test_a_cell_that_is_deployed_on_another_driver_in_a_later_round_is_no_measurement(
    tmp_path: Path, later: str
) -> None:
    """Somebody starts a card's service meanwhile. A path that has no driver goes on."""
    rounds = iter(["generic", later])

    def deploy(*_: object) -> Deployed:
        return Deployed(url=str, log="", server=0, verify=lambda _seen: Witness({}), driver_found=next(rounds))

    plain = Deployed(url=str, log="", server=0, verify=lambda _seen: Witness({}))
    paths = {name: SimpleNamespace(deploy=lambda *_: plain, clear=True) for name in "ac"}
    paths["b"] = SimpleNamespace(deploy=deploy, clear=False)
    (stage,) = plan.stages(PROFILE, CELLS)
    with Writer(tmp_path, head()) as writer:
        outcomes = Outcomes(writer)
        suite_of = cast(Any, PROFILE.suites[0])
        kind = Deploying(PROFILE, suite_of, cast(Any, paths), outcomes, Events(), explain=False)
        StageRun(stage, {"small": kind}, Bed().fresh, PROFILE, Events()).run()
    row = outcomes.cells[B]
    assert row.driver_found == "generic"
    assert (row.outcome, row.reason) == {
        "generic": ("measured", None),
        "card": ("invalid", "card was bound in a later round, generic before"),
    }[later]
    assert {sample.round for sample in outcomes.samples if sample.cell == B} == ({0, 1} if later == "generic" else {0})
    for other in (A, C):
        assert (outcomes.cells[other].outcome, outcomes.cells[other].driver_found) == ("measured", None)
        assert {sample.round for sample in outcomes.samples if sample.cell == other} == {0, 1}
