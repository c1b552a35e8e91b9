"""Network cards that encipher: what the kernel and the card counted must be theirs alone, to the last connection."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import paths
from harness.api.parameters import Parameters
from harness.api.path import Deployed, Witness
from harness.ciphers.table import CIPHERS
from harness.servers import ipsec, nic
from hosts import offloads
from hosts.errors import Refusal
from hosts.facts import Card, Facts, played_ipsec
from hosts.onhost.agent import xfrm
from hosts.onhost.agent.values import FileCounter, Observation, StatisticCounter
from tests.unit.test_paths import PATHS, Noted, associations, bench, facts, nginx_line, seen, tls_line, tls_tx

GCM = Parameters(CIPHERS["aes128gcm"], tls="1.3")
SIZE = 10**6
CONNECTX = Card("mlx5_core", frozenset({*nic.TLS_COUNTED, "ipsec_tx_pkts", "ipsec_tx_bytes", "rx_packets"}))
IXGBE = Card("ixgbe", frozenset({"tx_ipsec", "rx_ipsec"}))
FEATURES = "tls-hw-tx-offload: off\nesp-hw-offload: on\n"
CARDS = ("ktls-nic", "esp-nic", "esp-nic-packet")


def sender(card: Card = CONNECTX, features: str = FEATURES, **more: Any) -> Facts:
    made = facts("sender")
    shown = made.shown | {"link": {"interface": "eth1"}}
    modules = made.modules | {"esp4_offload"}
    return replace(made, card=card, offloads=offloads.parse(features), shown=shown, modules=modules, **more)


def deployed(name: str, about: Facts) -> tuple[Deployed, Noted]:
    where, host = bench(offered=["ONE"])
    where.facts = about
    host.observe = lambda _counters: Observation(  # type: ignore[attr-defined]
        {},
        {"offload": xfrm.offload("crypto" if name == "esp-nic" else "packet", "eth0", "out")},
        *(None, None),  # type: ignore[arg-type]
    )
    return PATHS[name].deploy(where, GCM), host


# who may take which path


@pytest.mark.parametrize("name", CARDS)
def test_a_card_with_all_of_it_may_be_tried(name: str) -> None:
    assert PATHS[name].impossible(GCM) is None
    assert PATHS[name].unsupported(GCM, sender(), facts("receiver")) is None
    assert "no driver of the kernel's" in str(PATHS[name].impossible(replace(GCM, driver="a-card")))


@pytest.mark.parametrize(
    ("name", "about", "why"),
    [
        ("ktls-nic", sender(features="tls-hw-tx-offload: off [fixed]"), "off, and its driver lets nobody change that"),
        ("ktls-nic", sender(features="rx-checksumming: on"), "eth1 has no offload called tls-hw-tx-offload"),
        (
            "ktls-nic",
            sender(config={"TLS_DEVICE": "n"}),
            "the sender's kernel 6.12.1 is built without CONFIG_TLS_DEVICE",
        ),
        ("ktls-nic", sender(shared="eth1 carries the SSH connection"), "its offloads are left alone"),
        ("esp-nic", sender(Card("e1000e")), "the sender's card (e1000e) does not count what it enciphers of ESP"),
        ("esp-nic", sender(features="esp-hw-offload: off [fixed]"), "esp-hw-offload of eth1 is off, and its driver"),
        ("esp-nic-packet", replace(sender(), modules=facts("sender").modules), "has no module esp4_offload"),
        ("ktls", sender(features="tls-hw-tx-offload: on [fixed]"), "tls-hw-tx-offload of eth1 is on, and its driver"),
    ],
)
def test_what_a_card_cannot_do_is_told_before_anything_is_deployed(name: str, about: Facts, why: str) -> None:
    assert why in str(PATHS[name].unsupported(GCM, about, facts("receiver")))


def test_software_does_not_ask_about_a_card_that_is_left_alone_already() -> None:
    assert PATHS["ktls"].unsupported(GCM, sender(shared="eth1 carries the SSH connection"), facts("receiver")) is None


# the switch: in force during its own transfers only


@pytest.mark.parametrize(
    ("name", "features", "words"),
    [
        ("ktls-nic", "tls-hw-tx-offload: off", ["tls-hw-tx-offload", "on"]),
        ("ktls-nic", "tls-hw-tx-offload: on", None),
        ("ktls", "tls-hw-tx-offload: on", ["tls-hw-tx-offload", "off"]),
        ("ktls-write", "tls-hw-tx-offload: on", ["tls-hw-tx-offload", "off"]),
        ("ktls", "tls-hw-tx-offload: off", None),
        ("ktls", "tls-hw-tx-offload: off [fixed]", None),
        ("esp-nic", "esp-hw-offload: off", ["esp-hw-offload", "on"]),
        ("esp-nic-packet", "esp-hw-offload: on", None),
    ],
)
def test_an_offload_is_switched_where_it_is_otherwise(name: str, features: str, words: list[str] | None) -> None:
    made, host = deployed(name, sender(features=features))
    assert [change.apply[3:] for change in made.during if change.kind == "command"] == ([words] if words else [])
    assert not any("ethtool" in str(change) for change in host.applied), "other paths keep what they had"


# TLS


def tls(about: Facts, *, card: int | None = 1, software: int | None = 0, **counted: int | None) -> Witness:
    made, _ = deployed("ktls-nic", about)
    right = dict.fromkeys(made.sender_counters, 0) | {nic.TLS_BYTES: SIZE} | tls_tx(software, card)
    known = {name: value for name, value in right.items() if name in made.sender_counters}
    return made.verify(seen(SIZE, [tls_line(SIZE, GCM)], sender=known | counted))


@given(card=st.integers(0, 3), software=st.none() | st.integers(0, 3))
def test_only_connections_that_the_card_took_and_the_kernel_did_not_count(card: int, software: int | None) -> None:
    found = tls(sender(), card=card, software=software)
    assert (found.reason is None) == (card == 1 and software == 0)


@pytest.mark.parametrize("name", ["https", "ktls", "ktls-write"])
@pytest.mark.parametrize("software", [0, 1])
def test_what_a_card_enciphered_is_no_other_path(name: str, software: int) -> None:
    where, _ = bench(offered=["ONE"])
    made = PATHS[name].deploy(where, GCM)
    found = made.verify(seen(SIZE, [tls_line(SIZE, GCM)], sender=tls_tx(software, 1)))
    assert "a network card made the records of 1 connections (TlsTxDevice)" in str(found.reason)


@pytest.mark.parametrize(
    ("counted", "why"),
    [
        ({}, None),
        ({"tx_tls_ooo": 7}, None),
        ({nic.TLS_BYTES: SIZE - 1}, f"the card enciphered {SIZE - 1} bytes of {SIZE}: the rest went without it"),
        ({nic.TLS_BYTES: None}, f"the card enciphered None bytes of {SIZE}"),
        ({nic.TLS_SKIPPED: 2}, "the card let 2 packets pass without enciphering them"),
        ({nic.CARRIER: 2}, "the sender's link went down or up (carrier_changes)"),
    ],
)
def test_a_card_that_stops_in_mid_transfer_is_told_by_its_own_counters(counted: Any, why: str | None) -> None:
    found = tls(sender(), **counted)
    assert found.reason is None if why is None else str(found.reason).startswith(why)
    assert found.facts["card_tx_tls_ooo"] == counted.get("tx_tls_ooo", 0)


def test_a_card_that_counts_nothing_has_the_kernels_word_only() -> None:
    found = tls(sender(Card("a_driver")))
    assert found.reason is None
    assert [name for name in found.facts if name.startswith("card_")] == ["card_tls", f"card_{nic.CARRIER}"]


# ESP


def esp(name: str, about: Facts, states: Mapping[str, str] | None = None, **counted: int | None) -> Witness:
    made, _ = deployed(name, about)
    told = associations(SIZE, SIZE)
    right = xfrm.protection(ipsec.protection(GCM))
    both = {"sa_out_protection": right, "sa_in_protection": right}
    none = {"sa_out_offload": xfrm.NO_OFFLOAD, "sa_in_offload": xfrm.NO_OFFLOAD}
    kind = "packet" if name == "esp-nic-packet" else "crypto"
    mine = {"sa_out_offload": xfrm.offload(kind, "eth0", "out"), **(states or {})}
    told |= {"sender_states": both | none | mine, "receiver_states": both | none}
    card = dict.fromkeys(nic.esp_counters(about), 0) | {"ipsec_tx_bytes": SIZE, "tx_ipsec": 800} | counted
    told["sender"] |= {name: value for name, value in card.items() if name in nic.esp_counters(about)}
    return made.verify(seen(SIZE, [nginx_line(SIZE)], **told))


@pytest.mark.parametrize("name", ["esp-nic", "esp-nic-packet"])
def test_esp_by_a_card_is_what_its_sa_says_and_the_card_counted(name: str) -> None:
    assert esp(name, sender()).reason is None
    assert esp(name, sender(IXGBE)).reason is None
    short = esp(name, sender(), ipsec_tx_bytes=SIZE - 1)
    assert short.reason == f"the card enciphered {SIZE - 1} bytes of {SIZE}: the rest went without it"
    sent = SIZE // 1400 + 1
    assert esp(name, sender(IXGBE), tx_ipsec=sent).reason is None
    few = esp(name, sender(IXGBE), tx_ipsec=sent - 1)
    assert few.reason == f"the card enciphered {sent - 1} of {sent} packets: the rest went without it"
    assert "went down or up" in str(esp(name, sender(), carrier_changes=2).reason)


@pytest.mark.parametrize("found", [xfrm.NO_OFFLOAD, "crypto offload to eth0, out, then no offload"])
def test_an_sa_whose_offload_ends_is_told(found: str) -> None:
    said = esp("esp-nic", sender(), {"sa_out_offload": found})
    assert said.reason == f"the sender's outgoing SA has {found}; due is crypto offload to eth0, out"


def test_an_sa_that_a_card_does_is_not_ipsec_in_software() -> None:
    told = associations(SIZE, SIZE)
    told["sender_states"] = told["sender_states"] | {"sa_out_offload": "crypto offload to eth0, out"}
    found = ipsec.verify(Parameters(CIPHERS["3des"]), None, seen(SIZE, [nginx_line(SIZE)], **told))
    assert "has crypto offload to eth0, out; due is no offload" in str(found.reason)


@pytest.mark.parametrize("name", ["esp-nic", "esp-nic-packet"])
def test_the_senders_sa_asks_for_the_card_and_no_other_does(name: str) -> None:
    _, host = deployed(name, sender())
    kind = "offload packet" if name == "esp-nic-packet" else "offload"
    added = [change.stdin or "" for change in host.applied if change.kind == "command" and change.what.startswith("SA")]
    asked = [line for line in added if "offload" in line]
    assert asked and all(line.endswith(f" {kind} dev eth0 dir out\n") for line in asked)
    assert len({line.split()[5] for line in asked}) == 1, "of one direction"
    policies = [change.apply for change in host.applied if change.kind == "command" and "policy" in change.what]
    with_offload = [words for words in policies if "offload" in words]
    assert bool(with_offload) == (name == "esp-nic-packet")
    assert any("esp4_offload" in change.names for change in host.applied if change.kind == "module")


def test_the_kernels_silent_fallback_is_refused() -> None:
    where, host = bench(offered=["ONE"])
    where.facts = sender()
    host.observe = lambda _counters: Observation({}, {"offload": xfrm.NO_OFFLOAD}, *(None, None))  # type: ignore[attr-defined,arg-type]
    with pytest.raises(Refusal, match="the kernel fell back to software: the sender's SA has no offload, where crypto"):
        PATHS["esp-nic"].deploy(where, GCM)


# netdevsim


def test_what_only_plays_a_card_proves_nothing() -> None:
    file = played_ipsec("netdevsim1", "p1\n")  # phys_port_name as the kernel writes it: of the first port
    assert file == "/sys/kernel/debug/netdevsim/netdevsim1/ports/0/ipsec" == played_ipsec("netdevsim1", "")
    played = Card("netdevsim", frozenset(), file)
    counter = nic.esp_counters(sender(played))["tx_ipsec"]
    assert isinstance(counter, FileCounter)
    text = "SA count=2 tx=41\nsa[0] tx ipaddr=0x00000000 00000000 00000000 00000000\n"
    assert re.findall(counter.pattern, text, re.MULTILINE) == ["41"]
    assert esp("esp-nic", sender(played)).reason == nic.PLAYED
    assert tls(sender(played)).reason == nic.PLAYED


def test_statistics_are_read_by_the_drivers_names() -> None:
    assert nic.tls_counters(sender())[nic.TLS_BYTES] == StatisticCounter("eth1", nic.TLS_BYTES)
    assert set(paths.discover()) >= set(CARDS)
