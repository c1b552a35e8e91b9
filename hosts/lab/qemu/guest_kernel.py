"""The kernel of QEMU guests: the release's own, unpacked from its packages in the user's cache, never installed.

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
from pathlib import Path
from typing import IO, cast

import platformdirs
from pydantic import BaseModel, ConfigDict, ValidationError

from hosts.debian import cached, chroot
from hosts.debian.archive import Archive, sha256
from hosts.debian.linux_source import NoSource
from hosts.errors import Refusal
from hosts.lab import own_kernel
from hosts.lab.own_kernel import OwnKernel
from hosts.modules import Target
from hosts.progress import Progress, part, silent

RECIPE = Path(__file__).parent / "kernel.toml"
NEEDED_BYTES = 600_000_000
LAYOUT = 3  # of what is made here; another number makes another key


class Recipe(BaseModel):
    """What a kernel is unpacked from; see kernel.toml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    package: str
    leave_out: tuple[str, ...]
    initial_modules: tuple[str, ...]

    def key(self, release: str, series: str | None = None) -> str:
        """A digest of all that shapes what the cache has of ``release``; the initial RAM disk is made for each boot."""
        shape = self.model_dump(exclude={"initial_modules"}) | ({"series": series} if series else {})
        content = [release, shape, LAYOUT, platform.machine(), os.geteuid()]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]


class Package(BaseModel):
    """A package that was unpacked; ``sha256`` is what the archive's signed index said and the file had."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: str
    sha256: str


class About(BaseModel):
    """What lies in the cache. ``kernel_release`` is what ``uname -r`` says in a guest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kernel_release: str
    version: str
    vmlinuz_sha256: str
    packages: tuple[Package, ...]


class GuestKernel(cached.Cached):
    """A kernel in use: as long as this is open, nobody removes it.

    ``path``: holds the kernel itself, ``vmlinuz``, and ``busybox``.
    """

    def __init__(self, held: cached.Cached, about: About, own: OwnKernel | None = None) -> None:
        super().__init__(held.path, held.fd)
        self.about, self._own = about, own

    @property
    def tree(self) -> Path:
        """What a guest has besides its image: /usr/lib/modules and the headers."""
        return self.path / "tree"

    @property
    def sources(self) -> Path:
        """The headers: what /usr/src is in a guest."""
        return self.tree / "usr/src"

    def target(self, image: Path) -> Target:
        """What modules for this kernel are built with, in ``image``. Raises Refusal where its tree is gone."""
        if self._own:
            return self._own.target(image, "make -s -C /usr/src")
        return Target(
            image=image,
            sources=self.sources,
            make=f"make -s -C /usr/src/linux-headers-{self.about.kernel_release}",
            key=f"{self.about.kernel_release}-{self.about.vmlinuz_sha256[:12]}",
            package="linux-headers",
            version=self.about.version,
        )


def recipe() -> Recipe:
    """The recipe that comes with this version."""
    return Recipe.model_validate(tomllib.loads(RECIPE.read_text()))


def cache() -> Path:
    """Where this user's kernels are."""
    return platformdirs.user_cache_path("pathproof") / "kernels"


def location(release: str, series: str | None = None) -> Path:
    """Where the kernel of ``release`` is, or will be."""
    return cache() / f"{_group(release, series)}-{recipe().key(release, series)}"


def _group(release: str, series: str | None) -> str:
    return f"{series}-{release}" if series else release


def obtain(release: str, image: Path, progress: Progress = silent, series: str | None = None) -> GuestKernel:
    """The kernel of ``release``, or of a ``series`` of its backports, fetched and unpacked now if there is none.

    ``image`` is the release's image. Raises NoSource where the archive has no such series, Refusal when it cannot be
    had, and when what is in the cache is not what was fetched.
    """
    held = cached.obtain(
        location(release, series),
        _group(release, series),
        "kernel",
        lambda place: _make(place, release, series, image, progress),
        progress,
    )
    try:
        about = About.model_validate_json((held.path / "kernel.json").read_text())
        whole = sha256(held.path / "vmlinuz") == about.vmlinuz_sha256
    except (OSError, ValidationError):
        whole = False
    if not whole:
        held.close()
        raise Refusal(f"the kernel in {held.path} is not what was fetched", next_step=f"rm -r {held.path}")
    return GuestKernel(held, about)


def keep(own: OwnKernel, usual: GuestKernel, progress: Progress = silent) -> GuestKernel:
    """A kernel of somebody's own, with its modules, and what else a guest boots with of the ``usual`` one.

    Raises Refusal.
    """

    def rest(place: Path) -> None:
        shutil.copy(usual.path / "busybox", place)
        (place / "tree/lib").symlink_to("usr/lib")

    held = own_kernel.keep(own, "vmlinuz", "tree/usr/lib/modules", rest, progress)
    about = About(
        kernel_release=own.release, version=own.release, vmlinuz_sha256=sha256(held.path / "vmlinuz"), packages=()
    )
    return GuestKernel(held, about, own)


def _make(place: Path, release: str, series: str | None, image: Path, progress: Progress) -> None:
    """Fill ``place``. Raises Refusal."""
    if platform.machine() != "x86_64":
        raise Refusal(f"QEMU guests are x86_64 machines, and this machine is {platform.machine()}")
    cached.check_room(place.parent, NEEDED_BYTES, "unpacking a kernel")
    fetched = place / "fetched"
    wanted = f"the kernel of {release}"
    progress(f"looking for {wanted}", 0.0)
    archive = Archive(release, fetched, wanted, backports=bool(series))
    archive.run("apt-get", "update")
    image_package = _of_series(archive, series) if series else _current(archive)
    kernel_release, names = _packages(archive, image_package)
    packages = []
    tree, unpacked = place / "tree", fetched / "busybox"
    for directory in (tree / "usr/lib", unpacked):
        directory.mkdir(parents=True)
    # Older releases have their modules in /lib: the same place, there and in the image.
    (tree / "lib").symlink_to("usr/lib")
    for number, name in enumerate([*names, "busybox-static"]):
        shown = archive.show(name)
        share = 0.9 / (len(names) + 1)
        step = part(progress, 0.05 + share * number, 0.05 + share * (number + 1))
        file = archive.download(name, part(step, 0.0, 0.5))
        step(f"unpacking {name}", 0.5)
        _unpack(file, unpacked if name == "busybox-static" else tree, recipe().leave_out)
        packages.append(Package(name=name, version=shown["Version"], sha256=shown["SHA256"]))
    progress("indexing the kernel's modules", 0.95)
    _gather_sources(tree)
    next(tree.rglob("vmlinuz*")).rename(place / "vmlinuz")
    next(unpacked.rglob("bin/busybox")).rename(place / "busybox")
    shutil.rmtree(tree / "boot", ignore_errors=True)
    chroot.run(image, place, f"depmod -b /mnt/tree {kernel_release}", "the kernel's modules could not be indexed")
    about = About(
        kernel_release=kernel_release,
        version=packages[0].version,
        vmlinuz_sha256=sha256(place / "vmlinuz"),
        packages=tuple(packages),
    )
    (place / "kernel.json").write_text(about.model_dump_json(indent=1))
    shutil.rmtree(fetched)


def _current(archive: Archive) -> str:
    """The package of the release's current kernel."""
    package = recipe().package
    depends = archive.show(package).get("Depends", "")
    image = re.search(r"linux-image-\d[^\s,]*", depends)
    if not image:
        raise Refusal(f"the archive's {package} depends on no kernel but on {depends or 'nothing'}")
    return image[0]


def _of_series(archive: Archive, series: str) -> str:
    """The package of the newest kernel of a series, as linux-image-7.3.4+deb13-amd64. Raises NoSource."""
    names = archive.run("apt-cache", "pkgnames", f"linux-image-{series}.").split()
    # without the flavours: cloud, rt, and what is for debuggers
    usual = [name for name in names if re.fullmatch(r"linux-image-[\d.]+(\+[^-]*)?-amd64", name)]
    if not usual:
        raise NoSource(f"the archive has no kernel {series}")
    return max(usual, key=lambda name: [int(number) for number in re.findall(r"\d+", name)])


def _packages(archive: Archive, image: str) -> tuple[str, list[str]]:
    """The release of the kernel in the package ``image``, and the packages that it, its headers and tools are in.

    Newer ones are in several: the kernel itself (linux-binary), its modules, and lists of these (linux-base).
    """
    kernel_release = image.removeprefix("linux-image-")
    parts = re.findall(r"linux-(?:base|binary|modules)-\d[^\s,]*", archive.show(image).get("Depends", ""))
    headers = f"linux-headers-{kernel_release}"
    rest = re.findall(r"linux-(?:headers|kbuild)-\d[^\s,]*", archive.show(headers).get("Depends", ""))
    return kernel_release, [image, *dict.fromkeys(parts), headers, *dict.fromkeys(rest)]


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
    """Unpack a .deb below ``target``, whose symbolic links to directories are followed. Raises Refusal."""
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
        raise Refusal(f"{package.name} could not be unpacked: {'; '.join(filter(None, said))}")
