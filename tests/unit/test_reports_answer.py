"""The first screen of a run's page: its sentence, the picture of its question, and the map of predicted gain."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import records
from harness.api.steps import Price, Steps
from harness.costs import prediction
from harness.record import Cell, Head, Metric, QuestionEntry, Run, Verdict, VerdictWord
from harness.verdicts.answer import METRICS, WORDS
from reports import words
from reports.drawing import gain as gain_picture
from reports.drawing import strip
from reports.findings import answer, gain
from reports.site import pages
from reports.table import columns
from tests.support import real
from tests.support.record_maker import MB, make_run, question_run, suite

RATIOS = {"faster": 1.24, "slower": 0.8, "same": 1.002, "cannot_tell": 1.05}


def real_run() -> Run:
    """The real record, read once."""
    run = _read_once()
    return replace(run, head=run.head.model_copy(deep=True))


@cache
def _read_once() -> Run:
    return records.read(real.DATA)


def model_of(run: Run) -> gain.Model | str:
    """What a run's question would gain elsewhere."""
    return gain.model(run.head, columns(run.path.name, run.head, run.samples))


def verdict(place: tuple[str, int], metric: Metric, word: VerdictWord, ratio: float | None = None) -> Verdict:
    name, size = place
    ends = ("afalg-copy", "so-crypt")
    baseline, candidate = (f"{name}/{path}/3des/any/{size}" for path in ends)
    value = ratio or RATIOS[word]
    return Verdict(
        comparison="x", baseline=baseline, candidate=candidate, metric=metric, ratio=value, ci_low=value * 0.98,
        ci_high=value * 1.02, blocks=60, verdict=word, margin=0.03, detectable=0.01,
    )  # fmt: skip


def head(asked: dict[tuple[tuple[str, int], Metric], VerdictWord | None], **more: Any) -> Head:
    """A head whose question has these answers; None where nothing was measured."""
    places = list(dict.fromkeys(place for place, _ in asked))
    cells = [
        Cell(id=f"{name}/{path}/3des/any/{size}", suite=name, path=path, cipher="3des", driver="any", size_bytes=size,
             outcome="measured")
        for name, size in places for path in ("afalg-copy", "so-crypt")
    ]  # fmt: skip
    suites = list(dict.fromkeys(name for name, _ in places))
    question = {"candidate": "so-crypt", "baseline": "afalg-copy", "suites": suites,
                "sizes_bytes": list(dict.fromkeys(size for _, size in places))}  # fmt: skip
    changes = {
        "cells": cells, "question": QuestionEntry.model_validate(question), "notes": [],
        "suites": [suite(name, 7, 10**9, "afalg-copy") for name in suites],
        "verdicts": [verdict(place, metric, word) for (place, metric), word in asked.items() if word],
    }  # fmt: skip
    return real_run().head.model_copy(update=changes | more)


def picture(of: Head) -> strip.Strip:
    found = answer.about(of)
    assert found
    return strip.question(of, found)


def six(times: str, costs: str) -> dict[tuple[tuple[str, int], Metric], VerdictWord | None]:
    """The answers of 1, 10 and 100 MB by their first letters; a dash where nothing was measured."""
    letters: dict[str, VerdictWord | None] = {"f": "faster", "s": "slower", "=": "same", "?": "cannot_tell", "-": None}
    places = [("schemes", n * MB) for n in (1, 10, 100)]
    return {
        (place, metric): letters[letter]
        for metric, row in zip(METRICS, (times, costs), strict=True)
        for place, letter in zip(places, row, strict=True)
    }


class TestSentence:
    @given(st.text(max_size=200), st.sampled_from(["complete", "running", "interrupted", "failed"]))
    def test_what_is_told_of_kernel_crypto_is_short_too(self, told: str, status: str) -> None:
        of = real_run().head.model_copy(update={"status": status, "verdicts": [], "question": None})
        assert len(answer.sentence(of, [told]).split()) <= WORDS

    def test_kernel_crypto_alone_keeps_what_there_is_room_for(self) -> None:
        of = real_run().head.model_copy(update={"verdicts": [], "question": None})
        assert (
            answer.sentence(of, ["It costs 3 µs (the paper: 6.7 µs)."])
            == "Emulated: It costs 3 µs (the paper: 6.7 µs)."
        )
        long = " ".join(["much"] * 27)
        assert answer.sentence(of, [f"It costs {long} (the paper: 6.7 µs); more."]) == f"Emulated: It costs {long}."

    def test_a_record_without_words_is_told_in_those_of_its_time(self, tmp_path: Path) -> None:
        run = records.read(make_run(tmp_path))
        assert not run.head.paths
        assert answer.sentence(run.head).startswith(
            "Emulated: SO_CRYPT is faster than the traditional scheme with 3DES"
        )

    def test_page_and_index_say_the_same(self, tmp_path: Path) -> None:
        run = records.read(question_run(tmp_path))
        made = pages.render(run)
        text = answer.sentence(run.head)
        assert len(text.split()) <= WORDS
        assert made.row["headline"] == text and made.row["verdict"] == "faster"
        heading = re.search("<h1>(.*?)</h1>", made.html)
        assert heading and html.unescape(heading[1]) == words.nobreak(text)

    def test_a_part_says_nothing_of_the_whole_run(self, tmp_path: Path) -> None:
        run = records.read(make_run(tmp_path, status="interrupted", reason="Ctrl-C"))
        https = [verdict for verdict in run.head.verdicts if "/https/" in verdict.candidate]
        assert answer.of_part(run.head, https).startswith("HTTPS is slower than plain HTTP")
        assert answer.of_part(run.head, []) == "Nothing could be compared here."


class TestPicture:
    def test_a_row_for_each_comparison_of_the_question(self) -> None:
        made = picture(head(six("f?-", "fs=")))
        assert [row.label for row in made.rows] == ["1 MB", "10 MB", "100 MB"] * 2
        assert [row.heading for row in made.rows] == ["Time", "", "", "CPU per GB", "", ""]
        assert made.rows[0].value == "1.24 ▲ faster" and made.rows[2].marks == ()
        assert [name for name, _, _ in made.lines] == ["one", "paper", "paper-time"]

    @given(st.lists(st.floats(0.02, 50), min_size=3, max_size=3), st.floats(0, 3))
    def test_places_are_on_the_picture_and_in_order(self, ratios: list[float], wide: float) -> None:
        of = head(six("fff", "fff"))
        for one, ratio in zip(of.verdicts, ratios, strict=False):
            one.ratio, one.ci_low, one.ci_high = ratio, ratio / (1 + wide), ratio * (1 + wide)
            one.ceiling, one.ceiling_low, one.ceiling_high = ratio * 1.1, ratio, ratio * 1.2
        for mark in (mark for row in picture(of).rows for mark in row.marks):
            assert 0 <= mark.low <= (mark.low if mark.at is None else mark.at) <= mark.high <= 100
            if mark.predicted is not None:
                assert (
                    0
                    <= mark.predicted_low
                    <= mark.predicted
                    <= mark.predicted_low + mark.predicted_width + 0.01
                    <= 100.1
                )

    def test_what_was_not_measured_has_no_mark_and_says_so(self) -> None:
        of = head(six("fff", "fff"))
        cpu = next(verdict for verdict in of.verdicts if verdict.metric != "seconds")
        cpu.ratio = cpu.ci_low = cpu.ci_high = None
        cpu.blocks, cpu.verdict = 0, "cannot_tell"
        row = picture(of).rows[3]
        assert (row.value, row.marks, row.state) == ("not measured", (), "missing")

    def test_what_there_is_no_room_for_is_counted(self) -> None:
        places = [("schemes", n * MB) for n in range(1, 12)]
        made = picture(head({(place, metric): "faster" for metric in METRICS for place in places}))
        assert len(made.rows) == strip.ROWS and made.more == 22 - strip.ROWS


class TestBaselines:
    """The traditional scheme is /dev/crypto's today, and AF_ALG's in older records."""

    @pytest.fixture
    def both(self) -> tuple[Run, Run]:
        older, today = real_run(), records.read(real.DATA)
        real.by_devcrypto(today)
        return older, today

    def test_both_are_told_alike_and_beside_the_paper(self, both: tuple[Run, Run]) -> None:
        sentences = [answer.sentence(run.head) for run in both]
        assert sentences[0] == sentences[1] and "the traditional scheme" in sentences[0]
        for run, baseline in zip(both, ("afalg-copy", "devcrypto-copy"), strict=True):
            found = answer.about(run.head)
            assert found and found.paths == ("so-crypt", baseline) and answer.papers(run.head, found)
            made = pages.render(run)
            assert html.escape(words.nobreak(sentences[0]), quote=False) in made.html

    def test_both_have_a_map_of_four_crossings(self, both: tuple[Run, Run]) -> None:
        own = ({"read", "alg_send", "tcp_copy"}, {"read", "devcrypto_copy", "tcp_copy"})
        for run, saved in zip(both, own, strict=True):
            found = model_of(run)
            assert isinstance(found, gain.Model)
            assert found.saved == saved and found.crossings == pytest.approx(4, rel=0.01)
            due = prediction.predicted(
                "seconds", found.baseline, found.candidate, found.prices, found.clear, found.size
            )
            assert found.gain(found.here) == pytest.approx(due)


class TestMap:
    @pytest.fixture
    def model(self) -> gain.Model:
        found = model_of(real_run())
        assert isinstance(found, gain.Model)
        return found

    def test_this_run_lies_where_its_own_prices_put_it(self, model: gain.Model) -> None:
        sides = model.baseline, model.candidate
        due = prediction.predicted("seconds", *sides, model.prices, model.clear, model.size)
        assert model.gain(model.here) == pytest.approx(due)
        assert (
            model.crossings == pytest.approx(4, rel=0.01) and model.here.cipher == model.prices["kernel_cipher"].byte_ns
        )

    @given(st.floats(0.01, 100), st.floats(0.5, 500))
    def test_it_is_the_harness_prediction_at_other_prices(self, crossing: float, cipher: float) -> None:
        model = model_of(real_run())
        assert isinstance(model, gain.Model)
        dearer = crossing / model.here.crossing
        kernel = model.prices["kernel_cipher"].call_ns
        prices = {name: Price(p.call_ns * dearer, p.byte_ns * dearer) for name, p in model.prices.items()}
        prices["kernel_cipher"] = Price(kernel, cipher)
        prices["cipher"] = Price(kernel + (model.prices["cipher"].call_ns - kernel) * dearer, cipher)
        due = prediction.predicted("seconds", model.baseline, model.candidate, prices, model.clear, model.size)
        assert model.gain(gain.Place(crossing, cipher)) == pytest.approx(due)

    @given(st.floats(0.01, 100), st.floats(0.5, 500), st.floats(1, 10))
    def test_dearer_crossings_never_gain_less(self, crossing: float, cipher: float, factor: float) -> None:
        model = model_of(real_run())
        assert isinstance(model, gain.Model)
        less, more = (model.gain(gain.Place(price, cipher)) for price in (crossing, crossing * factor))
        assert 1 - 1e-9 <= less <= more * (1 + 1e-9)

    def test_what_would_show_the_papers_gain_does(self, model: gain.Model) -> None:
        dearer = model.crossing_for(1.27)
        assert dearer and model.gain(gain.Place(dearer, model.here.cipher)) == pytest.approx(1.27)
        assert model.crossing_for(1e6) is None

    def test_the_receiver_or_the_link_limits_cheap_ciphers(self, model: gain.Model) -> None:
        cheap, dear = gain.Place(model.here.crossing, 0.5), gain.Place(model.here.crossing, 1e4)
        busy = replace(model, clear=replace(model.clear, receiver_cpu=2 * model.clear.seconds))
        for limited, by in ((model, "link"), (busy, "receiver")):
            assert limited.limit(cheap) == by and limited.gain(cheap) == pytest.approx(1)
            assert limited.limit(dear) is None
            assert by in gain_picture.picture(gain.drawn(limited)).limited_by

    def test_ciphers_that_cost_each_side_something_else_are_told_apart(self, model: gain.Model) -> None:
        assert model.apart == pytest.approx(1, abs=0.03)
        prices = {**model.prices, "cipher": Price(model.prices["cipher"].call_ns, model.prices["cipher"].byte_ns * 3)}
        apart = replace(model, prices=prices)
        assert apart.apart > 1.27 and apart.crossing_for(1.27) is None
        said = " ".join(gain_picture.picture(gain.drawn(apart)).sentences)
        assert "The two sides' ciphers alone" in said and "Any price of a crossing gives more than × 1.27" in said

    def test_the_papers_machine_is_where_its_figure_4_puts_it(self) -> None:
        line_ns = 6.7e3 / 65536 + 12.5
        assert gain.paper_crossing() == pytest.approx(line_ns / 2, rel=0.01)

    def test_contours_run_where_the_gain_is(self, model: gain.Model) -> None:
        drawn = gain.drawn(model)
        made = gain_picture.picture(drawn)
        assert [region.level for region in made.regions] == [1.05, 1.1, 1.27, 1.37, 2.0]

        def price(share: float, along: Any) -> float:
            return float(along[0] * (along[-1] / along[0]) ** share)

        for region in made.regions:
            points = [tuple(map(float, point.split(","))) for point in region.edge.split()]
            for x, y in points:
                place = gain.Place(price(x / 1000, drawn.crossing), price(1 - y / 1000, drawn.cipher))
                assert model.gain(place) == pytest.approx(region.level, rel=0.03)
        assert made.card and made.card[0] < made.card[1]
        assert 0 < made.here[0] < made.paper < 100 and np.isfinite(drawn.gain).all()

    @pytest.mark.parametrize("height", range(5, 100, 5))
    def test_no_contour_s_name_stands_on_this_run_s(self, height: float) -> None:
        edge, here = [(float(x), float(x)) for x in range(100)], (float(height), float(height))
        found = gain_picture._label(edge, height, here)
        right, around = gain_picture.NAMED
        assert found and not (0 <= found[0] - here[0] < right and abs(found[1] - here[1]) < around)

    def test_it_names_what_it_holds(self, model: gain.Model) -> None:
        made = gain_picture.picture(gain.drawn(model))
        clear, call = model.clear.seconds * 1e9 / model.size, model.prices["kernel_cipher"].call_ns / 1e3
        assert f"plain sendfile ({words.number(clear, 3)} s/GB on the link" in made.caption
        assert f"called within the kernel ({words.number(call, 3)} µs a call)" in made.caption
        crossing, cipher = words.number(model.here.crossing, 2), words.number(model.here.cipher, 2)
        assert made.sentences[0] == f"A crossing costs {crossing} ns a byte here, and 3DES costs {cipher} ns."

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            ({"prices": {}}, "holds no prices"),
            ({"crossings": []}, "No crossing that the candidate saves was counted"),
            ({"taken": {"plain": {}}}, "does not say which steps"),
            ({"prices": {"read_call_ns": 1.0, "read_byte_ns": 1.0}}, "a step was not measured"),
        ],
    )
    def test_what_is_missing_is_said(self, change: dict[str, Any], expected: str) -> None:
        run = real_run()
        content = json.loads(run.head.model_dump_json(by_alias=True))
        content["suites"] = [entry | change for entry in content["suites"]]
        run.head = Head.model_validate(content)
        found = model_of(run)
        assert isinstance(found, str) and expected in found
        assert expected in html.unescape(pages.render(run).html)

    def test_a_record_says_which_steps_its_paths_took(self, model: gain.Model) -> None:
        run = real_run()
        entry = next(entry for entry in run.head.suites if entry.name == "schemes")
        entry.taken = {"so-crypt": model.candidate, "afalg-copy": model.baseline, "plain": Steps()}
        entry.ciphering = sorted(model.ciphering)
        again = Head.model_validate_json(run.head.model_dump_json(by_alias=True))
        found = model_of(Run(run.path, again, run.samples))
        assert isinstance(found, gain.Model) and found.suite.taken["so-crypt"] == model.candidate
        assert replace(found, suite=model.suite) == model
