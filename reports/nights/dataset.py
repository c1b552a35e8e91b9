"""What each night says, and all samples of all runs, in parts that are read alone: ``results/history``.

``nights/profile=P/testbed=T/month=M.jsonl``: a line for each run of a month (``reports/nights/history.py``), which is
what pages and trends are made from. ``samples/profile=P/testbed=T/month=M/samples.parquet``: a row for each sample of
these runs (``reports/table.py``), partitioned as Hive names folders, so that pages and other programs read it by column
and partition. ``index.json``: which run is where.

All of it is made from the records, whenever anything reads it: a new run is added to its part, and a part is made again
of which a run was changed or is gone, or a file is not as it was left. Texts are plain: fastparquet takes the
categories of one file for those of all.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections import Counter
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
ENDINGS = (".jsonl", ".parquet")
UNREAD, GOING = "unread", "going"
"""In the place of a partition: nights of records that cannot be read, and of runs that go on. Neither has samples."""
TOGETHER = 31
"""Runs that one process reads and puts down at once: about a month of one profile on one testbed."""
ROWS = 40_000
"""Of a row group: what is read for one run. Small ones take longer to write, large ones to read."""
COMPRESSION = "SNAPPY"
"""A third larger than ZSTD, and written in two thirds of the time."""
Beside = Callable[[Path, Head, Night], Any]
"""``beside(path, head, night)``: something else that is made of a record, or None."""


class Known(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A run that the dataset has. ``key``: of its record, empty while it goes on. ``part``: where it is."""

    key: str
    part: str


class Index(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is where. ``runs`` by folder; ``parts``: by name, how their files were left."""

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
            if known.part not in (UNREAD, GOING):
                found.setdefault(partition(known.part), []).append(f"{folder} {known.key}")
        return dict(sorted(found.items()))

    def samples(self, run: str, columns: Sequence[str]) -> Columns:
        """These columns of a run's samples, in the order they were taken; of a record without any they are empty."""
        known = self.index.runs.get(run)
        path = _files(self.results / FOLDER, known.part)[1] if known else None
        if path is None or not path.exists():
            return {name: np.empty(0, table.COLUMNS[name]) for name in columns}
        from reports.parquet import fastparquet

        whole = fastparquet.ParquetFile(str(path))  # its own filter of rows leaves wrong numbers where some are missing
        groups = whole.to_pandas(columns=list({"run", *columns}), filters=[("run", "==", run)])
        mine = groups["run"].to_numpy() == run
        return {name: groups[name].to_numpy()[mine] for name in columns}

    def of(self, runs: Iterable[str]) -> set[str]:
        """The partitions of runs, by folder."""
        known = (self.index.runs.get(run) for run in runs)
        return {partition(one.part) for one in known if one and one.part not in (UNREAD, GOING)}


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


def newest(results: Path, parts: Iterable[str], count: int) -> list[Night]:
    """The nights of some parts, oldest first, but for those that ``count`` of their group follow which are compared: of
    these no more than the opening is read."""
    lines = [line for part in parts for line in _files(results / FOLDER, part)[0].read_bytes().splitlines()]
    openings = map(msgspec.json.Decoder(history.Opening).decode, lines)
    decoder, follow = msgspec.json.Decoder(Night), Counter[tuple[str, str, str]]()
    found = []
    for one, line in sorted(zip(openings, lines, strict=True), key=lambda both: history.place(both[0]), reverse=True):
        if follow[one.group] < count:
            found.append(decoder.decode(line))
        follow[one.group] += one.compared
    return found[::-1]


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
        changed = {one.part for name, one in index.runs.items() if one.key != keys.get(name)}
        sound = {part for part, left in index.parts.items() if part not in changed and left == _left(folder, part)}
        stay = {name: one for name, one in index.runs.items() if one.part in sound}
        kept = {path for part in sound for path in _files(folder, part)}
        strange = [path for path in folder.rglob("*") if path.suffix in ENDINGS and path not in kept]
        fresh = [path for name, path in runs.items() if name not in stay]
        if not strange and not fresh and sound == index.parts.keys():
            return History(results, index)
        for path in strange:
            path.unlink()
        read = 0
        made: dict[str, Any] = {}
        for found, more in parallel.each(partial(_take, folder, beside), _batches(fresh), "reports.parquet"):
            stay |= found
            made |= more
            progress(f"history: {next(iter(found))}", read / len(fresh))
            read += len(found)
        index = Index(stay, {part: _left(folder, part) for part in sorted({one.part for one in stay.values()})})
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
    return msgspec.json.Decoder(Night).decode_lines(_files(folder, part)[0].read_bytes())


def _files(folder: Path, part: str) -> tuple[Path, Path]:
    """The lines of a part, and its samples, which it may have none of."""
    return folder / NIGHTS / f"{part}.jsonl", folder / SAMPLES / part / "samples.parquet"


def _left(folder: Path, part: str) -> str:
    """Changes when one of a part's files does."""
    return " ".join(map(history.stamp, _files(folder, part)))


def _batches(paths: Sequence[Path]) -> list[list[Path]]:
    """Runs that are probably of one part together, by their names."""
    alike: dict[str, list[Path]] = {}
    for path in paths:  # 20261130-221500-gigabit-3des-lab-1f2e
        alike.setdefault(f"{path.name[:6]}{path.name[15:].rpartition('-')[0]}", []).append(path)
    return [some[n : n + TOGETHER] for some in alike.values() for n in range(0, len(some), TOGETHER)]


def _take(folder: Path, beside: Beside | None, paths: Sequence[Path]) -> tuple[dict[str, Known], dict[str, Any]]:
    """Read records and put down what they hold; where each went, and what was made beside it."""
    parts: dict[str, tuple[list[Night], list[Columns]]] = {}
    found: dict[str, Known] = {}
    made: dict[str, Any] = {}
    for path in paths:
        night, head, columns = _read(path)
        part = _part(night)
        nights, samples = parts.setdefault(part, ([], []))
        nights.append(night)
        if columns and len(columns["run"]) and part not in (UNREAD, GOING):
            samples.append(columns)
        found[path.name] = Known(night.key, part)
        if beside and head and (one := beside(path, head, night)) is not None:
            made[path.name] = one
    for part, (nights, samples) in parts.items():
        _add(folder, part, nights, samples)
    return found, made


def _part(night: Night) -> str:
    if night.problem is not None:
        return UNREAD
    if night.status == "running":
        return GOING
    return f"{named(night.profile, night.testbed)}/month={night.started[:7]}"


def _read(path: Path) -> tuple[Night, Head | None, Columns | None]:
    """A record as a night, its head and its samples; neither of one that cannot be read."""
    stamp = history.key(path)
    try:
        head = records.read_head(path)
        samples, cut_off = records.timed(path)
        columns = table.columns(path.name, head, samples)
        lost = records.lost(head, set(columns["cell"][columns["counted"]]), cut_off)
        return history.of(path, "" if head.status == "running" else stamp, head, columns, lost), head, columns
    except (HarnessError, ArithmeticError) as error:  # a date can be beyond what a calendar holds
        return history.unreadable(path, error), None, None


def _add(folder: Path, part: str, nights: Sequence[Night], samples: Sequence[Columns]) -> None:
    """Add runs that a part does not have. Another process may have some of the same part."""
    lines, rows = _files(folder, part)
    lines.parent.mkdir(parents=True, exist_ok=True)
    with _held(lines.with_name("lock")):
        if samples:
            _write(rows, {name: np.concatenate([one[name] for one in samples]) for name in table.COLUMNS})
        before = lines.read_bytes() if lines.exists() else b""
        _replace(lines, before + msgspec.json.Encoder().encode_lines(list(nights)))


def _write(path: Path, columns: Columns) -> None:
    """Put samples down behind those that are there."""
    from reports.parquet import fastparquet

    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}")
    if more := path.exists():
        shutil.copyfile(path, new)
    missing = [name for name, kind in table.COLUMNS.items() if kind == "float64"]
    fastparquet.write(
        str(new), pd.DataFrame(columns, copy=False), compression=COMPRESSION, object_encoding="utf8",
        has_nulls=missing, write_index=False, row_group_offsets=ROWS, stats=["run"], append=more,
    )  # fmt: skip
    new.replace(path)


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
