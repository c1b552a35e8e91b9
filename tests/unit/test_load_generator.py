"""The generator of load on this machine over the loopback interface: its counts against those of servers, its schedule
against one that stops, its TLS."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.load import latency
from hosts import certificate
from hosts.certificate import Kind
from tests.unit.conftest import BUILDS

ONHOST = Path(__file__).resolve().parents[2] / "hosts" / "onhost"
DEADLINE = 60.0
PAUSE = 0.1
SIZE = 20_000
SUITES = {"1.2": "ECDHE-RSA-AES128-GCM-SHA256", "1.3": "TLS_AES_128_GCM_SHA256"}
Json = dict[str, Any]


@pytest.fixture(scope="module", params=BUILDS)
def load(request: pytest.FixtureRequest, compiled: Callable[[str, str], Path]) -> Path:
    return compiled("load", request.param)


@pytest.fixture(scope="module")
def quick(compiled: Callable[[str, str], Path]) -> Path:
    """The generator as it is deployed."""
    return compiled("load", "plain")


class Served:
    """Our own server."""

    def __init__(self, program: Path, root: Path, *options: str) -> None:
        argv = [str(program), "serve", "--mode", "plain", "--address", "127.0.0.1", "--port", "0", "--root", str(root)]
        self.process = subprocess.Popen([*argv, *options], stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        self.port = int(json.loads(self.process.stdout.readline())["port"])
        self.lines: list[Json] = []
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.lines += [json.loads(line) for line in self.process.stdout]

    def stop(self) -> Json:
        """Its sums; the lines of its requests are in ``lines``."""
        self.process.terminate()
        self.reader.join(DEADLINE)
        assert self.process.wait(DEADLINE) == 0
        return self.lines.pop()


@pytest.fixture(scope="module")
def datapath(compiled: Callable[[str, str], Path]) -> Path:
    return compiled("datapath", "plain")


@pytest.fixture
def served(datapath: Path, tmp_path: Path) -> Iterator[Served]:
    (tmp_path / "file").write_bytes(bytes(SIZE))
    server = Served(datapath, tmp_path, "--connections", "64")
    try:
        yield server
    finally:
        server.process.kill()
        server.process.wait(DEADLINE)
        server.reader.join(DEADLINE)


def asking(
    program: Path, port: int | str, *options: str, size: int = SIZE, seconds: float = 0.3, warm: float = 0.05
) -> list[str]:
    argv = [str(program), "--address", "127.0.0.1", "--port", str(port), "--path", "/file", "--size", str(size)]
    return [*argv, "--seconds", str(seconds), "--warm", str(warm), *options]


def ask(program: Path, port: int | str, *options: str, **more: Any) -> Json:
    argv = asking(program, port, *options, **more)
    done = subprocess.run(argv, capture_output=True, check=False, timeout=DEADLINE, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    *before, told = [json.loads(line) for line in done.stdout.splitlines()]
    assert before == [{"event": "window"}] or not told["window"]["seconds"]
    last: Json = told
    return last


@pytest.mark.parametrize("connections", [1, 7, 64])
@pytest.mark.parametrize("reuse", ["new", "kept"])
@pytest.mark.parametrize("rate", [(), ("--rate", "800")])
def test_both_ends_count_the_same(load: Path, served: Served, connections: int, reuse: str, rate: Any) -> None:
    told = ask(load, served.port, "--connections", str(connections), "--reuse", reuse, *rate)
    said = served.stop()
    assert not told["errors"]
    assert told["requests"] == told["responses"] == said["http_requests"] == len(served.lines)
    assert told["bytes"] == said["bytes"] == SIZE * told["responses"]
    made = connections if reuse == "kept" else told["requests"]
    assert told["opened"] == said["connections"] == made
    assert len({line["connection"] for line in served.lines}) == made
    assert 0 < told["window"]["responses"] <= told["responses"]
    assert 0 < told["window"]["bytes"] <= told["bytes"]
    assert told["at_once"] == connections if reuse == "kept" else 0 < told["at_once"] <= connections
    if rate:
        assert told["planned"] == told["requests"] - connections, "each connection had one before"
        assert told["late"]["total"] == told["planned"]
        assert told["latency"]["total"] == round(0.3 * 800)
    else:
        assert told["latency"]["total"] == told["window"]["responses"]
    assert sum(told["latency"]["buckets"].values()) == told["latency"]["total"]


def test_connections_are_dealt_to_several_ports_in_turn(load: Path, datapath: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(SIZE))
    servers = [Served(datapath, tmp_path) for _ in range(3)]
    try:
        ports = ",".join(str(server.port) for server in servers)
        told = ask(load, ports, "--connections", "8", "--reuse", "kept")
        said = [server.stop() for server in servers]
    finally:
        for server in servers:
            server.process.kill()
            server.reader.join(DEADLINE)
    assert [one["connections"] for one in said] == [3, 3, 2]
    assert told["requests"] == told["responses"] == sum(one["http_requests"] for one in said)
    assert not told["errors"]


@pytest.mark.parametrize("ports", ["0", "80,", ",80", "80,x", "70000", ",".join(["80"] * 65), "1" * 600])
def test_ports_that_are_none_are_refused(quick: Path, ports: str) -> None:
    argv = [str(quick), "--address", "127.0.0.1", "--port", ports, "--path", "/", "--size", "1", "--seconds", "1"]
    done = subprocess.run(
        [*argv, "--connections", "1", "--reuse", "new"], capture_output=True, check=False, timeout=DEADLINE, text=True
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "--port" in done.stderr


def test_a_server_that_stops_is_seen_by_an_open_loop_and_not_by_a_closed_one(quick: Path, served: Served) -> None:
    """It stands still for 100 ms of each second. In an open loop requests fall due meanwhile, and a tenth of all waits;
    in a closed one only those that were just under way do, however long it stands still."""
    over = threading.Event()

    def stall() -> None:
        while not over.wait(0.9):
            served.process.send_signal(signal.SIGSTOP)
            time.sleep(PAUSE)
            served.process.send_signal(signal.SIGCONT)

    def slow(told: Json) -> float:
        found = latency.together([told["latency"]["buckets"]])
        waited = sum(count for bucket, count in found.items() if latency.middle_seconds(bucket) > PAUSE / 2)
        return waited / sum(found.values())

    stalling = threading.Thread(target=stall)
    stalling.start()
    try:
        closed = ask(quick, served.port, "--connections", "4", "--reuse", "kept", seconds=3)
        open_ = ask(quick, served.port, "--connections", "64", "--reuse", "kept", "--rate", "300", seconds=3)
    finally:
        over.set()
        stalling.join(DEADLINE)
    assert not closed["errors"]
    assert not open_["errors"]
    assert slow(open_) > 0.03
    assert slow(closed) < slow(open_) / 3


class Plain:
    """A server of Python's without TLS: an answer for each request, later while its ``gate`` is closed. With ``others``
    it resets the first connection that comes, once so many others have had an answer each."""

    def __init__(self, others: int = 0) -> None:
        self.answered = threading.Semaphore(0)
        self.others = others
        self.gate, self.held, self.released = threading.Event(), threading.Event(), threading.Event()
        self.gate.set()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            if self.others:
                first, _ = self.listener.accept()
                threading.Thread(target=self._reset, args=(first,), daemon=True).start()
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _reset(self, client: socket.socket) -> None:
        for _ in range(self.others):
            self.answered.acquire(timeout=DEADLINE)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            client.settimeout(DEADLINE)
            while client.recv(4096):
                if held := not self.gate.is_set():
                    self.held.set()
                    self.gate.wait(DEADLINE)
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE + bytes(SIZE))
                self.answered.release()
                if held:
                    self.released.set()

    def close(self) -> None:
        self.listener.close()


def test_a_first_answer_that_failed_is_asked_for_again(load: Path) -> None:
    """Others have had theirs and are free longer: they do not keep it from its turn."""
    server = Plain(others=3)
    try:
        told = ask(load, server.port, "--connections", "4", "--reuse", "kept", "--patience", "5")
    finally:
        server.close()
    assert sum(told["errors"].values()) == 1, told
    assert told["window"]["responses"] > 0, "the window was reached"
    assert told["requests"] == told["responses"] + 1


def test_a_request_that_waited_for_the_generator_is_late_whichever_connection_takes_it(quick: Path) -> None:
    """The generator stands still while one connection waits for its answer and one is free. When it goes on, both take
    one of the requests that were due meanwhile: the one that just got its answer too, and the other could have."""
    server, stop = Plain(), 2.0
    argv = asking(quick, server.port, "--connections", "2", "--reuse", "kept", "--rate", "5", seconds=4)
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert json.loads(process.stdout.readline())["event"] == "window"
            server.gate.clear()
            assert server.held.wait(DEADLINE)
            process.send_signal(signal.SIGSTOP)
            time.sleep(stop)
            server.gate.set()
            assert server.released.wait(DEADLINE)
            process.send_signal(signal.SIGCONT)
            told = json.loads(process.stdout.readline())
        finally:
            process.kill()
            server.close()
    late = latency.together([told["late"]["buckets"]])
    assert not told["errors"], told
    assert sum(late.values()) == told["planned"]
    assert sum(count for bucket, count in late.items() if latency.middle_seconds(bucket) > stop / 2) >= 2


def test_a_schedule_that_cannot_be_kept_is_drained(quick: Path, datapath: Path, tmp_path: Path) -> None:
    """More is due than one connection gets: what waits counts for latency, and all of it is answered at the end."""
    (tmp_path / "file").write_bytes(bytes(2_000_000))
    server = Served(datapath, tmp_path)
    try:
        options = ("--connections", "1", "--reuse", "kept")
        alone = ask(quick, server.port, *options, size=2_000_000)
        rate = 4 * alone["window"]["responses"] / alone["window"]["seconds"]
        told = ask(quick, server.port, *options, "--rate", f"{rate:.1f}", size=2_000_000)
        assert told["requests"] == told["responses"] == told["planned"] + 1
        assert told["latency"]["most_ns"] > 0.2 * 0.3e9, "the last ones waited for all before them"
        assert server.stop()["http_requests"] == alone["requests"] + told["requests"]
    finally:
        server.process.kill()
        server.reader.join(DEADLINE)


def test_what_goes_wrong_is_told_by_kind(load: Path, served: Served) -> None:
    options = ("--connections", "2", "--reuse", "kept", "--patience", "1")
    told = ask(load, served.port, *options, size=SIZE + 1)
    assert told["errors"]["wrong_answer"] > 0
    assert f"{SIZE} bytes came, not 200 with {SIZE + 1}" in told["first_error"]
    served.stop()
    told = ask(load, served.port, *options)
    assert told["errors"]["not_connected"] > 0
    assert told["responses"] == 0


class Tls:
    """A server of Python's: an answer for each request, ``closes`` a connection after so many. Handshakes after
    the first wait while its ``gate`` is closed."""

    def __init__(
        self, folder: Path, version: str, size: int = SIZE, closes: int = 10**9, kind: Kind = "rsa-2048"
    ) -> None:
        text, secret = certificate.pair(ip_address("127.0.0.1"), kind)
        self.ca = folder / "certificate.pem"
        self.ca.write_bytes(text)
        (folder / "key.pem").write_bytes(secret)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.ca, folder / "key.pem")
        wanted = ssl.TLSVersion.TLSv1_3 if version == "1.3" else ssl.TLSVersion.TLSv1_2
        context.minimum_version = context.maximum_version = wanted
        self.context, self.closes, self.body = context, closes, bytes(size)
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        self.connections = self.resumed = self.requests = 0
        self.lock, self.gate = threading.Lock(), threading.Event()
        self.gate.set()
        self.held_seconds = 0.0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        if self.connections:
            came = time.monotonic()
            self.gate.wait(DEADLINE)
            self.held_seconds = max(self.held_seconds, time.monotonic() - came)
        with contextlib.suppress(OSError), plain, self.context.wrap_socket(plain, server_side=True) as client:
            client.settimeout(DEADLINE)
            with self.lock:
                self.connections += 1
                self.resumed += bool(client.session_reused)
            for _ in range(self.closes):
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    piece = client.recv(4096)
                    if not piece:
                        return
                    head += piece
                with self.lock:
                    self.requests += 1
                ends = b"Connection: close" in head
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(self.body) + self.body)
                if ends:
                    return

    def close(self) -> None:
        self.listener.close()


@pytest.mark.parametrize(
    ("kind", "group", "agreed", "key"),
    [
        ("rsa-2048", "X25519", "x25519", "RSA-2048"),
        ("ecdsa-p256", "P-256", "secp256r1", "EC-256"),
    ],
)
def test_the_key_exchange_is_the_one_that_is_asked_for(
    load: Path, tmp_path: Path, kind: Kind, group: str, agreed: str, key: str
) -> None:
    server = Tls(tmp_path, "1.3", kind=kind)
    options = ("--tls", "openssl", "--ca", str(server.ca), "--tls-version", "1.3", "--suite", SUITES["1.3"])
    try:
        told = ask(load, server.port, "--connections", "2", "--reuse", "new", *options, "--group", group)
    finally:
        server.close()
    assert not told["errors"], told
    assert (told["group"].lower(), told["key"], told["other_suites"]) == (agreed, key, 0)
    within = told["handshake"]
    assert 0 < sum(within["buckets"].values()) == within["total"] <= told["handshakes"]


def test_a_handshake_that_ends_in_the_window_counts_wherever_it_began(quick: Path, tmp_path: Path) -> None:
    """One begins before the window and is held until that has begun: left out, it would be missing in the tail."""
    server = Tls(tmp_path, "1.3")
    server.gate.clear()
    options = ("--tls", "openssl", "--ca", str(server.ca), "--tls-version", "1.3", "--suite", SUITES["1.3"])
    argv = asking(quick, server.port, "--connections", "1", "--reuse", "new", *options, seconds=1, warm=0.5)
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert json.loads(process.stdout.readline())["event"] == "window"
            server.gate.set()
            told = json.loads(process.stdout.readline())
        finally:
            process.kill()
            server.close()
    assert not told["errors"], told
    assert 0 < told["window"]["responses"] <= told["handshake"]["total"] <= told["window"]["responses"] + 1
    assert told["handshake"]["most_ns"] >= server.held_seconds * 1e9 > 0


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("reuse", ["new", "resumed", "kept"])
def test_tls_is_spoken_as_it_is_said(load: Path, tmp_path: Path, version: str, reuse: str) -> None:
    server = Tls(tmp_path, version)
    options = ("--tls", "openssl", "--ca", str(server.ca), "--tls-version", version, "--suite", SUITES[version])
    try:
        told = ask(load, server.port, "--connections", "4", "--reuse", reuse, *options)
    finally:
        server.close()
    assert not told["errors"], told
    assert told["responses"] == told["requests"] == server.requests
    assert told["opened"] == told["handshakes"] == server.connections
    assert told["opened"] == (4 if reuse == "kept" else told["requests"])
    assert told["resumed"] == server.resumed == (told["requests"] - 4 if reuse == "resumed" else 0)
    assert (told["version"], told["suite"], told["other_suites"]) == (f"TLSv{version}", SUITES[version], 0)


BY_GNUTLS = "NONE:+VERS-TLS1.2:+AES-128-GCM:+AEAD:+ECDHE-RSA:+SIGN-ALL:+GROUP-SECP256R1:+GROUP-X25519:+COMP-NULL"


@pytest.mark.parametrize("reuse", ["new", "resumed", "kept"])
def test_gnutls_speaks_as_it_is_told(load: Path, tmp_path: Path, reuse: str) -> None:
    server = Tls(tmp_path, "1.2")
    options = ("--tls", "gnutls", "--ca", str(server.ca), "--tls-version", "1.2", "--suite", BY_GNUTLS)
    try:
        told = ask(load, server.port, "--connections", "4", "--reuse", reuse, *options)
    finally:
        server.close()
    assert not told["errors"], told
    assert told["responses"] == told["requests"] == server.requests
    assert told["opened"] == told["handshakes"] == server.connections
    assert told["resumed"] == server.resumed == (told["requests"] - 4 if reuse == "resumed" else 0)
    assert (told["version"], told["suite"], told["other_suites"]) == ("TLS1.2", "ECDHE_RSA_AES_128_GCM_SHA256", 0)


def test_gnutls_refuses_a_certificate_of_another(load: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    server, other = Tls(tmp_path, "1.2"), Tls(tmp_path / "other", "1.2")
    options = ("--tls", "gnutls", "--ca", str(other.ca), "--tls-version", "1.2", "--suite", BY_GNUTLS)
    try:
        told = ask(load, server.port, "--connections", "1", "--reuse", "new", "--patience", "1", *options)
    finally:
        server.close()
        other.close()
    assert told["errors"]["not_secured"] > 0
    assert "certificate" in told["first_error"]
    assert told["responses"] == 0


def test_a_certificate_of_another_is_refused(load: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    server, other = Tls(tmp_path, "1.3"), Tls(tmp_path / "other", "1.3")
    options = ("--tls", "openssl", "--ca", str(other.ca), "--tls-version", "1.3", "--suite", SUITES["1.3"])
    try:
        told = ask(load, server.port, "--connections", "1", "--reuse", "new", "--patience", "1", *options)
    finally:
        server.close()
        other.close()
    assert told["errors"]["not_secured"] > 0
    assert "certificate verify failed" in told["first_error"]
    assert told["responses"] == 0


def test_a_kept_connection_that_is_closed_in_between_is_an_error(load: Path, tmp_path: Path) -> None:
    server = Tls(tmp_path, "1.3", closes=5)
    options = ("--tls", "openssl", "--ca", str(server.ca), "--tls-version", "1.3", "--suite", SUITES["1.3"])
    try:
        told = ask(load, server.port, "--connections", "2", "--reuse", "kept", *options)
    finally:
        server.close()
    assert told["errors"]["closed"] > 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--reuse", "often"), "--reuse often"),
        (("--reuse", "resumed"), "needs --tls"),
        (("--connections", "0"), "--connections 0"),
        (("--rate", "-1"), "--rate -1"),
        (("--address", "localhost"), "address localhost"),
        (("--tls", "openssl"), "--ca"),
        (("--tls", "nss", "--ca", "x", "--tls-version", "1.3", "--suite", "x"), "--tls needs openssl"),
        (("--tls", "gnutls", "--ca", "/none", "--tls-version", "1.3", "--suite", BY_GNUTLS), "--tls-version 1.2, not"),
        (("--tls", "gnutls", "--ca", "/none", "--tls-version", "1.2", "--suite", BY_GNUTLS), "certificate /none"),
        (
            ("--tls", "gnutls", "--ca", "/none", "--tls-version", "1.2", "--suite", "NONE:+X"),
            'cipher suite NONE:+X at "+X"',
        ),
        (("--tls", "openssl", "--ca", "/none", "--tls-version", "1.3", "--suite", SUITES["1.3"]), "certificate /none"),
        (("--tls", "openssl", "--ca", "/none", "--tls-version", "1.3", "--suite", "NONE"), "cipher suite NONE"),
        (("--tls", "gnutls", "--ca", "x", "--tls-version", "1.2", "--suite", "x", "--group", "X25519"), "no --group"),
    ],
)
def test_refusals(load: Path, options: tuple[str, ...], said: str) -> None:
    usual = ["--address", "127.0.0.1", "--port", "1", "--path", "/", "--size", "1", "--connections", "1"]
    argv = [str(load), *usual, "--reuse", "kept", "--seconds", "1", *options]
    done = subprocess.run(argv, capture_output=True, check=False, timeout=DEADLINE, text=True)
    assert done.returncode == 2
    assert said in done.stderr


@pytest.fixture(scope="module")
def buckets(tmp_path_factory: pytest.TempPathFactory) -> subprocess.Popen[str]:
    """The generator's own function, asked over its standard streams."""
    folder = tmp_path_factory.mktemp("buckets")
    main = folder / "main.c"
    main.write_text(
        '#include "load.h"\n#include <stdio.h>\nvoid json_open(struct json *j, const char *k) { (void)j; (void)k; }\n'
        "void json_close(struct json *j) { (void)j; }\n"
        "void json_u64(struct json *j, const char *k, uint64_t v) { (void)j; (void)k; (void)v; }\n"
        'int main(void) { unsigned long long ns; while (scanf("%llu", &ns) == 1) {'
        ' printf("%u\\n", latency_bucket(ns)); fflush(stdout); } return 0; }\n'
    )
    where = [f"-I{ONHOST / 'load'}", f"-I{ONHOST / 'datapath'}"]
    argv = ["cc", "-std=gnu11", *where, "-o", str(folder / "main"), str(main), str(ONHOST / "load" / "latency.c")]
    subprocess.run(argv, check=True, timeout=60)
    return subprocess.Popen([str(folder / "main")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@given(ns=st.one_of(st.integers(0, 2**40 - 1), st.integers(0, 200), st.sampled_from([2**n for n in range(40)])))
def test_a_bucket_holds_what_the_generator_puts_there(buckets: subprocess.Popen[str], ns: int) -> None:
    assert buckets.stdin is not None
    assert buckets.stdout is not None
    print(ns, file=buckets.stdin, flush=True)
    bucket = int(buckets.stdout.readline())
    low, high = latency.lowest_ns(bucket), latency.lowest_ns(bucket + 1)
    assert low <= ns < high
    assert high - low <= max(1, ns / 64 + 1)
