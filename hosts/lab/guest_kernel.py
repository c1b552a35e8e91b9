"""The kernel of QEMU guests: the suite's own, unpacked from its packages in the user's cache, never installed.

Beside it lie its modules and its headers, so that other modules can be built for it, and a static busybox for the
initial RAM disk. It is fetched once for each recipe, as the guests' image is, by the same mirror.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import IO, cast

import platformdirs
from pydantic import BaseModel, ConfigDict, ValidationError

from hosts.errors import HarnessError
from hosts.lab import cached, chroot
from hosts.lab.archive import Archive, sha256
from hosts.progress import Progress, silent

RECIPE = Path(__file__).parent / "kernel.toml"
NEEDED_BYTES = 600_000_000
LAYOUT = 2  # of what is made here; another number makes another key


class Recipe(BaseModel):
    """What a kernel is unpacked from; see kernel.toml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    package: str
    leave_out: tuple[str, ...]
    initial_modules: tuple[str, ...]

    def key(self, suite: str) -> str:
        """A digest of all that shapes what the cache has of ``suite``; the initial RAM disk is made for each boot."""
        content = [suite, self.model_dump(exclude={"initial_modules"}), LAYOUT, platform.machine(), os.geteuid()]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]


class Package(BaseModel):
    """A package that was unpacked; ``sha256`` is what the archive's signed index said and the file had."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: str
    sha256: str


class About(BaseModel):
    """What lies in the cache. ``release`` is what ``uname -r`` says in a guest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    release: str
    version: str
    vmlinuz_sha256: str
    packages: tuple[Package, ...]


class GuestKernel:
    """A kernel in use: as long as this is open, nobody removes it."""

    def __init__(self, held: cached.Cached, about: About) -> None:
        self.about = about
        self._held = held

    @property
    def path(self) -> Path:
        """Holds the kernel itself, ``vmlinuz``, and ``busybox``."""
        return self._held.path

    @property
    def tree(self) -> Path:
        """What a guest has besides its image: /usr/lib/modules and the headers."""
        return self.path / "tree"

    @property
    def sources(self) -> Path:
        """The headers: what /usr/src is in a guest."""
        return self.tree / "usr/src"

    @property
    def fd(self) -> int:
        """Whoever has it open uses the kernel."""
        return self._held.fd

    def close(self) -> None:
        """Let go of the kernel; a second call does nothing."""
        self._held.close()


def recipe() -> Recipe:
    """The recipe that comes with this version."""
    return Recipe.model_validate(tomllib.loads(RECIPE.read_text()))


def cache() -> Path:
    """Where this user's kernels are."""
    return platformdirs.user_cache_path("pathproof") / "kernels"


def location(suite: str) -> Path:
    """Where the kernel of ``suite`` is, or will be."""
    return cache() / f"{suite}-{recipe().key(suite)}"


def obtain(suite: str, image: Path, progress: Progress = silent) -> GuestKernel:
    """The kernel of ``suite``, fetched and unpacked now if there is none; ``image`` is the suite's image.

    Raises HarnessError when it cannot be had, and when what is in the cache is not what was fetched.
    """
    held = cached.obtain(location(suite), suite, "kernel", lambda place: _make(place, suite, image, progress), progress)
    try:
        about = About.model_validate_json((held.path / "kernel.json").read_text())
        whole = sha256(held.path / "vmlinuz") == about.vmlinuz_sha256
    except (OSError, ValidationError):
        whole = False
    if not whole:
        held.close()
        raise HarnessError(f"the kernel in {held.path} is not what was fetched", next_step=f"rm -r {held.path}")
    return GuestKernel(held, about)


def _make(place: Path, suite: str, image: Path, progress: Progress) -> None:
    """Fill ``place``. Raises HarnessError."""
    if platform.machine() != "x86_64":
        raise HarnessError(f"QEMU guests are x86_64 machines, and this machine is {platform.machine()}")
    cached.check_room(place.parent, NEEDED_BYTES, "unpacking a kernel")
    fetched = place / "fetched"
    wanted = f"the kernel of {suite}"
    progress(f"looking for {wanted}", 0.0)
    archive = Archive(suite, fetched, wanted)
    archive.run("apt-get", "update")
    release, names = _packages(archive)
    packages = []
    tree, unpacked = place / "tree", fetched / "busybox"
    for directory in (tree / "usr/lib", unpacked):
        directory.mkdir(parents=True)
    # Older suites have their modules in /lib: the same place, there and in the image.
    (tree / "lib").symlink_to("usr/lib")
    for number, name in enumerate([*names, "busybox-static"]):
        shown = archive.show(name)
        part = _part(progress, 0.05 + 0.15 * number, 0.2 + 0.15 * number)
        file = archive.download(name, _part(part, 0.0, 0.5))
        part(f"unpacking {name}", 0.5)
        _unpack(file, unpacked if name == "busybox-static" else tree, recipe().leave_out)
        packages.append(Package(name=name, version=shown["Version"], sha256=shown["SHA256"]))
    progress("indexing the kernel's modules", 0.95)
    _gather_sources(tree)
    (tree / f"boot/vmlinuz-{release}").rename(place / "vmlinuz")
    next(unpacked.rglob("bin/busybox")).rename(place / "busybox")
    (tree / "boot").rmdir()
    chroot.run(image, place, f"depmod -b /mnt/tree {release}", "the kernel's modules could not be indexed")
    about = About(
        release=release,
        version=packages[0].version,
        vmlinuz_sha256=sha256(place / "vmlinuz"),
        packages=tuple(packages),
    )
    (place / "kernel.json").write_text(about.model_dump_json(indent=1))
    shutil.rmtree(fetched)


def _packages(archive: Archive) -> tuple[str, list[str]]:
    """The current kernel's release, and the packages that it, its headers and their tools are in."""
    package = recipe().package
    depends = archive.show(package).get("Depends", "")
    image = re.search(r"linux-image-(\d[^\s,]*)", depends)
    if not image:
        raise HarnessError(f"the archive's {package} depends on no kernel but on {depends or 'nothing'}")
    headers = f"linux-headers-{image[1]}"
    rest = re.findall(r"linux-(?:headers|kbuild)-\d[^\s,]*", archive.show(headers).get("Depends", ""))
    return image[1], [image[0], headers, *dict.fromkeys(rest)]


def _gather_sources(tree: Path) -> None:
    """Have all that modules are built with in /usr/src: its programs come in /usr/lib, which an image has too."""
    for tools in (tree / "usr/lib").glob("linux-kbuild-*"):
        beside = tree / "usr/src" / tools.name
        beside.unlink(missing_ok=True)
        tools.rename(beside)
        tools.symlink_to(f"../src/{tools.name}")
        for link in (tree / "usr/src").glob("linux-headers-*/*"):
            if link.is_symlink() and tools.name in str(link.readlink()):
                name = link.readlink().name
                link.unlink()
                link.symlink_to(f"../{tools.name}/{name}")


def _unpack(package: Path, target: Path, leave_out: tuple[str, ...]) -> None:
    """Unpack a .deb below ``target``, whose symbolic links to directories are followed. Raises HarnessError."""
    command = ["tar", "-x", "-C", str(target), "--no-same-owner", "--keep-directory-symlink"]
    command += [f"--exclude={pattern}" for pattern in leave_out]
    environment = {**os.environ, "LC_ALL": "C"}
    pipe = subprocess.PIPE
    with (
        subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=pipe, stderr=pipe) as deb,
        subprocess.Popen(command, stdin=deb.stdout, stderr=pipe, env=environment, umask=0o022) as tar,
    ):
        cast(IO[bytes], deb.stdout).close()
        said = [cast(IO[bytes], each.stderr).read().decode(errors="replace").strip() for each in (tar, deb)]
    if deb.returncode or tar.returncode:
        raise HarnessError(f"{package.name} could not be unpacked: {'; '.join(filter(None, said))}")


def _part(progress: Progress, start: float, end: float) -> Callable[[str, float | None], None]:
    """``progress`` for a part of the whole."""
    return lambda what, done: progress(what, None if done is None else start + (end - start) * done)
