"""Kernel crypto on the lab: every driver that is offered, and none that answers wrongly."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.api.bench import Bench
from harness.api.parameters import Parameters
from harness.api.path import Deployed
from harness.ciphers.table import CIPHERS
from harness.events import Event, Sampled
from harness.measuring.opened import OpenTestbed
from harness.record import Cell, Run
from harness.servers import datapath
from harness.verdicts import judging
from hosts import modules
from hosts.lab import uml
from hosts.remote import changes
from hosts.remote.changes import Scope
from tests.support.runs import PATHS, by_path, counting, profile_of, run, suite

FAULTY_SOURCE = Path(__file__).parents[1] / "guest" / "kernel" / "faulty"
FAULTY = "cbc-aes-faulty"
WRONG = "/sys/module/faulty/parameters/wrong"


def crypto(*ciphers: str, **more: Any) -> dict[str, Any]:
    """A suite of kernel crypto, as short as can be."""
    content = {"name": "raw", "question": "kernel-crypto", "ciphers": ciphers, "buffers": [4096], "blocks": 2}
    return content | {"interfaces": ["AF_ALG"], "seconds": 0.02} | more


EITHER = ["/dev/crypto", "AF_ALG"]


def rows(done: Run, **wanted: object) -> list[Cell]:
    """Cells with these fields."""
    return [c for c in done.head.cells if all(getattr(c, name) == value for name, value in wanted.items())]


def test_every_kind_of_cipher_is_timed_both_ways(opened: OpenTestbed, tmp_path: Path) -> None:
    ciphers = ("null", "des", "3des", "aes128gcm", "chacha20poly1305")
    done = run(opened, profile_of(crypto(*ciphers, depths=[1, 4], interfaces=EITHER)), tmp_path)
    for cell in done.head.cells:
        # none of these drivers queues requests, and a depth of 4 would only be threads that take turns
        if cell.depth == 4:
            assert cell.outcome == "unsupported"
            assert f"{cell.driver_found} is not asynchronous" in (cell.reason or "")
            assert not [sample for sample in done.samples if sample.cell == cell.id]
        else:
            assert cell.outcome == "measured", cell.reason
    for cipher in ciphers:
        found = {(cell.path, cell.depth) for cell in rows(done, cipher=cipher, driver="any")}
        paths = {f"{by}-{operation}" for by in ("devcrypto", "raw") for operation in ("encrypt", "decrypt")}
        assert found == {(path, depth) for path in paths for depth in (1, 4)}
    for cell in rows(done, outcome="measured"):
        samples = [sample for sample in done.samples if sample.cell == cell.id]
        assert counting(samples) == 2
        for sample in samples:
            assert sample.valid
            assert sample.sha256_ok
            assert sample.seconds
            assert int(sample.witness["operations"] or 0) >= 1
            assert (sample.witness["driver"], sample.witness["depth"]) == (cell.driver_found, cell.depth)
            assert sample.witness["consistent"] is True
            assert sample.witness["interface"] == cell.interface == EITHER[cell.path.startswith("raw")]
            assert ("memory" in sample.witness) == (cell.interface == "/dev/crypto")
            row = CIPHERS[cell.cipher]
            lengths = (8 * row.key_bytes, 8 * row.tag_bytes)
            assert (sample.witness["key_bits"], sample.witness["tag_bits"]) == lengths
            assert sample.bytes == 4096
    across = [row for row in done.head.verdicts if "/raw-" in row.candidate and "/devcrypto-" in row.baseline]
    assert len(across) == 2 * len(ciphers), "the same by the other interface"
    entry = done.head.suites[0]
    assert (entry.question, entry.link_rate_bits_per_second) == ("kernel-crypto", None)


@pytest.fixture
def cryptd(opened: OpenTestbed) -> Iterator[str]:
    """Another driver of cbc(aes) in /proc/crypto: the asynchronous one that cryptd makes of the kernel's own."""
    with Scope(opened.sender) as scope:
        for module in ("algif_skcipher", "ecb", "cbc", "cryptd"):
            scope.apply(changes.modules(module))
        name = "cryptd(cbc(aes-generic))"
        zeros = "00" * 16
        opened.sender.agent.alg_answer("skcipher", name, zeros, zeros, zeros, "", encrypt=True)
        yield name


def test_each_driver_that_is_offered_is_timed_beside_the_kernel_s_choice(
    opened: OpenTestbed, cryptd: str, tmp_path: Path
) -> None:
    asked = crypto("aes128cbc", reference_buffers=[4096], operations=["encrypt"])
    done = run(opened, profile_of(asked), tmp_path)
    assert {cell.outcome for cell in done.head.cells} == {"measured"}, [c.reason for c in done.head.cells]
    found = {cell.driver: cell.driver_found for cell in rows(done, path="raw-encrypt")}
    assert len(found) == 2, "the kernel's choice, and the one that was only found on the host"
    assert len(set(found.values())) == 2
    assert any("cryptd(" in str(name) for name in found.values())
    assert all(name in ("any", found[name]) for name in found)
    compared = {verdict.candidate for verdict in done.head.verdicts}
    assert compared == {cell.id for cell in done.head.cells if cell.driver != "any" or cell.path == "openssl-speed"}
    (reference,) = rows(done, path="openssl-speed")
    assert [s.valid for s in done.samples if s.cell == reference.id] == [True] * 3
    steps = {s.cell: judging.step(s, "seconds") for s in done.samples}
    assert max(steps.values()) == pytest.approx(steps[reference.id]) == pytest.approx(0.01, rel=0.1)


def test_a_driver_that_queues_is_timed_at_every_depth(opened: OpenTestbed, cryptd: str, tmp_path: Path) -> None:
    """Beside the one that it wraps, which answers before it returns. ``any`` is either of them.

    A guest has one processor: cryptd's worker may answer a request of /dev/crypto before the next one is handed over.
    Then nothing was queued, and the cell says so.
    """
    wrapped = cryptd.removeprefix("cryptd(").removesuffix(")")
    drivers = ["any", cryptd, wrapped]
    asked = crypto("aes128cbc", drivers=drivers, depths=[1, 4, 64], interfaces=EITHER)
    done = run(opened, profile_of(asked), tmp_path)
    for cell in done.head.cells:
        queues = "cryptd(" in (cell.driver_found or "")
        overtaken = "was never seen with a second request under way" in (cell.reason or "")
        given_up = queues and overtaken and cell.interface == "/dev/crypto"  # perhaps after samples that queued
        if not given_up:
            assert cell.outcome == ("measured" if queues or cell.depth == 1 else "unsupported"), cell.reason
        samples = [sample for sample in done.samples if sample.cell == cell.id]
        assert counting(samples) == (2 if cell.outcome == "measured" else 0) or given_up
        for sample in samples:
            assert sample.valid, sample.reason
            assert sample.witness["depth"] == cell.depth
            assert ("under_way" in sample.witness) == ("sleeps_per_operation" in sample.witness) == (cell.depth != 1)
            if cell.depth != 1:
                assert 2 <= float(sample.witness["under_way"] or 0) <= (cell.depth or 1)
                by_module = cell.interface == "/dev/crypto"
                assert sample.witness["submission"] == ("asynchronous" if by_module else "threads")
                shown = sample.witness["later_per_operation" if by_module else "sleeps_per_operation"]
                assert float(shown or 0) > 0.5
    assert {cell.outcome for cell in rows(done, driver=cryptd) if cell.interface == "AF_ALG"} == {"measured"}
    (reason,) = {cell.reason for cell in rows(done, driver=wrapped) if cell.depth != 1}
    assert reason == (
        f"{wrapped} is not asynchronous: it answers each request before it returns, so nothing is ever queued and this "
        "depth is no other measurement"
    )


def test_aeads_alone_leave_nothing_behind(opened: OpenTestbed, tmp_path: Path) -> None:
    """A name is tried as either kind of cipher, and the kernel would load what serves that kind by itself."""
    before = opened.sender.read(["/proc/modules"])
    done = run(opened, profile_of(crypto("aes256gcm", operations=["encrypt"], interfaces=EITHER)), tmp_path)
    assert {cell.outcome for cell in done.head.cells} == {"measured"}
    names = [
        {line.split()[0] for line in str(text["/proc/modules"]).splitlines()}
        for text in (before, opened.sender.read(["/proc/modules"]))
    ]
    assert names[0] == names[1]


def test_a_driver_that_the_kernel_does_not_have_is_unsupported(opened: OpenTestbed, tmp_path: Path) -> None:
    done = run(opened, profile_of(crypto("aes128cbc", drivers=["any", "qat_aes_cbc"])), tmp_path)
    assert {cell.outcome for cell in rows(done, driver="any")} == {"measured"}
    assert {cell.outcome for cell in rows(done, driver="qat_aes_cbc")} == {"unsupported"}
    assert all("qat_aes_cbc" in str(cell.reason) for cell in rows(done, driver="qat_aes_cbc"))


# a driver that answers wrongly


@pytest.fixture(scope="module")
def faulty_module(lab_parts: uml.UmlParts) -> bytes:
    """tests/guest/kernel/faulty built for the lab's kernel."""
    return modules.in_image(lab_parts.target, FAULTY_SOURCE).content


@pytest.fixture
def faulty(opened: OpenTestbed, faulty_module: bytes) -> Iterator[str]:
    """Loaded on the sender, and answering rightly for now."""
    path = opened.sender.put(faulty_module, "faulty.ko")
    with Scope(opened.sender) as scope:
        for module in ("algif_skcipher", "ecb", "cbc"):
            scope.apply(changes.modules(module))
        scope.apply(changes.insmod("faulty", path))
        yield FAULTY


def spoil(opened: OpenTestbed) -> None:
    """From now on it answers wrongly."""
    opened.sender.check(["sh", "-c", f"echo Y >{WRONG}"])


def test_a_driver_that_answers_rightly_is_measured(opened: OpenTestbed, faulty: str, tmp_path: Path) -> None:
    """It is only refused for what it does: nothing is known of its name."""
    done = run(opened, profile_of(crypto("aes128cbc")), tmp_path)
    cells = rows(done, driver=faulty)
    assert {(cell.path, cell.outcome) for cell in cells} == {("raw-encrypt", "measured"), ("raw-decrypt", "measured")}
    assert {cell.driver_found for cell in cells} == {faulty}


def test_a_driver_that_answers_wrongly_is_refused_by_known_answers(
    opened: OpenTestbed, faulty: str, tmp_path: Path
) -> None:
    asked = crypto("aes128cbc", interfaces=EITHER)
    done = run(opened, profile_of(asked), tmp_path, lambda _bench, _deployed: spoil(opened))
    cells = rows(done, driver=faulty)
    assert {cell.outcome for cell in cells} == {"invalid"}
    assert {cell.reason for cell in cells} == {
        f"{faulty} gives a wrong result encrypting the known answer of NIST SP 800-38A (2001), F.2.1"
    }
    assert not [sample for sample in done.samples if faulty in sample.cell], "it was never timed"
    assert {cell.outcome for cell in rows(done, driver="any")} == {"measured"}


def test_a_driver_that_answers_wrongly_later_ends_invalid(opened: OpenTestbed, faulty: str, tmp_path: Path) -> None:
    """After a block in which every answer was right."""

    def later(event: Event) -> None:
        if isinstance(event, Sampled) and event.count == 4:
            spoil(opened)

    done = run(opened, profile_of(crypto("aes128cbc", blocks=4)), tmp_path, listener=later)
    cells = rows(done, driver=faulty)
    assert {cell.outcome for cell in cells} == {"invalid"}
    for cell in cells:
        assert f"{faulty} enciphers 4096 bytes differently from OpenSSL's AES-128-CBC: byte 0" in str(cell.reason)
        samples = [sample for sample in done.samples if sample.cell == cell.id]
        assert samples[0].valid, "in the first block every answer was right"
        # deciphering, the program itself finds that not all results are the same, and there is no sample
        assert [sample.valid for sample in samples[1:]] == ([False] if cell.path == "raw-encrypt" else [])
    assert not [verdict for verdict in done.head.verdicts if faulty in verdict.candidate]
    assert {cell.outcome for cell in rows(done, driver="any")} == {"measured"}


@pytest.mark.parametrize("path", ["devcrypto-copy", "so-crypt"])
def test_a_transfer_by_a_driver_that_answers_wrongly_is_invalid(
    opened: OpenTestbed, faulty: str, tmp_path: Path, path: str
) -> None:
    def later(_bench: Bench, deployed: dict[str, Deployed]) -> None:
        assert deployed[path].driver_found == faulty
        spoil(opened)

    asked = suite(path, cipher="aes128cbc", driver=faulty)
    cell = by_path(run(opened, profile_of(asked), tmp_path, later))[path]
    assert cell.outcome == "invalid", cell.reason
    assert "payload: " in (cell.reason or "")


# a key or a tag of another length


def instead(opened: OpenTestbed, monkeypatch: pytest.MonkeyPatch, program: bytes) -> Callable[[Bench, Any], None]:
    """Once all is ready, another program takes the place of ours."""

    def act(bench: Bench, _deployed: dict[str, Deployed]) -> None:
        monkeypatch.setitem(bench.shared, datapath.SHARED, opened.sender.put(program, "another", 0o700))

    return act


def test_a_shorter_key_is_never_a_number(opened: OpenTestbed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """AES-128 is timed where AES-256 is asked for; every answer that is looked at before and after is AES-256's."""
    ours = opened.shared[datapath.SHARED]
    script = f'#!/bin/sh\ncase $1 in raw) exec {ours} "$@" --key-bytes 16;; *) exec {ours} "$@";; esac\n'
    sabotage = instead(opened, monkeypatch, script.encode())
    done = run(opened, profile_of(crypto("aes256cbc", "aes256gcm", drivers=["any"])), tmp_path, sabotage)
    assert {(cell.path, cell.outcome, cell.reason) for cell in done.head.cells} == {
        (path, "invalid", "the key had 128 bits, not 256") for path in ("raw-encrypt", "raw-decrypt")
    }
    assert all(sample.sha256_ok and sample.witness["key_bits"] == 128 for sample in done.samples)


def test_a_shorter_tag_is_never_a_number(opened: OpenTestbed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own program, which asks the kernel for tags of 96 bits; a cipher without a tag is timed all the same."""
    source = tmp_path / "source"
    shutil.copytree(datapath.ONHOST / "datapath", source)
    header = source / "datapath.h"
    text = header.read_text()
    header.write_text(text.replace("#define AEAD_TAG\t16", "#define AEAD_TAG\t12"))
    assert header.read_text() != text
    headers = [f"-I{datapath.ONHOST / 'modules' / module}" for module in ("so_crypt", "devcrypto")]
    files = [*headers, *(str(file) for file in sorted(source.glob("*.c")))]
    command = [*datapath.COMPILE, "-O0", "-o", str(source / "datapath"), "-static", *files]
    subprocess.run(command, check=True, timeout=120)
    sabotage = instead(opened, monkeypatch, (source / "datapath").read_bytes())
    done = run(opened, profile_of(crypto("aes128gcm", "aes128cbc", drivers=["any"])), tmp_path, sabotage)
    cells = rows(done, cipher="aes128gcm")
    assert {(cell.outcome, cell.reason) for cell in cells} == {("invalid", "the tag had 96 bits, not 128")}
    assert {cell.outcome for cell in rows(done, cipher="aes128cbc")} == {"measured"}


@pytest.mark.parametrize("path", ["devcrypto-copy", "afalg-copy", "afalg-splice", "so-crypt", "so-crypt-send"])
def test_a_shorter_key_of_a_stream_is_never_a_number(opened: OpenTestbed, tmp_path: Path, path: str) -> None:
    """A server with an AES-128 key answers where AES-256-CBC is asked for: the same driver, as many bytes."""

    def act(bench: Bench, deployed: dict[str, Deployed]) -> None:
        shorter = PATHS[path].deploy(bench.beside("shorter"), Parameters(CIPHERS["aes128cbc"]))
        deployed[path] = replace(deployed[path], url=shorter.url, log=shorter.log, server=shorter.server)

    cells = by_path(run(opened, profile_of(suite("plain", path, cipher="aes256cbc")), tmp_path, act))
    assert cells[path].outcome == "invalid", cells[path].reason
    assert re.fullmatch("payload: .*; the key had 128 bits, not 256", cells[path].reason or "")
    assert cells["plain"].outcome == "measured", cells["plain"].reason
