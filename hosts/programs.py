"""Programs of ours in C: compiled in a lab's image and kept in the cache, or on a host by its own compiler."""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from hosts.debian import cached, chroot
from hosts.progress import Progress, silent
from hosts.remote.host import RemoteHost

SECONDS = 400.0
"""A compiler on an emulated processor takes its time."""


@dataclass(frozen=True)
class Program:
    """What a program is made of. ``command``: the compiler with its flags, before the output and the sources."""

    name: str
    command: tuple[str, ...]
    sources: Mapping[str, bytes]
    """Files by name, all in one directory."""

    def build(self, output: str) -> list[str]:
        """What compiles it where its sources are."""
        return [*self.command, "-o", output, *(name for name in self.sources if name.endswith(".c"))]

    def digest(self) -> str:
        """Of everything that it is made of."""
        hashed = hashlib.sha256("\0".join(self.build(self.name)).encode())
        for name, content in self.sources.items():
            hashed.update(f"\0{name}\0{len(content)}\0".encode() + content)
        return hashed.hexdigest()


def cache() -> Path:
    """Where this user's programs are."""
    return platformdirs.user_cache_path("pathproof") / "programs"


def in_image(image: Path, program: Program, progress: Progress = silent) -> bytes:
    """A program for the guests of an image, by the image's compiler; compiled now if it is not in the cache.

    Raises Refusal when it cannot be compiled: then the cache is as it was before.
    """
    name = program.name

    def make(place: Path) -> None:
        progress(f"compiling {name}", None)
        source = place / "source"
        source.mkdir()
        for file, content in program.sources.items():
            (source / file).write_bytes(content)
        script = f"cd /mnt/source && {shlex.join(program.build(f'../{name}'))}"
        chroot.run(image, place, script, f"{name} could not be compiled")

    group = f"{name}-{image.name}"
    with cached.obtain(cache() / f"{group}-{program.digest()[:12]}", group, "program", make, progress) as held:
        return (held.path / name).read_bytes()


def on_host(host: RemoteHost, program: Program) -> bytes:
    """A program compiled on a host, in the run's own directory. Raises AgentError when it cannot be compiled."""
    directory = f"{host.directory}/{program.name}-source"
    host.check(["mkdir", "-m", "700", directory])
    for file, content in program.sources.items():
        host.put(content, f"{program.name}-source/{file}")
    host.check(program.build(program.name), timeout=SECONDS, cwd=directory)
    return base64.b64decode(host.check(["base64", f"{directory}/{program.name}"]))
