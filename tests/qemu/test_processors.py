"""Guests with several processors: workers and softirqs are where they are said to be."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.events import Events
from harness.load import generator
from harness.measuring.opened import OpenTestbed, open_testbed
from hosts import testbed
from hosts.errors import HarnessError
from hosts.lab import qemu
from hosts.programs import in_image
from tests.support.lab import obtained
from tests.support.runs import profile_of, run, samples_of, suite

PROCESSORS = 4


@pytest.fixture(scope="module")
def opened(program: bytes) -> Iterator[OpenTestbed]:
    """Two guests of four processors each, all of which share one of this machine's."""
    spec = testbed.load("lab-qemu")
    assert isinstance(spec, qemu.QemuTestbed)
    several = spec.model_copy(update={"processors": PROCESSORS})
    with contextlib.ExitStack() as stack:
        parts = stack.enter_context(obtained(qemu.obtain(several)))
        try:
            lab = stack.enter_context(parts.boot())
        except HarnessError as error:
            pytest.skip(f"the lab of QEMU guests does not boot here: {error}")
        hosts = stack.enter_context(open_testbed(lab.testbed, Events()))
        generating = in_image(parts.image_path, generator.program())
        hosts.shared[generator.NAME] = hosts.receiver.put(generating, generator.NAME, 0o700)
        hosts.shared["datapath"] = hosts.sender.put(program, "datapath", 0o700)
        yield hosts


def test_one_worker_stays_on_a_processor_and_two_are_spread(opened: OpenTestbed, tmp_path: Path) -> None:
    """How much they give is no matter here: all emulated processors of a guest share one."""
    assert opened.sender_facts.usable == tuple(range(PROCESSORS))
    asked = suite(
        *("http", "plain"), cipher="aes128gcm", question="load", connection="new", connections=[64],
        workers=[1, 2, PROCESSORS + 1], seconds=4.0, sizes={"100kB": {"blocks": 2}},
    )  # fmt: skip
    done = run(opened, profile_of(asked), tmp_path)
    for cell in done.head.cells:
        due = "unsupported" if (cell.workers or 0) > PROCESSORS else "measured"
        assert cell.outcome == due, (cell.id, cell.reason)
    for path in ("http", "plain"):
        for sample in samples_of(done, path):
            workers = next(cell.workers for cell in done.head.cells if cell.id == sample.cell) or 0
            assert sample.witness["logged_workers"] == workers
            each, later = sample.sender.processors, sample.sender.softirqs
            assert each is not None and later is not None, "a guest tells of its own processors"
            assert each.keys() == later.keys() == {str(number) for number in range(PROCESSORS)}
            assert all(part <= whole + 0.01 for part, whole in zip(later.values(), each.values(), strict=True))
            # who else works there (the agent, sshd, canaries' heads) is anywhere, and the workers are the most
            fullest = sorted(each, key=lambda number: each[number], reverse=True)[:workers]
            assert sorted(fullest) == [str(number) for number in range(workers)]
