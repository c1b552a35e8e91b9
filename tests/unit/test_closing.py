"""The last lines of a run: ten at most, whatever became of it, and nothing that a reader must know left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import paths, receiving, records
from harness.api.parameters import Parameters
from harness.ciphers.table import CIPHERS
from harness.cli import closing, summary
from harness.record import Head, QuestionEntry, Run, Verdict
from harness.verdicts import answer
from hosts.lab import kinds
from tests.support.record_maker import crossings, kernel_crypto_part, load_part, make_run, small_parts

MB = 10**6
PATHS = receiving.beside(paths.discover())
WORDS = {name: path.words for name, path in PATHS.items()}
ASKED = QuestionEntry(
    candidate="so-crypt", baseline="afalg-copy", suites=["schemes"], sizes_bytes=[1 * MB, 10 * MB, 100 * MB]
)
ASKED_PATHS = (ASKED.candidate, ASKED.baseline)
PRICES = {"syscall_call_ns": 8704.0, "kernel_cipher_byte_ns": 24.0, "kernel_cipher_call_ns": 8000.0}
WHERE = ["record: results/r (complete)", "report: " + "results/" * 20 + "index.html"]
CAVEAT = (
    "Emulated: both hosts are made up, at some length so that this does not go into one line; so believe no number."
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Run:
    parts = [kernel_crypto_part(), *small_parts()]
    run = records.read(make_run(tmp_path_factory.mktemp("closing"), paths=WORDS, prices=PRICES, blocks=8, parts=parts))
    run.head.testbed.label, run.head.testbed.caveat = "emulated", CAVEAT
    schemes = next(suite for suite in run.head.suites if suite.name == "schemes")
    schemes.crossings, schemes.ciphering = crossings(), ["kernel_cipher"]
    taken = {name: PATHS[name].steps(Parameters(CIPHERS["3des"])) for name in ASKED_PATHS}
    schemes.taken = {name: steps for name, steps in taken.items() if steps}
    run.head.question = ASKED
    return run


def said(run: Run, **more: Any) -> list[str]:
    return closing.lines(run.head.model_copy(update=more), run.samples, WHERE)


def test_a_decided_question_is_told_in_ten_lines(made: Run) -> None:
    lines = said(made)
    assert len(lines) <= closing.LINES and lines[-2:] == WHERE
    text = " ".join(lines)
    assert text.startswith(answer.sentence(made.head))
    rows = [line for line in lines if line.startswith(("time ", "sender CPU "))]
    mine = [v for v in made.head.verdicts if v.candidate.startswith("schemes/so-crypt/")]
    assert len(mine) == 6 and len(rows) == 2
    for verdict in mine:
        (row,) = [row for row in rows if row.startswith("time") == (verdict.metric == "seconds")]
        assert f"x{verdict.ratio:.3f} [{verdict.ci_low:.3f}, {verdict.ci_high:.3f}]" in row
    assert "Predicted: x1.30" in text and "27 %" in text and "x1.27" in text and "x1.37" in text
    assert "8.7 µs" in text and "4 crossings" in text
    spent = 32.0  # seconds a GB that record_maker's so-crypt takes the sender, and as many ns a byte
    share = PRICES["kernel_cipher_byte_ns"] / spent
    assert any(
        f"the cipher {round((share + off) * 100)} %" in text.replace("cipher takes", "cipher")
        for off in (-0.02, -0.01, 0, 0.01, 0.02)
    )
    assert "believe no number." in text


def test_a_link_that_was_left_as_it_is_is_told(made: Run) -> None:
    asked = {"suites": [{"name": suite.name, "link_rate": 10**9} for suite in made.head.suites]}
    profile = made.head.profile.model_copy(update={"content": asked})
    as_it_is = [suite.model_copy(update={"link_rate_bits_per_second": None}) for suite in made.head.suites]
    shaped = [suite.model_copy(update={"link_rate_bits_per_second": 10**9}) for suite in made.head.suites]
    assert "measured as it is, not at 1000 Mbit/s" in " ".join(said(made, profile=profile, suites=as_it_is))
    assert "as it is" not in " ".join(said(made, profile=profile, suites=shaped))


def test_numbers_of_connections_stand_before_all_of_their_intervals(tmp_path: Path) -> None:
    run = records.read(make_run(tmp_path, suites=[], parts=[load_part(rates=())]))
    found = answer.about(run.head)
    assert found
    numbers = "/".join(str(place.connections) for place in found.places)
    rows = [line for line in said(run) if line.startswith(("time ", "sender CPU "))]
    assert len(rows) == 2, "a line for each metric"
    for row in rows:
        assert row.count("[") == len(found.places) and f" {numbers} connections " in row


def test_a_cipher_that_costs_more_than_all_was_priced_at_another_speed(made: Run) -> None:
    suites = [suite.model_copy(deep=True) for suite in made.head.suites]
    schemes = next(suite for suite in suites if suite.name == "schemes")
    assert "the cipher takes" in " ".join(said(made, suites=suites))
    schemes.prices["kernel_cipher_byte_ns"] *= 2
    assert "the cipher alone, by its price, would take 1" in " ".join(said(made, suites=suites))


def test_what_is_undecided_and_what_would_have_been_found_is_said(made: Run) -> None:
    verdicts = [
        verdict.model_copy(update={"verdict": "cannot_tell", "detectable": 0.042})
        if verdict.candidate.startswith("schemes/so-crypt/") and verdict.candidate.endswith("/100MB")
        else verdict
        for verdict in made.head.verdicts
    ]
    text = " ".join(said(made, verdicts=verdicts))
    assert text.count("]?") == 2 and "4.2 % would" in text and "undecided at 100 MB" in text
    assert "would" not in " ".join(said(made)), "where all is decided"


def test_cpu_that_was_not_measured_is_not_undecided(made: Run) -> None:
    def short(verdict: Verdict) -> bool:
        return verdict.metric == "cpu_seconds_per_gb" and verdict.candidate.endswith("/1MB")

    nothing = {"ratio": None, "ci_low": None, "ci_high": None, "blocks": 0, "verdict": "cannot_tell"}
    verdicts = [v.model_copy(update=nothing) if short(v) else v for v in made.head.verdicts]
    lines = said(made, verdicts=verdicts)
    (row,) = [line for line in lines if line.startswith("sender CPU ")]
    assert row.startswith("sender CPU 1 MB not measured, 10 MB x")
    assert "unmeasured at 1 MB" in " ".join(lines)
    assert "undecided" not in " ".join(lines) and "?" not in " ".join(lines), "nothing is marked with one"
    told = summary.lines(made.head.model_copy(update={"verdicts": verdicts}), made.samples)
    missing = [f"  {verdict.comparison}: sender CPU per GB not measured" for verdict in verdicts if short(verdict)]
    assert missing and set(missing) <= set(told)


def test_a_prediction_with_an_interval_of_its_own_shows_it(made: Run) -> None:
    verdicts = [v.model_copy(update={"ceiling_low": 1.21, "ceiling_high": 1.38}) for v in made.head.verdicts]
    assert "Predicted: x1.21 to x1.38" in " ".join(said(made, verdicts=verdicts))


@pytest.mark.parametrize("reasons", [1, 2, 9])
def test_what_could_not_be_measured_is_counted_with_its_main_reason(made: Run, reasons: int) -> None:
    cells = [cell.model_copy() for cell in made.head.cells]
    for n, cell in enumerate(cells[-20:]):
        cell.outcome = "failed" if n % 2 else "unsupported"
        cell.reason = f"reason {n % reasons if n < 12 else 0}: and what is more about it"
    lines = said(made, cells=cells)
    (told,) = [line for line in lines if line.startswith("Not measured: ")]
    assert "10 unsupported, 10 failed" in told.replace(f" of {len(cells)} cells", "")
    assert ": reason 0" in told and "what is more" not in told and "-v" in told
    assert ("…" in told) == (reasons > told.count(": reason"))


def test_what_is_not_proven_is_counted(made: Run) -> None:
    cells = [cell.model_copy(update={"unproven": "nobody looked"}) for cell in made.head.cells]
    assert f"{len(cells)} not wholly proven" in " ".join(said(made, cells=cells))


def test_a_saving_that_was_not_wholly_counted_is_not_claimed(made: Run) -> None:
    suites = [suite.model_copy(deep=True) for suite in made.head.suites]
    schemes = next(suite for suite in suites if suite.name == "schemes")
    schemes.crossings[0].uncounted = ["io_uring_enter"]
    assert schemes.crossings[0].path == "afalg-copy"
    assert "crossings" not in " ".join(said(made, suites=suites))
    schemes.prices = {}
    text = " ".join(said(made, suites=suites))
    assert "a call" not in text and "the cipher" not in text


def test_the_paper_stands_beside_its_own_question_only(made: Run) -> None:
    other = QuestionEntry(candidate="ipsec", baseline="http", suites=["large-files"], sizes_bytes=ASKED.sizes_bytes)
    text = " ".join(said(made, question=other))
    assert "IPsec is slower than plain HTTP" in text and "The paper" not in text
    plain = QuestionEntry(candidate="plain", baseline="afalg-copy", suites=["schemes"], sizes_bytes=[MB])
    assert "The paper" not in " ".join(said(made, question=plain))


@pytest.mark.parametrize("name", kinds.known())
def test_a_lab_s_caveat_is_never_dropped(made: Run, name: str) -> None:
    caveat = kinds.known()[name].caveat
    testbed = made.head.testbed.model_copy(update={"caveat": f"Emulated: {caveat}"})
    follows = caveat.rpartition("; ")[2].removeprefix("so ")
    assert len(follows) < closing.COLUMNS - 15, "what follows fits in a line"
    assert f"Emulated: {follows}" in said(made, testbed=testbed)


def test_with_v_a_verdict_tells_its_rounds_and_disturbed_blocks(made: Run) -> None:
    verdict = made.head.verdicts[0].model_copy(update={"blocks": 40, "rounds": 10, "between": 0.25, "disturbed": 3})
    head = made.head.model_copy(update={"verdicts": [verdict, made.head.verdicts[1]]})
    one, other = (line for line in summary.lines(head, made.samples) if " / " in line and ": " in line and "[" in line)
    assert "(40 blocks in 10 rounds, 25 % of the variance between them, 3 disturbed" in one
    assert " blocks" in other and "rounds" not in other and "variance" not in other and "disturbed" not in other


odd = st.fixed_dictionaries(
    {
        "status": st.sampled_from(["complete", "interrupted", "failed", "running"]),
        "question": st.sampled_from([
            ASKED,
            None,
            ASKED.model_copy(update={"suites": ["schemes", "schemes-null"]}),
            ASKED.model_copy(update={"candidate": "nowhere"}),
        ]),
        "words": st.booleans(),
        "suites": st.sampled_from(["all", "bare", "none"]),
        "testbed": st.sampled_from([("emulated", CAVEAT), ("", ""), ("hosts", ""), ("emulated", "word " * 99)]),
        "verdicts": st.sampled_from(["all", "none", "without numbers", "undecided", "one in three", "kernel crypto"]),
        "cells": st.sampled_from(["all", "unsupported", "failed for many reasons", "none"]),
        "samples": st.booleans(),
    }
)  # fmt: skip


def oddly(head: Head, how: dict[str, Any]) -> Head:
    """A copy of a record that lacks this and that."""
    update = {"status": how["status"], "question": how["question"], "paths": WORDS if how["words"] else {}}
    head = head.model_copy(deep=True, update=update)
    head.testbed.label, head.testbed.caveat = how["testbed"]
    if how["suites"] != "all":
        for suite in head.suites:
            suite.prices, suite.crossings = {}, []
    head.suites = [] if how["suites"] == "none" else head.suites
    head.cells = [] if how["cells"] == "none" else head.cells
    match how["verdicts"]:
        case "none":
            head.verdicts = []
        case "one in three":
            head.verdicts = head.verdicts[::3]
        case "kernel crypto":
            head.verdicts = [verdict for verdict in head.verdicts if verdict.candidate.startswith("kernel-crypto/")]
        case "without numbers" | "undecided" as which:
            for verdict in head.verdicts:
                verdict.verdict = "cannot_tell"
                if which == "without numbers":
                    verdict.ratio = verdict.ci_low = verdict.ci_high = verdict.detectable = verdict.ceiling = None
    for n, cell in enumerate(head.cells):
        if how["cells"] == "unsupported":
            cell.outcome, cell.reason = "unsupported", "no module" if n % 2 else None
        elif how["cells"] == "failed for many reasons":
            cell.outcome, cell.reason = "failed", f"{'long ' * (n % 40)}{n}: and {'more ' * 90}"
    return head


@given(odd)
def test_no_record_however_odd_takes_more_than_ten_lines(made: Run, how: dict[str, Any]) -> None:
    head = oddly(made.head, how)
    lines = closing.lines(head, made.samples if how["samples"] else [], WHERE)
    assert len(lines) <= closing.LINES
    assert lines[-2:] == WHERE
    assert all(line and len(line) <= closing.COLUMNS for line in lines[:-2])
    assert " ".join(lines).startswith(answer.sentence(head)), "the answer is never cut"
    if how["testbed"][1] == CAVEAT:
        assert " ".join(lines[:-2]).endswith("believe no number.")


def test_a_record_of_long_ago_is_told_too(tmp_path: Path) -> None:
    """Without words of paths, labels, a question, questions of suites, prices."""
    run = records.read(make_run(tmp_path))
    run.head.testbed.label = run.head.testbed.caveat = ""
    for suite in run.head.suites:
        suite.question, suite.prices, suite.steps = None, {}, {}
    lines = said(run, paths={})
    assert lines[0].startswith("ipsec is slower than http") or "afalg-copy" in lines[0]
    assert len(lines) <= closing.LINES


def test_a_ratio_without_an_interval_says_so_in_few_words_too(made: Run) -> None:
    """Two rounds have none (docs/statistics.md)."""
    verdict = made.head.verdicts[0].model_copy(update={"ratio": 1.04, "ci_low": None, "ci_high": None})
    assert closing._short(verdict) == "x1.04 [no interval]"
    assert summary.interval(verdict) == "x1.040 [no interval]"
