"""The stored truth of one run: ``results/<run-id>/run.json`` and ``samples.jsonl``.

Schema 1. Other programs read these files, so a change of meaning is a new schema number. Units are in the
names; what is missing is absent or null, never zero. Samples are appended and flushed as they happen; run.json
is replaced atomically. A record whose writer died reads as ``interrupted``.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hosts.errors import HarnessError

SCHEMA = 1
Outcome = Literal["measured", "unsupported", "failed", "invalid"]
Status = Literal["running", "complete", "interrupted", "failed"]
Metric = Literal["seconds", "cpu_seconds_per_gb"]
VerdictWord = Literal["same", "faster", "slower", "cannot_tell"]

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class RecordError(HarnessError):
    """A record that cannot be read: missing, of another schema, or damaged before its end."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class HostSample(_Model):
    """What one host spent on one sample. ``counters`` are deltas over the sample."""

    cpu_seconds: Seconds | None = None
    cpu_resolution_seconds: Positive | None = None
    counters: dict[str, int | None] = {}


class Sample(_Model):
    """One line of samples.jsonl: one transfer, or a batch of small ones. ``valid``: ``sha256_ok`` and the witness.

    Of raw kernel crypto it is a timed batch of operations on one buffer: ``seconds``, ``bytes`` and the hosts' CPU are
    those of one operation, ``witness["operations"]`` says of how many.
    """

    cell: str
    block: int = Field(ge=0)
    index: int = Field(ge=0)
    warmup: bool
    seconds: Positive | None
    handshake_seconds: Seconds | None = None
    bytes: int | None = Field(default=None, ge=0)
    sha256_ok: bool | None = None
    witness: dict[str, int | float | str | bool | None] = {}
    valid: bool
    reason: str | None = None
    sender: HostSample = HostSample()
    receiver: HostSample = HostSample()
    latencies_us: list[float] | None = None


class Cell(_Model):
    """One bar of a figure. ``id`` is suite/path/cipher/driver/size, with the driver as requested.

    Cells of raw kernel crypto have ``buffer_bytes`` and ``depth`` (requests under way at once) instead of a file's
    size. ``driver_found`` is what the kernel or library bound.
    """

    id: str
    suite: str
    path: str
    cipher: str
    driver: str
    size_bytes: int | None = Field(default=None, ge=0)
    buffer_bytes: int | None = Field(default=None, ge=1)
    depth: int | None = Field(default=None, ge=1)
    outcome: Outcome
    reason: str | None = None
    driver_found: str | None = None


class Verdict(_Model):
    """Of one comparison, from paired blocks. ``ratio`` is baseline / candidate: over 1 the candidate is better."""

    comparison: str
    baseline: str
    candidate: str
    metric: Metric
    ratio: Positive | None
    ci_low: Positive | None
    ci_high: Positive | None
    blocks: int = Field(ge=0)
    verdict: VerdictWord
    margin: Positive
    detectable: Positive | None
    ceiling: Positive | None = None
    bottleneck: str | None = None


class ProfileEntry(_Model):
    """The profile a run was made from: its name, its whole content, and the SHA-256 of that content."""

    name: str
    content: dict[str, Any]
    sha256: str


class TestbedEntry(_Model):
    """Which testbed, and of what kind (``hosts`` or a lab's).

    ``machine``: of a lab, facts of the machine that emulates both hosts.
    """

    name: str
    kind: str
    machine: dict[str, Any] = {}


class Crossing(_Model):
    """What one untimed transfer took across the border of user and kernel memory on the sender.

    ``calls``: system calls by name; ``crossing_bytes``: bytes in or out of user memory; ``copied_bytes``: those that a
    processor copied, where known. ``source``: ``server`` where our own server counted them (exact), ``strace``
    where they were seen from outside. ``buffer_bytes``: the path's buffer or record size, where it has one.
    """

    path: str
    cipher: str
    size_bytes: int = Field(ge=1)
    buffer_bytes: int | None = Field(default=None, ge=1)
    calls: dict[str, int]
    crossing_bytes: int = Field(ge=0)
    copied_bytes: int | None = Field(default=None, ge=0)
    source: Literal["server", "strace"]


class SuiteEntry(_Model):
    """What a suite asked, for readers of the record: its figure in the paper, its link, its baseline path.

    ``link`` holds what measuring the link gave: ``seconds_1mb`` and ``goodput_bits_per_second``; ``prices`` what
    steps cost on the sender (``{step}_call_ns``, ``{step}_byte_ns``), where a ceiling was computed. ``tls``: the
    version of TLS (``1.2``, ``1.3``) of its TLS paths. ``integrity``: the hash of the HMAC beside a cipher that is no
    AEAD; None where its paths do not authenticate, or the cipher does. ``connection``: whether every request has a
    connection of its own (``new``), resumes a TLS session (``resumed``) or shares one connection (``kept``);
    ``requests`` in a sample. ``instructions``: ``masked`` where AES and vector instructions were hidden from user
    space.
    """

    name: str
    figure: int | None
    link_rate_bits_per_second: int | None
    baseline: str
    link: dict[str, float | None] = {}
    prices: dict[str, float] = {}
    question: str | None = None
    tls: str | None = None
    integrity: str | None = None
    connection: Literal["new", "resumed", "kept"] | None = None
    requests: int = Field(default=1, ge=1)
    instructions: Literal["all", "masked"] = "all"
    crossings: list[Crossing] = []


class Head(_Model):
    """The content of run.json."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    run_id: str
    profile: ProfileEntry
    testbed: TestbedEntry
    started: datetime
    finished: datetime | None = None
    status: Status
    reason: str | None = None
    harness: str
    suites: list[SuiteEntry] = []
    hosts: dict[Literal["sender", "receiver"], dict[str, Any]] = {}
    cells: list[Cell] = []
    verdicts: list[Verdict] = []
    notes: list[str] = []

    model_config = ConfigDict(extra="forbid", populate_by_name=True, serialize_by_alias=True)

    @property
    def machines(self) -> dict[str, dict[str, Any]]:
        """Facts of the hosts by role, and of a lab those of the ``machine`` that emulates both."""
        found: dict[str, dict[str, Any]] = {str(role): told for role, told in self.hosts.items()}
        return found | ({"machine": self.testbed.machine} if self.testbed.machine else {})


class Run(BaseModel):
    """A record read back. ``lost``: what the samples on disk lack (see the function ``lost``); None if nothing."""

    path: Path
    head: Head
    samples: list[Sample]
    lost: str | None = None


def new_run_id(profile: str, now: datetime | None = None) -> str:
    """A name that sorts by time and does not collide: ``20261123-101500-gigabit-3des-1f2e``."""
    stamp = (now or datetime.now(UTC)).strftime("%Y%m%d-%H%M%S")
    return f"{stamp}-{profile}-{secrets.token_hex(2)}"


class Writer:
    """Writes one record. Holds the record's lock while it lives: use as a context manager.

    Leaving the context by an exception marks the run ``interrupted`` (KeyboardInterrupt and SystemExit) or
    ``failed``, unless ``finish`` was called before. Raises RecordError when the disk refuses.
    """

    def __init__(self, results: Path, head: Head) -> None:
        self.results = results
        self.path = results / head.run_id
        self.head = head
        with _explained(self.path):
            self.path.mkdir(parents=True)
            self._lock = os.open(self.path / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                (self.path / "samples.jsonl").touch()
                self.write_head()
            except BaseException:
                os.close(self._lock)
                raise

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _tb: object) -> None:
        if self.head.status == "running":
            if error is None:
                self.finish("complete")
            else:
                stopped = kind is not None and issubclass(kind, KeyboardInterrupt | SystemExit)
                self.finish("interrupted" if stopped else "failed", reason=str(error).split("\n")[0] or None)

    def append(self, sample: Sample) -> None:
        """Add a sample; it is on disk when this returns. One that does not fit leaves nothing of itself."""
        data = (sample.model_dump_json() + "\n").encode()
        with _explained(self.path), (self.path / "samples.jsonl").open("r+b", buffering=0) as file:
            before = file.seek(0, os.SEEK_END)
            try:
                while data:
                    data = data[file.write(data) :]
                os.fsync(file.fileno())
            except OSError:
                file.truncate(before)
                raise

    def write_head(self) -> None:
        """Replace run.json atomically with the head as it is now."""
        text = json.dumps(self.head.model_dump(mode="json", by_alias=True), indent=1)
        Head.model_validate_json(text)
        with _explained(self.path):
            new = self.path / ".run.json"
            with new.open("w", encoding="utf-8") as file:
                file.write(text + "\n")
                file.flush()
                os.fsync(file.fileno())
            new.replace(self.path / "run.json")

    def finish(self, status: Status, reason: str | None = None) -> None:
        """Write the final status, release the lock; ``results/latest`` names the newest complete run."""
        self.head.status, self.head.reason = status, reason
        self.head.finished = datetime.now(UTC)
        try:
            self.write_head()
            if status == "complete":
                with _explained(self.results):
                    new = self.results / f".latest-{os.getpid()}"
                    new.unlink(missing_ok=True)
                    new.symlink_to(self.path.name)
                    new.replace(self.results / "latest")
        finally:
            os.close(self._lock)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RecordError(
            f"cannot write the record {path}: {error.strerror}",
            next_step="free some space or choose another --results folder; what was written so far is readable",
        ) from error


def read(path: Path) -> Run:
    """Read and validate one record.

    A last line cut off in the middle is dropped and told (``lost``); any other damage raises RecordError
    with the file and line. ``running`` without a living writer reads as ``interrupted``.
    """
    head = read_head(path)
    samples: list[Sample] = []
    cut = False
    name = path / "samples.jsonl"
    try:
        lines = name.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError as error:
        raise RecordError(f"cannot read {name}: {error.strerror}") from error
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            samples.append(Sample.model_validate_json(line))
        except ValidationError as error:
            if number == len(lines):
                cut = True
                continue
            raise RecordError(
                f"{name}, line {number} is not a sample: {error.errors()[0]['msg']}",
                next_step="the record was changed after it was written; take it out of the results folder",
            ) from error
    counted = {one.cell for one in samples if one.valid and not one.warmup}
    return Run(path=path, head=head, samples=samples, lost=lost(head, counted, cut))


def lost(head: Head, counted: AbstractSet[str], cut: bool) -> str | None:
    """What the samples on disk lack, as a sentence without its end; None if nothing.

    ``counted``: cells with a sample that counts. ``cut``: the last line ended in its middle, as a crash leaves it. A
    measured cell without a sample means that the file was changed afterwards.
    """
    measured = [cell.id for cell in head.cells if cell.outcome == "measured"]
    bare = sum(1 for name in measured if name not in counted)
    said = ["the last sample on disk was cut off in the middle and is left out"] if cut else []
    if bare:
        said.append(f"of {len(measured)} measured cells, {bare} have no sample on disk, so that nobody can check them")
    return "; ".join(said) or None


def read_head(path: Path) -> Head:
    """Read run.json alone. Raises RecordError."""
    name = path / "run.json"
    try:
        head = Head.model_validate_json(name.read_bytes())
    except OSError as error:
        raise RecordError(f"cannot read {name}: {error.strerror}") from error
    except ValidationError as error:
        told = next((wrong["input"] for wrong in error.errors() if wrong["loc"] == ("schema",)), None)
        if isinstance(told, int) and told != SCHEMA:
            age = "newer" if told > SCHEMA else "older"
            raise RecordError(
                f"{name} is a record of schema {told}, {age} than schema {SCHEMA}, which is read here",
                next_step=f"read it with a {age} version of the harness",
            ) from error
        first = error.errors()[0]
        where = ".".join(str(p) for p in first["loc"]) or "file"
        raise RecordError(f"{name} is not a record of schema {SCHEMA}: {where}: {first['msg']}") from error
    if head.status == "running" and not _alive(path):
        head.status = "interrupted"
        head.reason = head.reason or "its writer ended without saying why"
    return head


def list_runs(results: Path) -> list[Path]:
    """The folders of all records, oldest first."""
    return sorted(p.parent for p in results.glob("*/run.json") if not p.parent.is_symlink())


def latest(results: Path) -> Path | None:
    """The folder of the newest complete run, whether or not ``results/latest`` is there; None without one."""
    for path in reversed(list_runs(results)):
        try:
            if read_head(path).status == "complete":
                return path
        except RecordError:
            continue  # its row in the index says why
    return None


def _alive(path: Path) -> bool:
    try:
        lock = os.open(path / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False
