"""What hosts spend under load: by processor, and the energy that their own counters tell."""

from __future__ import annotations

import json
import os
import shlex
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.api.bench import Payload
from harness.api.path import Deployed, Witness
from harness.load.generator import Asked
from harness.measuring import loading, spending
from harness.measuring.opened import CpuMeter, OpenTestbed
from harness.measuring.proof import Busy
from harness.measuring.spending import Reading, Shares, Spent
from harness.samples import Sample, joules_per_gb
from hosts import energy, quiet
from hosts.energy import Zone
from hosts.onhost.agent import counters, curl
from hosts.onhost.agent.values import Counter, CpuTime, Observation
from tests.support.agent_process import LocalAgent
from tests.unit.test_receiver import server

INTEL = """\
/sys/class/powercap/intel-rapl:0/name:package-0
/sys/class/powercap/intel-rapl:0:0/name:core
/sys/class/powercap/intel-rapl:0:1/name:dram
/sys/class/powercap/intel-rapl:1/name:package-1-die-0
/sys/class/powercap/intel-rapl:2/name:psys
/sys/class/powercap/intel-rapl:0/max_energy_range_uj:262143328850
/sys/class/powercap/intel-rapl:0:0/max_energy_range_uj:262143328850
/sys/class/powercap/intel-rapl:0:1/max_energy_range_uj:65712999613
/sys/class/powercap/intel-rapl:1/max_energy_range_uj:262143328850
/sys/class/powercap/intel-rapl:2/max_energy_range_uj:262143328850
"""
ZONES = (Zone("package-0", "/a", 262_143_328_850), Zone("dram", "/b", 65_712_999_613))


def time_of(busy: list[float], softirq: list[float], numbers: list[int]) -> CpuTime:
    return CpuTime(sum(busy), 0.01, busy, softirq, numbers)


def test_a_processors_share_is_its_own_by_its_own_number() -> None:
    before = time_of([100.0, 50.0, 7.0], [10.0, 1.0, 0.0], [0, 1, 3])
    after = time_of([101.0, 50.1, 9.02], [10.5, 1.0, 0.2], [0, 1, 3])
    found = spending.shares(before, after, 2.0)
    assert found == Shares({"0": 0.5, "1": 0.05, "3": 1.0}, {"0": 0.25, "1": 0.0, "3": 0.1}), "a tick more is all of it"


@pytest.mark.parametrize("numbers", [[0], [0, 2], [0, 1, 2]])
def test_processors_that_came_or_went_tell_no_share(numbers: list[int]) -> None:
    some = [1.0] * len(numbers)
    assert spending.shares(time_of([0.0, 0.0], [0.0, 0.0], [0, 1]), time_of(some, some, numbers), 1.0) is None
    assert spending.shares(time_of([0.0], [0.0], [0]), time_of([1.0], [0.0], [0]), 1.0) is None, "one is the whole host"


def test_the_agent_tells_every_processor_by_its_number() -> None:
    now = counters.cpu()
    assert now.numbers == quiet.numbers(Path("/sys/devices/system/cpu/online").read_text())
    assert len(now.softirq) == len(now.each)
    assert all(0 <= part <= whole for part, whole in zip(now.softirq, now.each, strict=True))


def test_packages_and_memory_are_counted_and_nothing_twice() -> None:
    assert [(zone.name, zone.path) for zone in energy.parse(INTEL)] == [
        ("package-0", "/sys/class/powercap/intel-rapl:0/energy_uj"),
        ("dram", "/sys/class/powercap/intel-rapl:0:1/energy_uj"),
        ("package-1-die-0", "/sys/class/powercap/intel-rapl:1/energy_uj"),
    ]
    assert energy.parse("") == ()


def test_an_energy_counter_that_went_round_goes_on() -> None:
    before = {"/a": 262_143_000_000, "/b": 5_000_000}
    assert energy.joules(ZONES, before, {"/a": 262_143_200_000, "/b": 6_000_000}, 2.0) == pytest.approx(1.2)
    assert energy.joules(ZONES, before, {"/a": 671_150, "/b": 5_000_000}, 2.0) == pytest.approx(1.0)


def test_energy_that_is_not_known_is_missing() -> None:
    known: dict[str, int | None] = {"/a": 5, "/b": 5}
    assert energy.joules((), {}, {}, 2.0) is None
    assert energy.joules(ZONES, known, {"/a": 5, "/b": None}, 2.0) is None, "only root may read it"
    assert energy.joules(ZONES, known, known, 2.0) == 0.0
    assert energy.joules(ZONES, known, known, 100.0) is None, "the memory's could have gone round twice"


def test_an_agent_reads_energy_as_a_number(tmp_path: Path) -> None:
    file = tmp_path / "energy_uj"
    file.write_text("1234567\n")
    zone = Zone("package-0", str(file), 10**9)
    assert counters.observe(energy.counters([zone])).values == {str(file): 1234567}
    file.unlink()
    assert counters.observe(energy.counters([zone])).values == {str(file): None}


def test_what_was_spent_is_told_for_one_request() -> None:
    start = Reading(
        10.0, Observation({"/a": 0, "/b": 0}, {}, time_of([], [], []), time_of([0.0, 0.0], [0.0, 0.0], [0, 1]))
    )
    end = Observation({"/a": 40_000_000, "/b": 0}, {}, time_of([1.0, 0.5], [0.5, 0.0], [0, 1]), time_of([], [], []))
    spent = spending.between(start, Reading(12.0, end), ZONES)
    host = spending.of_request(spent, 0.001, {"n": 1})
    assert host.cpu_seconds == pytest.approx(0.00075)
    assert host.processors == {"0": 0.5, "1": 0.25}
    assert host.softirqs == {"0": 0.25, "1": 0.0}
    assert host.energy_joules == pytest.approx(0.02), "20 W for a millisecond"
    sample = Sample(cell="c", block=0, index=0, warmup=False, seconds=0.001, bytes=10**6, valid=True, sender=host)
    assert joules_per_gb(sample) == pytest.approx(20)
    assert joules_per_gb(sample, "receiver") is None
    nothing = spending.of_request(Spent(2.0, Busy(1.0, 0.01)), 0.001, {})
    assert (nothing.processors, nothing.softirqs, nothing.energy_joules) == (None, None, None)
    assert spending.of_request(None, 0.001, {"n": 1}).counters == {"n": 1}


class Host:
    """This machine's agent, without a way to it."""

    class agent:  # noqa: N801
        observe = staticmethod(counters.observe)

    def __init__(self, boot: str) -> None:
        self.hello = type("Hello", (), {"boot": boot})


def opened(boot: str, processors: int = 4, meter: CpuMeter | None = None) -> OpenTestbed:
    """Two hosts, both of which are this machine; the receiver was booted as ``boot``."""
    facts = type("Facts", (), {"shown": {"processors": processors}, "energy": ()})
    members = {
        "sender": Host("a"),
        "receiver": Host(boot),
        "sender_facts": facts,
        "receiver_facts": facts,
        "meter": meter,
    }
    return cast(OpenTestbed, type("Opened", (), members))


def test_hosts_that_share_a_kernel_tell_no_processors() -> None:
    some = spending.count(opened("b"), 0.4)
    if (os.cpu_count() or 1) > 1:
        assert all(one.shares and one.shares.busy for one in some.values())
    assert some.keys() == {"sender", "receiver"}
    assert all(one.shares is None for one in spending.count(opened("a"), 0.4).values())


class Metered:
    """A lab's meter of two hosts that are half busy; its second reading is made ``late`` seconds."""

    def __init__(self, late: float = 0.0) -> None:
        self.late, self.readings, self.read_twice = late, 0, threading.Event()

    def read(self) -> dict[str, float]:
        self.readings += 1
        if self.readings == 2:
            time.sleep(self.late)
            self.read_twice.set()
        return {"sender": time.monotonic() / 2, "receiver": time.monotonic() / 2}

    @property
    def meter(self) -> CpuMeter:
        return CpuMeter(self.read, lambda: 0.001)


def test_a_meter_does_not_wait_for_a_host_that_transfers_a_canary(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Metered()

    def busy(asked: dict[str, Counter]) -> Observation:
        assert lab.read_twice.wait(30), "the meter waits for the host"
        return counters.observe(asked)

    monkeypatch.setattr(Host.agent, "observe", staticmethod(busy))
    found = spending.count(opened("b", meter=lab.meter), 2.0)
    assert found.keys() == {"sender", "receiver"}
    for spent in found.values():
        assert spent.busy.seconds == pytest.approx(spent.wall_seconds / 2, rel=0.1)
        assert spent.wall_seconds < 2.0


@pytest.mark.parametrize("processors", [1, 4])
def test_a_meter_that_was_read_after_the_window_tells_nothing(processors: int) -> None:
    assert spending.count(opened("b", processors, Metered(late=0.4).meter), 0.4) == {}


def real(local: LocalAgent) -> Any:
    """This machine with a real agent, which answers one request after the other."""
    agent, hello = local.client, SimpleNamespace(boot="b")
    return SimpleNamespace(agent=agent, directory=str(local.directory), name="receiver", read=agent.read, hello=hello)


def test_the_receiver_is_read_while_its_load_goes_on_after_the_last_canary(agent: LocalAgent) -> None:
    """What waits for the generator's last words may not keep the agent from telling what was spent."""
    try:
        curl.library()
    except curl.CurlError as error:
        pytest.skip(f"no libcurl here: {error}")
    seconds = 4.0
    said = [shlex.quote(json.dumps({"event": event})) for event in ("window", "load")]
    argv = ["sh", "-c", f"echo {said[0]}; sleep {seconds * 1.2}; echo {said[1]}"]
    body = bytes(1000)
    outs = [f"canary-{number}" for number in range(loading.CANARIES)]
    hosts: Any = opened("b")
    hosts.receiver, hosts.links = real(agent), {}
    agent.client.make_room(outs, len(body))
    with server(body, requests=loading.CANARIES) as url:
        deployed = Deployed(lambda _name: url, "", 0, lambda _seen: Witness({}))
        payload = Payload("x", len(body), "")
        ran = loading._run(hosts, deployed, payload, Asked(1, "kept", seconds), argv, outs)
    assert [(canary.received, canary.error) for canary in ran.canaries] == [(1000, None)] * loading.CANARIES
    assert ran.spent.keys() == {"sender", "receiver"}
    assert ran.spent["receiver"].wall_seconds > seconds / 2
    tells = Path("/proc/net/tls_stat").exists()
    assert ("kernel_tls_now" in ran.seen) == tells, "what a sender cannot tell is missing, not zero"
