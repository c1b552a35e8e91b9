"""A fleet's file, its plan, what is done again, and what a worker keeps on disk."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console

from harness import night as nights
from harness import records
from harness.night import Attempt, Cause
from hosts.errors import ConfigError, Refusal
from suites.__main__ import main
from suites.fleet import keeper, reservations, rules, spec, spool, terminal
from suites.fleet.spool import Errand, Spool
from tests.support import made_up_run
from tests.support.fleets import begun, entry, night

NOW = datetime(2026, 11, 30, 22, 0, tzinfo=UTC)
ENDS = NOW + timedelta(hours=8)
FLEET = """
hours = 6
[[testbeds]]
testbed = "lab"
labels = ["emulated"]
[[testbeds]]
name = "berlin-3"
labels = ["xeon", "card"]
[[runs]]
profiles = ["gigabit-3des", "esp"]
minutes = 30
[[runs]]
profiles = ["card-aes128cbc"]
on = ["xeon", "card"]
priority = 5
quick = true
"""


def plan(tmp_path: Path, text: str) -> spec.Plan:
    (tmp_path / "two.toml").write_text(text)
    return spec.load(tmp_path / "two.toml")


def test_a_plan_is_every_profile_on_every_testbed_that_has_its_labels(tmp_path: Path) -> None:
    made = plan(tmp_path, FLEET)
    assert made.fleet.name == "two" and made.fleet.hours == 6
    assert [(one.testbed, one.profile, one.minutes, one.quick) for one in made.entries] == [
        ("berlin-3", "card-aes128cbc", 120, True),
        ("lab", "gigabit-3des", 30, False),
        ("berlin-3", "gigabit-3des", 30, False),
        ("lab", "esp", 30, False),
        ("berlin-3", "esp", 30, False),
    ]
    assert made.entries[0].labels == ["card", "xeon"]
    assert [bed.source for bed in made.testbeds] == ["lab", None]


def test_a_testbed_s_file_stands_beside_the_fleet_s_and_its_name_is_a_label(tmp_path: Path) -> None:
    (tmp_path / "pair-7.toml").write_text('kind = "uml"\n')
    made = plan(tmp_path, '[[testbeds]]\ntestbed = "pair-7.toml"\n[[runs]]\nprofiles = ["esp"]\non = ["pair-7"]\n')
    assert made.testbeds[0].source == str(tmp_path / "pair-7.toml")
    assert made.entries[0].testbed == "pair-7"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('["xeon", "card"]\npriority', '["xeon", "arm"]\npriority', "no testbed has the labels xeon, arm"),
        ('"esp"]', '"esq"]', "no profile is called 'esq'"),
        ('"esp"]', '"esp", "esp"]', "esp is asked for twice on lab"),
        ('name = "berlin-3"', 'name = "lab"', "two testbeds are called lab"),
        ('name = "berlin-3"', 'name = "x"\ntestbed = "lab"', "a testbed has either testbed"),
        ("hours = 6", "hours = 0", "hours"),
        ("hours = 6", "hour = 6", "hour: there is no such key"),
        ("minutes = 30", "minutes = -1", "runs.0.minutes"),
        ('testbed = "lab"', 'testbed = "labb"', "no testbed is called 'labb'"),
    ],
)
def test_a_wrong_fleet_is_told(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in FLEET
    with pytest.raises(ConfigError, match=r"two\.toml") as caught:
        plan(tmp_path, FLEET.replace(old, new, 1))
    assert said in str(caught.value)


def lost(cause: Cause | None, outcome: nights.Ended = "interrupted") -> Attempt:
    return Attempt(outcome=outcome, cause=cause, home=True, run_id="r")


def test_a_run_whose_worker_ended_is_done_again_once_where_there_is_time() -> None:
    one = entry("lab", "esp", minutes=60)
    assert not rules.again(one, ENDS, NOW)
    one.attempts = [lost("worker")]
    assert rules.again(one, ENDS, NOW)
    assert not rules.again(one, ENDS, ENDS - timedelta(minutes=10)), "less than a quarter of its time is left"
    one.attempts.append(lost("worker"))
    assert not rules.again(one, ENDS, NOW)
    one.attempts = [lost("time")]
    assert not rules.again(one, ENDS, NOW)
    one.attempts = [lost(None, "failed")]
    assert not rules.again(one, ENDS, NOW)


def test_an_attempt_of_which_nothing_is_known_is_asked_for_again_and_counted_once() -> None:
    one = entry("lab", "esp")
    assert rules.begin(one) == 0
    rules.note(one, 0, Attempt(outcome="running", run_id="r", started=NOW))
    assert rules.begin(one) == 0
    rules.finish(one, Attempt(outcome="unreachable", reason="nobody offers it", ended=NOW))
    assert (one.outcome, one.attempts[0].outcome) == ("unreachable", "interrupted")
    assert rules.begin(one) == 0, "a worker may have its record"
    rules.note(one, 0, lost("worker"))
    assert rules.begin(one) == 1 and len(one.attempts) == 1


def test_what_did_not_come_home_is_asked_for_by_the_same_night_and_by_the_next_one() -> None:
    one, next_one = night(entry("lab", "esp"), entry("lab", "servers")), night(entry("lab", "esp"))
    next_one.night += "-next"
    rules.note(one.entries[0], 0, Attempt(outcome="failed", run_id="r", reason="no space left"))
    rules.note(one.entries[1], 0, Attempt(outcome="failed", run_id="s", home=True))
    assert rules.to_do(one, one.ends) == one.entries[:1]
    assert rules.left([one, next_one], next_one) == [one] and rules.left([one], one) == []
    one.entries[0].attempts[0].home = True
    assert rules.left([one], next_one) == []


def test_a_night_that_starts_again_does_what_is_left() -> None:
    one = night(*(entry("lab", name) for name in "abcdefgh"))
    outcomes: list[nights.Outcome] = ["complete", "failed", "waiting", "running", *["interrupted"] * 4]  # type: ignore[list-item]
    for each, outcome in zip(one.entries, outcomes, strict=True):
        each.outcome = outcome
    one.entries[4].attempts = [lost("told")]
    one.entries[5].attempts = [lost("time")]
    one.entries[6].attempts = [lost("worker")]
    one.entries[7].attempts = [lost("worker"), lost("worker")]
    assert [each.profile for each in rules.to_do(one, one.started)] == ["c", "d", "e", "g"]
    assert [each.profile for each in rules.to_do(one, one.ends)] == ["c", "d", "e"]
    later = one.started + timedelta(minutes=5)
    assert rules.continued([one], "made-up", later) is one
    assert rules.continued([one], "other", later) is None
    assert rules.continued([one], "made-up", one.ends) is None
    one.finished = later
    assert rules.continued([one], "made-up", later) is None


def test_a_night_is_the_same_when_it_is_read_again(tmp_path: Path) -> None:
    one = night(entry("lab", "esp"))
    rules.note(one.entries[0], 0, Attempt(outcome="running", run_id="r", started=NOW))
    nights.write(tmp_path / "nights" / one.night, one)
    assert nights.read(nights.folders(tmp_path)[0]) == one
    (tmp_path / "nights" / one.night / nights.FILE).write_text("{}")
    with pytest.raises(Refusal, match="is not a night of schema 1"):
        nights.read(nights.folders(tmp_path)[0])


def errand(**more: object) -> Errand:
    return replace(Errand("20261130", "lab", "esp", 0, 1.0, datetime.now(UTC) + timedelta(hours=1)), **more)  # type: ignore[arg-type]


def kept(
    tmp_path: Path, seconds: float = 0.0, became: str = "complete", allowed: float = 60.0, grace: float = 5.0
) -> subprocess.Popen[bytes]:
    """A keeper with a made-up run of the errand."""
    results = tmp_path / "results"
    made_up = [sys.executable, made_up_run.__file__, str(results), "the-run", "lab", "esp", str(seconds), became]
    command = [sys.executable, keeper.__file__, str(tmp_path), "0", str(allowed), str(grace), *made_up]
    return subprocess.Popen(command, stdin=subprocess.PIPE)


@pytest.mark.parametrize(
    ("word", "became", "cause"),
    [(keeper.TOLD, "complete", "told"), (b"", "complete", "worker"), (b"", "stubborn", "worker")],
)
def test_a_run_ends_with_its_worker_and_when_it_is_told(tmp_path: Path, word: bytes, became: str, cause: str) -> None:
    process = kept(tmp_path, 600, became, grace=0.2 if became == "stubborn" else 20)
    begun(tmp_path / "log")
    assert process.stdin
    process.stdin.write(word)
    process.stdin.close()
    assert process.wait(60) == 0
    assert json.loads((tmp_path / "ended.json").read_text())["cause"] == cause
    head = records.read_head(tmp_path / "results" / "the-run")
    assert head.status == "interrupted"
    assert (head.reason == "stopped by SIGTERM") == (became != "stubborn"), "a stubborn one is killed"


def test_a_run_ends_when_its_time_is_over(tmp_path: Path) -> None:
    process = kept(tmp_path, 600, allowed=1.0)
    process.wait(60)
    ended = json.loads((tmp_path / "ended.json").read_text())
    assert ended["cause"] == "time" and "minutes that it had were over" in ended["reason"]


def left(tmp_path: Path, became: str = "complete") -> tuple[Spool, Errand, spool.Claim]:
    """A spool with a run that has ended."""
    made, one = Spool(tmp_path / "state", "lab"), errand()
    claim = made.claim(one, "the-run")
    assert claim
    process = kept(made.of(one), 0, became)
    process.wait(60)
    return made, one, claim


def test_a_record_comes_home_whole_and_once(tmp_path: Path) -> None:
    made, one, claim = left(tmp_path)
    parcel = made.parcel(one, claim)
    assert (parcel.outcome, parcel.reason, parcel.run_id) == ("complete", None, "the-run")
    home = tmp_path / "home"
    spool.deliver(parcel, home, tmp_path / "incoming")
    assert records.read(home / "the-run").samples == records.read(made.of(one) / "results" / "the-run").samples
    stamp = (home / "the-run" / "run.json").stat().st_mtime_ns
    spool.deliver(parcel, home, tmp_path / "incoming")
    assert (home / "the-run" / "run.json").stat().st_mtime_ns == stamp
    made.forget(one)
    assert not (made.of(one) / "results").exists()
    assert made.claim(one, "another") is None, "nobody runs it again"
    again = made.parcel(one, claim)
    assert (again.record, again.reason) == (b"", "its record, the-run, was taken home before")


def test_a_record_that_changed_on_its_way_is_refused(tmp_path: Path) -> None:
    made, one, claim = left(tmp_path)
    parcel = made.parcel(one, claim)
    cut = replace(parcel, record=parcel.record[:-1])
    with pytest.raises(Refusal, match="did not come home whole"):
        spool.deliver(cut, tmp_path / "home", tmp_path / "incoming")
    with pytest.raises(Refusal, match="is no name of a record"):
        spool.deliver(replace(parcel, run_id="../x"), tmp_path / "home", tmp_path / "incoming")
    with pytest.raises(Refusal, match="the record of another run"):
        spool.deliver(replace(parcel, run_id="other"), tmp_path / "home", tmp_path / "incoming")
    assert not (tmp_path / "home").exists()


def test_what_a_run_left_says_what_became_of_it(tmp_path: Path) -> None:
    made, one, claim = left(tmp_path, "lost")
    parcel = made.parcel(one, claim)
    assert (parcel.outcome, parcel.reason) == ("unreachable", "the host's key changed")
    made, one, claim = left(tmp_path / "other", "nothing")
    parcel = made.parcel(one, claim)
    assert (parcel.outcome, parcel.record) == ("failed", b"")
    assert parcel.reason == "it left no record: ERROR: no profile is called so"


def test_a_run_of_which_nothing_is_left_was_interrupted(tmp_path: Path) -> None:
    made, one = Spool(tmp_path, "lab"), errand()
    claim = made.claim(one, "the-run")
    assert claim and made.claim(one, "another") is None
    assert made.claimed(one) == claim
    parcel = made.parcel(one, claim)
    assert (parcel.outcome, parcel.cause, parcel.reason) == ("interrupted", "worker", "its worker ended")


def test_people_and_nights_do_not_meet(tmp_path: Path) -> None:
    made = Spool(tmp_path, "lab")
    now = datetime.now(UTC)
    assert reservations.held(made, now) is None
    reservations.reserve(made, "anna", now + timedelta(minutes=30))
    held = reservations.held(made, now)
    assert held and held.by == "anna"
    assert reservations.held(made, now + timedelta(minutes=31)) is None
    with pytest.raises(Refusal, match="lab is taken: anna has it until"):
        reservations.drain(made, "bert")
    assert reservations.release(made) == held
    lock = made.lock()
    assert lock is not None
    with pytest.raises(Refusal, match="a run is under way on lab"):
        reservations.reserve(made, "anna", None)
    reservations.drain(made, "anna")
    assert not reservations.idle(made, 0.1)
    os.close(lock)
    assert reservations.idle(made, 0.1)


def test_a_testbed_that_no_worker_of_this_user_offered_is_nobody_s_to_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    state = tmp_path / "pathproof" / "fleet"
    commands = [["reserve", "--minutes", "90"], ["drain"], ["release"]]
    for command in commands:
        assert main([*command, "pair-7"]) == 2
        assert "no worker of this user has offered a testbed 'pair-7'" in capsys.readouterr().err
    assert not state.exists()
    made = Spool(state, "pair-7")
    for command in commands:
        for name in ("pair-8", "", ".", "..", "../fleet"):
            assert main([*command, name]) == 2
    capsys.readouterr()
    assert main(["reserve", "pair-7", "--minutes", "90", "--by", "anna"]) == 0
    held = reservations.held(made, datetime.now(UTC))
    assert held and capsys.readouterr().out == f"pair-7: {held}\n"
    assert main(["drain", "pair-7", "--by", "bert"]) == 1
    assert main(["release", "pair-7"]) == 0
    assert [path.name for path in state.iterdir()] == ["pair-7"]


@pytest.mark.parametrize("minutes", ["nan", "inf", "1e12", "0", "-1", "soon"])
def test_a_reservation_has_an_end_that_is_to_come(
    minutes: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    made = Spool(tmp_path / "pathproof" / "fleet", "pair-7")
    with pytest.raises(SystemExit) as ended:
        main(["reserve", "pair-7", f"--minutes={minutes}"])
    assert ended.value.code == 2
    assert f"--minutes: {'invalid minutes value' if minutes == 'soon' else minutes}" in capsys.readouterr().err
    assert not (made.folder / reservations.FILE).exists()


def test_the_command_says_what_it_would_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "two.toml").write_text(FLEET)
    assert main(["fleet", str(tmp_path / "two.toml"), "--plan"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "berlin-3: card-aes128cbc, at most 120 minutes, quick, priority 5"
    assert len(said) == 5
    assert main(["fleet", str(tmp_path / "none.toml"), "--plan"]) == 2
    assert "cannot read the fleet" in capsys.readouterr().err


def test_a_night_is_not_continued_by_another_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "two.toml").write_text(FLEET)
    made = spec.load(tmp_path / "two.toml")
    began = rules.new("two", 6, made.entries, datetime.now(UTC))
    nights.write(tmp_path / "results" / nights.FOLDER / began.night, began)
    (tmp_path / "two.toml").write_text(FLEET.replace("minutes = 30", "minutes = 20"))
    assert main(["fleet", str(tmp_path / "two.toml"), "--results", str(tmp_path / "results")]) == 2
    said = capsys.readouterr().err
    assert "was planned otherwise than the fleet's file is now" in said and "--new begins another night" in said


def test_what_is_driven_elsewhere_needs_a_scheduler(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan(tmp_path, FLEET)
    assert main(["fleet", str(tmp_path / "two.toml"), "--results", str(tmp_path / "results")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("berlin-3: ") and "--scheduler ADDRESS" in said
    assert not (tmp_path / "results").exists(), "no night has begun"


def test_a_night_in_a_terminal_is_a_line_for_each_testbed() -> None:
    one = night(entry("lab", "esp", minutes=30), entry("lab", "servers"), entry("berlin-3", "esp"))
    rules.note(one.entries[0], 0, Attempt(outcome="running", run_id="r", started=NOW))
    rules.note(one.entries[2], 0, Attempt(outcome="failed", reason="no route to host", home=True))
    assert terminal.lines(one, NOW + timedelta(minutes=4)) == [
        "lab: 0 of 2 done; esp 4 of 30 minutes",
        "berlin-3: 1 of 1 done, 1 not complete",
    ]
    told = io.StringIO()
    lines = terminal.Lines(Console(file=told, force_terminal=False))
    lines(one)
    lines(one)
    rules.note(one.entries[0], 0, lost("worker").model_copy(update={"reason": "its worker ended"}))
    one.entries[0].outcome, one.entries[0].reason = "waiting", None
    lines(one)
    lines.note("the connection to the scheduler was lost")
    assert [line[9:] for line in told.getvalue().splitlines()] == [
        "lab: esp running",
        "berlin-3: esp failed: no route to host",
        "lab: esp interrupted: its worker ended; asked for again",
        "the connection to the scheduler was lost",
    ]
