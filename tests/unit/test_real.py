"""The stored real record, records that tests make of it, and what the reports say of them."""

from __future__ import annotations

import html
import os
import subprocess
import sys
from pathlib import Path

import plotly.graph_objects as go
import pytest

from harness import records
from reports import compare, frame
from reports.nights import dataset
from reports.site import pages
from tests.support import real, shrink
from tests.support.commands import ROOT
from tests.support.pages import page_data


def test_the_stored_record_is_small_and_has_nothing_to_leave_out() -> None:
    run = records.read(real.DATA)
    assert shrink.shrunk(run) == run
    assert sum(path.stat().st_size for path in real.DATA.iterdir()) < 250_000
    assert {cell.outcome for cell in run.head.cells} == {"measured", "unsupported"}
    assert run.head.paths and run.head.testbed.label == "emulated" and any(suite.steps for suite in run.head.suites)


def test_a_record_without_edits_is_the_stored_one(tmp_path: Path) -> None:
    run, stored = records.read(real.written(tmp_path)), records.read(real.DATA)
    assert (run.head.cells, run.samples) == (stored.head.cells, stored.samples)
    verdicts = [(row.candidate, row.metric, row.verdict) for row in run.head.verdicts]
    assert verdicts == [(row.candidate, row.metric, row.verdict) for row in stored.head.verdicts]


def test_an_edit_is_judged_by_the_harness(tmp_path: Path) -> None:
    cell = f"schemes/so-crypt/3des/any/{real.SIZE}"
    plain, edited = (
        records.read(real.written(tmp_path / name, *edits))
        for name, edits in (("plain", []), ("edited", [real.times("so-crypt", 0.25)]))
    )
    before, after = (next(row for row in run.head.verdicts if row.candidate == cell) for run in (plain, edited))
    assert before.ratio and after.ratio
    assert round(after.ratio / before.ratio, 6) == 4
    assert after.verdict == "faster"
    failed = records.read(real.written(tmp_path / "failed", real.became(cell, "failed", "no route")))
    assert cell not in {row.candidate for row in failed.head.verdicts}
    assert cell not in {sample.cell for sample in failed.samples}


class TestPage:
    def test_it_shows_everything_and_says_of_the_rest_why_not(self) -> None:
        run = records.read(real.DATA)
        page = pages.render(run).html
        text = html.unescape(page)
        reasons = {cell.reason for cell in run.head.cells if cell.reason}
        assert len(reasons) == 2
        assert all(reason in text for reason in reasons)
        assert all(note in text for note in run.head.notes)
        assert all(section in text for section in ("What steps cost", "Crossings between", "Not measured, and why"))
        figures = page_data(page)["figures"]
        assert len(figures) > 8
        for spec in figures.values():
            go.Figure(spec)

    def test_rates_come_from_bytes_and_what_counts_is_the_harness_s(self) -> None:
        run = records.read(real.DATA)
        samples = frame.samples(run)
        measured = {cell.id for cell in run.head.cells if cell.outcome == "measured"}
        assert set(samples[samples["counted"]]["cell"]) == measured
        assert not samples[samples["counted"]]["warmup"].any()
        for row, sample in zip(samples.to_dict("records"), run.samples, strict=True):
            if sample.seconds and sample.bytes and row["size_bytes"] == sample.bytes:
                assert row["goodput_bits_per_second"] == pytest.approx(sample.bytes * 8 / sample.seconds)

    def test_a_run_that_was_interrupted_says_so(self, tmp_path: Path) -> None:
        run = records.read(real.written(tmp_path, real.ended("interrupted", "stopped by SIGINT")))
        assert "stopped by SIGINT" in pages.render(run).html


class TestRuns:
    def test_the_same_run_twice_got_no_worse(self, tmp_path: Path) -> None:
        a, b = (real.written(tmp_path, real.night(number), real.boots) for number in (1, 2))
        found = compare.compare(compare.side(a), compare.side(b))
        assert (found.status, found.refused) == (0, [])
        cells = {cell.id for cell in records.read(real.DATA).head.cells if cell.outcome == "measured"}
        assert {row.candidate for row in found.rows} <= cells

    def test_a_path_that_takes_three_times_as_long_got_worse(self, tmp_path: Path) -> None:
        a = real.written(tmp_path, real.night(1), real.boots)
        b = real.written(tmp_path, real.night(2), real.boots, real.times("so-crypt", 3))
        found = compare.compare(compare.side(a), compare.side(b))
        assert found.status == 1

    def test_another_kernel_is_told(self, tmp_path: Path) -> None:
        a, b = (
            real.written(tmp_path, real.night(1)),
            real.written(tmp_path, real.night(2), real.told("sender", kernel="7")),
        )
        found = compare.compare(compare.side(a), compare.side(b))
        assert ["6.12.117-pathproof", "7"] in [[row.a, row.b] for row in found.differences]

    def test_its_nights_are_in_the_history(self, tmp_path: Path) -> None:
        for number in (1, 2, 3):
            real.written(tmp_path, real.night(number))
        nights = dataset.update(tmp_path).nights()
        assert len(nights) == 3
        ratios = {(night.cells.ids[one.candidate], one.metric) for night in nights for one in night.ratios.rows()}
        assert (f"schemes/so-crypt/3des/any/{real.SIZE}", "seconds") in ratios

    def test_a_comparison_on_an_ascii_terminal_has_its_own_status(self, tmp_path: Path) -> None:
        """Status 1 would read as worse."""
        a, b = (real.written(tmp_path, real.night(number), real.boots).name for number in (1, 2))
        command = [sys.executable, "-m", "reports", "compare", a, b, "--results", str(tmp_path)]
        environment = os.environ | {"PYTHONIOENCODING": "ascii"}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        assert b"schemes" in done.stdout
        assert done.stdout.isascii()
