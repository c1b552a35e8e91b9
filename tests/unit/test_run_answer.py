"""The answer in one sentence: short, about the question, and silent about nothing that it does not show."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import paths, receiving, record, records
from harness.events import Interval
from harness.record import Head, QuestionEntry
from harness.verdicts import answer, narrowing
from tests.support.record_maker import default_suites, make_run

MB = 10**6
SIZES = [1 * MB, 10 * MB, 100 * MB]
ASKED = QuestionEntry(candidate="so-crypt", baseline="devcrypto-copy", suites=["schemes"], sizes_bytes=SIZES)
WORDS = {name: path.words for name, path in receiving.beside(paths.discover()).items()}
SUITES = default_suites(ASKED.baseline)
VERDICTS = ("faster", "slower", "same", "cannot_tell")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Head:
    head = records.read(make_run(tmp_path_factory.mktemp("answer"), paths=WORDS, suites=SUITES)).head
    head.testbed.label = "emulated"
    return head


def judged(made: Head, words: dict[tuple[str, str], str], **more: Any) -> Head:
    """The record with other words for the question's verdicts, by metric and size; None leaves a verdict out."""
    verdicts = []
    for verdict in made.verdicts:
        suite, path, _, _, size = verdict.candidate.split("/")
        word = words.get((verdict.metric, size)) if (suite, path) == ("schemes", "so-crypt") else verdict.verdict
        if word is not None:
            verdicts.append(verdict.model_copy(update={"verdict": word}))
    return made.model_copy(update={"question": ASKED, "verdicts": verdicts} | more)


def both(time: list[str | None], cpu: list[str | None]) -> dict[Any, Any]:
    names = ("1MB", "10MB", "100MB")
    return {
        (metric, name): word
        for metric, words in (("seconds", time), ("cpu_seconds_per_gb", cpu))
        for name, word in zip(names, words, strict=True)
    }


@pytest.mark.parametrize(
    ("time", "cpu", "said"),
    [
        (["faster"] * 3, ["faster"] * 3, "is faster than the traditional scheme with 3DES at 1, 10 and 100 MB (x"),
        (["faster"] * 3, ["faster"] * 3, ") and costs the sender less CPU (x"),
        (["same"] * 3, ["slower"] * 3, ") and costs the sender more CPU (x"),
        (["faster", "faster", "cannot_tell"], ["faster"] * 3, " at 1 and 10 MB, undecided at 100 MB; it costs"),
        (["slower", "faster", "faster"], ["same"] * 3, " at 10 and 100 MB, slower at 1 MB; it costs the sender the"),
        (["faster"] * 3, ["faster", "cannot_tell", "faster"], "less CPU at 1 and 100 MB, undecided at 10 MB."),
        (
            ["faster", "cannot_tell", "faster"],
            ["faster", "cannot_tell", "faster"],
            "is faster than the traditional scheme with 3DES and costs less CPU at 1 and 100 MB, undecided at 10 MB.",
        ),
        (["cannot_tell"] * 3, ["cannot_tell"] * 3, "cannot tell whether SO_CRYPT is faster than the traditional"),
        (["cannot_tell"] * 3, ["cannot_tell"] * 3, "or costs the sender less CPU"),
        (["faster"] * 3, ["cannot_tell"] * 3, "; the sender's CPU is undecided (x"),
        (
            ["faster", "same", "cannot_tell"],
            ["slower", "same", "cannot_tell"],
            "time faster at 1, same at 10, undecided at 100 MB; CPU dearer at 1, same at 10, undecided at 100 MB.",
        ),
        (["faster", "faster", None], ["faster", "faster", None], "; not measured at 100 MB."),
        (["faster", "faster", None], ["faster", "faster", None], "less CPU (x"),
    ],
)
def test_sizes_that_differ_are_told_apart(made: Head, time: list[str | None], cpu: list[str | None], said: str) -> None:
    text = answer.sentence(judged(made, both(time, cpu)))
    assert text.startswith("Emulated: ") and said in text and text.endswith(".")


def without_ratio(head: Head, metric: str, *names: str) -> Head:
    """The record whose question has no ratio at these sizes: nothing could be compared there."""
    nothing = {"ratio": None, "ci_low": None, "ci_high": None, "blocks": 0, "verdict": "cannot_tell"}
    suite = "schemes/so-crypt/"
    verdicts = [
        v.model_copy(update=nothing)
        if v.metric == metric and v.candidate.startswith(suite) and v.candidate.rpartition("/")[2] in names
        else v
        for v in head.verdicts
    ]
    return head.model_copy(update={"verdicts": verdicts})


def test_what_the_clock_could_not_measure_is_not_called_undecided(made: Head) -> None:
    head = judged(made, both(["faster"] * 3, ["faster"] * 3))
    text = answer.sentence(without_ratio(head, "cpu_seconds_per_gb", "1MB", "10MB"))
    assert "less CPU at 100 MB, not measured at 1 and 10 MB." in text
    everywhere = answer.sentence(without_ratio(head, "cpu_seconds_per_gb", "1MB", "10MB", "100MB"))
    assert "is faster than" in everywhere and "CPU" not in everywhere
    nothing = without_ratio(without_ratio(head, "seconds", "1MB"), "cpu_seconds_per_gb", "1MB")
    assert "; not measured at 1 MB." in answer.sentence(nothing)


def test_the_span_is_that_of_all_intervals(made: Head) -> None:
    head = judged(made, both(["faster"] * 3, ["faster"] * 3))
    for n, verdict in enumerate(v for v in head.verdicts if v.candidate.startswith("schemes/so-crypt/")):
        verdict.ci_low, verdict.ci_high = 1.02 + n / 100, 1.12 + n / 100
    text = answer.sentence(head)
    assert "(x1.02 to x1.16) and" in text and "(x1.03 to x1.17)." in text
    assert "(1.0200 to 1.1600)" in answer.sentence(head, "{:.4f}".format)
    next(v for v in head.verdicts if v.candidate.startswith("schemes/so-crypt/")).ci_low = None
    assert "(x1.03 to x1.17)." in answer.sentence(head) and "x1.16" not in answer.sentence(head)


@pytest.mark.parametrize(
    ("status", "label", "start"),
    [
        ("complete", "emulated", "Emulated: SO_CRYPT"),
        ("complete", "hosts", "SO_CRYPT"),
        ("complete", "", "SO_CRYPT"),
        ("interrupted", "emulated", "Interrupted, emulated: SO_CRYPT"),
        ("failed", "", "Run failed: SO_CRYPT"),
        ("running", "", "So far: SO_CRYPT"),
    ],
)
def test_what_a_reader_must_know_stands_first(made: Head, status: str, label: str, start: str) -> None:
    head = judged(made, both(["faster"] * 3, ["faster"] * 3), status=status)
    head = head.model_copy(update={"testbed": head.testbed.model_copy(update={"label": label})})
    assert answer.sentence(head).startswith(start)


def test_a_run_without_an_answer_says_so(made: Head) -> None:
    bare = made.model_copy(update={"question": ASKED, "verdicts": [], "testbed": made.testbed.model_copy()})
    bare.testbed.label = ""
    assert answer.sentence(bare) == "No answer, since SO_CRYPT and the traditional scheme were not compared."
    cells = [cell.model_copy() for cell in made.cells]
    for cell in cells:
        if cell.path == "so-crypt":
            cell.outcome, cell.reason = "unsupported", "no module"
    text = answer.sentence(bare.model_copy(update={"cells": cells}))
    assert text.endswith("were not compared (so-crypt unsupported).")
    nothing = bare.model_copy(update={"question": None, "cells": cells[:2], "status": "interrupted"})
    assert answer.sentence(nothing) == "Interrupted: no answer, since nothing was compared: 2 of 2 cells measured."


def test_a_run_without_a_question_is_about_the_papers_schemes(made: Head) -> None:
    found = answer.about(made)
    assert found and found.paths == ("so-crypt", "devcrypto-copy")
    assert [(place.suite, place.size) for place in found.places] == [("schemes", size) for size in SIZES]
    assert all(place.time and place.cpu and place.time.metric == "seconds" for place in found.places)


def test_a_question_of_several_suites_is_told_in_numbers_where_they_differ(made: Head) -> None:
    asked = ASKED.model_copy(update={"suites": ["schemes", "schemes-null"]})
    head = judged(made, both(["faster"] * 3, ["cannot_tell"] * 3), question=asked)
    text = answer.sentence(head)
    time, cpu = ([v.verdict for v in head.verdicts if v.candidate.split("/")[:2] in (["schemes", "so-crypt"],
                  ["schemes-null", "so-crypt"]) and v.metric == metric] for metric in answer.METRICS)  # fmt: skip
    if len(set(time)) == len(set(cpu)) == 1:
        assert "with 3DES and null cipher" in text
    else:
        assert f"{time.count('faster')} faster" in text and f"{cpu.count('cannot_tell')} undecided" in text


words = st.sampled_from([*VERDICTS, None])


@given(
    st.lists(words, min_size=3, max_size=3),
    st.lists(words, min_size=3, max_size=3),
    st.sampled_from(["complete", "interrupted", "failed", "running"]),
    st.booleans(),
    st.sampled_from([("so-crypt", "devcrypto-copy"), ("ktls-write", "https")]),
)
def test_it_is_never_long_and_leaves_nothing_out(
    made: Head, time: list[str | None], cpu: list[str | None], status: str, bare: bool, names: tuple[str, str]
) -> None:
    called = {"so-crypt": WORDS[names[0]], "devcrypto-copy": WORDS[names[1]]}  # however wordy the names
    head = judged(made, both(time, cpu), status=status, paths={} if bare else called)
    text = answer.sentence(head)
    assert len(text.split()) <= answer.WORDS
    for words_, here in ((answer.TIME, time), (answer.CPU, cpu)):
        if not any(here):
            continue
        for word in {word or "missing" for word in here}:
            said = {words_[word], {"missing": "not measured", "cannot_tell": "cannot tell"}.get(word, words_[word])}
            said |= {"faster": {"less"}, "slower": {"more"}, "same": {"the same", "as fast"}}.get(word, set())
            said |= {"or costs the sender less"} if word == "cannot_tell" else set()
            assert any(part in text for part in said), (word, text)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([MB], "1 MB"),
        ([1 * MB, 10 * MB, 100 * MB], "1, 10 and 100 MB"),
        ([15, 1000, MB], "15 B, 1 kB and 1 MB"),
        ([64, 1024, 65536], "64 B, 1 and 64 KiB"),
        ([1, 2, 3, 4, 5], "5 sizes"),
    ],
)
def test_sizes_in_words(values: list[int], said: str) -> None:
    assert answer.sizes(values) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [(1.073, "x1.07"), (1.004, "x1.004"), (0.9961, "x0.996"), (1.0, "x1.00"), (0.052, "x0.052"), (161725.0, "x161725")],
)
def test_ratios_in_words(value: float, said: str) -> None:
    assert answer.ratio(value) == said


def test_how_it_stands_names_each_comparison_that_has_an_interval(made: Head) -> None:
    rows = [v for v in made.verdicts if v.candidate.startswith("schemes/so-crypt/")]
    random.Random(1).shuffle(rows)
    rows[0] = rows[0].model_copy(update={"ci_low": None, "ci_high": None})
    told = narrowing.so_far(rows, made.cells).intervals
    assert len(told) == 5
    last = rows[-1]
    what = {"seconds": "time", "cpu_seconds_per_gb": "CPU"}[last.metric]
    size = last.candidate.rpartition("/")[2].replace("MB", " MB")
    assert told[-1] == Interval(f"{what} at {size}", last.ci_low or 0, last.ci_high or 0, last.verdict != "cannot_tell")
    other = next(v for v in made.verdicts if v.candidate.startswith("schemes-null/so-crypt/"))
    assert {one.what.partition(" (")[2] for one in narrowing.so_far([last, other], made.cells).intervals} == {
        "schemes)",
        "schemes-null)",
    }


def test_drivers_of_one_path_are_told_by_name(tmp_path: Path) -> None:
    head = records.read(make_run(tmp_path)).head
    pair = [next(cell for cell in head.cells if cell.path == "ipsec").model_copy() for _ in range(2)]
    pair[1].driver, pair[1].id = "again", pair[1].id.replace("/any/", "/again/")
    verdict = head.verdicts[0].model_copy(update={"candidate": pair[1].id, "baseline": pair[0].id, "verdict": "slower"})
    other = record.Head.model_validate(head.model_dump() | {"cells": pair, "verdicts": [verdict], "suites": []})
    assert answer.sentence(other).startswith("ipsec (again) is slower than ipsec (any) with 3DES at 1 MB")
