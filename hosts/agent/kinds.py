"""The kinds of changes to a host: how each is looked up, made, verified and undone.

No ``undo`` holds a secret: undoing needs none.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

Entry = dict[str, Any]

COMMAND_SECONDS = 20.0
SECRET_LENGTH = 16


class ChangeError(Exception):
    """A change that was refused or did not take; the host is as it was before it."""


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


class Kind:
    """One kind of change. ``look`` refuses or says how to undo; ``apply`` makes, and verifies, the change."""

    def look(self, change: Entry) -> Entry:
        raise NotImplementedError

    def apply(self, change: Entry, undo: Entry) -> Entry | None:
        """May return what undoing needs and is known only now (a process's number)."""
        raise NotImplementedError

    def undo(self, undo: Entry) -> None:
        raise NotImplementedError


class File(Kind):
    """A file's whole content and mode: path, content_base64, mode. Undo puts the old file back, or none."""

    def look(self, change: Entry) -> Entry:
        path = Path(change["path"])
        if not os.path.lexists(path):
            return {"path": str(path), "absent": True}
        if path.is_symlink() or not path.is_file():
            raise ChangeError(f"{path} is there and is not a regular file")
        stat, old = path.stat(), base64.b64encode(path.read_bytes()).decode()
        owner = [stat.st_uid, stat.st_gid]
        return {"path": str(path), "content_base64": old, "mode": stat.st_mode & 0o7777, "owner": owner}

    def apply(self, change: Entry, undo: Entry) -> None:
        write_atomically(Path(change["path"]), base64.b64decode(change["content_base64"]), change["mode"])

    def undo(self, undo: Entry) -> None:
        path = Path(undo["path"])
        half_written(path).unlink(missing_ok=True)
        if undo.get("absent"):
            path.unlink(missing_ok=True)
        else:
            write_atomically(path, base64.b64decode(undo["content_base64"]), undo["mode"], undo["owner"])


class Directory(Kind):
    """A new directory: path, mode. Undo removes it with all that is in it: refused if it was there.

    Only the very directory that was made: one of this name that somebody else made meanwhile is left alone.
    """

    def look(self, change: Entry) -> Entry:
        if os.path.lexists(change["path"]):
            raise ChangeError(f"{change['path']} is already there")
        return {"path": change["path"]}

    def apply(self, change: Entry, undo: Entry) -> Entry:
        path = Path(change["path"])
        path.mkdir(mode=0o700)
        path.chmod(change["mode"])  # mkdir's mode is cut by the umask
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


class Setting(Kind):
    """A value in /proc/sys or /sys: path, value. Undo writes the old value back."""

    def look(self, change: Entry) -> Entry:
        return {"path": change["path"], "value": Path(change["path"]).read_text().strip()}

    def apply(self, change: Entry, undo: Entry) -> None:
        path = Path(change["path"])
        path.write_text(str(change["value"]))
        if path.read_text().strip().split() != str(change["value"]).split():
            raise ChangeError(f"{path} did not take the value {change['value']}")

    def undo(self, undo: Entry) -> None:
        Path(undo["path"]).write_text(undo["value"])


class Module(Kind):
    """A kernel module: name, sticky. Undo unloads what this loading brings in, and nothing that was there before.

    A ``sticky`` module may stay: the kernel's default random generator, once woken, is never let go.
    """

    def look(self, change: Entry) -> Entry:
        before = loaded_modules()
        listed = _run(["modprobe", "--show-depends", change["name"]])
        needed = [Path(word).name.split(".ko")[0].replace("-", "_") for word in listed.split() if ".ko" in word]
        return {"loads": [name for name in needed if name not in before], "sticky": change["sticky"]}

    def apply(self, change: Entry, undo: Entry) -> None:
        _run(["modprobe", change["name"]])

    def undo(self, undo: Entry) -> None:
        # dependencies were listed first, so that the reverse order unloads users before what they use
        for name in reversed(undo["loads"]):
            if name not in loaded_modules():
                continue
            try:
                patiently(lambda name=name: _run(["rmmod", name]), tries=1 if undo["sticky"] else 20)
            except ChangeError:
                if not undo["sticky"]:
                    raise


class Insmod(Kind):
    """A kernel module of ours from a file: name, path. Refused when a module of that name is loaded."""

    def look(self, change: Entry) -> Entry:
        if change["name"] in loaded_modules():
            raise ChangeError(f"a module called {change['name']} is already loaded")
        return {"name": change["name"]}

    def apply(self, change: Entry, undo: Entry) -> None:
        _run(["insmod", change["path"]])
        if change["name"] not in loaded_modules():
            raise ChangeError(f"insmod was quiet, but {change['name']} is not loaded")

    def undo(self, undo: Entry) -> None:
        if undo["name"] in loaded_modules():
            patiently(lambda: _run(["rmmod", undo["name"]]))


class Command(Kind):
    """A change made by one command and undone by another.

    ``look`` is a command whose output matches ``present`` when the change is in force, ``refuse`` (optional)
    when something of somebody else is in its place. ``apply`` with its ``stdin`` (which may be secret and is
    not journalled) makes the change, ``undo`` reverts it.
    """

    def look(self, change: Entry) -> Entry:
        found = _run(change["look"])
        if re.search(change["present"], found):
            raise ChangeError("it is there already, and was not made by this run")
        if change.get("refuse") and re.search(change["refuse"], found):
            raise ChangeError(f"something else is in its place: {found.strip()[:200]}")
        return {"look": change["look"], "present": change["present"], "argv": change["undo"]}

    def apply(self, change: Entry, undo: Entry) -> None:
        _run(change["apply"], change.get("stdin"))
        if not re.search(change["present"], _run(change["look"])):
            raise ChangeError(f"{' '.join(change['apply'])} was quiet, but the change is not there")

    def undo(self, undo: Entry) -> None:
        if re.search(undo["present"], _run(undo["look"])):
            _run(undo["argv"])
            if re.search(undo["present"], _run(undo["look"])):
                raise ChangeError(f"{' '.join(undo['argv'])} was quiet, but the change is still there")


class Process(Kind):
    """A server: argv, stdin, stdout and stderr (paths). Undo ends its process group."""

    def look(self, change: Entry) -> Entry:
        return {"group": None, "start": None}

    def apply(self, change: Entry, undo: Entry) -> Entry | None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        out = os.open(change["stdout"], flags, 0o600)
        err = os.open(change["stderr"], flags, 0o600)
        try:
            process = subprocess.Popen(
                change["argv"], stdin=subprocess.PIPE, stdout=out, stderr=err, start_new_session=True
            )
        except OSError as error:
            raise ChangeError(f"{change['argv'][0]}: {error.strerror}") from error
        finally:
            os.close(out)
            os.close(err)
        assert process.stdin is not None  # noqa: S101
        try:
            process.stdin.write((change.get("stdin") or "").encode())
            process.stdin.close()
        except BrokenPipeError:
            pass  # it ended at once: whoever waits for it to be ready reads why
        return {"group": process.pid, "start": start_time(process.pid)}

    def undo(self, undo: Entry) -> None:
        group = undo["group"]
        if group is None or start_time(group) not in (undo["start"], None):
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


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None when there is none of that number."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except OSError:
        return None


def loaded_modules() -> list[str]:
    """Names of the loaded modules, newest first; none on a kernel without modules."""
    path = Path("/proc/modules")
    return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []


def patiently(action: Any, tries: int = 20) -> None:
    """Try an undo that may have to wait for references to go (a module still in use), for about 4 seconds."""
    for number in range(tries):
        try:
            action()
        except ChangeError:
            if number == tries - 1:
                raise
            time.sleep(0.2)
        else:
            return


def half_written(path: Path) -> Path:
    """Where a file is until it is whole; a name that can be found again after a kill."""
    return path.with_name(f".{path.name}.pathproof")


def write_atomically(path: Path, content: bytes, mode: int, owner: list[int] | None = None) -> None:
    """Temporary name, final mode and owner, then rename: nobody ever sees half a file or a wider mode."""
    new = half_written(path)
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            if owner and owner != [os.getuid(), os.getgid()]:
                os.fchown(file.fileno(), *owner)
            os.fchmod(file.fileno(), mode)
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


KINDS: dict[str, Kind] = {
    "file": File(),
    "directory": Directory(),
    "setting": Setting(),
    "module": Module(),
    "insmod": Insmod(),
    "command": Command(),
    "process": Process(),
}
