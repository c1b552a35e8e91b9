"""Small files (Figure 6): percentiles, distributions and totals from batches of requests."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest

from harness import record, records
from reports import frame
from reports.drawing import smallfigures
from reports.findings import panels, small
from reports.findings.small import Requests, Small
from reports.site import pages
from tests.support.pages import page_data
from tests.support.record_maker import make_run, small_parts

KEPT = "small-files-kept/https/aes128gcm/any/15B"


def read(results: Path, **more: Any) -> record.Run:
    """A record of small files alone; ``outcomes`` for make_run, the rest for the suites."""
    outcomes = more.pop("outcomes", None)
    return records.read(
        make_run(results, suites=[], parts=small_parts(**({"requests": 200} | more)), outcomes=outcomes)
    )


def found(run: record.Run) -> list[Small]:
    samples = frame.samples(run)
    return small.small(panels.panels(run, frame.cells(run, samples)), run, samples)


def rows(one: Small) -> dict[tuple[Any, Any], dict[str, Any]]:
    """The table of percentiles by path and connection, as it downloads."""
    table = smallfigures.percentiles(one)
    listed = [dict(zip(table.columns, (value.raw for value in row), strict=True)) for row in table.rows]
    return {(row["Path"], row["Connection"]): row for row in listed}


class TestMerging:
    def test_connections_stand_side_by_side_in_order(self, tmp_path: Path) -> None:
        one = found(read(tmp_path, connections=("kept", "new", "resumed")))
        assert [part.panel.groups for part in one] == [("new connections", "resumed sessions", "one kept connection")]
        assert [s.label for s in one[0].panel.series] == ["http", "https", "ipsec"]
        assert len(one[0].panel.verdicts) == 3 * 2 * 2, "of three suites, two candidates, two metrics"

    @pytest.mark.parametrize("other", [{"tls": "1.2"}, {"instructions": "masked"}, {"cipher": "3des"}])
    def test_what_differs_in_more_stands_alone(self, tmp_path: Path, other: dict[str, Any]) -> None:
        parts = [*small_parts(requests=20), *small_parts(requests=20, name="others", **other)]
        both = found(records.read(make_run(tmp_path, suites=[], parts=parts)))
        assert [len(one.suites) for one in both] == [3, 3]

    def test_the_same_connections_twice_are_called_by_their_suites(self, tmp_path: Path) -> None:
        parts = [*small_parts(requests=20, connections=("new",)), *small_parts(requests=20, name="again")]
        one = found(records.read(make_run(tmp_path, suites=[], parts=parts)))
        assert one[0].panel.groups == (
            "small-files-new", "again-new", "resumed sessions", "one kept connection",
        )  # fmt: skip


class TestPercentiles:
    def test_pooled_requests_of_samples_that_count(self, tmp_path: Path) -> None:
        run = read(tmp_path)
        row = rows(found(run)[0])["https", "one kept connection"]
        pooled = [t for s in run.samples if s.cell == KEPT and not s.warmup for t in s.latencies_us or []]
        assert row["Requests"] == len(pooled) == 6 * 200
        for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)):
            assert row[f"{name} (ms)"] == pytest.approx(float(np.quantile(pooled, share)) / 1e3)
        assert row["max (ms)"] == max(pooled) / 1e3

    def test_the_total_of_a_thousand_is_from_whole_batches(self, tmp_path: Path) -> None:
        run = read(tmp_path)
        row = rows(found(run)[0])["https", "one kept connection"]
        batches = [s.seconds for s in run.samples if s.cell == KEPT and not s.warmup and s.seconds]
        total = float(np.exp(np.mean(np.log(batches)))) * 1000 / 200
        name = "1\N{THIN SPACE}000 transfers (s)"
        assert row[name] == pytest.approx(total)
        assert row["Total low (s)"] < total < row["Total high (s)"]
        assert row["Requests/s"] == pytest.approx(1000 / total)
        busy = [s.sender.cpu_seconds or 0 for s in run.samples if s.cell == KEPT and not s.warmup]
        assert row["Sender CPU (µs/request)"] == pytest.approx(float(np.mean(busy)) / 200 * 1e6)

    def test_too_few_requests_have_no_tail(self) -> None:
        told = Requests(np.arange(1.0, 101.0), 100, (1.0, 1.0, 1.0), 1.0, 1.0)
        assert told.at(0.99) is not None and told.at(1) == 100
        assert told.at(0.999) is None
        assert Requests(np.array([]), 1, (1.0, 1.0, 1.0), 1.0, 1.0).at(0.5) is None

    def test_what_was_not_measured_says_why(self, tmp_path: Path) -> None:
        outcomes = {KEPT: ("unsupported", "no tickets"), "small-files-new/ipsec/aes128gcm/any/15B": ("invalid", "hash")}
        one = found(read(tmp_path, outcomes=outcomes))[0]
        row = rows(one)["https", "one kept connection"]
        assert row["p50 (ms)"] is None and row["Requests"] is None
        made = smallfigures.request(one)
        assert made and ("https, one kept connection", "unsupported", "no tickets") in made.absent
        assert {note["text"] for note in made.spec["layout"]["annotations"]} == {"unsupported", "invalid"}


class TestFigures:
    def test_whiskers_end_at_90_and_99_percent(self, tmp_path: Path) -> None:
        one = found(read(tmp_path))[0]
        made = smallfigures.request(one)
        assert made
        go.Figure(made.spec)
        listed = rows(one)
        thin, thick = made.spec["data"][2:4]
        assert (thin["name"], thick["name"]) == ("https to 99%", "https to 90%")
        for n, group in enumerate(one.panel.groups):
            row = listed["https", group]
            assert thin["y"][n] == pytest.approx(row["p50 (ms)"], rel=1e-4)
            assert thin["y"][n] + thin["error_y"]["array"][n] == pytest.approx(row["p99 (ms)"], rel=1e-3)
            assert thick["y"][n] + thick["error_y"]["array"][n] == pytest.approx(row["p90 (ms)"], rel=1e-3)

    def test_distributions_rise_and_are_light(self, tmp_path: Path) -> None:
        one = found(read(tmp_path, requests=1000))[0]
        made = smallfigures.distribution(one)
        assert made and [facet.title for facet in made.facets] == list(one.panel.groups)
        assert len(small.SHARES) <= 160
        for facet in made.facets:
            go.Figure(facet.spec)
            for trace in facet.spec["data"]:
                assert trace["x"] == sorted(trace["x"]) and trace["y"] == sorted(trace["y"])
                assert (trace["y"][0], trace["y"][-1]) == (0, 100)
                assert len(trace["x"]) == len(trace["y"]) <= len(small.SHARES)
        assert len(made.rows) == len(small.SHARES) and len(made.columns) == 10

    def test_without_single_times_there_is_still_a_total(self, tmp_path: Path) -> None:
        run = read(tmp_path)
        for sample in run.samples:
            sample.latencies_us = None
        one = found(run)[0]
        assert smallfigures.request(one) is None and smallfigures.distribution(one) is None
        row = rows(one)["http", "new connections"]
        assert row["p50 (ms)"] is None and row["Requests/s"] > 0


class TestPage:
    def test_headings_sentences_and_figures(self, tmp_path: Path) -> None:
        text = html.unescape(pages.render(read(tmp_path)).html)
        assert (
            'Small files: the cost of a request · AES-128-GCM · TLS 1.3 <span class="tag emulated">emulated</span></h2>'
            in text
        )
        assert "answers Figure 6 of the paper" in text
        for over in ("over new connections slower", "over connections that resume a session slower",
                     "over one kept connection"):  # fmt: skip
            assert over in text
        names = list(page_data(text)["figures"])
        assert [name.partition("aes128gcm-")[2] for name in names] == [
            "request", "ratio", "distribution-0", "distribution-1", "distribution-2",
        ]  # fmt: skip
