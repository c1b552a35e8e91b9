"""System calls seen by strace: what its lines mean, and that tracing leaves nothing of it behind."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosts.onhost.agent import syscalls, trace
from hosts.onhost.agent.values import SystemCalls
from hosts.remote import changes
from tests.support.agent_process import LocalAgent, Watched, start

SERVER = """
import os, socket, sys
child = os.fork()
if child == 0:
    import time
    time.sleep(600)
source = os.open(sys.argv[2], os.O_RDONLY)
nowhere = os.open("/dev/null", os.O_WRONLY)
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as server:
    while True:
        connection, _ = server.accept()
        asked = connection.recv(1000)
        os.lseek(source, 0, os.SEEK_SET)
        os.write(nowhere, os.read(source, 5000))
        os.pread(source, 300, 10)
        os.writev(nowhere, [bytes(20), bytes(3)])
        sent = 0
        while sent < 60000:
            sent += os.sendfile(connection.fileno(), source, sent, 60000 - sent)
        if os.fork() == 0:
            os.write(nowhere, bytes(1000))
            os._exit(0)
        os.wait()
        connection.close()
"""
PAYLOAD = b"A secret payload. " * 4000
BUSY = """
import os
while True:
    os.getppid()
"""


def lines(text: str) -> list[str]:
    return [line.strip() + "\n" for line in text.strip().splitlines()]


def test_what_strace_writes_of_a_server() -> None:
    """Lines as strace 6 writes them with numbers only: two processes, one of them interrupted by the other."""
    told = """
        960   restart_syscall(0x7f0a, 0x40, 0x1388) = 0
        959   epoll_wait(0x8, 0x55aa, 0x200, 0xffffffffffffffff <unfinished ...>
        960   accept4(0x6, 0x7ffc, 0x7ffd, 0x800) = 0x3
        960   recvfrom(0x3, 0x5581, 0x400, 0, 0, 0 <unfinished ...>
        959   <... epoll_wait resumed>)         = 0x1
        960   <... recvfrom resumed>)           = 0x75
        960   recvfrom(0x3, 0x5581, 0x400, 0, 0, 0) = -1 (errno 11)
        960   writev(0x3, 0x7ffc, 0x1)          = 0xfa
        960   sendfile(0x3, 0xa, 0x7ffd, 0xf4240) = 0x8000
        960   sendfile(0x3, 0xa, 0x7ffd, 0xec240) = -1 (errno 11)
        960   write(0x4, 0x55, 0x40)            = ? ERESTARTSYS (To be restarted if SA_RESTART is set)
        960   write(0x4, 0x55, 0x40)            = 0x40
        959   --- SIGCHLD {si_signo=SIGCHLD} ---
        959   exit_group(0)                     = ?
        959   +++ exited with 0 +++
        960   epoll_wait(0x8, 0x55aa, 0x200, 0xffffffffffffffff <detached ...>
    """
    calls = {
        "accept4": 1,
        "epoll_wait": 1,
        "exit_group": 1,
        "recvfrom": 2,
        "restart_syscall": 1,
        "sendfile": 2,
        "write": 2,
        "writev": 1,
    }
    assert syscalls.count(lines(told)) == SystemCalls(calls, 0x75, 0xFA + 0x40, 0x8000, uncounted=[])


def test_what_strace_writes_with_names_and_texts() -> None:
    told = r"""
        12 read(3, "a) = 77"..., 4096)  = 7
        12 poll([{fd=3, events=POLLIN}], 1, -1) = 1 ([{fd=3, revents=POLLIN}])
        12 read(4, 0x7ffc, 100)         = -1 EAGAIN (Resource temporarily unavailable)
        12 write(1, "x = 5) <unfinished ...>\n", 24) = 24
        12 nanosleep({tv_sec=1, tv_nsec=0},  <unfinished ...>) = ?
    """
    counted = syscalls.count(lines(told))
    assert counted.calls == {"nanosleep": 1, "poll": 1, "read": 2, "write": 1}
    assert (counted.read_bytes, counted.written_bytes) == (7, 24)


def test_bytes_that_no_result_tells_are_named() -> None:
    counted = syscalls.count(lines("1 sendmmsg(3, 0x7f, 2, 0) = 2\n1 io_uring_enter(4, 1, 1, 0) = 1"))
    assert counted.uncounted == ["io_uring_enter", "sendmmsg"]
    assert counted.written_bytes == 0


def test_half_a_line_is_a_call_that_has_not_returned() -> None:
    assert syscalls.count(["1 read(3) = 5\n", "1 read(3) = 5"]).read_bytes == 5
    assert syscalls.count([]).calls == {}


@pytest.mark.parametrize("odd", ["strace: Process 5 attached", "1 read(3, secret", "1 secret", "1 (3) = 5", "", "1"])
def test_what_is_not_understood_is_an_error_that_does_not_show_it(odd: str) -> None:
    with pytest.raises(ValueError, match=r"^line 2 of strace's output is not understood$"):
        syscalls.count(["1 read(3) = 5\n", odd + "\n"])


NAMES = sorted(
    syscalls.READS | syscalls.WRITES | syscalls.MOVES | syscalls.UNCOUNTED | {"epoll_wait", "close", "syscall_0x1f"}
)
ARGUMENTS = st.sampled_from(["0x3, 0x7f00, 0x10", '3, ""..., 16', r'3, "f(1) = 12", 16', "", "[{a=1}, {b=(2)}], 2"])
RESULTS = st.one_of(
    st.integers(0, 1 << 40).flatmap(lambda n: st.sampled_from([(n, str(n)), (n, hex(n))])),
    st.sampled_from([
        (0, "-1 (errno 11)"),
        (0, "-1 EAGAIN (Resource temporarily unavailable)"),
        (0, "?"),
        (0, "? ERESTARTSYS (To be restarted if SA_RESTART is set)"),
        (1, "1 ([{fd=3, revents=POLLIN}])"),
    ]),
)  # fmt: skip
CALLS = st.lists(st.tuples(st.sampled_from(NAMES), ARGUMENTS, RESULTS, st.booleans(), st.integers(1, 30)), max_size=8)
NOISE = ["--- SIGCHLD {si_signo=SIGCHLD, si_pid=7} ---", "+++ exited with 0 +++", "+++ killed by SIGTERM +++"]


@given(st.lists(CALLS, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_it_does_not_matter_how_the_lines_of_processes_are_interleaved(processes: list[Any], shuffle: Any) -> None:
    calls: Counter[str] = Counter()
    moved = {"read_bytes": 0, "written_bytes": 0, "moved_bytes": 0}
    queues = []
    for pid, its in enumerate(processes, 1):
        queue = []
        for name, arguments, (value, shown), split, gap in its:
            end = ")" + " " * gap + f"= {shown}\n"
            queue += [f"{pid:<5} {name}({arguments}{end}"] if not split else [
                f"{pid:<5} {name}({arguments} <unfinished ...>\n", f"{pid:<5} <... {name} resumed>{end}"
            ]  # fmt: skip
            calls[name] += 1
            moved["read_bytes"] += value * (name in syscalls.READS)
            moved["written_bytes"] += value * (name in syscalls.WRITES)
            moved["moved_bytes"] += value * (name in syscalls.MOVES)
        queue += [f"{pid:<5} {shuffle.choice(NOISE)}\n", f"{pid:<5} epoll_wait(8,  <detached ...>\n"]
        queues.append(queue)
    merged = []
    while any(queues):
        merged.append(shuffle.choice([queue for queue in queues if queue]).pop(0))
    counted = syscalls.count(merged)
    assert counted.calls == dict(calls)
    assert {kind: getattr(counted, kind) for kind in moved} == moved
    assert counted.uncounted == sorted(syscalls.UNCOUNTED & set(calls))


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=60), max_size=5))
def test_any_text_is_counted_or_refused(odd: list[str]) -> None:
    try:
        counted = syscalls.count(line + "\n" for line in odd)
    except ValueError as error:
        assert re.fullmatch(r"line \d+ of strace's output is not understood", str(error))
    else:
        assert sum(counted.calls.values()) <= len(odd)


# strace itself, on this machine


@pytest.fixture(scope="module")
def permitted() -> None:
    if not shutil.which("strace"):
        pytest.skip("strace is not on this machine")
    if subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, check=False).returncode:
        pytest.skip("strace is not permitted on this machine")


pytestmark = pytest.mark.usefixtures("machine")


class Server:
    """A process that does the same few calls for every connection; it has an idle child, as nginx's master has."""

    def __init__(self, agent: LocalAgent, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        (tmp_path / "payload").write_bytes(PAYLOAD)
        argv = [sys.executable, "-I", "-S", "-c", SERVER, str(self.port), str(tmp_path / "payload")]
        self.number = agent.client.apply(changes.process("s", argv, f"{tmp_path}/o", f"{tmp_path}/e"))
        assert agent.client.wait_port("127.0.0.1", self.port, self.number, 15.0) is None

    def use(self) -> None:
        with socket.create_connection(("127.0.0.1", self.port), timeout=15) as connection:
            connection.sendall(bytes(117))
            got = 0
            while piece := connection.recv(100_000):
                got += len(piece)
        assert got == 60_000


def tracer(directory: Path) -> Watched:
    """The strace that writes into ``directory``."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if str(directory / "strace.out").encode() in words:
            return Watched(int(path.parent.name))
    raise AssertionError("nobody traces")


def kept(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir() if "strace" in path.name]


@pytest.mark.usefixtures("permitted")
def test_a_server_is_seen_from_outside(agent: LocalAgent, tmp_path: Path) -> None:
    server = Server(agent, tmp_path)
    server.use()
    for _ in range(2):  # a second trace is like the first
        agent.client.trace_start(server.number, 15.0)
        server.use()
        server.use()
        text = agent.directory / "strace.out"
        assert stat.S_IMODE(text.stat().st_mode) == 0o600
        raw = text.read_text()
        assert "secret" not in raw
        assert '"' not in raw
        seen = agent.client.trace_stop()
        assert seen.read_bytes == 2 * (117 + 5000 + 300)
        assert seen.written_bytes == 2 * (5000 + 23 + 1000), "a child that was forked meanwhile is seen too"
        assert seen.moved_bytes == 2 * 60_000
        assert seen.uncounted == []
        calls = {name: seen.calls[name] for name in ("recvfrom", "read", "pread64", "write", "writev", "wait4")}
        assert calls == {"recvfrom": 2, "read": 2, "pread64": 2, "write": 4, "writev": 2, "wait4": 2}
        assert kept(agent.directory) == []
    server.use()
    assert Watched(group_of(agent)).alive


@pytest.mark.usefixtures("permitted")
def test_attaching_and_detaching_are_not_counted(agent: LocalAgent, tmp_path: Path) -> None:
    server = Server(agent, tmp_path)
    agent.client.trace_start(server.number, 15.0)
    assert agent.client.trace_stop().calls == {}


@pytest.mark.usefixtures("permitted")
def test_a_server_that_ends_meanwhile_was_seen_until_then(agent: LocalAgent, tmp_path: Path) -> None:
    server = Server(agent, tmp_path)
    agent.client.trace_start(server.number, 15.0)
    server.use()
    assert agent.client.undo([server.number]) == []
    assert agent.client.trace_stop().moved_bytes == 60_000
    assert f"process group {group_of(agent)} has ended" in agent.refusal(agent.client.trace_start, server.number, 15.0)


def group_of(agent: LocalAgent) -> int:
    return int(re.findall(r'"group": (\d+)', agent.journal())[-1])


@pytest.mark.usefixtures("permitted")
def test_one_trace_at_a_time_and_none_of_what_is_no_process(agent: LocalAgent, tmp_path: Path) -> None:
    assert agent.refusal(agent.client.trace_stop) == "no trace is running"
    number = agent.client.apply(changes.directory(str(tmp_path / "made")))
    assert f"change {number} started no process" in agent.refusal(agent.client.trace_start, number, 5.0)
    server = Server(agent, tmp_path)
    agent.client.trace_start(server.number, 15.0)
    assert agent.refusal(agent.client.trace_start, server.number, 5.0) == "a trace is running already"
    agent.client.trace_stop()


@pytest.mark.usefixtures("permitted")
def test_what_another_traces_is_refused_with_the_reason(agent: LocalAgent, tmp_path: Path) -> None:
    server = Server(agent, tmp_path)
    other = subprocess.Popen(["strace", "-o", "/dev/null", "-p", str(group_of(agent))], stderr=subprocess.PIPE)
    try:
        assert other.stderr
        assert b"attached" in other.stderr.readline()
        said = agent.refusal(agent.client.trace_start, server.number, 10.0)
        assert "strace could not attach: " in said
        assert "Operation not permitted" in said
        assert kept(agent.directory) == []
    finally:
        other.terminate()
        other.wait(15)
        assert other.stderr
        other.stderr.close()
    server.use()


@pytest.mark.usefixtures("permitted")
def test_a_child_that_ended_before_strace_came_is_no_refusal(
    agent: LocalAgent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(agent, tmp_path)
    group = group_of(agent)
    short = subprocess.Popen(["/bin/true"])
    short.wait(15)
    members = trace._members
    monkeypatch.setattr(trace, "_members", lambda group: [*members(group), short.pid])
    traced = trace.Trace(group, tmp_path, 15.0)
    server.use()
    assert traced.stop().moved_bytes == 60_000
    assert kept(tmp_path) == []


@pytest.mark.usefixtures("permitted")
def test_a_process_that_never_rests_is_refused(agent: LocalAgent, tmp_path: Path) -> None:
    argv = [sys.executable, "-I", "-S", "-c", BUSY]
    number = agent.client.apply(changes.process("busy", argv, f"{tmp_path}/o", f"{tmp_path}/e"))
    said = agent.refusal(agent.client.trace_start, number, 1.0)
    assert said.startswith("strace had not attached to processes at rest after 1 s")
    assert kept(agent.directory) == []
    assert Watched(group_of(agent)).alive


def test_a_host_without_strace_says_so(tmp_path: Path) -> None:
    """Here it stands where it cannot be run, as the agent looks in more places than PATH names."""
    hidden = 'mount --bind /dev/null "$(command -v strace)" && exec "$@"'
    with start(under=["unshare", "--map-root-user", "--mount", "sh", "-c", hidden, "sh"]) as agent:
        change = changes.process("s", ["/bin/sleep", "600"], f"{tmp_path}/o", f"{tmp_path}/e")
        number = agent.client.apply(change)
        assert agent.refusal(agent.client.trace_start, number, 5.0) == "strace is not installed on this host"


@pytest.mark.usefixtures("permitted")
@pytest.mark.parametrize("how", ["closed", "killed"])
def test_strace_ends_with_the_agent(tmp_path: Path, how: str) -> None:
    with start() as agent:
        server = Server(agent, tmp_path)
        traced = Watched(group_of(agent))
        agent.client.trace_start(server.number, 15.0)
        strace = tracer(agent.directory)
        stop = threading.Event()
        using = threading.Thread(target=keep_using, args=(server, stop))
        using.start()
        try:
            if how == "closed":
                agent.end_input()
            else:
                Watched(agent.worker).kill(signal.SIGKILL)
            assert agent.ended() == 0
        finally:
            stop.set()
            using.join()
        assert strace.gone()
        assert traced.gone()
        assert not agent.directory.exists()


def keep_using(server: Server, stop: threading.Event) -> None:
    end = time.monotonic() + 30
    while not stop.is_set() and time.monotonic() < end:
        try:
            server.use()
        except (OSError, AssertionError):
            return


@pytest.mark.usefixtures("permitted")
def test_a_strace_that_was_killed_is_no_answer(agent: LocalAgent, tmp_path: Path) -> None:
    server = Server(agent, tmp_path)
    agent.client.trace_start(server.number, 15.0)
    os.kill(tracer(agent.directory).pid, signal.SIGKILL)
    assert "strace ended by itself with status -9" in agent.refusal(agent.client.trace_stop)
    assert kept(agent.directory) == []
    server.use()
