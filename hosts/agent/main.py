"""The agent of one host: a worker that serves one controller, and a guardian that outlives it.

The worker speaks JSON lines over its standard streams, which are an SSH channel: no port is opened. The
guardian watches the worker and the channel. When either ends, or the controller is silent for longer than the
lease, it kills every process that was started here, undoes the journal in reverse order and removes the run's
directory. Were both killed, the next agent on this host does that before anything else.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import select
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from .journal import Journal
from .kinds import ChangeError
from .ops import Operations

PREFIX = "pathproof-"
LOCK = "/sys/kernel"  # a flock on a directory that every host has leaves no file behind
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def main(directory: Path, lease: float) -> int:
    """Serve until the channel ends; the host is then as it was. Returns the exit status."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    taken(directory)
    if not taken(LOCK):
        say({"fatal": "another run is using this host"})
        shutil.rmtree(directory, ignore_errors=True)
        return 3
    recovered = recover(directory)
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    worker = os.fork()
    if worker == 0:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        status = 1
        try:
            serve(Operations(directory), lease, recovered)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    pidfd = os.pidfd_open(worker)
    # what ends with us as its last parent is not to stay as a zombie: its process group would seem alive
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    watch(pidfd, wake_read)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    problems = clean(directory, pidfd)
    for problem in problems:
        print(f"not undone: {problem}", file=sys.stderr, flush=True)
    return 1 if problems else 0


def taken(directory: str | Path) -> bool:
    """Take the lock of a directory, kept until this process and its worker have ended; False if another has it."""
    lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return False
    return True


def watch(pidfd: int, wake: int) -> None:
    """Sleep, without a timer of its own, until the worker ends, the channel hangs up or a signal comes."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.register(wake, select.POLLIN)
    poll.register(0, select.POLLHUP | select.POLLRDHUP | select.POLLERR)
    poll.poll()


def clean(directory: Path, pidfd: int) -> list[str]:
    """End all that was started, undo all that was changed, remove the directory."""
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except ProcessLookupError:
        pass
    for _ in range(200):
        for pid in descendants():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if not _children():
            break
        time.sleep(0.01)
    problems = [f"process {pid} would not end" for pid in descendants()] + Journal(directory).undo()
    if not problems:
        shutil.rmtree(directory, ignore_errors=True)
    return problems


def descendants() -> list[int]:
    """Children of this process; as it is their subreaper, grandchildren come here when their parent ends."""
    me = str(os.getpid())
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[1] == me:
            found.append(int(stat.parent.name))
    return found


def _children() -> bool:
    """Collect those that ended; whether there are others. The kernel's own word: a listing of /proc may miss one."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def recover(own: Path) -> list[str]:
    """Undo what earlier agents of this user left, who were killed together with their guardians.

    A living agent holds the lock of its directory: none is touched (hosts that share /dev/shm may have them).
    """
    told = []
    for old in sorted(own.parent.glob(PREFIX + "*")):
        if old == own or not old.is_dir() or old.is_symlink() or old.stat().st_uid != os.getuid():
            continue
        if not taken(old):
            continue
        problems = Journal(old).undo()
        told.append(f"{old.name}: " + ("; ".join(problems) or "put back"))
        if not problems:
            shutil.rmtree(old, ignore_errors=True)
    return told


def serve(operations: Operations, lease: float, recovered: list[str]) -> None:
    """Answer requests, one JSON object a line, until the channel ends or is silent for ``lease`` seconds."""
    say({"ready": operations.hello(), "recovered": recovered})
    poll = select.poll()
    poll.register(0, select.POLLIN)
    buffer = b""
    while True:
        line, found, rest = buffer.partition(b"\n")
        if found:
            buffer = rest
            answer(operations, json.loads(line))
            continue
        if not poll.poll(lease * 1000):
            raise TimeoutError(f"the controller was silent for {lease:g} s")
        piece = os.read(0, 1 << 20)
        if not piece:
            return
        buffer += piece


def answer(operations: Operations, request: dict[str, Any]) -> None:
    """Do one request and say how it went."""
    try:
        method = getattr(operations, request["op"])
        say({"id": request["id"], "result": method(**request["args"])})
    except (ChangeError, OSError, ValueError) as error:
        say({"id": request["id"], "error": str(error)})


def say(message: dict[str, Any]) -> None:
    """One line to the controller."""
    data = (json.dumps(message) + "\n").encode()
    while data:
        data = data[os.write(1, data) :]
