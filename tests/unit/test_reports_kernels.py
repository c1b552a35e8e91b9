"""Runs of one profile on several kernels as one page: from records to sentences, tables, figure and browser."""

from __future__ import annotations

import csv
import html
import json
import shutil
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest

import reports
from harness import record, records
from hosts.errors import HarnessError
from reports.__main__ import main
from reports.findings import costs
from reports.site import across, became, kernels
from reports.site import build as site
from tests.support.pages import HOSTILE, edit, page_data, verdict
from tests.support.record_maker import MB, SCHEMES, kernel_crypto_part, make_run, suite

PROFILE = "kernels-3des"
PRICES = {
    "syscall_call_ns": 15020.0, "syscall_byte_ns": 0.0, "read_call_ns": 17000.0, "read_byte_ns": 0.21,
    "alg_send_call_ns": 20000.0, "alg_send_byte_ns": 0.35, "cipher_call_ns": 26000.0, "cipher_byte_ns": 38.4,
    "tcp_copy_call_ns": 22000.0, "tcp_copy_byte_ns": 0.33,
}  # fmt: skip
NO_PAGES = "the kernel's AF_ALG takes no pages & no pipes"
FASTER = {"so-crypt": (30.0, 28.0, 2.2)}


def on_kernel(results: Path, seed: int, testbed: str, kernel: str, **more: Any) -> Path:
    """A run of the profile on a testbed with a kernel."""
    chosen = [
        (suite(f"schemes{end}", 7, None, "afalg-copy"), SCHEMES, c) for end, c in (("", "3des"), ("-null", "null"))
    ]
    told = {"kernel": kernel, "os": f"Example {kernel[0]}", "programs": {"nginx": f"nginx/{seed}"}}
    given: dict[str, Any] = {"profile": PROFILE, "suites": chosen, "sizes": [MB, 100 * MB], "prices": PRICES}
    return make_run(results, seed=seed, testbed=testbed, extra_facts=told, **(given | more))


def two(results: Path, **newer: Any) -> Path:
    """Runs on 6.1 and 6.12, the older lab run last, and their page."""
    on_kernel(results, 2, "lab-bookworm", "6.1.170", driver="cbc({})-old")
    on_kernel(results, 1, "lab", "6.12.113", **newer)
    return reports.kernels_page(results, PROFILE)


NO_SOURCE = "trixie and its backports have no linux-source-7.2 & no other"


def not_had(results: Path, seed: int = 3, testbed: str = "lab-7-2", reason: str = NO_SOURCE) -> Path:
    """A run that ended before a lab booted: it reached no suite, and its cells say so."""
    folder = on_kernel(results, seed, testbed, "0", blocks=2, status="failed", reason=reason)
    cells = json.loads((folder / "run.json").read_text())["cells"]
    lost = {"outcome": "failed", "reason": f"the run ended before it: {reason}", "driver_found": None}
    edit(folder, hosts={}, suites=[], verdicts=[], cells=[cell | lost for cell in cells])
    for name in ("samples.jsonl", "blocks.jsonl"):
        (folder / name).write_text("")
    return folder


def found(results: Path) -> list[across.Kernel]:
    """The kernels of all runs, in the order of their folders."""
    return across.kernels([records.read(path) for path in records.list_runs(results)])


class TestChoice:
    def row(self, testbed: str, kernel: str, started: str, status: str = "complete") -> dict[str, str]:
        return {"profile": "p", "folder": started, "testbed": testbed, "kernel": kernel, "started": started,
                "status": status, "kind": "emulated"}  # fmt: skip

    def test_the_newest_complete_run_of_each_testbed_by_kernel(self) -> None:
        rows = [
            self.row("lab", "6.12.1", "3"),
            self.row("lab", "6.12.0", "2"),
            self.row("lab", "6.12.2", "4", "interrupted"),
            self.row("old", "6.1.9", "1"),
            self.row("other", "6.6", "5") | {"profile": "q"},
            self.row("untold", "", "6"),
        ]
        chosen = kernels.newest(rows, "p")
        assert [(row["kernel"], row["folder"]) for row in chosen] == [("6.1.9", "1"), ("6.12.1", "3")]
        assert kernels.ended_since(rows, chosen) == [rows[2]], "told, and what was measured before stays"

    def test_where_none_is_complete_the_newest_that_ended(self) -> None:
        rows = [
            self.row("lab", "6.12.1", "3"),
            self.row("lab-7-2", "", "4", "failed"),
            self.row("lab-7-2", "", "5", "failed"),
            self.row("lab-7-3", "7.3.4", "6", "interrupted"),
            self.row("lab-7-3", "7.3.4", "7", "running"),
        ]
        chosen = kernels.newest(rows, "p")
        assert [row["folder"] for row in chosen] == ["3", "6", "5"], "unknown kernels last"
        assert kernels.ended_since(rows, chosen) == []

    def test_enough_for_a_page(self) -> None:
        lab, failed = self.row("lab", "6.12.1", "3"), self.row("lab-7-2", "", "5", "failed")
        assert kernels.enough([lab, failed])
        assert not kernels.enough([lab, failed | {"kind": "hosts"}]), "no kernel was asked for there"
        assert not kernels.enough([failed, failed | {"testbed": "lab-7-3"}]), "nothing was measured"
        assert not kernels.enough([lab])

    @pytest.mark.parametrize(
        ("told", "labels"),
        [
            (("6.1.170", "6.12.113"), ["6.1", "6.12"]),
            (("6.12.1", "6.12.113"), ["6.12.1", "6.12.113"]),
            (("6.12.1", "6.12.1"), ["6.12.1 (a)", "6.12.1 (b)"]),
        ],
    )
    def test_labels_are_short_and_differ(self, tmp_path: Path, told: tuple[str, str], labels: list[str]) -> None:
        for seed, (opened, kernel) in enumerate(zip("ab", told, strict=True), 1):
            on_kernel(tmp_path, seed, opened, kernel, blocks=2, sizes=[MB])
        assert [kernel.label for kernel in found(tmp_path)] == labels

    @pytest.mark.parametrize(("profile", "safe"), [("a-b.c", True), ("../a", False), ("", False), ("a/b", False)])
    def test_a_profiles_name_is_a_folder_or_there_is_no_page(self, profile: str, safe: bool) -> None:
        assert bool(kernels.folder(profile)) == safe

    def test_one_kernel_is_not_enough(self, tmp_path: Path) -> None:
        on_kernel(tmp_path, 1, "lab", "6.12.113", blocks=2)
        with pytest.raises(HarnessError, match=r"on lab \(kernel 6.12.113\); missing: lab-bookworm") as caught:
            reports.kernels_page(tmp_path, PROFILE)
        assert f"pytest suites --profile {PROFILE} --testbed lab-bookworm" in str(caught.value)
        with pytest.raises(HarnessError, match="on none; missing: lab-bookworm, lab"):
            reports.kernels_page(tmp_path, "../x")
        for seed, bed in enumerate(kernels.TESTBEDS, 2):
            on_kernel(tmp_path, seed, bed, "6.12.113", blocks=2)
        with pytest.raises(HarnessError, match="another kernel"):
            reports.kernels_page(tmp_path, PROFILE)


class TestBecame:
    """The sentence on each path: where it was measured, where it ended, and why."""

    @pytest.mark.parametrize(
        ("there", "said"),
        [
            ("yyyy", "measured on every kernel"),
            ("yyyn", "ended after 7.2: on 7.3 unsupported: restricted"),
            ("yynn", "ended after 6.12: on 7.2 and 7.3 unsupported: restricted"),
            ("nyyy", "begins with 6.12: on 6.1 unsupported: restricted"),
            ("ynyy", "not everywhere: on 6.12 unsupported: restricted"),
            ("nnnn", "never measured: on 6.1 and 6.12 and 7.2 and 7.3 unsupported: restricted"),
        ],
    )
    def test_where_it_ended(self, there: str, said: str) -> None:
        shown = [
            became.Shown(
                {"seconds": 1.0 if one == "y" else None, "said": "unsupported: restricted"}, "1 MB" * (one == "y")
            )
            for one in there
        ]
        assert became.sentence(shown, ["6.1", "6.12", "7.2", "7.3"]) == said

    @pytest.mark.parametrize(
        ("there", "said"),
        [
            ("yy!", "measured on every other kernel; nothing is known of 7.2, whose run failed: it did not boot"),
            ("yn!", "ended after 6.1: on 6.12 unsupported: restricted; "
                    "nothing is known of 7.2, whose run failed: it did not boot"),
            ("!!!", "nothing is known of 6.1 and 6.12 and 7.2, whose run failed: it did not boot"),
        ],
    )  # fmt: skip
    def test_a_run_that_failed_is_no_end_of_a_path(self, there: str, said: str) -> None:
        entries: dict[str, dict[str, Any]] = {
            "y": {"seconds": 1.0, "said": "", "ended": ""},
            "n": {"seconds": None, "said": "unsupported: restricted", "ended": ""},
            "!": {"seconds": None, "said": "failed: the run ended before it", "ended": "failed: it did not boot"},
        }
        shown = [became.Shown(entries[one], "1 MB" * (one == "y")) for one in there]
        assert became.sentence(shown, ["6.1", "6.12", "7.2"]) == said

    def test_the_largest_size_that_a_kernel_measured_is_shown(self) -> None:
        def row(*seconds: float | None) -> dict[str, Any]:
            return {"path": "p", "title": "t", "entries": [{"seconds": one, "said": "failed: x"} for one in seconds]}

        tables = [("1 MB", "a", [row(0.1, 0.2)]), ("100 MB", "b", [row(None, 2.0)])]
        (told,) = became.became("schemes", tables, ["6.1", "7.3"])
        assert [(one.entry["seconds"], one.size) for one in told.shown] == [(0.1, "1 MB"), (2.0, "100 MB")]
        assert told.end == "measured on every kernel"

    def test_the_page_tells_it_of_real_runs(self, tmp_path: Path) -> None:
        lacks = {f"schemes/afalg-splice/3des/any/{size}MB": ("unsupported", NO_PAGES) for size in (1, 100)}
        page = two(tmp_path, outcomes=lacks).read_text()
        assert html.escape(f"ended after 6.1: on 6.12 unsupported: {NO_PAGES}", quote=False) in html.escape(
            html.unescape(page), quote=False
        )


class TestSentences:
    def test_intervals_that_overlap_claim_nothing(self, tmp_path: Path) -> None:
        two(tmp_path)
        said = across.headline_of(found(tmp_path)[::-1])
        assert said.startswith("From 6.1 to 6.12, SO_CRYPT against the traditional scheme went from x1.")
        assert said.endswith("] for 100 MB 3DES; the intervals overlap, so no change can be claimed.")

    def test_intervals_apart_are_a_difference_of_two_runs(self, tmp_path: Path) -> None:
        two(tmp_path, costs=FASTER)
        said = across.headline_of(found(tmp_path)[::-1])
        assert said.endswith("the intervals do not overlap: the ratio differs between these runs.")

    def test_a_path_that_one_kernel_lacks_is_said_not_skipped(self, tmp_path: Path) -> None:
        lacks = {f"schemes/so-crypt/3des/any/{size}MB": ("unsupported", "no module") for size in (1, 100)}
        two(tmp_path, outcomes=lacks)
        said = across.headline_of(found(tmp_path)[::-1])
        assert "gave no ratio on 6.12 (unsupported: no module); nothing can be said of a change." in said

    def test_a_baseline_that_one_kernel_lacks_is_the_reason(self, tmp_path: Path) -> None:
        lacks = {f"schemes/afalg-copy/3des/any/{size}MB": ("unsupported", "no AF_ALG") for size in (1, 100)}
        two(tmp_path, outcomes=lacks)
        said = across.headline_of(found(tmp_path)[::-1])
        assert "gave no ratio on 6.12 (its baseline was unsupported: no AF_ALG); nothing can be said" in said

    def test_kernels_that_have_a_ratio_are_compared_past_one_that_has_none(self, tmp_path: Path) -> None:
        lacks = {f"schemes/so-crypt/3des/any/{size}MB": ("unsupported", "no module") for size in (1, 100)}
        on_kernel(tmp_path, 1, "a", "6.1")
        on_kernel(tmp_path, 2, "b", "6.12", outcomes=lacks)
        on_kernel(tmp_path, 3, "c", "7.3")
        said = across.headline_of(found(tmp_path))
        assert "] on 6.1, gave no ratio on 6.12 (unsupported: no module), x" in said
        assert said.endswith("; the intervals of 6.1 and 7.3 overlap, so no change can be claimed.")

    def test_the_largest_size_that_all_have(self, tmp_path: Path) -> None:
        two(tmp_path, sizes=[MB, 10 * MB])
        assert "for 1 MB 3DES" in across.headline_of(found(tmp_path)[::-1])

    def test_nothing_compared(self, tmp_path: Path) -> None:
        for seed in (1, 2):
            edit(on_kernel(tmp_path, seed, "x", f"6.{seed}", blocks=1), verdicts=[])
        assert across.headline_of(found(tmp_path)) == "Nothing can be compared on 6.1 and 6.2: no run has a verdict."

    @pytest.mark.parametrize(
        ("second", "expected"),
        [
            (verdict("faster", 1.2, 1.15, 1.25), "intervals overlap: no change can be claimed"),
            (verdict("faster", 1.4, 1.35, 1.45), "higher on 6.12 (x1.18 to x1.40): intervals apart"),
            (verdict("slower", 0.9, 0.85, 0.95), "lower on 6.12 (x1.18 to x0.90): intervals apart"),
            (verdict("cannot_tell", 1.2, None, None), "nothing to compare: no interval"),
            (None, "nothing to compare: no ratio on 6.12"),
        ],
    )
    def test_change(self, tmp_path: Path, second: record.Verdict | None, expected: str) -> None:
        on_kernel(tmp_path, 1, "a", "6.1.0", blocks=2)
        on_kernel(tmp_path, 2, "b", "6.12.0", blocks=2)
        assert across.change(verdict("faster", 1.18, 1.14, 1.22), second, *found(tmp_path)) == expected


def priced(prices: dict[str, float]) -> record.SuiteEntry:
    """A suite with these prices."""
    entry = suite("schemes", 7, None, "afalg-copy")
    entry.prices = prices
    return entry


class TestCosts:
    def test_units_order_and_what_is_missing(self) -> None:
        rows = costs.prices([priced({"new_byte_ns": 2.0, **PRICES}), priced({"syscall_call_ns": 14000.0})])
        assert rows[0] == costs.Price("syscall", "the cheapest system call", "µs per call", ("15", "14"))
        assert costs.Price("cipher", "recv from AF_ALG: the cipher", "ns per byte", ("38.4", "not measured")) in rows
        assert rows[-1] == costs.Price("new", "new", "ns per byte", ("2", "not measured"))
        assert len(rows) == len(PRICES), "the cheapest call has no price for a byte"
        assert costs.prices([priced({}), priced({})]) == []

    @pytest.mark.parametrize(
        ("rounds", "said"),
        [
            ([-900.0, 200.0, -1100.0, 600.0], "within noise of zero: -0.3 ± 1.3"),
            ([-900.0, -1000.0, -1100.0], "below zero: -1 ± 0.25"),
            ([-900.0, -1000.0], "below zero, in too few rounds to tell noise: -0.95"),
            ([], "below zero, in too few rounds to tell noise: -0.95"),
        ],
    )
    def test_what_came_out_below_zero_is_shown_as_it_came(self, rounds: list[float], said: str) -> None:
        entry = priced({"kernel_cipher_call_ns": -950.0, "read_byte_ns": 0.0})
        entry.prices_by_round = [{"kernel_cipher_call_ns": one} for one in rounds]
        shown = {price.step: price.values for price in costs.prices([entry])}
        assert shown == {"kernel_cipher": (said,), "read": ("0",)}

    def test_a_record_says_what_its_steps_are_called_and_in_which_order(self) -> None:
        own = priced({"read_byte_ns": 1.0, "stamp_byte_ns": 2.0, "other_byte_ns": 3.0})
        own.steps = {"stamp": "stamping each packet", "read": "reading anew"}
        names = {price.step: price.name for price in costs.prices([own, priced({})])}
        assert list(names.items()) == [("stamp", "stamping each packet"), ("read", "reading anew"), ("other", "other")]

    def test_predictions_agree_or_are_told(self) -> None:
        fitting = verdict("faster", 1.2, 1.15, 1.25, ceiling=1.27)
        low, high = (verdict("faster", 1.2, 1.15, 1.25, ceiling=value) for value in (1.4, 1.05))
        unknown = verdict("cannot_tell", None, None, None, ceiling=1.2)
        assert [costs.fits(v) for v in (fitting, low, unknown)] == ["agrees", "does not agree", ""]
        assert len(costs.reading([fitting])) == 1
        assert "in 2 of 3 comparisons (1 below and 1 above the prediction)" in costs.reading([fitting, low, high])[1]
        assert costs.reading([unknown, verdict("same", 1.0, 0.99, 1.01)]) == []


class TestPage:
    def test_what_each_kernel_gave(self, tmp_path: Path) -> None:
        lacks = {f"schemes/afalg-splice/3des/any/{size}MB": ("unsupported", NO_PAGES) for size in (1, 100)}
        page = two(tmp_path, prices={"syscall_call_ns": 14000.0}, outcomes=lacks)
        assert page == tmp_path / "site" / f"kernels-{PROFILE}" / "index.html"
        text = html.unescape(page.read_text())
        for said in ("x1.", "predicted x1.30: does not agree", "sender's CPU", f"unsupported: {NO_PAGES}",
                     "not measured", "cbc(3des)-old", "cbc-3des-generic", "nginx/2", "one after another"):  # fmt: skip
            assert said in text, said
        assert NO_PAGES not in page.read_text(), "escaped"
        assert text.index("6.1.170") < text.index("6.12.113")

    def test_one_figure_for_each_suite_in_plotlys_own_terms(self, tmp_path: Path) -> None:
        lacks = {"schemes/so-crypt/3des/any/100MB": ("failed", NO_PAGES)}
        specs = page_data(two(tmp_path, outcomes=lacks).read_text())["figures"]
        assert list(specs) == ["k1-schemes-3des-ratio", "k2-schemes-null-null-ratio"]
        for spec in specs.values():
            go.Figure(spec)
            layout = spec["layout"]
            assert layout["yaxis"]["ticktext"][:4] == ["1 MB · 6.1", "1 MB · 6.12", "100 MB · 6.1", "100 MB · 6.12"]
            assert [shape["x0"] for shape in layout["shapes"] if shape["name"] == "paper"] == [1.27, 1.37]
        said = [note for note in specs["k1-schemes-3des-ratio"]["layout"]["annotations"] if note["name"] == "missing"]
        assert [note["text"] for note in said] == ["failed"]
        assert "no pages" in said[0]["hovertext"]

    def test_a_suite_that_one_run_lacks(self, tmp_path: Path) -> None:
        only = [(suite("schemes", 7, None, "afalg-copy"), SCHEMES, "3des")]
        text = two(tmp_path, suites=only, sizes=[100 * MB], prices={}).read_text()
        assert "not in this run" in text and "not measured" in text

    def test_a_kernel_whose_run_failed_has_its_place_with_the_reason(self, tmp_path: Path) -> None:
        not_had(tmp_path)
        place = two(tmp_path, prices=PRICES | {"tcp_copy_byte_ns": -0.3})
        text = html.unescape(place.read_text())
        assert NO_SOURCE not in place.read_text(), "escaped"
        for said in (
            f"lab-7-2: This run failed: {NO_SOURCE}",
            f'<td class="long">failed: {NO_SOURCE}</td>',
            f"failed: the run ended before it: {NO_SOURCE}",
            f"measured on every other kernel; nothing is known of lab-7-2, whose run failed: {NO_SOURCE}",
            "nothing to compare: no ratio on lab-7-2",
            f"gave no ratio on lab-7-2 (its run failed: {NO_SOURCE}); the intervals of 6.1 and 6.12 overlap",
            "<td>0.33</td><td>below zero, in too few rounds to tell noise: -0.3</td><td>not measured</td>",
        ):
            assert said in text, said
        differ = text[text.index("What differs between the hosts") :]
        assert "nginx/2" in differ and "lab-7-2" not in differ, "nothing is known of its hosts"

    def test_one_kernel_is_enough_beside_one_that_was_not_had(self, tmp_path: Path) -> None:
        not_had(tmp_path)
        on_kernel(tmp_path, 1, "lab", "6.12.113")
        text = html.unescape(reports.kernels_page(tmp_path, PROFILE).read_text())
        assert f"failed: {NO_SOURCE}" in text and "nothing can be said of a change" in text

    def test_a_later_run_that_failed_is_told_above_what_was_measured_before(self, tmp_path: Path) -> None:
        not_had(tmp_path, 4, "lab", "no space left")
        place = two(tmp_path)
        said = "6.12: a later run there, of 2026-01-05 00:04 UTC, failed: no space left."
        assert said in html.unescape(place.read_text())
        on_kernel(tmp_path, 5, "lab", "6.12.114")
        reports.build_site(tmp_path)
        assert "a later run there" not in place.read_text()

    def test_a_profile_that_changed_is_told(self, tmp_path: Path) -> None:
        folder = on_kernel(tmp_path, 3, "lab", "6.12.1", blocks=2)
        head = json.loads((folder / "run.json").read_text())
        edit(folder, profile=head["profile"] | {"sha256": "1" * 64})
        on_kernel(tmp_path, 2, "lab-bookworm", "6.1.1", blocks=2)
        assert "content is not the same" in reports.kernels_page(tmp_path, PROFILE).read_text()

    def test_another_machine_that_emulates_them_is_told(self, tmp_path: Path) -> None:
        on_kernel(tmp_path, 2, "lab-bookworm", "6.1.1", blocks=2, machine={"processor": "Intel", "kernel": "6.5.5"})
        on_kernel(tmp_path, 3, "lab", "6.12.1", blocks=2, machine={"processor": "AMD", "kernel": "6.5.5"})
        text = reports.kernels_page(tmp_path, PROFILE).read_text()
        assert "<td>Intel</td><td>AMD</td>" in text
        assert "6.5.5" not in text, "the same on both"

    def test_the_table_beside_the_page(self, tmp_path: Path) -> None:
        page = two(tmp_path)
        with (page.parent / "kernels.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        cells = sum(len(records.read_head(path).cells) for path in records.list_runs(tmp_path))
        assert len(rows) == cells
        assert {(row["kernel"], row["testbed"]) for row in rows} == {("6.1.170", "lab-bookworm"), ("6.12.113", "lab")}
        one = next(row for row in rows if row["cell"] == "schemes/so-crypt/3des/any/100MB")
        assert float(one["ci_low"]) < float(one["ratio"]) < float(one["ci_high"])


class TestSite:
    def test_linked_from_the_index_and_rebuilt_only_when_a_run_changes(self, tmp_path: Path) -> None:
        page = two(tmp_path)
        assert f'href="kernels-{PROFILE}/index.html"' in (tmp_path / "site" / "index.html").read_text()
        page.write_text("old")
        reports.build_site(tmp_path)
        assert page.read_text() == "old"
        on_kernel(tmp_path, 3, "lab", "6.12.114")
        reports.build_site(tmp_path)
        assert "6.12.114" in page.read_text()

    def test_gone_with_its_runs(self, tmp_path: Path) -> None:
        page = two(tmp_path)
        shutil.rmtree(records.list_runs(tmp_path)[0])
        assert "side by side" not in reports.build_site(tmp_path).read_text()
        assert not page.parent.exists()

    def test_a_run_page_shows_prices_and_whether_predictions_agree(self, tmp_path: Path) -> None:
        run = on_kernel(tmp_path, 1, "lab", "6.12.1")
        text = html.unescape(reports.run_page(tmp_path, run.name).read_text())
        for said in ("What steps cost", "recv from AF_ALG: the cipher", "<small>agrees</small>",
                     "<small>does not agree</small>", "Predicted and measured disagree in"):  # fmt: skip
            assert said in text, said

    def test_command(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        page = two(tmp_path)
        given = ["--results", str(tmp_path)]
        assert main(["kernels", PROFILE, *given]) == 0
        assert capsys.readouterr().out == f"{page}\n"
        for wrong in (["kernels"], ["kernels", "other"], ["latest", "other"]):
            assert main([*wrong, *given]) == 1
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 3 and all(line.startswith("reports: ") for line in lines)

    def test_a_hostile_record_makes_no_markup(self, tmp_path: Path) -> None:
        chosen = [(suite(HOSTILE, 7, None, "afalg-copy"), ("afalg-copy", "so-crypt", HOSTILE), HOSTILE)]
        bad = {f"{HOSTILE}/{HOSTILE}/{HOSTILE}/any/1MB": ("failed", HOSTILE)}
        more: dict[str, Any] = {"suites": chosen, "sizes": [MB], "outcomes": bad, "prices": {HOSTILE: 1.0}, "blocks": 2}
        for seed in (1, 2):
            on_kernel(tmp_path, seed, f"{HOSTILE}{seed}", f"{HOSTILE}{seed}", run_id=f"r{seed}", **more)
        text = reports.kernels_page(tmp_path, PROFILE).read_text()
        assert "<script>alert" not in text and "<img" not in text
        assert "<img" not in (tmp_path / "site" / site.PAGE).read_text()


def test_kernel_crypto_is_shown_for_each_kernel(tmp_path: Path) -> None:
    for seed, release in ((1, "6.1.176"), (2, "6.12.117")):
        parts = [kernel_crypto_part(ciphers=("null", "aes128cbc") if seed == 1 else ("aes128cbc",))]
        make_run(tmp_path, seed=seed, suites=[], parts=parts, extra_facts={"kernel": release}, testbed=f"lab{seed}")
    page = kernels.render([records.read(path) for path in records.list_runs(tmp_path)]).html
    assert "What a call and a byte cost on each kernel" in page
    assert all(f"Per {what} on {label}" in page for what in ("call (µs)", "byte (ns)") for label in ("6.1", "6.12"))
    table = page.partition('data-table="raw-kernels"')[2].partition("</table>")[0]
    assert table.count("not measured") == 2 * 2, "the null cipher's call and byte, both ways, on 6.12"
