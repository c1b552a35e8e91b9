"""The labs that run on this machine now, found through /proc: no file keeps a list that could be wrong."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from hosts.errors import ConfigError, Refusal
from hosts.lab import kinds
from hosts.lab.guests import LAB_INIT, MANAGEMENT, processes
from hosts.processes import SYSTEM_PATH, arguments, stat


@dataclass(frozen=True)
class RunningLab:
    """A lab, by the process that holds its namespaces; ``guests`` and ``processors`` by role.

    ``word`` is what lab-init calls its guests.
    """

    pid: int
    word: str
    controller: int
    image: Path
    guests: Mapping[str, int]
    processors: Mapping[str, int]
    user_namespace: bool

    @property
    def release(self) -> str:
        """The Debian release that the guests run."""
        return self.image.name.rpartition("-")[0]


def find() -> list[RunningLab]:
    """This user's labs (root: everybody's), oldest first."""
    found = []
    for directory in Path("/proc").iterdir():
        # A process that ends while it is looked at is no lab; one of a kind that is not known is another checkout's.
        with suppress(OSError, ValueError, IndexError, ConfigError):
            if directory.name.isdigit() and os.geteuid() in (0, directory.stat().st_uid):
                lab = _lab(int(directory.name))
                if lab:
                    found.append((_started(lab.pid), lab))
    return [lab for _, lab in sorted(found, key=lambda item: item[0])]


def choose(pid: int | None) -> RunningLab:
    """The lab with this process, or the only one. Raises ConfigError when there is none or more than one."""
    labs = find()
    wanted = [lab for lab in labs if pid in (None, lab.pid)]
    if len(wanted) == 1:
        return wanted[0]
    if not labs:
        raise ConfigError("no lab runs here", next_step="in another terminal: python -m hosts.lab up")
    names = ", ".join(str(lab.pid) for lab in labs)
    what = f"no lab has process {pid}" if pid else "more than one lab runs here"
    raise ConfigError(what, next_step=f"say which: --lab PID, one of {names}")


def enter(lab: RunningLab, role: str, command: Sequence[str]) -> NoReturn:
    """Become an SSH client to the guest ``role``: the image's own, in the lab, as this machine may have none.

    Runs ``command``, or root's shell when that is empty; the exit status is the command's.
    """
    if role not in lab.guests:
        raise Refusal(f"the {role} of the lab with process {lab.pid} does not run")
    user = ["--user", "--preserve-credentials"] if lab.user_namespace else []
    # The image as the lab sees it.
    root = f"/proc/{lab.guests[role]}/root{'' if kinds.by_word(lab.word).in_image else lab.image}"
    argv = [
        *("nsenter", "--target", str(lab.guests[role]), *user),
        *("--mount", "--net", "--pid", f"--root={root}", f"--wd={root}"),
        *("/usr/bin/ssh", "-F", "none", "-i", "/mnt/id", *(["-t"] if sys.stdin.isatty() else [])),
        *("-o", "UserKnownHostsFile=/mnt/known_hosts", "-o", "StrictHostKeyChecking=yes"),
        *("-o", "BatchMode=yes", "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=10"),
        *(f"root@{MANAGEMENT[role]}", *command),
    ]
    nsenter = shutil.which("nsenter", path=SYSTEM_PATH)
    if not nsenter:
        raise Refusal("this machine lacks nsenter", next_step="as root: apt-get install util-linux")
    os.execve(nsenter, argv, {"TERM": os.environ.get("TERM", "dumb"), "PATH": SYSTEM_PATH})  # noqa: S606


def _lab(pid: int) -> RunningLab | None:
    """The lab whose ``unshare`` process this is, if it is one."""
    command = arguments(pid)
    if Path(command[0]).name != "unshare" or str(LAB_INIT) not in command:
        return None
    word, _start, image, _memory, *rest = command[command.index(str(LAB_INIT)) + 1 :]
    return RunningLab(
        pid=pid,
        controller=int(stat(pid)[1]),
        word=word,
        image=Path(image),
        guests=processes(pid, kinds.by_word(word).guest),
        processors=dict(zip(MANAGEMENT, map(int, rest[:2]), strict=True)),
        user_namespace="--user" in command,
    )


def _started(pid: int) -> int:
    return int(stat(pid)[19])
