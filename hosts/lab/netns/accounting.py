"""Who used the processors of hosts that share a kernel: each host, or somebody else.

A host's busy time is that of its processes, wherever they ran, and what the kernel did on its processor while no
process ran there: packets that arrive at an idle host. The kernel charges an interrupt to the process that it
interrupts, so what others ran on a host's processor may hold work of the host. That, kernel threads, time that a
hypervisor took and packets that the wrong processor worked off are ``elsewhere``: nobody can say whose they are.
(Where the kernel accounts interrupts apart, CONFIG_IRQ_TIME_ACCOUNTING, ``/proc/schedstat`` has them and a process's
clock has not: what interrupted the hosts' processes is elsewhere then, too.)

Sources: Documentation/filesystems/proc.rst; Documentation/scheduler/sched-stats.rst (``/proc/schedstat``);
Documentation/admin-guide/cgroup-v1/cpuacct.rst; softnet_seq_show() in net/core/net-procfs.c; print_cpu() in
kernel/time/timer_list.c.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hosts.disturbance import Disturbance, processors, quotas, throttled
from hosts.lab.accounting import TICK_SECONDS, CpuMeter
from hosts.lab.disturbance import STAT, TICK_NS
from hosts.processes import children

TIMERS = Path("/proc/timer_list")
SCHEDSTAT = Path("/proc/schedstat")
CPUACCT = Path("/sys/fs/cgroup/cpuacct/cpuacct.usage_percpu")
SOFTNET = Path("/proc/net/softnet_stat")
FINE_SECONDS = 2e-4
"""How far a reading may be off where the kernel tells idle time in nanoseconds: about what it takes to read."""
UNKNOWN = 1.0


@dataclass(frozen=True)
class Side:
    """One host up to now: nanoseconds, or packets."""

    processes: int
    """Of its processes, wherever they ran."""
    bare: int | None
    """Its processor worked, and ran no process and no thread; None where this kernel does not tell."""
    tasks: int | None
    """All that its processor ran: anybody's processes and threads."""
    softirqd: int
    """The kernel's thread that works off interrupts on its processor when they are many."""
    received: int
    """Packets, on all its interfaces."""
    worked_off: int
    """Packets that its processor worked off or dropped, whoever they were for."""


@dataclass(frozen=True)
class Reading:
    """Both hosts up to now, and what may be either's."""

    sides: Mapping[str, Side]
    ours: int
    """Nanoseconds of this program and what it started, the hosts among it, where it shares their processors; else of
    the hosts alone. (It waits while a transfer is timed.)"""
    threads: int
    """Nanoseconds of kernel threads on other processors than the hosts'."""
    stolen: int
    """Nanoseconds that a hypervisor took."""
    shared: bool
    """Whether both hosts have one processor."""

    @property
    def seconds(self) -> dict[str, float]:
        """CPU time of each host."""
        return {role: (side.processes + (side.bare or 0) + side.softirqd) / 1e9 for role, side in self.sides.items()}


def elsewhere(before: Reading, after: Reading) -> float:
    """The share of busy time between two readings that may be neither host's, or the other's: 0 to 1. Pure.

    Time that nobody can place, as a share of all, and the greater share of packets that a host received and its
    processor did not work off.
    """
    placed = others = 0
    missed = 0.0
    for role, now in after.sides.items():
        was = before.sides[role]
        if after.shared or now.bare is None or was.bare is None or now.tasks is None or was.tasks is None:
            return UNKNOWN
        softirqd = now.softirqd - was.softirqd
        placed += now.processes - was.processes + now.bare - was.bare + softirqd
        others += now.tasks - was.tasks - softirqd
        if received := now.received - was.received:
            missed = max(missed, 1 - (now.worked_off - was.worked_off) / received)
    others = max(0, others - (after.ours - before.ours))
    others += max(0, after.threads - before.threads) + after.stolen - before.stolen
    return min(1.0, (others / (placed + others) if others else 0.0) + missed)


class Account:
    """Reads both hosts' accounts; ``hosts`` are their first processes, ``places`` their processors, by role."""

    def __init__(self, hosts: Mapping[str, int], places: Mapping[str, int]) -> None:
        """Raises OSError where a host is gone."""
        self._hosts, self._places = dict(hosts), dict(places)
        self._meters = {role: CpuMeter(pid) for role, pid in hosts.items()}
        self._this = CpuMeter(os.getpid()) if os.sched_getaffinity(0) <= set(places.values()) else None
        mine = {f"ksoftirqd/{place}": role for role, place in places.items()}
        self._softirqds = {mine[name]: pid for pid in _threads() if (name := _comm(pid)) in mine}
        self._fine = os.access(TIMERS, os.R_OK)
        self._quotas = [path for path in map(Path, quotas(Path("/proc/self/cgroup").read_text())) if path.exists()]

    @property
    def resolution_seconds(self) -> float:
        """How fine the difference between the last two readings is."""
        idle = FINE_SECONDS if self._fine else TICK_SECONDS
        return max(idle, *(meter.resolution_seconds for meter in self._meters.values()))

    def read(self) -> Reading:
        """Everything up to now. Raises OSError where a host is gone."""
        own = {role: round(meter.seconds() * 1e9) for role, meter in self._meters.items()}
        packets = worked_off(SOFTNET.read_text())
        sides = {}
        for role, place in self._places.items():
            with _on(place):  # which brings what the kernel knows of this processor up to date
                tasks, idle, now = _tasks(place), self._idle(place), time.monotonic_ns()
            softirqd = _ran(self._softirqds[role]) if role in self._softirqds else None
            told = tasks is not None and softirqd is not None
            sides[role] = Side(
                processes=own[role],
                bare=now - idle - (tasks or 0) if told else None,
                tasks=tasks,
                softirqd=softirqd or 0,
                received=received(Path(f"/proc/{self._hosts[role]}/net/dev").read_text()),
                worked_off=packets.get(place, 0),
            )
        ticks = processors(STAT.read_text())
        return Reading(
            sides=sides,
            ours=round(self._this.seconds() * 1e9) if self._this else sum(own.values()),
            threads=0 if self._this else sum(_ran(pid) for pid in _threads() if pid not in self._softirqds.values()),
            stolen=sum(ticks[place].steal for place in set(self._places.values())) * TICK_NS,
            shared=len(set(self._places.values())) < len(self._places),
        )

    def disturbance(self) -> dict[str, Disturbance]:
        """What else happened on each host's processor up to now. Raises OSError where a host is gone."""
        reading, ticks = self.read(), processors(STAT.read_text())
        held = throttled((path.read_text() for path in self._quotas), len(set(self._places.values())))
        found = {}
        for role, side in reading.sides.items():
            mine = ticks[self._places[role]]
            found[role] = Disturbance(
                steal_ns=mine.steal * TICK_NS,
                throttled_ns=held,
                others_ns=None if side.tasks is None else side.tasks - side.processes - side.softirqd,
                softirq_ns=mine.softirq * TICK_NS,
            )
        return found

    def _idle(self, place: int) -> int:
        """Nanoseconds that a processor was idle, waiting for a disk or not."""
        if self._fine:
            return idle_of(TIMERS.read_text(), place)
        fields = re.findall(rf"^cpu{place} (.*)$", STAT.read_text(), re.MULTILINE)[0].split()
        return (int(fields[3]) + int(fields[4])) * TICK_NS


def idle_of(text: str, place: int) -> int:
    """Nanoseconds that a processor was idle, of the content of /proc/timer_list."""
    section = re.split(r"^cpu: ", text, flags=re.MULTILINE)[1:]
    mine = next(one for one in section if one.split("\n", 1)[0].strip() == str(place))
    return sum(map(int, re.findall(r"^\s*\.(?:idle|iowait)_sleeptime\s*: (\d+) nsecs", mine, re.MULTILINE)))


def ran_on(text: str, place: int) -> int | None:
    """Nanoseconds that a processor ran processes and threads, of the content of /proc/schedstat."""
    found = re.search(rf"^cpu{place} (.*)$", text, re.MULTILINE)
    return int(found[1].split()[6]) if found else None


def worked_off(text: str) -> dict[int, int]:
    """Packets that each processor worked off or dropped, of the content of /proc/net/softnet_stat.

    Newer kernels say which processor a line is of; older ones list all that are online.
    """
    found = {}
    for number, line in enumerate(text.splitlines()):
        fields = [int(field, 16) for field in line.split()]
        found[fields[12] if len(fields) > 12 else number] = fields[0] + fields[1]
    return found


def received(text: str) -> int:
    """Packets that came in, on all interfaces, of the content of /proc/PID/net/dev."""
    return sum(int(line.partition(":")[2].split()[1]) for line in text.splitlines() if ":" in line)


def _tasks(place: int) -> int | None:
    """Nanoseconds that a processor ran processes and threads; None where this kernel does not tell."""
    if CPUACCT.exists():
        return int(CPUACCT.read_text().split()[place])
    return ran_on(SCHEDSTAT.read_text(), place) if SCHEDSTAT.exists() else None


@contextmanager
def _on(place: int) -> Iterator[None]:
    """This thread on one processor, for a moment."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {place})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _threads() -> list[int]:
    """The kernel's threads: what process 2 started, where this process may see that."""
    try:
        return children(2) if _comm(2) == "kthreadd" else []
    except OSError:
        return []


def _comm(pid: int) -> str:
    """A process's name; empty where it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _ran(pid: int) -> int:
    """Nanoseconds that a thread ran; 0 where it is gone."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])
    except OSError:
        return 0
