"""The journal of changes to this host: looked up, written down, applied, verified, undone in reverse order.

What undoes a change is on disk (tmpfs, mode 0600) before the change is made, so that whoever finds the journal
can put the host back: the agent itself, its guardian after a kill, or the next agent after a power of both.
No entry holds a secret: undoing needs none.
"""

from __future__ import annotations

import base64
import json
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


class ChangeError(Exception):
    """A change that was refused or did not take; the host is as it was before it."""


class Journal:
    """The journal in ``directory``; a new object over an old directory continues it."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "journal.jsonl"
        self.entries: list[Entry] = []
        if self.path.exists():
            self.entries = _read(self.path)

    def apply(self, change: Entry) -> int:
        """Make one change; returns its number. Raises ChangeError, after putting back what was half done."""
        kind = KINDS[change["kind"]]
        undo = kind.look(change)
        number = len(self.entries)
        self._write({"number": number, "what": change["what"], "kind": change["kind"], "undo": undo})
        try:
            learnt = kind.apply(change, undo)
            if learnt:
                undo.update(learnt)
                self._write_line({"number": number, "undo": undo})
        except BaseException:
            self.undo([number])
            raise
        return number

    def undo(self, numbers: list[int] | None = None) -> list[str]:
        """Undo these changes (all, when None), newest first; says what could not be undone, one line each."""
        problems = []
        for entry in sorted(self.entries, key=lambda e: -int(e["number"])):
            if entry.get("undone") or (numbers is not None and entry["number"] not in numbers):
                continue
            try:
                KINDS[entry["kind"]].undo(entry["undo"])
            except (OSError, ChangeError, subprocess.SubprocessError) as error:
                problems.append(f"{entry['what']}: {error}")
                continue
            entry["undone"] = True
            self._write_line({"number": entry["number"], "undone": True})
        return problems

    def _write(self, entry: Entry) -> None:
        self.entries.append(entry)
        self._write_line(entry)

    def _write_line(self, line: Entry) -> None:
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, (json.dumps(line) + "\n").encode())
            os.fsync(fd)
        finally:
            os.close(fd)


def _read(path: Path) -> list[Entry]:
    """Entries by number; later lines amend earlier ones, a torn last line is a change that was not begun."""
    entries: dict[int, Entry] = {}
    for line in path.read_text().splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        entries.setdefault(entry["number"], {}).update(entry)
    return list(entries.values())


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
        said = (done.stderr.decode(errors="replace") + output).strip()[-400:]
        raise ChangeError(f"{' '.join(argv)} ended with status {done.returncode}: {said}")
    return output


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
        if not path.exists():
            return {"path": str(path), "absent": True}
        if path.is_symlink() or not path.is_file():
            raise ChangeError(f"{path} is there and is not a regular file")
        old = base64.b64encode(path.read_bytes()).decode()
        return {"path": str(path), "content_base64": old, "mode": path.stat().st_mode & 0o7777}

    def apply(self, change: Entry, undo: Entry) -> None:
        write_atomically(Path(change["path"]), base64.b64decode(change["content_base64"]), change["mode"])

    def undo(self, undo: Entry) -> None:
        path = Path(undo["path"])
        if undo.get("absent"):
            path.unlink(missing_ok=True)
        else:
            write_atomically(path, base64.b64decode(undo["content_base64"]), undo["mode"])


class Directory(Kind):
    """A new directory: path, mode. Undo removes it with all that is in it: refused if it was there."""

    def look(self, change: Entry) -> Entry:
        if os.path.lexists(change["path"]):
            raise ChangeError(f"{change['path']} is already there")
        return {"path": change["path"]}

    def apply(self, change: Entry, undo: Entry) -> None:
        Path(change["path"]).mkdir(mode=change["mode"])

    def undo(self, undo: Entry) -> None:
        if Path(undo["path"]).exists():
            shutil.rmtree(undo["path"])


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
            process = subprocess.Popen(  # noqa: S603
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
            end = time.monotonic() + seconds
            while _signal(group, number if end - time.monotonic() > seconds - 0.01 else 0):
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


def write_atomically(path: Path, content: bytes, mode: int) -> None:
    """Temporary name, final mode, then rename: nobody ever sees half a file or a wider mode."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
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
