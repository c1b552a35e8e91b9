"""The datapath program on this machine over the loopback interface: HTTP, plain mode, refusals, watchdog.

What needs AF_ALG is in tests/guest/datapath_checks, which run inside a lab's guest.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.conftest import BUILDS

SOURCE = Path(__file__).resolve().parents[2] / "hosts" / "onhost" / "datapath"
DEADLINE = 20.0
GET = b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n"
Json = dict[str, Any]


class Server:
    """One running `datapath serve`; its JSON lines are taken one by one."""

    def __init__(self, program: Path, root: Path, *options: str) -> None:
        argv = [str(program), "serve", "--mode", "plain", "--address", "127.0.0.1", "--port", "0"]
        self.process = subprocess.Popen(
            [*argv, "--root", str(root), *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        self.out = self.process.stdout.fileno()
        self.pending = b""
        self.hello = self.event()
        self.port = int(self.hello["port"])

    def event(self, timeout: float = DEADLINE) -> Json:
        end = time.monotonic() + timeout
        while b"\n" not in self.pending:
            assert select.select([self.out], [], [], max(0.0, end - time.monotonic()))[0], "no JSON line"
            piece = os.read(self.out, 65536)
            assert piece, f"ended: {self.process.communicate(timeout=DEADLINE)}"
            self.pending += piece
        line, self.pending = self.pending.split(b"\n", 1)
        loaded: Json = json.loads(line)
        return loaded

    def last_event(self) -> Json:
        """The newest of the lines written so far."""
        event = self.event()
        while b"\n" in self.pending or select.select([self.out], [], [], 0)[0]:
            event = self.event()
        return event

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE)

    def ask(self, request: bytes) -> bytes:
        """Everything that comes back on a connection whose sending side is then closed."""
        with self.connect() as client:
            with contextlib.suppress(OSError):
                client.sendall(request)
                client.shutdown(socket.SHUT_WR)
            return read_all(client)

    def stop(self) -> Json:
        self.process.send_signal(signal.SIGTERM)
        event = self.event()
        while event["event"] != "summary":
            event = self.event()
        _, errors = self.process.communicate(timeout=DEADLINE)
        assert self.process.returncode == 0, errors.decode()
        assert errors == b"", errors.decode()
        return event

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate(timeout=DEADLINE)


def read_all(client: socket.socket) -> bytes:
    got = bytearray()
    with contextlib.suppress(ConnectionError):
        while piece := client.recv(1 << 20):
            got += piece
    return bytes(got)


def read_response(client: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """One response on a connection that stays open."""
    got = b""
    while b"\r\n\r\n" not in got:
        piece = client.recv(65536)
        assert piece, "closed within the head"
        got += piece
    head, body = got.split(b"\r\n\r\n", 1)
    lines = head.decode("ascii").split("\r\n")
    fields = {k.lower(): v.strip() for k, v in (line.split(":", 1) for line in lines[1:])}
    while len(body) < int(fields["content-length"]):
        piece = client.recv(1 << 20)
        assert piece, "closed within the body"
        body += piece
    return int(lines[0].split()[1]), fields, body


def status_of(answer: bytes) -> int:
    assert answer.startswith(b"HTTP/1.1 "), answer[:80]
    return int(answer[9:12])


@pytest.fixture(scope="module", params=BUILDS)
def program(request: pytest.FixtureRequest, compiled: Callable[[str, str], Path]) -> Path:
    return compiled("datapath", request.param)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("served")
    (base / "secret").write_bytes(b"outside the root")
    root = base / "root"
    (root / "sub").mkdir(parents=True)
    for size in (0, 1, 4095, 4096, 65537, 1_000_000):
        (root / str(size)).write_bytes(os.urandom(size))
    (root / "sub" / "a b%").write_bytes(b"odd name")
    (root / "inner-link").symlink_to("sub/a b%")
    (root / "outer-link").symlink_to("../secret")
    (root / "absolute-link").symlink_to(base / "secret")
    os.mkfifo(root / "fifo")
    return root


WAYS = {"alone": (), "together": ("--connections", "8")}
"""Bodies one at a time, and side by side."""


@pytest.fixture(scope="module", params=WAYS)
def shared(request: pytest.FixtureRequest, program: Path, root: Path) -> Iterator[Server]:
    server = Server(program, root, *WAYS[request.param])
    try:
        yield server
        server.stop()
    finally:
        server.kill()


@pytest.fixture(params=WAYS)
def own(request: pytest.FixtureRequest, program: Path, tmp_path: Path) -> Iterator[Server]:
    """A server of the test's own, root tmp_path, watchdog 1 s."""
    server = Server(program, tmp_path, "--watchdog", "1", *WAYS[request.param])
    try:
        yield server
    finally:
        server.kill()


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 65537, 1_000_000])
def test_get_sends_the_file(shared: Server, root: Path, size: int) -> None:
    with shared.connect() as client:
        client.sendall(GET % str(size).encode())
        status, fields, body = read_response(client)
    assert (status, body) == (200, (root / str(size)).read_bytes())
    assert fields["connection"] == "keep-alive"
    assert fields["x-datapath-mode"] == "plain"
    event = shared.last_event()
    assert (event["path"], event["status"], event["bytes"]) == (f"/{size}", 200, size)
    assert event["plain_bytes"] == size
    assert event["crossing_bytes"] == event["copied_bytes"] == 0
    assert event["calls"]["sendfile"] >= (1 if size else 0)
    assert event["seconds"] > 0
    assert not {"error", "dearer_ns"} & event.keys()


def test_keep_alive_pipelining_and_head(shared: Server, root: Path) -> None:
    with shared.connect() as client:
        client.sendall(GET % b"4096" + GET % b"1" + b"HEAD /65537 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answers = read_all(client)
    head, rest = answers.split(b"\r\n\r\n", 1)
    assert status_of(head) == 200
    assert rest.startswith((root / "4096").read_bytes())
    last = answers[answers.rindex(b"HTTP/1.1") :]
    assert b"Content-Length: 65537\r\n" in last
    assert last.endswith(b"\r\n\r\n")


def test_a_request_in_single_bytes(shared: Server) -> None:
    with shared.connect() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in GET % b"1":
            client.sendall(bytes([byte]))
        assert read_response(client)[0] == 200


def test_http_1_0_closes_unless_asked(shared: Server) -> None:
    assert b"\r\nConnection: close\r\n" in shared.ask(b"GET /1 HTTP/1.0\r\n\r\n")
    assert b"\r\nConnection: keep-alive\r\n" in shared.ask(b"GET /1 HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n")


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"/1?query=2", 200),
        (b"//1", 200),
        (b"http://host.example/1", 200),
        (b"/sub/a%20b%25", 200),
        (b"/sub/../1", 200),
        (b"/inner-link", 200),
        (b"/", 404),
        (b"/sub", 404),
        (b"/nothing", 404),
        (b"/1/", 404),
        (b"/fifo", 404),
        (b"/../secret", 404),
        (b"/%2e%2e/secret", 404),
        (b"/sub/..%2f..%2fsecret", 404),
        (b"/outer-link", 404),
        (b"/absolute-link", 404),
        (b"/proc/self/environ", 404),
        (b"/" + b"a" * 5000, 404),
        (b"/1%00", 400),
        (b"/1%", 400),
        (b"/1%zz", 400),
        (b"1", 400),
        (b"*", 400),
        (b"/1#x", 400),
        (b"/\x01", 400),
    ],
)
def test_targets(shared: Server, target: bytes, status: int) -> None:
    answer = shared.ask(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert status_of(answer) == status
    assert b"outside the root" not in answer


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (b"POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", 405),
        (b"DELETE /1 HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"get /1 HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"GET /1 HTTP/1.1\r\n\r\n", 400),
        (b"GET /1 HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
        (b"GET /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na", 400),
        (b"GET /1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET /1 HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n", 400),
        (b"GET /1 HTTP/1.1\r\nHost : x\r\n\r\n", 400),
        (b"GET /1 HTTP/1.1\r\nHost: x\r\nA: \x00\r\n\r\n", 400),
        (b"GET /1 HTTP/1.1\r\nHost: x\r\nA: \n\r\n\r\n", 400),
        (b"GET  /1 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /1\r\n\r\n", 400),
        (b"GET /1 HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        (b"G\xe9T /1 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        (b"GET /1 HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 9000 + b"\r\n\r\n", 431),
        (b"a" * 20000, 431),
    ],
)
def test_bad_requests(shared: Server, request_head: bytes, status: int) -> None:
    answer = shared.ask(request_head)
    assert status_of(answer) == status
    assert b"\r\nConnection: close\r\n" in answer


def test_an_idle_connection_holds_up_nobody(shared: Server) -> None:
    with contextlib.ExitStack() as stack:
        idle = [stack.enter_context(shared.connect()) for _ in range(10)]
        idle[0].sendall(b"GET /1 HTT")
        idle[1].sendall(GET % b"1")
        assert read_response(idle[1])[0] == 200
        start = time.monotonic()
        assert status_of(shared.ask(GET % b"1")) == 200
        assert time.monotonic() - start < 2
        idle[0].sendall(b"P/1.1\r\nHost: x\r\n\r\n")
        assert read_response(idle[0])[0] == 200
        idle[1].sendall(GET % b"4096")
        assert read_response(idle[1])[0] == 200


def test_more_connections_than_places(own: Server, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"here")
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(own.connect())
        assert own.ask(GET % b"f").endswith(b"here")
    assert own.stop()["failed"] == 0


def allow(server: Server, more: int) -> None:
    """So many descriptors more than it has."""
    taken = {int(path.name) for path in Path(f"/proc/{server.process.pid}/fd").iterdir()}
    free = [number for number in range(1000) if number not in taken]
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (free[more], 1000))


def test_a_server_without_descriptors_ends_who_is_idle(own: Server, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"here")
    allow(own, 3)
    with contextlib.ExitStack() as stack:
        idle = [stack.enter_context(own.connect()) for _ in range(10)]
        assert status_of(own.ask(GET % b"f")) == 500, "there was a descriptor for the file"
        assert read_all(idle[0]) == b"", "the oldest was not ended"
        allow(own, 100)
        assert own.ask(GET % b"f").endswith(b"here")
    assert own.stop()["put_off"] >= 7


def test_a_server_without_descriptors_makes_clients_wait(own: Server, tmp_path: Path) -> None:
    """And no client is idle: it goes on when there are descriptors again, as a machine may be short of them."""
    (tmp_path / "f").write_bytes(b"here")
    allow(own, 0)
    with own.connect() as client:
        client.sendall(GET % b"f")
        assert not select.select([client], [], [], 0.5)[0], "it was answered"
        allow(own, 100)
        assert read_response(client)[2] == b"here"
    assert 1 <= own.stop()["put_off"] <= 10, "it tries again and again"


def test_a_busy_server_ends_who_lingers(own: Server, tmp_path: Path) -> None:
    """A client that was answered for good and stays, while others ask all the time."""
    (tmp_path / "f").write_bytes(b"here")
    done = threading.Event()

    def ask_on(client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while not done.is_set():
                client.sendall(GET % b"f" * 50)
                client.recv(1 << 20)

    with own.connect() as lingers, own.connect() as one, own.connect() as other:
        lingers.sendall(b"GET /f HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert read_all(lingers).endswith(b"here")
        threads = [threading.Thread(target=ask_on, args=(client,), daemon=True) for client in (one, other)]
        for thread in threads:
            thread.start()
        try:
            end = time.monotonic() + DEADLINE
            with contextlib.suppress(ConnectionError):
                while time.monotonic() < end:
                    own.last_event()
                    lingers.sendall(b"x")
            assert time.monotonic() < end, "it was never ended"
        finally:
            done.set()
            own.kill()


def test_a_client_that_stops_reading_is_cut_off(own: Server, tmp_path: Path) -> None:
    make_sparse(tmp_path / "big", 200_000_000)
    with own.connect() as client:
        client.sendall(GET % b"big")
        client.recv(100)
        event = own.event(10)
        assert event["error"] == "watchdog: no progress for 1 s"
        assert event["bytes"] < 200_000_000
        assert len(read_all(client)) < 200_000_000
    (tmp_path / "small").write_bytes(b"x")
    assert own.ask(GET % b"small").endswith(b"x")
    assert own.stop()["failed"] == 1


def test_a_slow_client_is_not_cut_off(own: Server, tmp_path: Path) -> None:
    size = 8_000_000
    make_sparse(tmp_path / "big", size)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        client.settimeout(DEADLINE)
        client.connect(("127.0.0.1", own.port))
        client.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        start, got = time.monotonic(), 0
        while time.monotonic() - start < 2.5:  # far longer than the watchdog waits
            got += len(client.recv(8192))
            time.sleep(0.02)
        assert got < size / 2, "this client was not slow enough to tell anything"
        got += len(read_all(client))
    assert got > size
    assert "error" not in own.event()


def test_a_file_that_shrinks_ends_early(own: Server, tmp_path: Path) -> None:
    make_sparse(tmp_path / "big", 200_000_000)
    with own.connect() as client:
        client.sendall(GET % b"big")
        client.recv(100)
        os.truncate(tmp_path / "big", 1000)
        assert len(read_all(client)) < 200_000_000
    event = own.event()
    assert "shorter" in event["error"]
    assert own.stop()["failed"] == 1


def test_a_file_that_grows_is_sent_as_promised(own: Server, tmp_path: Path) -> None:
    make_sparse(tmp_path / "big", 50_000_000)
    with own.connect() as client:
        client.sendall(GET % b"big")
        client.recv(1)
        with (tmp_path / "big").open("ab") as f:
            f.write(b"more")
        client.shutdown(socket.SHUT_WR)
        assert b"more" not in read_all(client)
    assert own.event()["bytes"] == 50_000_000


def test_a_client_that_goes_away_is_counted(own: Server, tmp_path: Path) -> None:
    make_sparse(tmp_path / "big", 200_000_000)
    with own.connect() as client:
        client.sendall(GET % b"big")
        client.recv(1)
    assert own.event()["error"].startswith("sendfile: ")
    assert own.stop()["failed"] == 1


def test_sigterm_lets_a_transfer_finish(own: Server, tmp_path: Path) -> None:
    size = 100_000_000
    make_sparse(tmp_path / "big", size)
    with own.connect() as client:
        client.sendall(GET % b"big")
        got = len(client.recv(1))
        own.process.send_signal(signal.SIGTERM)
        got += len(read_all(client))
    assert got > size
    assert own.event()["bytes"] == size
    assert own.event()["event"] == "summary"
    assert own.process.wait(DEADLINE) == 0


def test_a_client_that_reads_nothing_holds_up_nobody(program: Path, tmp_path: Path) -> None:
    size = 20_000_000
    make_sparse(tmp_path / "big", size)
    (tmp_path / "small").write_bytes(b"here")
    server = Server(program, tmp_path, *WAYS["together"])
    try:
        with contextlib.ExitStack() as stack:
            waiting = [stack.enter_context(server.connect()) for _ in range(8)]
            for client in waiting:
                client.sendall(GET % b"big")
                assert client.recv(1)
            assert server.ask(GET % b"small").endswith(b"here"), "while eight bodies wait for their clients"
            assert server.event()["path"] == "/small"
            for client in waiting:
                client.shutdown(socket.SHUT_WR)
            assert all(len(read_all(client)) > size for client in waiting)
        said = server.stop()
        assert (said["http_requests"], said["failed"], said["bytes"]) == (9, 0, 8 * size + 4)
    finally:
        server.kill()


def test_workers_share_a_port_and_end_together(program: Path, tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"here")
    server = Server(program, tmp_path, "--connections", "8", "--workers", "3")
    try:
        assert server.hello["workers"] == 3
        for _ in range(60):
            assert server.ask(GET % b"small").endswith(b"here")
        server.process.send_signal(signal.SIGTERM)
        out, errors = server.process.communicate(timeout=DEADLINE)
        assert (server.process.returncode, errors) == (0, b"")
        lines = [json.loads(line) for line in (server.pending + out).splitlines()]
        sums = {line["worker"]: line["http_requests"] for line in lines if line["event"] == "summary"}
        assert sums.keys() == {1, 2, 3}
        assert sum(sums.values()) == 60
        assert len([count for count in sums.values() if count]) > 1, "the kernel spreads connections"
        for worker, count in sums.items():
            mine = [line for line in lines if line["event"] == "request" and line["worker"] == worker]
            assert len(mine) == count
    finally:
        server.kill()


@pytest.mark.parametrize("workers", [(), ("--workers", "1")])
def test_a_worker_that_is_asked_for_has_a_processor_of_its_own(
    program: Path, tmp_path: Path, workers: tuple[str, ...]
) -> None:
    server = Server(program, tmp_path, *workers)
    try:
        usable = sorted(os.sched_getaffinity(0))
        assert sorted(os.sched_getaffinity(server.process.pid)) == (usable[:1] if workers else usable)
    finally:
        server.kill()


def test_a_worker_that_ends_ends_all(program: Path, tmp_path: Path) -> None:
    server = Server(program, tmp_path, "--workers", "2")
    try:
        pid = server.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGKILL)
        assert server.process.wait(DEADLINE) == 1
    finally:
        server.kill()


def test_a_body_is_dearer_by_the_share_that_is_asked_for(program: Path, tmp_path: Path) -> None:
    """Of its own time, spent before its last page; heads cost no more."""
    make_sparse(tmp_path / "big", 20_000_000)
    server = Server(program, tmp_path, "--dearer", "500")
    try:
        assert server.hello["dearer_per_mille"] == 500
        own = spent = 0.0
        for _ in range(10):
            assert len(server.ask(b"GET /big HTTP/1.0\r\n\r\n")) > 20_000_000
            event = server.event()
            assert event["calls"]["sendfile"] >= 2, "the last page by itself"
            spent += event["dearer_ns"] / 1e9
            own += event["seconds"] - event["dearer_ns"] / 1e9
        assert 0.25 < spent / own < 1, (spent, own)
        assert status_of(server.ask(b"HEAD /big HTTP/1.0\r\n\r\n")) == 200
        assert server.event()["dearer_ns"] == 0
        assert server.stop()["failed"] == 0
    finally:
        server.kill()


RAW = ("raw", "--cipher", "cbc(aes)", "--op", "encrypt", "--size", "4096")


def make_sparse(path: Path, size: int) -> None:
    with path.open("wb") as f:
        f.truncate(size)


def refused(program: Path, *arguments: str, stdin: bytes = b"") -> tuple[int, str]:
    done = subprocess.run([str(program), *arguments], input=stdin, capture_output=True, check=False, timeout=DEADLINE)
    message = done.stderr.decode()
    assert message.count("\n") == 1, message
    return done.returncode, message


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        ((), 2, "a command is needed"),
        (("dance",), 2, "unknown command"),
        (("serve",), 2, "serve needs"),
        (("serve", "--nonsense"), 2, "nonsense"),
        (("serve", "--chunk", "1000000"), 2, "from 16 to 262140"),
        (("serve", "--chunk", "12x"), 2, "whole number"),
        (("serve", "--watchdog", "0"), 2, "--watchdog"),
        (("serve", "--connections", "0"), 2, "--connections"),
        (("probe", "--workers", "2"), 2, "--workers"),
        (("serve", "--dearer", "0"), 2, "--dearer 0: wanted a whole number from 1 to 1000"),
        ((*RAW, "--dearer", "10"), 2, "--dearer is for serve"),
        (("serve", "--port", "65536"), 2, "--port"),
        (("serve", "extra"), 2, "unexpected argument"),
        (("raw", "--cipher", "cbc(aes)"), 2, "--op"),
        (("raw", "--cipher", "cbc(aes)", "--op", "encrypt"), 2, "--size"),
        (("costs", "--interface", "devcrypto"), 2, "are for a --cipher"),
        (("costs", "--interface", "x"), 2, "wanted af_alg or devcrypto"),
        (("costs", "--cipher", "cbc(aes)", "--op", "decrypt"), 2, "by --interface devcrypto alone decrypt"),
        ((*RAW, "--mapped"), 2, "--mapped is for raw by --interface devcrypto"),
        ((*RAW, "--interface", "devcrypto", "--interface", "af_alg"), 2, "one --interface is enough"),
        (("serve", "--interface", "af_alg"), 2, "serve takes no --interface"),
        (("costs", "--cipher", "cbc(aes)", "--chunk", "131088"), 2, "--chunk 131088: wanted at most 131072"),
        (("probe",), 2, "--cipher"),
        (("raw", "--key-bytes", "65"), 2, "--key-bytes 65: wanted a whole number from 0 to 64"),
        (("raw", "--key-bytes", "-1"), 2, "--key-bytes -1"),
        (("raw", "--aad", "65"), 2, "--aad 65: wanted a whole number from 0 to 64"),
        (("raw", "--depth", "0"), 2, "--depth 0: wanted a whole number from 1 to 64"),
        (("raw", "--depth", "65"), 2, "--depth 65"),
        ((*RAW, "--depth", "8", "--batch", "7"), 2, "--batch 7: so few are never 8 under way at once"),
        (("costs", "--cipher", "cbc(aes)", "--depth", "2"), 2, "--depth is for raw"),
        (("probe", "--cipher", "cbc(aes)", "--depth", "2"), 2, "--depth is for raw"),
        (("costs", "--cipher", "x" * 64), 2, "63 characters"),
        (("costs", "--cipher", "x", "--seconds", "nan"), 2, "--seconds"),
    ],
)
def test_refusals(program: Path, arguments: tuple[str, ...], status: int, text: str) -> None:
    found, message = refused(program, *arguments)
    assert (found, text in message) == (status, True), message


@pytest.mark.parametrize(
    ("options", "stdin", "status", "text"),
    [
        (("--mode", "nonsense"), b"", 2, "unknown mode"),
        (("--mode", "plain", "--cipher", "cbc(aes)"), b"", 2, "takes no cipher"),
        (("--mode", "afalg-copy"), b"", 2, "--cipher is needed"),
        (("--mode", "afalg-copy", "--cipher", "cbc(aes)"), b"0g\n", 2, "key on standard input"),
        (("--mode", "afalg-copy", "--cipher", "cbc(aes)"), b"00\n0\n", 2, "IV on standard input"),
        (("--mode", "afalg-copy", "--cipher", "cbc(aes)"), b"0" * 200, 2, "too long"),
        (("--mode", "so-crypt", "--cipher", "cbc(aes)"), b"00\n00\n", 1, "not compiled in"),
        (("--mode", "afalg-copy", "--cipher", "cbc(aes)", "--key-bytes", "16"), b"", 2, "the key on standard input"),
        (("--mode", "afalg-copy", "--cipher", "gcm(aes)", "--aad", "5"), b"", 2, "the key on standard input"),
        (("--mode", "plain", "--depth", "2"), b"", 2, "--depth is for raw"),
        (("--mode", "plain", "--work", "1000"), b"", 2, "mode plain takes no --work"),
    ],
)
def test_serve_refusals(
    program: Path, tmp_path: Path, options: tuple[str, ...], stdin: bytes, status: int, text: str
) -> None:
    base = ("serve", "--address", "127.0.0.1", "--port", "0", "--root", str(tmp_path))
    found, message = refused(program, *base, *options, stdin=stdin)
    assert (found, text in message) == (status, True), message


REHEARSALS = {
    "rehearse-sendfile": {"sendfile": 16, "setsockopt": 2},
    "rehearse-send": {"read": 16, "send": 16},
    "rehearse-records": {"read": 16, "send": 16},
}
"""Calls for 1,000,000 bytes in chunks of 65,536, where the client is as fast as its buffers."""


@pytest.mark.parametrize("mode", REHEARSALS)
@pytest.mark.parametrize("work", [(), ("--work", "20000000")])
def test_a_rehearsal_sends_the_file_in_its_way(program: Path, root: Path, mode: str, work: tuple[str, ...]) -> None:
    server = Server(program, root, "--mode", mode, *work)
    try:
        for size in (0, 1, 65537, 1_000_000):
            with server.connect() as client:
                client.sendall(GET % str(size).encode())
                status, _, body = read_response(client)
            assert (status, body == (root / str(size)).read_bytes()) == (200, True)
            event = server.last_event()
            assert "error" not in event
        calls = {name: count for name, count in event["calls"].items() if count}
        assert calls.keys() == REHEARSALS[mode].keys()
        assert all(calls[name] >= least for name, least in REHEARSALS[mode].items())
        counts = 20_000_000 * 1_000_000 // 65536 if work else 0
        summary = server.stop()
        # no processor counts further than to ten in a nanosecond
        assert summary["user_seconds"] >= counts / 10 / 1e9
    finally:
        server.kill()


def test_what_is_not_there(program: Path, shared: Server, tmp_path: Path) -> None:
    base = ("serve", "--mode", "plain", "--address")
    port = str(shared.port)
    found, message = refused(program, *base, "127.0.0.1", "--port", port, "--root", str(tmp_path))
    assert (found, "in use" in message) == (1, True), message
    found, message = refused(program, *base, "127.0.0.1", "--port", "0", "--root", str(tmp_path / "none"))
    assert (found, "No such file" in message) == (1, True), message
    found, message = refused(program, *base, "example.org", "--port", "0", "--root", str(tmp_path))
    assert found == 2, message
    (tmp_path / "file").write_bytes(b"")
    found, message = refused(program, *base, "127.0.0.1", "--port", "0", "--root", str(tmp_path / "file"))
    assert (found, "Not a directory" in message) == (1, True), message


def test_an_unknown_cipher_has_a_reason(program: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [str(program), "probe", "--cipher", "cbc(nonsense)", "--cipher", "x" * 100],
        capture_output=True,
        check=True,
        timeout=DEADLINE,
    )
    host, *ciphers = map(json.loads, done.stdout.splitlines())
    assert host["event"] == "probe"
    assert host["so_crypt_compiled_in"] is False
    assert [c["available"] for c in ciphers] == [False, False]
    assert all(c["reason"] for c in ciphers)
    base = ("serve", "--address", "127.0.0.1", "--port", "0", "--root", str(tmp_path))
    found, message = refused(program, *base, "--mode", "afalg-splice", "--cipher", "cbc(nonsense)", stdin=b"00\n00\n")
    assert (found, "modprobe" in message or "AF_ALG" in message) == (1, True), message


def test_help_names_every_mode(program: Path) -> None:
    done = subprocess.run([str(program), "--help"], capture_output=True, check=True, timeout=DEADLINE)
    for mode in ("plain", "afalg-copy", "afalg-splice", "so-crypt", "so-crypt-send", "devcrypto-copy", *REHEARSALS):
        assert f"  {mode} ".encode() in done.stdout


def test_help_names_every_option(program: Path) -> None:
    """As the source takes them."""
    done = subprocess.run([str(program), "--help"], capture_output=True, check=True, timeout=DEADLINE)
    options = re.findall(r'\{ "([a-z-]+)", 1, NULL', (SOURCE / "datapath.c").read_text())
    assert "key-bytes" in options
    assert [option for option in options if f"--{option} ".encode() not in done.stdout] == []


def test_ipv6(program: Path, tmp_path: Path) -> None:
    try:
        with socket.socket(socket.AF_INET6) as s:
            s.bind(("::1", 0))
    except OSError:
        pytest.skip("no IPv6 on this machine")
    (tmp_path / "f").write_bytes(b"six")
    server = Server(program, tmp_path, "--address", "::1")
    try:
        with socket.create_connection(("::1", server.port), timeout=DEADLINE) as client:
            client.sendall(GET % b"f")
            assert read_response(client)[2] == b"six"
    finally:
        server.kill()


LINES = st.one_of(
    st.binary(max_size=60),
    st.sampled_from(
        [b"Host: x", b"Connection: close", b"Connection: keep-alive, ,close", b"Content-Length: 0", b"A:", b":", b""]
    ),
)
REQUESTS = st.one_of(
    st.binary(max_size=300),
    st.builds(
        lambda method, target, version, lines: b"\r\n".join([b" ".join([method, target, version]), *lines, b"", b""]),
        st.sampled_from([b"GET", b"HEAD", b"POST", b"", b"G T"]),
        st.one_of(st.binary(max_size=80), st.sampled_from([b"/1", b"/%31", b"/%", b"/%3", b"http://", b"/..", b"/?"])),
        st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.", b"HTTP/11.1", b""]),
        st.lists(LINES, max_size=6),
    ),
)


@settings(
    max_examples=300,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(requests=st.lists(REQUESTS, min_size=1, max_size=3))
def test_any_bytes_get_an_answer_or_an_end(shared: Server, requests: list[bytes]) -> None:
    answer = shared.ask(b"".join(requests))
    assert not answer or status_of(answer) in {200, 400, 404, 405, 431, 505}
    assert b"outside the root" not in answer
    while select.select([shared.out], [], [], 0)[0]:
        shared.event()
    assert shared.process.poll() is None
