"""Processes of this machine, as /proc tells them."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

END_SECONDS = 10.0
# Where the system's programs are: an ordinary user's PATH often lacks half of it.
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def children(pid: int) -> list[int]:
    """What the first thread of ``pid`` started and has not seen end. Raises OSError when ``pid`` is gone."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def arguments(pid: int) -> list[str]:
    """The command line of ``pid``; empty when it has ended. Raises OSError when it is gone."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]


def stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third, the state, on (proc_pid_stat(5)). Raises OSError when it is gone."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def ended(pid: int) -> bool:
    """Whether a process has ended, even if nobody has asked for its status yet."""
    try:
        return stat(pid)[0] in "ZX"
    except OSError:
        return True


def end_namespaces(unshare: subprocess.Popen[bytes] | subprocess.Popen[str]) -> None:
    """End a process ``unshare --pid --fork`` and everything in its namespaces; all is over on return.

    Killing the namespaces' first process, not unshare: the kernel ends all others before unshare sees it.
    """
    if unshare.poll() is None:
        with suppress(OSError):
            for first in children(unshare.pid):
                os.kill(first, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            unshare.wait(END_SECONDS)
    if unshare.poll() is None:
        unshare.kill()
        unshare.wait(END_SECONDS)
