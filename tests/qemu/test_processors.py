"""Guests with several processors: workers and softirqs are where they are said to be."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.events import Events
from harness.measuring import steering
from harness.measuring.opened import OpenTestbed, open_testbed
from harness.profile import Profile
from harness.record import Run
from hosts import testbed
from hosts.errors import HarnessError
from hosts.lab import qemu
from hosts.remote.host import RemoteHost
from tests.support.lab import obtained, place_datapath, place_generator
from tests.support.runs import profile_of, run, samples_of, suite

PROCESSORS = 4


@pytest.fixture(scope="module")
def opened() -> Iterator[OpenTestbed]:
    """Two guests of four processors each, all of which share one of this machine's."""
    spec = testbed.load("lab-processors")
    assert isinstance(spec, qemu.QemuTestbed)
    assert spec.processors == PROCESSORS
    with contextlib.ExitStack() as stack:
        parts = stack.enter_context(obtained(qemu.obtain(spec)))
        try:
            lab = stack.enter_context(parts.boot())
        except HarnessError as error:
            pytest.skip(f"the lab of QEMU guests does not boot here: {error}")
        hosts = stack.enter_context(open_testbed(lab.testbed, Events()))
        place_generator(hosts, parts)
        place_datapath(hosts, parts)
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
            for host in (sample.receiver, sample.sender):
                each, later = host.processors, host.softirqs
                assert each is not None and later is not None, "a guest tells of its own processors"
                assert each.keys() == later.keys() == {str(number) for number in range(PROCESSORS)}
                assert all(part <= whole + 0.01 for part, whole in zip(later.values(), each.values(), strict=True))
            # who else works there (the agent, sshd, canaries' heads) is anywhere, and the workers are the most
            busy = sample.sender.processors or {}
            fullest = sorted(busy, key=lambda number: busy[number], reverse=True)[:workers]
            assert sorted(fullest) == [str(number) for number in range(workers)]


@dataclass(frozen=True)
class Where:
    """On which processors a cell's samples were served and taken, by number: the means of their shares."""

    busy: dict[str, float]
    softirq: dict[str, float]


def spread(parts: dict[str, float]) -> int:
    """How many processors did at least a quarter of what the fullest one did."""
    return sum(part > max(parts.values()) / 4 for part in parts.values())


def where(done: Run, path: str, workers: int) -> Where:
    """Of the sender, in the samples that count."""
    (cell,) = [cell for cell in done.head.cells if (cell.path, cell.workers) == (path, workers)]
    assert cell.outcome == "measured", (cell.id, cell.reason)
    hosts = [sample.sender for sample in samples_of(done, path) if sample.cell == cell.id and not sample.warmup]

    def mean(each: list[dict[str, float] | None]) -> dict[str, float]:
        return {str(n): statistics.fmean(one[str(n)] for one in each if one) for n in range(PROCESSORS)}

    return Where(mean([host.processors for host in hosts]), mean([host.softirqs for host in hosts]))


def queues(host: RemoteHost) -> str:
    """What a host says of where it takes what arrives."""
    folder = f"/sys/class/net/{host.host.data_interface}/queues"
    return host.check(["sh", "-c", f"grep . {folder}/rx-*/rps_cpus {folder}/rx-*/rps_flow_cnt {steering.TABLE}"])


def load_by(*paths: str, workers: list[int], receive_on: str) -> Profile:
    """A suite of load on kept connections, each of which is dealt to a worker."""
    asked = suite(
        *paths, cipher="aes128gcm", question="load", connection="kept", connections=[32], workers=workers,
        receive_on=receive_on, seconds=2.0, sizes={"100kB": {"blocks": 2}},
    )  # fmt: skip
    return profile_of(asked)


def test_an_sa_for_each_worker_spreads_what_one_sa_keeps_together(opened: OpenTestbed, tmp_path: Path) -> None:
    """Softirqs of an SA are where its worker reads: one worker's stay on one processor, and N are spread over N."""
    before = [queues(host) for host in (opened.sender, opened.receiver)]
    asked = load_by("ipsec", "ipsec-per-worker", workers=[1, PROCESSORS], receive_on="readers")
    done = run(opened, asked, tmp_path)
    assert [queues(host) for host in (opened.sender, opened.receiver)] == before
    assert done.head.suites[0].conditions == "what arrives is taken where it is read"
    for path in ("ipsec", "ipsec-per-worker"):
        alone = where(done, path, 1)
        assert (spread(alone.busy), spread(alone.softirq)) == (1, 1), (path, alone)
    several = where(done, "ipsec-per-worker", PROCESSORS)
    assert (spread(several.busy), spread(several.softirq)) == (PROCESSORS, PROCESSORS), several


def test_what_arrives_is_taken_on_one_processor_where_that_is_asked(opened: OpenTestbed, tmp_path: Path) -> None:
    """The first one. What a worker sends has softirqs too, and these stay where it is."""
    asked = load_by("ipsec-per-worker", "http", workers=[PROCESSORS], receive_on="one")
    done = run(opened, asked, tmp_path)
    assert done.head.suites[0].conditions == "what arrives is taken on one processor"
    softirq = {path: where(done, path, PROCESSORS).softirq for path in ("ipsec-per-worker", "http")}
    assert spread(softirq["http"]) == 1, softirq
    for each in softirq.values():
        assert max(each, key=lambda number: each[number]) == "0", softirq
