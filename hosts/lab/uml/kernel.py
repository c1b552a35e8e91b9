"""The kernel of User Mode Linux guests: made small from Debian's source, once, and kept in the user's cache.

Debian's own User Mode Linux kernel has no headers, and the archive seldom keeps the source of its point release, so no
module of ours could be built for it. The kernel made here has its modules, and the tree that others are built with.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
from pathlib import Path

import platformdirs
from pydantic import BaseModel, ConfigDict, ValidationError

from hosts.debian import cached, chroot, linux_source
from hosts.errors import Refusal
from hosts.lab import own_kernel
from hosts.lab.own_kernel import OwnKernel
from hosts.modules import Target
from hosts.progress import Progress, part, silent

SERIES = {"trixie": "6.12", "bookworm": "6.1"}
"""The series of kernels that a Debian release has, and whose newest source is built."""
CONFIG = Path(__file__).with_name("kernel.config")
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
NEEDED_BYTES = 2_000_000_000
LAYOUT = 1  # of what is made here; another number makes another key
NOT_BUILT = "the lab's kernel could not be built"


class About(BaseModel):
    """What lies in the cache. ``kernel_release`` is what ``uname -r`` says in a guest, ``version`` the package's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kernel_release: str
    version: str


class UmlKernel(cached.Cached):
    """A kernel in use: as long as this is open, nobody removes it.

    ``path``: holds ``linux`` itself, its ``modules``, and in ``source`` what others are built with.
    """

    def __init__(self, held: cached.Cached, about: About, own: OwnKernel | None = None) -> None:
        super().__init__(held.path, held.fd)
        self.about, self._own = about, own

    def target(self, image: Path) -> Target:
        """What modules for this kernel are built with, in ``image``. Raises Refusal where its tree is gone."""
        if self._own:
            return self._own.target(image, "make -s -C /usr/src ARCH=um")
        return Target(
            image=image,
            sources=self.path,
            make="make -s -C /usr/src/source ARCH=um",
            key=self.path.name,
            package="linux-source",
            version=self.about.version,
        )


def cache() -> Path:
    """Where this user's kernels for User Mode Linux are."""
    return platformdirs.user_cache_path("pathproof") / "uml-kernels"


def location(release: str) -> Path:
    """Where the kernel of a Debian release is, or will be."""
    content = [release, SERIES[release], CONFIG.read_text(), EDITS, LAYOUT, platform.machine(), os.geteuid()]
    return cache() / f"{release}-{hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]}"


def obtain(release: str, image: Path, progress: Progress = silent) -> UmlKernel:
    """The kernel of a Debian release, built now in ``image`` if there is none: some three minutes on two processors.

    Raises Refusal when it cannot be built: then nothing is left of the attempt.
    """
    held = cached.obtain(
        location(release), release, "kernel", lambda place: _make(place, release, image, progress), progress
    )
    try:
        return UmlKernel(held, About.model_validate_json((held.path / "kernel.json").read_text()))
    except (OSError, ValidationError) as error:
        held.close()
        raise Refusal(f"the kernel in {held.path} is damaged", next_step=f"rm -r {held.path}") from error


def keep(own: OwnKernel, progress: Progress = silent) -> UmlKernel:
    """A kernel of somebody's own, with its modules. Raises Refusal."""
    held = own_kernel.keep(own, "linux", "modules", lambda _place: None, progress)
    return UmlKernel(held, About(kernel_release=own.release, version=own.release), own)


def _make(place: Path, release: str, image: Path, progress: Progress) -> None:
    """Fill ``place``. Raises Refusal."""
    cached.check_room(place.parent, NEEDED_BYTES, "building a kernel")
    progress("looking for the kernel's source", 0.0)
    archive, version = linux_source.newest(release, SERIES[release], place / "apt")
    package = archive.download(f"{version.package}={version.text}", part(progress, 0.01, 0.03))
    (place / "unpacked").mkdir()
    source = place / "source"
    linux_source.unpack(package, place / "unpacked", part(progress, 0.03, 0.12)).rename(source)
    (place / "unpacked").rmdir()
    shutil.rmtree(place / "apt")
    for name, text, instead in EDITS:
        file = source / name
        file.write_text(file.read_text().replace(text, instead))
    kernel_release = _build(place, image, part(progress, 0.12, 1.0))
    _prune(source)
    (place / "kernel.json").write_text(About(kernel_release=kernel_release, version=version.text).model_dump_json())


def _build(place: Path, image: Path, progress: Progress) -> str:
    """Configure and build ``place/source`` in the image, into ``linux`` and ``modules``; the kernel's release."""
    make = f"make -C /mnt/source ARCH=um KBUILD_BUILD_USER=pathproof KBUILD_BUILD_HOST=lab -j{os.cpu_count() or 1}"
    source = place / "source"
    progress("configuring the lab's kernel", 0.0)
    shutil.copy(CONFIG, place)
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

    chroot.run(image, place, f"{make} linux modules", NOT_BUILT, line=line)
    chroot.run(image, place, f"{make} -s INSTALL_MOD_PATH=/mnt/installed modules_install", NOT_BUILT)
    shutil.copy(source / "linux", place)
    shutil.move(place / "installed/lib/modules", place / "modules")
    shutil.rmtree(place / "installed")
    (kernel_release,) = (path.name for path in (place / "modules").iterdir())
    for link in ("build", "source"):
        (place / "modules" / kernel_release / link).unlink(missing_ok=True)
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
