"""Reads and writes records: ``results/<run-id>/run.json``, ``samples.jsonl`` and ``blocks.jsonl``.

Samples and facts of blocks are appended as they happen; run.json is replaced atomically. What they hold is said in
``harness/record.py``, ``harness/samples.py`` and ``harness/blocks.py``.
"""

from __future__ import annotations

import fcntl
import io
import json
import os
import secrets
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import msgspec
from pydantic import ValidationError

from harness.blocks import BlockFacts
from harness.record import SCHEMA, Head, Run, Status
from harness.samples import Sample, Timed, good
from hosts.errors import Refusal

DECODER = msgspec.json.Decoder(Sample)
TIMED_DECODER = msgspec.json.Decoder(Timed)
BLOCK_DECODER = msgspec.json.Decoder(BlockFacts)
_Line = TypeVar("_Line", Sample, Timed, BlockFacts)


class RecordError(Refusal):
    """A record that cannot be read: missing, of another schema, or damaged before its end."""


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
        self.results, self.path, self.head = results, results / head.run_id, head
        with _explained(self.path):
            self.path.mkdir(parents=True)
            self._lock = os.open(self.path / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                (self.path / "samples.jsonl").touch()
                (self.path / "blocks.jsonl").touch()
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

    def append(self, *samples: Sample) -> None:
        """Add samples; they are on disk when this returns. What does not fit leaves nothing of itself.

        Raises ValueError for what no reader would take.
        """
        self._append("samples.jsonl", DECODER, *samples)

    def append_block(self, facts: BlockFacts) -> None:
        """Add what happened while a block was taken, as ``append`` does samples."""
        self._append("blocks.jsonl", BLOCK_DECODER, facts)

    def _append(self, name: str, decoder: msgspec.json.Decoder[_Line], *lines: _Line) -> None:
        data = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
        for line, decoded in zip(lines, decoder.decode_lines(data), strict=True):
            if decoded != line:
                raise ValueError(f"a line with numbers that JSON does not have: {line}")
        with _explained(self.path), (self.path / name).open("r+b", buffering=0) as file:
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
        self.head.status, self.head.reason, self.head.finished = status, reason, datetime.now(UTC)
        try:
            self.write_head()
            if status == "complete":
                self._point()
        finally:
            os.close(self._lock)

    def _point(self) -> None:
        try:
            point(self.results, self.path.name)
        except OSError as error:
            self.head.notes.append(f"{self.results / 'latest'} does not name this run: {error.strerror}")
            self.write_head()


def point(results: Path, run_id: str) -> None:
    """Have ``results/latest`` name a run. Raises OSError: some file systems have no symbolic links; ``latest()`` needs
    none."""
    new = results / f".latest-{os.getpid()}"
    try:
        new.symlink_to(run_id)
        new.replace(results / "latest")
    except OSError:
        new.unlink(missing_ok=True)
        raise


def settle(folder: Path) -> None:
    """Have on disk which files a folder holds: a file's own content is not enough to find it again. Raises OSError."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


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
    return with_samples(path, read_head(path))


def with_samples(path: Path, head: Head) -> Run:
    """The record with its samples and blocks, where its head has been read. Raises RecordError as ``read``."""
    samples, cut = _lines(path / "samples.jsonl", DECODER, "a sample")
    blocks, blocks_cut = _blocks(path)
    found = {sample.cell for sample in samples if good(sample)}
    return Run(path, head, samples, lost(head, found, _cut_off(cut, blocks_cut)), blocks)


def timed(path: Path) -> tuple[list[Timed], list[str]]:
    """What of a record's samples ratios and errors are made of, and what of its files is cut off (``lost``).

    Raises RecordError as ``read``, but for what only the rest of a sample would show.
    """
    samples, cut = _lines(path / "samples.jsonl", TIMED_DECODER, "a sample")
    return samples, _cut_off(cut, _blocks(path)[1])


def _blocks(path: Path) -> tuple[list[BlockFacts], bool]:
    """As ``_lines``; older records have no ``blocks.jsonl``."""
    name = path / "blocks.jsonl"
    return _lines(name, BLOCK_DECODER, "a block's facts") if name.exists() else ([], False)


def _lines(name: Path, decoder: msgspec.json.Decoder[_Line], what: str) -> tuple[list[_Line], bool]:
    """All that a file holds, and whether its last line ends in its middle, as a crash leaves it."""
    try:
        data = name.read_bytes()
    except OSError as error:
        raise RecordError(f"cannot read {name}: {error.strerror}") from error
    found: list[_Line] = []
    for number, line in enumerate(io.BytesIO(data), 1):  # finds lines in a fifth of the time that split takes
        if line == b"\n":
            continue
        try:
            found.append(decoder.decode(line))
        except ValueError as error:  # msgspec's errors are ValueErrors
            if not line.endswith(b"\n"):
                return found, True
            raise RecordError(
                f"{name}, line {number} is not {what}: {error}",
                next_step="the record was changed after it was written; take it out of the results folder",
            ) from error
    return found, False


def _cut_off(sample: bool, block: bool) -> list[str]:
    """What is cut off at the end of a record's files, in words."""
    return [what for what, was in (("sample", sample), ("line of a block", block)) if was]


def lost(head: Head, found: Set[str], cut_off: Sequence[str]) -> str | None:
    """What the samples on disk lack (``Run.lost``): a measured cell without one means that the file was changed
    afterwards. ``found``: the cells that have a good one; ``cut_off``: as ``timed`` tells."""
    bare = len(head.measured - found)
    missing = [f"the last {what} on disk was cut off in the middle and is left out" for what in cut_off]
    if bare:
        missing.append(
            f"of {len(head.measured)} measured cells, {bare} have no sample on disk, so that nobody can check them"
        )
    return "; ".join(missing) or None


def read_head(path: Path) -> Head:
    """Read run.json alone. Raises RecordError."""
    name = path / "run.json"
    try:
        head = Head.model_validate_json(name.read_bytes())
    except OSError as error:
        raise RecordError(f"cannot read {name}: {error.strerror}") from error
    except ValidationError as error:
        schema = next((wrong["input"] for wrong in error.errors() if wrong["loc"] == ("schema",)), None)
        if isinstance(schema, int) and schema != SCHEMA:
            age = "newer" if schema > SCHEMA else "older"
            raise RecordError(
                f"{name} is a record of schema {schema}, {age} than schema {SCHEMA}, which is read here",
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
        with (path / "lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return isinstance(error, BlockingIOError)
    return False
