"""Ways of receiving on the lab: each is measured by its own witness, and a lie of any of them is never a number."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.api.bench import Bench, load
from harness.api.path import Deployed
from harness.events import Event, Note
from harness.measuring.opened import OpenTestbed
from harness.run import foreseen
from harness.servers import datapath, deciphering, receiver
from hosts.lab import uml
from hosts.onhost.agent.values import ModuleChange
from hosts.programs import in_image
from tests.support.runs import PATHS, Sabotage, by_path, counting, profile_of, reconfigured, run, samples_of, suite

pytestmark = pytest.mark.usefixtures("esp_modules")
WAYS = {"user": 0, "ktls-rx": 1, "ktls-rx-splice": 1, "esp-rx": 0, "esp-rx-splice": 0}
"""Connections that the receiver's kernel TLS takes over, of one."""
SIZE = 10**6
BOTH = [("1.3", "chacha20poly1305", "https"), ("1.2", "aes256gcm", "ktls")]
"""AES-128-GCM is what the lies below are told about."""


@pytest.fixture(scope="module", autouse=True)
def compiled(opened: OpenTestbed, lab_parts: uml.UmlParts) -> Iterator[None]:
    """The client, once, by the image's compiler as in a run; what tells prices, as for the sender."""
    content = in_image(lab_parts.image_path, receiver.program())
    opened.shared[receiver.NAME] = opened.receiver.put(content, receiver.NAME, 0o700)
    prices = in_image(lab_parts.image_path, datapath.program())
    opened.shared[deciphering.THERE] = opened.receiver.put(prices, deciphering.THERE, 0o700)
    yield


def receiving(*ways: str, cipher: str = "aes128gcm", tls: str = "1.3", sent_by: str = "https", **more: Any) -> Any:
    return suite(*ways, cipher=cipher, tls=tls, question="receive", sent_by=sent_by, **more)


@pytest.mark.parametrize(("version", "cipher", "sender"), BOTH)
def test_every_way_receives_and_says_how(
    opened: OpenTestbed, tmp_path: Path, version: str, cipher: str, sender: str
) -> None:
    wanted = profile_of(receiving(*WAYS, cipher=cipher, tls=version, sent_by=sender))
    planned = foreseen.plan([wanted], PATHS, opened)
    loads = [name for one in planned.receiver if isinstance(one.change, ModuleChange) for name in one.change.names]
    assert not planned.failing
    assert "tls" in loads, "a check tells what the receiver would load"
    done = run(opened, wanted, tmp_path)
    for way, cell in by_path(done).items():
        assert cell.outcome == "measured", (way, cell.reason)
        samples = samples_of(done, way)
        assert counting(samples) == 2
        for sample in samples:
            said = sample.witness
            assert sample.valid and sample.sha256_ok
            assert said["kernel_tls_received"] == WAYS[way]
            assert said["decrypt_errors"] == 0
            assert said["sent_by"] == ("ipsec" if way.startswith("esp") else sender)
            crossed = int(said["receiver_crossing_bytes"] or 0)
            if way.endswith("splice"):
                assert crossed < receiver.HEADS_BYTES, "nothing of the file but what a look at the head may hold"
            else:
                assert crossed >= 2 * SIZE
            assert (sample.handshake_seconds is None) == way.startswith("esp")
    assert done.head.suites[0].sent_by == sender
    metrics = {verdict.metric for verdict in done.head.verdicts}
    assert metrics == {"seconds", "receiver_cpu_seconds_per_gb"}
    assert {verdict.baseline for verdict in done.head.verdicts} == {f"small/user/{cipher}/any/1MB"}


def test_each_way_is_predicted_from_prices_of_the_receiver(metered: OpenTestbed, tmp_path: Path) -> None:
    notes: list[Note] = []

    def listen(event: Event) -> None:
        if isinstance(event, Note):
            notes.append(event)

    done = run(metered, profile_of(receiving(*WAYS)), tmp_path, explain=True, listener=listen)
    (entry,) = done.head.suites
    assert not notes, "what could not be priced or rehearsed"
    assert {row.path for row in entry.crossings} == set(WAYS)
    prices = entry.prices
    assert 0 < prices["receiver_openssl_byte_ns"] < prices["receiver_cipher_byte_ns"], "the kernel has generic C only"
    ratio = prices["receiver_cipher_byte_ns"] / prices["esp_byte_ns"]
    assert 1 / 6 < ratio < 6, "both hosts are alike, and what else this machine does slows now one and now the other"
    assert prices.keys() >= {"receiver_copy_byte_ns", "receiver_openssl_call_ns"}
    assert {row.path for row in entry.rehearsals} == set(WAYS)
    predicted = {row.candidate.split("/")[1]: row.ceiling for row in done.head.verdicts if row.metric == "seconds"}
    assert predicted.keys() == WAYS.keys() - {"user"}
    assert all(predicted.values())


# lies


def _saying(way: str, does: str, **words: str) -> Sabotage:
    """A client in whose place another stands, which tells what is due: it does one thing and says another."""

    def act(bench: Bench, deployed: dict[str, Deployed]) -> None:
        load(bench.receiver, bench.on_receiver, "tls")
        right = deployed[way]
        by = right.client[2]
        other = (*right.client[:2], does, *right.client[3:])
        more = "".join(f',"{name}":"{value}"' for name, value in words.items())
        edit = f's/"way":"{does}"/"way":"{by}"{more}/; s/"library_bytes":[0-9]*/"library_bytes":0/'
        deployed[way] = replace(right, client=("sh", "-c", '"$@" | sed -u "$0"', edit, *other))

    return act


KERNEL = {"kernel_version": "1.3", "kernel_cipher": "TLS_CIPHER_AES_GCM_128"}


def _flip_byte(bench: Bench, _deployed: dict[str, Deployed]) -> None:
    script = f"printf X | dd of={bench.payload_directory}/{SIZE}.bin bs=1 seek=777777 conv=notrunc"
    bench.sender.check(["sh", "-c", script])


PROXY = """
import socket, sys, threading
here, port, to = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

def back(client, server):
    while data := client.recv(65536):
        server.sendall(data)
    server.shutdown(socket.SHUT_WR)

def one(client):
    server = socket.create_connection((here, to))
    threading.Thread(target=back, args=(client, server), daemon=True).start()
    passed = 0
    while data := bytearray(server.recv(65536)):
        if passed <= 400_000 < passed + len(data):
            data[400_000 - passed] ^= 1
        passed += len(data)
        client.sendall(data)
    client.close()

listener = socket.create_server((here, port))
while True:
    threading.Thread(target=one, args=(listener.accept()[0],), daemon=True).start()
"""
KEY_UPDATE = """
import ctypes, re, socket, sys
here, port, size, place = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
conf = open(place + "/https/nginx.conf").read()
ssl = ctypes.CDLL("libssl.so.3")
for name in ("TLS_server_method", "SSL_CTX_new", "SSL_new"):
    getattr(ssl, name).restype = ctypes.c_void_p
pointer = ctypes.c_void_p
context = pointer(ssl.SSL_CTX_new(pointer(ssl.TLS_server_method())))
for name, key in (("certificate", "ssl_certificate"), ("PrivateKey", "ssl_certificate_key")):
    path = re.search(key + " (.*);", conf)[1].encode()
    assert getattr(ssl, f"SSL_CTX_use_{name}_file")(context, path, 1) == 1
listener = socket.create_server((here, port))
while True:
    connection = listener.accept()[0]
    secured = pointer(ssl.SSL_new(context))
    ssl.SSL_set_fd(secured, connection.fileno())
    if ssl.SSL_accept(secured) == 1:
        head = b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % size
        ssl.SSL_write(secured, head + b"x" * 1000, len(head) + 1000)
        ssl.SSL_key_update(secured, 0)
        for _ in range(size // 1000 - 1):
            if ssl.SSL_write(secured, b"x" * 1000, 1000) != 1000:
                break
    connection.close()
"""
PORT = 18119


def _instead(way: str, what: str, script: str, *arguments: str) -> Callable[[Bench, Deployed], Deployed]:
    """A way's deployment with a server of this script's between, or in place of its own."""

    def act(bench: Bench, right: Deployed) -> Deployed:
        at = right.client.index("--port") + 1
        path = bench.sender.put(script.encode(), f"{bench.folder}/{what}.py")
        words = [word.format(port=right.client[at], place=f"{bench.directory}-{way}") for word in arguments]
        argv = ["python3", path, str(bench.address), str(PORT), *words]
        bench.on_sender.serve(what, argv, str(bench.address), PORT, f"{bench.folder}/{what}")
        return replace(right, client=(*right.client[:at], str(PORT), *right.client[at + 1 :]))

    return act


def _flipped_on_the_way(way: str) -> Sabotage:
    """One bit of one record changes between both ends, behind TLS's back."""

    def act(bench: Bench, deployed: dict[str, Deployed]) -> None:
        deployed[way] = _instead(way, "flips", PROXY, "{port}")(bench, deployed[way])

    return act


def _key_update(way: str) -> Sabotage:
    """Another server answers, which changes its keys in the middle."""

    def act(bench: Bench, deployed: dict[str, Deployed]) -> None:
        deployed[way] = _instead(way, "changes", KEY_UPDATE, str(SIZE), "{place}")(bench, deployed[way])

    return act


MASKED = "/etc/modprobe.d/pathproof-test.conf"


def _no_module(bench: Bench, _deployed: dict[str, Deployed]) -> None:
    """The module goes, and the kernel cannot load it again."""
    bench.receiver.check(["sh", "-c", f"echo install tls /bin/false >{MASKED}; rmmod tls"])


def became(opened: OpenTestbed, tmp_path: Path, way: str, act: Sabotage) -> tuple[str, str]:
    """What became of the only cell of a way beside a right one, and why."""
    other = "esp-rx" if way == "user" else "user"
    done = run(opened, profile_of(receiving(other, way)), tmp_path, act)
    found = by_path(done)[way]
    return found.outcome, str(found.reason)


OTHER_SUITE = "s/TLS_AES_128_GCM_SHA256/TLS_AES_256_GCM_SHA384/"


@pytest.mark.parametrize(
    ("way", "act", "outcome", "due"),
    [
        ("ktls-rx", _saying("ktls-rx", "library", **KERNEL), "invalid", "took over receiving of 0 connections, not 1"),
        ("ktls-rx-splice", _saying("ktls-rx-splice", "recv"), "invalid", "crossed on the receiver, where heads need"),
        ("user", _saying("user", "recv"), "invalid", "took over receiving of 1 connections, not of none"),
        ("ktls-rx", _flipped_on_the_way("ktls-rx"), "failed", "a record does not decipher"),
        ("ktls-rx-splice", _flipped_on_the_way("ktls-rx-splice"), "failed", "a record does not decipher"),
        ("user", _flipped_on_the_way("user"), "failed", "the library's read: "),
        ("ktls-rx-splice", _key_update("ktls-rx-splice"), "failed", "changed its keys in mid-transfer (KeyUpdate)"),
        ("ktls-rx", _key_update("ktls-rx"), "failed", "changed its keys in mid-transfer (KeyUpdate)"),
        ("ktls-rx", reconfigured("../small-ktls-rx/https", OTHER_SUITE), "failed", "handshake: "),
    ],
)
def test_a_lie_is_never_a_number(
    opened: OpenTestbed,
    tmp_path: Path,
    way: str,
    act: Callable[[Bench, dict[str, Deployed]], None],
    outcome: str,
    due: str,
) -> None:
    found, reason = became(opened, tmp_path, way, act)
    assert found == outcome, reason
    assert due in reason


def test_a_flipped_byte_of_the_file_is_found_by_its_digest(opened: OpenTestbed, tmp_path: Path) -> None:
    try:
        outcome, reason = became(opened, tmp_path, "ktls-rx-splice", _flip_byte)
    finally:
        opened.sender.agent.make_payload(f"payloads/{SIZE}.bin", SIZE, profile_of(receiving("user")).seed + SIZE)
    assert (outcome, "SHA-256" in reason) == ("invalid", True), reason


def test_a_kernel_that_takes_no_keys_is_not_helped_by_the_library(opened: OpenTestbed, tmp_path: Path) -> None:
    try:
        outcome, reason = became(opened, tmp_path, "ktls-rx", _no_module)
    finally:
        opened.receiver.run(["rm", "-f", MASKED])
    assert outcome == "failed", reason
    assert "the kernel does not decipher this connection" in reason
