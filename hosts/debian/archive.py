"""Debian's archive: packages of a release, fetched with their signatures checked, and never installed."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

from hosts.debian import apt
from hosts.errors import Refusal
from hosts.progress import Progress

DOWNLOAD_SECONDS = 1200.0

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


class Archive:
    """apt with settings and state of its own in ``directory``; this machine's are neither read nor changed.

    ``wanted`` is what a person calls that which is fetched, for messages; ``backports``: the release's are there too.
    """

    def __init__(self, release: str, directory: Path, wanted: str, *, backports: bool = False) -> None:
        self.directory = directory
        self.wanted = wanted
        for name in (
            "lists/partial",
            "state/lists/partial",
            "var/lib/apt/lists/partial",
            "var/cache/apt/archives/partial",
        ):
            (directory / name).mkdir(parents=True)
        options = "".join(f"{option};\n" for option in apt.options(apt.config_dump()))
        targets = apt.index_targets()
        sources = apt.sources(release, targets)
        if sources and backports:
            sources += apt.sources(f"{release}-backports", targets)
        if not sources:
            raise Refusal(
                f"this machine's apt knows no Debian mirror to take {wanted} from",
                next_step="run the lab on a Debian machine, or leave out what needs it",
            )
        (directory / "status").touch()
        (directory / "sources.list").write_text(sources)
        self._conf = directory / "apt.conf"
        self._conf.write_text(_APT_CONF.format(directory=directory, options=options))

    def run(self, *command: str, timeout: float = 300.0) -> str:
        """apt's output. Raises Refusal with what it complained about."""
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=timeout, check=False, env=self._environment()
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Refusal(f"{command[0]} failed: {error}", commands=[" ".join(command)]) from error
        if done.returncode:
            raise self._failed(command, done.stderr)
        return done.stdout

    def show(self, name: str) -> dict[str, str]:
        """The fields of a package, ``NAME`` or ``NAME=VERSION``, as the signed index has them."""
        first = self.run("apt-cache", "show", name).partition("\n\n")[0]
        return dict(re.findall(r"^(\S+): (.*)$", first, re.MULTILINE))

    def download(self, name: str, progress: Progress) -> Path:
        """Fetch a package, ``NAME`` or ``NAME=VERSION``; its hash is the one in the signed index."""
        # It ends with this process, killed in any way: what it fetched is of no use to anybody then.
        command = ["setpriv", "--pdeathsig", "KILL", "apt-get", "download", name]
        shown = self.show(name)
        total = int(shown.get("Size", "0"))
        files = f"{name.partition('=')[0]}_*.deb"
        errors = self.directory / "errors"
        with (
            errors.open("w") as stderr,
            subprocess.Popen(
                command, cwd=self.directory, env=self._environment(), stdout=subprocess.DEVNULL, stderr=stderr
            ) as process,
        ):
            try:
                deadline = time.monotonic() + DOWNLOAD_SECONDS
                while process.poll() is None:
                    if time.monotonic() > deadline:
                        raise Refusal(f"{name} was not fetched in {DOWNLOAD_SECONDS:.0f} s")
                    have = sum(_size(path) for glob in (files, "**/partial/*") for path in self.directory.glob(glob))
                    progress(f"fetching {name}", min(have / total, 1.0) if total else None)
                    time.sleep(0.2)
            finally:
                process.kill()
        packages = list(self.directory.glob(files))
        if process.returncode or len(packages) != 1:
            raise self._failed(command, errors.read_text())
        if sha256(packages[0]) != shown.get("SHA256"):
            raise Refusal(
                f"{packages[0].name} is not what the archive's signed index says it is",
                next_step="see what lies between this machine and its mirror, and start again",
            )
        return packages[0]

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "APT_CONFIG": str(self._conf), "LC_ALL": "C"}

    def _failed(self, command: Iterable[str], said: str) -> Refusal:
        last = [line for line in said.strip().splitlines() if line.startswith("E:")] or said.strip().splitlines()
        return Refusal(
            f"{self.wanted} could not be fetched: {'; '.join(last[-3:])}",
            commands=[" ".join(command)],
            next_step="see that this machine reaches its package mirror (apt-get update), and start again",
        )


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # renamed this moment
        return 0
