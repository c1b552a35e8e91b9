"""Changes are foreseen by those who make them, on a real agent, and none is made; a look leaves all as it is."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from hosts.onhost.agent.journal import Journal
from hosts.onhost.agent.values import Change, DirectoryChange, Tls
from hosts.remote import changes
from hosts.remote.agent import AgentError
from hosts.remote.foresight import Foreseen, Foresight, OnlyTrying
from tests.support.agent_process import LocalAgent, start

pytestmark = pytest.mark.usefixtures("machine")


@pytest.fixture
def foresight(agent: LocalAgent) -> Foresight:
    return Foresight(agent.client)


def test_changes_are_kept_in_order_and_not_made(foresight: Foresight, tmp_path: Path) -> None:
    wanted: list[Change] = [
        changes.directory(str(tmp_path / "new")),
        changes.file(str(tmp_path / "file"), "text"),
        changes.process("a server", ["/bin/sleep", "9"], str(tmp_path / "out"), str(tmp_path / "err")),
    ]
    assert [foresight.apply(change) for change in wanted] == [0, 1, 2]
    assert [one.change for one in foresight.changes] == wanted
    assert foresight.undo([0, 1, 2]) == []
    assert list(tmp_path.iterdir()) == []


def test_what_the_host_would_refuse_is_refused(foresight: Foresight, tmp_path: Path) -> None:
    (tmp_path / "there").touch()
    with pytest.raises(AgentError, match="is already there"):
        foresight.apply(changes.file(str(tmp_path / "there"), "text"))
    assert foresight.changes[0].refused == f"{tmp_path / 'there'} is already there"


def test_a_setting_may_come_with_a_module_that_would_be_loaded_before(foresight: Foresight, tmp_path: Path) -> None:
    setting = changes.setting("x", str(tmp_path / "restrict"), "0")
    with pytest.raises(AgentError, match="cannot be read"):
        foresight.apply(setting)
    foresight.changes.append(Foreseen(changes.modules("af_alg"), ("af_alg",)))
    foresight.apply(setting)
    assert [one.refused is None for one in foresight.changes] == [False, True, True]


@pytest.mark.parametrize(("refuse", "looks"), [("theirs", True), (None, False)])
def test_only_what_may_be_somebody_elses_is_looked_for(
    foresight: Foresight, tmp_path: Path, refuse: str | None, looks: bool
) -> None:
    seen, made = tmp_path / "seen", tmp_path / "made"
    look = ["sh", "-c", f"touch {seen}; echo theirs"]
    change = changes.command("x", look=look, present="ours", apply=["touch", str(made)], undo=["true"], refuse=refuse)
    if looks:
        with pytest.raises(AgentError, match="something else is in its place: theirs"):
            foresight.apply(change)
    else:
        foresight.apply(change)
    assert seen.exists() == looks
    assert not made.exists()


def test_nothing_is_looked_for_with_a_program_that_is_not_there(foresight: Foresight) -> None:
    look = ["no-such-program", "show"]
    foresight.apply(changes.command("x", look=look, present="x", apply=["x"], undo=["x"], refuse="theirs"))
    assert foresight.changes[0].refused is None


def test_a_command_runs_only_if_it_is_said_to_look(foresight: Foresight, tmp_path: Path) -> None:
    assert foresight.run(["touch", str(tmp_path / "x")], 5.0).ok
    assert not (tmp_path / "x").exists()
    count = ["sh", "-c", f"echo x >>{tmp_path / 'times'}; echo told"]
    assert [foresight.run(count, 5.0, looks=True).stdout for _ in range(2)] == ["told\n", "told\n"]
    assert (tmp_path / "times").read_text() == "x\n", "nothing changes meanwhile: it is asked once"


def test_what_cannot_be_supposed_is_told_so(foresight: Foresight) -> None:
    with pytest.raises(OnlyTrying):
        foresight.lines([], 1.0)
    with pytest.raises(OnlyTrying):
        foresight.hash_cost("sha1", 0.1)
    with pytest.raises(OnlyTrying):  # its library may be one that is to be installed
        foresight.offered_cipher_suites(Tls("/no/authority", "1.2", "no such priority", "no such cipher suite"))


def test_an_agent_that_looks_refuses_changes_and_leaves_what_others_left(tmp_path: Path) -> None:
    left = Path("/dev/shm/pathproof-left-by-a-test")
    left.mkdir(mode=0o700)
    try:
        made = tmp_path / "made"
        Journal(left).apply(DirectoryChange("a directory of before", str(made), 0o700))
        with LocalAgent(looks=True) as agent:
            assert agent.first is not None
            assert f"{left.name}: a directory of before" in agent.first["ready"]["recovered"]
            with pytest.raises(AgentError, match="this agent only looks"):
                agent.client.apply(changes.directory(str(tmp_path / "new")))
            with pytest.raises(AgentError, match="this agent only looks"):
                agent.client.finish(["touch", str(tmp_path / "new")], {}, 5.0)
        assert made.exists()
        assert left.exists()
        assert not (tmp_path / "new").exists()
        with start() as agent:
            assert agent.first is not None
            assert f"{left.name}: put back" in agent.first["ready"]["recovered"]
        assert not made.exists()
    finally:
        if left.exists():
            Journal(left).undo()
            for path in left.iterdir():
                path.unlink()
            left.rmdir()


SLOW = 'trap "" TERM; echo begun; sleep 1.5; (umask; pwd) >"$1.new"; mv "$1.new" "$1"; echo done'


def test_a_command_that_must_not_be_ended_ends_by_itself_though_its_controller_is_gone(tmp_path: Path) -> None:
    made = tmp_path / "made"
    with start() as agent:
        asked = {"argv": ["sh", "-c", SLOW, "sh", str(made)], "environment": {}, "timeout_seconds": 30.0}
        agent.write(json.dumps({"id": 0, "op": "Finish", "args": asked}).encode() + b"\n")
        end = time.monotonic() + 10
        while not (agent.directory / "unfinished").exists() and time.monotonic() < end:
            time.sleep(0.01)
        os.kill(agent.worker, 9)
        assert agent.ended() == 0
        assert made.read_text() == "0022\n/\n"
        assert not agent.directory.exists()


def test_what_it_says_is_kept_and_another_one_waits_its_turn(agent: LocalAgent) -> None:
    done = agent.client.finish(["sh", "-c", 'echo "$X"; echo loud >&2; exit 3'], {"X": "told"}, 10.0)
    assert (done.status, done.stdout) == (3, "told\nloud\n")
    assert agent.client.finish(["no-such-program"], {}, 10.0).status == 127
    still = agent.client.finish(["sleep", "2"], {}, 0.1)
    assert still.status is None
    with pytest.raises(AgentError, match="still runs here"):
        agent.client.finish(["true"], {}, 10.0)
