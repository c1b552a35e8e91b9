"""IPsec on the lab: every protection of its profile, seen from the wire; and a shaped link used to its rate."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness import profile
from harness.api.bench import Bench
from harness.api.path import Deployed
from harness.ciphers.table import AUTH_ICV_BITS, CIPHERS
from harness.measuring import sampling
from harness.measuring.opened import OpenTestbed
from harness.measuring.proof import Batch
from harness.profile import TransferSuite
from hosts.roles import ROLES
from tests.support.lab import shell
from tests.support.runs import (
    MB,
    by_path,
    profile_of,
    renew_associations,
    run,
    samples_of,
    suite,
)

pytestmark = pytest.mark.usefixtures("esp_modules")
PROTECTIONS = {
    one.name: {"cipher": one.cipher, "integrity": one.integrity}
    for one in profile.load("esp").suites
    if isinstance(one, TransferSuite)
}
CAPTURE = "/tmp/pathproof-test.pcap"


def seen_on_the_wire(opened: OpenTestbed, condition: str) -> list[str]:
    """Packets of the capture that match, a line each."""
    shown = shell(opened.receiver.host, f"tcpdump -nr {CAPTURE} '{condition}' 2>/dev/null")
    return [line for line in shown.splitlines() if line.strip()]


ALL_WRITTEN = f"""
for i in $(seq 60); do
    was=$now; now=$(stat -c %s {CAPTURE}); [ "$was" = "$now" ] && break; sleep 0.5
done
kill -INT $(pidof tcpdump)
for i in $(seq 100); do pidof tcpdump >/dev/null || break; sleep 0.1; done
"""
"""On a busy guest tcpdump comes to what the kernel kept for it only later, and forgets it when told to end."""


@pytest.mark.parametrize("name", PROTECTIONS)
def test_every_protection_carries_all_of_it_and_nothing_in_clear(
    opened: OpenTestbed, tmp_path: Path, name: str
) -> None:
    """The SAs of this very protection counted the payload, and a capture between the data addresses shows only ESP."""
    shown: dict[str, str] = {}

    def capture(bench: Bench, _deployed: dict[str, Deployed]) -> None:
        interface = bench.receiver.host.data_interface
        # immediately: else the kernel keeps the last packets for a second, until its block of them is full
        listen = f"tcpdump --immediate-mode -i {interface} -s 96 -B 8192 -U -w {CAPTURE}"
        command = f"setsid {listen} >/tmp/pathproof-test.tcpdump 2>&1 &"
        wait = "for i in $(seq 100); do grep -q listening /tmp/pathproof-test.tcpdump && break; sleep 0.05; done"
        bench.receiver.check(["sh", "-c", f"{command} {wait}"])
        for host in (bench.sender, bench.receiver):
            shown[host.name] = host.check(["ip", "xfrm", "state", "list", "nokeys"])

    try:
        done = run(opened, profile_of(suite("ipsec", **PROTECTIONS[name])), tmp_path, capture)
        shell(opened.receiver.host, ALL_WRITTEN)
        ends = f"host {opened.sender.host.data_address} and host {opened.receiver.host.data_address}"
        esp = seen_on_the_wire(opened, f"ip proto 50 and {ends}")
        # neighbours and routers are looked for in clear, as on every link
        clear = seen_on_the_wire(opened, f"not (ip proto 50 and {ends}) and not arp and not icmp6")
    finally:
        shell(
            opened.receiver.host, f"kill $(pidof tcpdump); rm -f {CAPTURE} /tmp/pathproof-test.tcpdump; rmmod af_packet"
        )
    cell = by_path(done)["ipsec"]
    assert cell.outcome == "measured", cell.reason
    samples = samples_of(done, "ipsec")
    for sample in samples:
        assert sample.valid
        for role in ROLES:
            assert MB <= int(sample.witness[f"{role}_sa_bytes"] or 0) < 1.1 * MB
        asked = CIPHERS[str(PROTECTIONS[name]["cipher"])]
        tag = 128 if asked.aead else AUTH_ICV_BITS[PROTECTIONS[name]["integrity"]]
        assert (sample.witness["key_bits"], sample.witness["tag_bits"]) == (8 * asked.key_bytes, tag)
    assert len(esp) >= len(samples) * MB / 1400, "all payloads are in the capture"
    assert clear == []
    due = {"null": "ecb(cipher_null)", "3des": "cbc(des3_ede)", "aes128gcm": "rfc4106(gcm(aes))"}
    for text in shown.values():
        assert due.get(str(PROTECTIONS[name]["cipher"]), "") in text
        if "gcm" not in name and "chacha" not in name:
            assert re.findall(r"auth-trunc hmac\((\w+)\)", text) == [PROTECTIONS[name]["integrity"]] * 2


KEY = "5a" * 100
"""Of which a test takes as much as it needs."""
SHA1 = f"auth-trunc hmac(sha1) 0x{KEY[:40]}"


def renewed(protection: str) -> Callable[[Bench, dict[str, Deployed]], None]:
    """Both hosts' SAs go and others with this protection come in their place, so that traffic flows."""

    def act(bench: Bench, _deployed: dict[str, Deployed]) -> None:
        for host in (bench.sender, bench.receiver):
            assert renew_associations(host, lambda _: protection) == 2

    return act


@pytest.mark.parametrize(
    ("asked", "protection", "found", "due"),
    [
        (
            {"cipher": "aes256gcm"},
            f"aead rfc4106(gcm(aes)) 0x{KEY[:40]} 128",
            "rfc4106(gcm(aes)) with a key of 160 bits, a tag of 128",
            "rfc4106(gcm(aes)) with a key of 288 bits, a tag of 128",
        ),
        (
            {"cipher": "aes256cbc"},
            f"{SHA1} 96 enc cbc(aes) 0x{KEY[:32]}",
            "cbc(aes) with a key of 128 bits and hmac(sha1)",
            "cbc(aes) with a key of 256 bits and hmac(sha1)",
        ),
        (
            {"cipher": "aes128gcm"},
            f"aead rfc4106(gcm(aes)) 0x{KEY[:40]} 64",
            "rfc4106(gcm(aes)) with a key of 160 bits, a tag of 64",
            "rfc4106(gcm(aes)) with a key of 160 bits, a tag of 128",
        ),
        (
            {"cipher": "aes128cbc"},
            f"{SHA1} 160 enc cbc(aes) 0x{KEY[:32]}",
            "hmac(sha1) with a key of 160 bits, a tag of 160",
            "hmac(sha1) with a key of 160 bits, a tag of 96",
        ),
        (
            {"cipher": "aes128cbc", "integrity": "sha256"},
            f"{SHA1} 96 enc cbc(aes) 0x{KEY[:32]}",
            "hmac(sha1) with a key of 160 bits, a tag of 96",
            "hmac(sha256) with a key of 256 bits, a tag of 128",
        ),
    ],
    ids=["short-key-gcm", "short-key-cbc", "short-tag", "long-tag", "weaker-mac"],
)
def test_another_protection_is_never_a_number(
    opened: OpenTestbed, tmp_path: Path, asked: dict[str, str], protection: str, found: str, due: str
) -> None:
    """Every byte goes through SAs, by the cipher's own name; a length is not what it should be."""
    done = run(opened, profile_of(suite("http", "ipsec", **asked)), tmp_path, renewed(protection))
    cells = by_path(done)
    assert cells["ipsec"].outcome == "invalid", cells["ipsec"].reason
    said, _, wanted = (cells["ipsec"].reason or "").partition("; due is ")
    assert found in said
    assert due in wanted
    (sample,) = samples_of(done, "ipsec")
    assert sample.sha256_ok, "the payload itself came whole"
    assert cells["http"].outcome == "measured", cells["http"].reason
    assert not done.head.verdicts


def _as_it_was(words: list[str]) -> str:
    """An AEAD with its key, from what `ip` shows."""
    start = words.index("aead")
    return " ".join(words[start : start + 4])


def test_an_sa_exchanged_in_mid_sample_is_never_a_number(opened: OpenTestbed, tmp_path: Path) -> None:
    """For one with the same SPI, protection and even key: it only counts from the beginning again."""

    def act(bench: Bench, deployed: dict[str, Deployed]) -> None:
        right = deployed["ipsec"]
        time.sleep(1.1)  # the kernel tells in whole seconds when an SA was added

        def exchange(name: str) -> str:
            """Asked for when the counters of a sample have been read."""
            for host in (bench.sender, bench.receiver):
                renew_associations(host, _as_it_was)
            return right.url(name)

        deployed["ipsec"] = replace(right, url=exchange)

    done = run(opened, profile_of(suite("ipsec", cipher="aes256gcm")), tmp_path, act)
    cell = by_path(done)["ipsec"]
    assert cell.outcome == "invalid", cell.reason
    assert cell.reason == "the sender's outgoing SA was exchanged for another during the sample"
    (sample,) = samples_of(done, "ipsec")
    assert sample.sha256_ok, "the payload itself came whole"


def test_a_file_in_clear_uses_the_shaped_link_as_fully_as_iperf3(opened: OpenTestbed, tmp_path: Path) -> None:
    """30 MB at 1 Gbit/s by nginx and by iperf3, one after the other on the same link: at least 0.95 of its goodput."""
    size = 30 * MB
    goodput: dict[str, list[float]] = {"iperf3": [], "http": []}

    def alternate(bench: Bench, deployed: dict[str, Deployed]) -> None:
        payload = opened.payload(size, 2005)
        for block in range(4):
            bench.receiver.check(["iperf3", "-s", "-1", "-D", "-B", str(bench.peer)])
            said = bench.sender.check(["iperf3", "-c", str(bench.peer), "-n", str(size), "-J"])
            goodput["iperf3"].append(json.loads(said)["end"]["sum_received"]["bits_per_second"])
            (sample,) = sampling.take(opened, [("http", deployed["http"])], payload, block, False, Batch())
            assert sample.valid
            assert sample.seconds
            goodput["http"].append(size * 8 / sample.seconds)

    asked = profile_of(suite("http", cipher="3des", link_rate="300mbit"))
    http = by_path(run(opened, asked, tmp_path, alternate))["http"]
    assert http.outcome == "measured", http.reason
    assert max(goodput["http"]) >= 0.95 * max(goodput["iperf3"]), goodput
    assert max(goodput["iperf3"]) < 300e6
