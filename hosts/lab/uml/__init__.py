"""The lab of two User Mode Linux guests: each is a process of this machine, with a kernel of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Literal

from hosts.debian import image
from hosts.lab import built_kernel, guests, keys, own_kernel, ready
from hosts.lab.accounting import CpuMeter
from hosts.lab.guests import MANAGEMENT, NUMBERS
from hosts.lab.kinds import LabKind
from hosts.lab.uml import kernel
from hosts.lab.uml.reminder import Reminder
from hosts.modules import Target
from hosts.progress import Progress, part, silent
from hosts.testbed import GuestsTestbed

BOOT_SECONDS = 60.0
START = Path(__file__).with_name("start")


class UmlTestbed(GuestsTestbed):
    """The embedded lab: two User Mode Linux guests that the harness boots on this machine."""

    boots = "uml"
    kind: Literal["uml"]


class UmlLab(guests.Lab):
    """A running lab of User Mode Linux guests."""

    data_interface = "vec1"
    guest = "umid={role}"
    disk = Path("/mnt/disk")
    start_seconds = 3.0
    boot_seconds = BOOT_SECONDS

    def __init__(self, spec: UmlTestbed, used: image.Image, built: kernel.UmlKernel, pinned: dict[str, int]) -> None:
        words = ["uml", str(START), str(used.path), str(spec.memory_mb), *map(str, pinned.values()), str(built.path)]
        self._reminder: Reminder | None = None
        super().__init__(spec.name, words, pinned, [used, built], keys.make(MANAGEMENT))

    def wait_until_ready(self, started: float, progress: Progress) -> None:
        """Also reminds the guests from then on."""
        super().wait_until_ready(started, progress)
        self._reminder = Reminder(guests.processes(self.pid, self.guest).values())

    def close(self) -> None:
        """End the lab and everything in it; a second call does nothing."""
        if self._reminder:
            self._reminder.close()
        super().close()

    def _meter(self, guest: int) -> CpuMeter:
        return CpuMeter(guest)

    def _processor_threads(self, guest: int) -> list[Path]:
        return [Path(f"/proc/{guest}/task/{guest}")]  # its others wait for devices; the guest's processes are children


class UmlParts:
    """The guests' image and kernel."""

    def __init__(self, spec: UmlTestbed, used: image.Image, built: kernel.UmlKernel) -> None:
        self._spec, self._image, self._kernel = spec, used, built
        self.places = (used.path, built.path)

    @property
    def image_path(self) -> Path:
        """What the guests' programs come from."""
        return self._image.path

    @property
    def target(self) -> Target:
        """The guests' kernel, as one that modules can be built for. Raises Refusal."""
        return self._kernel.target(self.image_path)

    def boot(self, progress: Progress = silent) -> UmlLab:
        """Boot both guests and wait until they answer. Raises HarnessError, with nothing left behind."""
        ready.check_memory(len(NUMBERS), self._spec.memory_mb)
        return guests.booted(lambda pinned: UmlLab(self._spec, self._image, self._kernel, pinned), progress)


@contextmanager
def obtain(spec: UmlTestbed, progress: Progress = silent) -> Iterator[UmlParts]:
    """Make the machine ready and have the guests' image and kernel, made now where there is none.

    Raises HarnessError.
    """
    own = own_kernel.of(spec)
    wanted = built_kernel.wanted(spec, "um")
    cached = image.location(spec.release).is_dir() and (own or wanted.location.is_dir())
    ready.make_ready(build=not cached, progress=progress)
    with (
        image.obtain(spec.release, part(progress, 0.0, 0.2)) as used,
        closing(
            kernel.keep(own, progress) if own else kernel.obtain(wanted, used.path, part(progress, 0.2, 1.0))
        ) as built,
    ):
        yield UmlParts(spec, used, built)


LAB = LabKind(
    model=UmlTestbed,
    obtain=obtain,
    words=("uml",),
    guest=UmlLab.guest,
    in_image=True,
    generic_ciphers=True,
    caveat="both hosts are User Mode Linux kernels on one machine, where a system call costs many times "
    "what it costs on hardware and no crypto card exists; so the gain from saved crossings comes out too large, and "
    "absolute rates too low.",
)
