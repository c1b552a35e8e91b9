"""Network cards that encipher by themselves: which of their offloads a path needs, and what the card itself counted.

Documentation/networking/tls-offload.rst (Statistics) and xfrm_device.rst. Never seen on a card: netdevsim, which the
kernel plays a card with, takes SAs and counts packets, and enciphers nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

from harness.api.path import Deployed, Observed, Witness
from harness.servers import requirements
from hosts import offloads
from hosts.facts import NETDEVSIM, Facts
from hosts.onhost.agent.values import Change, Counter, FileCounter, StatisticCounter

TLS, ESP = "tls-hw-tx-offload", "esp-hw-offload"
CARRIER = "carrier_changes"
"""How often the link went up or down: a card gives up its offloads then, and the kernel goes on without."""
TLS_BYTES, TLS_SKIPPED = "tx_tls_encrypted_bytes", "tx_tls_skip_no_sync_data"
TLS_COUNTED = (
    TLS_BYTES,
    "tx_tls_encrypted_packets",
    TLS_SKIPPED,
    "tx_tls_ooo",
    "tx_tls_drop_no_sync_data",
    "tx_tls_drop_bypass_req",
)
"""What a driver is to tell of TLS. Packets that it skipped went out without its help; for those out of order it was
told anew where it stood."""
ESP_BYTES, ESP_PACKETS = ("ipsec_tx_bytes",), ("ipsec_tx_pkts", "tx_ipsec")
"""What drivers call that which they enciphered for ESP: mlx5, and ixgbe with its virtual function."""
PLAYED = f"{NETDEVSIM} plays a card and enciphers nothing: what it counts shows where packets went, and no more"


def interface(sender: Facts) -> str:
    """The sender's end of the measured link."""
    return str(sender.shown["link"]["interface"])


def without(name: str, sender: Facts) -> str | None:
    """Why the sender's card has not this offload, or it cannot be turned on; None where it can."""
    return _kept(name, True, sender)


def with_it(name: str, sender: Facts) -> str | None:
    """Why the sender's card cannot be made to leave this to the kernel; None where it can, or does."""
    found = sender.offloads.get(name)
    return _kept(name, False, sender) if found and found.on else None


def _kept(name: str, on: bool, sender: Facts) -> str | None:
    if "ethtool" not in sender.broken and (missing := requirements.no_programs(("ethtool",), sender)):
        return missing
    if reason := offloads.why_not(name, on, sender.offloads, interface(sender)):
        return f"on the sender {reason}"
    if sender.shared and sender.offloads[name].on != on:
        return f"on the sender {sender.shared}: its offloads are left alone (docs/hosts.md)"
    return None


def switched(name: str, on: bool, sender: Facts) -> tuple[Change, ...]:
    """What gives a transfer this offload, or takes it away: nothing where it is so already."""
    found = sender.offloads.get(name)
    return () if found is None or found.on == on else (offloads.switch(name, on, interface(sender)),)


def uncounted(sender: Facts) -> str | None:
    """Why nothing would prove that the sender's card enciphered ESP; None where it counts that."""
    if esp_counters(sender):
        return None
    return (
        f"the sender's card ({sender.card.driver or 'no driver'}) does not count what it enciphers of ESP, and the "
        "kernel falls back to software packet by packet without a word"
    )


def tls_counters(sender: Facts) -> dict[str, Counter]:
    """What the sender's card tells of TLS, and of its link."""
    return _counters(TLS_COUNTED, sender) | _carrier(sender)


def esp_counters(sender: Facts) -> dict[str, Counter]:
    """What the sender's card tells of ESP, and of its link; nothing where it tells nothing of ESP."""
    found = _counters((*ESP_BYTES, *ESP_PACKETS), sender)
    if sender.card.ipsec:
        found["tx_ipsec"] = FileCounter(sender.card.ipsec, r"^SA count=\d+ tx=(\d+)")
    return found | _carrier(sender) if found else {}


def _counters(names: Collection[str], sender: Facts) -> dict[str, Counter]:
    return {name: StatisticCounter(interface(sender), name) for name in names if name in sender.card.statistics}


def _carrier(sender: Facts) -> dict[str, Counter]:
    return {CARRIER: FileCounter(f"/sys/class/net/{interface(sender)}/{CARRIER}", r"^(\d+)")}


def by_tls(deployed: Deployed, sender: Facts) -> Deployed:
    """The same with the card's own counters in its witness."""
    counters = tls_counters(sender)

    def verify(seen: Observed) -> Witness:
        return _told(deployed.verify(seen), seen, counters, tls_unproven(seen), sender)

    return _counted(deployed, counters, verify)


def by_esp(deployed: Deployed, sender: Facts) -> Deployed:
    """The same with the card's own counters in its witness."""
    counters = esp_counters(sender)

    def verify(seen: Observed) -> Witness:
        return _told(deployed.verify(seen), seen, counters, esp_unproven(seen), sender)

    return _counted(deployed, counters, verify)


def _counted(deployed: Deployed, counters: dict[str, Counter], verify: Callable[[Observed], Witness]) -> Deployed:
    return replace(deployed, verify=verify, sender_counters=deployed.sender_counters | counters)


def _told(said: Witness, seen: Observed, counters: dict[str, Counter], why: str | None, sender: Facts) -> Witness:
    """A witness with what the card counted, and all that speaks against it."""
    facts = said.facts | {f"card_{name}": seen.sender[name] for name in counters}
    moved = f"the sender's link went down or up ({CARRIER})" if seen.sender[CARRIER] else None
    played = PLAYED if sender.card.driver == NETDEVSIM else None
    return Witness(facts, requirements.together(said.reason, moved, why, played))


def tls_unproven(seen: Observed) -> str | None:
    """What of the card's own counters speaks against its having enciphered all records; None where nothing does, or the
    card tells none: then the kernel's TlsTxDevice is all there is."""
    due = seen.payload * seen.requests
    if TLS_BYTES in seen.sender and (seen.sender[TLS_BYTES] or 0) < due:
        return f"the card enciphered {seen.sender[TLS_BYTES]} bytes of {due}: the rest went without it"
    if seen.sender.get(TLS_SKIPPED):
        return f"the card let {seen.sender[TLS_SKIPPED]} packets pass without enciphering them ({TLS_SKIPPED})"
    return None


def esp_unproven(seen: Observed) -> str | None:
    """The same of ESP: bytes where the card tells them, else packets: no fewer than its SA sent."""
    due, sent = seen.payload * seen.requests, seen.sender["sa_out_packets"]
    for name in ESP_BYTES:
        if name in seen.sender:
            done = seen.sender[name]
            return (
                None if (done or 0) >= due else f"the card enciphered {done} bytes of {due}: the rest went without it"
            )
    for name in ESP_PACKETS:
        if name in seen.sender:
            done = seen.sender[name]
            enough = done is not None and sent is not None and done >= max(1, sent)
            return None if enough else f"the card enciphered {done} of {sent} packets: the rest went without it"
    return "the card counted nothing"
