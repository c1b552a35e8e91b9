"""The crypto cards of a host: found on its buses, described, and what proves that one of them did the work.

Everything here reads. Two files are left alone because reading them is an action: QAT's heartbeat/status makes the
driver ask the device and may have it reset, qat/rp2srv answers for what was written to it before.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any, Protocol

from hosts.crypto.cards import CARDS, Card, Counts, Meter, card_of_pci, recognise
from hosts.crypto.proc_crypto import Driver
from hosts.onhost.agent.values import Counter, FileCounter, Result

PCI, VIRTIO, PLATFORM = "/sys/bus/pci/devices", "/sys/bus/virtio/devices", "/sys/bus/platform/drivers"
INTERRUPTS, DEBUG = "/sys/kernel/irq", "/sys/kernel/debug"
DEBUG_DEPTH = 4

QAT_ATTRIBUTES = ("state", "cfg_services", "num_rps", "pm_idle_enabled", "auto_reset")
QAT_HEARTBEAT = ("queries_sent", "queries_failed")


class Reader(Protocol):
    """What looking needs of a host: ``RemoteHost`` has it."""

    def run(self, argv: Sequence[str], timeout: float = 30.0) -> Result: ...

    def read(self, paths: Sequence[str]) -> dict[str, str | None]: ...


@dataclass(frozen=True)
class Device:
    """A card on a bus."""

    card: str
    """The name of its family (``cards.Card``)."""
    bus: str
    address: str
    """Its name on the bus."""
    identity: str
    """Vendor and device (PCI), or the device's number (virtio), or the platform driver."""
    driver: str | None
    """The kernel driver that is bound to it; None where none is."""
    virtual_function: bool = False
    attributes: dict[str, str] = field(default_factory=dict)
    """QAT's own files, by name."""
    heartbeat: dict[str, int] = field(default_factory=dict)
    """How often QAT's health was asked for, and how often it did not answer."""


@dataclass(frozen=True)
class Proof:
    """What shows that a card worked: counters as the agent takes them; none, and ``why_not``.

    ``counts`` is what they count; see ``cards.Meter``.
    """

    counters: dict[str, Counter]
    counts: Counts | None
    why_not: str | None = None


@dataclass(frozen=True)
class Seen:
    """What a look at a host found. ``proofs`` by card, for the cards that have a device or a driver there."""

    devices: tuple[Device, ...] = ()
    proofs: dict[str, Proof] = field(default_factory=dict)

    def shown(self) -> dict[str, Any]:
        """As plain data for the record."""
        return {
            "devices": [asdict(device) for device in self.devices],
            "witnesses": {
                name: {"counts": proof.counts, "counters": sorted(proof.counters), "why_not": proof.why_not}
                for name, proof in self.proofs.items()
            },
        }


def look(host: Reader, drivers: Iterable[Driver] = (), root: str = "") -> Seen:
    """Find the cards of a host: on its PCI, virtio and platform buses, and those behind ``drivers`` of /proc/crypto.

    ``root`` stands before every path: a tree that a test made.
    """
    devices = [*_on_pci(host, root), *_on_virtio(host, root), *_on_platform(host, root)]
    behind = {card.name for driver in drivers if (card := recognise(driver))}
    present = [card for card in CARDS if card.name in behind or any(d.card == card.name for d in devices)]
    if not present:
        return Seen(tuple(devices))
    interrupts = _interrupts(host, root)
    files = _counter_files(host, present, root)
    vectors = _vectors(host, [d for d in devices if d.bus == "pci"], root)
    proofs = {}
    for card in present:
        mine = [device for device in devices if device.card == card.name]
        proofs[card.name] = _proof(card, mine, interrupts, vectors, files, root)
    return Seen(tuple(_with_heartbeat(host, devices, files)), proofs)


def counters(seen: Seen, driver: Driver) -> Proof:
    """What proves that the card behind a driver worked, for a path's witness. Pure."""
    card = recognise(driver)
    if card is None:
        return Proof({}, None, f"{driver.driver} is not a card's driver")
    return seen.proofs.get(card.name) or Proof({}, None, f"{card.title} was not looked for")


def rise(deltas: Mapping[str, int | None], proof: Proof) -> int | None:
    """How far a card's counters rose together; None where there are none or one of them could not be read. Pure."""
    values = [deltas.get(name) for name in proof.counters]
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None


def unproven(deltas: Mapping[str, int | None], proof: Proof, at_least: int) -> str | None:
    """Why the counters do not prove that the card did ``at_least`` so many pieces of work; None when they do. Pure."""
    if not proof.counters:
        return f"nothing counts the card's work: {proof.why_not}"
    risen = rise(deltas, proof)
    if risen is None:
        return "the card's own counters could not be read before and after"
    if risen < at_least:
        return f"the card counted {risen} {proof.counts}, not the {at_least} or more that were due"
    return None


def _listed(host: Reader, place: str, *tests: str) -> list[str]:
    """Paths that ``find`` finds below a place; none where it is not there or may not be looked into."""
    return sorted(host.run(["find", place, "-mindepth", "1", *tests]).stdout.splitlines())


def _text(files: Mapping[str, str | None], path: str) -> str | None:
    content = files.get(path)
    return None if content is None else content.replace("\0", "").strip()


def _on_pci(host: Reader, root: str) -> list[Device]:
    base = f"{root}{PCI}"
    addresses = [path.rsplit("/", 1)[1] for path in _listed(host, base, "-maxdepth", "1")]
    identities = host.read([f"{base}/{a}/{name}" for a in addresses for name in ("vendor", "device")])
    cards: dict[str, tuple[str, Card]] = {}
    for address in addresses:
        parts = [_text(identities, f"{base}/{address}/{name}") or "" for name in ("vendor", "device")]
        identity = ":".join(part.removeprefix("0x") for part in parts)
        if card := card_of_pci(identity):
            cards[address] = (identity, card)
    wanted = [f"{base}/{a}/uevent" for a in cards] + [
        f"{base}/{a}/qat/{name}" for a in cards for name in QAT_ATTRIBUTES
    ]
    more = host.read(wanted) if cards else {}
    return [
        Device(
            card=card.name,
            bus="pci",
            address=address,
            identity=identity,
            driver=_bound(more.get(f"{base}/{address}/uevent")),
            virtual_function=identity in card.virtual,
            attributes={
                name: value
                for name in QAT_ATTRIBUTES
                if (value := _text(more, f"{base}/{address}/qat/{name}")) is not None
            },
        )
        for address, (identity, card) in cards.items()
    ]


def _bound(uevent: str | None) -> str | None:
    match = re.search(r"^DRIVER=(\S+)$", uevent or "", re.MULTILINE)
    return match[1] if match else None


def _on_virtio(host: Reader, root: str) -> list[Device]:
    base = f"{root}{VIRTIO}"
    addresses = [path.rsplit("/", 1)[1] for path in _listed(host, base, "-maxdepth", "1")]
    files = host.read([f"{base}/{a}/{name}" for a in addresses for name in ("device", "uevent")])
    numbers = {str(card.virtio): card for card in CARDS if card.virtio is not None}
    devices = []
    for address in addresses:
        text = _text(files, f"{base}/{address}/device") or ""
        number = str(int(text, 16)) if re.fullmatch(r"0x[0-9a-f]+", text) else ""
        if card := numbers.get(number):
            bound = _bound(files.get(f"{base}/{address}/uevent"))
            devices.append(Device(card.name, "virtio", address, number, bound))
    return devices


def _on_platform(host: Reader, root: str) -> list[Device]:
    """Devices of a system on chip: the links in the folder of the platform driver that is bound to them."""
    drivers = {f"{root}{PLATFORM}/{name}": (card, name) for card in CARDS for name in card.platform}
    listed = host.run(["find", *drivers, "-mindepth", "1", "-maxdepth", "1", "-type", "l", "!", "-name", "module"])
    devices = []
    for path in sorted(listed.stdout.splitlines()):
        folder, address = path.rsplit("/", 1)
        card, name = drivers[folder]
        devices.append(Device(card.name, "platform", address, name, name))
    return devices


def _interrupts(host: Reader, root: str) -> dict[str, str]:
    """Names of the devices behind each interrupt, by its number (Documentation/ABI/testing/sysfs-kernel-irq)."""
    listed = host.run(["grep", "-r", "--include=actions", ".", f"{root}{INTERRUPTS}"]).stdout
    return {
        match[1]: match[2].strip()
        for line in listed.splitlines()
        if (match := re.fullmatch(r".*/(\d+)/actions:(.*)", line))
    }


def _vectors(host: Reader, devices: Sequence[Device], root: str) -> dict[str, set[str]]:
    """The message-signalled interrupts of PCI devices, by address."""
    numbers: dict[str, set[str]] = {device.address: set() for device in devices}
    places = [f"{root}{PCI}/{address}/msi_irqs" for address in numbers]
    listed = host.run(["find", *places, "-mindepth", "1", "-maxdepth", "1"]).stdout if places else ""
    for path in listed.splitlines():
        address, _, number = path.split("/")[-3:]
        numbers[address].add(number)
    return numbers


def _counter_files(host: Reader, cards: Sequence[Card], root: str) -> list[str]:
    """The files below /sys/kernel/debug that the cards' meters and QAT's heartbeat are in; others are not asked for."""
    names = [meter.where.replace("{address}", "*") for c in cards for meter in c.meters if meter.counts == "requests"]
    names.append("qat_*/heartbeat/queries_*")
    tests = [word for name in names for word in ("-o", "-path", f"{root}{DEBUG}/{name}")]
    return _listed(host, f"{root}{DEBUG}", "-maxdepth", str(DEBUG_DEPTH), "-type", "f", "(", *tests[1:], ")")


def _proof(
    card: Card,
    devices: Sequence[Device],
    interrupts: Mapping[str, str],
    vectors: Mapping[str, set[str]],
    files: Sequence[str],
    root: str,
) -> Proof:
    """The counters of the best meter of a card that this host has."""
    reasons = []
    addresses: list[str | None] = [device.address for device in devices] or [None]
    for meter in card.meters:
        counters: dict[str, Counter] = {}
        for address in addresses:
            if meter.counts == "requests":
                here = _request_files(meter, address, files, root)
            else:
                here = _interrupt_files(meter, address, interrupts, vectors, root)
            counters |= {f"{card.name} {meter.counts} {name}": spec for name, spec in here.items()}
        if counters:
            return Proof(counters, meter.counts)
        reasons.append(f"no {_place(meter)}")
    why = "; ".join(reasons) or card.notes or "its driver counts nothing"
    return Proof({}, None, why)


def _place(meter: Meter) -> str:
    if meter.counts == "requests":
        return f"{DEBUG}/{meter.where} (needs root and debugfs)"
    return f"interrupt of its own called {meter.where} in {INTERRUPTS}"


def _request_files(meter: Meter, address: str | None, files: Sequence[str], root: str) -> dict[str, Counter]:
    if address is None and "{address}" in meter.where:
        return {}
    wanted = f"{root}{DEBUG}/" + meter.where.replace("{address}", address or "")
    depth = wanted.count("/")
    return {
        path.removeprefix(f"{root}{DEBUG}/"): FileCounter(path, meter.pattern)
        for path in files
        if path.count("/") == depth and fnmatchcase(path, wanted)
    }


def _interrupt_files(
    meter: Meter, address: str | None, interrupts: Mapping[str, str], vectors: Mapping[str, set[str]], root: str
) -> dict[str, Counter]:
    """Only interrupts of this device alone: one shared with another device would count its work too."""
    if address is None and "{address}" in meter.where:
        return {}
    name = meter.where.replace("{address}", re.escape(address or ""))
    own = vectors.get(address or "")
    return {
        number: FileCounter(f"{root}{INTERRUPTS}/{number}/per_cpu_count", r"(\d+)")
        for number, actions in interrupts.items()
        if re.fullmatch(name, actions) and (not own or number in own)
    }


def _with_heartbeat(host: Reader, devices: Sequence[Device], files: Sequence[str]) -> list[Device]:
    """QAT's own health counters, where the kernel has them (since 6.6)."""
    known = set(files)
    described = []
    for device in devices:
        paths = {}
        for path in known:
            name = path.rsplit("/", 1)[1]
            if name in QAT_HEARTBEAT and f"_{device.address}/heartbeat/" in path:
                paths[name] = path
        content = host.read(list(paths.values())) if paths else {}
        values = {name: _text(content, path) for name, path in paths.items()}
        counted = {name: int(value) for name, value in sorted(values.items()) if value and value.isdecimal()}
        described.append(replace(device, heartbeat=counted))
    return described
