"""What both hosts spend while a load's window goes on: busy time, of each processor too, and energy."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from harness.measuring import sampling
from harness.measuring.opened import CpuMeter, OpenTestbed
from harness.measuring.proof import Busy
from harness.samples import HostSample, placed
from hosts import energy
from hosts.energy import Zone
from hosts.facts import Facts
from hosts.onhost.agent.values import CpuTime, Observation
from hosts.remote.host import RemoteHost
from hosts.roles import Role

BUSY_SHARE = 0.9
"""For so much of the sample's seconds it is counted, from their beginning: afterwards the load goes down."""


@dataclass(frozen=True)
class Shares:
    """What share of a while each processor was busy, and on interrupts' later half, by its number."""

    busy: dict[str, float]
    softirq: dict[str, float]


@dataclass(frozen=True)
class Spent:
    """A host's busy time within the window, and how long that was looked at."""

    wall_seconds: float
    busy: Busy
    shares: Shares | None = None
    """None where it has one processor, or cannot tell which time of them is its own."""
    joules: float | None = None


@dataclass(frozen=True)
class Reading:
    """A host at one moment."""

    at: float
    """By the controller's clock."""
    seen: Observation


def count(opened: OpenTestbed, seconds: float) -> dict[Role, Spent]:
    """What both hosts spend from now on. What was read only when the load may be over is left out: of a host that does
    a canary's transfer and answers late, or by a lab's meter, which waits for no host. Raises HostLost, Refusal."""
    started = time.monotonic()
    with ThreadPoolExecutor(1) as beside:
        told = beside.submit(_by_themselves, opened, started, seconds)
        metered = _from_outside(opened.meter, started, seconds)
        own = told.result()
    if metered is None:
        return own
    return {role: replace(spent, shares=own[role].shares if role in own else None) for role, spent in metered.items()}


def _from_outside(meter: CpuMeter | None, started: float, seconds: float) -> dict[Role, Spent] | None:
    """By a lab's meter; None where there is none, no host where it was read late."""
    before = sampling.read_meter(meter)
    began = time.monotonic()
    _wait(started, seconds)
    metered, now = sampling.since(meter, before), time.monotonic()
    if metered is None:
        return None
    return {role: Spent(now - began, busy) for role, busy in metered.items()} if now - started < seconds else {}


def _by_themselves(opened: OpenTestbed, started: float, seconds: float) -> dict[Role, Spent]:
    """As the hosts that are asked count for themselves. Raises HostLost, Refusal."""
    asked = _asked(opened)
    before = {role: _read(host, zones) for role, (host, zones) in asked.items()}
    _wait(started, seconds)
    found: dict[Role, Spent] = {}
    for role, (host, zones) in asked.items():
        after = _read(host, zones)
        if after.at - started < seconds:
            spent = between(before[role], after, zones)
            found[role] = replace(spent, shares=None, joules=None) if one_kernel(opened) else spent
    return found


def _wait(started: float, seconds: float) -> None:
    time.sleep(max(0.0, started + BUSY_SHARE * seconds - time.monotonic()))


def _asked(opened: OpenTestbed) -> dict[Role, tuple[RemoteHost, Sequence[Zone]]]:
    """The hosts that are asked, with what tells their energy.

    A lab's are metered from outside, so only those with several processors; their energy is the machine's.
    """
    both: dict[Role, tuple[RemoteHost, Facts]] = {
        "sender": (opened.sender, opened.sender_facts),
        "receiver": (opened.receiver, opened.receiver_facts),
    }
    if opened.meter is None:
        return {role: (host, facts.energy) for role, (host, facts) in both.items()}
    return {role: (host, ()) for role, (host, facts) in both.items() if _several(facts) and not one_kernel(opened)}


def _several(facts: Facts) -> bool:
    return int(facts.shown["processors"]) > 1


def one_kernel(opened: OpenTestbed) -> bool:
    """Whether both hosts run on the same one, so that its counts are of both."""
    return opened.sender.hello.boot == opened.receiver.hello.boot


def _read(host: RemoteHost, zones: Sequence[Zone]) -> Reading:
    seen = host.agent.observe(energy.counters(zones))
    return Reading(time.monotonic(), seen)


def between(before: Reading, after: Reading, zones: Sequence[Zone]) -> Spent:
    """Pure: what a host that counts for itself spent between two readings."""
    start, end, wall = before.seen.cpu_after, after.seen.cpu_before, after.at - before.at
    joules = energy.joules(zones, before.seen.values, after.seen.values, wall)
    return Spent(wall, sampling.inside(start, end), shares(start, end, wall), joules)


def shares(before: CpuTime, after: CpuTime, seconds: float) -> Shares | None:
    """Pure: what share of so many seconds each processor was busy; None where there is one, or one came or went.

    Both clocks tick, so that a share may come out a little above 1: it is then 1.
    """
    if len(before.numbers) < 2 or before.numbers != after.numbers:
        return None

    def risen(start: list[float], end: list[float]) -> dict[str, float]:
        each = zip(before.numbers, start, end, strict=True)
        return {str(number): round(min(1.0, max(0.0, (late - early) / seconds)), 4) for number, early, late in each}

    return Shares(risen(before.each, after.each), risen(before.softirq, after.softirq))


def of_request(spent: Spent | None, each_seconds: float, counters: dict[str, int | None]) -> HostSample:
    """What a host spent on one request, one in each ``each_seconds``; missing where it was not counted."""
    if spent is None:
        return HostSample(counters=counters)
    busy, share = spent.busy, each_seconds / spent.wall_seconds
    return HostSample(
        cpu_seconds=max(0.0, busy.seconds) * share if placed(busy.elsewhere) else None,
        cpu_resolution_seconds=busy.resolution * share,
        busiest_cpu_seconds=None if busy.busiest is None else busy.busiest * share,
        cpu_elsewhere=None if busy.elsewhere is None else round(busy.elsewhere, 4),
        processors=spent.shares.busy if spent.shares else None,
        softirqs=spent.shares.softirq if spent.shares else None,
        energy_joules=None if spent.joules is None else spent.joules * share,
        counters=counters,
    )
