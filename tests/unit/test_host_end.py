"""The end of a host's agent, as its controller sees it: what is not as it was is told."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.events import Event, Events, Note
from harness.measuring import opened
from hosts.errors import HarnessError, HostLost
from hosts.processes import children
from hosts.remote import changes
from hosts.remote.agent import AgentError
from hosts.remote.changes import Scope
from tests.support.agent_process import Watched
from tests.support.here import here
from tests.unit.test_lost_host import Raising

pytestmark = pytest.mark.usefixtures("machine")


def test_what_somebody_else_changed_is_a_note(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    knob, told = tmp_path / "knob", list[Event]()
    knob.write_text("powersave\n")
    host, agent = here(monkeypatch)
    with Scope(host) as scope:
        scope.apply(changes.setting("governor", str(knob), "performance"))
        knob.write_text("ondemand\n")
    with ThreadPoolExecutor(1) as pool:
        opened._closed(pool, [host], Events([told.append]))
    said = f"governor: {knob} is 'ondemand', neither 'powersave' as before nor 'performance' as we set it"
    assert told == [Note(f"sender: left to others, who changed or use it by now: {said}")]
    assert not agent.directory.exists()


def test_what_could_not_be_undone_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = tmp_path / "made"
    host, agent = here(monkeypatch)
    look, undo = ["ls", str(tmp_path)], ["sh", "-c", "echo it says no >&2; exit 1"]
    host.agent.apply(changes.command("x", look=look, present="made", apply=["touch", str(made)], undo=undo))
    with pytest.raises(AgentError, match=r"not undone: x: .* it says no") as caught:
        host.close()
    assert caught.value.host == "sender"
    made.unlink()  # by hand, as it says there
    following, _ = here(monkeypatch)
    following.close()
    assert f"{agent.directory.name}: put back" in following.recovered
    assert not agent.directory.exists()


# nobody says that it was put back


def unfinished(monkeypatch: pytest.MonkeyPatch, how: str, error: BaseException | None) -> HarnessError | None:
    """What is told of a host at its end, where its guardian is killed or the connection is cut before that."""
    host, agent = here(monkeypatch)
    worker = Watched(children(agent.guardian)[0])
    if how == "guardian killed":
        Watched(agent.guardian).kill(signal.SIGKILL)
    else:
        monkeypatch.setattr(host._channel, "end_input", Raising(HostLost("the connection ended", host="sender")))
    try:
        host.close(error)
    except HarnessError as told:
        return told
    finally:
        assert worker.gone()
        following, _ = here(monkeypatch)
        following.close()
        assert not agent.directory.exists()
    return None


@pytest.mark.parametrize(
    ("how", "said"), [("guardian killed", "ended with status -1"), ("connection cut", "the connection ended")]
)
def test_where_nobody_says_that_a_host_was_put_back_that_is_told(
    monkeypatch: pytest.MonkeyPatch, how: str, said: str
) -> None:
    told = unfinished(monkeypatch, how, None)
    assert isinstance(told, AgentError)
    assert told.what == f"the agent did not say that it put the host back: {said}"
    assert "restore" in str(told.next_step)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (HostLost("no answer after 30 s", host="sender"), False),
        (HostLost("no answer after 30 s", host="receiver"), True),
        (KeyboardInterrupt(), True),
    ],
)
def test_of_a_host_that_is_lost_already_that_is_not_told_again(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, told: bool
) -> None:
    assert bool(unfinished(monkeypatch, "guardian killed", error)) == told
