"""A guest's CPU time, seen from outside: the machine accounts for its processes in nanoseconds."""

from __future__ import annotations

import os
import time
from pathlib import Path

from hosts.processes import children, stat

TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")


class CpuMeter:
    """CPU time of one process and all its descendants, living and dead."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.resolution_seconds = TICK_SECONDS
        self._ended = -1

    def seconds(self) -> float:
        """CPU time used so far, in seconds. Raises ProcessLookupError when the process is gone.

        Living processes are read to the nanosecond. Those that ended are known in clock ticks only (10 ms):
        ``resolution_seconds``, of the difference between this reading and the one before, is a tick when a
        process ended in between and a microsecond otherwise.
        """
        total, ended = 0.0, 0
        waiting = [self.pid]
        while waiting:
            pid = waiting.pop()
            try:
                total += time.clock_gettime(_cpu_clock(pid))
                ended += _ended_children_ticks(pid)
                waiting += children(pid)
            except OSError:
                if pid == self.pid:
                    raise ProcessLookupError(f"process {pid} is gone") from None
        self.resolution_seconds = 1e-6 if ended == self._ended else TICK_SECONDS
        self._ended = ended
        return total + ended * TICK_SECONDS


class VcpuMeter:
    """CPU time of the processors that a QEMU process emulates: of its threads that are processors.

    Its other threads are network cards, disks and crypto cards. On a real host none of these takes the time of a
    processor, so theirs does not count as the guest's.
    """

    # The kernel brings a thread's account up to date when it is scheduled, and each time the clock ticks.
    resolution_seconds = TICK_SECONDS

    def __init__(self, pid: int) -> None:
        """Raises ProcessLookupError when there is no such process, or none with processors."""
        self._accounts = [thread / "schedstat" for thread in processor_threads(pid)]

    def seconds(self) -> float:
        """CPU time used so far, in seconds. Raises ProcessLookupError when the process is gone."""
        try:
            return sum(int(account.read_text().split()[0]) for account in self._accounts) / 1e9
        except OSError:
            raise ProcessLookupError("the process is gone") from None


def processor_threads(pid: int) -> list[Path]:
    """The threads of a QEMU process that are processors, as folders in /proc.

    Raises ProcessLookupError when there is no such process, or none with processors.
    """
    try:
        found = [task for task in Path(f"/proc/{pid}/task").iterdir() if (task / "comm").read_text().startswith("CPU ")]
    except OSError:
        raise ProcessLookupError(f"process {pid} is gone") from None
    if not found:
        raise ProcessLookupError(f"process {pid} emulates no processor")
    return found


def _cpu_clock(pid: int) -> int:
    """The kernel's number for the CPU clock of a process with all its threads, as clock_getcpuclockid(3)."""
    return (~pid << 3) | 2


def _ended_children_ticks(pid: int) -> int:
    fields = stat(pid)
    return int(fields[13]) + int(fields[14])  # cutime and cstime
