"""Debian's linux-source: the newest of a series found, fetched with its signature checked, and unpacked."""

from __future__ import annotations

import lzma
import os
import re
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from hosts.debian.archive import Archive
from hosts.errors import Refusal
from hosts.progress import Progress

# What a build for User Mode Linux never reads: half of the source. Kconfig files and Makefiles stay.
LEAVE_OUT = (
    *(f"*/drivers/{name}/*.[ch]" for name in ("gpu", "media", "staging", "infiniband", "scsi", "iio", "usb", "crypto")),
    *(f"*/drivers/net/{name}/*.[ch]" for name in ("ethernet", "wireless")),
    "*/sound/*.[ch]",
    "*/arch/[a-t]*.[chS]",
    "*.dts",
    "*.dtsi",
    "*/Documentation/*/*",
    "*/tools/testing/*",
    "*/tools/perf/*",
)


@dataclass(frozen=True)
class Version:
    """A version of the package ``linux-source-6.12``, as 6.12.107-1."""

    package: str
    text: str

    @property
    def numbers(self) -> tuple[int, ...]:
        """All its numbers, to be compared: 6, 12, 107, 1."""
        return tuple(int(number) for number in re.findall(r"\d+", self.text))


def versions(madison: str) -> list[Version]:
    """What ``apt-cache madison`` listed, the newest last."""
    fields = [[field.strip() for field in line.split("|")] for line in madison.splitlines()]
    found = {Version(line[0], line[1]) for line in fields if len(line) == 3}
    return sorted(found, key=lambda version: version.numbers)


class NoSource(Refusal):
    """The archive has no kernel of this series: not yet, or no more."""


def newest(release: str, series: str, directory: Path, *, backports: bool = False) -> tuple[Archive, Version]:
    """The archive of a Debian ``release``, and the newest source of a kernel ``series`` (6.12) in it.

    ``directory`` is apt's own for this; ``backports``: the release's backports are looked at too. Raises NoSource where
    there is none, Refusal where the archive does not answer.
    """
    archive = Archive(release, directory, "the kernel's source", backports=backports)
    archive.run("apt-get", "update")
    package = f"linux-source-{series}"
    found = versions(archive.run("apt-cache", "madison", package))
    if not found:
        raise NoSource(f"{release}{' and its backports have' if backports else ' has'} no {package}")
    return archive, found[-1]


def unpack(package: Path, target: Path, progress: Progress) -> Path:
    """Unpack what a module needs of the source in a .deb; its directory below ``target``. Raises Refusal."""
    tar = shutil.which("tar") or "tar"
    command = [tar, "-x", "-C", str(target), "--no-same-owner", *(f"--exclude={pattern}" for pattern in LEAVE_OUT)]
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        with (
            subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE) as deb,
            subprocess.Popen(command, stdin=subprocess.PIPE, env=environment) as unpacking,
        ):
            inner, sink = cast(IO[bytes], deb.stdout), cast(IO[bytes], unpacking.stdin)
            with tarfile.open(fileobj=inner, mode="r|") as outer:
                for member in outer:
                    if member.name.endswith(".tar.xz"):
                        _decompress(cast(IO[bytes], outer.extractfile(member)), member.size, sink, progress)
                        break
            sink.close()
            deb.kill()
    except (OSError, tarfile.TarError, lzma.LZMAError) as error:
        raise Refusal(f"the kernel's source could not be unpacked: {error}") from error
    trees = [path for path in target.iterdir() if (path / "Makefile").exists()]
    if unpacking.returncode or len(trees) != 1:
        raise Refusal(f"the kernel's source could not be unpacked: tar ended with {unpacking.returncode}")
    return trees[0]


def _decompress(source: IO[bytes], size: int, sink: IO[bytes], progress: Progress) -> None:
    done, decompressor = 0, lzma.LZMADecompressor()
    while piece := source.read(1 << 20):
        sink.write(decompressor.decompress(piece))
        done += len(piece)
        progress("unpacking the kernel's source", done / size)
