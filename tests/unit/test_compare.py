"""Two runs compared: what differs first, what changed, and the exit status. Numbers are made up."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from scipy import stats

import reports
from harness import records
from harness.record import Metric
from harness.verdicts.stats import Mean, Series, mean
from reports import compare
from reports.__main__ import main
from reports.nights import series
from reports.nights.dataset import update
from reports.site import compare_view
from simulations import nights as maker
from tests.support.pages import HOSTILE, edit
from tests.support.record_maker import COSTS, MB, make_run

SLOWER = {"so-crypt": tuple(1.08 * value for value in COSTS["so-crypt"])}
FASTER = {"so-crypt": tuple(value / 1.08 for value in COSTS["so-crypt"])}


def run(results: Path, seed: int, **more: object) -> Path:
    usual = {"seed": seed, "blocks": 24, "rounds": 12, "sizes": [10 * MB, 100 * MB]}
    return make_run(results, **(usual | more))  # type: ignore[arg-type]


def compared(a: Path, b: Path) -> compare.Comparison:
    return compare.compare(compare.side(a), compare.side(b))


def of(logs: Sequence[float]) -> Mean:
    """A run with one block in each boot."""
    return mean(Series(tuple(logs), rounds=tuple(range(len(logs)))))


class TestStatistics:
    @given(st.lists(st.floats(-1, 1), min_size=3, max_size=9), st.lists(st.floats(-1, 1), min_size=3, max_size=9))
    def test_welch_is_welch(self, a: list[float], b: list[float]) -> None:
        difference, half, p = compare.welch(of(a), of(b))
        if max(np.ptp(a), np.ptp(b)) < 1e-6:
            return
        other = stats.ttest_ind(b, a, equal_var=False)
        interval = other.confidence_interval()
        assert p == pytest.approx(other.pvalue, rel=1e-6, abs=1e-12)
        assert (difference - half, difference + half) == pytest.approx((interval.low, interval.high), abs=1e-9)

    def test_values_that_do_not_vary(self) -> None:
        assert compare.welch(of([0.0] * 4), of([0.0] * 3)) == (0.0, 0.0, 1.0)
        assert compare.welch(of([0.0] * 4), of([1.0] * 3)) == (1.0, 0.0, 0.0)

    @pytest.mark.parametrize(
        ("given_", "expected"),
        [
            ([], []),
            ([None, None], [None, None]),
            ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
            ([0.5, None, 0.4], [0.8, None, 0.8]),
            ([1e-9], [1e-9]),
        ],
    )
    def test_holm(self, given_: Sequence[float | None], expected: Sequence[float | None]) -> None:
        for one, other in zip(compare.holm(given_), expected, strict=True):
            assert one == (None if other is None else pytest.approx(other))

    def test_runs_that_are_alike_seldom_differ(self, tmp_path: Path) -> None:
        """Holm holds the chance of any false “worse” or “better” in a whole comparison at 5 %."""
        runs = [compare.side(run(tmp_path, seed, sizes=[MB])) for seed in range(1, 41)]
        wrong = sum(
            any(row.word in ("worse", "better") for row in compare.compare(a, b).rows)
            for a, b in zip(runs[::2], runs[1::2], strict=True)
        )
        assert wrong <= 4, "of twenty comparisons"


class TestChanges:
    def test_worse_better_and_the_rest(self, tmp_path: Path) -> None:
        one, slow, fast = run(tmp_path, 1), run(tmp_path, 2, costs=SLOWER), run(tmp_path, 3, costs=FASTER)
        worse, better = compared(one, slow), compared(one, fast)
        for found, word, way in ((worse, "worse", 1 / 1.08), (better, "better", 1.08)):
            moved = [row for row in found.rows if row.word == word]
            assert moved and all("/so-crypt/" in row.candidate for row in moved)
            wire = [row for row in moved if row.metric == "seconds" and "/3des/" in row.candidate]
            assert [row.change for row in wire] == pytest.approx([way] * len(wire), rel=0.03)
            assert all(row.low and row.high and row.low <= (row.change or 0) <= row.high for row in moved)
        assert (worse.status, better.status) == (1, 0)
        assert compared(slow, one).status == 0, "the other way round it got better"

    def test_a_whole_machine_that_is_slower_changes_nothing(self, tmp_path: Path) -> None:
        slow = {path: tuple(2.6 * value for value in cost) for path, cost in COSTS.items()}
        found = compared(run(tmp_path, 1, sizes=[100 * MB]), run(tmp_path, 2, costs=slow, sizes=[100 * MB]))
        wire = [row for row in found.rows if row.metric == "seconds" and "/3des/" in row.candidate]
        assert wire and not [row for row in wire if row.word in ("worse", "better")]
        assert any(one.b / one.a == pytest.approx(2.6, rel=0.05) for one in found.absolute)

    def test_the_same_run_is_the_same(self, tmp_path: Path) -> None:
        path = run(tmp_path, 1)
        found = compared(path, path)
        assert found.status == 0 and found.differences == ()
        assert all(row.change == 1 for row in found.rows)
        assert not {row.word for row in found.rows} & {"worse", "better"}

    def test_noise_is_never_less_than_what_the_clocks_steps_make(self, tmp_path: Path) -> None:
        """Twelve steps in every block of one run, thirteen in the other: nothing varies, but it may be the clock."""

        def coarse(results: Path, seed: int, ticks: int) -> Path:
            path = run(results, seed)
            lines = [json.loads(line) for line in (path / "samples.jsonl").read_text().splitlines()]
            for line in lines:
                mine = ticks if "/so-crypt/" in line["cell"] else 12
                line["sender"] |= {"cpu_seconds": mine * 0.01, "cpu_resolution_seconds": 0.01}
            (path / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
            return path

        found = compared(coarse(tmp_path, 1, 12), coarse(tmp_path, 2, 13))
        rows = [r for r in found.rows if "/so-crypt/" in r.candidate and r.metric == "cpu_seconds_per_gb"]
        assert rows
        for row in rows:
            assert row.change == pytest.approx(12 / 13) and row.low and row.high and row.p
            assert row.low < 0.99 * 12 / 13 and row.high > 1.01 * 12 / 13

    def test_few_blocks_tell_nothing(self, tmp_path: Path) -> None:
        found = compared(run(tmp_path, 1, blocks=2, rounds=2), run(tmp_path, 2, blocks=2, rounds=2, costs=SLOWER))
        assert found.rows and all(row.change is None and row.word == "cannot tell" for row in found.rows)
        assert found.status == 2
        assert found.summary == "Nothing can be compared: no pair has enough blocks in both runs."

    def test_runs_of_one_boot_are_shown_and_not_judged(self, tmp_path: Path) -> None:
        """A boot alone may move a ratio by more than blocks tell."""
        several, one = run(tmp_path, 1), run(tmp_path, 2, rounds=1, costs=SLOWER)
        for pair in ((several, one), (one, several), (one, one)):
            found = compared(*pair)
            assert {row.word for row in found.rows} == {"cannot tell"}
            assert found.rows and all(row.change and row.low and row.high and row.p is None for row in found.rows)
            assert found.status == 2
            assert found.summary.startswith("Nothing can be judged: a run of one boot")
            assert "shown and not judged" in compare_view.errors(found)

    def test_a_cell_that_was_lost_is_a_change_for_the_worse(self, tmp_path: Path) -> None:
        name = "schemes/so-crypt/3des/any/10MB"
        for outcome, status in (("failed", 1), ("invalid", 1), ("unsupported", 0)):
            results = tmp_path / outcome
            found = compared(run(results, 1), run(results, 2, outcomes={name: (outcome, "no witness")}))
            assert found.status == status
            assert found.lost == (((name, f"{outcome}, no witness"),) if status else ())
            assert name not in {row.candidate for row in found.rows}

    def test_cells_of_one_run_alone_are_listed(self, tmp_path: Path) -> None:
        found = compared(run(tmp_path, 1, sizes=[MB, 10 * MB]), run(tmp_path, 2, sizes=[10 * MB, 100 * MB]))
        assert len(found.only_a) == len(found.only_b) == 13
        assert {row.candidate.rpartition("/")[2] for row in found.rows} == {"10MB"}


class TestFairness:
    def weights(self, a: Path, b: Path) -> dict[str, str]:
        return {one.name: one.weight for one in compared(a, b).differences}

    def test_facts_that_differ_come_first_by_their_weight(self, tmp_path: Path) -> None:
        one = {"kernel": "6.12.1", "memory_kib": 1, "so_crypt": "no", "mitigations": {"x": "on", "y": "on"}}
        two = {"kernel": "6.12.2", "memory_kib": 2, "so_crypt": "yes", "mitigations": {"x": "off", "y": "on"}}
        a, b = run(tmp_path, 1, extra_facts=one), run(tmp_path, 2, extra_facts=two)
        found = self.weights(a, b)
        assert found["sender: kernel"] == found["sender: mitigations.x"] == "warn"
        assert found["sender: memory_kib"] == found["sender: so_crypt"] == "tell"
        assert "sender: mitigations.y" not in found
        order = list(found.values())
        assert order == sorted(order, key=["refuse", "warn", "tell"].index)

    def test_another_governor_turbo_or_smt_is_unfair_and_another_clock_is_not(self, tmp_path: Path) -> None:
        loud = {"governors": {"powersave": 8}, "turbo": True, "smt": True, "frequency_limit": 1.0}
        still = {"governors": {"performance": 8}, "turbo": False, "smt": False, "frequency_limit": 0.5}
        facts = [
            {"speed": loud, "not_quiet": ["turbo"], "clock": {"ahead_seconds": 0.1}},
            {"speed": still, "not_quiet": [], "clock": {"ahead_seconds": 90.0}},
        ]
        found = self.weights(*(run(tmp_path, n, extra_facts=each) for n, each in enumerate(facts, 1)))
        names = ("governors.powersave", "turbo", "smt", "frequency_limit")
        assert [found[f"sender: speed.{name}"] for name in names] == ["warn"] * 4
        assert found["sender: not_quiet"] == found["sender: clock.ahead_seconds"] == "tell"

    def test_the_machine_that_emulates_them_is_compared(self, tmp_path: Path) -> None:
        machines = [{"processor": "Intel", "new": 1, "memory_kib": 1}, {"processor": "AMD", "new": 2, "memory_kib": 2}]
        a, b = (run(tmp_path, n, machine=machine) for n, machine in enumerate(machines, 1))
        found = self.weights(a, b)
        assert found["machine that emulates: processor"] == "warn"
        assert found["machine that emulates: new"] == "warn", "a fact that nobody called fair is not"
        assert found["machine that emulates: memory_kib"] == "tell"
        older = run(tmp_path, 3)
        assert not [name for name in self.weights(a, older) if name.startswith("machine")], "it does not tell"

    def test_another_estimator_is_told(self, tmp_path: Path) -> None:
        older, newer, like = (run(tmp_path, n) for n in range(1, 4))
        for path in (newer, like):
            edit(path, estimator="two-level-1")
        edit(older, estimator=None)
        assert self.weights(older, newer)["estimator"] == "warn"
        assert "estimator" not in self.weights(newer, like)

    def test_another_way_of_receiving_is_told(self, tmp_path: Path) -> None:
        older, newer, like = (run(tmp_path, n) for n in range(1, 4))
        for path in (newer, like):
            edit(path, receiver="stream-1 libcurl/8.14.1 GnuTLS/3.8.9")
        assert self.weights(older, newer)["way of receiving"] == "warn"
        assert "way of receiving" not in self.weights(newer, like)
        edit(like, receiver="stream-1 libcurl/8.14.1 OpenSSL/3.5.1")
        assert self.weights(newer, like)["way of receiving"] == "warn"

    def test_profile_link_driver_and_status(self, tmp_path: Path) -> None:
        a, b = run(tmp_path, 1), run(tmp_path, 2, driver="cbc-{}-card", status="interrupted", reason="Ctrl-C")
        content = json.loads((b / "run.json").read_text())
        content["profile"]["sha256"] = "1" * 64
        content["suites"][0] |= {"link_rate_bits_per_second": 10**8, "integrity": "sha256"}
        content["suites"][1]["link"]["goodput_bits_per_second"] *= 0.9
        edit(b, **content)
        found = self.weights(a, b)
        expected = ["profile's content (SHA-256)", "suite large-files: link rate",
                    "suite large-files: hash of the HMAC", "suite schemes: goodput of the link", "status",
                    "schemes/so-crypt/3des/any/10MB: driver found"]  # fmt: skip
        assert [found[name] for name in expected] == ["warn"] * 6
        assert "refuse" not in found.values()

    def test_what_did_not_measure_the_same_is_refused(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        plain = run(tmp_path, 1)
        content = json.loads((plain / "run.json").read_text())
        others = {}
        for number, name in enumerate(("kind", "cipher", "size", "tls", "instructions"), 2):
            path = others[name] = run(tmp_path, number)
            content = json.loads((path / "run.json").read_text())
            cell = next(cell for cell in content["cells"] if cell["id"] == "schemes/so-crypt/3des/any/10MB")
            if name == "kind":
                content["testbed"]["kind"] = "hosts"
            elif name == "cipher":
                cell["cipher"] = "aes128cbc"
            elif name == "size":
                cell["size_bytes"] = 10 * 2**20
            elif name == "tls":
                content["suites"][0]["tls"] = "1.3"
            else:
                content["suites"][0]["instructions"] = "masked"
            edit(path, **content)
        for name, path in others.items():
            command = ["--results", str(tmp_path), "compare", plain.name, path.name]
            assert main(command) == 2, name
            shown = capsys.readouterr()
            assert "cannot be compared" in shown.out and "reports: these runs cannot be compared: " in shown.err
            assert main([*command, "--anyway"]) in (0, 1)
            assert capsys.readouterr().err == ""


class TestCommand:
    def test_exit_status_and_order(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        a = run(tmp_path, 1, extra_facts={"kernel": "6.12.1"})
        b = run(tmp_path, 2, extra_facts={"kernel": "6.12.2"}, costs=SLOWER)
        assert main(["--results", str(tmp_path), "compare", a.name, "latest"]) == 1
        out = capsys.readouterr().out
        assert out.index("sender: kernel") < out.index("▼ worse") < out.index("= same")
        assert "shown, never judged" in out
        assert out.splitlines()[-1].startswith("Of 40 ratios: ")
        assert main(["compare", str(b), str(a), "--results", str(tmp_path / "elsewhere")]) == 0, "by their paths"

    def test_no_such_run(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        a = run(tmp_path, 1)
        assert main(["--results", str(tmp_path), "compare", a.name, "nothing"]) == 2
        assert "there is no run 'nothing'" in capsys.readouterr().err

    def test_hostile_names_stay_text(self, tmp_path: Path) -> None:
        a, b = run(tmp_path, 1), run(tmp_path, 2, extra_facts={"kernel": HOSTILE, f"[red]{HOSTILE}": "[/nothing]"})
        found = compared(a, b)
        console = Console(record=True, width=200, highlight=False, markup=False, emoji=False, color_system=None)
        compare_view.show(found, console)
        text = console.export_text()
        assert "\x1b" not in text and "[red]" in text and "[/nothing]" in text
        page, row = compare_view.render(found)
        assert "<script>alert" not in page and "<img" not in page
        assert row["status"] == "compare"


class TestPage:
    def test_it_is_linked_kept_and_forgotten(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        a, b = run(tmp_path, 1), run(tmp_path, 2, costs=SLOWER)
        assert main(["--results", str(tmp_path), "compare", a.name, b.name, "--html"]) == 1
        page = tmp_path / "site" / f"compare-{a.name}-{b.name}" / "index.html"
        assert capsys.readouterr().out.splitlines()[-1] == str(page)
        index = tmp_path / "site" / "index.html"
        assert f'href="{page.parent.name}/index.html"' in index.read_text()
        text = page.read_text()
        assert text.index("What differs between the runs") < text.index("What changed") < text.index("Absolute times")
        assert "▼ worse" in text and f'href="../{a.name}/index.html"' in text
        page.write_text("old")
        reports.build_site(tmp_path)
        assert page.read_text() == "old" and page.parent.name in index.read_text()
        edit(b, notes=["changed"])
        reports.build_site(tmp_path)
        assert page.read_text() != "old"
        (b / "run.json").unlink()
        reports.build_site(tmp_path)
        assert not page.parent.exists() and page.parent.name not in index.read_text()

    def test_long_names_have_a_page_too(self, tmp_path: Path) -> None:
        a, b = (run(tmp_path, seed, run_id=f"{seed}-" + "é x" * 60, blocks=3) for seed in (1, 2))
        page = reports.compare_page(tmp_path, a, b)
        assert len(page.parent.name) < 40 and page.exists()
        assert records.read(a).head.run_id in page.read_text()

    def test_extreme_ratios_have_words(self, tmp_path: Path) -> None:
        a, b = run(tmp_path, 1, blocks=4, rounds=4), run(tmp_path, 2, blocks=4, rounds=4)
        for path, mine, others in ((a, 1.0, 1e300), (b, 1e300, 1.0)):
            lines = [json.loads(line) for line in (path / "samples.jsonl").read_text().splitlines()]
            for line in lines:
                line["seconds"] = mine if "so-crypt/" in line["cell"] else others
            (path / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        found = compared(a, b)
        assert found.status == 1
        assert all(math.isfinite(row.change) for row in found.rows if row.change is not None)
        assert "▼ worse" in compare_view.render(found)[0]


class TestLinks:
    def linked(self, path: Path, **more: object) -> Path:
        """The same record, whose cells went over a link like this."""
        link = {"mtu": 1500, "congestion_control": "cubic", "generic-receive-offload": True} | more
        head = json.loads((path / "run.json").read_text())
        for cell in head["cells"]:
            cell["links"] = {"sender": link, "receiver": link | {"mtu": 1500}}
        edit(path, cells=head["cells"])
        return path

    def test_another_link_is_warned_of_once_for_all_its_cells(self, tmp_path: Path) -> None:
        a, b = self.linked(run(tmp_path, 1)), self.linked(run(tmp_path, 2), mtu=9000)
        found = [one for one in compared(a, b).differences if "link:" in one.name]
        cells = len(records.read(a).head.cells)
        assert found == [compare.Difference(f"sender's link: mtu ({cells} cells)", "1500", "9000", "warn")]
        gro = self.linked(run(tmp_path, 3), **{"generic-receive-offload": False})
        assert {(one.a, one.b) for one in compared(a, gro).differences if "link:" in one.name} == {("yes", "no")}

    def test_a_record_that_does_not_tell_it_is_not_another(self, tmp_path: Path) -> None:
        found = compared(run(tmp_path, 1), self.linked(run(tmp_path, 2)))
        assert not [one for one in found.differences if "link" in one.name]


class TestHistory:
    def test_what_a_whole_run_adds_is_part_of_the_error(self, tmp_path: Path) -> None:
        """What lasts for a run is in none of its boots: it reads “worse” too often unless the history says so."""
        rng = np.random.default_rng(1)
        wanted = maker.cells(10)
        for night in range(30):
            maker.write_night(tmp_path, night, rng, wanted=wanted, samples=12, noise=0.01, between=0.03, boots=6)
        history = series.groups(update(tmp_path).nights())
        sides = [compare.side(path) for path in records.list_runs(tmp_path)]
        pairs = list(zip(sides[::2], sides[1::2], strict=True))

        def wrong(nights: Sequence[series.Group]) -> int:
            found = [compare.compare(a, b, nights) for a, b in pairs]
            assert all(one.nights == (30 if nights else 0) for one in found)
            return sum(any(row.word in ("worse", "better") for row in one.rows) for one in found)

        assert wrong(()) >= 10
        assert wrong(history) <= 3

    def test_what_boots_add_is_part_of_the_error(self, tmp_path: Path) -> None:
        """Two runs of one commit, over boots that differ by 3 %: no more read “worse” or “better” than is promised."""
        rng, wanted = np.random.default_rng(2), maker.cells(10)
        for night in range(40):
            maker.write_night(tmp_path, night, rng, wanted=wanted, samples=20, noise=0.01, between=0.0, boots=5,
                              apart=0.03)  # fmt: skip
        sides = [compare.side(path) for path in records.list_runs(tmp_path)]
        found = [compare.compare(a, b) for a, b in zip(sides[::2], sides[1::2], strict=True)]
        assert sum(any(row.word in ("worse", "better") for row in one.rows) for one in found) <= 4, "of twenty"
        numbers = [one.rounds for side in sides for one in [side.numbers.mean(*_pair(side))] if one]
        assert numbers == [5] * 40

    def test_it_is_said_where_it_is_not_known(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        a, b = run(tmp_path, 1), run(tmp_path, 2)
        main(["--results", str(tmp_path), "compare", a.name, b.name])
        assert "what drifts for longer than a run is not in them" in " ".join(capsys.readouterr().out.split())


def _pair(side: compare.Side) -> tuple[str, str, Metric]:
    first = side.head.verdicts[0]
    return first.baseline, first.candidate, first.metric
