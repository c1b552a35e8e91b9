"""Raw kernel crypto on the lab: every driver that is offered, and none that answers wrongly."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import judge
from harness.bed import Bed
from harness.bench import Bench
from harness.events import Event, Sampled
from harness.paths import Deployed
from harness.record import Cell, Run
from hosts import changes
from hosts.changes import Scope
from hosts.errors import HarnessError
from hosts.kernel import build
from hosts.lab import image, uml
from hosts.progress import silent
from hosts.testbed import UmlTestbed
from tests.campaigns import by_path, profile_of, run, suite

pytestmark = pytest.mark.lab
FAULTY_SOURCE = Path(__file__).with_name("kernel") / "faulty"
FAULTY = "cbc-aes-faulty"
WRONG = "/sys/module/faulty/parameters/wrong"


def crypto(*ciphers: str, **more: Any) -> dict[str, Any]:
    """A suite of raw kernel crypto, as short as can be."""
    content = {"name": "raw", "question": "kernel-crypto", "ciphers": ciphers, "buffers": [4096], "blocks": 2}
    return content | {"seconds": 0.02} | more


def rows(done: Run, **wanted: object) -> list[Cell]:
    """Cells with these fields."""
    return [c for c in done.head.cells if all(getattr(c, name) == value for name, value in wanted.items())]


def test_every_kind_of_cipher_is_timed_both_ways(own_bed: Bed, tmp_path: Path) -> None:
    ciphers = ("null", "des", "3des", "aes128gcm", "chacha20poly1305")
    done = run(own_bed, profile_of(crypto(*ciphers, depths=[1, 4])), tmp_path)
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
        assert found == {(path, depth) for path in ("raw-encrypt", "raw-decrypt") for depth in (1, 4)}
    for cell in rows(done, outcome="measured"):
        samples = [sample for sample in done.samples if sample.cell == cell.id]
        assert len(samples) == 3
        for sample in samples:
            assert sample.valid
            assert sample.sha256_ok
            assert sample.seconds
            assert int(sample.witness["operations"] or 0) >= 1
            assert (sample.witness["driver"], sample.witness["depth"]) == (cell.driver_found, cell.depth)
            assert sample.witness["consistent"] is True
            assert sample.bytes == 4096
    entry = done.head.suites[0]
    assert (entry.question, entry.link_rate_bits_per_second) == ("kernel-crypto", None)


@pytest.fixture
def cryptd(own_bed: Bed) -> Iterator[str]:
    """Another driver of cbc(aes) in /proc/crypto: the asynchronous one that cryptd makes of the kernel's own."""
    with Scope(own_bed.sender) as scope:
        for module in ("algif_skcipher", "ecb", "cbc", "cryptd"):
            scope.apply(changes.module(module))
        name = "cryptd(cbc(aes-generic))"
        asked = {"kind": "skcipher", "name": name, "key": "00" * 16, "iv": "00" * 16, "text": "00" * 16, "aad": ""}
        own_bed.sender.call("alg_answer", encrypt=True, **asked)
        yield name


def test_each_driver_that_is_offered_is_timed_beside_the_kernel_s_choice(
    own_bed: Bed, cryptd: str, tmp_path: Path
) -> None:
    asked = crypto("aes128cbc", reference_buffers=[4096], operations=["encrypt"])
    done = run(own_bed, profile_of(asked), tmp_path)
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
    steps = {s.cell: judge.step(s, "seconds") for s in done.samples}
    assert max(steps.values()) == pytest.approx(steps[reference.id]) == pytest.approx(0.01, rel=0.1)


def test_a_driver_that_queues_is_timed_at_every_depth(own_bed: Bed, cryptd: str, tmp_path: Path) -> None:
    """Beside the one that it wraps, which answers before it returns. ``any`` is either of them."""
    wrapped = cryptd.removeprefix("cryptd(").removesuffix(")")
    drivers = ["any", cryptd, wrapped]
    done = run(own_bed, profile_of(crypto("aes128cbc", drivers=drivers, depths=[1, 4, 64])), tmp_path)
    for cell in done.head.cells:
        queues = "cryptd(" in (cell.driver_found or "")
        assert cell.outcome == ("measured" if queues or cell.depth == 1 else "unsupported"), cell.reason
        samples = [sample for sample in done.samples if sample.cell == cell.id]
        assert len(samples) == (3 if cell.outcome == "measured" else 0)
        for sample in samples:
            assert sample.valid, sample.reason
            assert sample.witness["depth"] == cell.depth
            assert ("under_way" in sample.witness) == ("sleeps_per_operation" in sample.witness) == (cell.depth != 1)
            if cell.depth != 1:
                assert 2 <= float(sample.witness["under_way"] or 0) <= (cell.depth or 1)
                assert float(sample.witness["sleeps_per_operation"] or 0) > 0.5
    assert {cell.outcome for cell in rows(done, driver=cryptd)} == {"measured"}
    (reason,) = {cell.reason for cell in rows(done, driver=wrapped) if cell.depth != 1}
    assert reason == (
        f"{wrapped} is not asynchronous: it answers each request before it returns, so nothing is ever queued and this "
        "depth is no other measurement"
    )


def test_aeads_alone_leave_nothing_behind(own_bed: Bed, tmp_path: Path) -> None:
    """A name is tried as either kind of cipher, and the kernel would load what serves that kind by itself."""
    before = own_bed.sender.read(["/proc/modules"])
    done = run(own_bed, profile_of(crypto("aes256gcm", operations=["encrypt"])), tmp_path)
    assert {cell.outcome for cell in done.head.cells} == {"measured"}
    names = [
        {line.split()[0] for line in str(text["/proc/modules"]).splitlines()}
        for text in (before, own_bed.sender.read(["/proc/modules"]))
    ]
    assert names[0] == names[1]


def test_a_driver_that_the_kernel_does_not_have_is_unsupported(own_bed: Bed, tmp_path: Path) -> None:
    done = run(own_bed, profile_of(crypto("aes128cbc", drivers=["any", "qat_aes_cbc"])), tmp_path)
    assert {cell.outcome for cell in rows(done, driver="any")} == {"measured"}
    assert {cell.outcome for cell in rows(done, driver="qat_aes_cbc")} == {"unsupported"}
    assert all("qat_aes_cbc" in str(cell.reason) for cell in rows(done, driver="qat_aes_cbc"))


# a driver that answers wrongly


@pytest.fixture(scope="module")
def faulty_module(own_lab: tuple[uml.UmlLab, build.Module]) -> Iterator[bytes]:
    """tests/kernel/faulty built for the lab's kernel."""
    booted, module = own_lab
    spec = UmlTestbed(kind="uml", name=booted.testbed.name)
    try:
        tree = build.Tree(image.location(spec.suite), module.path.parent, silent)
        built = tree.module(FAULTY_SOURCE)
    except HarnessError as error:
        pytest.skip(f"the faulty driver cannot be built here: {error}")
    yield built.read_bytes()
    shutil.rmtree(built.parent)


@pytest.fixture
def faulty(own_bed: Bed, faulty_module: bytes) -> Iterator[str]:
    """Loaded on the sender, and answering rightly for now."""
    path = own_bed.sender.put(faulty_module, "faulty.ko")
    with Scope(own_bed.sender) as scope:
        for module in ("algif_skcipher", "ecb", "cbc"):
            scope.apply(changes.module(module))
        scope.apply(changes.insmod("faulty", path))
        yield FAULTY


def spoil(bed: Bed) -> None:
    """From now on it answers wrongly."""
    bed.sender.check(["sh", "-c", f"echo Y >{WRONG}"])


def test_a_driver_that_answers_rightly_is_measured(own_bed: Bed, faulty: str, tmp_path: Path) -> None:
    """It is only refused for what it does: nothing is known of its name."""
    done = run(own_bed, profile_of(crypto("aes128cbc")), tmp_path)
    cells = rows(done, driver=faulty)
    assert {(cell.path, cell.outcome) for cell in cells} == {("raw-encrypt", "measured"), ("raw-decrypt", "measured")}
    assert {cell.driver_found for cell in cells} == {faulty}


def test_a_driver_that_answers_wrongly_is_refused_by_known_answers(own_bed: Bed, faulty: str, tmp_path: Path) -> None:
    done = run(own_bed, profile_of(crypto("aes128cbc")), tmp_path, lambda _bench, _deployed: spoil(own_bed))
    cells = rows(done, driver=faulty)
    assert {cell.outcome for cell in cells} == {"invalid"}
    assert {cell.reason for cell in cells} == {
        f"{faulty} gives a wrong result encrypting the known answer of NIST SP 800-38A (2001), F.2.1"
    }
    assert not [sample for sample in done.samples if faulty in sample.cell], "it was never timed"
    assert {cell.outcome for cell in rows(done, driver="any")} == {"measured"}


def test_a_driver_that_answers_wrongly_later_ends_invalid(own_bed: Bed, faulty: str, tmp_path: Path) -> None:
    """After a block in which every answer was right."""

    def later(event: Event) -> None:
        if isinstance(event, Sampled) and event.count == 4:
            spoil(own_bed)

    done = run(own_bed, profile_of(crypto("aes128cbc", blocks=4)), tmp_path, listener=later)
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


@pytest.mark.parametrize("path", ["afalg-copy", "so-crypt"])
def test_a_transfer_by_a_driver_that_answers_wrongly_is_invalid(
    own_bed: Bed, faulty: str, tmp_path: Path, path: str
) -> None:
    def later(_bench: Bench, deployed: dict[str, Deployed]) -> None:
        assert deployed[path].driver_found == faulty
        spoil(own_bed)

    asked = suite(path, cipher="aes128cbc", driver=faulty)
    cell = by_path(run(own_bed, profile_of(asked), tmp_path, later))[path]
    assert cell.outcome == "invalid", cell.reason
    assert "payload: " in (cell.reason or "")
