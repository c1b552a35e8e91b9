"""The agent, on this machine: what it does when asked, and that it leaves nothing behind however it ends."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import socket
import stat
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from hosts import changes
from hosts.agent.journal import Journal
from hosts.agent.kinds import ChangeError, half_written
from hosts.agent.ops import Operations
from hosts.remote import agent_zip
from tests.agent_process import LocalAgent, Watched, alone, start

SECRET = "5ec2e7" * 8
SLEEP = 600

# forks twice and leaves its session, as a daemon does; deaf to SIGTERM; says its number when it is one
DAEMON = """
import os, signal, sys, time
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
with open(sys.argv[1] + ".new", "w") as file:
    print(os.getpid(), file=file)
os.rename(sys.argv[1] + ".new", sys.argv[1])
time.sleep(600)
"""
PLAIN = """
import os, sys, time
with open(sys.argv[1] + ".new", "w") as file:
    print(os.getpid(), file=file)
os.rename(sys.argv[1] + ".new", sys.argv[1])
time.sleep(600)
"""


DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)" + PLAIN


@pytest.fixture(scope="module", autouse=True)
def machine() -> Iterator[None]:
    """One test of agents at a time on a machine, as one agent at a time."""
    with alone():
        yield


@pytest.fixture
def agent() -> Iterator[LocalAgent]:
    with start() as started:
        yield started


def put(agent: LocalAgent, path: str, data: bytes, mode: int = 0o600, sha256: str | None = None) -> dict[str, Any]:
    return agent.ask(
        "put",
        path=path,
        content=base64.b64encode(data).decode(),
        mode=mode,
        sha256=sha256 or hashlib.sha256(data).hexdigest(),
    )


def sleeper(directory: Path, name: str, code: str = PLAIN, stdin: str | None = None) -> changes.Change:
    """A change that starts a process which writes its number to ``directory / name``."""
    argv = [sys.executable, "-I", "-S", "-c", code, str(directory / name)]
    return changes.process(name, argv, f"{directory}/{name}.out", f"{directory}/{name}.err", stdin)


def marker(path: Path, log: Path | None = None, **more: Any) -> changes.Change:
    """A change by commands: the file ``path`` is there; undoing it leaves a line in ``log``."""
    undo = f"rm {path}" + (f"; echo {path.name} >>{log}" if log else "")
    wanted: dict[str, Any] = {
        "look": ["ls", str(path.parent)],
        "present": rf"(?m)^{path.name}$",
        "apply": ["touch", str(path)],
        "undo": ["sh", "-c", undo],
    }
    return changes.command(f"marker {path.name}", **(wanted | more))


# what it does when asked


def test_it_says_where_it_is_and_nobody_else_can_look_in(agent: LocalAgent) -> None:
    assert agent.first is not None
    ready = agent.first["ready"]
    assert ready["directory"] == str(agent.directory)
    assert ready["uid"] == os.getuid()
    assert ready["pid"] != agent.guardian
    assert stat.S_IMODE(agent.directory.stat().st_mode) == 0o700


def test_it_leaves_nothing_when_its_channel_is_closed() -> None:
    with start() as agent:
        agent.call("put", path="x", content="", mode=0o600, sha256=hashlib.sha256(b"").hexdigest())
        agent.end_input()
        assert agent.ended() == 0
        assert not agent.directory.exists()
        assert agent.errors() == ""


def test_a_command_gives_its_status_and_output(agent: LocalAgent) -> None:
    done = agent.call("run", argv=["sh", "-c", "cat; echo err >&2; exit 7"], timeout=10, stdin="in\n")
    assert (done["status"], done["stdout"], done["stderr"]) == (7, "in\n", "err\n")
    missing = agent.call("run", argv=["/no/such/program"], timeout=10)
    assert missing["status"] == 127
    assert "/no/such/program" in missing["stderr"]


def test_a_deadline_ends_the_whole_process_group(agent: LocalAgent, tmp_path: Path) -> None:
    script = f"sleep {SLEEP} & echo $! >{tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid; echo begun; wait"
    started = time.monotonic()
    with ThreadPoolExecutor(1) as other:
        asked = other.submit(agent.call, "run", argv=["sh", "-c", script], timeout=1.0)
        child = Watched.of(tmp_path / "pid")
        done = asked.result()
    assert time.monotonic() - started < SLEEP / 10
    assert done["status"] is None
    assert done["stdout"] == "begun\n"
    assert child.gone()  # it closes its pipes a little before it has ended


def test_a_command_that_left_its_group_does_not_outlast_the_deadline(tmp_path: Path) -> None:
    """It holds the pipes open, so waiting for their end would be waiting for ever."""
    with start() as agent:
        script = f"echo begun; exec {sys.executable} -I -S -c '{DAEMON}' {tmp_path}/pid"
        done = agent.call("run", argv=["sh", "-c", script], timeout=1.5)
        assert done["status"] is None
        assert done["stdout"] == "begun\n"
        escaped = Watched.of(tmp_path / "pid")
        assert agent.call("ping") is None
    assert escaped.gone()


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o755])
def test_a_put_file_has_its_content_and_mode(agent: LocalAgent, mode: int) -> None:
    assert "error" not in put(agent, "file", b"\x00\xff" * 1000, mode)
    path = agent.directory / "file"
    assert path.read_bytes() == b"\x00\xff" * 1000
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_damaged_put_leaves_the_old_file(agent: LocalAgent) -> None:
    put(agent, "file", b"old")
    before = sorted(agent.directory.iterdir())
    assert "SHA-256" in put(agent, "file", b"new", sha256="0" * 64)["error"]
    damaged = agent.refusal("put", path="file", content="*", mode=0o600, sha256="0" * 64)
    assert "damaged on the way" in damaged
    assert (agent.directory / "file").read_bytes() == b"old"
    assert sorted(agent.directory.iterdir()) == before


def test_nobody_ever_sees_half_a_put_file(agent: LocalAgent) -> None:
    contents = [b"a" * 300_000, b"b" * 300_000]
    path = agent.directory / "file"
    put(agent, "file", contents[0])
    stop = threading.Event()
    seen: list[bytes] = []

    def look() -> None:
        while not stop.is_set() and len(seen) < 100_000:
            seen.append(hashlib.sha256(path.read_bytes()).digest())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        for turn in range(20):
            put(agent, "file", contents[turn % 2])
    finally:
        stop.set()
        thread.join()
    assert set(seen) <= {hashlib.sha256(content).digest() for content in contents}
    assert len(seen) > 1


def test_counters_are_numbers_or_nothing_but_never_a_guess(agent: LocalAgent, tmp_path: Path) -> None:
    (tmp_path / "stat").write_text("tx 5\nrx 7\ntx 6\n")
    (tmp_path / "snmp").write_text("Ip: A B\nIp: 1 2\nTcp: A RetransSegs\nTcp: 3 44\n")
    file = str(tmp_path / "stat")
    seen = agent.call(
        "observe",
        counters={
            "sum": {"file": file, "pattern": r"^tx (\d+)"},
            "no_match": {"file": file, "pattern": r"^none (\d+)"},
            "no_file": {"file": f"{file}.not", "pattern": r"(\d+)"},
            "said": {"command": ["cat", file], "pattern": r"^rx (\d+)"},
            "failed": {"command": ["sh", "-c", "echo 5; false"], "pattern": r"(\d+)"},
            "size": {"size": file},
            "no_size": {"size": f"{file}.not"},
            "field": {"table": str(tmp_path / "snmp"), "field": "Tcp.RetransSegs"},
            "no_field": {"table": str(tmp_path / "snmp"), "field": "Tcp.B"},
        },
    )
    assert seen["values"] == {
        "sum": 11,
        "no_match": None,
        "no_file": None,
        "said": 7,
        "failed": None,
        "size": 15,
        "no_size": None,
        "field": 44,
        "no_field": None,
    }
    before, after = seen["cpu_before"], seen["cpu_after"]
    assert 0 < before["busy_seconds"] <= after["busy_seconds"]
    assert before["resolution_seconds"] == after["resolution_seconds"] == 1 / os.sysconf("SC_CLK_TCK")


def test_the_same_seed_makes_the_same_payload(agent: LocalAgent) -> None:
    size = (1 << 20) + 17
    hashes = [agent.call("payload", path=f"p{n}", size=size, seed=seed) for n, seed in enumerate((1, 1, 2))]
    assert hashes[0] == hashes[1] != hashes[2]
    assert (agent.directory / "p0").stat().st_size == size
    assert agent.call("digest", path="p0", count=size) == {"sha256": hashes[0]}
    short = agent.call("digest", path="p0", count=size + 1)
    assert short["sha256"] is None
    assert "1 bytes early" in short["error"]


def test_only_whole_lines_of_a_log_are_given(agent: LocalAgent, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("one\ntwo\nthr")
    assert agent.call("lines", path=str(log), offset=4, count=1, timeout=5.0) == ["two"]
    assert agent.call("lines", path=str(log), offset=0, count=3, timeout=0.1) == ["one", "two"]


# every change is looked up, journalled, made, verified and undone


def test_a_file_is_put_back_with_its_mode_and_owner(agent: LocalAgent, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old\n")
    path.chmod(0o640)
    if os.getuid() == 0:
        os.chown(path, 12345, 23456)
    before = path.stat()
    number = agent.call("apply", change=changes.file(str(path), b"new\n", 0o604))
    assert path.read_bytes() == b"new\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o604
    assert agent.call("undo", numbers=[number]) == []
    after = path.stat()
    assert path.read_bytes() == b"old\n"
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)


def test_a_file_that_was_not_there_is_gone_again(agent: LocalAgent, tmp_path: Path) -> None:
    path = tmp_path / "file"
    number = agent.call("apply", change=changes.file(str(path), b"new\n"))
    assert path.exists()
    assert agent.call("undo", numbers=[number]) == []
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_plain_file_is_not_replaced_by_one(agent: LocalAgent, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    for path in (tmp_path / "link", tmp_path):
        assert "not a regular file" in agent.refusal("apply", change=changes.file(str(path), b""))
    assert (tmp_path / "link").is_symlink()


def test_a_directory_that_is_there_is_refused_and_left_alone(agent: LocalAgent, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "file").touch()
    assert "already there" in agent.refusal("apply", change=changes.directory(str(tmp_path / "theirs")))
    agent.close()
    assert (tmp_path / "theirs" / "file").exists()


@pytest.mark.parametrize("mode", [0o700, 0o755])
def test_a_directory_goes_with_what_is_in_it(agent: LocalAgent, tmp_path: Path, mode: int) -> None:
    path = tmp_path / "ours"
    number = agent.call("apply", change=changes.directory(str(path), mode))
    assert stat.S_IMODE(path.stat().st_mode) == mode
    (path / "deep").mkdir()
    (path / "deep" / "file").touch()
    assert agent.call("undo", numbers=[number]) == []
    assert not path.exists()


def test_a_directory_of_that_name_that_others_made_stays(agent: LocalAgent, tmp_path: Path) -> None:
    path = tmp_path / "ours"
    number = agent.call("apply", change=changes.directory(str(path)))
    path.rename(tmp_path / "taken away")
    path.mkdir()
    (path / "file").touch()
    assert agent.call("undo", numbers=[number]) == []
    assert (path / "file").exists()


def test_a_setting_gets_its_old_value_back(agent: LocalAgent, tmp_path: Path) -> None:
    path = tmp_path / "setting"
    path.write_text("1 2\n")
    number = agent.call("apply", change=changes.setting(str(path), "3\t4"))
    assert path.read_text().split() == ["3", "4"]
    assert agent.call("undo", numbers=[number]) == []
    assert path.read_text().strip() == "1 2"
    assert agent.refusal("apply", change=changes.setting(str(tmp_path / "none"), "1"))


def test_a_setting_that_does_not_take_the_value_is_an_error(agent: LocalAgent) -> None:
    """/dev/null takes everything and keeps nothing."""
    assert "did not take the value 5" in agent.refusal("apply", change=changes.setting("/dev/null", "5"))


def test_a_command_makes_and_undoes_a_change(agent: LocalAgent, tmp_path: Path) -> None:
    number = agent.call("apply", change=marker(tmp_path / "m"))
    assert (tmp_path / "m").exists()
    assert agent.call("undo", numbers=[number]) == []
    assert not (tmp_path / "m").exists()
    assert agent.call("undo", numbers=[number]) == [], "undoing twice is harmless"


def test_what_was_there_before_a_command_is_refused_and_stays(agent: LocalAgent, tmp_path: Path) -> None:
    (tmp_path / "m").touch()
    assert "there already" in agent.refusal("apply", change=marker(tmp_path / "m"))
    (tmp_path / "n").mkdir()
    refused = agent.refusal("apply", change=marker(tmp_path / "n" / "x", look=["ls", str(tmp_path)], refuse="(?m)^m$"))
    assert "something else is in its place: m" in refused
    agent.close()
    assert (tmp_path / "m").exists()
    assert not (tmp_path / "n" / "x").exists()


def test_a_command_that_quietly_does_nothing_is_an_error(agent: LocalAgent, tmp_path: Path) -> None:
    said = agent.refusal("apply", change=marker(tmp_path / "m", apply=["true"]))
    assert said == "true was quiet, but the change is not there"
    number = agent.call("apply", change=marker(tmp_path / "n", undo=["true"]))
    problems = agent.call("undo", numbers=[number])
    assert problems == ["marker n: true was quiet, but the change is still there"]
    (tmp_path / "n").unlink()  # by hand, as it says there


def test_a_command_that_fails_half_way_is_undone_at_once(agent: LocalAgent, tmp_path: Path) -> None:
    path = tmp_path / "m"
    said = agent.refusal("apply", change=marker(path, apply=["sh", "-c", f"touch {path}; echo why >&2; exit 3"]))
    assert "status 3: why" in said
    assert not path.exists()


def test_a_process_is_ended_even_when_it_will_not(agent: LocalAgent, tmp_path: Path) -> None:
    number = agent.call("apply", change=sleeper(tmp_path, "deaf", DEAF))
    deaf = Watched.of(tmp_path / "deaf")
    assert agent.call("running", number=number) is True
    assert agent.call("undo", numbers=[number]) == []
    assert not deaf.alive
    assert agent.call("running", number=number) is False


def test_a_program_that_is_not_there_is_an_error(agent: LocalAgent, tmp_path: Path) -> None:
    change = changes.process("none", ["/no/such/server"], f"{tmp_path}/out", f"{tmp_path}/err")
    assert "/no/such/server: No such file" in agent.refusal("apply", change=change)


SERVER = """
import socket, sys, time
with socket.create_server(("127.0.0.1", int(sys.argv[1]))):
    time.sleep(600)
"""


def test_a_server_is_waited_for_or_its_end_is_told(agent: LocalAgent, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    argv = [sys.executable, "-I", "-S", "-c", SERVER, str(port)]
    assert agent.call("port_taken", address="127.0.0.1", port=port) is False
    number = agent.call("apply", change=changes.process("s", argv, f"{tmp_path}/o", f"{tmp_path}/e"))
    assert agent.call("wait_port", address="127.0.0.1", port=port, number=number, timeout=15.0) is None
    assert agent.call("port_taken", address="127.0.0.1", port=port) is True
    agent.call("undo", numbers=[number])
    number = agent.call("apply", change=changes.process("f", ["false"], f"{tmp_path}/o2", f"{tmp_path}/e2"))
    why = agent.call("wait_port", address="127.0.0.1", port=port, number=number, timeout=15.0)
    assert why == "it ended at once"
    idle = changes.process("i", ["sleep", str(SLEEP)], f"{tmp_path}/o3", f"{tmp_path}/e3")
    number = agent.call("apply", change=idle)
    why = agent.call("wait_port", address="127.0.0.1", port=port, number=number, timeout=0.2)
    assert "nothing listened" in why


def test_changes_are_undone_in_reverse_order_and_only_those_asked_for(agent: LocalAgent, tmp_path: Path) -> None:
    log, room = tmp_path / "log", tmp_path / "room"
    room.mkdir()
    numbers = [agent.call("apply", change=marker(room / name, log)) for name in ("a", "b", "c", "d")]
    assert agent.call("undo", numbers=[numbers[0], numbers[2]]) == []
    assert log.read_text().split() == ["c", "a"]
    assert sorted(path.name for path in room.iterdir()) == ["b", "d"]
    agent.close()
    assert log.read_text().split() == ["c", "a", "d", "b"]
    assert list(room.iterdir()) == []


def test_no_secret_reaches_the_journal_a_command_line_or_a_message(agent: LocalAgent, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    agent.call("apply", change=sleeper(tmp_path, "p", stdin=SECRET + "\n"))
    process = Watched.of(tmp_path / "p")
    keep = ["sh", "-c", f"cat >{copy}; touch {tmp_path}/m"]
    agent.call("apply", change=marker(tmp_path / "m", apply=keep, stdin=f"key 0x{SECRET}\n"))
    assert SECRET in copy.read_text(), "it was handed over"
    quote = ["sh", "-c", 'read -r key; echo "bad: $key ${key#0x}" >&2; exit 1']
    said = agent.refusal("apply", change=marker(tmp_path / "n", apply=quote, stdin=f"0x{SECRET}\n"))
    assert "bad: (hidden) (hidden)" in said
    kept = [path for path in agent.directory.rglob("*") if path.is_file()]
    assert agent.directory / "journal.jsonl" in kept
    assert stat.S_IMODE((agent.directory / "journal.jsonl").stat().st_mode) == 0o600
    for text in (said, *(path.read_bytes().decode(errors="replace") for path in kept)):
        assert SECRET not in text
    assert SECRET not in Path(f"/proc/{process.pid}/cmdline").read_text()


# however it ends, the host is as it was


class Changed:
    """A host with changes of several kinds and a server."""

    def __init__(self, agent: LocalAgent, tmp_path: Path) -> None:
        self.agent, self.room, self.log = agent, tmp_path / "room", tmp_path / "log"
        self.room.mkdir()
        (self.room / "file").write_text("old\n")
        notes = tmp_path / "notes"
        notes.mkdir()
        for change in (
            changes.file(str(self.room / "file"), b"new\n"),
            changes.file(str(self.room / "other"), b"new\n"),
            changes.directory(str(self.room / "directory")),
            marker(self.room / "m", self.log),
            sleeper(notes, "server"),
            marker(self.room / "n", self.log),
        ):
            agent.call("apply", change=change)
        (self.room / "directory" / "inside").touch()
        self.servers = [Watched.of(notes / "server")]
        self._notes = notes

    def with_stubborn(self) -> Changed:
        """Also a server that ignores SIGTERM, and one that forked away from its group and session as well."""
        for name, code in (("deaf", DEAF), ("daemon", DAEMON)):
            self.agent.call("apply", change=sleeper(self._notes, name, code))
            self.servers.append(Watched.of(self._notes / name))
        return self

    def check_as_it_was(self) -> None:
        """Nothing of it is left."""
        assert all(server.gone() for server in self.servers)
        assert [path.name for path in self.room.iterdir()] == ["file"]
        assert (self.room / "file").read_text() == "old\n"
        assert self.log.read_text().split() == ["n", "m"]
        assert not self.agent.directory.exists()


def test_a_closed_channel_puts_everything_back(tmp_path: Path) -> None:
    with start() as agent:
        changed = Changed(agent, tmp_path).with_stubborn()
        agent.end_input()
        assert agent.ended() == 0
        changed.check_as_it_was()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_the_guardian_puts_everything_back(tmp_path: Path, number: signal.Signals) -> None:
    with start() as agent:
        changed = Changed(agent, tmp_path)
        agent.process.send_signal(number)
        assert agent.ended() == 0
        changed.check_as_it_was()


def test_after_a_kill_of_the_worker_its_guardian_puts_everything_back(tmp_path: Path) -> None:
    with start() as agent:
        changed = Changed(agent, tmp_path).with_stubborn()
        Watched(agent.worker).kill(signal.SIGKILL)
        assert agent.ended() == 0
        changed.check_as_it_was()


@pytest.mark.parametrize("both", [True, False], ids=["both", "guardian"])
def test_after_a_kill_of_the_guardian_the_next_agent_puts_everything_back(tmp_path: Path, both: bool) -> None:
    with start() as agent:
        changed = Changed(agent, tmp_path)
        worker = Watched(agent.worker)
        agent.process.kill()
        if both:
            worker.kill(signal.SIGKILL)
        agent.ended()
        assert worker.gone(), "a worker does not outlive its guardian"
        assert changed.servers[0].alive
        with start() as following:
            assert following.recovered(agent) == ["put back"]
            changed.check_as_it_was()
        with start() as third:
            assert third.recovered(agent) == []


def test_what_cannot_be_put_back_is_told_and_tried_again(tmp_path: Path) -> None:
    room = tmp_path / "room"
    room.mkdir()
    only_when = ["sh", "-c", f"test -e {tmp_path}/may && rm {room}/m"]
    with start() as agent:
        try:
            agent.call("apply", change=marker(room / "m", undo=only_when))
            agent.call("apply", change=marker(room / "n"))
            agent.end_input()
            assert agent.ended() == 1
            assert agent.errors().startswith("not undone: marker m: ")
            assert [path.name for path in room.iterdir()] == ["m"], "the others are undone"
            with start() as following:
                assert len(following.recovered(agent)) == 1
                assert following.recovered(agent)[0].startswith("marker m: ")
        finally:
            (tmp_path / "may").touch()
        with start() as third:
            assert third.recovered(agent) == ["put back"]
        assert list(room.iterdir()) == []
        assert not agent.directory.exists()


def test_a_silent_controller_loses_its_lease(tmp_path: Path) -> None:
    with start(lease=1.5) as agent:
        agent.call("apply", change=marker(tmp_path / "m"))
        agent.call("apply", change=changes.process("s", ["sleep", str(SLEEP)], f"{tmp_path}/o", f"{tmp_path}/e"))
        server = Watched(json.loads(agent.journal().splitlines()[-1])["undo"]["group"])
        for _ in range(4):  # as long as it is not silent it keeps it
            time.sleep(0.5)
            agent.call("ping")
        assert (tmp_path / "m").exists()
        assert agent.ended() == 0
        assert "silent for 1.5 s" in agent.errors()
        assert server.gone()
        assert not (tmp_path / "m").exists()
        assert not agent.directory.exists()


def test_half_a_request_does_not_hold_the_lease() -> None:
    with start(lease=0.5) as agent:
        agent.send(b'{"id": 1, "op": "pi')
        agent.ended()
        assert not agent.directory.exists()


def test_a_controller_that_speaks_nonsense_is_let_go(tmp_path: Path) -> None:
    with start() as agent:
        changed = Changed(agent, tmp_path)
        agent.send(b"nonsense\n")
        agent.ended()
        changed.check_as_it_was()


def test_a_second_agent_is_refused_and_leaves_no_trace(agent: LocalAgent) -> None:
    with LocalAgent() as second:
        assert second.first == {"fatal": "another run is using this host"}
        assert second.ended() == 3
        assert second.errors() == ""
        assert not second.directory.exists()
    assert agent.call("ping") is None
    assert agent.directory.is_dir()


@pytest.mark.parametrize("damage", ["truncated", "damaged", "empty"])
def test_an_agent_that_does_not_arrive_whole_leaves_nothing(damage: str) -> None:
    data = agent_zip()
    arrives = {"truncated": data[: len(data) // 2], "damaged": b"x" + data[1:], "empty": b""}[damage]
    with LocalAgent(data=data, send=arrives) as agent:
        assert agent.first is None
        assert agent.ended() != 0
        said = "arrived damaged" if damage == "damaged" else "did not arrive whole"
        assert agent.errors().strip() == f"the agent {said}"
        assert not agent.directory.exists()


def test_the_same_agent_gives_the_same_bytes() -> None:
    assert agent_zip() == agent_zip()


# the journal by itself


def three_changes(tmp_path: Path) -> tuple[Path, Path]:
    """A journal of three new files, on disk; (its directory, where the files are)."""
    home, room = tmp_path / "home", tmp_path / "room"
    for directory in (home, room):
        directory.mkdir(parents=True)
    journal = Journal(home)
    for name in ("a", "b", "c"):
        journal.apply(changes.file(str(room / name), b"x"))
    return home, room


def test_a_journal_cut_at_any_byte_undoes_what_it_still_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill may end the writing anywhere; a line that is whole is never lost, half a line harms nothing."""
    monkeypatch.setattr(os, "fsync", lambda _fd: None)  # the journal's home is tmpfs; here it may be a slow disk
    home, _ = three_changes(tmp_path / "first")
    text = (home / "journal.jsonl").read_bytes()
    room = tmp_path / "first" / "room"
    again = tmp_path / "again"
    again.mkdir()
    for cut in range(len(text) + 1):
        (again / "journal.jsonl").write_bytes(text[:cut])
        for name in ("a", "b", "c"):
            (room / name).write_bytes(b"x")
        assert Journal(again).undo() == []
        whole = text[:cut].count(b"\n") + (cut > 0 and text[cut : cut + 1] == b"\n")
        assert sorted(path.name for path in room.iterdir()) == ["a", "b", "c"][whole:]
        assert all(entry["undone"] for entry in Journal(again).entries), "the torn line swallowed no later one"
        assert len(Journal(again).entries) == whole


def test_lines_that_make_no_sense_do_not_stop_the_undoing(tmp_path: Path) -> None:
    home, room = three_changes(tmp_path)
    path = home / "journal.jsonl"
    lines = path.read_text().splitlines()
    strange = ['"text"', "7", "[]", "{}", '{"number": []}', '{"number": 9, "undone": false}', "\x00\x00", "nonsense"]
    unknown = json.dumps({"number": 8, "what": "strange", "kind": "unheard of", "undo": {}})
    path.write_text("\n".join([*strange, *lines, unknown]) + "\n")
    problems = Journal(home).undo()
    assert len(problems) == 1
    assert problems[0].startswith("strange: ")
    assert list(room.iterdir()) == []


def test_a_change_that_cannot_be_journalled_is_not_made(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "not there")
    with pytest.raises(OSError, match="No such file"):
        journal.apply(changes.file(str(tmp_path / "file"), b""))
    assert not (tmp_path / "file").exists()
    assert journal.entries == []


def test_a_full_disk_keeps_nothing_from_being_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, room = three_changes(tmp_path)
    journal = Journal(home)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    assert journal.undo() == []
    assert list(room.iterdir()) == []


def test_a_kill_between_journal_and_change_undoes_nothing_of_others(tmp_path: Path) -> None:
    """Then nothing was made; who made a thing of that name since keeps it."""
    home, path = tmp_path / "home", tmp_path / "theirs"
    home.mkdir()
    entry = {"number": 0, "what": "d", "kind": "directory", "undo": {"path": str(path)}}
    (home / "journal.jsonl").write_text(json.dumps(entry) + "\n")
    path.mkdir()
    (path / "file").touch()
    assert Journal(home).undo() == []
    assert (path / "file").exists()


def test_a_kill_in_the_middle_of_writing_a_file_leaves_no_half_file(tmp_path: Path) -> None:
    home, room = three_changes(tmp_path)
    half_written(room / "a").write_bytes(b"hal")
    assert Journal(home).undo() == []
    assert list(room.iterdir()) == []


def test_a_change_of_an_unknown_kind_is_not_journalled(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    with pytest.raises(KeyError):
        journal.apply({"kind": "unheard of", "what": "x"})
    assert not (tmp_path / "journal.jsonl").exists()


def test_a_module_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    with pytest.raises(ChangeError, match="modprobe"):
        journal.apply(changes.module("pathproof_has_no_such_module"))
    assert journal.entries == []


# the link's test between two hosts


def test_the_link_test_moves_all_bytes(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    sides = Operations(tmp_path), Operations(tmp_path)
    giving = threading.Thread(target=sides[0].give, args=("127.0.0.1", port, 300_000, 15.0))
    giving.start()
    try:
        assert sides[1].pull("127.0.0.1", port, 300_000, 15.0) > 0
    finally:
        giving.join()


def test_a_link_test_that_ends_early_is_an_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    side = Operations(tmp_path)
    giving = threading.Thread(target=side.give, args=("127.0.0.1", port, 1000, 15.0))
    giving.start()
    try:
        with pytest.raises(ConnectionError, match="1000 of 2000 bytes"):
            side.pull("127.0.0.1", port, 2000, 15.0)
    finally:
        giving.join()
