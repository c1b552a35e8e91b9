"""Pure: which kernel crypto driver a suite means, and whether it can be had and proven on a host."""

from __future__ import annotations

from harness.ciphers.table import Cipher, Integrity
from hosts.crypto import proc_crypto
from hosts.crypto.cards import recognise
from hosts.crypto.proc_crypto import Driver
from hosts.facts import Facts

CARD = "card"
"""The driver of a profile that means: whatever accelerator the sender has for the cipher."""
STEERED_PRIORITY = 1_000_000
"""Given to a driver that ESP or kernel TLS are to take: above what any driver of the kernel's registers with."""


def chosen(wanted: str, cipher: Cipher, sender: Facts) -> str | None:
    """The name of the driver: itself, or the card's that has the highest priority; None where there is no card."""
    if wanted != CARD:
        return wanted
    cards = [driver for driver in sender.drivers if driver.algorithm == cipher.kernel and recognise(driver)]
    best = proc_crypto.taken(cards, cipher.kernel)
    return best.driver if best else None


def no_card(cipher: Cipher, sender: Facts) -> str:
    """Why ``card`` means nothing on this host: no device, or none for this cipher."""
    devices = sender.accelerators.devices
    if not devices:
        return f"the sender has no crypto card that is known here, so none for {cipher.kernel}"
    shown = ", ".join(f"{device.card} at {device.address}" for device in devices)
    return f"the sender's cards ({shown}) have no driver for {cipher.kernel} in /proc/crypto"


def esp_algorithm(cipher: Cipher, integrity: Integrity) -> str:
    """The algorithm that the kernel's ESP asks for: an AEAD, or authenc of both where the cipher is none."""
    return str(cipher.esp) if cipher.aead else f"authenc(hmac({integrity}),{cipher.esp})"


def to_steer(name: str, algorithms: tuple[str, ...], sender: Facts) -> Driver | None:
    """The driver whose priority is to be raised so that a user of one of these algorithms takes the card of ``name``.

    The first algorithm that the same card has a driver for: the whole of it before a part that it is built upon.
    None where the driver is not known, or is no card's.
    """
    named = proc_crypto.named(sender.drivers, name)
    card = recognise(named) if named else None
    if card is None:
        return None
    for algorithm in algorithms:
        mine = [driver for driver in sender.drivers if driver.algorithm == algorithm and recognise(driver) == card]
        if best := proc_crypto.taken(mine, algorithm):
            return best
    return None
