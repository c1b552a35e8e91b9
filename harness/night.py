"""A night of a fleet, as ``results/nights/<night>/night.json`` holds it: what was to run where, and what became of it.

Schema 1. Only the program that drives the night writes the file; it is replaced atomically. The records of the runs
stand in ``results/`` beside all others, the runs' logs beside the file.
"""

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.records import RecordError, settle

SCHEMA = 1
FOLDER = "nights"
"""Below the results."""
FILE = "night.json"
Ended = Literal["complete", "interrupted", "failed", "unreachable", "not run"]
Outcome = Literal["waiting", "running"] | Ended
Cause = Literal["worker", "time", "told"]
"""What interrupted a run: its worker ended, its time was over, or the night was told to stop."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Attempt(_Model):
    """One time that a profile was begun on a testbed."""

    run_id: str | None = None
    """The record's; claimed on the worker's disk before the run began. None where nothing was begun."""
    started: datetime | None = None
    ended: datetime | None = None
    outcome: Literal["running"] | Ended
    reason: str | None = None
    """Why it is not complete."""
    cause: Cause | None = None
    """What interrupted it, where that was not the run itself."""
    sha256: str | None = None
    """Of the packed record as it travelled home; None where none did."""
    log: str | None = None
    """What the run printed: a file's name beside this one."""
    home: bool = False
    """Whether a worker has said what became of it."""


class Entry(_Model):
    """One profile on one testbed."""

    testbed: str
    profile: str
    labels: list[str] = []
    """The testbed's."""
    quick: bool = False
    minutes: float = Field(gt=0)
    """The longest that a run takes."""
    priority: int = 0
    """What is higher begins first."""
    outcome: Outcome = "waiting"
    reason: str | None = None
    """Why there is no complete run."""
    attempts: list[Attempt] = []

    @property
    def open(self) -> bool:
        """Whether something is still to become of it."""
        return self.outcome in ("waiting", "running")

    @property
    def stopped(self) -> bool:
        """Whether it was interrupted because the whole night was: the same night does it again."""
        return self.outcome == "interrupted" and bool(self.attempts) and self.attempts[-1].cause == "told"

    @property
    def run_id(self) -> str | None:
        """Of the last attempt that left a record."""
        return next((attempt.run_id for attempt in reversed(self.attempts) if attempt.sha256), None)


class Night(_Model):
    """All of a night."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    night: str
    """Its name, which begins with when it began; also the folder's."""
    fleet: str
    started: datetime
    ends: datetime
    """Then nothing more is begun, and what runs is ended."""
    finished: datetime | None = None
    """None while it goes on, and where it was stopped and may be continued."""
    entries: list[Entry]

    model_config = ConfigDict(extra="forbid", populate_by_name=True, serialize_by_alias=True)


def read(folder: Path) -> Night:
    """Read a night by its folder. Raises RecordError."""
    path = folder / FILE
    try:
        return Night.model_validate_json(path.read_bytes())
    except OSError as error:
        raise RecordError(f"cannot read the night {path}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "file"
        raise RecordError(f"{path} is not a night of schema {SCHEMA}: {where}: {first['msg']}") from error


def write(folder: Path, night: Night) -> None:
    """Replace a night's file; it is on disk when this returns. Raises RecordError when the disk refuses."""
    text = json.dumps(night.model_dump(mode="json", by_alias=True), indent=1)
    new = folder / f".{FILE}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with new.open("w", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        new.replace(folder / FILE)
        settle(folder)
    except OSError as error:
        raise RecordError(f"cannot write the night {folder}: {error.strerror}", next_step="free some space") from error


def folders(results: Path) -> list[Path]:
    """The folders of all nights, oldest first."""
    return sorted(path.parent for path in (results / FOLDER).glob(f"*/{FILE}"))
