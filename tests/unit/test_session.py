"""A session before anything boots: what a profile names that can run nowhere is told, or refused."""

from __future__ import annotations

import math
import random
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from harness import paths, plan, profile, receiving, records
from harness.ciphers.table import CIPHERS
from harness.events import Chosen, Event, Events, Narrowed
from harness.measuring import opened
from harness.measuring.opened import Fresh
from harness.profile import Profile, TransferSuite
from harness.record import Head, QuestionEntry
from harness.records import Writer
from harness.run import session as running
from harness.run import settling
from harness.run.session import Session
from harness.run.suite import Outcomes
from harness.samples import Sample
from harness.verdicts import judging, stats
from hosts import testbed
from hosts.errors import ConfigError, HarnessError, HostLost
from hosts.lab.best import Choice
from hosts.remote import changes
from hosts.remote.changes import Scope
from hosts.testbed import AutoTestbed, LabTestbed
from tests.support.here import here
from tests.support.made import Bed, Made, Place, Step
from tests.unit.test_record import head

PATHS = receiving.beside(paths.discover())


def suite_of(*names: str, **more: Any) -> dict[str, Any]:
    """A suite, its first path the baseline."""
    suite = {
        "name": "one",
        "question": "schemes",
        "cipher": "3des",
        "link_rate": "1gbit",
        "baseline": names[0],
        "paths": names,
        "sizes": {"1MB": {"blocks": 2}},
    }
    return suite | more


def asked(*names: str, **more: Any) -> Profile:
    """A profile of one suite."""
    return Profile.model_validate({"name": "mine", "description": "d", "suites": [suite_of(*names, **more)]})


def session(wanted: Profile, tmp_path: Path) -> Session:
    return Session(wanted, testbed.load("lab"), tmp_path / "results", Events())


def test_a_path_that_nobody_knows_is_answered_with_those_that_are_known(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        session(asked("http", "httpss"), tmp_path)
    assert caught.value.what == "the profile mine, suite one: no data path is called httpss"
    assert all(name in str(caught.value.next_step) for name in PATHS)


@pytest.mark.parametrize(
    ("path", "cipher", "reason"),
    [
        ("ktls", "3des", "the kernel's TLS has no 3DES"),
        ("so-crypt", "aes128gcm", "AES-128-GCM is an AEAD"),
        ("https", "null", "TLS 1.2 has no cipher suite with null cipher"),
    ],
)
def test_a_baseline_that_can_run_nowhere_is_refused_before_anything_boots(
    tmp_path: Path, path: str, cipher: str, reason: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        session(asked(path, "http", cipher=cipher), tmp_path)
    assert caught.value.what.startswith(
        f"the profile mine, suite one: its baseline {path} can never run with {cipher}: {reason}"
    )
    assert caught.value.next_step == "choose another baseline or cipher"
    assert not (tmp_path / "results").exists()


def test_another_path_that_can_run_nowhere_is_told_and_the_rest_runs(tmp_path: Path) -> None:
    made = session(asked("http", "https", "ktls", "ktls-write"), tmp_path)
    assert [line.partition(":")[2].partition(" can never run with 3des: ")[0] for line in made.never] == [
        " ktls",
        " ktls-write",
    ]
    assert len(made.cells) == 4, "they are cells all the same, to be unsupported with their reason"


def test_a_path_against_itself_that_can_run_nowhere_is_told_and_the_rest_runs(tmp_path: Path) -> None:
    made = session(asked("http", "ktls").against_itself(), tmp_path)
    assert [line.partition(" can never run with 3des: ")[0] for line in made.never] == ["one-ktls: ktls"]
    assert len(made.cells) == 4


@pytest.mark.parametrize("driver", ["any", "qat_3des"])
def test_a_driver_is_no_matter_of_clear_paths(tmp_path: Path, driver: str) -> None:
    never = session(asked("http", "plain", "afalg-copy", "https", driver=driver), tmp_path).never
    assert len(never) == (0 if driver == "any" else 1)


@pytest.mark.parametrize("name", sorted(path.stem for path in profile.PROFILES.glob("*.toml")))
@pytest.mark.parametrize("quick", [False, True])
def test_every_profile_that_comes_with_it_begins(tmp_path: Path, name: str, quick: bool) -> None:
    whole = profile.load(name)
    made = session(whole.quickened() if quick else whole, tmp_path)
    transfers = [suite for suite in made.profile.suites if isinstance(suite, TransferSuite)]
    told = {tuple(line.split(": ")[:1]) for line in made.never}
    for suite in transfers:
        impossible = [p for p in suite.paths if not PATHS[p].clear and PATHS[p].impossible(suite.parameters)]
        assert bool(impossible) == ((suite.name,) in told)
        assert set(impossible) <= {"ktls", "ktls-write", "https", "https-qat"}, "named on purpose, to be told why"
    for suite in transfers:
        if suite.connection == "resumed":
            assert CIPHERS[suite.cipher].tls, "a suite about TLS sessions needs some"


def test_a_testbed_that_cannot_be_reached_ends_in_a_record_that_says_so(tmp_path: Path) -> None:
    """Nothing listens at this address of the loopback interface."""
    opened = tmp_path / "nowhere.toml"
    host = "address = '127.0.0.{0}'\nport = 9\ndata_address = '127.0.0.{0}'\ndata_interface = 'lo'\n"
    opened.write_text(f"kind = 'hosts'\n[sender]\n{host.format(1)}[receiver]\n{host.format(2)}")
    made = Session(asked("http", "plain"), testbed.load(str(opened)), tmp_path / "results", Events())
    with pytest.raises(HarnessError) as caught:
        made.result("one/http/none/any/1MB")
    made.close(caught.value)
    assert made.finished is not None
    head = made.finished.head
    assert head.status == "failed"
    assert {(cell.outcome, str(cell.reason).partition(":")[0]) for cell in head.cells} == {
        ("failed", "the run ended before it")
    }
    assert len(head.cells) == 2


def test_blocks_that_stand_out_are_told_in_the_record_s_notes(tmp_path: Path) -> None:
    made = session(asked("http", "plain"), tmp_path)
    made.writer = Writer(made.results, head())
    outcomes = made._outcomes["one"] = Outcomes(made.writer)
    for cell in made.cells.values():
        outcomes.add(cell)
        for block in range(8):
            time = 9.0 if block == 5 and cell.path == "plain" else 1.0 + block / 100
            outcomes.keep(Sample(cell=cell.id, block=block, index=0, warmup=False, seconds=time, valid=True))
    http, plain = outcomes.cells.values()
    made.writer.head.verdicts = judging.against(http, plain, 0.03)
    made.close()
    assert made.finished is not None
    kept = records.read(made.finished.path).head
    assert kept.status == "complete"
    assert kept.notes == ["http / plain, one 1MB, seconds: far from the median of x1: block 5 (x0.117); counted"]


# a whole run, on a testbed and with kinds of suite that are made up


SIZES = ("1MB", "10MB")
ASKED = {path: {size: f"one/{path}/3des/any/{size}" for size in SIZES} for path in ("afalg-copy", "so-crypt")}
PLAIN = {size: f"one/plain/none/any/{size}" for size in SIZES}


@dataclass
class Running:
    """A session whose hosts are made up."""

    session: Session
    bed: Bed
    told: list[Event]

    @property
    def head(self) -> Head:
        assert self.session.finished
        return records.read(self.session.finished.path).head

    def rounds(self, cell: str) -> dict[int, int]:
        """Counted blocks of a cell by round."""
        return dict(Counter(one.round for one in self.session.samples if one.cell == cell and not one.warmup))


def noisy(place: Place) -> dict[str, Any]:
    """1 MB is twice as fast by so-crypt, beyond all doubt; of 10 MB nobody could tell."""
    rng = random.Random(f"{place.cell.id} {place.block}")
    ratio = 0.5 if place.cell.path == "so-crypt" and place.cell.size == 10**6 else 1.0
    return {"seconds": ratio * math.exp(rng.gauss(0, 0.3 if place.cell.size == 10**7 else 0.01)), "bytes": 10**6}


@pytest.fixture
def begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Running]:
    def make(step: Step = noisy, **more: Any) -> Running:
        sizes = {size: {"blocks": 20} for size in SIZES}
        question = {"candidate": "so-crypt", "baseline": "afalg-copy", "suites": ["one"], "sizes": sizes} | more
        suites = [suite_of("afalg-copy", "so-crypt", "plain", sizes=sizes)]
        content = {"name": "mine", "description": "d", "suites": suites, "question": question}
        wanted = Profile.model_validate(content)
        bed, told = Bed(), list[Event]()

        @contextmanager
        def testbeds(*_: object) -> Iterator[Fresh]:
            yield bed.fresh

        monkeypatch.setattr(running, "testbeds", testbeds)
        monkeypatch.setattr(
            Session, "_kind", lambda self, name: Made(self.profile, self.profile.suites[0], self._outcomes[name], step)
        )
        return Running(Session(wanted, testbed.load("lab"), tmp_path / "results", Events([told.append])), bed, told)

    return make


def test_the_question_is_measured_first_and_let_go_where_it_is_decided(begin: Callable[..., Running]) -> None:
    run = begin()
    cell, samples = run.session.result(ASKED["so-crypt"]["1MB"])
    assert cell.outcome == "measured" and {sample.cell for sample in samples} == {cell.id}
    assert run.bed.boots == 10
    assert run.session.unreached, "the rest was not asked for yet"
    assert run.session.result(ASKED["so-crypt"]["10MB"])[0].outcome == "measured"
    assert run.bed.boots == 10, "the same stage"
    for path in ASKED:
        assert run.rounds(ASKED[path]["1MB"]) == dict.fromkeys(range(5), 2), "decided after half of the rounds"
        assert run.rounds(ASKED[path]["10MB"]) == dict.fromkeys(range(10), 2)
    told = [event.intervals for event in run.told if isinstance(event, Narrowed)]
    assert len(told) == 2, "at its looks"
    assert [[one.decided for one in each] for each in told] == [[True, False]] * 2
    rounds = {sample.round for sample in run.session.result(ASKED["afalg-copy"]["1MB"])[1]}
    assert rounds == {*range(5), *range(10, 15)}, (
        "the baseline is in the rest too, and asked for when all of it is there"
    )
    assert not run.session.unreached
    assert run.bed.boots == 15
    assert run.rounds(PLAIN["1MB"]) == dict.fromkeys(range(10, 15), 4)
    assert len([event for event in run.told if isinstance(event, Narrowed)]) == 2, "the rest is not looked at"


def test_the_record_says_what_was_asked_and_which_verdicts_answer_it(begin: Callable[..., Running]) -> None:
    run = begin()
    for cell in run.session.cells:
        run.session.result(cell)
    run.session.close()
    head = run.head
    assert head.status == "complete"
    assert head.question == QuestionEntry(
        candidate="so-crypt", baseline="afalg-copy", suites=["one"], sizes_bytes=[10**6, 10**7]
    )
    assert head.estimator == stats.ESTIMATOR
    assert head.hosts["sender"] == {"boot": 15}
    found = {row.candidate: row for row in head.verdicts if row.metric == "seconds"}
    assert {name: row.of_question for name, row in found.items()} == dict.fromkeys(
        ASKED["so-crypt"].values(), True
    ) | dict.fromkeys(PLAIN.values(), False)
    assert {name: (row.rounds, row.blocks) for name, row in found.items()} == {
        ASKED["so-crypt"]["1MB"]: (5, 10),
        ASKED["so-crypt"]["10MB"]: (10, 20),
        PLAIN["1MB"]: (5, 20),
        PLAIN["10MB"]: (5, 20),
    }
    assert found[ASKED["so-crypt"]["1MB"]].verdict == "faster"
    assert found[ASKED["so-crypt"]["10MB"]].verdict == "cannot_tell"


def test_looks_that_might_have_ended_it_widen_the_question_s_intervals(begin: Callable[..., Running]) -> None:
    """Of the same samples, those of a question with one look are narrower."""
    widths = []
    for rounds in (10, 5):  # looked at twice, once
        run = begin(rounds=rounds)
        assert run.session.profile.question
        looks = len(run.session.profile.question.looks)
        run.session.result(ASKED["so-crypt"]["1MB"])
        assert run.session.writer
        once = judging.settled(run.session.writer.head.verdicts, run.session.samples)
        run.session.close()
        now, then = (
            next(row for row in rows if row.candidate == ASKED["so-crypt"]["1MB"] and row.metric == "seconds")
            for rows in (run.head.verdicts, once)
        )
        assert now.ci_low and then.ci_low
        widths.append((looks, now.ci_low < then.ci_low))
    assert widths == [(2, True), (1, False)]


def test_what_was_shown_before_a_run_is_interrupted_is_paid_for(begin: Callable[..., Running]) -> None:
    """Whoever saw an interval may have ended the run by it."""

    def step(place: Place) -> dict[str, Any]:
        if place.boot == 9:
            raise KeyboardInterrupt
        return noisy(place)

    run = begin(step)
    cell = ASKED["so-crypt"]["1MB"]
    with pytest.raises(KeyboardInterrupt) as caught:
        run.session.result(cell)
    shown = len([event for event in run.told if isinstance(event, Narrowed)])
    run.session.close(caught.value)
    assert run.head.status == "interrupted"
    (row,) = (row for row in run.head.verdicts if row.candidate == cell and row.metric == "seconds")
    looks = dict.fromkeys(ASKED["so-crypt"].values(), shown + 1)
    settled = judging.settled(run.head.verdicts, run.session.samples, looks)
    (due,) = (one for one in settled if one.candidate == cell and one.metric == "seconds")
    assert shown == 1, "eight rounds, of which one is looked at"
    assert row.ci_low == due.ci_low, "for what was shown, and for the end"


def test_only_one_side_of_the_question_boots_for_no_question(begin: Callable[..., Running]) -> None:
    run = begin()
    run.session.select([ASKED["so-crypt"]["1MB"], PLAIN["1MB"]])
    assert [stage.name for stage in run.session.stages] == [plan.REST]
    run.session.result(ASKED["so-crypt"]["1MB"])
    run.session.close()
    assert run.bed.boots == 5
    assert {cell.id for cell in run.head.cells} == {ASKED["so-crypt"]["1MB"], PLAIN["1MB"]}


@pytest.mark.parametrize(
    ("error", "status"), [(HostLost("gone", host="sender"), "failed"), (KeyboardInterrupt("stopped"), "interrupted")]
)
@pytest.mark.parametrize("boot", [1, 3, 8, 11, 14])
def test_whatever_ends_a_run_its_record_has_every_cell_and_what_is_known(
    begin: Callable[..., Running], error: BaseException, status: str, boot: int
) -> None:
    def step(place: Place) -> Any:
        if place.boot == boot:
            raise error
        return noisy(place)

    run = begin(step)
    with pytest.raises(type(error)):
        for cell in run.session.cells:
            run.session.result(cell)
    run.session.close(error)
    head = run.head
    assert (head.status, {cell.id for cell in head.cells}) == (status, set(run.session.cells))
    assert all(cell.reason for cell in head.cells if cell.outcome != "measured")
    measured = {cell.id for cell in head.cells if cell.outcome == "measured"}
    small_, whole = ({ASKED[path][size] for path in ASKED for size in sizes} for sizes in (("1MB",), SIZES))
    assert measured == (whole if boot > 10 else small_ if boot > 5 else set()), "what was let go is known"
    assert {row.candidate for row in head.verdicts if row.of_question} == measured & {*ASKED["so-crypt"].values()}


def test_a_run_is_complete_where_somebody_else_changed_a_setting_and_says_so(
    begin: Callable[..., Running], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, machine: None
) -> None:
    run, knob = begin(), tmp_path / "knob"
    knob.write_text("powersave\n")

    @contextmanager
    def testbeds(_spec: object, events: Events, _wanted: object) -> Iterator[Fresh]:
        host, _ = here(monkeypatch)
        with ThreadPoolExecutor(1) as pool:
            try:
                with Scope(host) as scope:
                    scope.apply(changes.setting("governor", str(knob), "performance"))
                    yield run.bed.fresh
            finally:
                opened._closed(pool, [host], events)

    monkeypatch.setattr(running, "testbeds", testbeds)
    run.session.select([ASKED["so-crypt"]["1MB"], PLAIN["1MB"]])
    run.session.result(ASKED["so-crypt"]["1MB"])
    knob.write_text("ondemand\n")
    run.session.close()
    assert run.head.status == "complete"
    (said,) = [note for note in run.head.notes if str(knob) in note]
    assert said.startswith("sender: left to others, who changed or use it by now: governor: ")


# which harness it was


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    return subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True, text=True).stdout


def test_the_version_names_the_commit_of_its_own_checkout_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outer, own = tmp_path / "outer", tmp_path / "outer" / "own"
    own.mkdir(parents=True)
    git(outer, "init")
    git(outer, "commit", "--allow-empty", "-m", "somebody else's")
    monkeypatch.setattr(running, "ROOT", own)
    assert running.harness_version() == version("pathproof")
    git(own, "init")
    git(own, "commit", "--allow-empty", "-m", "its own")
    commit = git(own, "describe", "--always").strip()
    assert running.harness_version() == f"{version('pathproof')} ({commit})"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert running.harness_version() == version("pathproof"), "without git"


def test_the_lab_that_the_run_chose_and_why_stands_in_the_record(
    begin: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = testbed.load("lab")
    assert isinstance(lab, LabTestbed)
    asked_for = []

    def choose(auto: AutoTestbed, wanted: Profile, *_: object) -> Choice:
        asked_for.append((auto.name, wanted.name))
        return Choice(lab, "the lab is lab, and that is why")

    monkeypatch.setattr(settling, "choose", choose)
    run = begin()
    run.session.testbed = testbed.load("auto")
    run.session.result(ASKED["so-crypt"]["1MB"])
    run.session.result(PLAIN["1MB"])
    assert asked_for == [("auto", "mine")], "once for all stages"
    assert [event.text for event in run.told if isinstance(event, Chosen)] == ["the lab is lab, and that is why"]
    run.session.close()
    assert run.session.finished
    entry = run.session.finished.head.testbed
    assert (entry.name, entry.kind, entry.chosen) == ("lab", "uml", "the lab is lab, and that is why")
