"""Cards: told by a driver's name, found on buses, and what proves that one of them did the work.

The trees are made after the kernel's ABI documents (sysfs-bus-pci, sysfs-kernel-irq, sysfs-driver-qat,
debugfs-driver-qat, debugfs-hisi-sec) and, for virtio, after what a 6.12 kernel shows of QEMU's device. No real card
was seen.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from hosts.crypto import accelerators
from hosts.crypto.accelerators import Proof, Seen
from hosts.crypto.cards import CARDS, card_of_pci, recognise
from hosts.crypto.proc_crypto import Driver
from hosts.onhost.agent import commands, counters, files
from hosts.onhost.agent.values import Result


class Here:
    """This machine by the agent's own code, without SSH."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def run(self, argv: Sequence[str], timeout: float = 30.0) -> Result:
        return commands.run(list(argv), timeout, self.directory)

    def read(self, paths: Sequence[str]) -> dict[str, str | None]:
        return {path: files.read(path) for path in paths}


class Tree:
    """A made /sys below ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, path: str, text: str) -> None:
        """A file, with the directories above it."""
        whole = self.root / path
        whole.parent.mkdir(parents=True, exist_ok=True)
        whole.write_text(text)

    def device(self, bus: str, address: str, folder: str, **files: str) -> str:
        """A device: a directory of /sys/devices, and a link to it on its bus."""
        place = f"sys/devices/{folder}/{address}"
        for name, text in files.items():
            self.write(f"{place}/{name}", text + "\n")
        link = self.root / f"sys/bus/{bus}/devices/{address}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(self.root / place)
        return place

    def pci(self, address: str, identity: str, driver: str | None) -> str:
        """A PCI device; ``identity`` is vendor:device."""
        vendor, device = identity.split(":")
        bound = f"DRIVER={driver}\n" if driver else ""
        return self.device(
            "pci",
            address,
            "pci0000:00",
            vendor=f"0x{vendor}",
            device=f"0x{device}",
            uevent=f"{bound}PCI_ID={identity.upper()}\nPCI_SLOT_NAME={address}",
        )

    def interrupt(self, number: int, actions: str, counts: str = "3,4", device: str | None = None) -> None:
        """An interrupt, of a PCI device's where ``device`` is its directory."""
        self.write(f"sys/kernel/irq/{number}/actions", actions + "\n")
        self.write(f"sys/kernel/irq/{number}/per_cpu_count", counts + "\n")
        if device:
            self.write(f"{device}/msi_irqs/{number}", "msix\n")

    def qat(self, address: str, identity: str = "8086:4940", responses: tuple[int, ...] = (10, 20)) -> str:
        """A QAT of the fourth generation that is up, with all that a kernel since 6.9 shows of it."""
        place = self.pci(address, identity, "4xxx")
        for name, value in {
            "state": "up",
            "cfg_services": "sym;asym",
            "num_rps": "64",
            "pm_idle_enabled": "1",
            "auto_reset": "off",
            "rp2srv": "sym",
        }.items():
            self.write(f"{place}/qat/{name}", value + "\n")
        debug = f"sys/kernel/debug/qat_4xxx_{address}"
        rows = [f"{engine:2}: {count + 1:16} {count:16}" for engine, count in enumerate(responses)]
        self.write(f"{debug}/fw_counters", f"AE  {'Requests':>16} {'Responses':>16}\n" + "\n".join(rows) + "\n")
        self.write(f"{debug}/heartbeat/queries_sent", "7\n\0")
        self.write(f"{debug}/heartbeat/queries_failed", "0\n\0")
        self.write(f"{debug}/heartbeat/status", "0\n\0")
        self.write(f"{debug}/dev_cfg", "[GENERAL]\n")
        return place


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """A machine with a network card, a disk and a timer, and no crypto card."""
    made = Tree(tmp_path / "root")
    nic = made.pci("0000:00:03.0", "8086:1572", "i40e")
    made.interrupt(1, "i8042")
    made.interrupt(40, "i40e-eth0-TxRx-0", device=nic)
    made.device("virtio", "virtio0", "pci0000:00/0000:00:05.0", device="0x0002", uevent="DRIVER=virtio_blk")
    (made.root / "sys/bus/platform/drivers/acpi-fan").mkdir(parents=True)
    made.write("sys/kernel/debug/usb/devices", "")
    return made


@pytest.fixture
def here(tmp_path: Path) -> Here:
    (tmp_path / "run").mkdir()
    return Here(tmp_path / "run")


def look(here: Here, tree: Tree, *drivers: Driver) -> Seen:
    return accelerators.look(here, drivers, str(tree.root))


def driver(name: str, algorithm: str = "cbc(aes)") -> Driver:
    return Driver(algorithm, name, "some_module", "skcipher", 100, True, True, False, 16, 16, 32, 16, 1)


def values(proof: Proof) -> dict[str, int | None]:
    """The counters as a measurement reads them."""
    return counters.observe(proof.counters).values


# ---------------------------------------------------------------------------------------- the table

NAMES = {
    # as they stand in /proc/crypto, and the card
    "qat_aes_cbc": "qat",
    "qat_aes_cbc_hmac_sha256": "qat",
    "qat-rsa": "qat",
    "virtio_crypto_aes_cbc": "virtio-crypto",
    "virtio-crypto-rsa": "virtio-crypto",
    "cbc-3des-caam": "caam",
    "cbc-aes-caam-qi": "caam",
    "authenc-hmac-sha1-cbc-des3_ede-caam-qi2": "caam",
    "mv-cbc-des3-ede": "cesa",
    "cbc-3des-ccree": "ccree",
    "hisi_sec_cbc(des3_ede)": "hisi-sec2",
    "hisi_sec_authenc(hmac(sha1),cbc(aes))": "hisi-sec2",
    "hisi_sec_3des_cbc": "hisi-sec",
    "safexcel-authenc-hmac-sha1-cbc-des3_ede": "safexcel",
    "cbc(des3_ede-eip93)": "eip93",
    "authenc(hmac(sha1-eip93), cbc(des3_ede-eip93))": "eip93",
    "cbc-des3-ccp": "ccp",
    "cbc-3des-talitos": "talitos",
    "authenc-hmac-sha1-cbc-3des-talitos-hsna": "talitos",
    "cpt_cbc_des3_ede": "octeontx-cpt",
    "cavium-cbc-des3_ede": "thunderx-cpt",
    "n5_cbc(des3_ede)": "nitrox",
    "gcm-aes-chcr": "chelsio",
    "atmel-cbc-aes": "atmel-aes",
    "atmel-cbc-tdes": "atmel-tdes",
    "stm32-cbc-des3": "stm32",
    "cbc-des3-ede-rk": "rockchip",
    "cbc-des3-sun4i-ss": "sun4i-ss",
    "cbc-des3-sun8i-ce": "sun8i-ce",
    "cbc-des3-sun8i-ss": "sun8i-ss",
    "cbc-des3-omap": "omap",
    "cbc-des3-sa2ul": "sa2ul",
    "cbc-aes-qce": "qce",
    "authenc-hmac-sha1-cbc-des3-iproc": "iproc",
    "aspeed-cbc-tdes": "aspeed",
    "cbc-aes-gxl": "amlogic",
    "cbc-3des-hifn0": "hifn",
    "cbc-3des-n2": "niagara2",
    "cbc(des3_ede)-ixp4xx": "ixp4xx",
}

SOFTWARE = (
    "cbc(ecb(aes-generic))",
    "cbc-aes-aesni",
    "__cbc-aes-aesni",
    "cryptd(__cbc-aes-aesni)",
    "cbc-des3_ede-asm",
    "des3_ede-generic",
    "sha1-generic",
    "generic-gcm-aesni",
    "cbc-aes-neonbs",
    "drbg_nopr_ctr_aes256",
    "crc32c-intel",
    # instances of templates stand upon a card, and are none
    "authenc(hmac(sha1-generic),virtio_crypto_aes_cbc)",
    "authenc(hmac(sha1-generic),cbc-3des-caam)",
    "authenc(hmac(sha1-generic),cbc(des3_ede-eip93))",
    "authenc(hmac(sha1-generic),hisi_sec_cbc(aes))",
)


@pytest.mark.parametrize(("name", "card"), NAMES.items())
def test_a_cards_driver_is_recognised_by_its_name(name: str, card: str) -> None:
    """By one entry of the table and no other."""
    assert [c.name for c in CARDS if re.fullmatch(c.drivers, name)] == [card]
    found = recognise(driver(name))
    assert found is not None
    assert found.name == card


@pytest.mark.parametrize("name", SOFTWARE)
def test_software_is_no_card(name: str) -> None:
    assert recognise(driver(name)) is None


def test_every_card_is_tried_by_a_name_and_its_entry_is_whole() -> None:
    assert {card.name for card in CARDS} == set(NAMES.values())
    assert len({card.name for card in CARDS}) == len(CARDS)
    identities = [identity for card in CARDS for identity in card.pci]
    assert len(set(identities)) == len(identities)
    for card in CARDS:
        assert card.source
        assert card.modules
        assert card.algorithms
        assert all(re.fullmatch(r"[0-9a-f]{4}:[0-9a-f]{4}", identity) for identity in card.pci)
        assert set(card.virtual) <= set(card.pci)
        for meter in card.meters:
            assert meter.source
            assert re.compile(meter.pattern).groups == 1
            if meter.counts == "interrupts":
                re.compile(meter.where.replace("{address}", "0"))
            else:
                assert meter.where.count("/") < accelerators.DEBUG_DEPTH


def test_cards_with_3des_are_known() -> None:
    named = {card.name for card in CARDS if "cbc(des3_ede)" in card.algorithms}
    assert {"caam", "cesa", "ccree", "hisi-sec", "hisi-sec2", "safexcel", "ccp", "talitos", "nitrox", "hifn"} <= named
    assert not {"qat", "virtio-crypto", "chelsio"} & named


# ------------------------------------------------------------------------------------------- buses


def test_a_machine_without_a_card_has_none(here: Here, tree: Tree) -> None:
    assert look(here, tree) == Seen()
    assert look(here, tree, driver("cbc-aes-aesni")) == Seen()
    assert look(here, Tree(tree.root / "nothing")) == Seen()


@pytest.mark.parametrize(
    ("identity", "virtual"),
    [(f"8086:{device}", False) for device in ("0435", "19e2", "37c8", "4940", "4942", "4944", "4946", "4948")]
    + [(f"8086:{device}", True) for device in ("0443", "19e3", "37c9", "4941", "4943", "4945", "4947", "4949")],
)
def test_every_qat_is_found_by_its_pci_identity(here: Here, tree: Tree, identity: str, virtual: bool) -> None:
    tree.pci("0000:6b:00.0", identity, None)
    (device,) = look(here, tree).devices
    assert (device.card, device.bus, device.address, device.identity) == ("qat", "pci", "0000:6b:00.0", identity)
    assert device.virtual_function is virtual
    assert device.driver is None
    assert (device.attributes, device.heartbeat) == ({}, {})


def test_a_qat_is_described_and_what_would_act_is_not_read(here: Here, tree: Tree) -> None:
    tree.qat("0000:6b:00.0")
    seen = look(here, tree)
    (device,) = seen.devices
    assert device.driver == "4xxx"
    assert device.attributes == {
        "state": "up",
        "cfg_services": "sym;asym",
        "num_rps": "64",
        "pm_idle_enabled": "1",
        "auto_reset": "off",
    }
    assert device.heartbeat == {"queries_sent": 7, "queries_failed": 0}
    told = json.dumps(seen.shown())
    assert "rp2srv" not in told
    assert "status" not in told
    assert seen.shown()["witnesses"]["qat"]["counts"] == "requests"


def test_nothing_is_written(here: Here, tree: Tree) -> None:
    tree.qat("0000:6b:00.0")
    listing = ["find", str(tree.root), "-type", "f", "-exec", "sha256sum", "{}", "+"]
    before = subprocess.run(listing, capture_output=True, check=True).stdout
    look(here, tree)
    assert subprocess.run(listing, capture_output=True, check=True).stdout == before


def test_qats_firmware_counters_prove_its_work(here: Here, tree: Tree) -> None:
    """The responses of all engines of all cards together."""
    tree.qat("0000:6b:00.0", responses=(10, 20))
    tree.qat("0000:70:00.0", "8086:4942", responses=(5,))
    proof = accelerators.counters(look(here, tree), driver("qat_aes_cbc"))
    assert (proof.counts, proof.why_not, len(proof.counters)) == ("requests", None, 2)
    before = values(proof)
    assert sorted(before.values(), key=str) == [30, 5]
    tree.root.joinpath("sys/kernel/debug/qat_4xxx_0000:6b:00.0/fw_counters").write_text(
        f"AE  {'Requests':>16} {'Responses':>16}\n 0: {99:16} {60:16}\n 1: {99:16} {70:16}\n"
    )
    after = values(proof)
    deltas = {name: _difference(after[name], before[name]) for name in before}
    assert accelerators.rise(deltas, proof) == 100
    assert accelerators.unproven(deltas, proof, 100) is None
    assert accelerators.unproven(deltas, proof, 101) == (
        "the card counted 100 requests, not the 101 or more that were due"
    )


def _difference(after: int | None, before: int | None) -> int | None:
    return None if after is None or before is None else after - before


def test_a_counter_that_cannot_be_read_proves_nothing(here: Here, tree: Tree) -> None:
    tree.qat("0000:6b:00.0")
    tree.qat("0000:70:00.0")
    proof = accelerators.counters(look(here, tree), driver("qat_aes_cbc"))
    first, second = proof.counters
    reason = "the card's own counters could not be read before and after"
    assert accelerators.unproven({first: 5000, second: None}, proof, 1) == reason
    assert accelerators.unproven({first: 5000}, proof, 1) == reason
    tree.root.joinpath("sys/kernel/debug/qat_4xxx_0000:6b:00.0/fw_counters").unlink()
    assert values(proof)["qat requests qat_4xxx_0000:6b:00.0/fw_counters"] is None


def test_an_older_kernels_qat_is_proved_by_its_own_interrupts(here: Here, tree: Tree) -> None:
    """Before 6.6 there are no firmware counters; another QAT's interrupts have the same kind of name."""
    mine = tree.pci("0000:6b:00.0", "8086:37c8", "c6xx")
    tree.interrupt(50, "qat0-bundle0", "1,2", mine)
    tree.interrupt(51, "qat0-bundle1", "10,20", mine)
    tree.interrupt(52, "qat0-ae-cluster", "100,200", mine)
    tree.interrupt(60, "qat1-bundle0", "1000,2000")
    proof = accelerators.counters(look(here, tree), driver("qat_aes_cbc"))
    assert proof.counts == "interrupts"
    assert sum(value or 0 for value in values(proof).values()) == 33


def test_a_qats_virtual_function_is_proved_by_its_interrupt(here: Here, tree: Tree) -> None:
    mine = tree.pci("0000:6b:01.0", "8086:4941", "4xxxvf")
    tree.interrupt(70, "qat_6b:01.00", "4,5", mine)
    proof = accelerators.counters(look(here, tree), driver("qat_aes_cbc"))
    assert (proof.counts, list(values(proof).values())) == ("interrupts", [9])


def test_a_qat_without_any_counter_says_what_is_missing(here: Here, tree: Tree) -> None:
    tree.pci("0000:6b:00.0", "8086:4940", "4xxx")
    proof = accelerators.counters(look(here, tree), driver("qat_aes_cbc"))
    assert proof.counters == {}
    reason = accelerators.unproven({}, proof, 1) or ""
    assert reason.startswith("nothing counts the card's work: no /sys/kernel/debug/qat_*_{address}/fw_counters")
    assert "debugfs" in reason


def virtio_crypto(tree: Tree, *interrupts: str) -> None:
    """As QEMU's device appears: PCI device 1af4:1054, and below it virtio4 with device number 0x14."""
    place = tree.pci("0000:00:05.1", "1af4:1054", "virtio-pci")
    tree.device("virtio", "virtio4", "pci0000:00/0000:00:05.1", device="0x0014", uevent="DRIVER=virtio_crypto")
    for number, actions in enumerate(interrupts, 32):
        tree.interrupt(number, actions, f"{number},1", place)


@pytest.mark.parametrize(
    ("interrupts", "counted"),
    [
        (("virtio4-config", "virtio4-virtqueues"), ["33"]),  # fewer vectors than queues: QEMU's default
        (("virtio4-config", "virtio4-dataq.0", "virtio4-controlq"), ["33"]),
        (("virtio4-config", "virtio4-dataq.0", "virtio4-dataq.1", "virtio4-controlq"), ["33", "34"]),
        (("virtio4",), ["32"]),  # one line for everything
    ],
)
def test_a_virtio_card_is_proved_by_its_queues_interrupts(
    here: Here, tree: Tree, interrupts: tuple[str, ...], counted: list[str]
) -> None:
    virtio_crypto(tree, *interrupts)
    tree.interrupt(90, "virtio40-dataq.0")
    seen = look(here, tree)
    (device,) = seen.devices
    assert (device.card, device.bus, device.address) == ("virtio-crypto", "virtio", "virtio4")
    assert device.driver == "virtio_crypto"
    proof = accelerators.counters(seen, driver("virtio_crypto_aes_cbc"))
    assert sorted(proof.counters) == [f"virtio-crypto interrupts {number}" for number in counted]
    assert sum(value or 0 for value in values(proof).values()) == sum(int(n) + 1 for n in counted)


def test_an_interrupt_that_is_shared_counts_others_work_too(here: Here, tree: Tree) -> None:
    virtio_crypto(tree, "virtio4,i801_smbus")
    proof = accelerators.counters(look(here, tree), driver("virtio_crypto_aes_cbc"))
    assert proof.counters == {}
    assert "no interrupt of its own" in (proof.why_not or "")


def test_a_card_of_a_system_on_chip_is_found_by_its_platform_driver(here: Here, tree: Tree) -> None:
    folder = tree.root / "sys/bus/platform/drivers/marvell-cesa"
    folder.mkdir(parents=True)
    (folder / "module").symlink_to(tree.root)
    (folder / "f1090000.crypto").symlink_to(tree.root)
    (folder / "uevent").write_text("")
    tree.interrupt(48, "f1090000.crypto", "12")
    tree.interrupt(49, "f10900000crypto", "500")
    seen = look(here, tree)
    (device,) = seen.devices
    assert (device.card, device.address, device.driver) == ("cesa", "f1090000.crypto", "marvell-cesa")
    proof = accelerators.counters(seen, driver("mv-cbc-des3-ede", "cbc(des3_ede)"))
    assert list(values(proof).values()) == [12]


DEBUG_FILES = {
    "hisi_sec_cbc(aes)": ("hisi_sec2/0000:76:00.0/sec_dfx/recv_cnt", "123\n", 123),
    "cbc-des3-ccp": (
        "ccp/ccp-1/stats",
        "Total Interrupts Handled: 9\n        Total Operations: 77\n                     AES: 70\n",
        77,
    ),
    "n5_cbc(aes)": ("n5pf/stats", "NITROX [0] Request Statistics\n  Posted: 9\n  Completed: 8\n  Dropped: 1\n", 8),
    "cbc-aes-chcr": (
        "cxgb4/0000:01:00.4/crypto",
        "Chelsio Crypto Accelerator Stats \nCipher Ops:         44 \nCompletion:         43 \nFallback:          1 \n",
        43,
    ),
}


@pytest.mark.parametrize(("name", "file"), DEBUG_FILES.items())
def test_a_cards_own_request_counters_are_found(here: Here, tree: Tree, name: str, file: tuple[str, str, int]) -> None:
    """In the form in which the driver's source prints them."""
    path, text, expected = file
    if name.startswith("hisi"):
        tree.pci("0000:76:00.0", "19e5:a255", "hisi_sec2")
    tree.write(f"sys/kernel/debug/{path}", text)
    tree.write(f"sys/kernel/debug/{path}.d/deeper/{Path(path).name}", "999\n")
    proof = accelerators.counters(look(here, tree, driver(name)), driver(name))
    assert proof.counts == "requests"
    assert list(values(proof).values()) == [expected]


def test_a_driver_in_software_has_no_card_to_ask(here: Here, tree: Tree) -> None:
    proof = accelerators.counters(look(here, tree), driver("cbc-aes-aesni"))
    assert accelerators.unproven({}, proof, 1) == (
        "nothing counts the card's work: cbc-aes-aesni is not a card's driver"
    )
    unseen = accelerators.counters(Seen(), driver("qat_aes_cbc"))
    assert "Intel QuickAssist was not looked for" in (unseen.why_not or "")


def test_a_card_that_no_file_counts_says_why(here: Here, tree: Tree) -> None:
    proof = accelerators.counters(look(here, tree, driver("cbc-aes-qce")), driver("cbc-aes-qce"))
    assert proof == Proof({}, None, "with DMA, the usual case, the interrupts are the DMA controller's")


def test_pci_devices_that_are_no_cards_are_none() -> None:
    assert card_of_pci("8086:1572") is None
    assert card_of_pci(":") is None
