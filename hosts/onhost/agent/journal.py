"""The journal of changes to this host: looked up, written down, applied, verified, undone in reverse order.

What undoes a change is on disk (tmpfs, mode 0600) before the change is made, so that whoever finds the journal
can put the host back: the agent itself, its guardian after a kill, or the next agent if both were killed.
No entry holds a secret: undoing needs none.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

from . import kinds
from .errors import ChangeError
from .kinds import Entry, Kind
from .priority import Priority
from .setting import Setting
from .values import Change

NAME = "journal.jsonl"
START = '{"number": '
"""Every line begins like this."""


class UnreadableError(Exception):
    """A journal that does not tell all that was changed: nobody is to go on as if it did."""


class Undone(NamedTuple):
    """What is not as it was."""

    problems: list[str]
    """What could not be undone, a line each."""
    left: list[str]
    """What was left to others, who changed or use it by now."""
    passes: bool
    """Whether another time some of that may be undone."""


KINDS: dict[str, Kind[Any]] = {
    "directory": kinds.Directory(),
    "file": kinds.File(),
    "module": kinds.Module(),
    "insmod": kinds.Insmod(),
    "priority": Priority(),
    "command": kinds.Command(),
    "process": kinds.Process(),
    "setting": Setting(),
}


class Journal:
    """The journal in ``directory``; a new object over an old directory continues it."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / NAME
        self.entries: list[Entry] = []
        self.damaged: list[int] = []
        """Numbers of lines that cannot be read, or that speak of kinds of changes not known here."""
        if self.path.exists():
            self.entries, self.damaged = _read(self.path)

    def apply(self, change: Change) -> int:
        """Make one change; returns its number. Raises ChangeError, after putting back what was half done."""
        kind = KINDS[change.kind]
        undo = kind.look(change)
        number = len(self.entries)
        self._write({"number": number, "what": change.what, "kind": change.kind, "undo": undo})
        try:
            learnt = kind.apply(change, undo)
            if learnt:
                undo.update(learnt)
                self._write_line({"number": number, "undo": undo})
        except BaseException:
            self.undo([number])
            raise
        return number

    @property
    def pending(self) -> list[str]:
        """What was changed and not undone, newest first."""
        entries = sorted(self.entries, key=lambda e: -int(e["number"]))
        return [str(entry["what"]) for entry in entries if not entry.get("undone")]

    def foresee(self, change: Change) -> list[str]:
        """The kernel modules that a change would load; nothing is made or written. Raises ChangeError as apply does."""
        return [str(name) for name in KINDS[change.kind].look(change).get("loads", ())]

    def undo(self, numbers: list[int] | None = None) -> Undone:
        """Undo these changes (all, when None), newest first. What is not undone then is tried again the next time."""
        problems, others, passes = list[str](), list[str](), False
        for entry in sorted(self.entries, key=lambda e: -int(e["number"])):
            if entry.get("undone") or (numbers is not None and entry["number"] not in numbers):
                continue
            try:
                left = KINDS[entry["kind"]].undo(entry["undo"])
            except (OSError, ChangeError, KeyError, ValueError, subprocess.SubprocessError) as error:
                problems.append(f"{entry['what']}: {error}")
                continue
            if left:
                others.append(f"{entry['what']}: {left}")
                passes = passes or KINDS[entry["kind"]].passes
                continue
            entry["undone"] = True
            try:
                self._write_line({"number": entry["number"], "undone": True})
            except OSError:
                pass  # a full tmpfs must not keep the rest from being undone; to undo this twice is harmless
        if numbers is None and self.damaged:
            problems.append(self.unreadable())
        return Undone(problems, others, passes)

    def unreadable(self) -> str:
        """What of it cannot be read, and what to do then."""
        lines = ", ".join(map(str, self.damaged))
        return (
            f"{self.path} cannot be read (line {lines}), and so may not tell all that was changed: "
            f"see what it says, put that back by hand, then remove {self.path.parent}"
        )

    def _write(self, entry: Entry) -> None:
        self._write_line(entry)
        self.entries.append(entry)

    def _write_line(self, line: Entry) -> None:
        # a line of its own, even behind one that was torn when its writer was killed
        data = (json.dumps(line) + "\n").encode()
        fd = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(fd).st_size
            if size and os.pread(fd, 1, size - 1) != b"\n":
                data = b"\n" + data
            while data:  # a full tmpfs takes half a line, then refuses
                data = data[os.write(fd, data) :]
            os.fsync(fd)
        finally:
            os.close(fd)


def _read(path: Path) -> tuple[list[Entry], list[int]]:
    """Entries by number, later lines amend earlier ones; and the numbers of lines that cannot be read.

    A torn line is none of these: the change that it was to tell of was not begun, or only its amendment is lost.
    """
    entries: dict[int, Entry] = {}
    damaged = []
    for place, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        try:
            entry = json.loads(line)
            if entry.get("kind", "directory") not in KINDS:  # of another version of this program
                damaged.append(place)
            entries.setdefault(entry["number"], {}).update(entry)
        except (ValueError, TypeError, KeyError, AttributeError):
            if not (line.startswith(START) or START.startswith(line)):
                damaged.append(place)
    return [entry for entry in entries.values() if {"what", "kind", "undo"} <= entry.keys()], damaged
