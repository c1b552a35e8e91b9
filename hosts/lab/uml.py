"""Boots a lab of two User Mode Linux guests: each is a process of this machine, with a kernel of its own."""

from __future__ import annotations

from pathlib import Path

from hosts.lab import guests, image, keys, ready
from hosts.lab.accounting import CpuMeter
from hosts.lab.guests import DATA, LAB_INIT, MANAGEMENT, NUMBERS, PROXY
from hosts.lab.reminder import Reminder
from hosts.progress import Progress, silent
from hosts.testbed import UmlTestbed

__all__ = ["BOOT_SECONDS", "DATA", "LAB_INIT", "MANAGEMENT", "NUMBERS", "PROXY", "UmlLab", "boot", "obtain_image"]
BOOT_SECONDS = 60.0


class UmlLab(guests.Lab):
    """A running lab of User Mode Linux guests."""

    data_interface = "vec1"
    start_seconds = 3.0
    boot_seconds = BOOT_SECONDS

    def __init__(self, spec: UmlTestbed, used: image.Image, pinned: dict[str, int], kernel: Path | None) -> None:
        words = [str(LAB_INIT), "uml", str(used.path), str(spec.memory_mb), *map(str, pinned.values())]
        self._reminder: Reminder | None = None
        super().__init__(spec.name, [*words, str(kernel or "")], pinned, [used], keys.make(MANAGEMENT))

    def wait_until_ready(self, started: float, progress: Progress) -> None:
        """Also reminds the guests from then on."""
        super().wait_until_ready(started, progress)
        self._reminder = Reminder(guests.processes(self.pid).values())

    def close(self) -> None:
        """End the lab and everything in it; a second call does nothing."""
        if self._reminder:
            self._reminder.close()
        super().close()

    def _meter(self, guest: int) -> CpuMeter:
        return CpuMeter(guest)


def obtain_image(spec: UmlTestbed, progress: Progress = silent) -> image.Image:
    """Make the machine ready and have the guests' image, built now if there is none. Raises HarnessError."""
    ready.make_ready(build=not image.location(spec.suite).is_dir(), progress=progress)
    return image.obtain(spec.suite, progress)


def boot(spec: UmlTestbed, progress: Progress = silent, kernel: Path | None = None) -> UmlLab:
    """Make the machine ready, build the image if needed, boot both guests and wait until they answer.

    ``kernel``: a directory with another kernel than the image's, ``linux``, and its ``modules``. Raises HarnessError,
    with nothing left behind, when any of this fails.
    """
    ready.check_memory(len(NUMBERS), spec.memory_mb)
    used = obtain_image(spec, progress)
    return guests.booted(lambda pinned: UmlLab(spec, used, pinned, kernel), [used], progress)
