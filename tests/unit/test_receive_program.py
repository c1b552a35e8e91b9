"""The client that receives (hosts/onhost/receiver) on this machine over the loopback interface: every way that needs no
kernel TLS, its counts, and what it ends at. Kernel TLS is tried in the lab."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from hosts import certificate
from tests.unit.conftest import BUILDS

DEADLINE = 60.0
SUITES = {"1.2": "ECDHE-RSA-AES128-GCM-SHA256", "1.3": "TLS_AES_128_GCM_SHA256"}
BODY = bytes(range(256)) * 5000
HEAD = b"HTTP/1.1 200 OK\r\nServer: a test\r\nContent-Length: %d\r\n\r\n"
Json = dict[str, Any]
Answer = Callable[[socket.socket], None]


@pytest.fixture(scope="module", params=BUILDS)
def program(request: pytest.FixtureRequest, compiled: Callable[[str, str], Path]) -> Path:
    """Compiled as it is deployed, with warnings as errors."""
    return compiled("receive", request.param)


class Server:
    """Of one connection after the other, each answered by ``answer``, with TLS where a version is named."""

    def __init__(self, folder: Path, answer: Answer, version: str | None = None) -> None:
        self.answer, self.context = answer, None
        self.ca = folder / "certificate.pem"
        if version:
            text, secret = certificate.pair(ip_address("127.0.0.1"))
            self.ca.write_bytes(text)
            (folder / "key.pem").write_bytes(secret)
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(self.ca, folder / "key.pem")
            wanted = ssl.TLSVersion.TLSv1_3 if version == "1.3" else ssl.TLSVersion.TLSv1_2
            self.context.minimum_version = self.context.maximum_version = wanted
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                connection.settimeout(DEADLINE)
                with contextlib.suppress(OSError), connection:
                    secured = self.context.wrap_socket(connection, server_side=True) if self.context else connection
                    with secured:
                        got = b""
                        while (piece := secured.recv(4096)) and not (got := got + piece).endswith(b"\r\n\r\n"):
                            pass
                        if piece:
                            self.answer(secured)

    def stop(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(DEADLINE)


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    with contextlib.ExitStack() as stack:

        def start(answer: Answer, version: str | None = None) -> Server:
            server = Server(tmp_path, answer, version)
            stack.callback(server.stop)
            return server

        yield start


def whole(connection: socket.socket) -> None:
    connection.sendall(HEAD % len(BODY) + BODY)


def slowly(connection: socket.socket) -> None:
    """A head in pieces, and a body of small ones."""
    head = HEAD % len(BODY)
    for piece in (head[:7], head[7:-3], head[-3:], *(BODY[n : n + 70_001] for n in range(0, len(BODY), 70_001))):
        connection.sendall(piece)


def argv(program: Path, way: str, server: Server, version: str | None = None) -> list[str]:
    words = [str(program), "--way", way, "--address", "127.0.0.1", "--port", str(server.port)]
    if version:
        words += ["--tls", "openssl", "--ca", str(server.ca), "--tls-version", version, "--suite", SUITES[version]]
    return words


def receive(command: list[str], out: Path, times: int = 1, size: int = len(BODY)) -> tuple[list[Json], str]:
    """What it told of so many transfers, and what it said on standard error."""
    out.write_bytes(bytes(size))
    asked = f"/file {size} {out}\n" * times
    done = subprocess.run(command, input=asked, capture_output=True, text=True, timeout=DEADLINE, check=False)
    first, *told = [json.loads(line) for line in done.stdout.splitlines()] or [{}]
    assert (first == {"event": "ready"}) or done.returncode
    assert (done.returncode == 0) == (not done.stderr), done.stderr
    return told, done.stderr


@pytest.mark.parametrize("answer", [whole, slowly])
@pytest.mark.parametrize(("way", "version"), [("recv", None), ("splice", None), ("library", "1.2"), ("library", "1.3")])
def test_files_come_whole_one_after_the_other(
    program: Path, serving: Any, tmp_path: Path, way: str, version: str | None, answer: Answer
) -> None:
    server, out = serving(answer, version), tmp_path / "out"
    told, _ = receive(argv(program, way, server, version), out, times=3)
    assert out.read_bytes() == BODY
    assert len(told) == 3
    for line in told:
        assert (line["event"], line["way"], line["bytes"]) == ("received", way, len(BODY))
        assert line["ns"] > line.get("handshake_ns", 0) >= 0
        assert "kernel_cipher" not in line
        if version:
            assert (line["version"], line["suite"]) == (f"TLSv{version}", SUITES[version])
            assert line["library_bytes"] > len(BODY)
        if way == "splice":
            assert line["crossing_bytes"] < 2048, "the head, and what one look holds beyond it"
        else:
            assert line["crossing_bytes"] >= 2 * len(BODY)


@pytest.mark.parametrize(("way", "version"), [("recv", None), ("splice", None), ("library", "1.3")])
def test_a_file_that_is_to_be_on_its_disk_is_synced_once(
    program: Path, serving: Any, tmp_path: Path, way: str, version: str | None
) -> None:
    server, out = serving(whole, version), tmp_path / "out"
    told, _ = receive([*argv(program, way, server, version), "--sync"], out, times=2)
    assert out.read_bytes() == BODY
    assert [line["calls"]["fsync"] for line in told] == [1, 1]
    usual, _ = receive(argv(program, way, server, version), out)
    assert "fsync" not in usual[0]["calls"]


@pytest.mark.parametrize(("way", "call"), [("recv", "recvmsg"), ("splice", "splice")])
def test_no_call_takes_more_than_it_may(program: Path, serving: Any, tmp_path: Path, way: str, call: str) -> None:
    out = tmp_path / "out"
    told, _ = receive([*argv(program, way, serving(whole)), "--at-most", "16384"], out)
    assert out.read_bytes() == BODY
    assert told[0]["calls"][call] >= len(BODY) / 16384


def by_packets(connection: socket.socket) -> None:
    """Little at a time, and its end is not told: the client closes the connection."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(HEAD % len(BODY))
    for n in range(0, len(BODY), 4000):
        connection.sendall(BODY[n : n + 4000])
        time.sleep(0.0005)
    assert connection.recv(1) == b""


@pytest.mark.parametrize("way", ["recv", "splice"])
def test_chunks_are_waited_for(program: Path, serving: Any, tmp_path: Path, way: str) -> None:
    """Woken for 64 KiB, not for each packet, and still not waiting for the connection's end."""
    server, out = serving(by_packets), tmp_path / "out"
    usual, _ = receive(argv(program, way, server), out)
    told, _ = receive([*argv(program, way, server), "--chunks"], out)
    assert out.read_bytes() == BODY
    assert told[0]["voluntary_switches"] < usual[0]["voluntary_switches"] / 2


@pytest.mark.parametrize("way", ["recv", "splice"])
def test_what_the_kernel_does_not_decipher_is_not_done_by_the_library(
    program: Path, serving: Any, tmp_path: Path, way: str
) -> None:
    """Whether this machine's kernel has TLS or not: what is told is what the socket says."""
    server = serving(whole, "1.2")
    told, said = receive(argv(program, way, server, "1.2"), tmp_path / "out")
    if told:
        assert told[0]["kernel_cipher"] == "TLS_CIPHER_AES_GCM_128"
        assert told[0]["library_bytes"] == 0
    else:
        assert "the kernel does not decipher this connection" in said


def _short(connection: socket.socket) -> None:
    connection.sendall(HEAD % len(BODY) + BODY[:-1])


def _long(connection: socket.socket) -> None:
    connection.sendall(HEAD % len(BODY) + BODY + b"more")


def _other_size(connection: socket.socket) -> None:
    connection.sendall(HEAD % (len(BODY) - 1) + BODY[:-1])


def _missing(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")


def _strange(connection: socket.socket) -> None:
    connection.sendall(b"SSH-2.0-no web server\r\n\r\n")


WRONG = [
    (_short, "the connection ended after"),
    (_other_size, f"status 200 with {len(BODY) - 1} bytes came, not 200 with {len(BODY)}"),
    (_missing, "status 404"),
    (_strange, "what came is no answer: SSH-2.0"),
]


@pytest.mark.parametrize(("answer", "due"), WRONG)
@pytest.mark.parametrize(("way", "version"), [("recv", None), ("splice", None), ("library", "1.3")])
def test_what_goes_wrong_ends_it_with_a_reason(
    program: Path, serving: Any, tmp_path: Path, way: str, version: str | None, answer: Answer, due: str
) -> None:
    told, said = receive(argv(program, way, serving(answer, version), version), tmp_path / "out")
    assert not told
    assert due in said or (answer is _short and "unexpected eof" in said), "the library's own words"


@pytest.mark.parametrize(("way", "version"), [("recv", None), ("library", "1.3")])
def test_the_end_is_where_the_length_says(
    program: Path, serving: Any, tmp_path: Path, way: str, version: str | None
) -> None:
    """What comes after it and is taken with it ends the transfer."""
    told, said = receive(argv(program, way, serving(_long, version), version), tmp_path / "out")
    assert (told and told[0]["bytes"] == len(BODY)) or "4 bytes came after the answer's end" in said


def test_a_certificate_of_another_is_refused(program: Path, serving: Any, tmp_path: Path) -> None:
    server = serving(whole, "1.3")
    text, _ = certificate.pair(ip_address("127.0.0.1"))
    server.ca.write_bytes(text)
    told, said = receive(argv(program, "library", server, "1.3"), tmp_path / "out")
    assert not told
    assert "handshake: " in said


@pytest.mark.parametrize(
    ("options", "due"),
    [
        (["--way", "library"], "needs --tls"),
        (["--way", "guess"], "wanted library, recv, splice or devcrypto"),
        (["--way", "devcrypto"], "needs --cipher"),
        (["--way", "recv", "--cipher", "cbc(aes)"], "--cipher goes with --key"),
        (["--way", "recv", "--cipher", "cbc(aes)", "--key", "/nowhere"], "/nowhere: No such file"),
        (["--way", "recv", "--cipher", "cbc(aes)", "--key", "/proc/version"], "wanted a key and an IV in hex"),
        (["--way", "recv", "--tls", "openssl"], "--tls needs"),
        (["--way", "recv", "--at-most", "0"], "wanted 1 to 262144 bytes"),
        (["--way", "splice", "--at-most", "16k"], "wanted 1 to 262144 bytes"),
        (["--way", "recv", "--chunks", "--cipher", "cbc(aes)", "--key", "/nowhere"], "--chunks is for"),
        (["--way", "devcrypto", "--at-most", "1"], "--at-most is for --way recv and splice"),
        ([], "an option is missing"),
    ],
)
def test_mistakes_on_its_command_line_are_told(program: Path, options: list[str], due: str) -> None:
    command = [str(program), "--address", "127.0.0.1", "--port", "1", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert done.returncode == 2
    assert due in done.stderr
