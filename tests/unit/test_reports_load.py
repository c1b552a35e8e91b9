"""Load in reports: curves over connections, latencies at fixed rates, from where on a path overtakes."""

from __future__ import annotations

import html
import math
import random
from dataclasses import replace
from pathlib import Path

import msgspec
import plotly.graph_objects as go
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import record, records
from harness.cli import summary
from harness.samples import Sample
from harness.verdicts import answer
from reports import frame
from reports.drawing import loadfigures, strip
from reports.findings import load, panels
from reports.findings.load import Loaded
from reports.site import pages
from tests.support.record_maker import load_part, make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> record.Run:
    return records.read(make_run(tmp_path_factory.mktemp("load"), suites=[], parts=[load_part()]))


@pytest.fixture(scope="module")
def found(run: record.Run) -> Loaded:
    (only,) = load.loaded(panels.panels(run, frame.cells(run, frame.samples(run))), run)
    return only


def test_a_point_for_each_path_and_number_of_connections(found: Loaded) -> None:
    assert found.panel.groups == ("100 kB × 1 connection", "100 kB × 8 connections", "100 kB × 64 connections")
    labels = [series.label for series in found.panel.series]
    assert labels == ["https", "ktls", "http"]
    for some in found.closed.values():
        assert [point.connections for point in some] == [1, 8, 64]
        for point in some:
            mean, low, high = point.per_second
            assert low < mean < high
            assert point.responses == 6 * 2000, "of all blocks that count"
            assert point.sender_us == pytest.approx(0.9e6 / mean, rel=0.1)
            assert point.generator == pytest.approx(0.4)
    assert {(point.connections, point.rate_share) for some in found.open.values() for point in some} == {
        (64, 0.5), (64, 1.2),
    }  # fmt: skip


def test_percentiles_are_of_all_samples_together_and_missing_where_too_few_were_slower(found: Loaded) -> None:
    point = found.closed[0][0]
    assert point.latencies["p50"] == pytest.approx(900e-6, rel=0.05)
    assert point.latencies["p99"] == pytest.approx(900e-6 * math.exp(0.3 * 2.326), rel=0.1)
    assert point.latencies["p99.9"] is None, "of 12,000 requests only 12 were slower"
    assert (point.longest or 0.0) > (point.latencies["p99"] or math.inf)


def test_it_is_told_from_how_many_connections_on_a_path_overtakes(found: Loaded) -> None:
    (ktls,) = [one for one in found.crossovers if one.label == "ktls"]
    due = next(n / 100 for n in range(100, 6400) if _each("ktls", n / 100) < _each("https", n / 100))
    assert 1 < ktls.early <= ktls.at <= (ktls.late or math.inf) < 64
    assert ktls.at == pytest.approx(due, rel=0.5), "between the numbers that were measured it is read off a line"
    said = load.sentences(found)
    assert any(text.startswith(f"ktls overtakes {found.panel.against} from ") for text in said)
    assert any(text.startswith("http carries more than") and "at every number" in text for text in said)


@pytest.mark.parametrize(
    ("word", "interval", "said"),
    [
        ("cannot_tell", (1.001, 0.95, 1.05), "ktls is not told apart from {} at 64 connections."),
        ("same", (1.001, 0.985, 1.015), "ktls is not told apart from {} at 64 connections."),
        ("same", (1.01, 1.005, 1.015), "ktls is not told apart from {} at 64 connections."),
        ("faster", (1.1, 1.05, 1.15), "ktls carries more than {} at every number of connections."),
    ],
)
def test_no_order_is_told_that_no_interval_supports(
    run: record.Run, word: str, interval: tuple[float, float, float], said: str
) -> None:
    against, told = _told(run, dict.fromkeys((1, 8, 64), (word, *interval)))
    assert told == [said.format(against)]


def test_a_path_that_surely_carries_more_only_at_many_connections_is_not_said_to_do_so_at_few(run: record.Run) -> None:
    unsure, sure = ("cannot_tell", 1.001, 0.95, 1.05), ("faster", 1.2, 1.1, 1.3)
    against, (told,) = _told(run, {1: unsure, 8: unsure, 64: sure})
    assert told.startswith(f"ktls carries more than {against} surely from ")
    against, (told,) = _told(run, {1: ("slower", 0.5, 0.4, 0.6), 8: unsure, 64: unsure})
    assert told == f"ktls is not told apart from {against} at 64 connections."
    against, told_of_none = _told(run, dict.fromkeys((1, 8, 64), ("slower", 0.8, 0.7, 0.9)))
    assert not told_of_none


def _told(run: record.Run, found: dict[int, tuple[str, float, float, float]]) -> tuple[str, list[str]]:
    """What the baseline is called, and what is told of ktls with these words, ratios and intervals, by connections."""
    cells = {cell.id: cell for cell in run.head.cells}
    verdicts = []
    for verdict in run.head.verdicts:
        cell = cells[verdict.candidate]
        if cell.path == "ktls" and verdict.metric == "seconds":
            changes = dict(zip(("verdict", "ratio", "ci_low", "ci_high"), found[cell.connections or 0], strict=True))
            verdicts.append(verdict.model_copy(update=changes))
    changed = replace(run, head=run.head.model_copy(update={"verdicts": verdicts}))
    (only,) = load.loaded(panels.panels(changed, frame.cells(changed, frame.samples(changed))), changed)
    return only.panel.against, load.sentences(only)


def _each(path: str, connections: float) -> float:
    alone, left = {"https": (900.0, 0.5), "ktls": (2600.0, 0.08)}[path]
    return alone * (left + (1 - left) / connections)


numbers = st.lists(st.integers(1, 10_000), min_size=2, max_size=6, unique=True).map(sorted)


@given(numbers, st.data())
def test_a_crossing_lies_where_the_ratio_stays_above_one(some: list[int], data: st.DataObject) -> None:
    ratios = data.draw(st.lists(st.floats(0.2, 5), min_size=len(some), max_size=len(some)))
    at = load.crossing(some, ratios)
    if ratios[-1] <= 1:
        assert at is None
        return
    assert at is not None
    assert some[0] <= at <= some[-1] * 1.000001
    assert all(ratio > 1 for number, ratio in zip(some, ratios, strict=True) if number > at * 1.000001)


def test_a_crossing_is_read_off_a_line_between_logarithms() -> None:
    assert load.crossing([1, 4, 16], [0.5, 0.5, 2.0]) == pytest.approx(8)
    assert load.crossing([1, 4], [1.1, 1.2]) == 1
    assert load.crossing([1, 4, 16], [2.0, 1.0, 2.0]) == pytest.approx(4), "it has to stay above"


def test_figures_are_right_and_say_what_is_missing(found: Loaded) -> None:
    for figure in (loadfigures.capacity(found), loadfigures.latencies(found)):
        assert figure is not None
        for spec in figure.specs.values():
            for trace in spec["data"]:
                go.Figure(data=[{key: value for key, value in trace.items() if key != "meta"}])
            go.Figure(layout=spec["layout"])
        assert all(len(row) == len(figure.columns) for row in figure.rows)
    table = loadfigures.table(found)
    assert len(table.rows) == 3 * 3 + 3 * 2
    assert all(len(row) == len(table.columns) for row in table.rows)
    assert "100 kB × 64 connections at 120 %" in {row[1].text for row in table.rows}


def test_the_page_shows_it_and_its_sentence_names_connections(run: record.Run) -> None:
    text = html.unescape(pages.render(run).html)
    assert "Requests answered each second" in text
    assert "Latency at fixed rates" in text
    assert "In an open loop requests start at a fixed rate" in text
    assert "64 connections" in answer.sentence(run.head)
    found = answer.about(run.head)
    assert found
    rows = strip.question(run.head, found).rows
    assert [row.label for row in rows[:3]] == ["1 connection", "8 connections", "64 connections"]
    assert rows[0].heading == "Time, 100 kB", "short enough for a phone"


def test_a_path_that_could_not_be_measured_is_named(tmp_path: Path) -> None:
    why = {f"load/ktls/aes128gcm/any/100kBx{n}": ("unsupported", "the kernel has no module tls") for n in (1, 8, 64)}
    outcomes: dict[str, tuple[str, str]] = why
    run = records.read(make_run(tmp_path, suites=[], parts=[load_part(rates=())], outcomes=outcomes))
    (only,) = load.loaded(panels.panels(run, frame.cells(run, frame.samples(run))), run)
    figure = loadfigures.capacity(only)
    assert figure is not None
    assert figure.absent[0][1:] == ("unsupported", "the kernel has no module tls")
    assert loadfigures.latencies(only) is None
    assert not [one for one in only.crossovers if one.label == "ktls"]


def test_numbers_of_workers_are_kept_apart(tmp_path: Path) -> None:
    some = records.read(make_run(tmp_path, suites=[], parts=[load_part(workers=(1, 2))]))
    (only,) = load.loaded(panels.panels(some, frame.cells(some, frame.samples(some))), some)
    assert only.panel.groups[3] == "100 kB × 1 connection, 2 workers"
    of_one, of_two = ([p for p in only.closed[0] if p.workers == workers] for workers in (1, 2))
    assert [p.connections for p in of_one] == [p.connections for p in of_two] == [1, 8, 64]
    for one, two in zip(of_one, of_two, strict=True):
        assert two.per_second[0] == pytest.approx(2 * one.per_second[0], rel=0.05)
    figure = loadfigures.capacity(only)
    assert figure is not None
    assert [facet.title for facet in figure.facets] == ["100 kB, 1 worker", "100 kB, 2 workers"]
    latencies = loadfigures.latencies(only)
    assert latencies is not None
    assert len({facet.id for facet in latencies.facets}) == 2
    assert {one.workers for one in only.crossovers if one.label == "ktls"} == {1, 2}
    assert any("with 2 workers" in text for text in load.sentences(only))
    asked = answer.about(some.head)
    assert asked is not None
    assert answer.spots(asked.places) == "1, 8 and 64 connections with 1 and 2 workers"
    assert len(asked.places) == 6
    assert "100 kB × 64 connections, 2 workers" in html.unescape(pages.render(some).html)
    said = [text.strip().partition(":")[0] for text in summary.lines(some.head, some.samples)]
    assert {"ktls, 64 connections, 1 worker", "ktls, 64 connections, 2 workers at 50 %"} <= {*said}


def test_sizes_are_told_apart_in_a_terminal_where_there_are_several(tmp_path: Path) -> None:
    entry, cells, sample = load_part(rates=(), connections=(8,))
    small = [cell.model_copy(update={"id": cell.id.replace("100kB", "10kB"), "size_bytes": 10_000}) for cell in cells]
    some = records.read(make_run(tmp_path, suites=[], parts=[(entry, [*cells, *small], sample)]))
    said = [text.strip().partition(":")[0] for text in summary.lines(some.head, some.samples)]
    assert {"ktls, 100kB, 8 connections", "ktls, 10kB, 8 connections"} <= {*said}


def test_handshakes_are_told_where_there_were_some(tmp_path: Path, run: record.Run, found: Loaded) -> None:
    assert loadfigures.handshakes(found) is None
    some = records.read(make_run(tmp_path, suites=[], parts=[load_part(connection="new", rates=())]))
    (only,) = load.loaded(panels.panels(some, frame.cells(some, frame.samples(some))), some)
    table = loadfigures.handshakes(only)
    assert table is not None
    assert [row[0].text for row in table.rows] == ["https"] * 3 + ["ktls"] * 3, "http has none"
    assert {row[2].text for row in table.rows} == {"x25519, RSA-2048"}
    point = only.closed[0][0]
    assert point.handshakes_per_second == pytest.approx(point.per_second[0], rel=0.05)
    assert point.handshakes == point.latencies
    assert "TLS handshakes" in pages.render(some).html
    assert "TLS handshakes" not in pages.render(run).html


def test_a_latency_that_may_be_the_generators_own_is_not_told_and_the_page_says_why(tmp_path: Path) -> None:
    entry, cells, sample = load_part()

    def late(cell: record.Cell, block: int, rng: random.Random) -> Sample:
        made = sample(cell, block, rng)
        assert made.load is not None
        if cell.rate_share is None or cell.path != "https":
            return made
        return msgspec.structs.replace(made, load=msgspec.structs.replace(made.load, late={"1000": 1970, "1900": 30}))

    some = records.read(make_run(tmp_path, suites=[], parts=[(entry, cells, late)]))
    (only,) = load.loaded(panels.panels(some, frame.cells(some, frame.samples(some))), some)
    point = only.open[0][0]
    assert point.latencies["p50"] is not None, "3 in 100 do not decide it"
    assert point.latencies["p90"] is point.latencies["p99"] is None
    assert point.doubts.keys() == {"p90", "p99"}
    assert not only.open[1][0].doubts
    assert not only.closed[0][0].doubts
    (told,) = [note for note in loadfigures.table(only).notes if "itself may be what was late" in note]
    assert "p90 of https, 100 kB × 64 connections at 50 %: 180 of 12000 requests started over" in told
    assert told in html.unescape(pages.render(some).html).replace("\N{NO-BREAK SPACE}", " ")
    assert any("p90 not told: 180 of 12000" in text for text in summary.lines(some.head, some.samples))
    assert not any("p50 not told" in text for text in summary.lines(some.head, some.samples))


def test_requests_a_second_are_those_that_bytes_make_though_no_answer_ended_in_the_window(tmp_path: Path) -> None:
    entry, cells, sample = load_part()

    def lumps(cell: record.Cell, block: int, rng: random.Random) -> Sample:
        """Half of all windows have every answer of two, the others none."""
        made = sample(cell, block, rng)
        assert made.load is not None
        none: dict[str, object] = {"window_responses": 0, "latency": {}, "longest_seconds": 0.0}
        more = none if block % 2 or cell.path == "http" else {"window_responses": 4000}
        return msgspec.structs.replace(made, load=msgspec.structs.replace(made.load, **more))

    some = records.read(make_run(tmp_path, suites=[], parts=[(entry, cells, lumps)]))
    (only,) = load.loaded(panels.panels(some, frame.cells(some, frame.samples(some))), some)
    by_cell = some.counted()
    for point in only.closed[0]:
        mine = by_cell[f"load/https/aes128gcm/any/100kBx{point.connections}"].values()
        carried = [one.load.window_bytes / one.load.window_seconds for one in mine if one.load]
        assert point.per_second[0] * point.size == pytest.approx(math.exp(sum(map(math.log, carried)) / len(carried)))
    table = loadfigures.table(only)
    (row,) = [row for row in table.rows if row[1].text == "100 kB × 1 connection" and row[0].text == "http"]
    assert float(row[2].raw or 0) > 0
    assert [value.raw for value in row[4:9]] == [None] * 5, "missing, not zero"
    assert "Requests answered each second" in pages.render(some).html
    assert any(text.strip().startswith("http, 1 connection: ") for text in summary.lines(some.head, some.samples))


def test_a_full_generator_is_named_as_what_limits(tmp_path: Path, found: Loaded) -> None:
    entry, cells, sample = load_part(rates=())

    def full(cell: record.Cell, block: int, rng: random.Random) -> Sample:
        made = sample(cell, block, rng)
        assert made.load is not None
        share = 0.99 if cell.path == "http" and cell.connections == 64 else 0.9
        taken = made.load.window_seconds * share
        return msgspec.structs.replace(made, load=msgspec.structs.replace(made.load, generator_cpu_seconds=taken))

    some = records.read(make_run(tmp_path, suites=[], parts=[(entry, cells, full)]))
    (only,) = load.loaded(panels.panels(some, frame.cells(some, frame.samples(some))), some)
    said = "Limited by the generator, which took a whole processor: http, 100 kB × 64 connections."
    assert said in loadfigures.table(only).notes
    assert not any("Limited by the generator" in note for note in loadfigures.table(found).notes)


def test_processors_and_energy_are_told_where_hosts_tell_them(tmp_path: Path, run: record.Run) -> None:
    part = load_part(rates=())
    entry, cells, sample = part
    full = {"processors": {"0": 0.02, "3": 0.97, "1": 0.004}, "softirqs": {"0": 0.01, "3": 0.4, "1": 0.0}}

    def told(cell: record.Cell, block: int, rng: random.Random) -> Sample:
        made = sample(cell, block, rng)
        made.sender = msgspec.structs.replace(made.sender, energy_joules=0.002, **full)
        return made

    some = records.read(make_run(tmp_path, suites=[], parts=[(entry, cells, told)]))
    (only,) = load.loaded(panels.panels(some, frame.cells(some, frame.samples(some))), some)
    point = only.closed[0][0]
    assert point.sender_joules == pytest.approx(20)
    assert point.receiver_joules is None
    table = loadfigures.processors(only)
    assert table is not None
    assert len(table.rows) == 3 * 3, "the receiver told nothing"
    assert [value.text for value in table.rows[0]][2:] == ["sender", "3", "0.994", "3: 97, 0: 2", "0.41", "3: 40, 0: 1"]
    assert "Processors under load" in pages.render(some).html
    assert "Processors under load" not in pages.render(run).html
    exported = frame.samples(some)
    assert exported["sender_joules_per_gb"].to_list()[0] == pytest.approx(20)
    assert exported["receiver_joules_per_gb"].isna().all()
