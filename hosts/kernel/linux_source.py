"""Debian's linux-source, nearest to a kernel: found, fetched with its signature checked, and unpacked."""

from __future__ import annotations

import lzma
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from hosts.errors import HarnessError
from hosts.lab.archive import Archive
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
    """A version of the package, 6.12.107-1, as the three numbers of its kernel."""

    package: str
    text: str

    @property
    def kernel(self) -> str:
        """The kernel's release: 6.12.107."""
        return self.text.partition("-")[0]

    @property
    def level(self) -> int:
        """The point release: 107."""
        return point(self.kernel)


def series(release: str) -> str:
    """6.12 of 6.12.101. Raises HarnessError for what is no kernel release."""
    found = re.match(r"\d+\.\d+", release)
    if not found:
        raise HarnessError(f"{release!r} is not the release of a kernel")
    return found[0]


def point(release: str) -> int:
    """101 of 6.12.101; 0 where there is none."""
    found = re.match(r"\d+\.\d+\.(\d+)", release)
    return int(found[1]) if found else 0


def versions(madison: str) -> list[Version]:
    """What ``apt-cache madison`` listed."""
    fields = [[field.strip() for field in line.split("|")] for line in madison.splitlines()]
    return sorted({Version(line[0], line[1]) for line in fields if len(line) == 3}, key=lambda found: found.text)


def nearest(found: Iterable[Version], release: str) -> Version | None:
    """The version for ``release``, or else the one fewest point releases away, rather newer than older."""
    wanted = point(release)
    return min(found, key=lambda version: (abs(version.level - wanted), -version.level, version.text), default=None)


def find(suite: str, release: str, directory: Path) -> tuple[Archive, Version]:
    """The version of linux-source nearest to kernel ``release`` in ``suite``. Raises HarnessError."""
    archive = Archive(suite, directory, "the kernel's source")
    archive.run("apt-get", "update")
    package = f"linux-source-{series(release)}"
    version = nearest(versions(archive.run("apt-cache", "madison", package)), release)
    if not version:
        raise HarnessError(f"{suite} has no {package}, and the lab's kernel is {release}")
    return archive, version


def unpack(package: Path, target: Path, progress: Progress) -> Path:
    """Unpack what a module needs of the source in a .deb; its directory below ``target``. Raises HarnessError."""
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
        raise HarnessError(f"the kernel's source could not be unpacked: {error}") from error
    trees = [path for path in target.iterdir() if (path / "Makefile").exists()]
    if unpacking.returncode or len(trees) != 1:
        raise HarnessError(f"the kernel's source could not be unpacked: tar ended with {unpacking.returncode}")
    return trees[0]


def _decompress(source: IO[bytes], size: int, sink: IO[bytes], progress: Progress) -> None:
    done, decompressor = 0, lzma.LZMADecompressor()
    while piece := source.read(1 << 20):
        sink.write(decompressor.decompress(piece))
        done += len(piece)
        progress("unpacking the kernel's source", done / size)
