"""Builds so_crypt: for the lab's kernel on this machine, in the lab's image; for a host's own kernel on the host.

Debian's User Mode Linux package has no headers, and the archive seldom keeps the source of exactly its point
release. The module is built from the nearest linux-source, and :mod:`hosts.kernel.likeness` finds out whether that
source has the running kernel's structures. Often enough it has not (struct proto grew by two pointers between
6.12.113 and 6.12.117): then the same source, with Debian's configuration less what a guest has no use for, becomes a
kernel of the lab's own, once, and the lab boots that instead of the image's.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from hosts.errors import HarnessError
from hosts.kernel import likeness, linux_source
from hosts.lab import chroot
from hosts.progress import Progress, silent

if TYPE_CHECKING:
    from hosts.remote import RemoteHost

SOURCE = Path(__file__).parent / "so_crypt"
MODULE = "so_crypt.ko"
MODULES = Path("usr/lib/uml/modules")
LAB_CONFIG = Path(__file__).with_name("lab.config")
NOT_BUILT = "so_crypt could not be built"
KERNEL_OBJECTS = 1150  # compiled for a kernel of the lab's own, about
WAIT_SECONDS = 1800.0
HEADERS_SECONDS = 300.0


class NoHeaders(HarnessError):  # noqa: N818 - says what is missing, not that something broke
    """The host's kernel has no headers to build a module with; ``next_step`` says which package has them."""


@dataclass(frozen=True)
class Module:
    """A module that was built: for which kernel, with which version of ``package``, and how that was found to fit.

    ``kernel`` is None where the image's own kernel is meant. Otherwise it is a directory with ``linux``, to be
    booted in place of the image's ``/usr/bin/linux.uml``, and ``modules``, in place of ``/usr/lib/uml/modules``.
    ``exact`` says that the source is the very kernel's, else ``alike`` functions were found to be the same.
    """

    path: Path
    release: str
    version: str
    exact: bool
    alike: int
    seconds: float
    kernel: Path | None = None
    package: str = "linux-source"


def source_hash() -> str:
    """A digest of everything the module is made of."""
    digest = hashlib.sha256()
    for path in sorted(SOURCE.iterdir()):
        if path.is_file():
            digest.update(f"{path.name}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def cache() -> Path:
    """Where this user's modules are."""
    return platformdirs.user_cache_path("pathproof") / "modules"


def uml_release(image: Path) -> str:
    """The release of the image's User Mode Linux kernel. Raises HarnessError when it has none, or several."""
    releases = sorted(path.name for path in (image / MODULES).glob("[0-9]*"))
    if len(releases) != 1:
        raise HarnessError(f"the image {image} has {' and '.join(releases) or 'no'} User Mode Linux kernel, not one")
    return releases[0]


def for_uml(suite: str, image: Path, progress: Progress = silent) -> Module:
    """The module for a lab with this image, and the kernel that lab must boot; built now if not in the cache.

    The kernel and the tree it was built from stay in the cache, so that another version of the module takes seconds.
    Raises HarnessError when it cannot be built: then the cache is as it was before.
    """
    release = uml_release(image)
    kernel = hashlib.sha256((image / "usr/bin/linux.uml").read_bytes()).hexdigest()
    key = hashlib.sha256(f"{kernel} {LAB_CONFIG.read_text()}".encode()).hexdigest()[:12]
    place = cache() / f"{release}-{key}"
    module = place / f"so_crypt-{source_hash()[:12]}.ko"
    try:
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with only_builder(place.parent, progress):
            if not place.exists():
                _prepare(suite, image, release, place, _part(progress, 0.0, 0.97))
            if not module.exists():
                built = Tree(image, place, _part(progress, 0.97, 1.0)).module()
                for old in place.glob("so_crypt-*.ko"):
                    old.unlink()
                built.rename(module)
                shutil.rmtree(built.parent)
            facts = json.loads((place / "tree.json").read_text())
            facts["version"] = facts.pop("linux_source")
    except OSError as error:
        raise HarnessError(f"cannot keep modules in {place.parent}: {error.strerror or error}") from error
    own = place / "kernel"
    return Module(path=module, kernel=own if own.exists() else None, **facts)


def _prepare(suite: str, image: Path, release: str, place: Path, progress: Progress) -> None:
    """Make ``place``: a tree that modules are built with, and a kernel where the image's does not fit the tree."""
    started = time.monotonic()
    for leftover in place.parent.glob("*.building"):
        shutil.rmtree(leftover, ignore_errors=True)
    work = Path(tempfile.mkdtemp(dir=place.parent, suffix=".building"))
    try:
        progress("looking for the kernel's source", 0.0)
        archive, version = linux_source.find(suite, release, work / "apt")
        exact = version.kernel == release
        package = archive.download(f"{version.package}={version.text}", _part(progress, 0.02, 0.07))
        result = work / "result"
        (result / "unpacked").mkdir(parents=True)
        unpacked = linux_source.unpack(package, result / "unpacked", _part(progress, 0.07, 0.17))
        unpacked.rename(result / "linux")
        (result / "unpacked").rmdir()
        tree = Tree(image, result, _part(progress, 0.17, 0.27))
        tree.configure(release)
        alike = 0 if exact else tree.likeness(release).good_or_none()
        if alike is None:
            tree.progress = _part(progress, 0.27, 1.0)
            release, exact, alike = tree.own_kernel(version), True, 0
        tree.prune()
        seconds = round(time.monotonic() - started, 1)
        facts = {"release": release, "linux_source": version.text, "exact": exact, "alike": alike, "seconds": seconds}
        (result / "tree.json").write_text(json.dumps(facts))
        result.rename(place)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _part(progress: Progress, start: float, end: float) -> Progress:
    """``progress`` for a part of the whole."""
    return lambda what, done: progress(what, None if done is None else start + (end - start) * done)


class Tree:
    """The source of a kernel at ``work/linux``, being made into something in the image, where it is /mnt/linux."""

    def __init__(self, image: Path, work: Path, progress: Progress) -> None:
        self.image = image
        self.work = work
        self.progress = progress
        self.make = (
            f"make -C /mnt/linux ARCH=um KBUILD_BUILD_USER=pathproof KBUILD_BUILD_HOST=lab -j{os.cpu_count() or 1}"
        )

    def configure(self, release: str) -> None:
        """Make it the image's kernel as far as its name and configuration go."""
        self.progress("configuring the kernel's source", 0.0)
        self._set_point(linux_source.point(release))
        self._run("linux.uml --showconfig >/mnt/linux/.config")
        self._run(f"{self.make} -s olddefconfig && {self.make} -s modules_prepare")
        if self._release() != release:
            raise HarnessError(f"the source calls itself {self._release()}, but the lab's kernel is {release}")

    def likeness(self, release: str) -> likeness.Likeness:
        """How alike it and the image's kernel are."""
        self.progress("comparing the source with the running kernel", 0.5)
        objects = " ".join(name for group in likeness.WITNESSES.values() for name in group)
        self._run(f"{self.make} -s KBUILD_MODPOST_WARN=1 {objects}")
        disassemble = "objdump -d --no-show-raw-insn -j .text"
        theirs, ours = dict[str, likeness.Function](), dict[str, likeness.Function]()
        for module, parts in likeness.WITNESSES.items():
            shipped = MODULES / release / "kernel" / f"{module}.ko"
            if not (self.image / shipped).exists():
                continue
            theirs |= _named(module, self._run(f"{disassemble} /{shipped}"))
            for part in parts:
                ours |= _named(module, self._run(f"{disassemble} /mnt/linux/{part}"))
        return likeness.compare(theirs, ours)

    def own_kernel(self, version: linux_source.Version) -> str:
        """Make a kernel of it, with its modules, in ``work/kernel``; its release."""
        self._set_point(version.level)
        shutil.copy(LAB_CONFIG, self.work)
        # Debian's configuration without its modules, then the lab's.
        left_out = r"s/^\(CONFIG_[A-Za-z0-9_]*\)=m$/# \1 is not set/; /^CONFIG_DEBUG_INFO/d; /^CONFIG_LOCALVERSION/d"
        self._run(f"cd /mnt/linux; linux.uml --showconfig | sed '{left_out}' | cat - /mnt/lab.config >.config")
        self._run(f"{self.make} -s olddefconfig")
        count = 0

        def line(said: str) -> None:
            nonlocal count
            count += said.startswith("  CC")
            self.progress("building a kernel for the lab", min(count / KERNEL_OBJECTS, 1.0))

        self._run(f"{self.make} linux modules", line)
        self._run(f"{self.make} -s INSTALL_MOD_PATH=/mnt/installed modules_install")
        target = self.work / "kernel"
        target.mkdir()
        shutil.copy(self.work / "linux" / "linux", target)
        shutil.move(self.work / "installed/lib/modules", target / "modules")
        for link in ("build", "source"):
            (target / "modules" / self._release() / link).unlink(missing_ok=True)
        shutil.rmtree(self.work / "installed")
        return self._release()

    def prune(self) -> None:
        """Keep what modules are built with, as a package of headers does."""
        for path in (self.work / "linux").rglob("*"):
            inside = path.relative_to(self.work / "linux").parts[0]
            if path.suffix in {".c", ".o", ".ko", ".a", ".S", ".cmd", ".rst"} and inside not in {
                "include",
                "scripts",
                "tools",
            }:
                path.unlink()
        for name in ("linux", "vmlinux"):
            (self.work / "linux" / name).unlink(missing_ok=True)

    def module(self, source: Path = SOURCE) -> Path:
        """Build the module of a directory with it: so_crypt, or another of that shape. Where it is then."""
        name = source.name
        self.progress(f"building {name}", 0.0)
        shutil.rmtree(self.work / name, ignore_errors=True)
        shutil.copytree(source, self.work / name)
        # Where only a module is built there is no Module.symvers and modpost can but warn. The kernel itself refuses
        # a module with a symbol that it does not have.
        self._run(f"{self.make} -s M=/mnt/{name} KBUILD_MODPOST_WARN=1 modules")
        self.progress(f"{name} is built", 1.0)
        return self.work / name / f"{name}.ko"

    def _release(self) -> str:
        return (self.work / "linux/include/config/kernel.release").read_text().strip()

    def _set_point(self, level: int) -> None:
        makefile = self.work / "linux/Makefile"
        makefile.write_text(re.sub(r"^SUBLEVEL = .*$", f"SUBLEVEL = {level}", makefile.read_text(), flags=re.MULTILINE))

    def _run(self, script: str, line: Callable[[str], None] | None = None) -> str:
        return chroot.run(self.image, self.work, script, NOT_BUILT, line=line)


def _named(module: str, disassembly: str) -> dict[str, likeness.Function]:
    return {f"{module}:{name}": function for name, function in likeness.functions(disassembly).items()}


@contextmanager
def only_builder(directory: Path, progress: Progress) -> Iterator[None]:
    """Hold the lock of those who build below ``directory``; waits WAIT_SECONDS at most. Raises HarnessError."""
    fd = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise HarnessError(
                        f"another process is still building so_crypt after {WAIT_SECONDS:.0f} s"
                    ) from None
                progress("waiting for another process that builds so_crypt", None)
                time.sleep(0.5)
        yield
    finally:
        os.close(fd)


def no_headers(release: str, os_name: str | None, host: str | None = None) -> NoHeaders:
    """The error that says which package has the headers of kernel ``release``."""
    fedora = any(word in (os_name or "") for word in ("Fedora", "Red Hat", "CentOS", "Rocky", "Alma"))
    package = f"kernel-devel-{release}" if fedora else f"linux-headers-{release}"
    tool = "dnf" if fedora else "apt-get"
    return NoHeaders(
        f"the headers of its kernel {release} are not installed, so so_crypt cannot be built",
        host=host,
        next_step=f"{tool} install {package}",
    )


def on_host(host: RemoteHost, os_name: str | None = None, progress: Progress = silent) -> str:
    """Build the module on a host for its running kernel, in the run's own directory; its path there.

    Raises NoHeaders when the kernel's headers are missing, AgentError when the build fails.
    """
    release = host.check(["uname", "-r"]).strip()
    headers = f"/lib/modules/{release}/build"
    if host.read([f"{headers}/Makefile"])[f"{headers}/Makefile"] is None:
        raise no_headers(release, os_name, host.name)
    progress(f"building so_crypt for {release}", None)
    directory = f"{host.directory}/so_crypt"
    host.check(["mkdir", "-p", directory])
    for path in sorted(SOURCE.iterdir()):
        if path.is_file():
            host.put(path.read_bytes(), f"so_crypt/{path.name}")
    host.check(build_command(headers, directory), timeout=HEADERS_SECONDS)
    return f"{directory}/{MODULE}"


def build_command(headers: str, directory: str) -> Sequence[str]:
    """What builds the module in ``directory`` with a kernel's headers."""
    return ["make", "-s", "-C", headers, f"M={directory}", "modules"]
