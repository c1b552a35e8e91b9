"""``ipsec-per-worker``: each worker's SAs prove what was sent by its port, and all of them what was sent."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness import paths
from harness.api.parameters import Parameters
from harness.api.path import Loaded, Observed
from harness.ciphers.table import CIPHERS
from harness.paths import ipsec_per_worker
from harness.run import feasible
from harness.servers import ipsec
from hosts.facts import Facts
from hosts.onhost.agent import xfrm

GCM = Parameters(CIPHERS["aes128gcm"], connection="kept", at_once=8, workers=2)
PROTECTED = xfrm.protection(ipsec.protection(GCM))
PORTS = (18080, 18081)
SIZE = 1000


def sas(*carried: int) -> dict[str, Any]:
    """What both hosts tell of the SAs of each port, whose senders have carried so much."""
    sender: dict[str, int | None] = {}
    receiver: dict[str, int | None] = {}
    states: dict[str, str | None] = {}
    for port, count in zip(PORTS, carried, strict=True):
        common = {f"{port}_sa_out_added": 0, f"{port}_sa_in_added": 0}
        sender |= common | {f"{port}_sa_out_bytes": count, f"{port}_sa_in_bytes": count // 9}
        sender |= {f"{port}_sa_out_packets": count // 100}
        receiver |= common | {f"{port}_sa_in_bytes": count, f"{port}_sa_out_bytes": count // 9}
        for way in ("sa_out", "sa_in"):
            states |= {f"{port}_{way}_protection": PROTECTED, f"{port}_{way}_offload": xfrm.NO_OFFLOAD}
    return {"sender": sender, "receiver": receiver, "sender_states": states, "receiver_states": states}


def observed(requests: tuple[int, int], carried: tuple[int, int], at_once: int = 8) -> Observed:
    log = [{"bytes": SIZE, "port": port} for port, count in zip(PORTS, requests, strict=True) for _ in range(count)]
    return Observed(
        SIZE, log=log, requests=len(log), connection="kept", connections=at_once + 1,
        load=Loaded(at_once, 0, 1), **sas(*carried),
    )  # fmt: skip


def test_the_bytes_of_all_sas_add_up_and_each_ones_share_is_told() -> None:
    found = ipsec_per_worker.verify(GCM, PORTS, observed((6, 4), (7500, 5000)))
    assert found.reason is None
    told = found.facts
    assert (told["sas"], told["sender_sa_bytes"], told["receiver_sa_bytes"]) == (2, 12500, 12500)
    assert (told["least_sa_share"], told["most_sa_share"]) == (0.4, 0.6)
    assert (told["key_bits"], told["sender_sa"]) == (128, PROTECTED)


@pytest.mark.parametrize(
    ("requests", "carried", "why"),
    [
        ((6, 4), (12000, 500), "port 18081: the sender's SA carried 500 bytes of a payload of 4000"),
        ((6, 4), (5999, 9000), "port 18080: the sender's SA carried 5999 bytes of a payload of 6000"),
        ((10, 0), (12000, 0), "no request came to port 18081, whose SAs are one worker's"),
    ],
)
def test_an_sa_that_did_not_carry_its_share_is_told(
    requests: tuple[int, int], carried: tuple[int, int], why: str
) -> None:
    """One SA that carried all, another's bytes, or none at all: however much all of them carried together."""
    assert ipsec_per_worker.verify(GCM, PORTS, observed(requests, carried)).reason == why


def test_an_sa_whose_worker_had_no_connection_may_carry_nothing() -> None:
    assert ipsec_per_worker.verify(GCM, PORTS, observed((6, 0), (7500, 0), at_once=1)).reason is None


@pytest.mark.parametrize("host", ["sender_states", "receiver_states"])
def test_another_protection_of_any_port_is_told(host: str) -> None:
    seen = observed((6, 4), (7500, 5000))
    states = getattr(seen, host) | {f"{PORTS[1]}_sa_in_protection": "transport mode, no algorithm"}
    said = ipsec_per_worker.verify(GCM, PORTS, replace(seen, **{host: states})).reason
    assert said is not None and said.startswith("port 18081: ") and "SA has transport mode, no algorithm" in said


def test_it_is_for_load_only() -> None:
    path = paths.discover()["ipsec-per-worker"]
    assert "one connection" in str(path.impossible(replace(GCM, at_once=None)))
    assert path.impossible(GCM) is None
    reason = feasible.why_not(
        path,
        replace(GCM, at_once=None),
        Facts("sender", "6.12", {}, frozenset()),
        Facts("receiver", "6.12", {}, frozenset()),
    )
    assert reason == path.impossible(replace(GCM, at_once=None))
