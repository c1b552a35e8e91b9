"""System calls of a server seen from outside, by strace, for a run that is not timed.

What strace writes stays in the run's directory (tmpfs, mode 0700), holds neither payload nor keys nor names (all
arguments are numbers: ``-e raw=all``), and is deleted when it has been summed up.
"""

from __future__ import annotations

import re
import resource
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from itertools import islice
from pathlib import Path

from . import processes
from .errors import ChangeError
from .syscalls import count
from .values import SystemCalls

QUIET_SECONDS = 0.1
REST_SECONDS = 5.0
END_SECONDS = 5.0
LIMIT = 64 << 20
"""Bytes of text after which strace is ended: a server gone wild must not fill the host's memory."""


class Trace:
    """strace on all processes of a process group. Attached, and the group at rest, when it has been made.

    Raises ChangeError where strace is missing, is not permitted, or is not there within ``timeout`` seconds.
    """

    def __init__(self, group: int, directory: Path, timeout: float) -> None:
        program = shutil.which("strace")
        if not program:
            raise ChangeError("strace is not installed on this host")
        pids = _members(group)
        if not pids:
            raise ChangeError(f"process group {group} has ended")
        self._group = group
        self._text, self._said = directory / "strace.out", directory / "strace.err"
        with self._said.open("wb") as said:
            self._process = subprocess.Popen(
                [
                    *(program, "-f", "-s", "0", "-e", "trace=all", "-e", "raw=all", "-e", "signal=none"),
                    *("-o", str(self._text)),
                    *(word for pid in pids for word in ("-p", str(pid))),
                ],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
        try:
            with suppress(ProcessLookupError):  # it ended at once: why is read below
                resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (LIMIT, LIMIT))
            self._attached(set(pids), timeout)
            self._skip = self._lines()
        except BaseException:
            self._end()
            self._remove()
            raise

    def stop(self) -> SystemCalls:
        """Wait until the group is at rest, detach, and sum up (see syscalls.count) what it did since it was at rest.

        Raises ChangeError when it does not come to rest, or when what strace wrote is not whole.
        """
        try:
            rested = self._at_rest(REST_SECONDS)
            status = self._end()
            if not rested:
                raise ChangeError(f"the traced processes did not come to rest within {REST_SECONDS:g} s")
            if status not in (0, -signal.SIGTERM):
                raise ChangeError(f"strace ended by itself with status {status}: {self._words()}")
            with self._text.open(errors="replace") as text:
                return count(islice(text, self._skip, None))
        finally:
            self._remove()

    def _attached(self, pids: set[int], timeout: float) -> None:
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            said = self._said.read_text(errors="replace")
            told = {int(pid) for pid in re.findall(r"Process (\d+) attached", said)}
            ended = {int(pid) for pid in re.findall(r"attach: ptrace\(\w+, (\d+)\): No such process", said)}
            # a child may end between being listed and being attached to; of those that live strace may refuse none,
            # for it goes on with the others
            if self._process.poll() is not None or said.count("attach: ") > len(ended):
                raise ChangeError(f"strace could not attach: {self._words()}")
            if pids <= told | ended and all(tracer == self._process.pid for tracer, _ in _tasks(self._group)):
                if self._at_rest(end - time.monotonic()):
                    return
                break
            time.sleep(0.01)
        raise ChangeError(f"strace had not attached to processes at rest after {timeout:g} s: {self._words()}")

    def _at_rest(self, seconds: float) -> bool:
        """Wait until no process of the group runs and nothing was written for a while; False when that does not come.

        Attaching and detaching interrupt a wait, and the process begins another: that is not to be counted.
        """
        end, since, before = time.monotonic() + seconds, time.monotonic(), -1
        while time.monotonic() < end:
            size = self._text.stat().st_size if self._text.exists() else 0
            if size != before or any(state != "S" for _, state in _tasks(self._group)):
                before, since = size, time.monotonic()
            elif time.monotonic() - since >= QUIET_SECONDS:
                return True
            time.sleep(0.01)
        return False

    def _lines(self) -> int:
        """Whole lines so far. A call that is only begun is a line's beginning and will be counted when it returns."""
        with self._text.open("rb") as text:
            return sum(piece.count(b"\n") for piece in iter(lambda: text.read(1 << 20), b""))

    def _end(self) -> int:
        """Have strace detach; its status (minus the signal's number when one ended it)."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            self._process.send_signal(number)
            try:
                return self._process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                continue
        raise ChangeError("strace would not end")

    def _words(self) -> str:
        said = self._said.read_text(errors="replace") if self._said.exists() else ""
        words = [line for line in said.splitlines() if not re.search(r"Process \d+ (attached|detached)", line)]
        return " ".join(words)[-400:] or "it said nothing"

    def _remove(self) -> None:
        self._text.unlink(missing_ok=True)
        self._said.unlink(missing_ok=True)


def _members(group: int) -> list[int]:
    """The living processes of a process group."""
    return [process.pid for process in processes.listed() if process.group == group and not process.ended]


def _tasks(group: int) -> list[tuple[int, str]]:
    """Tracer and state of every thread of a process group (proc_pid_status(5))."""
    found = []
    for pid in _members(group):
        for status in Path(f"/proc/{pid}/task").glob("[0-9]*/status"):
            try:
                fields = dict(re.findall(r"^(State|TracerPid):\s+(\w+)", status.read_text(), re.MULTILINE))
            except OSError:
                continue
            found.append((int(fields["TracerPid"]), fields["State"]))
    return found
