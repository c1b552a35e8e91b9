"""Kernels of guests that are made small from Debian's source, once each, and kept in the user's cache.

One fragment of a configuration, ``built/kernel.config``, says what all of them have; a testbed may name additions:
files beside it. What is built has its modules, and the tree that others are built with.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import platformdirs
from pydantic import BaseModel, ConfigDict, ValidationError

from hosts.debian import cached, chroot, linux_source
from hosts.errors import ConfigError, Refusal
from hosts.progress import Progress, part, silent
from hosts.testbed import GuestsTestbed

FRAGMENTS = Path(__file__).with_name("built")
CONFIG = FRAGMENTS / "kernel.config"
SERIES = {"trixie": "6.12", "bookworm": "6.1"}
"""The series of kernels that a Debian release has; later ones are in its backports."""
EDITS = (
    # A process's vector registers have 2,696 bytes of room there. A processor with AMX has 11,008 bytes of them, and
    # its kernel takes all or none (EFAULT of PTRACE_SETREGSET), so that a guest ended with its first process.
    ("arch/x86/um/user-offsets.c", "DEFINE_LONGS(HOST_FP_SIZE, 2696);", "DEFINE_LONGS(HOST_FP_SIZE, 12288);"),
)
"""Changes of the source: file, text, what stands there instead. A source without such a text needs none."""
MUST_HAVE = ("INET_ESP", "TLS", "XFRM_USER", "CRYPTO_USER_API_SKCIPHER", "CRYPTO_USER_API_AEAD", "NET_SCH_NETEM")
"""What kernel.config asks for and every path needs: a source that leaves it out makes no lab."""
OBJECTS = 780
"""Compiled, about."""
NEEDED_BYTES = 2_500_000_000
LAYOUT = 1  # of what is made here; another number makes another key
NOT_BUILT = "the lab's kernel could not be built"

Machine = Literal["um", "x86_64"]
"""What it runs on, as ``make ARCH=`` calls it: User Mode Linux, or a PC."""
PROGRAM = {"um": "linux", "x86_64": "bzImage"}
"""What is booted, by machine."""
_TARGET = {"um": "linux", "x86_64": "arch/x86/boot/bzImage"}
_MORE = {"um": (), "x86_64": ("qemu",)}
"""Additions that a machine cannot do without."""


class About(BaseModel):
    """What lies in the cache. ``kernel_release`` is what ``uname -r`` says in a guest, ``version`` the package's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kernel_release: str
    version: str


@dataclass(frozen=True)
class Wanted:
    """A kernel to be had: the Debian ``release`` in whose image it is built, its ``series`` (6.12), its additions."""

    release: str
    series: str
    additions: tuple[str, ...] = ()
    machine: Machine = "um"

    @property
    def group(self) -> str:
        """What it is in the cache: only another one of the same group takes its place."""
        usual = self.series == SERIES[self.release] and not self.additions
        return self.release if usual else "+".join([f"{self.series}-{self.release}", *self.additions])

    @property
    def fragment(self) -> str:
        """What its configuration asks for; all else is left out."""
        files = [CONFIG, *(FRAGMENTS / f"{name}.config" for name in (*_MORE[self.machine], *self.additions))]
        return "".join(file.read_text() for file in files)

    @property
    def location(self) -> Path:
        """Where it is, or will be."""
        edits = EDITS if self.machine == "um" else ()
        content = [self.release, self.series, self.fragment, edits, LAYOUT, platform.machine(), os.geteuid()]
        return cache(self.machine) / f"{self.group}-{hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]}"


class BuiltKernel(cached.Cached):
    """A kernel in use: as long as this is open, nobody removes it.

    ``path``: holds the kernel itself (PROGRAM), its ``modules``, and in ``source`` what others are built with.
    """

    def __init__(self, held: cached.Cached, about: About) -> None:
        super().__init__(held.path, held.fd)
        self.about = about


def cache(machine: Machine) -> Path:
    """Where this user's kernels are."""
    return platformdirs.user_cache_path("pathproof") / {"um": "uml-kernels", "x86_64": "qemu-kernels"}[machine]


def wanted(spec: GuestsTestbed, machine: Machine) -> Wanted:
    """The kernel that a testbed's guests are to have. Raises ConfigError where an addition is not known."""
    known = sorted(
        path.stem for path in FRAGMENTS.glob("*.config") if path != CONFIG and path.stem not in _MORE["x86_64"]
    )
    if unknown := sorted(set(spec.additions) - set(known)):
        raise ConfigError(
            f"the testbed {spec.name} asks for a kernel with {', '.join(unknown)}, and there is no such addition",
            next_step=f"name some of: {', '.join(known)}",
        )
    if machine == "um" and "lockdep" in spec.additions:
        raise ConfigError(
            f"the testbed {spec.name} asks for lockdep, which panics in User Mode Linux",
            next_step='say kind = "qemu"',
        )
    return Wanted(spec.release, spec.series or SERIES[spec.release], spec.additions, machine)


def obtain(kernel: Wanted, image: Path, progress: Progress = silent) -> BuiltKernel:
    """A kernel, built now in ``image`` if there is none: some three minutes on two processors.

    Raises Refusal when it cannot be built: then nothing is left of the attempt.
    """
    held = cached.obtain(
        kernel.location, kernel.group, "kernel", lambda place: _make(place, kernel, image, progress), progress
    )
    try:
        return BuiltKernel(held, About.model_validate_json((held.path / "kernel.json").read_text()))
    except (OSError, ValidationError) as error:
        held.close()
        raise Refusal(f"the kernel in {held.path} is damaged", next_step=f"rm -r {held.path}") from error


def _make(place: Path, kernel: Wanted, image: Path, progress: Progress) -> None:
    """Fill ``place``. Raises Refusal."""
    cached.check_room(place.parent, NEEDED_BYTES, "building a kernel")
    progress("looking for the kernel's source", 0.0)
    backports = kernel.series != SERIES[kernel.release]
    archive, version = linux_source.newest(kernel.release, kernel.series, place / "apt", backports=backports)
    package = archive.download(f"{version.package}={version.text}", part(progress, 0.01, 0.03))
    (place / "unpacked").mkdir()
    source = place / "source"
    linux_source.unpack(package, place / "unpacked", part(progress, 0.03, 0.12)).rename(source)
    (place / "unpacked").rmdir()
    shutil.rmtree(place / "apt")
    if kernel.machine == "um":
        for name, text, instead in EDITS:
            file = source / name
            file.write_text(file.read_text().replace(text, instead))
    kernel_release = _build(place, kernel, image, part(progress, 0.12, 1.0))
    _prune(source)
    (place / "kernel.json").write_text(About(kernel_release=kernel_release, version=version.text).model_dump_json())


def _build(place: Path, kernel: Wanted, image: Path, progress: Progress) -> str:
    """Configure and build ``place/source`` in the image, into the program and ``modules``; the kernel's release."""
    make = f"make -C /mnt/source ARCH={kernel.machine} KBUILD_BUILD_USER=pathproof KBUILD_BUILD_HOST=lab"
    make += f" -j{os.cpu_count() or 1}"
    source = place / "source"
    progress("configuring the lab's kernel", 0.0)
    (place / CONFIG.name).write_text(kernel.fragment)
    # all that is not asked for is left out
    chroot.run(image, place, f"{make} -s KCONFIG_ALLCONFIG=/mnt/{CONFIG.name} allnoconfig", NOT_BUILT)
    configured = (source / ".config").read_text().splitlines()
    if lacking := [name for name in MUST_HAVE if not {f"CONFIG_{name}=m", f"CONFIG_{name}=y"} & set(configured)]:
        raise Refusal(f"{NOT_BUILT}: this source leaves out {', '.join(lacking)}")
    count = 0

    def line(said: str) -> None:
        nonlocal count
        count += said.startswith("  CC")
        progress("building the lab's kernel", min(count / OBJECTS, 1.0))

    program = PROGRAM[kernel.machine]
    chroot.run(image, place, f"{make} {program} modules", NOT_BUILT, line=line)
    chroot.run(image, place, f"{make} -s INSTALL_MOD_PATH=/mnt/installed modules_install", NOT_BUILT)
    shutil.copy(source / _TARGET[kernel.machine], place / program)
    shutil.move(place / "installed/lib/modules", place / "modules")
    shutil.rmtree(place / "installed")
    (kernel_release,) = (path.name for path in (place / "modules").iterdir())
    for link in ("build", "source"):
        (place / "modules" / kernel_release / link).unlink(missing_ok=True)
    if kernel.machine != "um":  # whose guests see this directory, and shall have no headers
        (place / "modules" / kernel_release / "build").symlink_to("../../source")
    return kernel_release


def _prune(source: Path) -> None:
    """Keep what modules are built with, as a package of headers does."""
    for path in source.rglob("*"):
        inside = path.relative_to(source).parts[0]
        if path.suffix in {".c", ".o", ".ko", ".a", ".S", ".cmd", ".rst"} and inside not in {
            "include",
            "scripts",
            "tools",
        }:
            path.unlink()
    for name in ("linux", "vmlinux"):
        (source / name).unlink(missing_ok=True)
