"""The kind of change that gives a file of /sys or /proc another value: a governor, an idle state, an interrupt's place.

Such a file says its value when it is read and takes another when it is written; the kernel may word it differently.
"""

from __future__ import annotations

import os
from pathlib import Path

from .errors import ChangeError
from .kinds import Entry, Kind
from .values import SettingChange


class Setting(Kind[SettingChange]):
    """A setting: path, value. Undo gives it the old one.

    Undo is satisfied when the setting is gone, and leaves it to whoever gave it another value meanwhile.
    """

    def look(self, change: SettingChange) -> Entry:
        return {"path": change.path, "old": _read(change.path), "new": change.value}

    def apply(self, change: SettingChange, undo: Entry) -> Entry:
        _write(change.path, change.value)
        now = _read(change.path)
        if now != change.value:
            undo["new"] = now  # the kernel made this of it: ours to undo
            raise ChangeError(f"{change.path} took {change.value!r} without a word, but is {now!r}")
        return {"given": True}

    def undo(self, undo: Entry) -> str | None:
        path = undo["path"]
        if not Path(path).exists():
            return None
        now = _read(path)
        if now == undo["old"]:
            return None
        if now != undo["new"]:
            if "given" not in undo:
                return None  # the agent was killed right here: whatever this is, it is not known to be ours
            return f"{path} is {now!r}, neither {undo['old']!r} as before nor {undo['new']!r} as we set it"
        _write(path, undo["old"])
        if (now := _read(path)) != undo["old"]:
            raise ChangeError(f"{path} is still {now!r}, not {undo['old']!r}")
        return None


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise ChangeError(f"{path} cannot be read: {error.strerror}") from error


def _write(path: str, value: str) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)  # not made where it is not there
        try:
            os.write(fd, value.encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise ChangeError(f"{path} does not take {value!r}: {error.strerror}") from error
