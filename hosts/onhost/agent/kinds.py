"""The kinds of changes to a host: how each is looked up, made, verified and undone.

No ``undo`` holds a secret: undoing needs none.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from . import processes
from .errors import ChangeError
from .values import CommandChange, DirectoryChange, FileChange, InsmodChange, ModuleChange, ProcessChange

Entry = dict[str, Any]
"""Of the journal; what undoes a change is one too."""
Change = TypeVar("Change")

COMMAND_SECONDS = 20.0
PATIENCE_SECONDS = 4.0
SECRET_LENGTH = 16


def _run(argv: list[str], stdin: str | None = None) -> str:
    """Run a short command; its output. Raises ChangeError with the output when it fails."""
    try:
        done = subprocess.run(
            argv,
            input=(stdin or "").encode(),
            capture_output=True,
            timeout=COMMAND_SECONDS,
            start_new_session=True,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ChangeError(f"{' '.join(argv)}: {error}") from error
    output = done.stdout.decode(errors="replace")
    if done.returncode:
        said = _without(stdin, (done.stderr.decode(errors="replace") + output).strip())[-400:]
        raise ChangeError(f"{' '.join(argv)} ended with status {done.returncode}: {said}")
    return output


def _without(stdin: str | None, text: str) -> str:
    """``text`` without the long words of ``stdin``: a command may quote the key that it complains about."""
    for word in sorted((stdin or "").split(), key=len, reverse=True):
        if len(word) >= SECRET_LENGTH:
            text = text.replace(word, "(hidden)").replace(word.removeprefix("0x"), "(hidden)")
    return text


class Kind(Generic[Change]):
    """One kind of change. ``look`` refuses or says how to undo; ``apply`` makes, and verifies, the change."""

    passes = False
    """Whether what keeps others from letting go of it may pass, so that the next agent tries again."""

    def look(self, change: Change) -> Entry:
        raise NotImplementedError

    def apply(self, change: Change, undo: Entry) -> Entry | None:
        """May return what undoing needs and is known only now (a process's number)."""
        raise NotImplementedError

    def undo(self, undo: Entry) -> str | None:
        """May leave it to others, who changed or use it by now, and then says so. Raises ChangeError."""
        raise NotImplementedError


class Directory(Kind[DirectoryChange]):
    """A new directory: path, mode. Undo removes it with all that is in it: refused if it was there.

    Only the very directory that was made: one of this name that somebody else made meanwhile is left alone.
    """

    def look(self, change: DirectoryChange) -> Entry:
        if os.path.lexists(change.path):
            raise ChangeError(f"{change.path} is already there")
        return {"path": change.path}

    def apply(self, change: DirectoryChange, undo: Entry) -> Entry:
        path = Path(change.path)
        path.mkdir(mode=0o700)
        path.chmod(change.mode)  # mkdir's mode is cut by the umask
        return {"inode": path.stat().st_ino}

    def undo(self, undo: Entry) -> None:
        path = Path(undo["path"])
        if path.is_symlink() or not path.is_dir():
            return
        if "inode" not in undo:  # the agent was killed right here: if it made one, it is empty
            if not any(path.iterdir()):
                path.rmdir()
        elif path.stat().st_ino == undo["inode"]:
            shutil.rmtree(path)


class File(Kind[FileChange]):
    """A new file: path, content, mode. Undo removes it while it has the content that was given to it."""

    def look(self, change: FileChange) -> Entry:
        if os.path.lexists(change.path):
            raise ChangeError(f"{change.path} is already there")
        return {"path": change.path, "content": change.content}

    def apply(self, change: FileChange, undo: Entry) -> None:
        fd = os.open(change.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8") as file:  # whatever the host's locale
            file.write(change.content)
            file.flush()
            os.fchmod(file.fileno(), change.mode)

    def undo(self, undo: Entry) -> None:
        path = Path(undo["path"])
        if path.is_symlink() or not path.is_file():
            return
        # half of it: the agent was killed while it wrote
        if undo["content"].startswith(path.read_text(errors="replace")):
            path.unlink()


class Module(Kind[ModuleChange]):
    """Kernel modules: names, sticky. Undo unloads what this loading brings in, and nothing that was there before.

    What is in use is left to its users: somebody else's, or a connection of ours that the kernel still ends. ``sticky``
    ones may stay: the kernel's default random generator, once woken, is never let go.
    """

    passes = True

    def look(self, change: ModuleChange) -> Entry:
        before = loaded_modules()
        listed = _run(["modprobe", "--all", "--show-depends", *change.names])
        return {"loads": [name for name in needed(listed) if name not in before], "sticky": change.sticky}

    def apply(self, change: ModuleChange, undo: Entry) -> None:
        _run(["modprobe", "--all", *change.names])

    def undo(self, undo: Entry) -> str | None:
        # dependencies were listed first, so that the reverse order unloads users before what they use
        there = set(loaded_modules())
        left = [name for name in reversed(undo["loads"]) if name in there]
        if left and not undo["sticky"]:
            try:
                _run(["rmmod", *left])
            except ChangeError:
                pass  # some are in use: one at a time, with patience
        used: list[str] = []
        for name in left:
            try:
                # what stands beneath one that is in use is in use too
                patiently(partial(_unload, name), seconds=0.0 if undo["sticky"] or used else PATIENCE_SECONDS)
            except ChangeError:
                if undo["sticky"]:
                    continue
                if not in_use(name):
                    raise
                used.append(name)
        return f"{' '.join(used)} in use; the next run or restore tries again" if used else None


def _unload(name: str) -> None:
    """Where two hosts share a kernel, the other one may have done it just now."""
    if name in loaded_modules():
        _run(["rmmod", name])


class Insmod(Kind[InsmodChange]):
    """A kernel module of ours from a file: name, path. Refused when a module of that name is loaded."""

    def look(self, change: InsmodChange) -> Entry:
        if change.name in loaded_modules():
            raise ChangeError(f"a module called {change.name} is already loaded")
        return {"name": change.name}

    def apply(self, change: InsmodChange, undo: Entry) -> None:
        _run(["insmod", change.path])
        if change.name not in loaded_modules():
            raise ChangeError(f"insmod was quiet, but {change.name} is not loaded")

    def undo(self, undo: Entry) -> None:
        patiently(partial(_unload, undo["name"]))


class Command(Kind[CommandChange]):
    """A change made by one command and undone by another.

    ``look`` is a command whose output matches ``present`` when the change is in force, ``refuse`` (optional)
    when something of somebody else is in its place. ``apply`` with its ``stdin`` (which may be secret and is
    not journalled) makes the change, ``undo`` reverts it.
    """

    def look(self, change: CommandChange) -> Entry:
        found = _run(change.look)
        if re.search(change.present, found):
            raise ChangeError("it is there already, and was not made by this run")
        if change.refuse and re.search(change.refuse, found):
            raise ChangeError(f"something else is in its place: {found.strip()[:200]}")
        return {"look": change.look, "present": change.present, "argv": change.undo}

    def apply(self, change: CommandChange, undo: Entry) -> None:
        _run(change.apply, change.stdin)
        if not re.search(change.present, _run(change.look)):
            raise ChangeError(f"{' '.join(change.apply)} was quiet, but the change is not there")

    def undo(self, undo: Entry) -> None:
        if re.search(undo["present"], _run(undo["look"])):
            _run(undo["argv"])
            if re.search(undo["present"], _run(undo["look"])):
                raise ChangeError(f"{' '.join(undo['argv'])} was quiet, but the change is still there")


class Process(Kind[ProcessChange]):
    """A server: argv, stdin, stdout and stderr (paths). Undo ends its process group."""

    def look(self, change: ProcessChange) -> Entry:
        return {"group": None, "start": None}

    def apply(self, change: ProcessChange, undo: Entry) -> Entry | None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        out = os.open(change.stdout, flags, 0o600)
        err = os.open(change.stderr, flags, 0o600)
        try:
            process = subprocess.Popen(
                change.argv, stdin=subprocess.PIPE, stdout=out, stderr=err, start_new_session=True
            )
        except OSError as error:
            raise ChangeError(f"{change.argv[0]}: {error.strerror}") from error
        finally:
            os.close(out)
            os.close(err)
        assert process.stdin is not None  # noqa: S101
        try:
            process.stdin.write((change.stdin or "").encode())
            process.stdin.close()
        except BrokenPipeError:
            pass  # it ended at once: whoever waits for it to be ready reads why
        return {"group": process.pid, "start": processes.start_ticks(process.pid)}

    def undo(self, undo: Entry) -> None:
        group = undo["group"]
        if group is None or processes.start_ticks(group) not in (undo["start"], None):
            return  # the number belongs to another process by now
        for number, seconds in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 2.0)):
            _signal(group, number)
            end = time.monotonic() + seconds
            while _signal(group, 0):
                reap(group)
                if time.monotonic() > end:
                    break
                time.sleep(0.01)
            else:
                return
        raise ChangeError(f"process group {group} would not end")


def _signal(group: int, number: int) -> bool:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


def reap(pid: int) -> None:
    """Collect a child that ended, so that its process group can be empty."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass


def loaded_modules() -> list[str]:
    """Names of the loaded modules, newest first; none on a kernel without modules."""
    path = Path("/proc/modules")
    return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []


def in_use(name: str) -> bool:
    """Whether somebody uses a loaded module: a process, a socket, an SA, another module (proc_modules(5))."""
    lines = (line.split() for line in Path("/proc/modules").read_text().splitlines())
    return any(words[0] == name and words[2] not in ("0", "-") for words in lines)


def needed(listed: str) -> list[str]:
    """The modules that ``modprobe --show-depends`` lists, each after those that it needs; of built-in ones none."""
    paths = (word for word in listed.split() if ".ko" in word)
    return list(dict.fromkeys(Path(path).name.split(".ko")[0].replace("-", "_") for path in paths))


def patiently(action: Any, seconds: float = PATIENCE_SECONDS) -> None:
    """Try an undo that may have to wait for references to go (a module still in use), for so long; once at least."""
    end, pause = time.monotonic() + seconds, 0.01
    while True:
        try:
            action()
        except ChangeError:
            if time.monotonic() >= end:
                raise
        else:
            return
        time.sleep(pause)
        pause = min(2 * pause, 0.2)
