"""What a worker keeps on disk for one testbed: claims of runs, their records until they are home, who has the testbed.

``<state>/<testbed>/`` holds ``lock`` (held while a run is under way), ``reserved.json`` (somebody has the testbed), and
a folder for each errand: ``claim.json`` (before the run begins), ``results/`` and ``log`` (what it leaves),
``ended.json`` (how it ended) and ``home`` (its record was acknowledged, and is no longer here).
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import io
import json
import os
import shutil
import tarfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.night import Cause, Ended
from harness.record import Head
from harness.records import RecordError, read_head, settle
from hosts.errors import Refusal

FILES = ("run.json", "samples.jsonl", "blocks.jsonl")
"""Of a record, what travels."""
LOG_BYTES = 200_000
"""The end of a run's log travels with it."""
KEEP_SECONDS = 30 * 86_400
"""Errands whose record is home are forgotten after this."""


@dataclass(frozen=True)
class Errand:
    """One attempt to run a profile on a testbed. ``ends``: of the night."""

    night: str
    testbed: str
    profile: str
    attempt: int
    minutes: float
    ends: datetime
    quick: bool = False
    drive: str = ""
    """Which start of the night asks for it: a stop is for that one alone."""

    @property
    def name(self) -> str:
        """Tells it from all others of its testbed."""
        return f"{self.night}.{self.profile}.{self.attempt}"


@dataclass(frozen=True)
class Claim:
    """A run that is about to begin."""

    run_id: str
    started: datetime


@dataclass(frozen=True)
class Parcel:
    """What became of an errand, as it travels home. ``record``: the packed record; empty where there is none."""

    errand: Errand
    outcome: Ended
    reason: str | None = None
    cause: Cause | None = None
    run_id: str | None = None
    started: datetime | None = None
    ended: datetime | None = None
    record: bytes = b""
    sha256: str | None = None
    """Of the packed record."""
    log: str = ""
    worker: str = ""
    """The address of the worker that is to be told once it is home."""


class Spool:
    """The folder of one testbed."""

    def __init__(self, state: Path, testbed: str) -> None:
        self.folder = state / testbed
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def of(self, errand: Errand) -> Path:
        """The errand's own folder."""
        return self.folder / errand.name

    def claim(self, errand: Errand, run_id: str) -> Claim | None:
        """Claim an errand for a run; None where it was claimed before. It is on disk when this returns."""
        folder = self.of(errand)
        folder.mkdir(exist_ok=True)  # of a worker that was killed before it had claimed it, it is there
        made = Claim(run_id, datetime.now(UTC))
        new = folder / f"{run_id}.claim"
        put(new, asdict(made) | {"started": made.started.isoformat(), "errand": errand.name})
        try:
            os.link(new, folder / "claim.json")
        except FileExistsError:
            return None
        finally:
            new.unlink()
        settle(folder)
        settle(self.folder)
        return made

    def claimed(self, errand: Errand) -> Claim | None:
        """The claim of an errand; None where nobody made one."""
        found = get(self.of(errand) / "claim.json")
        return Claim(found["run_id"], datetime.fromisoformat(found["started"])) if found else None

    def lock(self, seconds: float = 0.0) -> int | None:
        """Take the testbed for a run: a descriptor that holds it until its last copy is closed. None where another run
        keeps it for so long."""
        fd = os.open(self.folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    os.close(fd)
                    return None
                time.sleep(0.1)
            else:
                return fd

    def parcel(self, errand: Errand, claim: Claim) -> Parcel:
        """What an errand left. Its run has ended: the testbed's lock was held by nobody else."""
        folder = self.of(errand)
        ended = get(folder / "ended.json") or {}
        bare = Parcel(errand, "failed", run_id=claim.run_id, started=claim.started, ended=_moment(ended.get("ended")))
        bare = replace(bare, log=_tail(folder / "log"))
        if (folder / "home").exists():
            return replace(bare, reason=f"its record, {claim.run_id}, was taken home before")
        path = folder / "results" / claim.run_id
        try:
            head = read_head(path)
        except RecordError as error:
            return replace(bare, **_without(ended, bare.log, error))
        data = pack(path)
        whole = replace(bare, record=data, sha256=hashlib.sha256(data).hexdigest(), ended=head.finished or bare.ended)
        return replace(whole, **_became(head, ended))

    def forget(self, errand: Errand) -> None:
        """The record is home: it is not needed here any more. The claim stays, so that nobody runs it again."""
        folder = self.of(errand)
        (folder / "home").touch()
        shutil.rmtree(folder / "results", ignore_errors=True)
        self._sweep()

    def _sweep(self) -> None:
        for mark in self.folder.glob("*/home"):
            with suppress(OSError):
                if time.time() - mark.stat().st_mtime > KEEP_SECONDS:
                    shutil.rmtree(mark.parent)


def _became(head: Head, ended: dict[str, Any]) -> dict[str, Any]:
    """Outcome, reason and cause of a run that left a record."""
    cause = ended.get("cause") if ended else "worker"
    if head.status == "complete":
        return {"outcome": "complete"}
    if head.status == "failed":
        # no host was ever seen: the testbed could not be used at all
        return {"outcome": "failed" if head.hosts else "unreachable", "reason": head.reason}
    return {"outcome": "interrupted", "cause": cause, "reason": ended.get("reason") or head.reason or WORKER_ENDED}


WORKER_ENDED = "its worker ended"


def _without(ended: dict[str, Any], log: str, error: RecordError) -> dict[str, Any]:
    """The same of a run that left none: it was interrupted before there was one, or said why it would not begin."""
    if not ended or ended.get("cause"):
        reason = ended.get("reason") or WORKER_ENDED
        return {"outcome": "interrupted", "cause": ended.get("cause", "worker"), "reason": reason}
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    said = next((line for line in lines if line.startswith("ERROR")), lines[-1] if lines else error.what)
    return {"outcome": "failed", "reason": f"it left no record: {said[:300]}"}


def _tail(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError:
        return ""
    cut = f"[{len(data) - LOG_BYTES} bytes before this]\n" if len(data) > LOG_BYTES else ""
    return cut + data[-LOG_BYTES:].decode("utf-8", "replace")


def _moment(text: object) -> datetime | None:
    return datetime.fromisoformat(text) if isinstance(text, str) else None


def put(path: Path, content: dict[str, Any]) -> None:
    """Write a small file; it is whole and on disk when this returns."""
    new = path.with_name(f".{path.name}")
    with new.open("w", encoding="utf-8") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    settle(path.parent)


def get(path: Path) -> dict[str, Any] | None:
    """What ``put`` wrote; None where there is nothing, or nothing whole."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def pack(path: Path) -> bytes:
    """A record as bytes: always the same for the same record."""
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=6, mtime=0) as squeezed,
        tarfile.open(fileobj=squeezed, mode="w") as archive,
    ):
        for name in FILES:
            if (path / name).exists():
                data = (path / name).read_bytes()
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def deliver(parcel: Parcel, results: Path, incoming: Path) -> None:
    """Write a record that came home, once: checked by its hash and its own name. It is on disk when this returns. One
    that is here already stays.

    Raises Refusal where what came is not what was sent.
    """
    run_id = str(parcel.run_id)
    if hashlib.sha256(parcel.record).hexdigest() != parcel.sha256:
        raise Refusal(f"the record {run_id} did not come home whole: its hash differs")
    target = results / run_id
    if Path(run_id).name != run_id or run_id.startswith("."):
        raise Refusal(f"{run_id!r} is no name of a record")
    new = incoming / run_id
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(parcel.record), mode="r:gz") as archive:
        for entry in archive:
            source = archive.extractfile(entry) if entry.isreg() and entry.name in FILES else None
            if source is None:
                raise Refusal(f"the record {run_id} holds {entry.name}, which is none of a record's files")
            with (new / entry.name).open("wb") as file:
                shutil.copyfileobj(source, file)
                file.flush()
                os.fsync(file.fileno())
    if read_head(new).run_id != run_id:
        raise Refusal(f"what came home as {run_id} is the record of another run")
    if (target / "run.json").exists():
        if pack(target) != parcel.record:
            raise Refusal(f"{target} is there already and is not what came home", next_step="move it away")
        shutil.rmtree(new)
    else:
        results.mkdir(parents=True, exist_ok=True)
        settle(new)
        new.replace(target)
        settle(results)
    shutil.rmtree(incoming, ignore_errors=True)
