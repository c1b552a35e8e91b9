"""Paths whose cryptography a card does: steering the kernel to it, and the card's own counters as a witness.

A reference count in /proc/crypto shows that a driver was allocated, not that it worked: many drivers hand requests that
do not suit them to software without a word. So a card must have counted something itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from harness.api.bench import Bench
from harness.api.path import Deployed, Observed, Witness
from harness.ciphers import drivers
from hosts.crypto import accelerators, proc_crypto
from hosts.crypto.accelerators import Proof
from hosts.crypto.cards import recognise
from hosts.facts import Facts
from hosts.remote import changes

IN_FLIGHT = 64
"""One interrupt may report as many requests as were under way: so many at most, here."""


def proof(name: str, sender: Facts) -> Proof | None:
    """What would prove that the card behind a driver worked; None where it is no card's driver."""
    driver = proc_crypto.named(sender.drivers, name)
    return accelerators.counters(sender.accelerators, driver) if driver and recognise(driver) else None


def unproven(name: str, sender: Facts) -> str | None:
    """Why this driver's work could not be proven on this host, or None."""
    found = proof(name, sender)
    if found is None:
        return f"nothing would prove that {name} was taken: only a card counts its own work"
    return None if found.counters else f"nothing counts the work of {name}: {found.why_not}"


def steer(bench: Bench, name: str, algorithms: tuple[str, ...]) -> None:
    """Make the kernel take the card behind ``name`` for the first of these algorithms that it has a driver for."""
    if wanted := drivers.to_steer(name, algorithms, bench.facts):
        bench.on_sender.apply(changes.modules("crypto_user"))
        bench.on_sender.apply(changes.priority(wanted.driver, drivers.STEERED_PRIORITY))


def due(found: Proof, requests: int) -> int:
    """How far a card's counters must rise for so many requests to it."""
    return max(1, requests if found.counts == "requests" else requests // IN_FLIGHT)


def watched(deployed: Deployed, name: str, sender: Facts, requests: Callable[[Observed, Witness], int]) -> Deployed:
    """The same with the card's counters in its witness, if the driver is a card's."""
    found = proof(name, sender)
    if found is None:
        return deployed

    def verify(seen: Observed) -> Witness:
        said = deployed.verify(seen)
        facts = said.facts | {f"card_{found.counts}": accelerators.rise(seen.sender, found)}
        reason = said.reason or accelerators.unproven(seen.sender, found, due(found, requests(seen, said)))
        return Witness(facts, reason)

    return replace(deployed, verify=verify, sender_counters=deployed.sender_counters | found.counters)
