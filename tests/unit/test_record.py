"""The record: what was written is read back, whatever ended the writing; damage is told, never guessed away."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import record, records
from harness.blocks import BlockFacts, HostBlock
from harness.record import Head, ProfileEntry
from harness.records import RecordError, Writer
from harness.samples import HostSample, Sample

ROOT = Path(__file__).parents[2]


def head(run_id: str = "20260102-030405-p-0001") -> Head:
    return Head(
        run_id=run_id,
        profile=ProfileEntry(name="p", content={"made_up": True}, sha256="0" * 64),
        testbed=record.TestbedEntry(name="t", kind="hosts"),
        started=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        status="running",
        harness="0",
    )


def sample(block: int = 0, cell: str = "s/p/c/any/1MB", reason: str | None = None) -> Sample:
    return Sample(
        cell=cell,
        block=block,
        index=0,
        warmup=block == 0,
        seconds=0.25,
        bytes=10**6,
        sha256_ok=True,
        witness={"a": 1, "b": 0.5, "c": "é", "d": True, "e": None},
        valid=reason is None,
        reason=reason,
        sender=HostSample(cpu_seconds=0.1, cpu_resolution_seconds=0.01, counters={"n": 3, "m": None}),
    )


def finished(results: Path, run_id: str, count: int) -> Path:
    with Writer(results, head(run_id)) as writer:
        for block in range(count):
            writer.append(sample(block, reason="Grüße" if block else None))
    return writer.path


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    path = finished(tmp_path, "r", 3)
    run = records.read(path)
    assert run.samples == [sample(block, reason="Grüße" if block else None) for block in range(3)]
    assert run.head.status == "complete"
    assert run.head.finished is not None
    assert run.lost is None
    assert run.head.profile.content == {"made_up": True}
    assert json.loads((path / "run.json").read_text())["schema"] == record.SCHEMA


numbers = st.floats(1e-9, 1e9)
samples = st.builds(
    Sample,
    cell=st.text(),
    block=st.integers(0, 1000),
    index=st.integers(0, 100),
    warmup=st.booleans(),
    seconds=st.none() | numbers,
    handshake_seconds=st.none() | st.just(0.0) | numbers,
    bytes=st.none() | st.integers(0, 10**12),
    sha256_ok=st.none() | st.booleans(),
    witness=st.dictionaries(
        st.text(), st.none() | st.booleans() | st.integers(-(2**63), 2**64) | numbers | st.text(), max_size=4
    ),
    valid=st.booleans(),
    reason=st.none() | st.text(),
    sender=st.builds(
        HostSample,
        cpu_seconds=st.none() | numbers,
        cpu_resolution_seconds=st.none() | numbers,
        counters=st.dictionaries(st.text(), st.none() | st.integers(0, 2**64), max_size=3),
    ),
    latencies_us=st.none() | st.lists(numbers, max_size=3),
)


@given(samples)
def test_every_sample_is_one_line_that_gives_it_back(one: Sample) -> None:
    line = msgspec.json.encode(one)
    assert b"\n" not in line
    back = records.DECODER.decode(line)
    assert back == one
    types = [{key: type(value) for key, value in s.witness.items()} for s in (one, back)]
    assert types[0] == types[1]


@pytest.mark.parametrize("field", ["seconds", "handshake_seconds", "bytes", "sha256_ok", "reason", "latencies_us"])
def test_what_is_missing_is_null_and_never_zero(field: str) -> None:
    assert json.loads(msgspec.json.encode(msgspec.structs.replace(sample(), **{field: None})))[field] is None


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_what_cannot_be_a_time_is_not_written(tmp_path: Path, seconds: float) -> None:
    with Writer(tmp_path, head()) as writer:
        with pytest.raises(ValueError, match="seconds"):
            writer.append(msgspec.structs.replace(sample(), seconds=seconds))
        assert not (writer.path / "samples.jsonl").read_bytes()


def test_a_sample_is_on_disk_when_append_returns(tmp_path: Path) -> None:
    with Writer(tmp_path, head()) as writer:
        for block in range(3):
            writer.append(sample(block))
            assert len((writer.path / "samples.jsonl").read_text().splitlines()) == block + 1
            assert len(records.read(writer.path).samples) == block + 1


def test_a_last_line_torn_at_any_byte_loses_only_itself(tmp_path: Path) -> None:
    path = finished(tmp_path, "r", 3)
    name = path / "samples.jsonl"
    text = name.read_bytes()
    last = text.rindex(b"\n", 0, len(text) - 1) + 1
    for cut in range(last, len(text) + 1):
        name.write_bytes(text[:cut])
        run = records.read(path)
        whole = cut >= len(text) - 1  # only its newline is missing
        assert len(run.samples) == (3 if whole else 2)
        assert (run.lost or "").startswith("the last sample on disk was cut off") == (last < cut < len(text) - 1)


def test_zeros_at_the_end_as_a_power_cut_leaves_them_are_a_torn_line(tmp_path: Path) -> None:
    path = finished(tmp_path, "r", 2)
    with (path / "samples.jsonl").open("ab") as file:
        file.write(bytes(100))
    run = records.read(path)
    assert len(run.samples) == 2
    assert "cut off" in (run.lost or "")


def facts(block: int) -> BlockFacts:
    host = HostBlock(steal_ns=0, run_delay_ns=7, frequency_khz=3_000_000)
    return BlockFacts(cells=["a", "b"], block=block, warmup=block == 0, window_seconds=0.25, sender=host)


def test_what_happened_while_blocks_were_taken_is_read_back(tmp_path: Path) -> None:
    with Writer(tmp_path, head()) as writer:
        for block in range(3):
            writer.append_block(facts(block))
        with pytest.raises(ValueError, match="window_seconds"):
            writer.append_block(msgspec.structs.replace(facts(3), window_seconds=float("inf")))
    assert records.read(writer.path).blocks == [facts(block) for block in range(3)]


def test_a_record_from_before_blocks_were_watched_has_none(tmp_path: Path) -> None:
    path = finished(tmp_path, "r", 1)
    (path / "blocks.jsonl").unlink()
    run = records.read(path)
    assert (run.blocks, run.lost) == ([], None)


def test_a_torn_line_of_blocks_loses_only_itself_and_is_told(tmp_path: Path) -> None:
    with Writer(tmp_path, head()) as writer:
        for block in range(2):
            writer.append_block(facts(block))
    name = writer.path / "blocks.jsonl"
    name.write_bytes(name.read_bytes()[:-5])
    run = records.read(writer.path)
    assert run.blocks == [facts(0)]
    assert (run.lost or "").startswith("the last line of a block on disk was cut off")
    name.write_text("{}\n" + name.read_text())
    with pytest.raises(RecordError, match="line 1 is not a block's facts"):
        records.read(writer.path)


@pytest.mark.parametrize("line", [0, 1, 2])
@pytest.mark.parametrize("damage", ["nonsense", '{"cell": "x"}', "\x00\x00", "[]"])
def test_damage_before_the_end_is_an_error_with_its_line(tmp_path: Path, line: int, damage: str) -> None:
    path = finished(tmp_path, "r", 3)
    name = path / "samples.jsonl"
    lines = name.read_text().splitlines()
    lines[line] = damage
    name.write_text("\n".join(lines) + "\n")
    with pytest.raises(RecordError) as caught:
        records.read(path)
    assert f"{name}, line {line + 1} is not a sample: " in str(caught.value)


GOOD = '{"cell": "a", "block": 1, "index": 0, "warmup": false, "seconds": 1.5, "valid": true}'


@pytest.mark.parametrize(
    ("line", "read"),
    [
        (GOOD, 3),
        ("", 2),
        (GOOD[:-1] + ', "seconds": 2.5}', 3),
        (GOOD.replace("1.5", "1"), 3),
        (GOOD[:-1] + ', "handshake_seconds": 0}', 3),
        (GOOD.replace(", ", ",\n"), None),
        (GOOD + GOOD, None),
        (GOOD[:-1] + ', "handshake_seconds": -1.0}', None),
        (GOOD[:-1] + ', "bytes": -1}', None),
        (GOOD[:-1] + ', "bytes": 1.5}', None),
        (GOOD[:-1] + ', "sender": {"cpu_seconds": -0.1}}', None),
        (GOOD[:-1] + ', "sender": {"cpu_resolution_seconds": 0}}', None),
        (GOOD[:-1] + ', "sender": {"joules": 1}}', None),
        (GOOD[:-1] + ', "colour": 1}', None),
        (GOOD[:-1] + ', "latencies_us": [1, "2"]}', None),
        (GOOD[:-1] + ', "witness": {"a": [1]}}', None),
        (GOOD.replace("1.5", "0"), None),
        (GOOD.replace("1.5", "NaN"), None),
        (GOOD.replace("1.5", "Infinity"), None),
        (GOOD.replace("1.5", "1e999"), None),
        (GOOD.replace('"block": 1', '"block": -1'), None),
        (GOOD.replace('"block": 1', '"block": true'), None),
        (GOOD.replace("false", "0"), None),
        (GOOD.replace('"valid": true', '"valid": null'), None),
        (GOOD.replace('"cell": "a"', '"cell": 1'), None),
        (GOOD.replace('"cell": "a", ', ""), None),
        (f"[{GOOD}]", None),
        ("null", None),
    ],
)
def test_every_line_is_a_whole_sample_or_damage(tmp_path: Path, line: str, read: int | None) -> None:
    with Writer(tmp_path, head("run")) as writer:
        pass
    (writer.path / "samples.jsonl").write_text(f"{GOOD}\n{line}\n{GOOD}\n")
    if read is None:
        with pytest.raises(RecordError, match="line 2 is not a sample"):
            records.read(writer.path)
    else:
        assert len(records.read(writer.path).samples) == read


@given(st.lists(samples, min_size=1, max_size=3), st.data())
@settings(max_examples=150)
def test_of_a_damaged_file_all_is_read_or_nothing_but_its_last_line_is_left_out(
    tmp_path_factory: pytest.TempPathFactory, some: list[Sample], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("r") / "run"
    with Writer(path.parent, head("run")) as writer:
        for one in some:
            writer.append(one)
    text = bytearray((path / "samples.jsonl").read_bytes())
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(text) - 1))
        kind = data.draw(st.sampled_from(["cut", "replace", "insert"]))
        piece = data.draw(st.sampled_from([b"", b"0", b"-", b"1e999", b"NaN", b"null", b'"', b"}", b"\n", b"\xff"]))
        text[at : len(text) if kind == "cut" else at + (kind == "replace")] = piece
        if not text:
            break
    (path / "samples.jsonl").write_bytes(text)
    lines, found, damaged = bytes(text).split(b"\n"), [], False
    for line in filter(None, lines):
        try:
            found.append(records.DECODER.decode(line))
        except ValueError:
            damaged = damaged or line is not lines[-1]
    if damaged:
        with pytest.raises(RecordError, match="is not a sample"):
            records.read(path)
    else:
        assert records.read(path).samples == found


def test_a_field_that_this_schema_does_not_have_is_an_error(tmp_path: Path) -> None:
    path = finished(tmp_path, "r", 1)
    name = path / "samples.jsonl"
    name.write_text(name.read_text().replace('"valid"', '"vaild"'))
    with pytest.raises(RecordError, match="line 1 is not a sample"):
        records.read(path)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"schema": 1', '"schema": 2', "is a record of schema 2, newer than schema 1, which is read here"),
        ('"schema": 1', '"schema": 0', "is a record of schema 0, older than schema 1, which is read here"),
        ('"schema": 1', '"schema": "1"', "is not a record of schema 1: schema: "),
        ('"status": "complete"', '"status": "fine"', "is not a record of schema 1: status: "),
        ('"run_id"', '"id"', "is not a record of schema 1: run_id: "),
        ("{", "", "is not a record of schema 1: "),
    ],
)
def test_a_head_that_is_not_of_this_schema_is_an_error(tmp_path: Path, old: str, new: str, says: str) -> None:
    path = finished(tmp_path, "r", 1)
    text = (path / "run.json").read_text()
    assert old in text
    (path / "run.json").write_text(text.replace(old, new, 1))
    for reader in (records.read, records.read_head):
        with pytest.raises(RecordError, match=says) as caught:
            reader(path)
        assert str(path / "run.json") in str(caught.value)


@pytest.mark.parametrize("name", ["run.json", "samples.jsonl"])
def test_a_missing_file_is_an_error_with_its_name(tmp_path: Path, name: str) -> None:
    path = finished(tmp_path, "r", 1)
    (path / name).unlink()
    with pytest.raises(RecordError, match=f"cannot read .*{name}: No such file"):
        records.read(path)


def test_running_without_a_writer_reads_as_interrupted(tmp_path: Path) -> None:
    with Writer(tmp_path, head()) as writer:
        assert records.read_head(writer.path).status == "running"
        text = (writer.path / "run.json").read_text()
    (writer.path / "run.json").write_text(text)
    found = records.read_head(writer.path)
    assert (found.status, found.reason) == ("interrupted", "its writer ended without saying why")
    (writer.path / "lock").unlink()
    assert records.read_head(writer.path).status == "interrupted"


WRITER = """
import sys
from pathlib import Path
from tests.unit.test_record import head, sample
from harness.records import Writer
writer = Writer(Path(sys.argv[1]), head("other"))
for block in range(2):
    writer.append(sample(block))
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has written two samples and holds its record open."""
    argv = [sys.executable, "-c", WRITER, str(tmp_path)]
    with subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def test_a_living_writer_is_running_and_a_killed_one_leaves_a_readable_record(
    tmp_path: Path, other: subprocess.Popen[str]
) -> None:
    run = records.read(tmp_path / "other")
    assert (run.head.status, len(run.samples)) == ("running", 2)
    other.send_signal(signal.SIGKILL)
    other.wait(30)
    run = records.read(tmp_path / "other")
    assert (run.head.status, run.samples, run.lost) == ("interrupted", [sample(0), sample(1)], None)


def test_looking_at_a_record_does_not_keep_its_writer_from_anything(tmp_path: Path) -> None:
    """A reader takes the lock for a moment; the writer has it from the start, and another record has its own."""
    with Writer(tmp_path, head("a")) as writer:
        assert records.read_head(writer.path).status == "running"
        with Writer(tmp_path, head("b")):
            writer.append(sample())
    assert records.read_head(writer.path).status == "complete"


def test_latest_is_the_newest_complete_run(tmp_path: Path) -> None:
    latest = tmp_path / "latest"
    with Writer(tmp_path, head("a")):
        assert not latest.is_symlink()
    assert latest.readlink() == Path("a")
    with pytest.raises(KeyboardInterrupt), Writer(tmp_path, head("b")):
        raise KeyboardInterrupt
    with pytest.raises(RuntimeError), Writer(tmp_path, head("c")):
        raise RuntimeError("why\nand more")
    assert latest.readlink() == Path("a")
    finished(tmp_path, "d", 1)
    assert records.read(latest).head.run_id == "d"
    heads = {path.name: records.read_head(path) for path in records.list_runs(tmp_path)}
    assert {name: found.status for name, found in heads.items()} == {
        "a": "complete",
        "b": "interrupted",
        "c": "failed",
        "d": "complete",
    }
    assert heads["c"].reason == "why"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c", "d", "latest"]


def test_the_newest_complete_run_is_found_without_its_link(tmp_path: Path) -> None:
    assert records.latest(tmp_path) is None
    for name in "abc":
        finished(tmp_path, name, 1)
    with pytest.raises(RuntimeError), Writer(tmp_path, head("d")):
        raise RuntimeError
    (tmp_path / "latest").unlink()
    (tmp_path / "c" / "run.json").write_text("{}")
    assert records.latest(tmp_path) == tmp_path / "b"


def test_a_file_system_without_symbolic_links_is_good_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As vfat and CIFS say it."""

    def refused(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "symlink_to", refused)
    path = finished(tmp_path, "a", 1)
    head = records.read_head(path)
    assert head.status == "complete"
    assert head.notes == [f"{tmp_path}/latest does not name this run: Operation not permitted"]
    assert [place.name for place in tmp_path.iterdir()] == ["a"]
    assert records.latest(tmp_path) == path


def test_a_record_is_never_written_over(tmp_path: Path) -> None:
    path = finished(tmp_path, "r", 2)
    with pytest.raises(RecordError, match="File exists"):
        Writer(tmp_path, head("r"))
    assert len(records.read(path).samples) == 2


def test_names_of_runs_sort_by_time_and_do_not_collide() -> None:
    early, late = datetime(2026, 9, 30, 23, 59, 59, tzinfo=UTC), datetime(2026, 10, 1, tzinfo=UTC)
    assert records.new_run_id("z", early) < records.new_run_id("a", late)
    assert len({records.new_run_id("p", early) for _ in range(20)}) > 10


def test_where_nothing_can_be_written_there_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RecordError) as caught:
        Writer(tmp_path / "file", head())
    assert "cannot write the record" in caught.value.what
    assert "--results" in str(caught.value.next_step)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB, mounted for this test only."""
    if os.getuid() != 0:
        pytest.skip("mounting a small file system takes root")
    where = tmp_path / "small"
    where.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "pathproof-test", str(where)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a small file system: {mounted.stderr.decode().strip()}")
    try:
        yield where
    finally:
        subprocess.run(["umount", str(where)], check=True)


def test_a_full_disk_stops_the_run_and_keeps_what_was_written(small_disk: Path) -> None:
    with pytest.raises(RecordError, match="No space left on device"), Writer(small_disk, head()) as writer:
        for block in range(1000):
            writer.append(sample(block))
    run = records.read(writer.path)
    assert 10 < len(run.samples) < 1000
    assert run.samples == [sample(block) for block in range(len(run.samples))]
    assert run.head.status in ("interrupted", "failed")
    assert run.lost is None, "a sample that does not fit leaves nothing of itself"
    with (writer.path / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_disk_that_has_room_again_takes_the_next_sample(small_disk: Path) -> None:
    filler = small_disk / "filler"
    with Writer(small_disk, head()) as writer:
        writer.append(sample(0))
        with filler.open("wb", buffering=0) as file:
            for _ in range(1000):
                try:
                    file.write(bytes(1024))
                except OSError:
                    break
        with pytest.raises(RecordError):
            for block in range(1, 100):
                writer.append(sample(block))
        written = len(records.read(writer.path).samples)
        filler.unlink()
        writer.append(sample(500))
    run = records.read(writer.path)
    assert [s.block for s in run.samples] == [*range(written), 500]
    assert run.head.status == "complete"
