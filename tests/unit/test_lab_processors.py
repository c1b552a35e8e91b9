"""Processors: which ones guests run on, and that only one benchmark measures on each."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from hosts.errors import HarnessError
from hosts.lab import processors
from hosts.lab.accounting import CpuMeter


def devices(tmp_path: Path, siblings: dict[int, str]) -> Path:
    for number, text in siblings.items():
        (tmp_path / f"cpu{number}" / "topology").mkdir(parents=True)
        (tmp_path / f"cpu{number}" / "topology" / "thread_siblings_list").write_text(text + "\n")
    return tmp_path


@pytest.mark.parametrize(
    ("allowed", "siblings", "chosen"),
    [
        ({0, 1, 2, 3}, {0: "0-1", 1: "0-1", 2: "2-3", 3: "2-3"}, [0, 2]),
        ({4, 5}, {4: "4-5", 5: "4-5"}, [4, 5]),
        ({2, 7}, {}, [2, 7]),
        ({3}, {3: "3"}, [3, 3]),
    ],
)
def test_guests_get_cores_of_their_own_where_there_are(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    allowed: set[int],
    siblings: dict[int, str],
    chosen: list[int],
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: allowed)
    assert processors.choose(2, devices(tmp_path, siblings)) == chosen


def test_the_second_to_measure_waits_for_the_first(tmp_path: Path) -> None:
    here = devices(tmp_path, {0: "0", 1: "1"})
    told: list[str] = []
    order: list[str] = []

    def second() -> None:
        with processors.measuring([1, 0], lambda what, _done: told.append(what), devices=here):
            order.append("second")

    with processors.measuring([1], devices=here):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.3)
        order.append("first")
    thread.join(timeout=5)
    assert order == ["first", "second"]
    assert told == ["waiting for processor 1, on which another benchmark measures"]


def test_waiting_ends_and_lets_go_of_what_it_held(tmp_path: Path) -> None:
    here = devices(tmp_path, {0: "0", 1: "1"})
    with (
        processors.measuring([1], devices=here),
        pytest.raises(HarnessError, match="processor 1"),
        processors.measuring([0, 1], timeout=0.1, devices=here),
    ):
        pass
    with processors.measuring([0, 1], timeout=0, devices=here):
        pass


def test_a_processor_that_is_not_there_is_an_error() -> None:
    with pytest.raises(HarnessError, match="no processor 99999"), processors.measuring([99999]):
        pass


def test_this_machines_processors_can_be_held() -> None:
    with processors.measuring(sorted(os.sched_getaffinity(0))[:1], timeout=60):
        pass


def test_a_meter_counts_the_living_and_the_dead() -> None:
    meter = CpuMeter(os.getpid())
    before = meter.seconds()
    child = os.fork()
    if child == 0:
        end = time.process_time() + 0.2
        while time.process_time() < end:
            pass
        os._exit(0)
    os.waitpid(child, 0)
    used = meter.seconds() - before
    assert 0.18 < used < 0.5
    assert meter.resolution_seconds == pytest.approx(1 / os.sysconf("SC_CLK_TCK"))
    meter.seconds()
    assert meter.resolution_seconds < 1e-3


def test_a_meter_of_nobody_says_so() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    with pytest.raises(ProcessLookupError):
        CpuMeter(child).seconds()
