"""One rule of what counts, and one of what a busy time is worth: whoever reads a record finds the same."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest

from harness import record, records
from harness.cli import summary
from harness.record import Cell, Run
from harness.samples import Sample, counted
from harness.verdicts import judging
from reports import compare, export
from reports.nights import dataset
from reports.site import pages
from tests.support.record_maker import make_run

SUITE = "schemes"


def odd(run: Run) -> tuple[dict[str, set[int]], set[str], set[str]]:
    """Spoils samples of a run in every way; the blocks that count by cell, cells with CPU numbers, cells without."""
    measured = [cell for cell in run.head.cells if cell.suite == SUITE]
    base, warm, invalid, timeless, coarse, twice, lost = (cell.id for cell in measured[:7])
    due = {cell.id: {1, 2, 3, 4} for cell in run.head.cells}
    for sample in list(run.samples):
        place = sample.cell, sample.block
        if place == (warm, 1):
            sample.warmup = True
        elif place == (invalid, 2):
            sample.valid, sample.reason = False, "not the payload"
        elif place == (timeless, 3):
            sample.seconds = None
        elif place == (coarse, 4):
            sample.sender = msgspec.structs.replace(sample.sender, cpu_seconds=0.09, cpu_resolution_seconds=0.01)
        elif place == (twice, 1):
            run.samples.append(msgspec.structs.replace(sample, seconds=sample.seconds and 2 * sample.seconds))
    due[warm], due[invalid], due[timeless] = {2, 3, 4}, {1, 3, 4}, {1, 2, 4}
    for cell in run.head.cells:
        if cell.id == lost:
            cell.outcome, cell.reason = "failed", "its host was lost"
            del due[lost]
    stranger = msgspec.structs.replace(run.samples[0], cell=f"{SUITE}/nobody/3des/any/1", warmup=False)
    run.samples.append(stranger)
    run.samples.append(msgspec.structs.replace(stranger, cell=base, block=9))  # its line is cut off below
    return due, due.keys() - {coarse}, {coarse}


@pytest.fixture
def spoiled(tmp_path: Path) -> tuple[Path, dict[str, set[int]], set[str], set[str]]:
    """A record on disk with odd samples, and what has to be found in it."""
    path = make_run(tmp_path, blocks=4)
    run = records.read(path)
    due, fine, coarse = odd(run)
    text = b"".join(msgspec.json.encode(sample) + b"\n" for sample in run.samples)
    (path / "samples.jsonl").write_bytes(text[:-40])
    (path / "run.json").write_text(json.dumps(run.head.model_dump(mode="json", by_alias=True)))
    return path, due, fine, coarse


def test_every_reader_counts_the_same_samples(spoiled: tuple[Path, dict[str, set[int]], set[str], set[str]]) -> None:
    path, due, fine, coarse = spoiled
    run = records.read(path)
    assert run.lost and "cut off" in run.lost
    times = {cell: [s.seconds or 0.0 for _, s in sorted(blocks.items())] for cell, blocks in run.counted().items()}
    assert {cell: set(blocks) for cell, blocks in run.counted().items()} == due

    frames = export.frames(run)
    rows = frames["samples"][frames["samples"]["counted"]].sort_values("block")
    assert {str(cell): part["seconds"].tolist() for cell, part in rows.groupby("cell")} == times
    cells = frames["cells"].set_index("cell")
    assert {str(cell): int(n) for cell, n in cells["samples"].items() if n} == {c: len(b) for c, b in due.items()}
    benchmarks = {one["param"]: sorted(one["stats"]["data"]) for one in export.benchmarks(run)["benchmarks"]}
    assert benchmarks == {cell: sorted(values) for cell, values in times.items()}

    side = compare.side(path)
    [night] = dataset.update(path.parent).nights()
    assert {cell.cell for cell in night.cells.rows() if cell.seconds is not None} == set(due)
    for cell in night.cells.rows():
        if cell.cell in due:
            median = pytest.approx(float(np.median(times[cell.cell])), rel=1e-6)
            assert cell.seconds == median
            assert side.numbers.median_seconds(cell.cell) == median
    assert side.lost == run.lost == night.lost

    # the processor: the sample table, the cells, the night's ratios and the verdicts
    numbers = {str(cell): part["sender_cpu_seconds_per_gb"] for cell, part in rows.groupby("cell")}
    assert {cell for cell, column in numbers.items() if column.notna().all()} == fine
    assert {str(cell) for cell, value in cells["sender_cpu_seconds_per_gb"].items() if not pd.isna(value)} == fine
    ratios = [ratio for ratio in night.ratios.rows() if ratio.metric == "cpu_seconds_per_gb"]
    assert {night.cells.ids[place] for r in ratios for place in (r.baseline, r.candidate)} <= fine
    settled = judging.settled([v for v in run.head.verdicts if {v.baseline, v.candidate} <= set(due)], run.samples)
    for verdict in settled:
        told = side.numbers.mean(verdict.baseline, verdict.candidate, verdict.metric)
        blocks = len(side.numbers.series(verdict.baseline, verdict.candidate, verdict.metric).logs)
        assert blocks == verdict.blocks
        if verdict.metric == "cpu_seconds_per_gb" and {verdict.baseline, verdict.candidate} & coarse:
            assert verdict.blocks == 0 and verdict.ratio is None
        else:
            assert told is not None
            assert verdict.ratio == pytest.approx(math.exp(told.mean))
            assert verdict.rounds == told.rounds
    by_cell = {(v.baseline, v.candidate, v.metric): v for v in settled}
    for ratio in night.ratios.rows():
        pair = night.cells.ids[ratio.baseline], night.cells.ids[ratio.candidate], ratio.metric
        assert by_cell[pair].blocks == ratio.blocks
    assert {(v.baseline, v.candidate, v.metric) for v in settled if v.blocks >= 3} == {
        (night.cells.ids[r.baseline], night.cells.ids[r.candidate], r.metric) for r in night.ratios.rows()
    }


def test_the_terminal_counts_them_too() -> None:
    """Latencies of requests: three of five samples count, each of two requests in a second."""

    def sample(block: int, **more: Any) -> Sample:
        fields = {"cell": "s/p/none/any/1kB", "block": block, "index": 0, "warmup": False, "seconds": 1.0}
        return msgspec.convert(fields | {"valid": True, "latencies_us": [5.0, 9.0]} | more, Sample)

    samples = [sample(0, warmup=True), sample(1, valid=False), *(sample(n) for n in (2, 3, 4))]
    cell = Cell(id=samples[0].cell, suite="s", path="p", cipher="none", driver="any", outcome="measured")
    assert [*counted(samples, {cell.id})[cell.id]] == [2, 3, 4]
    suite = record.SuiteEntry(name="s", figure=None, link_rate_bits_per_second=None, baseline="p", connection="new")
    head = record.Head.model_construct(suites=[suite], cells=[cell], verdicts=[])
    assert "  p, new connections: 2 requests/s, median 7 µs, 99 % 9 µs" in summary.lines(head, samples)
    cell.outcome = "failed"
    assert not [line for line in summary.lines(head, samples) if "requests/s" in line]


def test_a_block_that_stands_out_is_told_beside_its_verdict_as_in_the_record_s_notes(tmp_path: Path) -> None:
    run = records.read(make_run(tmp_path, blocks=8))
    slow = next(sample for sample in run.samples if sample.block == 5 and "/so-crypt/" in sample.cell)
    before = pages.render(run).html.count("1 outlier</small>"), len(judging.remarks(run.head.verdicts, run.samples))
    assert before[0] == before[1]
    slow.seconds = 20 * (slow.seconds or 0)
    told = judging.remarks(run.head.verdicts, run.samples)
    assert len(told) == before[1] + 1 and any("seconds: far from" in line and "block 5 (x" in line for line in told)
    assert pages.render(run).html.count("1 outlier</small>") == before[0] + 1
