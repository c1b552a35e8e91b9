"""The end of a host's agent, as its controller sees it: what is not as it was is told."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.events import Event, Events, Note
from harness.measuring import opened
from hosts.remote import changes
from hosts.remote.agent import AgentError
from hosts.remote.changes import Scope
from tests.support.here import here

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
    with pytest.raises(AgentError, match="not undone: x: .* it says no") as caught:
        host.close()
    assert caught.value.host == "sender"
    made.unlink()  # by hand, as it says there
    following, _ = here(monkeypatch)
    following.close()
    assert f"{agent.directory.name}: put back" in following.recovered
    assert not agent.directory.exists()
