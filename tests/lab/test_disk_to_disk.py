"""Streams of cipher text received on the lab, from disk to disk: each way has its witness, and no lie is a number."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.api.bench import Bench
from harness.api.path import Deployed
from harness.measuring.opened import OpenTestbed
from harness.run import foreseen
from harness.servers import datapath, deciphering, receiver
from hosts import disks
from hosts.lab import uml
from hosts.onhost.agent.values import DirectoryChange, InsmodChange
from hosts.programs import in_image
from tests.support.runs import PATHS, Sabotage, by_path, counting, profile_of, run, samples_of, suite

WAYS = {"devcrypto-rx": 4, "so-crypt-rx": 2, "so-crypt-rx-splice": 0}
"""How often each byte crosses on the receiver."""
SENDERS = {"devcrypto-rx": "devcrypto-copy", "so-crypt-rx": "so-crypt-send", "so-crypt-rx-splice": "so-crypt"}
SIZE = 10**6
PORTS = dict(zip(WAYS, range(18117, 18120), strict=True))
"""For what a test puts between both ends of a way."""
SPLICE = "so-crypt-rx-splice"


@pytest.fixture(scope="module", autouse=True)
def compiled(opened: OpenTestbed, lab_parts: uml.UmlParts) -> Iterator[None]:
    """The client, once, by the image's compiler as in a run; what tells prices, as for the sender."""
    content = in_image(lab_parts.image_path, receiver.program())
    opened.shared[receiver.NAME] = opened.receiver.put(content, receiver.NAME, 0o700)
    prices = in_image(lab_parts.image_path, datapath.program())
    opened.shared[deciphering.THERE] = opened.receiver.put(prices, deciphering.THERE, 0o700)
    yield


def ends(*ways: str, cipher: str = "3des", **more: Any) -> Any:
    return suite(*ways, cipher=cipher, question="disk-to-disk", **more)


@pytest.mark.parametrize("cipher", ["3des", "aes128cbc", "null"])
def test_each_way_receives_what_its_counterpart_sends(opened: OpenTestbed, tmp_path: Path, cipher: str) -> None:
    wanted = profile_of(ends(*WAYS, cipher=cipher))
    planned = foreseen.plan([wanted], PATHS, opened)
    assert not planned.failing
    inserted = [one.change.path for one in planned.receiver if isinstance(one.change, InsmodChange)]
    assert {Path(path).stem for path in inserted} == {"so_crypt", "devcrypto"}, "a check tells what the receiver gets"
    done = run(opened, wanted, tmp_path)
    for way, cell in by_path(done).items():
        assert cell.outcome == "measured", (way, cell.reason)
        samples = samples_of(done, way)
        assert counting(samples) == 2
        for sample in samples:
            said = sample.witness
            assert sample.valid and sample.sha256_ok
            assert said["sent_by"] == SENDERS[way]
            assert said["driver"] == said["deciphered_driver"] == cell.receiver_driver, "both kernels are alike"
            crossed = int(said["receiver_crossing_bytes"] or 0)
            assert WAYS[way] * SIZE <= crossed < WAYS[way] * (SIZE + 16) + receiver.HEADS_BYTES
    metrics = {verdict.metric for verdict in done.head.verdicts}
    assert metrics == {"seconds", "receiver_cpu_seconds_per_gb"}
    crossing = {name: samples_of(done, name)[0].witness["crossing_bytes"] for name in WAYS}
    assert int(crossing["so-crypt-rx-splice"] or 0) <= 16, "nothing of it is in user space on either host: padding"


def test_one_sender_for_all(opened: OpenTestbed, tmp_path: Path) -> None:
    """What so_crypt enciphers /dev/crypto deciphers, and the other way round."""
    for sender in ("so-crypt", "devcrypto-copy", "afalg-copy"):
        wanted = suite(*WAYS, cipher="aes128cbc", question="receive", sent_by=sender, sizes={"1MB": {"blocks": 2}})
        done = run(opened, profile_of(wanted), tmp_path / sender)
        for way, cell in by_path(done).items():
            assert cell.outcome == "measured", (sender, way, cell.reason)


@pytest.mark.parametrize("cipher", ["3des", "null"])
def test_each_way_is_explained(opened: OpenTestbed, tmp_path: Path, cipher: str) -> None:
    """What crosses is counted on the receiver, and prices of its steps are measured there."""
    done = run(opened, profile_of(ends(*WAYS, cipher=cipher)), tmp_path, explain=True)
    (entry,) = done.head.suites
    counted = {row.path: row for row in entry.crossings}
    assert {row.source for row in entry.crossings} == {"client"}
    for way, times in WAYS.items():
        assert round(counted[way].crossing_bytes / counted[way].size_bytes) == times
    assert counted["devcrypto-rx"].calls["ioctl"] == SIZE // 65536 + 1
    assert entry.prices["receiver_devcrypto_copy_call_ns"] > 0
    assert 0 < entry.prices["receiver_copy_byte_ns"] < entry.prices["receiver_devcrypto_copy_byte_ns"]
    assert ("receiver_cipher_byte_ns" in entry.prices) == (cipher != "null"), "in place the null cipher does nothing"
    if cipher != "null":
        ratio = entry.prices["receiver_cipher_byte_ns"] / entry.prices["kernel_cipher_byte_ns"]
        assert 0.5 < ratio < 2, "3DES deciphers as it enciphers, and both hosts are alike"


# on a real file system


def cold(*ways: str, **more: Any) -> Any:
    return ends(*ways, files="disk", sizes={"1MB": {"blocks": 2}}, **more)


def test_files_come_from_a_cold_disk_to_a_disk(opened: OpenTestbed, tmp_path: Path) -> None:
    wanted = profile_of(cold(*WAYS))
    planned = foreseen.plan([wanted], PATHS, opened)
    assert not planned.failing
    made = [one.change.path for one in planned.receiver if isinstance(one.change, DirectoryChange)]
    assert f"{opened.receiver.host.disk}/{disks.FOLDER}" in made, "a check tells what is made on a disk"
    done = run(opened, wanted, tmp_path, explain=True)
    (entry,) = done.head.suites
    assert entry.files == "disk"
    assert not entry.prices, "what a disk takes has none"
    assert {row.path: row.calls["fsync"] for row in entry.crossings} == dict.fromkeys(WAYS, 1)
    for way, cell in by_path(done).items():
        assert cell.outcome == "measured", (way, cell.reason)
        for sample in samples_of(done, way):
            assert sample.valid and sample.sha256_ok
            assert sample.witness["source_resident_bytes"] == 0
            assert sample.witness["receiver_calls_fsync"] == 1
    for host, facts in ((opened.sender, opened.sender_facts), (opened.receiver, opened.receiver_facts)):
        assert facts.shown["disk"] == {"path": "/mnt/disk", "file_system": "hostfs"}
        assert host.check(["ls", "-A", "/mnt/disk"]) == "", "nothing stays there"


HOLDS = """
import mmap, socket, sys
with open(sys.argv[3], "rb") as file:
    memory = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    assert sum(memory[::4096]) >= 0
listener = socket.create_server((sys.argv[1], int(sys.argv[2])))
while True:
    listener.accept()[0].close()
"""


def _held(way: str) -> Sabotage:
    """Somebody holds the source in memory."""

    def act(bench: Bench, _deployed: dict[str, Deployed]) -> None:
        path = bench.sender.put(HOLDS.encode(), f"{bench.folder}/holds.py")
        argv = ["python3", path, str(bench.address), str(PORTS[way]), f"{bench.payload_directory}/{SIZE}.bin"]
        bench.on_sender.serve("holds", argv, str(bench.address), PORTS[way], f"{bench.folder}/holds")

    return act


def _unsynced(way: str) -> Sabotage:
    """A client that leaves the writing for later."""

    def act(_bench: Bench, deployed: dict[str, Deployed]) -> None:
        right = deployed[way]
        deployed[way] = replace(right, client=tuple(word for word in right.client if word != "--sync"))

    return act


@pytest.mark.parametrize(
    ("act", "due"),
    [
        (_held, "the source was not cold: 1003520 of its bytes stayed in the sender's memory"),
        (_unsynced, "the receiver's file was written to its disk 0 times within the transfer, not once"),
    ],
)
def test_what_was_not_cold_or_not_written_is_no_number(
    opened: OpenTestbed, tmp_path: Path, act: Callable[[str], Sabotage], due: str
) -> None:
    done = run(opened, profile_of(cold(SPLICE)), tmp_path, act(SPLICE))
    found = by_path(done)[SPLICE]
    assert (found.outcome, found.reason) == ("invalid", due)
    assert not any(sample.valid for sample in done.samples)


def test_hosts_without_a_disk_say_so(opened: OpenTestbed, tmp_path: Path) -> None:
    """Nothing named, nothing there, and memory that is called a disk."""
    spec = opened.sender.host
    for named, due in (
        (None, "has no disk that may be used"),
        (Path("/nowhere"), "has no directory /nowhere"),
        (Path("/dev/shm"), "has /dev/shm on tmpfs, which is memory"),
    ):
        opened.sender.host = spec.model_copy(update={"disk": named})
        try:
            lacking = disks.look(opened.sender).lacking
        finally:
            opened.sender.host = spec
        assert due in str(lacking)
        without = replace(opened, sender_facts=replace(opened.sender_facts, no_disk=lacking))
        done = run(without, profile_of(cold(SPLICE)), tmp_path / due[-5:])
        cell = by_path(done)[SPLICE]
        assert (cell.outcome, cell.reason) == ("unsupported", f"the sender {lacking}")


# lies


PROXY = """
import socket, sys, threading, time
here, port, to, at, what = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]

def back(client, server):
    while data := client.recv(65536):
        server.sendall(data)
    server.shutdown(socket.SHUT_WR)

def one(client):
    server = socket.create_connection((here, to))
    threading.Thread(target=back, args=(client, server), daemon=True).start()
    passed, body = 0, None
    while data := bytearray(server.recv(65536)):
        if body is None:
            body = passed + data.index(b"\\r\\n\\r\\n") + 4
        place = body + at - passed
        if 0 <= place < len(data):
            if what == "cut":
                client.sendall(data[:place])
                break
            data[place] ^= 1
        passed += len(data)
        for n in range(0, len(data), 4000):
            client.sendall(data[n : n + 4000])
            time.sleep(0.0005 if what == "dribble" else 0)
    client.shutdown(socket.SHUT_RDWR)

listener = socket.create_server((here, port))
while True:
    threading.Thread(target=one, args=(listener.accept()[0],), daemon=True).start()
"""


def _between(way: str, at: int, what: str) -> Sabotage:
    """Somebody between both ends changes a bit of the body, cuts it, or lets little through at a time."""

    def act(bench: Bench, deployed: dict[str, Deployed]) -> None:
        right = deployed[way]
        port, mine = right.client.index("--port") + 1, PORTS[way]
        path = bench.sender.put(PROXY.encode(), f"{bench.folder}/proxy.py")
        argv = ["python3", path, str(bench.address), str(mine), right.client[port], str(at), what]
        bench.on_sender.serve(f"proxy of {way}", argv, str(bench.address), mine, f"{bench.folder}/proxy-{way}")
        deployed[way] = replace(right, client=(*right.client[:port], str(mine), *right.client[port + 1 :]))

    return act


def _wrong_key(way: str) -> Sabotage:
    def act(bench: Bench, deployed: dict[str, Deployed]) -> None:
        right = deployed[way]
        other = bench.receiver.put(b"%s\n%s\n" % (b"a7" * 24, b"00" * 8), "other.key")
        deployed[way] = replace(right, client=(*right.client[:-1], other))

    return act


def _saying(way: str, edit: str, *does: str) -> Sabotage:
    """A client in whose place another stands, which tells something else than it does."""

    def act(bench: Bench, deployed: dict[str, Deployed]) -> None:
        right = deployed[way]
        other = (*right.client[:2], *(does or right.client[2:3]), *right.client[3:])
        deployed[way] = replace(right, client=("sh", "-c", '"$@" | sed -u "$0"', edit, *other))

    return act


def _not_loaded(_way: str) -> Sabotage:
    def act(bench: Bench, _deployed: dict[str, Deployed]) -> None:
        bench.receiver.check(["rmmod", "so_crypt"])

    return act


@pytest.mark.parametrize("way", WAYS)
def test_no_way_is_woken_for_every_packet(opened: OpenTestbed, tmp_path: Path, way: str) -> None:
    wanted = profile_of(ends(way, sizes={"1MB": {"blocks": 2}}))
    done = run(opened, wanted, tmp_path, _between(way, SIZE * 2, "dribble"))
    woken = [int(sample.witness["receiver_voluntary_switches"] or 0) for sample in samples_of(done, way)]
    assert woken and min(woken) > 0, woken
    assert min(woken) < SIZE / 4000 / 2, woken


ALTERED = "it was cut or changed on the way, or the key is another's"
CUT = "cut"
LAST = SIZE + 8 - 1  # of a body in blocks of 8 bytes


@pytest.mark.parametrize(
    ("act", "outcome", "due"),
    [
        (lambda way: _between(way, 400_000, "flip"), "invalid", "SHA-256"),
        (lambda way: _between(way, LAST, "flip"), "failed", ALTERED),
        (lambda way: _between(way, LAST, "cut"), "failed", CUT),
        (lambda way: _between(way, 400_003, "cut"), "failed", CUT),
        (_wrong_key, "failed", ALTERED),
    ],
    ids=["a bit", "a bit of the padding", "the last byte cut off", "cut in the middle", "another key"],
)
def test_each_way_fails_where_it_is_not_the_stream(
    opened: OpenTestbed, tmp_path: Path, act: Callable[[str], Sabotage], outcome: str, due: str
) -> None:
    def all_of_them(bench: Bench, deployed: dict[str, Deployed]) -> None:
        for way in WAYS:
            act(way)(bench, deployed)

    cells = by_path(run(opened, profile_of(ends(*WAYS)), tmp_path, all_of_them))
    assert cells.keys() == WAYS.keys()
    for way, found in cells.items():
        cut = "the connection ended after" if way == "devcrypto-rx" else ALTERED
        assert found.outcome == outcome, (way, found.reason)
        assert (cut if due == CUT else due) in str(found.reason), (way, found.reason)


def _is(opened: OpenTestbed, tmp_path: Path, way: str, act: Sabotage, outcome: str, due: str) -> None:
    other = next(name for name in WAYS if name != way)
    wanted = profile_of(ends(other, way, sizes={"1MB": {"blocks": 2}}))
    found = by_path(run(opened, wanted, tmp_path, act))[way]
    assert found.outcome == outcome, found.reason
    assert due in str(found.reason), found.reason


@pytest.mark.parametrize(
    ("way", "act", "due"),
    [
        (SPLICE, _saying(SPLICE, 's/"way":"recv"/"way":"splice"/', "recv"), "crossed on the receiver, not 0"),
        (SPLICE, _saying(SPLICE, 's/"requests":[0-9]*/"requests":0/'), "no crypto request was made on the receiver"),
        (SPLICE, _saying(SPLICE, 's/"bytes_out":1000000/"bytes_out":999999/'), "gave 999999 bytes"),
        ("devcrypto-rx", _saying("devcrypto-rx", 's/"failed":0/"failed":1/'), "and 1 requests failed"),
    ],
)
def test_a_client_of_each_way_that_tells_something_else_is_invalid(
    opened: OpenTestbed, tmp_path: Path, way: str, act: Sabotage, due: str
) -> None:
    _is(opened, tmp_path, way, act, "invalid", due)


def test_each_way_fails_on_a_kernel_without_its_module(opened: OpenTestbed, tmp_path: Path) -> None:
    _is(opened, tmp_path, SPLICE, _not_loaded(SPLICE), "failed", "the kernel has no so_crypt sockets")


def test_modules_are_those_of_the_receiver() -> None:
    assert set(deciphering.MODULES.values()) == {"so_crypt", "devcrypto"}
