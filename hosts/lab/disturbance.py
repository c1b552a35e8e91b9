"""What else happens on the processors that a lab's guests run on, read from this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from hosts.disturbance import Disturbance, processors, quotas, run_delay, throttled
from hosts.lab.accounting import CpuMeter
from hosts.lab.processors import DEVICES

TICK_NS = 10**9 // os.sysconf("SC_CLK_TCK")
STAT = Path("/proc/stat")


class Watch:
    """One guest's surroundings: ``threads`` are its emulated processors, as folders in /proc; ``processor`` is this
    machine's that they run on, ``residents`` the processes of all guests that run there.

    A thread of a guest's *processes* waits too, but how often is the path's own doing: the more system calls, the more
    often it is taken off the processor. What the guest's kernel runs on is taken off by others alone.
    """

    def __init__(self, threads: Sequence[Path], processor: int, residents: Sequence[int]) -> None:
        self._threads, self.processor = threads, processor
        self._meters = [CpuMeter(pid) for pid in residents]
        about = (threads[0] / "cgroup").read_text()
        self._quotas = [path for path in map(Path, quotas(about)) if path.exists()]
        self._frequency = DEVICES / f"cpu{processor}" / "cpufreq" / "scaling_cur_freq"

    def read(self, stat: str, shared: int) -> Disturbance:
        """What happened since the machine's boot. Raises OSError.

        ``stat``: the content of /proc/stat now. ``shared``: on how many processors what a quota is for runs.
        """
        ticks = processors(stat)[self.processor]
        own = sum(meter.seconds() for meter in self._meters)
        waits = [run_delay(text) for thread in self._threads if (text := _read(thread / "schedstat"))]
        return Disturbance(
            steal_ns=ticks.steal * TICK_NS,
            throttled_ns=throttled((path.read_text() for path in self._quotas), shared),
            run_delay_ns=sum(delay for delay, _ in waits) if waits else None,
            others_ns=ticks.busy * TICK_NS - round(own * 1e9),
            softirq_ns=ticks.softirq * TICK_NS,
            switches=sum(times for _, times in waits) if waits else None,
            frequency_khz=int(self._frequency.read_text()) if self._frequency.exists() else None,
        )


def _read(path: Path) -> str | None:
    """A file's content; None where this kernel has no such file. Raises OSError where a task has gone."""
    try:
        return path.read_text()
    except FileNotFoundError:
        if path.parent.exists():
            return None
        raise


def read(watches: Mapping[str, Watch]) -> dict[str, Disturbance]:
    """What happened around each guest, by role. Raises OSError where one is gone."""
    stat = STAT.read_text()
    shared = len({watch.processor for watch in watches.values()})
    return {role: watch.read(stat, shared) for role, watch in watches.items()}
