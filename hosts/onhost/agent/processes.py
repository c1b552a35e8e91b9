"""Processes of this host, as /proc/PID/stat tells them (proc_pid_stat(5))."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """A process that has not been collected yet. ``start_ticks``: clock ticks since boot."""

    pid: int
    state: str
    parent: int
    group: int
    start_ticks: int

    @property
    def ended(self) -> bool:
        """Whether it runs no more, and only waits to be collected."""
        return self.state in "ZX"


def look(pid: int) -> Process | None:
    """The process of this number; None when there is none."""
    try:
        # its name, in parentheses, may hold anything
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return Process(pid, fields[0], int(fields[1]), int(fields[2]), int(fields[19]))


def listed() -> list[Process]:
    """All processes."""
    found = (look(int(path.name)) for path in Path("/proc").glob("[0-9]*"))
    return [process for process in found if process]


def start_ticks(pid: int) -> int | None:
    """When a process started; None when there is none of that number."""
    process = look(pid)
    return process.start_ticks if process else None
