"""Kernel cryptography (Figure 4): from records to lines, tables, sentences and charts."""

from __future__ import annotations

import html
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest

from harness import record, records
from harness.cli import summary
from harness.samples import Sample
from harness.verdicts.linefit import Estimate
from reports import frame
from reports.drawing import kernel_crypto_figures, kernel_crypto_tables
from reports.drawing.tables import Table
from reports.findings import headline, kernel_crypto
from reports.findings.kernel_crypto import KernelCrypto
from reports.site import pages
from tests.support import real, record_maker
from tests.support.pages import HOSTILE, page_data
from tests.support.record_maker import kernel_crypto_part, make_run, suite


def read(results: Path, **more: Any) -> record.Run:
    """A record of kernel cryptography alone."""
    return records.read(make_run(results, suites=[], parts=[kernel_crypto_part(**more)]))


def crypto(run: record.Run) -> list[KernelCrypto]:
    samples = frame.samples(run)
    return kernel_crypto.of_run(run.head, samples, frame.cells(run, samples))


def rows(table: Table) -> list[dict[str, Any]]:
    """A table's rows by heading, as they download."""
    return [dict(zip(table.columns, (value.raw for value in row), strict=True)) for row in table.rows]


class TestCurves:
    def test_costs_are_those_that_the_record_was_made_with(self, tmp_path: Path) -> None:
        found = crypto(read(tmp_path))[0]
        for curve in found.curves:
            if curve.enciphers:
                call, byte = record_maker.KERNEL_CRYPTO_COSTS[curve.cipher, curve.driver]
                assert curve.model
                assert curve.model.call_seconds.mean == pytest.approx(call, rel=0.1)
                assert curve.model.byte_seconds.mean * 1e9 == pytest.approx(byte, rel=0.1)
                assert curve.model.blocks == 6 and curve.model.sizes == 8

    def test_a_line_is_of_one_boot(self) -> None:
        """The suite's first size is warmed up in every round: its blocks have other numbers than the second's."""
        run = records.read(real.DATA)
        (curve,) = (c for c in crypto(run)[0].curves if (c.cipher, c.path) == ("null", "raw-encrypt"))
        boots = {sample.seconds: sample.round for part in run.counted().values() for sample in part.values()}
        assert curve.blocks.keys() == curve.lines.keys() == {(5, 0), (5, 1), (6, 0)}
        for (boot, _), times in curve.blocks.items():
            assert times.keys() == {64, 8192}
            assert {boots[seconds] for seconds in times.values()} == {boot}
        (told,) = (line for line in summary.lines(run.head, run.samples) if line.startswith("  null raw-encrypt by "))
        assert curve.model and f"{curve.model.call_seconds.mean * 1e6:.1f} µs a call" in told

    def test_the_papers_two_points(self) -> None:
        line = kernel_crypto.paper_line()
        assert line.call_seconds * 1e6 == pytest.approx(6.7, abs=0.05)
        assert line.byte_seconds * 1e9 == pytest.approx(12.5, abs=0.05)

    def test_depth_and_uncounted_samples_are_no_part_of_the_line(self, tmp_path: Path) -> None:
        bad = "kernel-crypto/raw-encrypt/aes128cbc/any/16384B"
        run = records.read(
            make_run(
                tmp_path,
                suites=[],
                parts=[kernel_crypto_part()],
                outcomes={bad: ("invalid", "not the driver asked for")},
            )
        )
        found = crypto(run)[0]
        curve = next(c for c in found.curves if (c.cipher, c.path, c.driver) == ("aes128cbc", "raw-encrypt", "any"))
        assert 16384 not in curve.blocks[0, 0] and len(curve.blocks) == 6, "the seventh is the warm-up"
        assert [point.depth for point in curve.points if point.buffer == 65536] == [1, 4, 16]
        assert [point.buffer for point in curve.single].count(65536) == 1
        assert found.unmeasured() == [("AES-128-CBC, raw-encrypt, any: 16 KiB", "invalid", "not the driver asked for")]

    def test_suites_of_one_kind_stand_together_and_no_others(self, tmp_path: Path) -> None:
        parts = [
            kernel_crypto_part("a", ("null",)),
            kernel_crypto_part("b", ("aes128cbc",)),
            kernel_crypto_part("c", ("aes128cbc",)),
            kernel_crypto_part("d", ("3des",), instructions="masked"),
        ]
        found = crypto(records.read(make_run(tmp_path, suites=[], parts=parts)))
        assert [[entry.name for entry in one.suites] for one in found] == [["a", "b"], ["c"], ["d"]]
        assert found[0].ciphers == ["null", "aes128cbc"]

    def test_an_old_record_is_told_by_its_figure(self, tmp_path: Path) -> None:
        assert crypto(read(tmp_path, question=None))

    def test_pairs_are_of_one_operation_and_of_different_drivers(self, tmp_path: Path) -> None:
        run = read(tmp_path, ciphers=("aes128cbc",))
        for cell in run.head.cells:
            if cell.driver == "virtio_crypto_aes_cbc":
                cell.driver_found = "aes128cbc-generic"
        found = [(one.path, other.path) for one, other in kernel_crypto.pairs(crypto(run)[0])]
        assert found == [("raw-encrypt", "openssl-speed"), ("openssl-speed", "raw-encrypt")], "the same driver twice"

    def test_no_driver_is_the_cheaper_than_itself(self, tmp_path: Path) -> None:
        """Two names that bind one card: their lines differ by noise alone, and may cross."""
        run = read(tmp_path, ciphers=("aes128cbc",))
        assert "is the cheaper from" in kernel_crypto.sentences(crypto(run))[0]
        for cell in run.head.cells:
            if "openssl" not in cell.path:
                cell.driver_found = "virtio_crypto_aes_cbc"
        assert "is the cheaper" not in kernel_crypto.sentences(crypto(run))[0]

    def test_lines_that_do_not_cross_in_every_block_give_no_order(self, tmp_path: Path) -> None:
        run = read(tmp_path, ciphers=("aes128cbc",))
        for sample in run.samples:
            if sample.block == 1 and "/any/" in sample.cell and sample.seconds:
                sample.seconds *= 0.001
        assert "is the cheaper" not in kernel_crypto.sentences(crypto(run))[0]


BOTH = ("devcrypto", "raw")


class TestInterfaces:
    def test_each_is_a_curve_of_its_own(self, tmp_path: Path) -> None:
        found = crypto(read(tmp_path, ciphers=("null", "3des"), interfaces=BOTH))[0]
        assert found.interfaces == ["/dev/crypto", "AF_ALG"]
        assert {curve.name for curve in found.curves} == {
            *("any, /dev/crypto", "any, AF_ALG", "OpenSSL, user space"),
        }
        assert found.null and found.null.interface == "/dev/crypto", "the paper's own"
        assert len(set(found.series().values())) == 3, "each has its colour"

    def test_a_record_that_knew_one_is_af_alg_s_and_needs_no_further_word(self, tmp_path: Path) -> None:
        run = read(tmp_path, ciphers=("3des",))
        found = crypto(run)[0]
        assert found.interfaces == ["AF_ALG"] and kernel_crypto.meters(found) == []
        assert {curve.name for curve in found.curves} == {"any", "OpenSSL, user space"}
        told = frame.cells(run, frame.samples(run))
        assert set(told[told["path"] == "raw-encrypt"]["interface"]) == {"AF_ALG"}
        assert told[told["path"] == "openssl-speed"]["interface"].isna().all()

    def test_what_one_adds_to_a_request_is_told_with_its_interval(self, tmp_path: Path) -> None:
        found = crypto(read(tmp_path, ciphers=("null", "3des"), interfaces=BOTH))[0]
        mine = kernel_crypto.meters(found)
        assert {(one.first.interface, one.second.interface) for one in mine} == {("/dev/crypto", "AF_ALG")}
        assert {(one.first.cipher, one.first.operation) for one in mine} == {
            (cipher, operation) for cipher in ("null", "3des") for operation in ("encrypt", "decrypt")
        }
        for one in mine:
            more = one.beside.call_seconds
            assert more.mean == pytest.approx(record_maker.DEVCRYPTO_SAVES, rel=0.3)
            assert more.low and more.high and more.low < more.mean < more.high
            assert one.beside.byte_ratio and one.beside.byte_ratio.mean == pytest.approx(1, abs=0.08)
        table = next(t for t in kernel_crypto_tables.tables(found) if t.id == "raw1-interfaces")
        row = rows(table)[0]
        assert (row["Interface"], row["Other interface"]) == ("AF_ALG", "/dev/crypto")
        assert row["More a call low"] < row["More a call (µs)"] < row["More a call high"]
        assert kernel_crypto.adds(mine).startswith("A request by AF_ALG costs ")

    def test_they_agree_about_a_byte_only_where_the_interval_says_so(self, tmp_path: Path) -> None:
        run = read(tmp_path, ciphers=("3des",), interfaces=BOTH)
        for sample in run.samples:
            if "/raw-" in sample.cell and sample.seconds and sample.bytes:
                sample.seconds += 8e-9 * sample.bytes
        (one, _) = kernel_crypto.meters(crypto(run)[0])
        assert (
            one.agree is False and one.beside.byte_ratio and one.beside.byte_ratio.mean == pytest.approx(1.2, abs=0.1)
        )
        assert "they differ with 3DES" in kernel_crypto.adds([one])
        few = replace(one, beside=replace(one.beside, byte_ratio=Estimate(1.0, None, None)))
        assert few.agree is None and "not known well enough with 3DES" in kernel_crypto.adds([few])
        near = replace(one, beside=replace(one.beside, byte_ratio=Estimate(1.0, 0.97, 1.03)))
        assert near.agree is True and "they agree with 3DES" in kernel_crypto.adds([near])

    def test_drivers_are_compared_within_an_interface(self, tmp_path: Path) -> None:
        found = crypto(read(tmp_path, ciphers=("aes128cbc",), interfaces=BOTH))[0]
        assert {(one.interface, other.interface) for one, other in kernel_crypto.pairs(found)} == {
            *(("/dev/crypto", "/dev/crypto"), ("AF_ALG", "AF_ALG")),
            *(("/dev/crypto", None), (None, "/dev/crypto")),
        }

    def test_the_page_shows_both(self, tmp_path: Path) -> None:
        text = html.unescape(pages.render(read(tmp_path, ciphers=("null", "3des"), interfaces=BOTH)).html)
        assert "What an interface adds to a request" in text
        assert "The kernel is asked by /dev/crypto (the paper's own) and by AF_ALG." in text
        assert "A request by AF_ALG costs" in text


class TestTables:
    def test_costs_with_the_paper_beside_the_null_cipher(self, tmp_path: Path) -> None:
        costs = kernel_crypto_tables.tables(crypto(read(tmp_path))[0])[0]
        listed = rows(costs)
        paper = next(n for n, row in enumerate(listed) if row["Driver"] == "paper 2005")
        assert [listed[n]["Cipher"] for n in (paper - 1, paper, paper + 1)] == ["null", "null", "des"]
        assert [costs.rows[paper][n].text for n in (2, 3, 4)] == ["6.7", "12.5", "639"]
        one = next(r for r in listed if (r["Cipher"], r["Driver"], r["Operation"]) == ("3des", "any", "encrypt"))
        assert one["Per byte low"] < one["Per byte (ns)"] < one["Per byte high"]
        assert one["Large buffers (Mbit/s)"] == pytest.approx(8e3 / one["Per byte (ns)"])
        assert one["Driver found"] == "3des-generic"

    def test_where_the_card_overtakes(self, tmp_path: Path) -> None:
        crossings = rows(kernel_crypto_tables.tables(crypto(read(tmp_path, ciphers=("aes128cbc",)))[0])[1])
        card = next(row for row in crossings if row["Against"] == "virtio_crypto_aes_cbc")
        true = 150e-6 / 6.4e-9  # from the costs that the record was made with
        assert card["Same cost at (B)"] == pytest.approx(true, rel=0.1)
        assert card["Low (B)"] < card["Same cost at (B)"] < card["High (B)"]
        assert (card["Cheaper below"], card["Cheaper above"]) == ("any", "virtio_crypto_aes_cbc")
        assert card["Measured"] == "16 KiB to 64 KiB"
        library = next(row for row in crossings if "OpenSSL, user space" in (row["Driver"], row["Against"]))
        assert library["Same cost at (B)"] is None and library["Cheaper above"] == "OpenSSL, user space"

    def test_a_line_that_does_not_describe_its_driver_is_marked(self, tmp_path: Path) -> None:
        run = read(tmp_path, ciphers=("null", "3des"))
        for sample in run.samples:
            if "/raw-encrypt/3des/" in sample.cell and sample.seconds and sample.bytes:
                sample.seconds = 4e-7 * math.sqrt(sample.bytes)
        found = crypto(run)
        row = next(
            r for r in kernel_crypto_tables.tables(found[0])[0].rows if r[0].raw == "3des" and r[0].small == "encrypt"
        )
        assert row[5].text.startswith("⚠") and row[5].small == "the line does not describe it"
        assert isinstance(row[5].raw, float) and row[5].raw > 0.2
        assert "no line describes it" in kernel_crypto.sentences(found)[1]

    def test_two_sizes_leave_nothing_to_check(self, tmp_path: Path) -> None:
        costs = kernel_crypto_tables.tables(crypto(read(tmp_path, buffers=(16, 8192), ciphers=("3des",)))[0])[0]
        assert [row[5].small for row in costs.rows[:2]] == ["two sizes: any line fits"] * 2

    def test_one_size_has_no_costs(self, tmp_path: Path) -> None:
        found = crypto(read(tmp_path, buffers=(8192,), ciphers=("3des",)))[0]
        assert kernel_crypto_tables.tables(found) == []
        assert [figure.id for figure in kernel_crypto_figures.figures(found)] == ["raw1-throughput", "raw1-operations"]


class TestFigures:
    def test_a_chart_for_each_cipher_in_plotlys_own_terms(self, tmp_path: Path) -> None:
        made = kernel_crypto_figures.figures(crypto(read(tmp_path))[0])
        assert [figure.id for figure in made] == ["raw1-throughput", "raw1-operations", "raw1-depth"]
        titles = [facet.title for facet in made[0].facets]
        assert titles == ["Null cipher", "DES", "3DES", "AES-128-CBC", "AES-128-GCM"]
        assert [facet.title for facet in made[2].facets] == ["AES-128-CBC, 64 KiB"]
        axes = set()
        for figure in made:
            for facet in figure.facets:
                go.Figure(facet.spec)  # raises on any property that Plotly does not know
                layout = facet.spec["layout"]
                axes.add((figure.id, json.dumps([layout["xaxis"], layout["yaxis"]])))
                assert "(" in layout["yaxis"]["title"]["text"]
        assert len(axes) == 3, "the charts of a figure share their axes"

    def test_lines_tell_operations_apart_and_toggle_with_the_legend(self, tmp_path: Path) -> None:
        made = kernel_crypto_figures.figures(crypto(read(tmp_path))[0])[0]
        aes = {trace["name"]: trace for trace in made.facets[3].spec["data"]}
        assert {name: trace["line"]["dash"] for name, trace in aes.items()} == {
            "null cipher": "solid",
            "any, encrypt": "solid",
            "any, decrypt": "dash",
            "OpenSSL, user space, encrypt": "dot",
            "virtio_crypto_aes_cbc, encrypt": "solid",
            "virtio_crypto_aes_cbc, decrypt": "dash",
        }
        known = {str(number) for _, number, _ in made.legend}
        for facet in made.facets:
            for trace in facet.spec["data"]:
                assert set(trace["legendgroup"].split()) <= known
        assert aes["any, encrypt"]["legendgroup"].split()[0] == aes["any, decrypt"]["legendgroup"].split()[0]

    def test_throughput_and_operations_are_the_same_measurements(self, tmp_path: Path) -> None:
        throughput, operations, _ = kernel_crypto_figures.figures(crypto(read(tmp_path))[0])
        for one, other in zip(throughput.facets, operations.facets, strict=True):
            for a, b in zip(one.spec["data"], other.spec["data"], strict=True):
                assert a["name"] == b["name"] and a["x"] == b["x"]
                scaled = [value * 1e6 / 8 / size for value, size in zip(a["y"], a["x"], strict=True)]
                assert b["y"] == pytest.approx(scaled, rel=1e-4)
        assert operations.data_of == throughput.id
        values = {row[4]: row[7] for row in throughput.rows if row[:2] == ["3DES", "any"] and row[3] == "encrypt"}
        drawn = next(t for t in throughput.facets[2].spec["data"] if t["name"] == "any, encrypt")
        assert list(values) == drawn["x"] and list(values.values()) == pytest.approx(drawn["y"], rel=1e-4)

    def test_the_papers_points_are_in_the_null_ciphers_chart_alone(self, tmp_path: Path) -> None:
        made = kernel_crypto_figures.figures(crypto(read(tmp_path))[0])[0]
        places = [n for n, facet in enumerate(made.facets) for t in facet.spec["data"] if t["name"] == "paper 2005"]
        assert places == [0]
        paper = made.facets[0].spec["data"][-1]
        assert dict(zip(paper["x"], paper["y"], strict=True)) == {1024: 420, 8192: 600}


class TestPage:
    def test_a_run_without_verdicts_has_a_headline(self, tmp_path: Path) -> None:
        run = read(tmp_path)
        made = pages.render(run)
        text = html.unescape(made.html)
        assert "<h1>Emulated: Enciphering with a null cipher in the kernel costs 1" in text
        assert "(the paper's OpenBSD: 6.7\N{NO-BREAK SPACE}µs and 12.5\N{NO-BREAK SPACE}ns)." in text
        assert "virtio_crypto_aes_cbc is the cheaper from 2" in text
        assert made.row["headline"].startswith("Emulated: Enciphering with a null cipher")
        assert set(page_data(made.html)["figures"]) >= {"raw1-throughput-0", "raw1-operations-4", "raw1-depth-0"}

    def test_nothing_measured_is_said(self, tmp_path: Path) -> None:
        entry, cells, maker = kernel_crypto_part(ciphers=("null",))
        outcomes = {cell.id: ("unsupported", "no AF_ALG") for cell in cells}
        run = records.read(make_run(tmp_path, suites=[], parts=[(entry, cells, maker)], outcomes=outcomes))
        text = pages.render(run).html
        assert "none of 16 cells could be measured" in text and "no AF_ALG" in text
        assert 'data-figure="' not in text

    def test_verdicts_between_drivers_have_their_words(self, tmp_path: Path) -> None:
        run = read(tmp_path, ciphers=("aes128cbc",))
        names = [f"kernel-crypto/raw-encrypt/aes128cbc/{d}/65536B" for d in ("any", "virtio_crypto_aes_cbc")]
        fields = {"comparison": "x", "baseline": names[0], "candidate": names[1], "metric": "seconds", "ratio": 2.0}
        more = {"ci_low": 1.9, "ci_high": 2.1, "blocks": 6, "verdict": "faster", "margin": 0.03, "detectable": None}
        run.head.verdicts = [record.Verdict.model_validate(fields | more)]
        assert headline.headline(run) == (
            "Using driver virtio_crypto_aes_cbc made AES-128-CBC operations on 64 KiB 2.00 times as fast as driver any "
            "(95 % interval 1.90–2.10, 6 blocks)."
        )
        text = pages.render(run).html
        assert "raw-encrypt by virtio_crypto_aes_cbc against any" in text
        assert "AES-128-CBC, 64 KiB, virtio_crypto_aes_cbc · kernel-crypto" in text

    def test_other_suites_come_first_in_the_headline(self, tmp_path: Path) -> None:
        run = records.read(make_run(tmp_path, parts=[kernel_crypto_part()]))
        text = html.unescape(pages.render(run).html)
        assert "<h1>Emulated: SO_CRYPT is faster than the traditional scheme with 3DES" in text
        assert "<li>Enciphering with a null cipher in the kernel costs" in text

    def test_hostile_names_are_text(self, tmp_path: Path) -> None:
        entry, cells, maker = kernel_crypto_part(ciphers=("aes128cbc",), depths=())
        for cell in cells:
            if cell.driver != "any":
                cell.driver = HOSTILE
            cell.driver_found = HOSTILE

        def made(cell: record.Cell, block: int, rng: Any) -> Sample:
            return maker(cell.model_copy(update={"driver": "any"}), block, rng)

        run = records.read(make_run(tmp_path, suites=[], parts=[(entry, cells, made)], run_id="hostile"))
        text = pages.render(run).html
        assert "<script>alert" not in text and "<img" not in text
        for spec in page_data(text)["figures"].values():
            assert "<img" not in json.dumps(spec)

    def test_a_panel_of_files_is_made_of_files_only(self, tmp_path: Path) -> None:
        chosen = [(suite("large-files", 5, 10**9, "http"), ("http", "https"), "3des")]
        run = records.read(make_run(tmp_path, suites=chosen, parts=[kernel_crypto_part(ciphers=("null",))]))
        assert [name for name in page_data(pages.render(run).html)["figures"] if name.startswith("p")] == [
            "p1-large-files-3des-goodput", "p1-large-files-3des-ratio", "p1-large-files-3des-cpu",
        ]  # fmt: skip
