"""The agent of one host: a worker that serves one controller, and a guardian that outlives it.

The worker speaks JSON lines over its standard streams, which are an SSH channel: no port is opened. The
guardian watches the worker and the channel. When either ends, or the controller is silent for longer than the
lease, it kills every process that was started here, undoes the journal in reverse order and removes the run's
directory; of one whose undoing failed the journal stays. A worker that hangs in an operation is ended by the guardian's
own timer. If both were killed, the next agent on this host does that before anything else.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import mmap
import os
import select
import shutil
import signal
import struct
import sys
import time
import traceback
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from . import commands, files, network, processes
from .errors import ChangeError
from .journal import NAME, Journal, Undone, UnreadableError
from .ops import Operations, perform
from .protocol import IN_USE, LEFT, NOT_UNDONE
from .values import Hello
from .wire import encode

PREFIX = "pathproof-"
PLACES = ("/dev/shm", "/tmp", f"/run/user/{os.getuid()}", "/run", "/var/tmp")  # noqa: S108 - as bootstrap.py has them
SYSTEM_PATH = ("/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin")
LOCK = "/sys/kernel"  # a flock on a directory that every host has leaves no file behind
FINISH_SECONDS = 1800.0
"""A command that must not be ended is waited for so long."""
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
GRACE_SECONDS = 5.0
"""So much longer than the worker, who is to see it first, the guardian waits for a silent controller."""
OPERATION_SECONDS = 600.0
"""More than any operation takes beyond its own timeout: a worker that is still in it hangs."""


class StillAtWorkError(Exception):
    """What an earlier agent began, and nobody ends in its middle, goes on: its changes are not to be undone yet."""


class Timer:
    """Until when the worker is to be heard of again, which it says and the guardian reads; in memory of both."""

    def __init__(self) -> None:
        self._room = mmap.mmap(-1, 8)
        self.set(OPERATION_SECONDS)

    def set(self, seconds: float) -> None:
        """From now on so long."""
        struct.pack_into("=d", self._room, 0, time.monotonic() + seconds)

    def left(self) -> float:
        """Seconds that are left."""
        return float(struct.unpack_from("=d", self._room)[0]) - time.monotonic()


class Earlier(NamedTuple):
    """What earlier agents left, a line each: what is put back, and what is not."""

    recovered: list[str]
    remaining: list[str]


def main(directory: Path, lease: float, looks: bool = False) -> int:
    """Serve until the channel ends; the host is then as it was. Returns the exit status.

    ``looks``: an agent that refuses to change anything, and leaves what earlier ones left, too.
    """
    # an ordinary user's PATH may lack what servers are in, a command's over SSH even more
    path = os.environ.get("PATH", "").split(":")
    os.environ["PATH"] = ":".join([*filter(None, path), *(place for place in SYSTEM_PATH if place not in path)])
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    if taken(LOCK) is None:
        say({"fatal": f"{IN_USE}{holder()}", "next_step": "wait until it ends, or end it there"})
        shutil.rmtree(directory, ignore_errors=True)
        return 3
    try:
        earlier = recover(directory, looks)
    except (UnreadableError, StillAtWorkError) as error:
        say({"fatal": str(error)})
        shutil.rmtree(directory, ignore_errors=True)
        return 3
    timer = Timer()
    alive_read, alive_write = os.pipe()
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    worker = os.fork()
    if worker == 0:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        os.close(alive_read)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        status = 1
        try:
            serve(Operations(directory, looks), lease, earlier, timer)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(alive_write)
    started = processes.start_ticks(worker)
    # what ends with us as its last parent is not to stay as a zombie: its process group would seem alive
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    closed = watch(alive_read, wake_read, timer, lease)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    undone = clean(directory, worker, started)
    heard = _last_words(undone) and closed
    # the next agent tries again what may be undone then, and tells what nobody heard
    remove(directory, but_journal=bool(undone.problems or undone.passes or (undone.left and not heard)))
    return 1 if undone.problems else 0


def _last_words(undone: Undone) -> bool:
    """Say on standard error what is not as it was; False where its other end is closed.

    In one line what is left to others: of many lines the controller keeps the last ones.
    """
    lines = [f"{LEFT}{'; '.join(undone.left)}"] * bool(undone.left) + [f"{NOT_UNDONE}{one}" for one in undone.problems]
    try:
        _write(2, "".join(f"{line}\n" for line in lines).encode())
    except OSError:
        return False
    return True


def remove(directory: Path, but_journal: bool = False) -> None:
    """Remove a run's directory, or all that is in it but the journal."""
    if not but_journal:
        shutil.rmtree(directory, ignore_errors=True)
        return
    for path in directory.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != NAME:
            path.unlink(missing_ok=True)


def taken(directory: str | Path) -> int | None:
    """Take the lock of a directory: a descriptor that keeps it until it is closed, by this process and its worker, or
    until they have ended; None if another has it."""
    lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def holder() -> str:
    """Who holds the host's lock, since when and for which run, by the kernel's list of locks; empty where not known."""
    place = os.stat(LOCK)  # noqa: PTH116
    wanted = f"{os.major(place.st_dev):02x}:{os.minor(place.st_dev):02x}:{place.st_ino}"
    try:
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return ""
    for line in lines:
        # number, FLOCK, ADVISORY, WRITE, process, device and inode, from, to; one that waits has an arrow before FLOCK
        words = line.split()
        if len(words) == 8 and words[1] == "FLOCK" and words[5] == wanted:
            return _told(int(words[4]))
    return ""


def _told(pid: int) -> str:
    """What the arguments of an agent, and the kernel, say of it."""
    process = processes.look(pid)
    if process is None:
        return ""
    try:
        # python3 -I agent.pyz DIRECTORY LEASE USER RUN
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        user, run = arguments[5:7]
    except (OSError, ValueError):
        user, run = "", ""
    with open("/proc/uptime") as file:  # noqa: PTH123
        uptime = float(file.read().split()[0])
    began = time.time() - uptime + process.start_ticks / os.sysconf("SC_CLK_TCK")
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(began))
    return f": {user or 'somebody'}, since {since} UTC, for {run or 'a run without a name'} (process {pid} there)"


def watch(alive: int, wake: int, timer: Timer, lease: float) -> bool:
    """Sleep until the worker ends, the channel hangs up, a signal comes, or the worker's time is over.

    That time is looked at once in a lease: a host that is measured is not to be woken more often. Returns whether the
    channel was closed: then a controller waits for what is said last, unless it is closed both ways.
    ``alive`` is a pipe that only the worker holds open: kernels before 5.3 have no pidfd_open(2).
    """
    poll = select.poll()
    poll.register(alive, select.POLLHUP)
    poll.register(wake, select.POLLIN)
    poll.register(0, select.POLLHUP | select.POLLRDHUP | select.POLLERR)
    while (left := timer.left()) > 0:
        if poll.poll(min(left, lease + GRACE_SECONDS) * 1000 + 1):
            break
    else:
        print("the worker hung, and was ended", file=sys.stderr, flush=True)
    return any(fd == 0 for fd, _ in poll.poll(0))


def clean(directory: Path, worker: int, started: int | None) -> Undone:
    """End all that was started, once what must not be ended has ended; undo all changes.

    The worker is known by its number and when it started, in clock ticks: it may have been collected long ago.
    """
    if processes.start_ticks(worker) == started:
        try:
            os.kill(worker, signal.SIGKILL)
        except ProcessLookupError:
            pass
    end = time.monotonic() + FINISH_SECONDS
    while commands.unfinished(directory) and time.monotonic() < end:
        time.sleep(0.1)
    for _ in range(200):
        for pid in descendants():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if not _children():
            break
        time.sleep(0.01)
    stubborn = [f"process {pid} would not end" for pid in descendants()]
    undone = Journal(directory).undo()
    return undone._replace(problems=stubborn + undone.problems)


def descendants() -> list[int]:
    """Children of this process that run; as it is their subreaper, grandchildren come here when their parent ends.

    One that has ended may be seen for a moment after there is nothing left of it to wait for.
    """
    me = os.getpid()
    return [process.pid for process in processes.listed() if process.parent == me and not process.ended]


def _children() -> bool:
    """Collect those that ended; whether there are others. The kernel's own word: a listing of /proc may miss one."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def recover(own: Path, looks: bool = False) -> Earlier:
    """Undo what earlier agents of this user left, who were killed together with their guardians.

    A living agent holds the lock of its directory, which bootstrap.py took: none is touched (hosts that share /dev/shm
    may have them). Other users' are told: to undo what anybody wrote down would be to run it with this user's rights.

    ``looks``: what would be undone is told only. Raises UnreadableError, StillAtWorkError: then nothing was undone.
    """
    found = Earlier([], [])
    journals: dict[Path, Journal] = {}
    with ExitStack() as held:
        for old in sorted(place for parent in PLACES for place in Path(parent).glob(PREFIX + "*")):
            if old == own or not old.is_dir() or old.is_symlink():
                continue
            try:
                uid = old.stat().st_uid
                lock = taken(old) if uid == os.getuid() else None
            except FileNotFoundError:  # its agent is ending
                continue
            if uid != os.getuid():
                said = f"of user {uid}, left alone: a run or restore by that user puts it back"
                found.remaining.append(f"{old.name}: {said}")
            if lock is None:
                continue
            held.callback(os.close, lock)  # who has made this directory and comes to lock it waits for us
            if os.fstat(lock).st_nlink:  # else its agent has ended since
                journals[old] = _of_dead(old)
        for old, journal in journals.items():
            said, well = _recovered(old, journal, looks)
            (found.recovered if well else found.remaining).append(f"{old.name}: {said}")
    return found


def _of_dead(old: Path) -> Journal:
    """The journal that a dead agent left. Raises UnreadableError, StillAtWorkError."""
    try:
        journal = Journal(old)
    except OSError as error:
        raise UnreadableError(f"the journal of an earlier run in {old} cannot be read: {error}") from error
    if journal.damaged:
        raise UnreadableError(f"the journal of an earlier run, {journal.unreadable()}")
    if commands.unfinished(old):
        raise StillAtWorkError(
            f"{IN_USE}: a command of an earlier one, which nobody ends in its middle, is still at work: wait until it "
            f"has ended, which is when nobody holds the lock of {old / commands.UNFINISHED}"
        )
    return journal


def _recovered(old: Path, journal: Journal, looks: bool) -> tuple[str, bool]:
    """What was done with what a dead agent left, and whether all was; of one that only looks, what it would undo."""
    if looks:
        return "; ".join(journal.pending) or "nothing but itself", True
    undone = journal.undo()
    well = not undone.problems and not undone.passes
    remove(old, but_journal=not well)
    others = [f"{LEFT}{'; '.join(undone.left)}"] * bool(undone.left)
    return "; ".join([*undone.problems, *["put back"] * well, *others]), well


def serve(here: Operations, lease: float, earlier: Earlier, timer: Timer) -> None:
    """Answer requests, one JSON object a line, until the channel ends or is silent for ``lease`` seconds."""
    boot = files.read("/proc/sys/kernel/random/boot_id") or ""
    hello = Hello(
        directory=str(here.directory),
        uid=os.getuid(),
        recovered=earlier.recovered,
        remaining=earlier.remaining,
        boot=boot.strip(),
        management=network.management_interfaces(),
        executable=not os.statvfs(here.directory).f_flag & os.ST_NOEXEC,
        python=sys.executable,
        python_version=".".join(map(str, sys.version_info[:3])),
    )
    say({"ready": encode(hello)})
    poll = select.poll()
    poll.register(0, select.POLLIN)
    buffer = b""
    while True:
        line, found, rest = buffer.partition(b"\n")
        if found:
            buffer = rest
            request = json.loads(line)
            timer.set(OPERATION_SECONDS + _timeout(request))
            answer(here, request)
            continue
        timer.set(lease + GRACE_SECONDS)
        if not poll.poll(lease * 1000):
            raise TimeoutError(f"the controller was silent for {lease:g} s")
        piece = os.read(0, 1 << 20)
        if not piece:
            return
        buffer += piece


def _timeout(request: Any) -> float:
    """How long an operation may take by its own account."""
    arguments = request.get("args") if isinstance(request, dict) else None
    seconds = arguments.get("timeout_seconds") if isinstance(arguments, dict) else None
    return float(seconds) if isinstance(seconds, (int, float)) else 0.0


def answer(here: Operations, request: dict[str, Any]) -> None:
    """Do one request and say how it went."""
    try:
        say({"id": request["id"], "result": perform(here, request["op"], request["args"])})
    except (ChangeError, OSError, ValueError) as error:
        say({"id": request["id"], "error": str(error)})


def say(message: dict[str, Any]) -> None:
    """One line to the controller."""
    _write(1, (json.dumps(message) + "\n").encode())


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]
