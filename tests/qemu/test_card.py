"""A crypto card on the lab of QEMU guests: its own counters prove its work, and without them no cell claims it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.api.bench import Bench
from harness.api.path import Deployed
from harness.ciphers.drivers import STEERED_PRIORITY
from harness.events import Event, Sampled
from harness.measuring.opened import OpenTestbed
from harness.record import Cell, Run
from hosts.crypto import proc_crypto
from hosts.lab import qemu
from hosts.remote.host import RemoteHost, agent_zip
from tests.support.guest_checks import run_checks
from tests.support.lab import connected, place_datapath, place_generator, place_modules
from tests.support.runs import (
    by_path,
    counting,
    profile_of,
    renew_associations,
    run,
    samples_of,
    suite,
)

CARD = "virtio_crypto_aes_cbc"


@pytest.fixture(scope="module")
def opened(qemu_lab: qemu.QemuLab, qemu_parts: qemu.QemuParts) -> Iterator[OpenTestbed]:
    """Its guests, connected for all tests of this file, with our modules on the sender."""
    with connected(qemu_lab.testbed) as hosts:
        place_datapath(hosts, qemu_parts)
        place_modules(hosts, qemu_parts)
        place_generator(hosts, qemu_parts)
        yield hosts


@pytest.fixture(autouse=True)
def priorities_stay(opened: OpenTestbed) -> Iterator[None]:
    """The card's priority is afterwards what it was."""
    before = priority(opened)
    yield
    assert priority(opened) == before


def priority(opened: OpenTestbed) -> int | None:
    """The card's priority now; None while its driver is not there."""
    found = proc_crypto.named(proc_crypto.parse(opened.sender.read(["/proc/crypto"])["/proc/crypto"] or ""), CARD)
    return found.priority if found else None


def kernel_crypto(**more: Any) -> dict[str, Any]:
    """A short suite of kernel crypto: whatever the kernel takes, and the card."""
    content = {"name": "raw", "question": "kernel-crypto", "ciphers": ["aes128cbc"], "buffers": [4096], "blocks": 2}
    content |= {"drivers": ["any", "card"], "operations": ["encrypt"], "seconds": 0.05}
    return content | {"interfaces": ["/dev/crypto", "AF_ALG"]} | more


def card(*names: str) -> dict[str, Any]:
    """A short suite of transfers whose ciphers the card does."""
    return suite(*names, cipher="aes128cbc", driver="card", sizes={"100kB": {"blocks": 2}})


def test_the_card_is_proved_by_its_own_interrupts(opened: OpenTestbed, tmp_path: Path) -> None:
    done = run(opened, profile_of(card("plain", "afalg-copy", "afalg-splice")), tmp_path)
    cells = by_path(done)
    for path in ("afalg-copy", "afalg-splice"):
        assert cells[path].outcome == "measured", cells[path].reason
        assert cells[path].driver_found == CARD
        for sample in samples_of(done, path):
            assert sample.witness["card_interrupts"], "the card itself says that it worked"
    assert all("card_interrupts" not in sample.witness for sample in samples_of(done, "plain"))


def test_esp_takes_the_card_and_its_interrupts_prove_it(opened: OpenTestbed, esp_modules: None, tmp_path: Path) -> None:
    done = run(opened, profile_of(card("http", "ipsec")), tmp_path)
    cells = by_path(done)
    assert {path: cell.outcome for path, cell in cells.items()} == {"http": "measured", "ipsec": "measured"}, cells
    for sample in samples_of(done, "ipsec"):
        interrupts, packets = sample.witness["card_interrupts"], sample.witness["sender_sa_packets"]
        assert isinstance(interrupts, int)
        assert isinstance(packets, int)
        assert packets >= 100_000 // 9000
        assert interrupts >= packets // 64, "one interrupt may tell of several packets"


def test_the_card_serves_many_connections_at_once(opened: OpenTestbed, esp_modules: None, tmp_path: Path) -> None:
    """Each answer's requests are the card's own: its interrupts rise with what all connections got."""
    many: dict[str, Any] = {"question": "load", "connections": [1, 16], "seconds": 3.0}
    done = run(opened, profile_of(card("plain", "afalg-copy", "so-crypt", "ipsec") | many), tmp_path)
    for cell in done.head.cells:
        assert cell.outcome == "measured", (cell.id, cell.reason)
        assert cell.driver_found == (CARD if cell.path != "plain" else None)
    for path in ("afalg-copy", "so-crypt", "ipsec"):
        for sample in samples_of(done, path):
            load, said = sample.load, sample.witness
            assert load is not None and load.canaries > 0
            interrupts = int(said["card_interrupts"] or 0)
            requests = int(said["sender_sa_packets" if path == "ipsec" else "crypto_requests"] or 0)
            assert requests >= load.requests + load.canaries
            assert interrupts >= requests // 64, "one interrupt may tell of several requests"
            assert load.opened == load.requests, "a connection each"


def test_the_card_has_as_many_requests_at_once_as_the_depth_says(opened: OpenTestbed, tmp_path: Path) -> None:
    """Software on the same processor answers before it returns, also where it calls itself asynchronous."""
    done = run(opened, profile_of(kernel_crypto(depths=[1, 4, 16])), tmp_path)
    for cell in done.head.cells:
        samples = [sample for sample in done.samples if sample.cell == cell.id]
        if cell.driver == "any" and cell.depth != 1:
            assert (cell.outcome, samples) == ("unsupported", []), cell.reason
            assert f"{cell.driver_found} calls itself asynchronous, but answered before it" in (cell.reason or "")
            continue
        assert (cell.outcome, counting(samples)) == ("measured", 2), cell.reason
        for sample in samples:
            assert sample.valid, sample.reason
            assert sample.witness["depth"] == cell.depth
            assert ("card_interrupts" in sample.witness) == (cell.driver == "card")
            if cell.depth != 1:
                assert 2 <= float(sample.witness["under_way"] or 0) <= (cell.depth or 1)
                shown = "later_per_operation" if cell.interface == "/dev/crypto" else "sleeps_per_operation"
                assert float(sample.witness[shown] or 0) > 0
    assert {cell.driver_found for cell in done.head.cells if cell.driver == "card"} == {CARD}


def test_sockets_decipher_by_the_card(opened: OpenTestbed) -> None:
    """The module's receiving side on a driver that answers later because it is a device."""
    host, before = opened.sender, loaded(opened.sender)
    module = f"SO_CRYPT_MODULE={opened.sender_facts.built['so_crypt']}"
    try:
        run_checks(host, Path(__file__).parents[1] / "guest" / "so_crypt_checks", "card", module, seconds=280)
    finally:
        host.run(["rmmod", *(name for name in loaded(host) if name not in before)])


def loaded(host: RemoteHost) -> list[str]:
    """Kernel modules, the newest first."""
    return [line.split()[0] for line in host.check(["cat", "/proc/modules"]).splitlines()]


def codec(opened: OpenTestbed, *commands: str) -> None:
    """Somebody else on the sender, with the crypto_user netlink."""
    path = opened.sender.put(agent_zip(), "somebody.zip")
    script = "import sys; sys.path.insert(0, sys.argv[1]); from agent import crypto_user\n" + "\n".join(commands)
    opened.sender.check(["python3", "-c", script, path])


def lowered(opened: OpenTestbed) -> None:
    """Somebody lowers the card's priority, has instances upon it forgotten, and renews the SAs, as a rekeying does."""
    codec(opened, f"assert crypto_user.update({CARD!r}, 1)", f"assert crypto_user.update({CARD!r}, None)")

    def same(words: list[str]) -> str:
        auth, enc = words.index("auth-trunc"), words.index("enc")
        return " ".join(("replay-window 64", *words[auth : auth + 4], *words[enc : enc + 3]))

    assert renew_associations(opened.sender, same) == 2


def raised(opened: OpenTestbed) -> None:
    """Put back what ``lowered`` changed."""
    codec(opened, f"assert crypto_user.update({CARD!r}, {STEERED_PRIORITY})")


def test_a_priority_changed_behind_its_back_ends_esp_by_the_card(
    opened: OpenTestbed, esp_modules: None, tmp_path: Path
) -> None:
    """The new SAs are as good as the old ones, only that software does them: no cell may claim the card."""
    done = run(
        opened,
        profile_of(card("http", "ipsec")),
        tmp_path,
        lambda _bench, _deployed: lowered(opened),
        listener=after(6, lambda: raised(opened)),  # so that undo finds what the harness set
    )
    cells = by_path(done)
    assert cells["ipsec"].outcome == "invalid", cells["ipsec"].reason
    assert "card" in (cells["ipsec"].reason or "")
    assert not any(sample.valid for sample in samples_of(done, "ipsec"))
    assert cells["http"].outcome == "measured", cells["http"].reason
    assert not done.head.verdicts


def unloaded(opened: OpenTestbed) -> None:
    """The card's module is unloaded by somebody else; the kernel refuses that while anybody holds a cipher of it."""
    opened.sender.check(["rmmod", "virtio_crypto"])


@pytest.fixture
def comes_back(opened: OpenTestbed) -> Iterator[None]:
    """The card's module, after a test that took it away."""
    yield
    opened.sender.check(["modprobe", "virtio_crypto"])


def after(count: int, act: Callable[[], None]) -> Callable[[Event], None]:
    """A listener that acts once so many samples are taken."""

    def listen(event: Event) -> None:
        if isinstance(event, Sampled) and event.count == count:
            act()

    return listen


def test_a_module_unloaded_in_mid_run_ends_the_cards_kernel_crypto_only(
    opened: OpenTestbed, tmp_path: Path, comes_back: None
) -> None:
    asked = profile_of(kernel_crypto(interfaces=["/dev/crypto"]))
    done = run(opened, asked, tmp_path, listener=after(2, lambda: unloaded(opened)))
    found = {cell.driver: cell for cell in done.head.cells}
    assert found["any"].outcome == "measured", found["any"].reason
    assert found["card"].outcome in ("failed", "invalid"), found["card"].reason
    assert CARD in (found["card"].reason or "")
    assert len(valid(done, found["card"])) == 1
    assert not done.head.verdicts


def valid(done: Run, cell: Cell) -> list[bool]:
    """The samples of a cell that are valid."""
    return [sample.valid for sample in done.samples if sample.cell == cell.id and sample.valid]


def test_a_module_unloaded_before_is_a_reason(opened: OpenTestbed, tmp_path: Path, comes_back: None) -> None:
    """What was found at the start is not there any more when the suite begins."""

    def before(_bench: Bench, _deployed: dict[str, Deployed]) -> None:
        unloaded(opened)

    done = run(
        opened,
        profile_of(kernel_crypto(), card("plain", "afalg-copy") | {"name": "transfers"}),
        tmp_path,
        before_operations(before),
    )
    outcomes = {cell.driver or cell.path: cell.outcome for cell in done.head.cells if cell.suite == "raw"}
    assert outcomes == {"any": "measured", "card": "unsupported"}, [
        (c.id, c.outcome, c.reason) for c in done.head.cells
    ]
    later = {cell.path: cell for cell in done.head.cells if cell.suite == "transfers"}
    assert (later["plain"].outcome, later["afalg-copy"].outcome) == ("measured", "failed"), later["afalg-copy"].reason
    assert not [sample for sample in done.samples if sample.cell == later["afalg-copy"].id]


def before_operations(
    act: Callable[[Bench, dict[str, Deployed]], None],
) -> Callable[[Bench, dict[str, Deployed]], None]:
    """Only in the suite without deployments."""

    def once(bench: Bench, deployed: dict[str, Deployed]) -> None:
        if not deployed:
            act(bench, deployed)

    return once
