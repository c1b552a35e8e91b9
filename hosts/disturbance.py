"""Pure: what else happens on a machine while something is measured on it, as Linux accounts for it.

proc_stat(5); Documentation/scheduler/sched-stats.rst; for quotas Documentation/admin-guide/cgroup-v2.rst and, of the
older kind, Documentation/scheduler/sched-bwc.rst. Whoever reads the files is elsewhere: ``hosts/lab/disturbance.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import PurePosixPath
from typing import Self

CGROUPS = PurePosixPath("/sys/fs/cgroup")
THROTTLED = {"throttled_usec": 1000, "throttled_time": 1}
"""Of a cgroup's ``cpu.stat``, newer and older: how many nanoseconds one is."""


@dataclass(frozen=True)
class Disturbance:
    """What happened on one host's processors, in nanoseconds where not said; None where its kernel does not tell.

    As read it counts from some moment in the past; the difference of two readings is what happened in between.
    """

    steal_ns: int | None = None
    """The hypervisor gave its processors to somebody else."""
    throttled_ns: int | None = None
    """A quota held its processes back, on each processor on average: the kernel adds up all that they were held on."""
    run_delay_ns: int | None = None
    """Its emulated processors were ready to run, and something else ran, or a quota held them back."""
    others_ns: int | None = None
    """Its processor worked for something else than the host: other programs, the machine's kernel, this one."""
    softirq_ns: int | None = None
    """Its processors spent on interrupts' later half."""
    switches: int | None = None
    """How often something was put on its processors."""

    frequency_khz: int | None = None
    """How fast its processor was clocked when it was read last."""

    def since(self, before: Self) -> Self:
        """What happened since an earlier reading: differences of all but the frequency, and never below zero.

        (Work for others is told by two clocks of different steps, which may disagree by one.)
        """
        risen = {}
        for name in COUNTED:
            start, end = getattr(before, name), getattr(self, name)
            risen[name] = max(0, end - start) if start is not None and end is not None else None
        return replace(self, **risen)


COUNTED = tuple(field.name for field in fields(Disturbance) if field.name != "frequency_khz")


@dataclass(frozen=True)
class Ticks:
    """One processor's time since boot, in ticks of 1/100 s on most kernels."""

    busy: int
    softirq: int
    steal: int


def processors(text: str) -> dict[int, Ticks]:
    """Each processor's time, of the content of /proc/stat."""
    found = {}
    for number, line in re.findall(r"^cpu(\d+) (.*)$", text, re.MULTILINE):
        user, nice, system, _idle, _iowait, irq, softirq, steal = (int(value) for value in line.split()[:8])
        found[int(number)] = Ticks(user + nice + system + irq + softirq, softirq, steal)
    return found


def run_delay(text: str) -> tuple[int, int]:
    """Nanoseconds that a task waited while it could have run, and how often it was put on a processor.

    ``text``: the content of its ``schedstat``: nanoseconds on a processor, nanoseconds of waiting, times.
    """
    _ran, waited, times = text.split()
    return int(waited), int(times)


def quotas(text: str) -> list[PurePosixPath]:
    """Where a quota on a process would tell how long it held it back: its cgroup's ``cpu.stat`` and those above it.

    ``text``: the content of its ``/proc/PID/cgroup``. The newer kind of cgroups (no controllers named) and the older
    one, of the controller ``cpu``; where both are mounted only one of them has the files.
    """
    found = []
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers or "cpu" in controllers.split(","):
            place = CGROUPS / (controllers and "cpu")
            inside = place / path.lstrip("/")
            found += [each / "cpu.stat" for each in (inside, *inside.parents) if each.is_relative_to(place)]
    return found


def throttled(texts: Iterable[str], processors: int) -> int | None:
    """Nanoseconds that quotas held processes back on each of so many processors on average, of all these ``cpu.stat``;
    None where none of them tells."""
    found = [
        int(value) * THROTTLED[name]
        for text in texts
        for name, value in re.findall(rf"^({'|'.join(THROTTLED)}) (\d+)$", text, re.MULTILINE)
    ]
    return sum(found) // processors if found else None
