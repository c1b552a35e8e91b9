"""Boots a lab of two QEMU guests: emulated machines with the suite's ordinary kernel, a crypto card in the sender."""

from __future__ import annotations

from hosts.lab import guest_kernel, guests, image, initrd, keys, kvm, ready
from hosts.lab.accounting import VcpuMeter
from hosts.lab.guest_kernel import GuestKernel
from hosts.lab.guests import LAB_INIT, MANAGEMENT, NUMBERS
from hosts.progress import Progress, silent
from hosts.testbed import QemuTestbed

GUEST_INIT = LAB_INIT.with_name("guest-init")
# A guest takes 9 s of processor time to boot: this is for machines on which twenty others want it too. One that panics
# ends, which is seen at once.
BOOT_SECONDS = 420.0


class QemuLab(guests.Lab):
    """A running lab of QEMU guests. ``accel`` is what their processors are: ``tcg`` (software) or ``kvm``."""

    data_interface = "eth1"
    start_seconds = 15.0
    boot_seconds = BOOT_SECONDS

    def __init__(
        self, spec: QemuTestbed, used: image.Image, kernel: GuestKernel, pinned: dict[str, int], accel: str
    ) -> None:
        self.accel = accel
        files = keys.make(MANAGEMENT)
        disk = keys.MemoryFile("initrd", _initial_disk(kernel, files))
        words = [str(LAB_INIT), accel, str(used.path), str(spec.memory_mb), *map(str, pinned.values())]
        super().__init__(spec.name, [*words, str(kernel.path)], pinned, [used, kernel], [*files, disk])

    def _meter(self, guest: int) -> VcpuMeter:
        return VcpuMeter(guest)


def _initial_disk(kernel: GuestKernel, files: list[keys.MemoryFile]) -> bytes:
    """The guests' initial RAM disk, with the keys that a guest needs (not the one that opens it)."""
    directory = kernel.tree / "usr/lib/modules" / kernel.about.release
    modules = initrd.modules(directory, guest_kernel.recipe().initial_modules)
    wanted = {"authorized_keys", *(f"{role}.key" for role in NUMBERS)}
    ours = {file.name: file.text().encode() for file in files if file.name in wanted}
    return initrd.make(kernel.path / "busybox", modules, {**ours, GUEST_INIT.name: GUEST_INIT.read_bytes()})


def obtain(spec: QemuTestbed, progress: Progress = silent) -> tuple[image.Image, GuestKernel]:
    """Make the machine ready and have the guests' image and kernel, made now where there is none.

    Whoever asked closes both. Raises HarnessError.
    """
    cached = image.location(spec.suite).is_dir() and guest_kernel.location(spec.suite).is_dir()
    ready.make_ready(build=not cached, qemu=True, progress=progress)
    used = image.obtain(spec.suite, progress)
    try:
        return used, guest_kernel.obtain(spec.suite, used.path, progress)
    except BaseException:
        used.close()
        raise


def boot(spec: QemuTestbed, progress: Progress = silent) -> QemuLab:
    """Make the machine ready, fetch what is not in the cache, boot both guests and wait until they answer.

    Raises HarnessError, with nothing left behind, when any of this fails.
    """
    ready.check_memory(len(NUMBERS), spec.memory_mb)
    used, kernel = obtain(spec, progress)
    try:
        accel = _accel(spec, kernel, progress)
    except BaseException:
        used.close()
        kernel.close()
        raise
    return guests.booted(lambda pinned: QemuLab(spec, used, kernel, pinned, accel), [used, kernel], progress)


def _accel(spec: QemuTestbed, kernel: GuestKernel, progress: Progress) -> str:
    if spec.accel == "tcg":
        return "tcg"
    reason = kvm.unusable(kernel, progress)
    progress(f"guests without KVM: {reason}" if reason else "guests with KVM", None)
    return "tcg" if reason else "kvm"
