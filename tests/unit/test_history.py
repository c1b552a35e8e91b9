"""Many runs: the index of them, what a night says, and the page of trends. Every number is made up and seeded."""

from __future__ import annotations

import html
import json
import math
import os
import re
import shutil
from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reports
from harness import record, records
from harness.record import Head
from harness.records import Writer
from harness.samples import Sample, Timed
from harness.verdicts import judging, stats
from hosts.errors import Refusal
from reports import parallel, table
from reports.__main__ import main
from reports.nights import change, dataset, history, nightly, series
from reports.nights.history import Cells, Measured, Night, Ratio, Ratios
from reports.site import build as site
from reports.site import pages, trend
from simulations import nights as maker
from tests.support import real, record_maker
from tests.support.pages import HOSTILE, edit
from tests.support.record_maker import MB, make_run
from tests.unit.test_record import head


def night_of(path: Path) -> Night:
    """A record as the history has it."""
    run = records.read(path)
    return history.of(path, "key", run.head, table.columns(path.name, run.head, run.samples), run.lost)


def ratios_of(night: Night) -> dict[tuple[str, str, str], Ratio]:
    """By baseline, candidate and metric."""
    ids = night.cells.ids
    return {(ids[one.baseline], ids[one.candidate], one.metric): one for one in night.ratios.rows()}


def samples_of(results: Path) -> pd.DataFrame:
    """All samples of a results folder's dataset, which is brought up to date first."""
    past = dataset.update(results)
    return pd.concat([pd.DataFrame(past.samples(run, [*table.COLUMNS])) for run in sorted(past.index.runs)])


def drawn(nights: Sequence[Night], told: Sequence[nightly.Told]) -> str:
    """The page of trends of some nights."""
    everything = series.groups(nights)
    return trend.render(everything, told, series.level(series.ratios(nights)), "here")[0]


NOISE = 0.0115
"""Of a night's log ratio: about what six blocks with samples that vary by 2 % give."""


def made_up(
    rng: np.random.Generator,
    count: int,
    pairs: Sequence[tuple[str, str]] = (("so-crypt", "1MB"), ("so-crypt", "10MB"), ("ipsec", "1MB"), ("ipsec", "10MB")),
    *,
    change_at: int | None = None,
    factor: float = 1.0,
    paths: Collection[str] = ("so-crypt",),
    missing: Collection[int] = (),
    testbed: str = "lab",
    noise: float = NOISE,
) -> list[Night]:
    """Nights without records: ``paths`` have ratios ``factor`` times as high from night ``change_at`` on."""
    made = []
    for number in range(count):
        cells = [Measured(f"s/base/3des/any/{size}", "base", "s", "measured", None, 1.0) for size in ("1MB", "10MB")]
        ratios = []
        boot = math.exp(rng.uniform(0, math.log(2.6)))
        for path, size in pairs:
            level = math.log(1.2)
            if change_at is not None and number >= change_at and path in paths:
                level += math.log(factor)
            cells.append(Measured(f"s/{path}/3des/any/{size}", path, "s", "measured", None, boot))
            base = 0 if size == "1MB" else 1
            ratios.append(Ratio(base, len(cells) - 1, "seconds", level + float(rng.normal(0, noise)), noise / 2, 6))
        started = maker.FIRST + timedelta(days=number)
        if number not in missing:
            made.append(
                Night(
                    key="k",
                    folder=f"{started:%Y%m%d-%H%M%S}-{testbed}",
                    started=started.isoformat(),
                    profile="p",
                    testbed=testbed,
                    kind="uml",
                    label="emulated",
                    status="complete",
                    terms={"s": "{}"},
                    cells=Cells.of(cells),
                    ratios=Ratios.of(ratios),
                )
            )
    return made


def every_night(nights: Sequence[Night], first: int = 1) -> list[nightly.Report]:
    """What each night says, as ``nightly`` would if it were run after each."""
    told: tuple[nightly.Told, ...] = ()
    said = []
    for count in range(first, len(nights) + 1):
        said.append(nightly.report(nights[:count], told))
        told = said[-1].told
    return said


def test_a_trend_begins_anew_over_another_link_and_goes_on_where_none_is_told() -> None:
    nights = made_up(np.random.default_rng(1), 6)
    kept, other = {"s": "one"}, {"s": "another"}
    links = [{}, kept, other, kept, {}, kept]
    told = [_with(night, links=link) for night, link in zip(nights, links, strict=True)]
    (group,) = series.groups(told)
    assert {one.places for one in group.series} == {(0, 1, 3, 4, 5)}


def test_the_links_of_a_suite_are_told_by_path(tmp_path: Path) -> None:
    path = make_run(tmp_path)
    head = json.loads((path / "run.json").read_text())
    for cell in head["cells"]:
        cell["links"] = {"sender": {"mtu": 1500 if cell["path"] == "so-crypt" else 9000}}
    edit(path, cells=head["cells"])
    found = night_of(path).links
    assert found.keys() == {cell["suite"] for cell in head["cells"]}
    assert all(json.loads(text)[0][1] == ["so-crypt"] for text in found.values() if "so-crypt" in text)
    assert night_of(make_run(tmp_path, seed=2)).links == {}


class TestAlarms:
    """The promises, by simulation."""

    @pytest.mark.parametrize("seed", range(10))
    def test_a_regression_is_reported_once(self, seed: int) -> None:
        nights = made_up(np.random.default_rng(seed), 60, change_at=55, factor=1 / 1.05)
        said = every_night(nights, first=50)
        assert [one.status for one in said].count(nightly.WORSE) == 1
        assert all(one.status == nightly.UNCHANGED for one in said[:6]), "not before it happened"
        at_once = nightly.report(nights, ())
        assert at_once.status == nightly.WORSE
        assert at_once.paragraph.count("so-crypt got worse") == 1
        assert "ipsec got" not in at_once.paragraph
        assert nightly.report(nights, at_once.told).status == nightly.UNCHANGED

    def test_flat_nights_raise_few_alarms(self) -> None:
        pairs = [(f"path-{n}", size) for n in range(8) for size in ("1MB", "10MB")]
        alarms = 0
        for seed in range(10):
            nights = made_up(np.random.default_rng(100 + seed), 90, pairs, missing=(44,))
            alarms += sum(one.status != nightly.UNCHANGED for one in every_night(nights))
        assert alarms <= 10, "on average at most one in ninety nights"

    def test_an_improvement_is_told_and_no_alarm(self) -> None:
        nights = made_up(np.random.default_rng(1), 40, change_at=35, factor=1.08)
        said = nightly.report(nights, ())
        assert said.status == nightly.UNCHANGED
        assert "so-crypt improved by" in said.paragraph

    def test_when_all_paths_move_it_is_the_baseline(self) -> None:
        nights = made_up(np.random.default_rng(2), 40, change_at=34, factor=1.08, paths=("so-crypt", "ipsec"))
        said = nightly.report(nights, ())
        assert said.status == nightly.WORSE
        assert "base got worse by" in said.paragraph
        assert "as every path of s moved the other way against it" in said.paragraph
        assert "so-crypt improved" not in said.paragraph

    def test_a_night_that_stands_out_is_no_change(self) -> None:
        for seed in range(5):
            nights = made_up(np.random.default_rng(seed), 60)
            nights[-1].ratios.log_ratios[0] -= 0.5
            assert nightly.report(nights, ()).status == nightly.UNCHANGED

    def test_strange_nights_hide_no_change(self) -> None:
        for seed in range(5):
            nights = made_up(np.random.default_rng(seed), 60, change_at=54, factor=1 / 1.05)
            for night in (nights[9], nights[30]):
                night.ratios.log_ratios[:] = [value + 0.4 for value in night.ratios.log_ratios]
            assert nightly.report(nights, ()).status == nightly.WORSE

    def test_a_repair_is_told_too(self) -> None:
        rng = np.random.default_rng(3)
        nights = made_up(rng, 60, change_at=40, factor=1 / 1.08)
        after = made_up(rng, 60)[48:]
        said = every_night([*nights[:48], *after], first=35)
        assert [one.status for one in said].count(nightly.WORSE) == 1
        assert sum("so-crypt improved" in one.paragraph and "told before" not in one.paragraph for one in said) == 1

    def test_what_is_old_is_no_news(self) -> None:
        nights = made_up(np.random.default_rng(4), 90, change_at=40, factor=1 / 1.08)
        said = nightly.report(nights, ())
        assert said.status == nightly.UNCHANGED
        assert "so-crypt" not in said.paragraph
        assert said.told and not any(one.news for one in said.told)

    def test_few_nights_say_nothing_and_say_so(self) -> None:
        said = nightly.report(made_up(np.random.default_rng(5), 5, change_at=3, factor=0.5), ())
        assert said.status == nightly.UNCHANGED
        assert "too early to tell of changes; " in said.paragraph
        assert "over 5 nights (fewer than the 25 that are needed)." in said.paragraph

    def test_enough_nights_say_that_nothing_changed(self) -> None:
        nights = made_up(np.random.default_rng(5), 25)
        assert "too early" in nightly.report(nights[:-1], ()).paragraph
        assert "nothing changed for the worse; " in nightly.report(nights, ()).paragraph

    def test_other_testbeds_are_other_series(self) -> None:
        rng = np.random.default_rng(6)
        both = made_up(rng, 30, testbed="a") + made_up(rng, 30, testbed="b", factor=0.7, change_at=0)
        assert nightly.report(history.in_order(both), ()).status == nightly.UNCHANGED

    def test_other_terms_begin_a_new_series(self) -> None:
        nights = made_up(np.random.default_rng(7), 40, change_at=30, factor=0.7)
        moved = [_with(one, terms={"s": '{"tls": "1.3"}'}) if n >= 30 else one for n, one in enumerate(nights)]
        assert nightly.report(nights, ()).status == nightly.WORSE
        assert nightly.report(moved, ()).status == nightly.UNCHANGED
        assert [len(one.values) for one in series.groups(moved)[0].series] == [10] * 4

    def test_what_a_suite_measured_begins_no_new_series(self, tmp_path: Path) -> None:
        """Nor does what records say since paths say their steps: older ones do not."""

        def measured(run: record.Run) -> None:
            for entry in run.head.suites:
                entry.prices_by_round = [
                    {name: 1.01 * ns for name, ns in some.items()} for some in entry.prices_by_round
                ]
                entry.prices = {name: 1.01 * ns for name, ns in entry.prices.items()}
                entry.rehearsals = [one.model_copy(update={"seconds": 1.01 * one.seconds}) for one in entry.rehearsals]
                entry.transfer_share = {size: 0.99 * share for size, share in entry.transfer_share.items()}
                entry.steps, entry.taken, entry.ciphering = {}, {}, []

        paths = [real.written(tmp_path, real.night(n), *([measured] if n == 2 else [])) for n in (1, 2)]
        nights = [night_of(path) for path in paths]
        (group,) = series.groups(nights)
        assert group.series and {one.places for one in group.series} == {(0, 1)}

    def test_what_a_suite_asks_begins_a_new_series(self) -> None:
        one = record.SuiteEntry(name="s", figure=7, link_rate_bits_per_second=None, baseline="afalg-copy")
        for more in (
            {"tls": "1.3"},
            {"integrity": "sha256"},
            {"conditions": "20 ms"},
            {"link_rate_bits_per_second": 9},
        ):
            assert history._terms(one.model_copy(update=more), None, None) != history._terms(one, None, None)
        assert history._terms(one, "two-level-1", None) != history._terms(one, None, None), "other intervals"
        assert history._terms(one, None, "stream-1") != history._terms(one, None, None), "another way of receiving"
        crypto = one.model_copy(update={"question": "kernel-crypto"})
        assert history._terms(crypto, None, "stream-1") == history._terms(crypto, None, None), "nothing is received"

    def test_of_each_field_of_a_suite_it_is_said_whether_another_begins_a_new_series(self) -> None:
        told = {"name", "figure", "question", "prices", "prices_by_round", "rehearsals", "steps", "taken", "ciphering"}
        measured = {"link", "crossings", "transfer_share"}
        assert {*history.MEANING, *history.WAY} == record.SuiteEntry.model_fields.keys() - told - measured

    def test_what_changed_between_the_runs_is_named(self) -> None:
        nights = made_up(np.random.default_rng(8), 40, change_at=35, factor=1 / 1.08)
        dated = [
            _with(one, facts={"sender's kernel": "6.12.1" if n < 35 else "6.12.2", "harness": "1"})
            for n, one in enumerate(nights)
        ]
        paragraph = nightly.report(dated, ()).paragraph
        assert "Between the two runs also changed: sender's kernel (6.12.1 to 6.12.2)." in paragraph


def _with(night: Night, **fields: Any) -> Night:
    return Night(**{name: getattr(night, name) for name in night.__struct_fields__} | fields)


def one_course(values: change.Values, error: float, alpha: float, known: Sequence[int] = ()) -> list[change.Change]:
    """What is found in a series that was measured alone."""
    return change.find([change.Course(values, np.full(len(values), error), known)], alpha)[0]


def resembling(rng: np.random.Generator, count: int, nights: int = 60, lag: float = 0.3) -> list[change.Values]:
    """Series without a change, in which a night resembles the one before it."""
    series = rng.normal(0, NOISE, (count, nights))
    for night in range(1, nights):
        series[:, night] = lag * series[:, night - 1] + math.sqrt(1 - lag**2) * series[:, night]
    return list(series)


COURSES = st.tuples(
    st.lists(st.floats(-700, 700), max_size=40),
    st.lists(st.integers(-3, 50), max_size=12),
    st.sampled_from([0.0, 0.01]),
)


class TestChange:
    def test_a_step_is_found_where_it_is(self) -> None:
        values = np.random.default_rng(1).normal(0, 0.01, 60)
        values[40:] += 0.06
        found = one_course(values, 0.005, 1e-4)
        assert [one.place for one in found] == [40]
        assert found[0].factor == pytest.approx(math.exp(0.06), rel=0.01)
        assert one_course(values, 0.005, 1e-4, known=[40]) == []

    def test_series_are_tamed_alike_alone_and_together(self) -> None:
        rng = np.random.default_rng(5)
        some = np.concatenate([rng.normal(0, 0.01, (5, 40)), rng.integers(0, 3, (5, 40)) * 0.01])
        some[2, 20] += 1.0
        steady, scales = change.tamed(some)
        for values, mine, scale in zip(some, steady, scales, strict=True):
            padded = np.pad(values, 2, mode="reflect")
            usual = np.array([np.median(padded[n : n + 5]) for n in range(40)])
            assert scale == 1.4826 * np.median(np.abs(values - usual))
            assert (mine == usual + np.clip(values - usual, -5 * scale, 5 * scale)).all()
            assert (change.tamed(values)[0] == mine).all()
        assert steady[2, 20] < 0.2

    def test_a_bump_is_two_changes(self) -> None:
        values = np.random.default_rng(2).normal(0, 0.01, 60)
        values[30:40] += 0.08
        assert [one.place for one in one_course(values, 0.005, 1e-4)] == [30, 40]

    def test_noise_within_the_nights_counts(self) -> None:
        values = np.zeros(40)
        values[30:] = 0.05
        assert one_course(values, 1e-4, 1e-4)
        assert not one_course(values, 0.2, 1e-4), "the blocks say that such a step is noise"

    def test_small_steps_are_no_change(self) -> None:
        values = np.tile([0.0, 1e-5], 20)
        values[20:] += 0.005
        assert not one_course(values, 1e-5, 1e-4)

    def test_nights_that_resemble_each_other_are_known_by_all_series(self) -> None:
        flat = resembling(np.random.default_rng(9), 800)
        errors = np.full(60, NOISE / 2)
        alone = sum(bool(one_course(one, NOISE / 2, 1e-2)) for one in flat)
        together = sum(map(bool, change.find([change.Course(one, errors) for one in flat], 1e-2)))
        assert together <= 8, "one in a hundred series, at most"
        assert alone > 2 * 8, "one series is too short to know it by"

    def test_what_changes_all_series_is_no_resemblance(self) -> None:
        rng = np.random.default_rng(10)
        changed = [rng.normal(0, NOISE, 60) - np.where(np.arange(60) < 40, 0, 0.05) for _ in range(50)]
        found = change.find([change.Course(one, np.full(60, NOISE / 2)) for one in changed], 1e-4)
        assert sum(len(one) == 1 and abs(one[0].place - 40) <= 1 for one in found) >= 45

    @given(st.lists(COURSES, max_size=3))
    @settings(max_examples=60)
    def test_any_series_are_cut_within_their_limits(self, drawn: list[tuple[list[float], list[int], float]]) -> None:
        courses = [change.Course(np.array(one), np.full(len(one), error), known) for one, known, error in drawn]
        for course, found in zip(courses, change.find(courses, 1e-3), strict=True):
            places = [one.place for one in found]
            assert places == sorted(set(places))
            assert all(change.SHORTEST <= place <= len(course.values) - change.SHORTEST for place in places)
            assert not set(places) & set(course.known)


class TestIndex:
    def test_ratios_are_those_of_the_verdicts(self, tmp_path: Path) -> None:
        path = make_run(tmp_path, blocks=5, outcomes={"schemes/so-crypt/3des/any/1MB": ("failed", "no")})
        run = records.read(path)
        night = night_of(path)
        found = ratios_of(night)
        compared = 0
        for suite in run.head.suites:
            for size in {cell.size_bytes for cell in run.head.cells}:
                cells = [c for c in run.head.cells if c.suite == suite.name and c.size_bytes == size]
                rows = judging.rows(cells, suite.baseline, 0.03, {}, lambda *_: None)
                for told in judging.settled(rows, run.samples):
                    mine = found.pop((told.baseline, told.candidate, told.metric))
                    assert told.ratio and math.exp(mine.log_ratio) == pytest.approx(told.ratio, rel=1e-6)
                    assert mine.blocks == told.blocks
                    compared += 1
        assert compared > 20 and not found, "and there are no others"

    def test_a_busy_time_below_its_clock_is_no_ratio(self, tmp_path: Path) -> None:
        path = make_run(tmp_path, blocks=4, sizes=[MB])
        lines = [json.loads(line) for line in (path / "samples.jsonl").read_text().splitlines()]
        lines[-1]["sender"]["cpu_resolution_seconds"] = 10.0
        (path / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        metrics = {metric for _, candidate, metric in ratios_of(night_of(path)) if candidate == lines[-1]["cell"]}
        assert metrics == {"seconds"}

    def test_it_is_made_again_from_the_records(self, tmp_path: Path) -> None:
        for seed in (1, 2, 3):
            make_run(tmp_path, seed=seed, blocks=3)
        first, rows = dataset.update(tmp_path).nights(), samples_of(tmp_path)
        files = [
            path for path in (tmp_path / dataset.FOLDER).rglob("*") if path.suffix in (".json", ".jsonl", ".parquet")
        ]
        assert len(files) == 1 + 1 + 1, "an index, and a month's nights and samples"
        for path in files:
            whole = path.read_bytes()
            for damage in (b"", b"{", whole[: len(whole) // 2], b"\xff"):
                path.write_bytes(damage)
                assert dataset.update(tmp_path).nights() == first
                pd.testing.assert_frame_equal(samples_of(tmp_path), rows)
            path.unlink()
            assert dataset.update(tmp_path).nights() == first
        assert dataset.again(tmp_path).nights() == first

    def test_only_what_changed_is_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        one, two, later = (make_run(tmp_path, seed=seed, blocks=3) for seed in (1, 2, 3))
        _head(later, started="2026-12-24T20:15:00+02:00")
        dataset.update(tmp_path)
        read = _seen(monkeypatch)
        dataset.update(tmp_path)
        assert read == []
        with (later / "samples.jsonl").open("a") as file:
            file.write('{"cell": "cut off')
        made = dataset.update(tmp_path).nights()
        assert read == [later.name]
        assert [bool(night.lost) for night in made] == [False, False, True]
        shutil.rmtree(one)
        assert [night.folder for night in dataset.update(tmp_path).nights()] == [two.name, later.name]
        assert set(samples_of(tmp_path)["run"]) == {two.name, later.name}
        assert read == [later.name, two.name], "what is left of its month is put down again"
        shutil.rmtree(later)
        dataset.update(tmp_path)
        (left,) = (tmp_path / dataset.FOLDER).rglob("*.parquet")
        assert left.parent.name == "month=2026-01" and read == [later.name, two.name]

    def test_the_newest_nights_are_read_alone(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(6)
        mine, others = made_up(rng, 6), made_up(rng, 3, testbed="pair")
        mine[4] = _with(mine[4], status="failed")
        folder = tmp_path / dataset.FOLDER / dataset.NIGHTS
        folder.mkdir(parents=True)
        for part, some in (("new", mine[3:]), ("old", [*others, *mine[:3]])):
            (folder / f"{part}.jsonl").write_bytes(msgspec.json.Encoder().encode_lines(some))
        assert dataset.nights(tmp_path, ["new", "old"]) == history.in_order([*mine, *others])
        assert dataset.newest(tmp_path, ["new", "old"], 9) == history.in_order([*mine, *others])
        assert dataset.newest(tmp_path, ["new", "old"], 2) == history.in_order([*mine[3:], *others[1:]])

    def test_a_new_run_is_added_to_its_month(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for seed in (1, 2):
            make_run(tmp_path, seed=seed, blocks=3)
        dataset.update(tmp_path)
        new = make_run(tmp_path, seed=3, blocks=4)
        read = _seen(monkeypatch)
        dataset.update(tmp_path)
        assert read == [new.name]
        (path,) = (tmp_path / dataset.FOLDER).rglob("*.parquet")
        added, rows = pd.read_parquet(path), samples_of(tmp_path)
        assert len(added) == len(rows) == sum(len(records.read(path).samples) for path in records.list_runs(tmp_path))
        nights = dataset.again(tmp_path).nights()
        assert nights == dataset.update(tmp_path).nights() and len(nights) == 3
        pd.testing.assert_frame_equal(pd.read_parquet(path), added)
        pd.testing.assert_frame_equal(samples_of(tmp_path), rows)

    def test_samples_in_parts_of_earlier_versions_go(self, tmp_path: Path) -> None:
        make_run(tmp_path, blocks=3)
        rows = samples_of(tmp_path)
        (path,) = (tmp_path / dataset.FOLDER).rglob("*.parquet")
        shutil.copyfile(path, path.with_name("another.parquet"))
        pd.testing.assert_frame_equal(samples_of(tmp_path), rows)
        assert [one.name for one in path.parent.iterdir()] == [path.name]

    def test_an_update_that_was_stopped_leaves_nothing_twice(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        paths = [make_run(tmp_path, seed=seed, blocks=3) for seed in (1, 2)]
        dataset.update(tmp_path)
        paths.append(make_run(tmp_path, seed=3, blocks=3))
        replace = dataset._replace

        def full(path: Path, content: bytes) -> None:
            if path.name == dataset.INDEX:
                raise OSError(28, "No space left on device")
            replace(path, content)

        with monkeypatch.context() as patch, pytest.raises(Refusal, match=r"cannot write the history in .*No space"):
            patch.setattr(dataset, "_replace", full)
            dataset.update(tmp_path)
        assert [night.folder for night in dataset.update(tmp_path).nights()] == [path.name for path in paths]
        assert len(samples_of(tmp_path)) == sum(len(records.read(path).samples) for path in paths)

    def test_samples_are_read_by_column_and_partition(self, tmp_path: Path) -> None:
        paths = [make_run(tmp_path, seed=seed, blocks=3) for seed in (1, 2, 3)]
        _head(paths[1], testbed={"name": "pair 7/a", "kind": "hosts"})
        _head(paths[2], started="2026-12-24T20:15:00+02:00")
        started = records.read_head(paths[0]).started
        past = dataset.update(tmp_path)
        profile = past.nights()[0].profile
        assert sorted(past.partitions()) == [f"profile={profile}/testbed={name}" for name in ("lab", "pair%207%2Fa")]
        assert [dataset.names(one)[1] for one in past.partitions()] == ["lab", "pair 7/a"]
        assert past.of([paths[1].name]) == {f"profile={profile}/testbed=pair%207%2Fa"}
        folder = tmp_path / dataset.FOLDER / dataset.SAMPLES
        assert {path.parent.name for path in folder.rglob("*.parquet")} == {"month=2026-12", f"month={started:%Y-%m}"}
        wanted = ["run", "cell", "seconds"]
        found = pd.read_parquet(folder, columns=wanted, filters=[("testbed", "==", "lab")])  # as docs/history.md says
        assert [name for name in found.columns if name in table.COLUMNS] == wanted
        assert set(found["run"]) == {paths[0].name, paths[2].name}
        for path in (paths[0], paths[2]):
            mine, run = found[found["run"] == path.name], records.read(path)
            assert mine["cell"].tolist() == [sample.cell for sample in run.samples]
            assert mine["seconds"].tolist() == [sample.seconds for sample in run.samples]
            assert past.samples(path.name, ["seconds"])["seconds"].tolist() == mine["seconds"].tolist()

    def test_a_record_without_samples_has_none(self, tmp_path: Path) -> None:
        Writer(tmp_path, head("r")).finish("failed")
        past = dataset.update(tmp_path)
        assert [len(column) for column in past.samples("r", ["cell", "seconds"]).values()] == [0, 0]
        assert not len(past.samples("nobody", ["cell"])["cell"])
        assert dataset.update(tmp_path).index == past.index

    def test_what_counts_and_what_is_missing_is_told_of_each_sample(self, tmp_path: Path) -> None:
        path = make_run(tmp_path, blocks=4, sizes=[MB])
        lines = [json.loads(line) for line in (path / "samples.jsonl").read_text().splitlines()]
        lines[-1] |= {"seconds": None, "valid": False, "bytes": None}
        lines[-2]["sender"]["cpu_resolution_seconds"] = 10.0
        (path / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        made = dataset.update(tmp_path).samples(path.name, [*table.COLUMNS])
        rows, run = samples_of(tmp_path), records.read(path)
        assert {name: str(column.dtype) for name, column in made.items()} == table.COLUMNS
        taken = {id(sample) for blocks in run.counted().values() for sample in blocks.values()}
        assert rows["counted"].tolist() == [id(sample) in taken for sample in run.samples]
        assert rows["seconds"].isna().sum() == rows["bytes"].isna().sum() == 1
        assert math.isnan(rows["sender_cpu_seconds_per_gb"].iloc[-2]) and rows["sender_cpu_seconds"].iloc[-2] > 0

    def test_every_column_is_documented(self) -> None:
        text = (Path(__file__).parents[2] / "docs" / "history.md").read_text()
        listed = re.findall(r"^\| `(\w+)` \| (\w+)", text[text.index("A row of it is a sample") :], re.MULTILINE)
        kinds = {"text": "object", "integer": "int64", "boolean": "bool", "double": "float64"}
        assert {name: kinds[kind] for name, kind in listed} == table.COLUMNS

    def test_a_run_that_goes_on_is_read_again(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        done = make_run(tmp_path, blocks=3)
        dataset.update(tmp_path)
        writer = Writer(tmp_path, head("r"))
        read = _seen(monkeypatch)
        for _ in range(2):
            past = dataset.update(tmp_path)
            assert [night.status for night in past.nights()] == ["complete", "running"]
            assert past.of(["r", done.name]) == set(past.partitions()) and not len(past.samples("r", ["cell"])["cell"])
        writer.finish("complete")
        assert [night.status for night in dataset.update(tmp_path).nights()] == ["complete", "complete"]
        assert read == ["r", "r", "r"]

    def test_numbers_at_the_edge_of_what_can_be_held(self, tmp_path: Path) -> None:
        path = make_run(tmp_path, blocks=4, sizes=[MB])
        lines = [json.loads(line) for line in (path / "samples.jsonl").read_text().splitlines()]
        for n, line in enumerate(lines):
            line["seconds"] = 1e308 if n % 2 else 1e-308
            line["block"] *= 10**15
        (path / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        night = night_of(path)
        assert all(math.isfinite(value) for value in night.ratios.log_ratios)
        assert nightly.report([night], ()).status == nightly.UNCHANGED
        assert main(["--results", str(tmp_path)]) == 0
        assert main(["--results", str(tmp_path), "compare", path.name, path.name]) in (0, 2)


class TestTable:
    def test_means_are_those_of_the_verdicts(self, tmp_path: Path) -> None:
        made = [make_run(tmp_path, seed=number, blocks=6, rounds=rounds) for number, rounds in enumerate((1, 3), 1)]
        for path in (*made, real.DATA):
            run = records.read(path)
            numbers, shown = table.table(table.columns(path.name, run.head, run.samples)), ratios_of(night_of(path))
            told = [v for v in run.head.verdicts if v.ratio]
            assert len(told) == len(shown) > 0
            for v, pairs in zip(told, judging.all_pairs(told, run.samples), strict=True):
                alone = judging.series(pairs.values(), v.metric)
                mine, expected = numbers.series(v.baseline, v.candidate, v.metric), stats.mean(alone)
                assert (len(mine.logs), expected.rounds) == (v.blocks, v.rounds)
                assert mine.logs == pytest.approx(alone.logs) and mine.rounds == alone.rounds
                assert 0 < mine.grain == pytest.approx(alone.grain)
                kept = shown[v.baseline, v.candidate, v.metric]
                assert math.exp(kept.log_ratio) == pytest.approx(v.ratio, rel=1e-5) and kept.blocks == v.blocks
                assert (kept.log_ratio, kept.error) == pytest.approx((expected.mean, expected.error), rel=1e-6)

    def test_what_is_missing_stays_missing(self) -> None:
        def one(cell: str, block: int, **more: Any) -> Sample:
            fields = {"cell": cell, "block": block, "index": 0, "warmup": False, "seconds": 2.0, "valid": True}
            return msgspec.convert(fields | more, Sample)

        rows = [one("a", n) for n in range(4)] + [one("b", n, seconds=1.0) for n in range(1, 4)]
        rows += [one("b", 0, warmup=True), one("c", 0, seconds=None, valid=False), one("a", 9, valid=False)]

        def numbers_of(rows: list[Sample]) -> table.Table:
            head = SimpleNamespace(measured=set("abc"))
            return table.table(table.columns("r", cast(Head, head), rows))

        numbers = numbers_of(rows)
        assert list(numbers.series("a", "b", "seconds").logs) == pytest.approx([math.log(2)] * 3)
        for a, b in (("a", "b"), ("a", "c"), ("x", "y")):
            assert numbers.series(a, b, "cpu_seconds_per_gb").logs == ()
            assert numbers.mean(a, b, "cpu_seconds_per_gb") is None
        assert numbers.series("a", "c", "seconds").logs == ()
        assert [numbers.median_seconds(name) for name in "abc"] == [2.0, 1.0, None]
        more = [*rows, one("a", 10, seconds=5.0), one("a", 11, seconds=9.0), one("a", 12, seconds=9.0)]
        assert numbers_of(more).median_seconds("a") == 2.0
        rising = [one("a", n, seconds=n + 1.0) for n in range(4)]
        assert numbers_of(rising).median_seconds("a") == 2.5
        assert numbers_of([]).mean("a", "b", "seconds") is None


class TestCommand:
    """The program as a person or a timer runs it, on records on disk."""

    @pytest.fixture
    def results(self, tmp_path: Path) -> Path:
        rng = np.random.default_rng(1)
        wanted = maker.cells(10)
        for night in range(28):
            slower = {"so-crypt": 1.08} if night >= 22 else None
            if night != 7:
                maker.write_night(tmp_path, night, rng, wanted=wanted, samples=6, factors=slower)
        return tmp_path

    def test_a_change_ends_with_one_and_is_told_once(self, results: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["nightly", "--results", str(results)]) == nightly.WORSE
        said = capsys.readouterr().out
        assert "so-crypt got worse by" in " ".join(said.split())
        assert "\n\n" not in said and max(map(len, said.splitlines())) <= 100, "one paragraph"
        assert main(["nightly", "--results", str(results)]) == nightly.UNCHANGED
        (results / nightly.FILE).unlink()
        shutil.rmtree(results / dataset.FOLDER)
        assert main(["nightly", "--results", str(results)]) == nightly.WORSE, "forgotten: told again"

    def test_a_cell_that_is_no_longer_measured(self, results: Path, capsys: pytest.CaptureFixture[str]) -> None:
        main(["nightly", "--results", str(results)])
        newest = records.list_runs(results)[-1]
        content = json.loads((newest / "run.json").read_text())
        content["cells"][3] |= {"outcome": "invalid", "reason": "the witness\nsaw\x1b[2J nothing"}
        (newest / "run.json").write_text(json.dumps(content))
        capsys.readouterr()
        assert main(["nightly", "--results", str(results)]) == nightly.WORSE
        said = " ".join(capsys.readouterr().out.split())
        assert f"No longer measured: {content['cells'][3]['id']}: invalid, the witness" in said and "\x1b" not in said
        assert main(["nightly", "--results", str(results)]) == nightly.UNCHANGED

    @pytest.mark.parametrize("status", ["failed", "interrupted"])
    def test_a_night_that_ended_early_cannot_be_compared(
        self, results: Path, status: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        main(["nightly", "--results", str(results)])
        newest = records.list_runs(results)[-1]
        content = json.loads((newest / "run.json").read_text())
        (newest / "run.json").write_text(json.dumps(content | {"status": status, "reason": "no route"}))
        capsys.readouterr()
        assert main(["nightly", "--results", str(results)]) == nightly.UNKNOWN
        assert f"is {status} (no route) and was not compared" in " ".join(capsys.readouterr().out.split())

    def test_nothing_to_compare(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["nightly", "--results", str(tmp_path)]) == nightly.UNKNOWN
        assert main(["nightly", "--results", str(tmp_path / "none")]) == nightly.UNKNOWN
        assert capsys.readouterr().err.startswith("reports: there is no results folder")

    def test_a_damaged_memory_is_said(self, results: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (results / nightly.FILE).write_text("{")
        assert main(["nightly", "--results", str(results)]) == nightly.UNKNOWN
        assert "remove it: changes of the last 30 nights" in capsys.readouterr().err
        assert main(["--results", str(results)]) == 0, "the pages are made all the same"

    def test_a_profile_that_was_not_run_is_a_gap(self, results: Path, capsys: pytest.CaptureFixture[str]) -> None:
        rng = np.random.default_rng(2)
        maker.write_night(results, 31, rng, wanted=maker.cells(5), samples=6, profile="other")
        main(["nightly", "--results", str(results)])
        assert "made-up on lab was not run: a gap since 2026-01-28." in " ".join(capsys.readouterr().out.split())


Damage = Callable[[Path], None]


def _seen(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The runs whose samples are read from now on."""
    read: list[str] = []
    reader = records.timed

    def seen(path: Path) -> tuple[list[Timed], list[str]]:
        read.append(path.name)
        return reader(path)

    monkeypatch.setattr(records, "timed", seen)
    return read


def _head(path: Path, **changes: object) -> None:
    content = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(json.dumps(content | changes))


def _cut_last(path: Path) -> None:
    file = path / "samples.jsonl"
    file.write_bytes(file.read_bytes()[:-30])


def _cut_middle(path: Path) -> None:
    lines = (path / "samples.jsonl").read_text().splitlines(keepends=True)
    lines[3] = lines[3][:40] + "\n"
    (path / "samples.jsonl").write_text("".join(lines))


def _older(path: Path) -> None:
    _head(path, schema=0)


def _newer(path: Path) -> None:
    _head(path, schema=2, colours=["a field that schema 1 does not have"])


def _nan(path: Path) -> None:
    text = (path / "samples.jsonl").read_text()
    (path / "samples.jsonl").write_text(re.sub(r'"seconds":[0-9.e-]+', '"seconds":NaN', text, count=1))


def _nan_witness(path: Path) -> None:
    text = (path / "samples.jsonl").read_text()
    (path / "samples.jsonl").write_text(re.sub(r'("witness":\{"\w+":)[0-9.]+', r"\1NaN", text, count=1))


def _nan_facts(path: Path) -> None:
    _head(path, hosts={"sender": {"memory": float("nan"), "deep": [[{"x": [float("inf")]}]]}, "receiver": {}})


def _hostile(path: Path) -> None:
    _head(path, hosts={"sender": {HOSTILE: HOSTILE, "kernel": HOSTILE, "processor": HOSTILE}}, notes=[HOSTILE])


class TestDamage:
    """Each kind of damage has one clear outcome: in the index, in the comparison, and in the night."""

    @pytest.mark.parametrize(
        ("damage", "said"),
        [
            (_cut_middle, "line 4 is not a sample"),
            (_older, "is a record of schema 0, older than schema 1"),
            (_newer, "is a record of schema 2, newer than schema 1"),
            (_nan, "line 1 is not a sample: JSON is malformed"),
            (_nan_witness, "line 1 is not a sample: JSON is malformed"),
        ],
    )
    def test_refused(self, tmp_path: Path, damage: Damage, said: str, capsys: pytest.CaptureFixture[str]) -> None:
        good, bad = make_run(tmp_path, seed=1, blocks=3), make_run(tmp_path, seed=2, blocks=3)
        damage(bad)
        assert main(["--results", str(tmp_path)]) == 0
        index = (tmp_path / "site" / "index.html").read_text()
        assert said in index and good.name in index
        assert not (tmp_path / "site" / bad.name).exists()
        for arguments, status in (
            (["compare", good.name, bad.name], 2),
            (["compare", "--anyway", bad.name, good.name], 2),
            (["export", bad.name, "--to", str(tmp_path / "out")], 1),
            ([bad.name], 1),
        ):
            capsys.readouterr()
            assert main(["--results", str(tmp_path), *arguments]) == status
            error = capsys.readouterr().err
            assert said in error and len(error.splitlines()) == 1
        assert main(["--results", str(tmp_path), "nightly"]) == nightly.UNKNOWN
        assert said in " ".join(capsys.readouterr().out.split())

    @pytest.mark.parametrize("damage", [_cut_last, _nan_facts, _hostile])
    def test_readable(self, tmp_path: Path, damage: Damage, capsys: pytest.CaptureFixture[str]) -> None:
        good, bad = (make_run(tmp_path, seed=seed, blocks=3, rounds=3) for seed in (1, 2))
        damage(bad)
        for arguments in (
            [],
            [good.name],
            [bad.name],
            ["nightly"],
            ["compare", good.name, bad.name, "--html"],
            ["export", bad.name, "--to", str(tmp_path / "out")],
        ):
            partly = arguments == ["nightly"] and damage is _cut_last  # a night that is not whole tells not enough
            expected = nightly.UNKNOWN if partly else 0
            assert main(["--results", str(tmp_path), *arguments]) == expected, arguments
        assert "\x1b" not in capsys.readouterr().out
        made = list((tmp_path / "site").glob("*/index.html"))
        assert len(made) == 5
        for page in made:
            assert "<script>alert" not in page.read_text() and "<img src=x" not in page.read_text()
        cut = "cut off" in (tmp_path / "site" / bad.name / "index.html").read_text()
        assert cut == (damage is _cut_last)

    def test_what_no_page_was_made_for_is_a_row(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        good, bad = make_run(tmp_path, seed=1, blocks=3), make_run(tmp_path, seed=2, blocks=3)
        render = pages.render

        def broken(run: record.Run) -> pages.Page:
            if run.path == bad:
                raise ZeroDivisionError("division by zero")
            return render(run)

        monkeypatch.setattr(pages, "render", broken)
        index = reports.build_site(tmp_path).read_text()
        assert "ZeroDivisionError: division by zero" in index
        assert (tmp_path / "site" / good.name / "index.html").exists()


class TestTrends:
    def test_a_missing_night_breaks_the_line(self) -> None:
        values = [1.0, 2.0, None, 1.0, 1.5, 2.0]
        assert trend.path(values, [0, 1, 2, 3, 4, 5], set()) == "M0,200h0L1,0M3,200h0L4,100L5,0"
        assert trend.path(values, [0, 1, 2, 3, 9, 10], {4}) == "M0,200h0L1,0M3,200h0M9,100h0L10,0"
        assert trend.path([None, None], [0, 1], set()) == ""
        assert trend.path([2.0], [0], set()) == "M0,200h0"

    def test_a_lab_is_called_what_its_record_says(self) -> None:
        nights = [_with(one, kind="small", label="emulated") for one in made_up(np.random.default_rng(3), 12)]
        assert '<span class="tag emulated">emulated</span>' in drawn(nights, ())

    def test_the_page_shows_gaps_changes_and_grey_times(self) -> None:
        nights = made_up(np.random.default_rng(1), 40, change_at=30, factor=1 / 1.1, missing=(12,))
        page = drawn(nights, ())
        assert "39\u2009nights" in page.replace(" nights", "\u2009nights") and "1 gap" in page
        assert page.count('class="line"') == 4 and page.count('class="grey"') == 4
        assert page.count('class="worse"') == 2, "both sizes of one path"
        line = re.findall(r'class="line" d="([^"]*)"', page)[0]
        assert line.count("M") == 2
        assert "down 9" in page or "down 10" in page

    def test_the_first_sentence_says_what_changed(self) -> None:
        for count, change_at, said in (
            (12, None, "4 ratios over 12 nights: changes are told from 25 nights on."),
            (40, None, "No change in 4 ratios over 40 nights."),
            (40, 30, "2 of 4 ratios changed in 40 nights, the last on 2026-"),
        ):
            nights = made_up(np.random.default_rng(1), count, change_at=change_at, factor=1 / 1.1)
            assert said in html.unescape(drawn(nights, ())).replace("\N{NO-BREAK SPACE}", " ")

    def test_ratios_that_changed_come_first(self) -> None:
        nights = made_up(np.random.default_rng(1), 40, change_at=30, factor=1 / 1.1)
        page = drawn(nights, ())
        rows = re.findall(r"<tr><td><span.*?</tr>", page, re.DOTALL)
        assert ['class="worse"' in row for row in rows] == [True, True, False, False]

    def test_names_are_text(self) -> None:
        nights = made_up(np.random.default_rng(2), 12, pairs=[(HOSTILE, "1MB")], testbed=HOSTILE)
        page = drawn(nights, ())
        assert "<script>alert" not in page and "<img" not in page

    def test_told_changes_stay_marked(self) -> None:
        nights = made_up(np.random.default_rng(3), 40, change_at=30, factor=1 / 1.1)
        told = nightly.report(nights, ()).told
        assert drawn(nights, told).count('class="worse"') == 2


class TestSite:
    def test_older_runs_have_short_pages_until_asked(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        runs = [make_run(tmp_path, seed=seed, blocks=3) for seed in (1, 2, 3)]
        size = (runs[0] / "samples.jsonl").stat().st_size
        monkeypatch.setattr(site, "LONG_BYTES", int(1.5 * size))
        reports.build_site(tmp_path)
        made = [tmp_path / "site" / run.name / "index.html" for run in runs]
        short = "This is the short page of an older run."
        assert [short in page.read_text() for page in made] == [True, True, False]
        assert sorted(p.name for p in made[0].parent.iterdir()) == ["index.html"]
        assert "faster" in made[0].read_text(), "its verdicts are there"
        assert main(["--results", str(tmp_path), runs[0].name]) == 0
        assert [short in page.read_text() for page in made] == [False, True, False]
        new = make_run(tmp_path, seed=4, blocks=3)
        reports.build_site(tmp_path)
        assert [short in page.read_text() for page in made] == [False, True, False], "a long page stays"
        assert short not in (tmp_path / "site" / new.name / "index.html").read_text()
        assert main(["--results", str(tmp_path), "--long"]) == 0
        assert not any(short in page.read_text() for page in made)

    def test_names_in_a_short_page_are_text(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(site, "LONG_BYTES", 0)
        old, _ = make_run(tmp_path, seed=1, blocks=3), make_run(tmp_path, seed=2, blocks=3)
        name = json.dumps(f"schemes/{HOSTILE}/3des/any/1MB")[1:-1]
        for file in ("run.json", "samples.jsonl"):
            text = (old / file).read_text().replace('schemes/so-crypt/3des/any/1MB"', f'{name}"')
            (old / file).write_text(text.replace('schemes/afalg-copy/3des/any/1MB"', f'{name}-"'))
        _head(old, harness=HOSTILE, reason=HOSTILE)
        reports.build_site(tmp_path)
        page = (tmp_path / "site" / old.name / "index.html").read_text()
        assert "short page of an older run" in page and "alert(1)" in page
        assert "<script>alert" not in page and "<img" not in page

    def test_the_index_leads_to_the_trends(self, tmp_path: Path) -> None:
        make_run(tmp_path, blocks=3)
        text = reports.build_site(tmp_path).read_text()
        assert '<a href="trends/index.html">Trends</a>' in text
        made = [path / "index.html" for path in sorted((tmp_path / "site").glob("trends*"))]
        assert [page.parent.name for page in made] == ["trends", "trends-gigabit-3des+lab"]
        assert 'href="../trends-gigabit-3des%2Blab/index.html' in made[0].read_text()
        for page in made:
            page.write_text("old")
        reports.build_site(tmp_path)
        assert {page.read_text() for page in made} == {"old"}, "only what changed is made again"
        make_run(tmp_path, seed=2, blocks=3)
        reports.build_site(tmp_path)
        assert all(page.read_text() != "old" for page in made)

    def test_trends_of_each_profile_on_each_testbed_have_a_page(self, tmp_path: Path) -> None:
        paths = [make_run(tmp_path, seed=seed, blocks=3) for seed in (1, 2)]
        _head(paths[1], testbed={"name": HOSTILE, "kind": "hosts"})
        reports.build_site(tmp_path)
        lab, other = sorted((tmp_path / "site").glob("trends-*/index.html"), key=lambda path: "+lab" not in str(path))
        front = (tmp_path / "site" / "trends" / "index.html").read_text()
        assert front.count("<tr><td>") == 2 and "<script>alert" not in front + other.read_text()
        for page in (lab, other):
            page.write_text("old")
        _head(paths[1], notes=["changed"])
        reports.build_site(tmp_path)
        assert lab.read_text() == "old" and other.read_text() != "old"
        shutil.rmtree(paths[1])
        reports.build_site(tmp_path)
        assert len(list((tmp_path / "site").glob("trends-*"))) == 1

    def test_several_processes_make_the_same_site(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        here: set[int] = set()

        def noted(task: Callable[[Any], Any], items: Sequence[Any], needs: str | None = None) -> list[Any]:
            here.add(len(items))
            return [task(item) for item in items]

        for number in range(9):
            path = make_run(tmp_path / "one", seed=number, blocks=3, sizes=[MB])
            _head(path, testbed={"name": f"pair-{number}", "kind": "hosts"})
        shutil.copytree(tmp_path / "one", tmp_path / "two")
        monkeypatch.setattr(site, "LONG_BYTES", 0)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
        reports.build_site(tmp_path / "one")
        with monkeypatch.context() as patch:
            patch.setattr(parallel, "each", noted)
            reports.build_site(tmp_path / "two")
        assert max(here) == 9, "enough for processes"
        made = [sorted((tmp_path / which / "site").rglob("*.html")) for which in ("one", "two")]
        assert len(made[0]) == 20
        assert [path.read_text() for path in made[0]] == [path.read_text() for path in made[1]]

    def test_without_a_complete_run_there_are_no_trends(self, tmp_path: Path) -> None:
        folder = make_run(tmp_path, blocks=3)
        reports.build_site(tmp_path)
        shutil.rmtree(folder)
        make_run(tmp_path, seed=2, blocks=3, status="failed", reason="no route")
        assert "trends/index.html" not in reports.build_site(tmp_path).read_text()
        assert not (tmp_path / "site" / "trends").exists()

    def test_made_up_nights_are_records(self, tmp_path: Path) -> None:
        maker.write(tmp_path, 2, 30, 4, missing=(0,))
        run = records.read(records.list_runs(tmp_path)[0])
        assert len(run.head.cells) == 30 and len(run.samples) == 30 * 5
        assert run.head.notes == [maker.MADE_UP] and record_maker.MADE_UP.startswith("made-up record")
