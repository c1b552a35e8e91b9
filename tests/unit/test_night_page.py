"""The morning's page: what came of a night, what changed, what failed, and which fact goes with the gain."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import reports
from harness import night as nights
from harness import records
from harness.night import Attempt, Entry
from harness.record import Head
from harness.verdicts.answer import Answer
from reports.__main__ import main
from reports.findings import answer, fleet
from reports.findings.fleet import Point
from reports.nights import dataset
from reports.site import night as view
from suites.fleet import rules
from tests.support.nights import PROFILE, made, spread
from tests.support.pages import HOSTILE, page_data, verdict


def gone(testbed: str, reason: str) -> Entry:
    one = Entry(testbed=testbed, profile=PROFILE, minutes=30)
    rules.note(one, 0, Attempt(outcome="unreachable", reason=reason, home=True))
    return one


def test_a_night_is_one_page(tmp_path: Path) -> None:
    made(tmp_path, 1, {"a": {}, "b": {}})
    one = made(tmp_path, 2, {"a": {}, "b": {"so-crypt": 3.0}}, gone("c", HOSTILE))
    log = tmp_path / nights.FOLDER / one.night / "c.log"
    log.write_text("line 1\nPermission denied: the host's key changed\n")
    one.entries[2].attempts[0].log = log.name
    nights.write(log.parent, one)
    page = reports.night_page(tmp_path, None)
    text = page.read_text()
    assert "2 of 3 runs on 3 testbeds complete; c could not be reached" in text.replace("\N{NO-BREAK SPACE}", " ")
    assert "the host&#39;s key changed" in text and HOSTILE not in text
    assert f'href="../{one.entries[0].run_id}/index.html"' in text
    assert "▼ slower" in text.replace("\N{NO-BREAK SPACE}", " ")
    assert view.folder(one.night) in (tmp_path / "site" / "index.html").read_text()
    data = page_data(text)
    [(name, shown)] = data["figures"].items()
    assert name == "across-1" and len(shown["data"][0]["x"]) == 2
    assert (page.parent / "night.csv").read_text().count("\n") == 4


def test_the_word_that_differs_from_the_night_before_is_listed_and_not_judged(tmp_path: Path) -> None:
    made(tmp_path, 1, {"a": {}, "b": {}})
    one = made(tmp_path, 2, {"a": {}, "b": {"so-crypt": 3.0}})
    text = reports.night_page(tmp_path, one.night).read_text().replace("\N{NO-BREAK SPACE}", " ")
    differing = text[text.index('data-table="differing-table"') :].partition("</table>")[0]
    assert ">b<" in differing and ">a<" not in differing
    assert "fewer than the 25 that are needed" in text


def test_a_night_says_what_each_profile_compares_and_what_came_of_the_others(tmp_path: Path) -> None:
    failed, stopped = (Entry(testbed=bed, profile=PROFILE, minutes=30) for bed in ("c", "d"))
    rules.note(failed, 0, Attempt(outcome="failed", reason="no space left", home=True))
    rules.note(stopped, 0, Attempt(outcome="interrupted", reason="its worker ended", cause="worker", home=True))
    made(tmp_path, 1, {"a": {}}, failed, stopped)
    text = reports.night_page(tmp_path, None).read_text().replace("\N{NO-BREAK SPACE}", " ")
    said = "1 of 3 runs on 3 testbeds complete; 1 failed; 1 interrupted; too few nights to tell what changed."
    assert f"<h1>{said}</h1>" in text.replace("\N{WORD JOINER}", "")
    assert f"<li><b>{PROFILE}</b>: SO_CRYPT against the traditional scheme</li>" in text
    assert text.count("No record came home tonight.") == 1 and "<b>c, d</b>: No record" in text


def test_an_unfinished_night_says_so(tmp_path: Path) -> None:
    made(tmp_path, 1, {"a": {}}, Entry(testbed="b", profile=PROFILE, minutes=30), finished=False)
    text = reports.night_page(tmp_path, None).read_text()
    assert "Not finished: 1 of 2 runs complete, 1 still to come." in text
    stopped = Entry(testbed="c", profile=PROFILE, minutes=30)
    rules.note(stopped, 0, Attempt(outcome="interrupted", reason="the night was told to end", cause="told", home=True))
    made(tmp_path, 2, {"a": {}}, stopped, finished=False)
    assert "1 of 2 runs complete, 1 still to come." in reports.night_page(tmp_path, None).read_text()
    assert "This night is not finished" in text


def test_the_page_of_an_older_night_stays_until_something_of_it_comes_home(tmp_path: Path) -> None:
    first = made(tmp_path, 1, {"a": {}, "b": {}})
    came = first.entries[1].attempts[0]
    away = came.model_copy(update={"outcome": "running", "sha256": None, "home": False})
    rules.note(first.entries[1], 0, away)
    rules.finish(first.entries[1], Attempt(outcome="unreachable", reason="no worker has offered it"))
    nights.write(tmp_path / nights.FOLDER / first.night, first)
    page = reports.night_page(tmp_path, None)
    stamp = page.stat().st_mtime_ns
    made(tmp_path, 2, {"a": {}})
    newest = reports.night_page(tmp_path, None)
    assert newest != page and page.stat().st_mtime_ns == stamp
    assert first.night in str(page)
    said = "1 of 2 runs on 2 testbeds complete; b could not be reached"
    assert said in page.read_text().replace("\N{NO-BREAK SPACE}", " ")
    rules.note(first.entries[1], 0, came)
    nights.write(tmp_path / nights.FOLDER / first.night, first)
    assert reports.night_page(tmp_path, None) == newest
    for shown in (page, tmp_path / "site" / "index.html"):
        text = shown.read_text().replace("\N{NO-BREAK SPACE}", " ")
        assert "2 of 2 runs on 2 testbeds complete" in text and "could not be reached" not in text


def test_the_command_says_the_night_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(tmp_path, 1, {"a": {}})
    assert main(["night", "--results", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("1 of 1 run on 1 testbed complete") and "index.html" in said
    made(tmp_path, 2, {"a": {}}, gone("c", "no route to host"))
    assert main(["night", "--results", str(tmp_path)]) == 1
    assert main(["night", "other", "--results", str(tmp_path)]) == 1
    assert "there is no night 'other'" in capsys.readouterr().err


def test_all_testbeds_stand_in_one_figure_sorted_by_the_price_of_a_crossing(tmp_path: Path) -> None:
    one = made(tmp_path, 1, spread(3))
    fields = [fleet.field(entry, records.read_head(tmp_path / str(entry.run_id))) for entry in one.entries]
    priced = view.prices(dataset.update(tmp_path), fields)
    found = fleet.across(PROFILE, fields, priced)
    assert found and found.candidate == "SO_CRYPT" and len(found.points) == 3
    prices = [point.crossing for point in found.points if point.crossing is not None]
    assert len(set(prices)) == 3 and prices == sorted(prices)
    assert [point.testbed for point in found.points] == ["bed-2", "bed-1", "bed-0"]
    assert found.sentences[0].startswith("SO_CRYPT against the traditional scheme: ")
    assert (
        found.sentences[1]
        == "3 testbeds cannot show which fact goes with the gain: 6 are needed, and more tell it better."
    )
    fields[0].entry.outcome = "interrupted"
    left = fleet.across(PROFILE, fields, priced)
    assert left and [point.testbed for point in left.points] == ["bed-2", "bed-1"], "an interrupted run tells nothing"
    fields[0].entry.outcome = "complete"
    unknown = fleet.across(PROFILE, fields, {})
    assert unknown and {point.crossing for point in unknown.points} == {None}
    assert fleet.across(PROFILE, fields[:1], priced) is None and fleet.across("another", fields, priced) is None


def test_a_testbed_stands_once_in_a_comparison_of_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = made(tmp_path, 1, spread(2))
    fields = [fleet.field(entry, records.read_head(tmp_path / str(entry.run_id))) for entry in one.entries]
    about = answer.about

    def of_load(head: Head) -> Answer | None:
        """The same compared with one connection, and with 16."""
        found = about(head)
        assert found
        return replace(found, places=tuple(replace(place, connections=n) for place in found.places for n in (1, 16)))

    monkeypatch.setattr(answer, "about", of_load)
    found = fleet.across(PROFILE, fields, {})
    assert found and sorted(point.testbed for point in found.points) == ["bed-0", "bed-1"]
    assert "16 connections" in found.place.replace("\N{NO-BREAK SPACE}", " ")


def points(ratios: Sequence[float], prices: Sequence[float | None], processors: Sequence[str]) -> list[Point]:
    return [
        Point(
            f"bed-{n}",
            "run",
            verdict("faster", ratio, ratio * 0.99, ratio * 1.01),
            price,
            None,
            processor,
            "6",
            "hosts",
        )
        for n, (ratio, price, processor) in enumerate(zip(ratios, prices, processors, strict=True))
    ]


def test_the_fact_that_goes_with_the_gain_is_named() -> None:
    ratios = [math.exp(0.02 * n) for n in range(12)]
    prices = [0.5 + 0.1 * n for n in range(12)]
    said = fleet.going(points(ratios, prices, ["a", "b"] * 6))
    assert said[0].startswith(
        "The gain goes with the price of a crossing (the higher, the larger: Kendall's τ +1.00, p"
    )
    assert not any("processor" in one for one in said[:-1])
    by_kind = [1.3 + 0.001 * n if n % 2 else 1.0 + 0.001 * n for n in range(12)]
    said = fleet.going(points(by_kind, [None] * 12, ["a", "b"] * 6))
    assert said[0].startswith("The gain goes with the processor (it tells ")


def test_chance_alone_names_no_fact_more_often_than_promised() -> None:
    rng, wrong = np.random.default_rng(7), 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fleet, "SHUFFLES", 200)
        for _ in range(60):
            ratios = np.exp(rng.normal(0, 0.1, 8)).tolist()
            said = fleet.going(points(ratios, rng.uniform(0.1, 2, 8).tolist(), ["a", "b"] * 4))
            wrong += said[0].startswith("The gain goes with the")
    assert wrong <= 9, "of 60 at 5 %: more than 9 once in a thousand"
