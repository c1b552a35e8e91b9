"""The journal of changes to this host: looked up, written down, applied, verified, undone in reverse order.

What undoes a change is on disk (tmpfs, mode 0600) before the change is made, so that whoever finds the journal
can put the host back: the agent itself, its guardian after a kill, or the next agent after a power of both.
No entry holds a secret: undoing needs none.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from .kinds import KINDS, ChangeError, Entry
from .priority import Priority

ALL_KINDS = KINDS | {"priority": Priority()}


class Journal:
    """The journal in ``directory``; a new object over an old directory continues it."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "journal.jsonl"
        self.entries: list[Entry] = []
        if self.path.exists():
            self.entries = _read(self.path)

    def apply(self, change: Entry) -> int:
        """Make one change; returns its number. Raises ChangeError, after putting back what was half done."""
        kind = ALL_KINDS[change["kind"]]
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
                ALL_KINDS[entry["kind"]].undo(entry["undo"])
            except (OSError, ChangeError, KeyError, ValueError, subprocess.SubprocessError) as error:
                problems.append(f"{entry['what']}: {error}")
                continue
            entry["undone"] = True
            try:
                self._write_line({"number": entry["number"], "undone": True})
            except OSError:
                pass  # a full tmpfs must not keep the rest from being undone; to undo this twice is harmless
        return problems

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


def _read(path: Path) -> list[Entry]:
    """Entries by number; later lines amend earlier ones, a torn last line is a change that was not begun."""
    entries: dict[int, Entry] = {}
    for line in path.read_text(errors="replace").splitlines():
        try:
            entry = json.loads(line)
            entries.setdefault(entry["number"], {}).update(entry)
        except (ValueError, TypeError, KeyError):
            continue
    return [entry for entry in entries.values() if {"what", "kind", "undo"} <= entry.keys()]
