"""Records into frames, sentences, figures, CSV and a site; no browser."""

from __future__ import annotations

import base64
import csv
import html
import io
import itertools
import json
import math
import re
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reports
from harness import record, records
from harness.api.words import Words
from reports import export, facts, frame, words
from reports.__main__ import main
from reports.drawing import figures, forest
from reports.findings import headline, panels
from reports.site import build as site
from reports.site import manifest, packing, pages
from tests.support import record_maker
from tests.support.pages import HOSTILE, edit, page_data, unpacked, verdict
from tests.support.record_maker import MB, make_run, suite

INVALID = "schemes/so-crypt/3des/any/100MB"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    folder.mkdir()
    return folder


class TestFrame:
    def test_goodput_and_cpu_come_from_bytes(self, results: Path) -> None:
        run = records.read(make_run(results))
        samples = frame.samples(run)
        first, row = run.samples[0], samples.iloc[0]
        assert first.bytes and first.seconds and first.sender.cpu_seconds
        assert row["goodput_bits_per_second"] == pytest.approx(first.bytes * 8 / first.seconds)
        assert row["sender_cpu_seconds_per_gb"] == pytest.approx(first.sender.cpu_seconds * 1e9 / first.bytes)
        assert row["path"] == "http" and row["size_bytes"] == MB

    def test_only_valid_samples_of_measured_cells_count(self, results: Path) -> None:
        run = records.read(make_run(results, blocks=4, outcomes={INVALID: ("invalid", "hash differs")}))
        samples = frame.samples(run)
        counted = samples[samples["counted"]]
        assert not counted["warmup"].any()
        assert counted["valid"].all()
        assert INVALID not in set(counted["cell"])
        assert INVALID in set(samples["cell"])
        cells = frame.cells(run, samples).set_index("cell")
        assert cells.loc[INVALID, "samples"] == 0
        assert math.isnan(float(cells["seconds"][INVALID]))
        assert (cells["samples"].drop(INVALID) == 4).all()

    def test_missing_stays_missing(self, results: Path) -> None:
        folder = make_run(results, blocks=1, sizes=[MB])
        lines = (folder / "samples.jsonl").read_text().splitlines()
        bare = {"cell": "large-files/http/none/any/1MB", "block": 9, "index": 0, "warmup": False, "seconds": None}
        lines.append(json.dumps(bare | {"valid": False}))
        (folder / "samples.jsonl").write_text("\n".join(lines) + "\n")
        last = frame.samples(records.read(folder)).iloc[-1]
        for name in ("seconds", "bytes", "goodput_bits_per_second", "sender_cpu_seconds", "latency_p50_us"):
            assert last.isna()[name], name
        assert not last["counted"]

    def test_an_empty_record_has_frames(self, results: Path) -> None:
        run = records.read(make_run(results, suites=[]))
        samples = frame.samples(run)
        assert len(samples) == 0
        assert len(frame.cells(run, samples)) == 0

    @given(
        st.lists(st.tuples(st.floats(1e-3, 1e3), st.integers(0, 4)), min_size=2, max_size=20),
        st.booleans(),
    )
    def test_the_interval_holds_its_mean(self, taken: list[tuple[float, int]], geometric: bool) -> None:
        values, rounds = (np.array(each) for each in zip(*taken, strict=True))
        mean, low, high = frame.interval(values, rounds, geometric)
        assert values.min() * (1 - 1e-9) <= mean <= values.max() * (1 + 1e-9)
        assert math.isnan(low) == math.isnan(high) == (len(set(rounds)) == 2)
        assert not (low > mean * (1 + 1e-9) or mean > high * (1 + 1e-9))

    def test_the_interval_of_a_single_round_is_the_t_interval(self) -> None:
        once = np.zeros(3, dtype=int)
        mean, low, high = frame.interval(np.array([1.0, 2.0, 3.0]), once, geometric=False)
        assert mean == 2
        assert high - mean == pytest.approx(4.3027 / math.sqrt(3), rel=1e-4)
        assert low == 0  # CPU time is never below zero
        assert math.isnan(frame.interval(np.array([1.0]), once[:1], geometric=True)[1])
        assert math.isnan(frame.interval(np.array([]), once[:0], geometric=True)[0])

    @pytest.mark.parametrize("geometric", [False, True])
    def test_the_interval_of_several_rounds_is_made_of_a_number_from_each(self, geometric: bool) -> None:
        """However many samples a boot has, they tell nothing of what another differs by."""
        boots = [[1.0, 1.1, 0.9, 1.0], [2.0], [3.0, 3.0]]
        values = np.array([value for boot in boots for value in boot])
        rounds = np.array([number for number, boot in enumerate(boots) for _ in boot])
        means = [np.exp(np.log(boot).mean()) if geometric else np.mean(boot) for boot in boots]
        found = frame.interval(values, rounds, geometric)
        assert found == pytest.approx(frame.interval(np.array(means), np.zeros(3, dtype=int), geometric))
        assert frame.interval(np.tile(values, 30), np.tile(rounds, 30), geometric) == pytest.approx(found)

    def test_a_cell_of_two_boots_has_a_mean_and_no_interval(self, results: Path) -> None:
        run = records.read(make_run(results, rounds=2))
        row = frame.cells(run, frame.samples(run)).iloc[0]
        assert row["goodput_bits_per_second"] > 0
        assert math.isnan(row["goodput_bits_per_second_low"]) and math.isnan(row["goodput_bits_per_second_high"])


class TestHeadline:
    @pytest.mark.parametrize(
        ("given_", "expected"),
        [
            (
                verdict("faster", 1.242, 1.20, 1.28),
                "Taking the data off user space (so-crypt) made 100 MB 3DES transfers 1.24 times as fast as the "
                "traditional scheme (95 % interval 1.20–1.28, 6 blocks); the paper reports about 27 %, "
                "× 1.27.",
            ),
            (
                verdict("same", 1.004, 0.99, 1.02),
                "Taking the data off user space (so-crypt) made no difference beyond ±3 % to 100 MB 3DES transfers "
                "against the traditional scheme (1.004, 95 % interval 0.99–1.02, 6 blocks); the paper reports about "
                "27 %, × 1.27.",
            ),
            (
                verdict("slower", 0.8, 0.75, 0.85, bottleneck="link"),
                "Taking the data off user space (so-crypt) made 100 MB 3DES transfers slower: 0.80 times as fast as "
                "the traditional scheme (95 % interval 0.75–0.85, 6 blocks), with the link as the bottleneck; the "
                "paper reports about 27 %, × 1.27.",
            ),
            (
                verdict("cannot_tell", 1.05, 0.9, 1.2),
                "This run cannot tell whether taking the data off user space (so-crypt) changes 100 MB 3DES transfers "
                "against the traditional scheme (1.05, 95 % interval 0.90–1.20, 6 blocks; a difference of 4 % would "
                "likely have been found); the paper reports about 27 %, × 1.27.",
            ),
            (
                verdict("cannot_tell", None, None, None, blocks=0),
                "This run cannot tell whether taking the data off user space (so-crypt) changes 100 MB 3DES transfers "
                "against the traditional scheme: no block has a sample of both that counts.",
            ),
        ],
    )
    def test_every_word_has_its_sentence(self, results: Path, given_: record.Verdict, expected: str) -> None:
        run = records.read(make_run(results))
        run.head.verdicts = [given_]
        assert headline.headline(run) == expected

    @pytest.mark.parametrize(
        ("word", "ratio", "low", "high", "expected"),
        [
            ("faster", 1.063, 1.006, 1.123, "needed 5.9 % less CPU per GB (1.06, 95 % interval 1.01–1.12)."),
            ("faster", 17.01, 15.5, 18.7, "needed 94 % less CPU per GB (17, 95 % interval 15.5–18.7)."),
            ("slower", 0.83, 0.75, 0.92, "needed 20 % more CPU per GB (0.83, 95 % interval 0.75–0.92)."),
            ("slower", 0.044, 0.032, 0.06, "needed 22.7 times the CPU per GB (0.044, 95 % interval 0.032–0.06)."),
            ("same", 1.01, 0.99, 1.02, "needed the same CPU per GB within ±3 % (1.01, 95 % interval 0.99–1.02)."),
        ],
    )
    def test_what_it_costs_is_said_too(
        self, results: Path, word: str, ratio: float, low: float, high: float, expected: str
    ) -> None:
        run = records.read(make_run(results))
        cost = verdict(word, ratio, low, high, metric="cpu_seconds_per_gb")
        other = verdict("slower", 0.5, 0.4, 0.6, metric="cpu_seconds_per_gb", candidate="schemes/plain/none/any/100MB")
        run.head.verdicts = [other, verdict("faster", 1.24, 1.20, 1.28), cost]
        assert headline.headline(run).endswith(f"× 1.27. The sender {expected}")

    def test_a_cost_that_cannot_be_told_is_said_to_be_so(self, results: Path) -> None:
        run = records.read(make_run(results))
        cost = verdict("cannot_tell", 1.02, 0.9, 1.2, metric="cpu_seconds_per_gb")
        run.head.verdicts = [verdict("faster", 1.24, 1.20, 1.28), cost]
        said = "Whether the sender needed less CPU per GB cannot be told (1.02, 95 % interval 0.90–1.20)."
        assert headline.headline(run).endswith(said)
        run.head.verdicts[1].ratio = None
        assert headline.headline(run).endswith("× 1.27.")

    def test_the_papers_situation_is_said_with_its_driver(self, results: Path) -> None:
        """The paper's was 3DES by a card; this one is another cipher by another card."""
        run = records.read(make_run(results))
        run.head.verdicts = [verdict("faster", 1.242, 1.20, 1.28)]
        for cell in run.head.cells:
            if cell.suite == "schemes" and cell.cipher == "3des":
                cell.cipher, cell.driver, cell.driver_found = "aes128cbc", "card", "virtio_crypto_aes_cbc"
        titles = [panel.title for panel in panels.panels(run, frame.cells(run, frame.samples(run)))]
        assert "The scheme against the traditional scheme · AES-128-CBC by virtio_crypto_aes_cbc" in titles
        assert headline.headline(run) == (
            "Taking the data off user space (so-crypt) made 100 MB AES-128-CBC transfers by virtio_crypto_aes_cbc 1.24 "
            "times as fast as the traditional scheme (95 % interval 1.20–1.28, 6 blocks); the paper reports about "
            "27 %, × 1.27, for 3DES by a crypto card."
        )

    def test_the_scheme_and_the_largest_file_speak_for_the_run(self, results: Path) -> None:
        main_one = headline.main_verdict(records.read(make_run(results)).head)
        assert main_one and main_one.candidate == INVALID

    def test_what_speaks_for_the_run_leads_the_verdicts(self, results: Path) -> None:
        head = records.read(make_run(results)).head
        ordered = headline.in_order(head)
        assert sorted(map(str, ordered)) == sorted(map(str, head.verdicts))
        figures = {suite.name: suite.figure for suite in head.suites}
        found = [figures[verdict.candidate.split("/")[0]] for verdict in ordered]
        assert [figure for figure, _ in itertools.groupby(found)] == [7, 5]

    def test_suites_that_differ_in_their_mac_alone_are_told_apart(self, results: Path) -> None:
        macs = [suite(name, 5, None, "http") for name in ("one", "two", "aead")]
        macs[0].integrity, macs[1].integrity = "sha1", "sha256"
        parts = [(macs[0], ["http", "ipsec"], "aes128cbc"), (macs[1], ["http", "ipsec"], "aes128cbc")]
        run = records.read(make_run(results, suites=[*parts, (macs[2], ["http", "ipsec"], "aes128gcm")]))
        said = [headline.headline(run), *headline.brief(run.head)]
        for sentence, mac in zip(said, (" with HMAC-SHA1", " with HMAC-SHA256", ""), strict=True):
            assert f" transfers{mac} slower" in sentence
        plain = suite("servers", None, None, "http")
        plain.integrity = "sha1"
        without = records.read(make_run(results, seed=2, suites=[(plain, ["http", "plain"], "none")]))
        assert "MB transfers " in headline.headline(without) and "HMAC" not in headline.headline(without)
        titles = [panel.title for panel in panels.panels(run, frame.cells(run, frame.samples(run)))]
        assert [title.partition(" · ")[2] for title in titles] == [
            "AES-128-CBC · HMAC-SHA1",
            "AES-128-CBC · HMAC-SHA256",
            "AES-128-GCM",
        ]

    def test_a_null_cipher_speaks_for_the_run_last(self, results: Path) -> None:
        null, real = suite("null", 5, None, "http"), suite("real", 5, None, "http")
        parts = [(null, ["http", "ipsec"], "null"), (real, ["http", "ipsec"], "aes128gcm")]
        assert "AES-128-GCM" in headline.headline(records.read(make_run(results, suites=parts)))

    def test_an_interrupted_run_says_so_first(self, results: Path) -> None:
        run = records.read(make_run(results, status="interrupted", reason="Ctrl-C"))
        assert headline.headline(run).startswith("From what was measured before the run was interrupted: taking ")

    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({"status": "failed", "reason": "no route"}, "the run failed before anything could be compared: no route."),
            ({"status": "interrupted"}, "the run was interrupted before anything could be compared."),
            ({"cells": []}, "the run had nothing to measure."),
            ({}, "Nothing could be compared: 39 of 39 cells measured"),
        ],
    )
    def test_without_a_verdict(self, results: Path, changes: dict[str, object], expected: str) -> None:
        folder = make_run(results)
        edit(folder, **({"verdicts": []} | changes))
        assert expected in headline.headline(records.read(folder))

    def test_nothing_measured(self, results: Path) -> None:
        every = [cell.id for cell in records.read(make_run(results)).head.cells]
        folder = make_run(results, seed=2, outcomes=dict.fromkeys(every, ("unsupported", "no module")))
        assert "none of 39 cells could be measured (39 unsupported)" in headline.headline(records.read(folder))


class TestWords:
    @pytest.mark.parametrize(
        ("given_", "expected"),
        [(100 * MB, "100 MB"), (65536, "64 KiB"), (15, "15 B"), (1500, "1.5 kB"), (10**9, "1 GB"), (None, "any size")],
    )
    def test_size(self, given_: int | None, expected: str) -> None:
        assert words.size(given_) == expected

    @pytest.mark.parametrize(
        ("given_", "expected"),
        [
            (1.2345, "1.23"),
            (1.004, "1.004"),
            (0.996, "0.996"),
            (1.0, "1.00"),
            (0.0251, "0.025"),
            (12.34, "12.3"),
            (999.4, "999"),
            (1007.6, "1008"),
            (1.0e20, "1.0e+20"),
            (None, "–"),
        ],
    )
    def test_ratio(self, given_: float | None, expected: str) -> None:
        assert words.ratio(given_) == expected

    @pytest.mark.parametrize(
        ("given_", "expected"),
        [(0.03, "3 %"), (0.0312, "3.1 %"), (2.5, "250 %"), (1.8e19, "over 1000 %"), (None, "–")],
    )
    def test_percent(self, given_: float | None, expected: str) -> None:
        assert words.percent(given_) == expected

    @given(st.floats(-1e300, 1e300) | st.just(math.nan))
    def test_number_is_close(self, value: float) -> None:
        text = words.number(value)
        if not math.isnan(value):
            assert float(text) == pytest.approx(value, rel=2e-3, abs=1e-9)


class TestFigures:
    def test_figures_are_valid_plotly(self, results: Path) -> None:
        run = records.read(make_run(results, outcomes=record_maker.unsupported_https()))
        specs = page_data(pages.render(run).html)["figures"]
        assert len(specs) == 9
        for spec in specs.values():
            go.Figure(spec)  # raises on any property that Plotly does not know

    def test_suites_decide_which_figures_exist(self, results: Path) -> None:
        chosen = [
            (suite("Ünnamed · one", None, None, "http"), ("http", "https"), "aes128cbc"),
            (suite("Ünnamed / one", None, None, "http"), ("http", "https"), "aes128cbc"),
        ]
        run = records.read(make_run(results, suites=chosen))
        found = panels.panels(run, frame.cells(run, frame.samples(run)))
        assert [panel.title for panel in found] == ["Ünnamed · one · AES-128-CBC", "Ünnamed / one · AES-128-CBC"]
        assert len({panel.key for panel in found}) == 2
        assert [s.label for s in found[0].series] == ["http", "https"]
        assert "paper" not in found[0].subtitle

    def test_what_was_not_measured_is_a_word_in_its_place(self, results: Path) -> None:
        run = records.read(make_run(results, outcomes=record_maker.unsupported_https()))
        panel = panels.panels(run, frame.cells(run, frame.samples(run)))[0]
        made = figures.bars(panel, {cell.id: 0 for cell in run.head.cells})
        said = [note for note in made.spec["layout"]["annotations"] if note["name"] == "missing"]
        assert [note["text"] for note in said] == ["unsupported"] * 3
        assert made.absent == [("https, 1 MB, 10 MB, 100 MB", "unsupported", record_maker.NO_GNUTLS)]
        ratio = forest.forest(panel)
        assert ratio and sum(note["text"] == "unsupported" for note in ratio.spec["layout"]["annotations"]) == 3

    def test_the_papers_two_lines(self, results: Path) -> None:
        run = records.read(make_run(results))
        five, seven, _ = panels.panels(run, frame.cells(run, frame.samples(run)))
        for panel, expected in ((five, []), (seven, [1.27, 1.37])):
            made = forest.forest(panel)
            assert made and [s["x0"] for s in made.spec["layout"]["shapes"] if s["name"] == "paper"] == expected

    def test_several_drivers_are_several_series(self, results: Path) -> None:
        folder = make_run(results, sizes=[MB])
        head = json.loads((folder / "run.json").read_text())
        twin = head["cells"][1] | {"id": "large-files/https/3des/card/1", "driver": "card"}
        edit(folder, cells=[*head["cells"], twin])
        run = records.read(folder)
        panel = panels.panels(run, frame.cells(run, frame.samples(run)))[0]
        assert [s.label for s in panel.series] == ["http", "https · any", "ipsec", "https · card"]

    def test_every_axis_has_a_unit(self, results: Path) -> None:
        specs = page_data(pages.render(records.read(make_run(results))).html)["figures"]
        for spec in specs.values():
            titles = [a["title"]["text"] for a in spec["layout"].values() if isinstance(a, dict) and "title" in a]
            assert titles
            assert all("(" in title or title.startswith("File size") for title in titles)


class TestPage:
    def test_the_same_record_gives_the_same_bytes(self, results: Path) -> None:
        run = records.read(make_run(results))
        assert pages.render(run).html == pages.render(run).html

    def test_counts_warmup_and_unmeasured_are_told(self, results: Path) -> None:
        outcomes = record_maker.unsupported_https() | {INVALID: ("invalid", "payload differs")}
        text = pages.render(records.read(make_run(results, outcomes=outcomes))).html
        assert "Not measured, and why" in text
        assert html.escape(record_maker.NO_GNUTLS, quote=True).replace("&#x27;", "&#39;") in text
        assert "payload differs" in text
        assert "1 cell is invalid" in text
        assert "emulated" in text

    def test_on_what_machines_is_told(self, results: Path) -> None:
        machine = {"processor": "<b>Fast</b>", "processors": 8, "kernel": "6.1.0", "os": "Debian 12"}
        run = records.read(make_run(results, machine=machine))
        run.head.hosts = {"sender": {"kernel": "6.12.1"}, "receiver": {"kernel": "6.12.1"}}
        told = [
            "Sender and receiver, each: kernel 6.12.1.",
            "Both emulated on: 8 × <b>Fast</b>, kernel 6.1.0, Debian 12.",
        ]
        assert facts.machines(run.head) == told
        text = pages.render(run).html
        assert all(html.escape(sentence) in text for sentence in told)
        run.head.hosts["receiver"] = {"processor": "Slow"}
        run.head.testbed.machine = {}
        assert facts.machines(run.head) == ["Sender: kernel 6.12.1.", "Receiver: ? × Slow."]
        run.head.hosts = {}
        assert facts.machines(run.head) == []

    def test_hostile_strings_are_text(self, results: Path) -> None:
        chosen = [(suite(HOSTILE, 7, None, "afalg-copy"), ("afalg-copy", "so-crypt", HOSTILE), HOSTILE)]
        chosen[0][0].steps = {"read": HOSTILE}
        bad = {f"{HOSTILE}/{HOSTILE}/{HOSTILE}/any/1MB": ("failed", HOSTILE * 200)}
        said = Words(label=HOSTILE, subject=HOSTILE, short=HOSTILE, baseline=HOSTILE)
        folder = make_run(
            results, suites=chosen, sizes=[MB], outcomes=bad, profile="p", reason=HOSTILE, status="failed",
            prices={"read_byte_ns": 1.0}, paths={"so-crypt": said, "afalg-copy": said},
            extra_facts={HOSTILE: {HOSTILE: [HOSTILE]}}, notes=[HOSTILE], run_id="hostile",
        )  # fmt: skip
        text = pages.render(records.read(folder)).html
        assert "<script>alert" not in text
        assert "<img" not in text
        assert len(re.findall(r"<script\b", text)) == 6
        data = page_data(text)
        dumped = json.dumps(data, ensure_ascii=False).replace('\\"', '"')
        assert HOSTILE in dumped.replace("\\u001b", "\x1b")
        for spec in data["figures"].values():
            assert "<img" not in json.dumps(spec)

    @given(st.text())
    def test_what_is_packed_is_safe_and_true(self, text: str) -> None:
        made = packing.packed({"x": text})
        assert unpacked(made) == {"x": text}
        assert re.fullmatch(r"[A-Za-z0-9+/=]+", made)

    @given(st.lists(st.none() | st.text() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats()))
    def test_a_packed_field_shows_what_the_page_would(self, row: list[object]) -> None:
        (made,) = packing.table(["x"], [row])["rows"]
        for value, field in zip(row, made, strict=True):
            shown = field[1] if isinstance(field, list) else field
            if value is None:
                assert field is None
            elif isinstance(value, int | float) and not isinstance(value, bool):
                assert shown == words.number(value)
            else:
                assert shown == str(value)

    @given(st.text())
    def test_figure_text_has_no_tags(self, text: str) -> None:
        made = figures.text(text)
        assert "<" not in made and ">" not in made and "%{" not in made
        assert html.unescape(made) == html.unescape(html.escape(text))

    def test_ten_thousand_samples_stay_light(self, results: Path) -> None:
        folder = make_run(results, blocks=42, per_block=6)
        run = records.read(folder)
        assert len(run.samples) > 10_000
        assert len(pages.render(run).html.encode()) < 400_000

    def test_samples_of_unknown_cells_are_shown_but_do_not_count(self, results: Path) -> None:
        folder = make_run(results, blocks=2)
        edit(folder, cells=[], verdicts=[], status="interrupted")
        made = pages.render(records.read(folder))
        assert "the run ended before the cell was closed" in made.html
        assert not made.files["samples.csv"]["counted"].any()


def column_of(column: Any, length: int) -> list[Any]:
    """A packed column as the page's script reads it."""
    if not isinstance(column, str):
        return list(column) if isinstance(column, list) else [column.get(n) for n in range(length)]
    data, width = base64.b64decode(column[2:]), int(column[1])
    parts = [data[n : n + width] for n in range(0, len(data), width)]
    if column[0] == "i":
        return [int.from_bytes(part, "little") for part in parts]
    return [struct.unpack("<f", b"\0" + part)[0] for part in parts]


class TestPacking:
    @given(st.lists(st.integers(0, 70_000)))
    def test_whole_numbers_come_back(self, values: list[int]) -> None:
        assert column_of(packing.whole(values), len(values)) == values

    @given(st.lists(st.none() | st.floats(1e-9, 1e12)))
    def test_floats_come_back_to_four_digits(self, values: list[float | None]) -> None:
        given_ = [math.nan if value is None else value for value in values]
        found = column_of(packing.floats(given_), len(values))
        for value, other in zip(values, found, strict=True):
            if value is None:
                assert other is None or math.isnan(other)
            else:
                assert other == pytest.approx(value, rel=6e-5)

    def test_bytes_are_told_where_they_are_not_the_usual(self, results: Path) -> None:
        run = records.read(make_run(results, blocks=3, sizes=[MB]))
        run.samples[5].bytes = 12
        run.samples[6].bytes = None
        samples = frame.samples(run)
        packed = packing.sample_columns(samples, [cell.id for cell in run.head.cells])
        assert packed["bytes"] == {5: 12, 6: None}
        assert set(packed["sizes"].values()) == {MB}
        assert column_of(packed["cell"], len(samples)) == [packed["cells"].index(name) for name in samples["cell"]]


class TestFacts:
    def test_sides_and_differences(self) -> None:
        left = {"host": "a", "cpu": {"model": "x", "flags": ["b", "c"]}, "n": 1}
        right = {"host": "b", "cpu": {"model": "x"}, "crypto": [{"driver": "d", "priority": 3}]}
        rows = facts.side_by_side(left, right)
        assert list(rows) == ["", "cpu", "crypto"]
        assert rows[""][0] == facts.Row("host", ("a", "b"), True)
        assert facts.Row("model", ("x", "x"), False) in rows["cpu"]
        assert facts.Row("flags", ("b, c", facts.ABSENT), True) in rows["cpu"]
        assert rows["crypto"] == [facts.Row("d", (facts.ABSENT, "priority 3"), True)]

    values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=4),
        lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=4), v, max_size=3),
        max_leaves=8,
    )

    @given(*[st.dictionaries(st.text(max_size=4), values, max_size=3)] * 2)
    def test_any_shape_has_rows(self, left: dict[str, object], right: dict[str, object]) -> None:
        rows = facts.side_by_side(left, right)
        assert bool(rows) == bool(left or right)
        assert not any(row.differs for some in facts.side_by_side(left, left).values() for row in some)


class TestExport:
    def test_csv_keeps_every_digit(self, results: Path) -> None:
        run = records.read(make_run(results, blocks=2))
        rows = list(csv.DictReader(io.StringIO(export.to_csv(frame.samples(run)))))
        assert len(rows) == len(run.samples)
        for row, sample in zip(rows, run.samples, strict=True):
            assert float(row["seconds"]) == sample.seconds
            assert row["warmup"] == str(sample.warmup)
        assert rows[0]["handshake_seconds"] == ""

    def test_no_field_is_a_formula(self) -> None:
        import pandas as pd

        text = export.to_csv(pd.DataFrame({"reason": ["=1+1", 'a"b,c\nd', None], "n": [-1.5, 2, 3]}))
        assert list(csv.reader(io.StringIO(text))) == [
            ["reason", "n"], ["'=1+1", "-1.5"], ['a"b,c\nd', "2.0"], ["", "3.0"],
        ]  # fmt: skip


class TestSite:
    def test_pages_index_and_files(self, results: Path) -> None:
        names = [make_run(results, seed=n, kind=kind).name for n, kind in ((1, "uml"), (2, "hosts"))]
        index = reports.build_site(results)
        assert index == results / "site" / "index.html"
        text = index.read_text()
        assert text.index(names[1]) < text.index(names[0]), "newest first"
        for name in names:
            assert {p.name for p in (results / "site" / name).iterdir()} == {"index.html", "samples.csv", "cells.csv"}
        assert (results / "site" / "assets" / "plotly.min.js").stat().st_size > 10**6

    def test_only_what_changed_is_rebuilt(self, results: Path) -> None:
        first, second = (make_run(results, seed=n) for n in (1, 2))
        reports.build_site(results)
        page, other = (results / "site" / folder.name / "index.html" for folder in (first, second))
        page.write_text("old")
        other.write_text("old")
        edit(second, notes=["changed"])
        reports.build_site(results)
        assert page.read_text() == "old"
        assert "changed" in other.read_text()

    @pytest.mark.parametrize("damage", ['{"schema": 2}', "not JSON", "", '{"schema": 1, "cells": NaN}'])
    def test_a_damaged_record_is_a_row(self, results: Path, damage: str) -> None:
        good, bad = make_run(results, seed=1), make_run(results, seed=2)
        reports.build_site(results)
        (bad / "run.json").write_text(damage)
        text = reports.build_site(results).read_text()
        assert "damaged" in text and "Cannot be read" in text and good.name in text
        assert not (results / "site" / bad.name).exists()

    def test_a_cut_last_line_is_told(self, results: Path) -> None:
        folder = make_run(results)
        with (folder / "samples.jsonl").open("a") as file:
            file.write('{"cell": "large-fi')
        reports.build_site(results)
        assert "cut off in the middle" in (results / "site" / folder.name / "index.html").read_text()

    def test_the_evidence_of_a_claim_is_set_smaller_and_is_text(self) -> None:
        said = pages.claim("It (so-crypt) <b>won</b> (1.05, 95 % interval 1.02–1.08, 9 blocks), a bit")
        assert re.sub(r"[\u00a0\u2060]", " ", said).startswith(
            "It (so-crypt) &lt;b&gt;won&lt;/b&gt; <small>(1.05, 95 % inter"
        )
        assert said.endswith("blocks)</small>, a bit")

    def test_measured_cells_without_samples_are_told(self, results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """On the long page, and on the short one that is made from the history later."""
        folder = make_run(results)
        (folder / "samples.jsonl").write_bytes(b"")
        page = results / "site" / folder.name / "index.html"
        reports.build_site(results)
        assert "have no sample on disk, so that nobody can check them" in page.read_text()
        shutil.rmtree(results / "site")
        make_run(results, seed=2)
        monkeypatch.setattr(site, "LONG_BYTES", 0)
        reports.build_site(results)
        assert "short page" in page.read_text()
        assert "have no sample on disk, so that nobody can check them" in page.read_text()

    def test_a_removed_run_disappears(self, results: Path) -> None:
        folder = make_run(results)
        reports.build_site(results)
        shutil.rmtree(folder)
        assert "No run has been recorded" in reports.build_site(results).read_text()
        assert not (results / "site" / folder.name).exists()

    def test_a_strange_manifest_is_built_over(self, results: Path) -> None:
        folder = make_run(results)
        reports.build_site(results)
        for strange in ("[]", "{", '{"../../x": {"key": "", "row": {}}}', f'{{"{folder.name}": 3}}'):
            (results / "site" / manifest.FILE).write_text(strange)
            assert folder.name in reports.build_site(results).read_text()

    def test_progress_is_told(self, results: Path) -> None:
        make_run(results)
        told: list[float | None] = []
        reports.build_site(results, lambda _what, done: told.append(done))
        assert told[0] == 0.0 and told[-1] == 1.0 and sorted(told, key=lambda one: one or 0.0) == told


class TestCommand:
    def test_prints_the_page(self, results: Path, capsys: pytest.CaptureFixture[str]) -> None:
        folder = make_run(results)
        assert main(["--results", str(results)]) == 0
        assert main(["--results", str(results), folder.name]) == 0
        assert capsys.readouterr().out.split() == [
            str(results / "site" / "index.html"),
            str(results / "site" / folder.name / "index.html"),
        ]

    def test_errors_are_one_line(self, results: Path, capsys: pytest.CaptureFixture[str]) -> None:
        folder = make_run(results)
        (folder / "run.json").write_text("{}")
        for arguments in ([folder.name], ["nothing"], ["latest"], ["--results", str(results / "none")]):
            assert main(["--results", str(results), *arguments]) == 1
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 4
        assert all(line.startswith("reports: ") for line in lines)

    def test_an_unwritable_folder(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "site").write_text("in the way")
        assert main(["--results", str(tmp_path)]) == 1
        assert "cannot write the reports" in capsys.readouterr().err
