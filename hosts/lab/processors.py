"""This machine's processors: which ones the guests run on, and who may measure on them now."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from hosts.errors import Refusal
from hosts.progress import Progress, silent

DEVICES = Path("/sys/devices/system/cpu")
WAIT_SECONDS = 3600.0
PAUSE_SECONDS = 0.2


def choose(count: int, devices: Path = DEVICES) -> list[int]:
    """``count`` processors that this process may use: on different cores, else different, else repeated."""
    allowed = sorted(os.sched_getaffinity(0))
    cores: dict[str, int] = {}
    for processor in allowed:
        cores.setdefault(_siblings(devices / f"cpu{processor}", processor), processor)
    firsts = list(cores.values())
    preferred = firsts + [processor for processor in allowed if processor not in firsts]
    return [preferred[index % len(preferred)] for index in range(count)]


def _siblings(device: Path, processor: int) -> str:
    """The threads of the core that a processor is one of, as the kernel lists them."""
    try:
        return (device / "topology" / "thread_siblings_list").read_text().strip()
    except OSError:
        return str(processor)


@contextmanager
def measuring(
    processors: Iterable[int], progress: Progress = silent, timeout: float = WAIT_SECONDS, devices: Path = DEVICES
) -> Iterator[None]:
    """Hold these processors for a measurement: whoever else measures on one of them, as any user, waits.

    The lock is on the processor's own directory in sysfs: it leaves no trace and ends with its holder. They
    are taken in ascending order, so that two who want the same ones cannot hold each other up for ever. Waits
    ``timeout`` seconds at most for all of them, then raises Refusal.
    """
    deadline = time.monotonic() + timeout
    with ExitStack() as held:
        for processor in sorted(set(processors)):
            try:
                fd = os.open(devices / f"cpu{processor}", os.O_RDONLY | os.O_DIRECTORY)
            except OSError as error:
                raise Refusal(f"this machine has no processor {processor}: {error.strerror}") from error
            held.callback(os.close, fd)
            _lock(fd, processor, deadline, progress)
        yield


def _lock(fd: int, processor: int, deadline: float, progress: Progress) -> None:
    told = False
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not told:
                progress(f"waiting for processor {processor}, on which another benchmark measures", None)
                told = True
            if time.monotonic() >= deadline:
                raise Refusal(
                    f"another benchmark has been measuring on processor {processor} all the time",
                    next_step="wait until it has finished, or give this one other processors with taskset",
                ) from None
            time.sleep(PAUSE_SECONDS)
        else:
            return
