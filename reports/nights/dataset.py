"""What each night says, and all samples of all runs, in parts that are read alone: ``results/history``.

``nights/profile=P/testbed=T/month=M.jsonl``: a line for each run of a month (``reports/nights/history.py``), which is
what pages and trends are made from. ``samples/profile=P/testbed=T/month=M/RUN.parquet``: a row for each sample of a run
(``reports/table.py``), partitioned as Hive names folders, so that pages and other programs read it by column and
partition. ``index.json``: which run is where.

All of it is made from the records, whenever anything reads it: a run that is new, changed or gone is read again or left
out, and so is every run whose part or samples are not as they were left. Texts are plain: fastparquet takes the
categories of one file for those of all.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import msgspec
import numpy as np
import pandas as pd

from harness import records
from harness.record import Head
from hosts.errors import HarnessError, Refusal
from hosts.progress import Progress, silent
from reports import parallel, table
from reports.nights import history
from reports.nights.history import Night
from reports.table import Columns

FOLDER = "history"
SAMPLES, NIGHTS, INDEX = "samples", "nights", "index.json"
UNREAD = "unread"
"""In the place of a partition: nights of records that cannot be read."""
TOGETHER = 31
"""Runs that one process reads and puts down at once: about a month of one profile on one testbed."""
COMPRESSION = "SNAPPY"
"""A third larger than ZSTD, and written in two thirds of the time."""
Beside = Callable[[Path, Head, Night], Any]
"""``beside(path, head, night)``: something else that is made of a record, or None."""


class Known(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A run that the dataset has. ``key``: of its record, empty while it goes on. ``part``: where it is. ``samples``:
    how the file of its samples was left; None of a record without any."""

    key: str
    part: str
    samples: str | None


class Index(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is where. ``runs`` by folder; ``parts``: by name, how their lines were left."""

    runs: dict[str, Known] = {}
    parts: dict[str, str] = {}


@dataclass(frozen=True)
class History:
    """The dataset of a results folder, as it was brought up to date."""

    results: Path
    index: Index
    made: dict[str, Any] = field(default_factory=dict)
    """What was made of runs that were read now, by folder (``update``'s ``beside``)."""

    def nights(self, partitions: Iterable[str] | None = None) -> list[Night]:
        """The nights of some partitions, or all, oldest first."""
        wanted = None if partitions is None else set(partitions)
        return nights(self.results, [part for part in self.index.parts if wanted is None or partition(part) in wanted])

    def parts(self) -> dict[str, tuple[str, ...]]:
        """The parts of each partition."""
        found: dict[str, tuple[str, ...]] = {}
        for part in self.index.parts:
            found[partition(part)] = (*found.get(partition(part), ()), part)
        return found

    def partitions(self) -> dict[str, list[str]]:
        """The keys of the runs of each partition: where one changes, so did what the partition says."""
        found: dict[str, list[str]] = {}
        for folder, known in sorted(self.index.runs.items()):
            if known.part != UNREAD:
                found.setdefault(partition(known.part), []).append(f"{folder} {known.key}")
        return dict(sorted(found.items()))

    def samples(self, run: str, columns: Sequence[str]) -> Columns:
        """These columns of a run's samples, in the order they were taken; of a record without any they are empty."""
        known = self.index.runs.get(run)
        if known is None or known.samples is None:
            return {name: np.empty(0, table.COLUMNS[name]) for name in columns}
        from reports.parquet import fastparquet

        path = self.results / FOLDER / SAMPLES / f"{known.part}/{run}.parquet"
        frame = fastparquet.ParquetFile(str(path)).to_pandas(columns=list(columns))
        return {name: frame[name].to_numpy() for name in columns}

    def of(self, runs: Iterable[str]) -> set[str]:
        """The partitions of runs, by folder."""
        known = (self.index.runs.get(run) for run in runs)
        return {partition(one.part) for one in known if one and one.part != UNREAD}


def named(profile: str, testbed: str) -> str:
    """The partition of a profile on a testbed."""
    return f"profile={quote(profile, safe='')}/testbed={quote(testbed, safe='')}"


def names(partition: str) -> tuple[str, str]:
    """The profile and the testbed of a partition."""
    profile, testbed = (unquote(one.partition("=")[2]) for one in partition.split("/")[:2])
    return profile, testbed


def partition(part: str) -> str:
    """The partition that a part is of."""
    return part.rpartition("/month=")[0] or part


def nights(results: Path, parts: Iterable[str]) -> list[Night]:
    """The nights of some parts, oldest first."""
    return history.in_order(night for part in parts for night in _nights(results / FOLDER, part))


def update(results: Path, progress: Progress = silent, beside: Beside | None = None) -> History:
    """Bring the dataset up to date with the records. Raises Refusal where it cannot be written.

    ``beside``: makes something else of each record that is read, since reading is what takes long; in other processes,
    too. Of one that cannot be read nothing is made.
    """
    try:
        return _update(results, results / FOLDER, progress, beside)
    except OSError as error:
        raise Refusal(
            f"cannot write the history in {results / FOLDER}: {error.strerror or error}",
            next_step="free some space or choose another --results folder",
        ) from error


def _update(results: Path, folder: Path, progress: Progress, beside: Beside | None) -> History:
    runs = {path.name: path for path in records.list_runs(results)}
    keys = {name: history.key(path) for name, path in runs.items()}
    folder.mkdir(parents=True, exist_ok=True)
    with _held(folder / "lock"):
        index = _load(folder)
        lines, samples = _stamps(folder / NIGHTS, ".jsonl"), _stamps(folder / SAMPLES, ".parquet")
        sound = {part for part, stamp in index.parts.items() if stamp == lines.get(part)}
        stay = {
            name: one
            for name, one in index.runs.items()
            if one.part in sound and one.key == keys.get(name) and one.samples == samples.get(f"{one.part}/{name}")
        }
        strange = samples.keys() - {f"{one.part}/{name}" for name, one in stay.items()}
        if len(stay) == len(index.runs) == len(runs) and sound == index.parts.keys() == lines.keys() and not strange:
            return History(results, index)
        for part in {one.part for name, one in index.runs.items() if name not in stay} | (lines.keys() - sound):
            _keep(folder, part, {name for name, one in stay.items() if one.part == part})
        for name in strange:
            (folder / SAMPLES / f"{name}.parquet").unlink()
        fresh = [path for name, path in runs.items() if name not in stay]
        read = 0
        made: dict[str, Any] = {}
        for found, more in parallel.each(partial(_take, folder, beside), _batches(fresh), "reports.parquet"):
            stay |= found
            made |= more
            progress(f"history: {next(iter(found))}", read / len(fresh))
            read += len(found)
        lines = _stamps(folder / NIGHTS, ".jsonl")
        index = Index(stay, {part: lines[part] for part in sorted({one.part for one in stay.values()})})
        _replace(folder / INDEX, msgspec.json.encode(index))
    (results / "history.jsonl").unlink(missing_ok=True)  # of earlier versions
    return History(results, index, made)


def again(results: Path, progress: Progress = silent) -> History:
    """Make the dataset from nothing. Raises Refusal as ``update``."""
    shutil.rmtree(results / FOLDER, ignore_errors=True)
    return update(results, progress)


def _load(folder: Path) -> Index:
    """The index; an empty one where there is none that can be read."""
    try:
        return msgspec.json.decode((folder / INDEX).read_bytes(), type=Index)
    except (OSError, ValueError):
        return Index()


def _nights(folder: Path, part: str) -> list[Night]:
    return msgspec.json.Decoder(Night).decode_lines((folder / NIGHTS / f"{part}.jsonl").read_bytes())


def _stamps(folder: Path, ending: str) -> dict[str, str]:
    """How the files below a folder are now that have this ending, by path without it."""
    return {str(path.relative_to(folder))[: -len(ending)]: history.stamp(path) for path in folder.rglob(f"*{ending}")}


def _batches(paths: Sequence[Path]) -> list[list[Path]]:
    """Runs that are probably of one part together, by their names."""
    alike: dict[str, list[Path]] = {}
    for path in paths:  # 20261130-221500-gigabit-3des-lab-1f2e
        alike.setdefault(f"{path.name[:6]}{path.name[15:].rpartition('-')[0]}", []).append(path)
    return [some[n : n + TOGETHER] for some in alike.values() for n in range(0, len(some), TOGETHER)]


def _take(folder: Path, beside: Beside | None, paths: Sequence[Path]) -> tuple[dict[str, Known], dict[str, Any]]:
    """Read records and put down what they hold; where each went, and what was made beside it."""
    parts: dict[str, list[Night]] = {}
    found: dict[str, Known] = {}
    made: dict[str, Any] = {}
    for path in paths:
        night, head, columns = _read(path)
        part = UNREAD if head is None else f"{named(night.profile, night.testbed)}/month={night.started[:7]}"
        parts.setdefault(part, []).append(night)
        samples = _sampled(folder / SAMPLES / part / f"{path.name}.parquet", columns) if columns else None
        found[path.name] = Known(night.key, part, samples)
        if beside and head and (one := beside(path, head, night)) is not None:
            made[path.name] = one
    with _held(folder / "parts.lock"):
        for part, nights in parts.items():
            _add(folder, part, nights)
    return found, made


def _read(path: Path) -> tuple[Night, Head | None, Columns | None]:
    """A record as a night, its head and its samples; neither of one that cannot be read."""
    stamp = history.key(path)
    try:
        head = records.read_head(path)
        samples, cut_off = records.essences(path)
        columns = table.columns(path.name, head, samples)
        lost = records.lost(head, set(columns["cell"][columns["counted"]]), cut_off)
        return history.of(path, "" if head.status == "running" else stamp, head, columns, lost), head, columns
    except (HarnessError, ArithmeticError) as error:  # a date can be beyond what a calendar holds
        return history.unreadable(path, error), None, None


def _add(folder: Path, part: str, nights: Sequence[Night]) -> None:
    """Add runs that a part does not have."""
    lines = folder / NIGHTS / f"{part}.jsonl"
    lines.parent.mkdir(parents=True, exist_ok=True)
    before = lines.read_bytes() if lines.exists() else b""
    _replace(lines, before + msgspec.json.Encoder().encode_lines(list(nights)))


def _sampled(path: Path, columns: Columns) -> str | None:
    """Put a run's samples down; how the file was left, or None where there are none."""
    from reports.parquet import fastparquet

    frame = pd.DataFrame(columns, copy=False)
    if not len(frame):
        return None
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}")
    missing = [name for name, kind in table.COLUMNS.items() if kind == "float64"]
    fastparquet.write(
        str(new), frame, compression=COMPRESSION, object_encoding="utf8", has_nulls=missing, write_index=False,
        row_group_offsets=[0], stats=False,
    )  # fmt: skip
    new.replace(path)
    return history.stamp(path)


def _keep(folder: Path, part: str, names: set[str]) -> None:
    """Leave only these runs in a part's lines; nothing of it where there are none."""
    lines = folder / NIGHTS / f"{part}.jsonl"
    nights = [night for night in _nights(folder, part) if night.folder in names] if names else []
    lines.unlink(missing_ok=True)
    if nights:
        _add(folder, part, nights)


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """Wait for a lock, and hold it: two programs may make pages of one results folder at once."""
    fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _replace(path: Path, content: bytes) -> None:
    new = path.with_name(f".{path.name}")
    new.write_bytes(content)
    new.replace(path)
