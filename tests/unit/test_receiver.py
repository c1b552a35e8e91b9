"""The receiver: libcurl fills memory by itself, what it tells is true, and what is too much or too little is seen."""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import resource
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hosts.onhost.agent import cipher_suites, curl, fetch, room
from hosts.onhost.agent.room import Room
from hosts.onhost.agent.small import Batch
from hosts.onhost.agent.values import Tls

PAYLOAD = bytes(range(256)) * 4000
SECONDS = 10.0


@contextmanager
def server(body: bytes, status: str = "200 OK", claimed: int | None = None, requests: int = 1) -> Iterator[str]:
    """Answers requests on one connection each, then closes; ``claimed``: the length that it says."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            for _ in range(requests):
                taken, _ = listening.accept()
                with taken:
                    taken.recv(4096)
                    length = len(body) if claimed is None else claimed
                    head = f"HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
                    try:
                        taken.sendall(head.encode() + body)
                    except ConnectionError:
                        pass  # the receiver had enough

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/x"
        thread.join(SECONDS)
        assert not thread.is_alive()


@pytest.fixture(autouse=True)
def libcurl() -> None:
    try:
        curl.library()
    except curl.CurlError as error:
        pytest.skip(f"no libcurl here: {error}")


# memory that C fills


def write(into: Room, data: bytes) -> int:
    """What libcurl does with a piece."""
    return int(into._libc.fwrite(data, 1, len(data), into.stream))


def test_what_is_written_lies_in_the_memory_from_its_start() -> None:
    with Room(bytearray(b"." * 10)) as into:
        assert (write(into, b"abc"), write(into, b"def")) == (3, 3)
        assert (into.filled, into.overrun, bytes(into.memory)) == (6, False, b"abcdef....")
        into.empty()
        assert (into.filled, write(into, b"XY")) == (0, 2)
        assert (into.filled, bytes(into.memory)) == (2, b"XYcdef....")


@pytest.mark.parametrize("size", [1, 16, 4096, 1 << 20])
def test_what_does_not_fit_is_refused_and_does_no_harm(size: int) -> None:
    with Room(bytearray(size)) as into:
        assert write(into, b"x" * size) == size
        assert (into.filled, into.overrun) == (size, False)
        assert write(into, b"y") < 1
        assert (into.filled, into.overrun, bytes(into.memory)) == (size, True, b"x" * size)
        into.empty()
        assert (into.filled, into.overrun) == (0, False)
        assert write(into, b"z" * (size + 100)) < size + 100
        assert into.overrun
        into.empty()
        assert write(into, b"a") == 1, "an error of before is over"
        assert (into.filled, into.overrun) == (1, False)
        assert into.memory[:1] == b"a"


def test_a_file_s_pages_are_there_before_anything_is_written(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with room.in_file(path, 10_000) as into:
        assert path.stat().st_blocks * 512 >= 10_000
        assert write(into, b"abc") == 3
        assert path.read_bytes()[:4] == b"abc\0", "what is mapped is the file"
    path.write_bytes(b"x" * 20_000)
    with room.in_file(path, 5_000):
        assert path.stat().st_size == 20_000, "it is never cut"
    link = tmp_path / "link"
    link.symlink_to(path)
    with pytest.raises(OSError, match="Too many levels"):
        room.in_file(link, 10)


@pytest.mark.parametrize("advice", [room.POPULATE_WRITE, 9999])
def test_writing_to_it_takes_no_page_faults_any_more(advice: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """They would be measured. A kernel that knows not the advice has them before."""
    monkeypatch.setattr(room, "POPULATE_WRITE", advice)
    path, pages = Path(f"/dev/shm/pathproof-test-room-{os.getpid()}"), 2000
    try:
        with room.in_file(path, pages * mmap.PAGESIZE) as into:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            into.spoil()
            assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < pages / 10
    finally:
        path.unlink(missing_ok=True)


def test_a_file_that_there_is_no_memory_for_is_an_error_and_no_signal() -> None:
    path = Path("/dev/shm/pathproof-test-room")
    try:
        with pytest.raises(OSError) as caught:
            room.in_file(path, 1 << 60)
        assert caught.value.errno in (errno.ENOSPC, errno.EFBIG)
    finally:
        path.unlink(missing_ok=True)


# transfers


@pytest.fixture
def receiver(tmp_path: Path) -> fetch.Receiver:
    return fetch.Receiver(tmp_path)


def test_a_payload_lies_in_its_file_and_what_is_told_of_it_is_true(receiver: fetch.Receiver, tmp_path: Path) -> None:
    for body in (PAYLOAD, PAYLOAD[:-7], b""):
        with server(body) as url:
            got = receiver.fetch(url, "out", len(PAYLOAD), SECONDS)
        assert (got.error, got.received_bytes, got.handshake_seconds) == (None, len(body), None)
        assert 0 < got.seconds < SECONDS
        assert fetch.digest(tmp_path / "out", len(body)) == hashlib.sha256(body).hexdigest()


def test_room_is_made_once_and_only_for_what_is_asked_for(receiver: fetch.Receiver, tmp_path: Path) -> None:
    receiver.make_room(["a", "b"], 1000)
    first = dict(receiver._rooms)
    receiver.make_room(["b"], 500)
    assert receiver._rooms == {"b": first["b"]}
    with server(b"hello") as url:
        assert receiver.fetch(url, "b", 5, SECONDS).error is None
    assert receiver._rooms == {"b": first["b"]}
    with server(b"hello") as url:
        assert receiver.fetch(url, "c", 50_000, SECONDS).error is None
    assert receiver._rooms["b"] is first["b"], "another file's need is not its own"
    receiver.make_room(["b"], 100_000)
    assert receiver._rooms["b"].size > 100_000
    assert (tmp_path / "b").read_bytes()[:1000] != b"hello" * 200


def test_more_than_a_payload_ends_the_transfer(receiver: fetch.Receiver) -> None:
    with server(PAYLOAD) as url:
        got = receiver.fetch(url, "out", 1000, SECONDS)
    assert got.error == f"payload: more than {1000 + fetch.SPARE} bytes came"
    with server(b"short", claimed=50) as url:
        assert str(receiver.fetch(url, "out", 1000, SECONDS).error).startswith("libcurl 18: ")
    with server(b"nothing", "404 Not Found") as url:
        assert str(receiver.fetch(url, "out", 1000, SECONDS).error).startswith("libcurl 22: ")
    got = receiver.fetch(url, "out", 1000, SECONDS)
    assert str(got.error).startswith("libcurl 7: "), "nobody listens there any more"


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        (b"right", None),
        (b"wrong", "payload: its SHA-256 is not the one of the source"),
        (b"righ", "payload: 4 bytes, not 5"),
        (b"right!", "payload: 6 bytes, not 5"),
        (b"right!?", "payload: more than 5 bytes"),
    ],
)
def test_each_body_of_a_batch_is_checked(body: bytes, wrong: str | None) -> None:
    batch = Batch("", 5, hashlib.sha256(b"right").hexdigest(), None, "new")
    with server(body, requests=3 if wrong is None else 1) as url:
        batch._handle.set(curl.URL, url)
        got = batch.run(3, SECONDS)
    batch.close()
    assert got.error == (f"request 1: {wrong}" if wrong else None)
    assert got.sha256_ok == (wrong is None)
    assert got.connections == (1 if wrong else 3) or wrong == "payload: more than 5 bytes"


# TLS

GCM = ("ECDHE-RSA-AES128-GCM-SHA256", "TLS_AES_128_GCM_SHA256")


@pytest.mark.parametrize(("version", "name"), list(zip(("1.2", "1.3"), GCM, strict=True)))
def test_openssl_counts_one_cipher_suite_where_one_is_chosen(version: str, name: str) -> None:
    library = curl.Library("libcurl.so.4")
    if not curl.chooses_cipher_suites(library.version) or library.gnutls:
        pytest.skip(f"not OpenSSL: {library.version}")
    tls = Tls("/ca", version, "NORMAL", name)  # type: ignore[arg-type]
    assert cipher_suites._by_openssl(tls) == [name]
    with pytest.raises(ValueError, match="no cipher suite NONE-SUCH"):
        cipher_suites._by_openssl(Tls("/ca", "1.2", "NORMAL", "NONE-SUCH"))


@pytest.mark.parametrize(
    ("version", "chooses"),
    [
        ("libcurl/8.13.0 GnuTLS/3.8.9 zlib/1.3", True),
        ("libcurl/8.12.1 GnuTLS/3.8.9 zlib/1.3", False),
        ("libcurl/7.88.1 GnuTLS/3.7.9", False),
        ("libcurl/7.61.1 OpenSSL/1.1.1k zlib/1.2.11", True),
        ("libcurl/8.5.0 mbedTLS/3.6", False),
    ],
)
def test_which_libcurl_can_be_told_what_to_offer(version: str, chooses: bool) -> None:
    assert curl.chooses_cipher_suites(version) == chooses


def test_the_facts_program_says_what_the_agent_would_receive_with(capsys: pytest.CaptureFixture[str]) -> None:
    assert curl.tell() == 0
    assert capsys.readouterr().out.strip() == curl.library().version
