"""Debian's linux-source, nearest to a kernel: found, fetched with its signature checked, and unpacked."""

from __future__ import annotations

import lzma
import os
import re
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from hosts.errors import HarnessError
from hosts.lab import apt
from hosts.progress import Progress

DOWNLOAD_SECONDS = 1200.0
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

_APT_CONF = """\
Dir "{directory}/";
Dir::Etc::sourcelist "{directory}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::State::status "{directory}/status";
Acquire::Languages "none";
APT::Sandbox::User "root";
{options}
"""


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


class Archive:
    """apt with settings and state of its own in ``directory``; this machine's are neither read nor changed."""

    def __init__(self, suite: str, directory: Path) -> None:
        self.directory = directory
        for name in (
            "lists/partial",
            "state/lists/partial",
            "var/lib/apt/lists/partial",
            "var/cache/apt/archives/partial",
        ):
            (directory / name).mkdir(parents=True)
        options = "".join(f"{option};\n" for option in apt.options(apt.config_dump()))
        sources = apt.sources(suite, apt.index_targets())
        if not sources:
            raise HarnessError(
                "this machine's apt knows no Debian mirror to take the kernel's source from",
                next_step="run the lab on a Debian machine, or leave the so-crypt paths out",
            )
        (directory / "status").touch()
        (directory / "sources.list").write_text(sources)
        self._conf = directory / "apt.conf"
        self._conf.write_text(_APT_CONF.format(directory=directory, options=options))

    def run(self, *command: str, timeout: float = 300.0) -> str:
        """apt's output. Raises HarnessError with what it complained about."""
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=timeout, check=False, env=self._environment()
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise HarnessError(f"{command[0]} failed: {error}", commands=[" ".join(command)]) from error
        if done.returncode:
            raise _failed(command, done.stderr)
        return done.stdout

    def download(self, version: Version, progress: Progress) -> Path:
        """Fetch the package; apt checks its hash against the signed index."""
        name = f"{version.package}={version.text}"
        command = ["apt-get", "download", name]
        shown = self.run("apt-cache", "show", name)
        size = re.search(r"^Size: (\d+)$", shown, re.MULTILINE)
        total = int(size[1]) if size else 0
        errors = self.directory / "errors"
        with (
            errors.open("w") as stderr,
            subprocess.Popen(
                command, cwd=self.directory, env=self._environment(), stdout=subprocess.DEVNULL, stderr=stderr
            ) as process,
        ):
            deadline = time.monotonic() + DOWNLOAD_SECONDS
            while process.poll() is None:
                if time.monotonic() > deadline:
                    process.kill()
                    raise HarnessError(f"{name} was not fetched in {DOWNLOAD_SECONDS:.0f} s")
                have = sum(
                    _size(path) for pattern in ("*.deb", "**/partial/*") for path in self.directory.glob(pattern)
                )
                progress(f"fetching {name}", min(have / total, 1.0) if total else None)
                time.sleep(0.2)
        packages = list(self.directory.glob(f"{version.package}_*.deb"))
        if process.returncode or len(packages) != 1:
            raise _failed(command, errors.read_text())
        return packages[0]

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "APT_CONFIG": str(self._conf), "LC_ALL": "C"}


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # renamed this moment
        return 0


def _failed(command: Iterable[str], said: str) -> HarnessError:
    last = [line for line in said.strip().splitlines() if line.startswith("E:")] or said.strip().splitlines()
    return HarnessError(
        f"the kernel's source could not be fetched: {'; '.join(last[-3:])}",
        commands=[" ".join(command)],
        next_step="see that this machine reaches its package mirror (apt-get update), and start again",
    )


def find(suite: str, release: str, directory: Path) -> tuple[Archive, Version]:
    """The version of linux-source nearest to kernel ``release`` in ``suite``. Raises HarnessError."""
    archive = Archive(suite, directory)
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
