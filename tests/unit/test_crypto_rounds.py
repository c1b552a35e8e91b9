"""Kernel crypto over several rounds: drivers that only the host knows, and fewer blocks than rounds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness import plan, records
from harness.api.bench import Bench
from harness.events import Events
from harness.measuring.opened import OpenTestbed
from harness.plan import CellPlan
from harness.profile import CryptoSuite
from harness.record import Run
from harness.records import Writer
from harness.run import operations, qualifying
from harness.run.kernel_crypto import KernelCrypto
from harness.run.qualifying import Qualified, Refused
from harness.run.stage import StageRun
from harness.run.suite import Outcomes
from harness.samples import Sample
from harness.servers import datapath, interfaces
from hosts.errors import HostLost
from tests.support.made import Bed
from tests.support.runs import CLEAR, profile_of
from tests.unit.test_record import head

BLOCKS = 3
ROUNDS = 5


class Crypto:
    """A host that is asked for nothing: which drivers it ``offers`` in each round, and what is wrong with some."""

    def __init__(self, offers: Callable[[int], list[str]], wrong: str = "") -> None:
        self.offers, self.wrong = offers, wrong
        self.boots = 0
        self.lost: tuple[int, str] | None = None
        """The round and the driver whose sample or trial loses the host."""
        self.preferred: Callable[[int], str] = lambda _boot: "generic"
        """What the kernel takes by itself, in each round."""

    def fresh(self) -> Any:
        self.boots += 1
        bench = SimpleNamespace(facts=None)
        around = Bed().surroundings
        opened = SimpleNamespace(bench=lambda *_: bench, measuring=nullcontext, sender_facts=None, surroundings=around)
        return nullcontext(cast(OpenTestbed, opened))

    def qualify(self, _bench: Bench, _interface: object, _cipher: object, driver: str, _trial: object) -> Qualified:
        found = self.preferred(self.boots) if driver == "cbc(aes)" else driver
        if self.lost == (self.boots, f"trial of {driver}"):
            raise HostLost("gone")
        return Qualified(found, Refused("invalid", "a wrong result") if found == self.wrong else None)

    def take(
        self, _bench: Bench, cell: CellPlan, driver: str, _seconds: float, block: int, index: int, warmup: bool
    ) -> Sample:
        assert driver == ("generic" if cell.driver == "any" else cell.driver)
        if self.lost == (self.boots, driver):
            raise HostLost("gone")
        fields: dict[str, Any] = {"seconds": 1e-6, "valid": True, "bytes": 64}
        return Sample(cell=cell.id, block=block, index=index, warmup=warmup, **fields)


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Run]:
    def run(crypto: Crypto, raises: type[BaseException] | None = None) -> Run:
        content: dict[str, Any] = {"name": "raw", "question": "kernel-crypto", "operations": ["encrypt"]}
        content |= {"ciphers": ["aes128cbc"], "buffers": [64], "blocks": BLOCKS, "interfaces": ["AF_ALG"]}
        profile = profile_of(content, rounds=ROUNDS)
        monkeypatch.setattr(interfaces, "why_not", lambda *_: None)
        monkeypatch.setattr(datapath, "compiled", lambda _bench: "")
        monkeypatch.setattr(datapath, "make_ready", lambda *_: None)
        monkeypatch.setattr(qualifying, "offered", lambda *_: crypto.offers(crypto.boots))
        monkeypatch.setattr(qualifying, "qualify", crypto.qualify)
        monkeypatch.setattr(operations, "take", crypto.take)
        only = profile.suites[0]
        assert isinstance(only, CryptoSuite)
        with Writer(tmp_path, head()) as writer:
            kind = KernelCrypto(profile, only, Outcomes(writer), Events())
            (stage,) = plan.stages(profile, plan.cells(profile, CLEAR))
            running = StageRun(stage, {"raw": kind}, crypto.fresh, profile, Events())
            if raises:
                with pytest.raises(raises):
                    running.run()
            else:
                running.run()
            writer.head.verdicts = kind.verdicts()
            writer.write_head()
        return records.read(writer.path)

    return run


def blocks(run: Run) -> dict[str, list[int]]:
    """Rounds of the counted samples of each driver that was measured."""
    counted = run.counted()
    return {
        cell.driver: sorted(sample.round for sample in counted.get(cell.id, {}).values())
        for cell in run.head.cells
        if cell.outcome == "measured"
    }


def test_drivers_that_the_host_offers_are_measured_in_every_round_that_has_a_block(
    measured: Callable[..., Run],
) -> None:
    """Three blocks in five rounds: two rounds have none, and nothing boots for them."""
    crypto = Crypto(lambda _boot: ["generic", "fast", "wrong"], wrong="wrong")
    run = measured(crypto)
    due = [0, 1, 3]
    assert [plan.due(BLOCKS, ROUNDS, number + 1) for number in range(ROUNDS)] == [1, 2, 2, 3, 3]
    assert crypto.boots == BLOCKS
    assert blocks(run) == {"any": due, "fast": due}
    (wrong,) = [cell for cell in run.head.cells if cell.outcome != "measured"]
    assert (wrong.driver, wrong.outcome, wrong.reason) == ("wrong", "invalid", "a wrong result")
    assert Counter(cell.id for cell in run.head.cells).most_common(1)[0][1] == 1, "a row each"
    assert len(run.head.suites) == 1
    assert [row.candidate for row in run.head.verdicts] == ["raw/raw-encrypt/aes128cbc/fast/64B"]


def test_a_driver_that_only_a_later_round_offers_is_left_alone(measured: Callable[..., Run]) -> None:
    """It would be a row that is measured with too few blocks."""
    run = measured(Crypto(lambda boot: ["generic", "fast", "late"] if boot > 1 else ["generic", "fast"]))
    assert set(blocks(run)) == {"any", "fast"}
    assert len(run.head.cells) == 2


@pytest.mark.parametrize("where", ["trial of fast", "fast", "generic"])
@pytest.mark.parametrize("boot", [1, 2])
def test_a_host_lost_in_any_round_leaves_drivers_that_were_found_their_outcome(
    measured: Callable[..., Run], where: str, boot: int
) -> None:
    crypto = Crypto(lambda _boot: ["generic", "fast"])
    crypto.lost = boot, where
    run = measured(crypto, HostLost)
    assert {cell.driver: (cell.outcome, cell.reason) for cell in run.head.cells} == {
        "any": ("failed", "gone"),
        "fast": ("failed", "gone"),
    }
    assert run.head.verdicts == []


def test_a_cell_whose_driver_is_another_in_a_later_round_is_no_measurement(measured: Callable[..., Run]) -> None:
    """Somebody loads a faster one meanwhile: its blocks and the earlier ones would be of two implementations."""
    crypto = Crypto(lambda _boot: ["generic", "fast"])
    crypto.preferred = lambda boot: "generic" if boot == 1 else "fast"
    run = measured(crypto)
    rows = {cell.driver: cell for cell in run.head.cells}
    assert (rows["any"].outcome, rows["any"].driver_found) == ("invalid", "generic")
    assert rows["any"].reason == "fast was bound in a later round, generic before"
    assert {sample.round for sample in run.samples if sample.cell == rows["any"].id} == {0}
    assert run.head.verdicts == []
