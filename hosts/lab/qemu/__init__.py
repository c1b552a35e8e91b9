"""The lab of two QEMU guests: emulated machines with the release's ordinary kernel, a crypto card in the sender."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Literal

from pydantic import Field

from hosts.debian import image
from hosts.lab import built_kernel, guests, keys, own_kernel, ready
from hosts.lab.accounting import VcpuMeter, processor_threads
from hosts.lab.guests import LAB_INIT, MANAGEMENT, NUMBERS
from hosts.lab.kinds import LabKind
from hosts.lab.qemu import guest_kernel, initrd
from hosts.lab.qemu.guest_kernel import GuestKernel
from hosts.modules import Target
from hosts.progress import Progress, part, silent
from hosts.testbed import GuestsTestbed

Accel = Literal["tcg", "kvm"]
"""What makes the guests' processors: software, or this machine's own."""
START = Path(__file__).with_name("start")
GUEST_INIT = LAB_INIT.with_name("guest-init")
# A guest takes 9 s of processor time to boot: this is for machines on which twenty others want it too. One that panics
# ends, which is seen at once.
BOOT_SECONDS = 420.0


class PcTestbed(GuestsTestbed):
    """Two guests of QEMU, whatever makes their processors."""

    boots = "bzImage"
    processors: int = Field(default=1, ge=1, le=16)
    """Of each guest, all on its one processor of this machine: what runs where can be seen there, not how it scales."""


class QemuTestbed(PcTestbed):
    """Two QEMU guests with the release's ordinary kernel, their processors made by software; a card in the sender."""

    kind: Literal["qemu"]
    memory_mb: int = Field(default=768, ge=384, le=16384)


class QemuLab(guests.Lab):
    """A running lab of QEMU guests. ``accel`` is what their processors are: ``tcg`` (software) or ``kvm``."""

    data_interface = "eth1"
    guest = "guest={role},debug-threads=on"
    start_seconds = 15.0
    boot_seconds = BOOT_SECONDS

    def __init__(
        self, spec: PcTestbed, used: image.Image, kernel: GuestKernel, pinned: dict[str, int], accel: Accel
    ) -> None:
        self.accel = accel
        files = keys.make(MANAGEMENT)
        disk = keys.MemoryFile("initrd", _initial_disk(kernel, files))
        words = [accel, str(START), str(used.path), str(spec.memory_mb), *map(str, pinned.values()), str(kernel.path)]
        words.append(f"processors={spec.processors}")
        super().__init__(spec.name, words, pinned, [used, kernel], [*files, disk])

    def _meter(self, guest: int) -> VcpuMeter:
        return VcpuMeter(guest)

    def _processor_threads(self, guest: int) -> list[Path]:
        return processor_threads(guest)


def _initial_disk(kernel: GuestKernel, files: list[keys.MemoryFile]) -> bytes:
    """The guests' initial RAM disk, with the keys that a guest needs (not the one that opens it)."""
    directory = kernel.tree / "usr/lib/modules" / kernel.about.kernel_release
    modules = initrd.modules(directory, guest_kernel.recipe().initial_modules)
    wanted = {"authorized_keys", *(f"{role}.key" for role in NUMBERS)}
    ours = {file.name: file.text().encode() for file in files if file.name in wanted}
    return initrd.make(kernel.path / "busybox", modules, {**ours, GUEST_INIT.name: GUEST_INIT.read_bytes()})


class QemuParts:
    """The guests' image and kernel."""

    def __init__(self, spec: PcTestbed, used: image.Image, kernel: GuestKernel, accel: Accel) -> None:
        self._spec, self._image, self.kernel, self._accel = spec, used, kernel, accel
        self.places = (used.path, kernel.path)

    @property
    def image_path(self) -> Path:
        """What the guests' programs come from."""
        return self._image.path

    @property
    def target(self) -> Target:
        """The guests' kernel, as one that modules can be built for. Raises Refusal.

        The guests see the headers too, and could build a module themselves; but an emulated processor takes a minute
        and a half for it, this machine's own a few seconds.
        """
        return self.kernel.target(self.image_path)

    def boot(self, progress: Progress = silent) -> QemuLab:
        """Boot both guests and wait until they answer. Raises HarnessError, with nothing left behind."""
        ready.check_memory(len(NUMBERS), self._spec.memory_mb)
        return guests.booted(
            lambda pinned: QemuLab(self._spec, self._image, self.kernel, pinned, self._accel), progress
        )


@contextmanager
def obtain(spec: PcTestbed, progress: Progress = silent, accel: Accel = "tcg") -> Iterator[QemuParts]:
    """Make the machine ready and have the guests' image and kernel, made now where there is none.

    Raises HarnessError.
    """
    own = own_kernel.of(spec)
    wanted = built_kernel.wanted(spec, "x86_64") if spec.additions else None
    series = None if wanted else spec.series
    cached = image.location(spec.release).is_dir() and guest_kernel.location(spec.release, series).is_dir()
    ready.make_ready(build=not cached or bool(wanted), qemu=True, progress=progress)
    with ExitStack() as stack:
        used = stack.enter_context(image.obtain(spec.release, part(progress, 0.0, 0.7)))
        fetched = guest_kernel.obtain(spec.release, used.path, part(progress, 0.7, 1.0), series)
        usual = stack.enter_context(closing(fetched))
        if wanted:
            built = stack.enter_context(closing(built_kernel.obtain(wanted, used.path, progress)))
            own = own_kernel.find(built.path / built_kernel.PROGRAM["x86_64"], built.path / "modules")
        kernel = stack.enter_context(closing(guest_kernel.keep(own, usual, progress))) if own else usual
        yield QemuParts(spec, used, kernel, accel)


LAB = LabKind(
    model=QemuTestbed,
    obtain=obtain,
    words=("tcg",),
    guest=QemuLab.guest,
    in_image=False,
    caveat="both hosts run on QEMU's software processor, whose instructions and crypto card cost unlike any "
    "real ones and drift from boot to boot; read ratios within this run, never absolute rates.",
)
