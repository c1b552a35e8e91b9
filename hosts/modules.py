"""Kernel modules of ours: built in a lab's image for the lab's kernel, or on a host with its own kernel's headers."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from hosts import packages
from hosts.debian import cached, chroot
from hosts.errors import Refusal
from hosts.progress import Progress, silent
from hosts.remote.host import RemoteHost

MODULES = Path(__file__).parent / "onhost" / "modules"
"""The sources of our modules, a directory called like each."""
SO_CRYPT = MODULES / "so_crypt"
"""The source of the module so_crypt."""
DEVCRYPTO = MODULES / "devcrypto"
"""The source of the module devcrypto."""
HEADERS_SECONDS = 300.0
BUILT_WITH = ("cc", "make", "headers")
"""What a host must have so that a module can be built there, in the names of ``facts.Facts.programs``."""


class NoHeaders(Refusal):
    """The host's kernel has no headers to build a module with; ``next_step`` says which package has them."""


@dataclass(frozen=True)
class Module:
    """A module that was built, with the version of the Debian package whose source or headers it was built with."""

    content: bytes
    package: str
    version: str


@dataclass(frozen=True)
class Target:
    """A kernel that modules can be built for in a lab's image."""

    image: Path
    sources: Path
    """What is /usr/src in the image."""
    make: str
    """The command that builds with what is there."""
    key: str
    """Names the kernel in the cache: another kernel, another key."""
    package: str
    """The Debian package that has its source or headers."""
    version: str
    """Of that package."""


def digest(source: Path) -> str:
    """A digest of everything that the module in the directory ``source`` is made of."""
    hashed = hashlib.sha256()
    for path in sorted(source.iterdir()):
        if path.is_file():
            hashed.update(f"{path.name}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return hashed.hexdigest()


def cache() -> Path:
    """Where this user's modules are."""
    return platformdirs.user_cache_path("pathproof") / "modules"


def in_image(target: Target, source: Path = SO_CRYPT, progress: Progress = silent) -> Module:
    """The module of the directory ``source`` for a lab's kernel; built now if it is not in the cache.

    Raises Refusal when it cannot be built: then the cache is as it was before.
    """
    name = source.name

    def make(place: Path) -> None:
        progress(f"building {name}", None)
        shutil.copytree(source, place / name)
        chroot.run(
            target.image,
            place,
            f"{target.make} M=/mnt/{name} modules",
            f"{name} could not be built",
            sources=target.sources,
        )

    group = f"{name}-{target.key}"
    with cached.obtain(cache() / f"{group}-{digest(source)[:12]}", group, "module", make, progress) as held:
        return Module((held.path / name / f"{name}.ko").read_bytes(), target.package, target.version)


def on_host(host: RemoteHost, os_name: str | None = None, source: Path = SO_CRYPT) -> str:
    """Build the module of the directory ``source`` on a host for its running kernel; its path there.

    It is built in the run's own directory. Raises NoHeaders when the kernel's headers are missing, AgentError when the
    build fails.
    """
    name = source.name
    kernel_release = host.check(["uname", "-r"]).strip()
    headers = f"/lib/modules/{kernel_release}/build"
    if host.read([f"{headers}/Makefile"])[f"{headers}/Makefile"] is None:
        raise no_headers(kernel_release, os_name, host.name, name)
    directory = f"{host.directory}/{name}"
    host.check(["mkdir", "-p", directory])
    for path in sorted(source.iterdir()):
        if path.is_file():
            host.put(path.read_bytes(), f"{name}/{path.name}")
    host.check(build_command(headers, directory), timeout=HEADERS_SECONDS)
    return f"{directory}/{name}.ko"


def no_headers(
    kernel_release: str, os_name: str | None, host: str | None = None, name: str = SO_CRYPT.name
) -> NoHeaders:
    """The error that says which package has the headers of a kernel, for the module ``name``."""
    return NoHeaders(
        f"the headers of its kernel {kernel_release} are not installed, so {name} cannot be built",
        host=host,
        next_step=packages.headers(kernel_release, os_name),
    )


def build_command(headers: str, directory: str) -> Sequence[str]:
    """What builds the module in ``directory`` with a kernel's headers."""
    return ["make", "-s", "-C", headers, f"M={directory}", "modules"]
