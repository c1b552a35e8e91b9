"""The agent, on this machine: what it does when asked, and that it leaves nothing behind however it ends."""

from __future__ import annotations

import base64
import getpass
import hashlib
import json
import mmap
import os
import re
import signal
import socket
import stat
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from hosts.onhost.agent import files, link
from hosts.onhost.agent.errors import LIMIT_BYTES, ChangeError
from hosts.onhost.agent.journal import Journal
from hosts.onhost.agent.protocol import IN_USE
from hosts.onhost.agent.values import (
    Change,
    Digested,
    FileCounter,
    LogTail,
    Received,
    Result,
    SizeCounter,
    TableCounter,
)
from hosts.remote import changes
from hosts.remote.host import agent_zip
from tests.support.agent_process import LocalAgent, Watched, start

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


pytestmark = pytest.mark.usefixtures("machine")


def put(agent: LocalAgent, path: str, data: bytes, mode: int = 0o600) -> None:
    agent.client.put(path, base64.b64encode(data).decode(), mode, hashlib.sha256(data).hexdigest())


def sleeper(directory: Path, name: str, code: str = PLAIN, stdin: str | None = None) -> Change:
    """A change that starts a process which writes its number to ``directory / name``."""
    argv = [sys.executable, "-I", "-S", "-c", code, str(directory / name)]
    return changes.process(name, argv, f"{directory}/{name}.out", f"{directory}/{name}.err", stdin)


def marker(path: Path, log: Path | None = None, **more: Any) -> Change:
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
    assert agent.worker != agent.guardian
    assert stat.S_IMODE(agent.directory.stat().st_mode) == 0o700


def test_it_leaves_nothing_when_its_channel_is_closed() -> None:
    with start() as agent:
        put(agent, "x", b"")
        agent.end_input()
        assert agent.ended() == 0
        assert not agent.directory.exists()
        assert agent.errors() == ""


def test_a_command_gives_its_status_and_output(agent: LocalAgent) -> None:
    done = agent.client.run(["sh", "-c", "cat; echo err >&2; exit 7"], timeout=10, stdin="in\n")
    assert done == Result(7, "in\n", "err\n")
    missing = agent.client.run(["/no/such/program"], timeout=10)
    assert missing.status == 127
    assert "/no/such/program" in missing.stderr


def test_a_deadline_ends_the_whole_process_group(agent: LocalAgent, tmp_path: Path) -> None:
    script = f"sleep {SLEEP} & echo $! >{tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid; echo begun; wait"
    started = time.monotonic()
    with ThreadPoolExecutor(1) as other:
        asked = other.submit(agent.client.run, ["sh", "-c", script], 1.0)
        child = Watched.of(tmp_path / "pid")
        done = asked.result()
    assert time.monotonic() - started < SLEEP / 10
    assert done.status is None
    assert done.stdout == "begun\n"
    assert child.gone()  # it closes its pipes a little before it has ended


def test_a_command_that_left_its_group_does_not_outlast_the_deadline(tmp_path: Path) -> None:
    """It holds the pipes open, so waiting for their end would be waiting for ever."""
    with start() as agent:
        script = f"echo begun; exec {sys.executable} -I -S -c '{DAEMON}' {tmp_path}/pid"
        done = agent.client.run(["sh", "-c", script], timeout=1.5)
        assert done.status is None
        assert done.stdout == "begun\n"
        escaped = Watched.of(tmp_path / "pid")
        agent.client.ping()
    assert escaped.gone()


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o755])
def test_a_put_file_has_its_content_and_mode(agent: LocalAgent, mode: int) -> None:
    put(agent, "file", b"\x00\xff" * 1000, mode)
    path = agent.directory / "file"
    assert path.read_bytes() == b"\x00\xff" * 1000
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_damaged_put_leaves_the_old_file(agent: LocalAgent) -> None:
    put(agent, "file", b"old")
    before = sorted(agent.directory.iterdir())
    for content, said in (("AAAA", "another SHA-256"), ("*", "damaged on the way")):
        assert said in agent.refusal(agent.client.put, "file", content, 0o600, "0" * 64)
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


def test_what_is_too_long_is_refused_and_never_cut(agent: LocalAgent, tmp_path: Path) -> None:
    """modules.dep of a full kernel has 1.2 MB."""
    path = tmp_path / "text"
    for size in (1_200_000, LIMIT_BYTES):
        path.write_bytes(b"y" * (size - 1) + b"\n")
        whole = agent.client.read([str(path)])[str(path)]
        assert whole is not None and len(whole) == size
        assert len(agent.client.run(["cat", str(path)], 60.0).stdout) == size
        assert [len(line) for line in agent.client.lines([LogTail(str(path), 0, 1)], 5.0)[0]] == [size - 1]
    path.write_bytes(b"y" * LIMIT_BYTES + b"\n")
    refused = f"{path} has more than {LIMIT_BYTES} bytes: that is not read"
    assert agent.refusal(agent.client.read, [str(path)]) == refused
    assert agent.refusal(agent.client.lines, [LogTail(str(path), 0, 1)], 5.0) == refused
    for stream in (1, 2):
        said = agent.refusal(agent.client.run, ["sh", "-c", f"cat {path} >&{stream}"], 60.0)
        assert said == f"sh wrote {LIMIT_BYTES + 1} bytes, where {LIMIT_BYTES} are the most"
    agent.client.ping()


def test_counters_are_numbers_or_nothing_but_never_a_guess(agent: LocalAgent, tmp_path: Path) -> None:
    (tmp_path / "stat").write_text("tx 5\nrx 7\ntx 6\n")
    (tmp_path / "snmp").write_text("Ip: A B\nIp: 1 2\nTcp: A RetransSegs\nTcp: 3 44\n")
    file = str(tmp_path / "stat")
    seen = agent.client.observe(
        {
            "sum": FileCounter(file, r"^tx (\d+)"),
            "no_match": FileCounter(file, r"^none (\d+)"),
            "no_file": FileCounter(f"{file}.not", r"(\d+)"),
            "other": FileCounter(file, r"^rx (\d+)"),
            "size": SizeCounter(file),
            "no_size": SizeCounter(f"{file}.not"),
            "field": TableCounter(str(tmp_path / "snmp"), "Tcp.RetransSegs"),
            "no_field": TableCounter(str(tmp_path / "snmp"), "Tcp.B"),
        },
    )
    assert seen.values == {
        "sum": 11,
        "no_match": None,
        "no_file": None,
        "other": 7,
        "size": 15,
        "no_size": None,
        "field": 44,
        "no_field": None,
    }
    before, after = seen.cpu_before, seen.cpu_after
    assert 0 < before.busy_seconds <= after.busy_seconds
    assert before.resolution_seconds == after.resolution_seconds == 1 / os.sysconf("SC_CLK_TCK")


def test_the_same_seed_makes_the_same_payload(agent: LocalAgent) -> None:
    size = (1 << 20) + 17
    hashes = [agent.client.make_payload(f"p{n}", size, seed) for n, seed in enumerate((1, 1, 2))]
    assert hashes[0] == hashes[1] != hashes[2]
    assert (agent.directory / "p0").stat().st_size == size
    same, short, missing, other = agent.client.digest(
        [Received("p0", size), Received("p1", size + 1), Received("p9", 1), Received("p2", size)]
    )
    assert (same, other) == (Digested(hashes[0], None), Digested(hashes[2], None))
    assert short.sha256 is missing.sha256 is None
    assert "p9" in str(missing.error)
    assert "1 bytes early" in str(short.error)


def test_a_file_is_put_out_of_memory_unless_somebody_holds_it_there(agent: LocalAgent) -> None:
    """On the file system of this checkout; on tmpfs nothing else than memory has it."""
    held, size = Path(__file__).parent / f".cold-{os.getpid()}", 3 * mmap.PAGESIZE + 1
    try:
        agent.client.make_payload(str(held), size, 1)
        if agent.client.cool(str(held)).resident_bytes:
            pytest.skip("this checkout lies in memory")
        assert agent.client.cool(str(held)).size_bytes == size
        with held.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as memory:
            assert memory[mmap.PAGESIZE] >= 0, "read, so that a page is there and mapped"
            assert agent.client.cool(str(held)).resident_bytes >= mmap.PAGESIZE
        assert agent.client.cool(str(held)).resident_bytes == 0
    finally:
        held.unlink(missing_ok=True)
    agent.client.make_payload("in-memory", size, 1)
    assert agent.client.cool(f"{agent.directory}/in-memory").resident_bytes == 4 * mmap.PAGESIZE, "of tmpfs all stays"


def test_only_whole_lines_of_a_log_are_given(agent: LocalAgent, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("one\ntwo\nthr")
    assert agent.client.lines([LogTail(str(log), 4, 1)], 5.0) == [["two"]]
    late = [LogTail(str(log), 0, 3), LogTail(str(tmp_path / "missing"), 0, 1), LogTail(str(log), 4, 0)]
    assert agent.client.lines(late, 0.1) == [["one", "two"], [], ["two"]]


# every change is looked up, journalled, made, verified and undone


def test_a_directory_that_is_there_is_refused_and_left_alone(agent: LocalAgent, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "file").touch()
    assert "already there" in agent.refusal(agent.client.apply, changes.directory(str(tmp_path / "theirs")))
    agent.close()
    assert (tmp_path / "theirs" / "file").exists()


@pytest.mark.parametrize("mode", [0o700, 0o755])
def test_a_directory_goes_with_what_is_in_it(agent: LocalAgent, tmp_path: Path, mode: int) -> None:
    path = tmp_path / "ours"
    number = agent.client.apply(changes.directory(str(path), mode))
    assert stat.S_IMODE(path.stat().st_mode) == mode
    (path / "deep").mkdir()
    (path / "deep" / "file").touch()
    assert agent.client.undo([number]) == []
    assert not path.exists()


def test_a_directory_of_that_name_that_others_made_stays(agent: LocalAgent, tmp_path: Path) -> None:
    path = tmp_path / "ours"
    number = agent.client.apply(changes.directory(str(path)))
    path.rename(tmp_path / "taken away")
    path.mkdir()
    (path / "file").touch()
    assert agent.client.undo([number]) == []
    assert (path / "file").exists()


def test_a_command_makes_and_undoes_a_change(agent: LocalAgent, tmp_path: Path) -> None:
    number = agent.client.apply(marker(tmp_path / "m"))
    assert (tmp_path / "m").exists()
    assert agent.client.undo([number]) == []
    assert not (tmp_path / "m").exists()
    assert agent.client.undo([number]) == [], "undoing twice is harmless"


def test_what_was_there_before_a_command_is_refused_and_stays(agent: LocalAgent, tmp_path: Path) -> None:
    (tmp_path / "m").touch()
    assert "there already" in agent.refusal(agent.client.apply, marker(tmp_path / "m"))
    (tmp_path / "n").mkdir()
    refused = agent.refusal(
        agent.client.apply, marker(tmp_path / "n" / "x", look=["ls", str(tmp_path)], refuse="(?m)^m$")
    )
    assert "something else is in its place: m" in refused
    agent.close()
    assert (tmp_path / "m").exists()
    assert not (tmp_path / "n" / "x").exists()


def test_a_command_that_quietly_does_nothing_is_an_error(agent: LocalAgent, tmp_path: Path) -> None:
    said = agent.refusal(agent.client.apply, marker(tmp_path / "m", apply=["true"]))
    assert said == "true was quiet, but the change is not there"
    number = agent.client.apply(marker(tmp_path / "n", undo=["true"]))
    problems = agent.client.undo([number])
    assert problems == ["marker n: true was quiet, but the change is still there"]
    (tmp_path / "n").unlink()  # by hand, as it says there


def test_a_command_that_fails_half_way_is_undone_at_once(agent: LocalAgent, tmp_path: Path) -> None:
    path = tmp_path / "m"
    said = agent.refusal(agent.client.apply, marker(path, apply=["sh", "-c", f"touch {path}; echo why >&2; exit 3"]))
    assert "status 3: why" in said
    assert not path.exists()


def test_a_process_is_ended_even_when_it_will_not(agent: LocalAgent, tmp_path: Path) -> None:
    number = agent.client.apply(sleeper(tmp_path, "deaf", DEAF))
    deaf = Watched.of(tmp_path / "deaf")
    assert deaf.alive
    assert agent.client.undo([number]) == []
    assert not deaf.alive


def test_a_program_that_is_not_there_is_an_error(agent: LocalAgent, tmp_path: Path) -> None:
    change = changes.process("none", ["/no/such/server"], f"{tmp_path}/out", f"{tmp_path}/err")
    assert "/no/such/server: No such file" in agent.refusal(agent.client.apply, change)


SERVER = """
import socket, sys, time
with socket.create_server(("127.0.0.1", int(sys.argv[1]))):
    time.sleep(600)
"""


def test_a_server_is_waited_for_or_its_end_is_told(agent: LocalAgent, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    argv = [sys.executable, "-I", "-S", "-c", SERVER, str(port)]
    assert agent.client.port_taken("127.0.0.1", port) is False
    number = agent.client.apply(changes.process("s", argv, f"{tmp_path}/o", f"{tmp_path}/e"))
    assert agent.client.wait_port("127.0.0.1", port, number, 15.0) is None
    assert agent.client.port_taken("127.0.0.1", port) is True
    agent.client.undo([number])
    number = agent.client.apply(changes.process("f", ["false"], f"{tmp_path}/o2", f"{tmp_path}/e2"))
    why = agent.client.wait_port("127.0.0.1", port, number, 15.0)
    assert why == "it ended at once"
    idle = changes.process("i", ["sleep", str(SLEEP)], f"{tmp_path}/o3", f"{tmp_path}/e3")
    number = agent.client.apply(idle)
    why = agent.client.wait_port("127.0.0.1", port, number, 0.2)
    assert "nothing listened" in str(why)


def test_changes_are_undone_in_reverse_order_and_only_those_asked_for(agent: LocalAgent, tmp_path: Path) -> None:
    log, room = tmp_path / "log", tmp_path / "room"
    room.mkdir()
    numbers = [agent.client.apply(marker(room / name, log)) for name in ("a", "b", "c", "d")]
    assert agent.client.undo([numbers[0], numbers[2]]) == []
    assert log.read_text().split() == ["c", "a"]
    assert sorted(path.name for path in room.iterdir()) == ["b", "d"]
    agent.close()
    assert log.read_text().split() == ["c", "a", "d", "b"]
    assert list(room.iterdir()) == []


def test_no_secret_reaches_the_journal_a_command_line_or_a_message(agent: LocalAgent, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    agent.client.apply(sleeper(tmp_path, "p", stdin=SECRET + "\n"))
    process = Watched.of(tmp_path / "p")
    keep = ["sh", "-c", f"cat >{copy}; touch {tmp_path}/m"]
    agent.client.apply(marker(tmp_path / "m", apply=keep, stdin=f"key 0x{SECRET}\n"))
    assert SECRET in copy.read_text(), "it was handed over"
    quote = ["sh", "-c", 'read -r key; echo "bad: $key ${key#0x}" >&2; exit 1']
    said = agent.refusal(agent.client.apply, marker(tmp_path / "n", apply=quote, stdin=f"0x{SECRET}\n"))
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
            changes.directory(str(self.room / "other")),
            changes.directory(str(self.room / "directory")),
            marker(self.room / "m", self.log),
            sleeper(notes, "server"),
            marker(self.room / "n", self.log),
        ):
            agent.client.apply(change)
        (self.room / "directory" / "inside").touch()
        self.servers = [Watched.of(notes / "server")]
        self._notes = notes

    def with_stubborn(self) -> Changed:
        """Also a server that ignores SIGTERM, and one that forked away from its group and session as well."""
        for name, code in (("deaf", DEAF), ("daemon", DAEMON)):
            self.agent.client.apply(sleeper(self._notes, name, code))
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


def test_what_a_command_that_goes_on_needs_is_not_undone_beneath_it(tmp_path: Path) -> None:
    """As apt needs the file that forbids the start of services, whoever was killed meanwhile."""
    room, begun, may_end = tmp_path / "room", tmp_path / "begun", tmp_path / "may end"
    room.mkdir()
    goes_on = f'echo $$ >"{begun}.new"; mv "{begun}.new" "{begun}"; n=0; '
    goes_on += f'until [ -e "{may_end}" ] || [ $n = 600 ]; do n=$((n+1)); sleep 0.1; done'
    with start() as agent:
        agent.client.apply(changes.file(str(room / "policy"), "forbids"))
        asked = {"argv": ["sh", "-c", goes_on], "environment": {}, "timeout_seconds": 60.0}
        agent.write(json.dumps({"id": 0, "op": "Finish", "args": asked}).encode() + b"\n")
        try:
            command, worker = Watched.of(begun), Watched(agent.worker)
            agent.process.kill()
            agent.ended()
            assert worker.gone() and command.alive
            for looks in (False, True):
                with LocalAgent(looks=looks) as following:
                    assert following.first is not None
                    assert following.first["fatal"].startswith(f"{IN_USE}: a command of an earlier one")
                    assert following.ended() == 3
                    assert not following.directory.exists()
            assert (room / "policy").exists()
        finally:
            may_end.touch()
        assert command.gone()
        with start() as third:
            assert third.recovered(agent) == ["put back"]
        assert list(room.iterdir()) == []


def test_what_cannot_be_put_back_is_told_and_tried_again(tmp_path: Path) -> None:
    room = tmp_path / "room"
    room.mkdir()
    only_when = ["sh", "-c", f"test -e {tmp_path}/may && rm {room}/m"]
    with start() as agent:
        try:
            put(agent, "payload", b"received")
            (agent.directory / "built").mkdir()
            (agent.directory / "built" / "module.ko").touch()
            agent.client.apply(marker(room / "m", undo=only_when))
            agent.client.apply(marker(room / "n"))
            agent.end_input()
            assert agent.ended() == 1
            assert agent.errors().startswith("not undone: marker m: ")
            assert [path.name for path in room.iterdir()] == ["m"], "the others are undone"
            assert [path.name for path in agent.directory.iterdir()] == ["journal.jsonl"], "memory is given back"
            (agent.directory / "payload").touch()
            with start() as following:
                assert following.recovered(agent) == []
                (said,) = following.remaining(agent)
                assert said.startswith("marker m: ")
            assert [path.name for path in agent.directory.iterdir()] == ["journal.jsonl"]
        finally:
            (tmp_path / "may").touch()
        with start() as third:
            assert third.recovered(agent) == ["put back"]
        assert list(room.iterdir()) == []
        assert not agent.directory.exists()


def changed_meanwhile(agent: LocalAgent, knob: Path) -> str:
    """A setting that the agent makes and somebody else changes; what is said of it when it is undone."""
    knob.write_text("powersave\n")
    agent.client.apply(changes.setting("governor", str(knob), "performance"))
    knob.write_text("ondemand\n")
    return f"governor: {knob} is 'ondemand', neither 'powersave' as before nor 'performance' as we set it"


def test_what_somebody_else_changed_is_told_and_no_failure(tmp_path: Path) -> None:
    with start() as agent:
        said = changed_meanwhile(agent, tmp_path / "knob")
        assert agent.client.undo([0]) == [], "it is told at the end"
        agent.end_input()
        assert agent.ended() == 0
        assert agent.errors() == f"left to others: {said}\n"
        assert not agent.directory.exists()
    assert (tmp_path / "knob").read_text() == "ondemand\n"


@pytest.mark.parametrize("ended", ["worker killed", "silent", "guardian killed"])
def test_what_somebody_else_changed_is_told_by_the_next_agent_where_nobody_heard_it(tmp_path: Path, ended: str) -> None:
    with start(lease=2.0 if ended == "silent" else 60.0) as agent:
        said, worker = changed_meanwhile(agent, tmp_path / "knob"), Watched(agent.worker)
        if ended == "worker killed":
            worker.kill(signal.SIGKILL)
        elif ended == "guardian killed":
            agent.process.kill()
        agent.ended()
        assert worker.gone()
        assert (agent.directory / "journal.jsonl").exists()
        with start() as following:
            assert following.recovered(agent) == [f"put back; left to others: {said}"]
        assert not agent.directory.exists(), "told once"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a directory of another user")
def test_what_another_user_left_is_told_and_left_alone() -> None:
    theirs = Path(tempfile.mkdtemp(prefix="pathproof-", dir="/dev/shm"))
    try:
        os.chown(theirs, 1000, 1000)
        with start() as agent:
            assert agent.first is not None
            said = f"{theirs.name}: of user 1000, left alone: a run or restore by that user puts it back"
            assert said in agent.first["ready"]["remaining"]
            assert not [line for line in agent.first["ready"]["recovered"] if theirs.name in line]
        assert theirs.is_dir()
    finally:
        theirs.rmdir()


def test_a_silent_controller_loses_its_lease(tmp_path: Path) -> None:
    with start(lease=1.5) as agent:
        agent.client.apply(marker(tmp_path / "m"))
        agent.client.apply(changes.process("s", ["sleep", str(SLEEP)], f"{tmp_path}/o", f"{tmp_path}/e"))
        server = Watched(json.loads(agent.journal().splitlines()[-1])["undo"]["group"])
        for _ in range(4):  # as long as it is not silent it keeps it
            time.sleep(0.5)
            agent.client.ping()
        assert (tmp_path / "m").exists()
        assert agent.ended() == 0
        assert "silent for 1.5 s" in agent.errors()
        assert server.gone()
        assert not (tmp_path / "m").exists()
        assert not agent.directory.exists()


def test_a_worker_that_hangs_is_ended_by_its_guardian(tmp_path: Path) -> None:
    """A stopped worker sees neither its lease nor the channel's end: the guardian has a timer of its own."""
    with start(lease=0.5) as agent:
        changed = Changed(agent, tmp_path)
        end = time.monotonic() + 10
        while Path(f"/proc/{agent.worker}/stat").read_text().rpartition(")")[2].split()[0] != "S":
            assert time.monotonic() < end, "it never waits for the next request"
        Watched(agent.worker).kill(signal.SIGSTOP)
        assert agent.ended() == 0
        assert "the worker hung, and was ended" in agent.errors()
        changed.check_as_it_was()


def test_a_journal_that_cannot_be_read_stops_the_next_agent_and_is_told(tmp_path: Path) -> None:
    with start() as agent:
        changed = Changed(agent, tmp_path)
        worker = Watched(agent.worker)
        agent.process.kill()
        agent.ended()
        assert worker.gone()
        journal = agent.directory / "journal.jsonl"
        whole = journal.read_text()
        journal.write_text("\x00\x00\n" + whole)
        with LocalAgent() as following:
            assert following.first is not None
            assert f"{journal} cannot be read (line 1)" in following.first["fatal"]
            assert f"put that back by hand, then remove {agent.directory}" in following.first["fatal"]
            assert following.ended() == 3
            assert not following.directory.exists()
        assert changed.servers[0].alive, "nothing is guessed"
        journal.write_text(whole)
        with start() as third:
            assert third.recovered(agent) == ["put back"]
            changed.check_as_it_was()


def test_half_a_request_does_not_hold_the_lease() -> None:
    with start(lease=0.5) as agent:
        agent.write(b'{"id": 1, "op": "pi')
        agent.ended()
        assert not agent.directory.exists()


def test_a_controller_that_speaks_nonsense_is_let_go(tmp_path: Path) -> None:
    with start() as agent:
        changed = Changed(agent, tmp_path)
        agent.write(b"nonsense\n")
        agent.ended()
        changed.check_as_it_was()


def test_a_second_agent_is_refused_and_leaves_no_trace(agent: LocalAgent) -> None:
    with LocalAgent() as second:
        told = rf"another run is using this host: {getpass.getuser()} at \S+, since [0-9: -]{{19}} UTC, for a test "
        assert second.first is not None
        assert re.fullmatch(told + rf"\(process {agent.guardian} there\)", second.first["fatal"])
        assert second.first["next_step"] == "wait until it ends, or end it there"
        assert second.ended() == 3
        assert second.errors() == ""
        assert not second.directory.exists()
    agent.client.ping()
    assert agent.directory.is_dir()


def test_an_agent_that_is_only_arriving_is_not_taken_for_a_dead_one(machine: None) -> None:
    """Another one may come before it: from a host that has the same tmpfs, as hosts in namespaces have."""
    with LocalAgent(late=True) as arriving:
        for _ in range(2000):
            if arriving.directory.exists():
                break
            time.sleep(0.01)
        with start() as other:
            assert other.recovered(arriving) == []
        assert arriving.directory.exists()
        arriving.write(agent_zip())
        assert "ready" in json.loads(arriving.read_line())
    assert not arriving.directory.exists()


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
    """A journal of three new directories, on disk; (its directory, where they are)."""
    home, room = tmp_path / "home", tmp_path / "room"
    for directory in (home, room):
        directory.mkdir(parents=True)
    journal = Journal(home)
    for name in ("a", "b", "c"):
        journal.apply(changes.directory(str(room / name)))
    return home, room


def test_a_journal_cut_at_any_byte_undoes_what_it_still_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill may end the writing anywhere; a line that is whole is never lost, half a line harms nothing."""
    monkeypatch.setattr(os, "fsync", lambda _fd: None)  # the journal's home is tmpfs; here it may be a slow disk
    home, _ = three_changes(tmp_path / "first")
    lines = (home / "journal.jsonl").read_bytes().splitlines(keepends=True)
    text = b"".join(line for line in lines if b'"what"' in line)  # the next one tells which directory it was
    room = tmp_path / "first" / "room"
    again = tmp_path / "again"
    again.mkdir()
    for cut in range(len(text) + 1):
        (again / "journal.jsonl").write_bytes(text[:cut])
        for name in ("a", "b", "c"):
            (room / name).mkdir(exist_ok=True)
        assert Journal(again).undo().problems == []
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
    problems = Journal(home).undo().problems
    assert len(problems) == 2
    assert problems[0].startswith("strange: ")
    assert "cannot be read (line 1, 2, 3, 4," in problems[1], "a journal that does not tell all says so"
    assert list(room.iterdir()) == []


def test_a_change_that_cannot_be_journalled_is_not_made(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "not there")
    with pytest.raises(OSError, match="No such file"):
        journal.apply(changes.directory(str(tmp_path / "made")))
    assert not (tmp_path / "made").exists()
    assert journal.entries == []


def test_a_full_disk_keeps_nothing_from_being_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, room = three_changes(tmp_path)
    journal = Journal(home)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    assert journal.undo().problems == []
    assert list(room.iterdir()) == []


def test_a_kill_between_journal_and_change_undoes_nothing_of_others(tmp_path: Path) -> None:
    """Then nothing was made; who made a thing of that name since keeps it."""
    home, path = tmp_path / "home", tmp_path / "theirs"
    home.mkdir()
    entry = {"number": 0, "what": "d", "kind": "directory", "undo": {"path": str(path)}}
    (home / "journal.jsonl").write_text(json.dumps(entry) + "\n")
    path.mkdir()
    (path / "file").touch()
    assert Journal(home).undo().problems == []
    assert (path / "file").exists()


def test_a_change_of_an_unknown_kind_is_not_journalled(agent: LocalAgent) -> None:
    said = agent.raw("Apply", {"change": {"kind": "unheard of", "what": "x"}})
    assert said["error"] == "Apply.change is of no kind that is known"
    assert not (agent.directory / "journal.jsonl").exists()


def test_a_module_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    with pytest.raises(ChangeError, match="modprobe"):
        journal.apply(changes.modules("pathproof_has_no_such_module"))
    assert journal.entries == []


# the link's test between two hosts


def test_the_link_test_moves_all_bytes() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    giving = threading.Thread(target=link.give, args=("127.0.0.1", port, 300_000, 15.0))
    giving.start()
    try:
        assert link.pull("127.0.0.1", port, 300_000, 15.0) > 0
    finally:
        giving.join()


def test_a_link_test_that_ends_early_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    giving = threading.Thread(target=link.give, args=("127.0.0.1", port, 1000, 15.0))
    giving.start()
    try:
        with pytest.raises(ConnectionError, match="1000 of 2000 bytes"):
            link.pull("127.0.0.1", port, 2000, 15.0)
    finally:
        giving.join()


def test_what_knows_no_place_but_its_begin_is_read(tmp_path: Path) -> None:
    """As some of the kernel's own files: a pipe, too, refuses to be put anywhere."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(pipe.write_text, "SA count=1 tx=2\n")
        assert files.read(str(pipe)) == "SA count=1 tx=2\n"
        writing.result(10)
