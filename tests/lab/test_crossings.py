"""Crossings on the lab, against what can be counted by hand from the size of the file and of the buffer."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.api.bench import Bench
from harness.api.path import Deployed
from harness.measuring import crossings
from harness.measuring.opened import OpenTestbed
from harness.record import Crossing, Run
from tests.support.lab import shell
from tests.support.runs import (
    MB,
    PATHS,
    WITHOUT_KTLS,
    by_path,
    profile_of,
    reconfigured,
    run,
    samples_of,
    suite,
)

BLOCK = 8
PADDED = MB + BLOCK
"""1 MB of 3DES: whole blocks already, so PKCS#7 adds one."""
HEADS = 4096
"""What an answer's head, a log line, a certificate and handshake messages may take, in bytes; generously."""


def counted(done: Run, path: str) -> dict[int | None, Crossing]:
    """A path's crossings by its buffer."""
    found = {one.buffer_bytes: one for entry in done.head.suites for one in entry.crossings if one.path == path}
    assert all(one.size_bytes == MB for one in found.values())
    return found


def test_the_traditional_scheme_and_splice_by_chunk_arithmetic(opened: OpenTestbed, tmp_path: Path) -> None:
    """Figure 2: every byte crosses four times, and by AF_ALG is copied three times; calls by chunks. On mapped pages it
    crosses twice, and splice brings nothing across."""
    paths = ("devcrypto-copy", "devcrypto-mapped", "afalg-copy", "afalg-splice", "plain")
    done = run(opened, profile_of(suite(*paths, cipher="3des")), tmp_path, explain=True)
    assert {cell.outcome for cell in done.head.cells} == {"measured"}
    traditional, splice = counted(done, "afalg-copy"), counted(done, "afalg-splice")
    assert set(traditional) == set(splice) == {4096, 16384, 65536}
    for chunk, one in traditional.items():
        assert chunk
        assert one.source == "server"
        # in once as it is (read), then padded: into AF_ALG, out of it, into TCP; all but AF_ALG's recv are copies
        assert one.crossing_bytes == MB + 3 * PADDED
        assert one.copied_bytes == MB + 2 * PADDED
        chunks = math.ceil(PADDED / chunk)
        assert {one.calls[name] for name in ("read", "sendmsg", "recv", "send")} == {chunks}
        assert set(one.calls) == {"read", "sendmsg", "recv", "send", "accept", "close"}
    for path, crossing in (("devcrypto-copy", MB + 3 * PADDED), ("devcrypto-mapped", MB + PADDED)):
        found = counted(done, path)
        assert set(found) == set(traditional)
        for chunk, one in found.items():
            assert chunk
            assert one.crossing_bytes == one.copied_bytes == crossing
            chunks = math.ceil(PADDED / chunk)
            ends = 3  # of the session: it begins, tells what it did, ends
            assert one.calls == {"read": chunks, "ioctl": chunks + ends, "send": chunks}
    for chunk, one in splice.items():
        assert chunk
        assert one.crossing_bytes == BLOCK, "the padding alone comes from user space"
        assert one.calls["sendfile"] == MB // chunk, "each whole chunk of the file; the rest goes with the padding"
        assert one.calls["splice"] >= 2 * math.ceil(PADDED / chunk), "out of AF_ALG into a pipe, and out of that"
    assert {one.crossing_bytes for one in counted(done, "plain").values()} == {0}


def test_so_crypt_brings_nothing_across_and_with_read_and_send_two(opened: OpenTestbed, tmp_path: Path) -> None:
    done = run(opened, profile_of(suite("so-crypt", "so-crypt-send", cipher="3des")), tmp_path, explain=True)
    assert {cell.outcome for cell in done.head.cells} == {"measured"}, [cell.reason for cell in done.head.cells]
    (sendfile,) = counted(done, "so-crypt").values()
    assert sendfile.crossing_bytes == BLOCK, "its padding"
    assert set(sendfile.calls) <= {"sendfile", "send", "setsockopt"}
    for chunk, one in counted(done, "so-crypt-send").items():
        assert chunk
        assert one.crossing_bytes == one.copied_bytes == MB + PADDED
        assert one.calls["read"] == math.ceil(MB / chunk)


def test_servers_seen_from_outside(opened: OpenTestbed, tmp_path: Path) -> None:
    """By strace: sendfile in clear and in kernel TLS; read and written once each where TLS is made in user space."""
    paths = ("http", "https", "ktls-write", "ktls")
    asked = suite(*paths, cipher="aes128gcm", tls="1.3", sizes={"1MB": {"blocks": 2}})
    done = run(opened, profile_of(asked), tmp_path, explain=True)
    assert {cell.outcome for cell in done.head.cells} == {"measured"}, [cell.reason for cell in done.head.cells]
    assert {cell.unproven for cell in done.head.cells} == {None}
    for path in ("http", "ktls"):
        for one in counted(done, path).values():
            assert one.source == "strace"
            assert one.calls["sendfile"] >= 1
            assert one.crossing_bytes < HEADS, "no byte of the payload"
            assert one.copied_bytes is None, "what nobody counted is not known"
    for path in ("https", "ktls-write"):
        found = counted(done, path)
        assert set(found) == {16384, 4096}, "the usual record, and a smaller one"
        for record, one in found.items():
            assert record
            assert "sendfile" not in one.calls
            assert 2 * MB <= one.crossing_bytes < 2.05 * MB + 2 * HEADS, "the file read in, records written out"
            writes = sum(one.calls.get(name, 0) for name in ("write", "writev", "sendto", "sendmsg"))
            assert writes >= MB / record
    usual, smaller = counted(done, "https")[16384], counted(done, "https")[4096]
    assert sum(smaller.calls.values()) > 2 * sum(usual.calls.values()), "a call for each record"
    assert smaller.crossing_bytes > usual.crossing_bytes, "and a head and a tag"


@pytest.mark.parametrize(
    ("path", "edit", "says"),
    [
        ("ktls", "s/sendfile on/sendfile off/", "ktls made no sendfile call"),
        ("http", "s/sendfile on/sendfile off/", "http made no sendfile call"),
    ],
)
def test_a_path_that_does_not_make_its_calls_is_invalid(
    opened: OpenTestbed, tmp_path: Path, path: str, edit: str, says: str
) -> None:
    """All samples went well by every witness; only looking at the calls tells that it was another path."""
    other = "https" if path == "http" else "http"
    asked = suite(other, path, cipher="aes128gcm")
    done = run(opened, profile_of(asked), tmp_path, reconfigured(path, edit), explain=True)
    cells = by_path(done)
    assert cells[path].outcome == "invalid", cells[path].reason
    assert says in (cells[path].reason or "")
    assert cells[other].outcome == "measured", cells[other].reason
    assert not done.head.verdicts
    assert not counted(done, path)


READS_HALF = """
import json, os, socket, sys
address, port, root = sys.argv[1:]
with socket.create_server((address, int(port))) as server:
    while True:
        connection, _ = server.accept()
        with connection:
            head = connection.recv(8192).decode()
            if not head:
                continue
            with open(root + head.split()[1], "rb", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                answer = f"HTTP/1.1 200 OK\\r\\nContent-Length: {size}\\r\\nConnection: close\\r\\n\\r\\n"
                connection.sendall(answer.encode() + file.read(size // 2))
                sent = size // 2
                while sent < size:
                    sent += os.sendfile(connection.fileno(), file.fileno(), sent, size - sent)
        print(json.dumps({"bytes": size, "suite": ""}), flush=True)
"""
"""A file server that makes sendfile calls and has half of each file in user space."""


def test_a_path_that_also_takes_the_payload_through_user_space_is_invalid(opened: OpenTestbed, tmp_path: Path) -> None:
    """It makes the calls that are due, and its log is right: it must not make the others."""

    def act(bench: Bench, deployed: dict[str, Deployed]) -> None:
        port, address = bench.port(), str(bench.address)
        argv = ["python3", "-c", READS_HALF, address, str(port), bench.payload_directory]
        served = bench.on_sender.serve("a server that reads", argv, address, port, f"{bench.folder}/reads")
        base = bench.base_url("http", port)
        deployed["http"] = replace(
            deployed["http"], url=lambda name: f"{base}/{name}", log=served.stdout, server=served.number
        )

    done = run(opened, profile_of(suite("plain", "http", cipher="3des")), tmp_path, act, explain=True)
    cells = by_path(done)
    assert cells["http"].outcome == "invalid", cells["http"].reason
    found = re.fullmatch(
        r"http took (\d+) bytes through user space, where heads, handshake and log need at most 16384",
        cells["http"].reason or "",
    )
    assert found
    assert MB <= int(found[1]) < MB + HEADS, "half of the file, in and out"
    assert all(sample.valid for sample in samples_of(done, "http")), "no timed sample can tell"
    assert cells["plain"].outcome == "measured", cells["plain"].reason
    assert not counted(done, "http")


def test_a_proof_that_could_not_be_had_is_told_in_the_cell_s_row(opened: OpenTestbed, tmp_path: Path) -> None:
    """Without strace on the sender nobody sees which calls nginx makes."""
    strace = shell(opened.sender.host, "command -v strace").strip()
    shell(opened.sender.host, f"mv {strace} {strace}.away")
    try:
        asked = suite("http", "ktls", "https", cipher="aes128gcm")
        done = run(opened, profile_of(asked), tmp_path, explain=True)
    finally:
        shell(opened.sender.host, f"mv {strace}.away {strace}")
    cells = by_path(done)
    assert {cell.outcome for cell in cells.values()} == {"measured"}, [cell.reason for cell in cells.values()]
    missing = "its sendfile calls were not seen: strace is not installed on this host"
    assert {path: cell.unproven for path, cell in cells.items()} == {"http": missing, "ktls": missing, "https": None}


def test_crossings_of_another_path_are_not_kept(opened: OpenTestbed, tmp_path: Path) -> None:
    """The witness is asked for the untimed transfer too."""
    caught: list[str] = []

    def act(bench: Bench, deployed: dict[str, Deployed]) -> None:
        WITHOUT_KTLS(bench, deployed)
        payload = opened.payload(MB, 2005)
        with pytest.raises(crossings.NotThisPath) as found:
            crossings.count(opened, deployed["ktls"], payload, "ktls", "aes128gcm")
        caught.append(found.value.what)

    run(opened, profile_of(suite("http", "ktls", cipher="aes128gcm")), tmp_path, act)
    assert caught == ["an untimed transfer over ktls: the kernel's TLS took over 0 connections, not 1"]


def test_buffers_to_choose_are_those_of_paths_that_have_one() -> None:
    chosen: dict[str, Any] = {name: path.buffers for name, path in PATHS.items() if path.buffers}
    assert set(chosen) == {
        *("https", "ktls-write", "afalg-copy", "afalg-splice", "so-crypt-send"),
        *("devcrypto-copy", "devcrypto-mapped"),
    }
