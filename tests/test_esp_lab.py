"""IPsec on the lab: every protection of its profile, seen from the wire; and a shaped link used to its rate."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from harness import measure, profile
from harness.bed import Bed
from harness.bench import Bench
from harness.measure import Batch
from harness.paths import Deployed
from harness.profile import TransferSuite
from tests.campaigns import MB, by_path, profile_of, renew_associations, run, samples_of, suite
from tests.conftest import shell

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("esp_modules")]
PROTECTIONS = {
    one.name: {"cipher": one.cipher, "integrity": one.integrity}
    for one in profile.load("esp").suites
    if isinstance(one, TransferSuite)
}
CAPTURE = "/tmp/pathproof-test.pcap"


def seen_on_the_wire(bed: Bed, condition: str) -> list[str]:
    """Packets of the capture that match, a line each."""
    shown = shell(bed.receiver.host, f"tcpdump -nr {CAPTURE} '{condition}' 2>/dev/null")
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
def test_every_protection_carries_all_of_it_and_nothing_in_clear(bed: Bed, tmp_path: Path, name: str) -> None:
    """The SAs of this very protection counted the payload, and a capture between the data addresses shows only ESP."""
    shown: dict[str, str] = {}

    def capture(bench: Bench, _deployed: dict[str, Deployed]) -> None:
        interface = bench.receiver.host.data_interface
        command = f"setsid tcpdump -i {interface} -s 96 -B 8192 -U -w {CAPTURE} >/tmp/pathproof-test.tcpdump 2>&1 &"
        wait = "for i in $(seq 100); do grep -q listening /tmp/pathproof-test.tcpdump && break; sleep 0.05; done"
        bench.receiver.check(["sh", "-c", f"{command} {wait}"])
        for host in (bench.sender, bench.receiver):
            shown[host.name] = host.check(["ip", "xfrm", "state", "list", "nokeys"])

    try:
        done = run(bed, profile_of(suite("ipsec", **PROTECTIONS[name])), tmp_path, capture)
        shell(bed.receiver.host, ALL_WRITTEN)
        ends = f"host {bed.sender.host.data_address} and host {bed.receiver.host.data_address}"
        esp = seen_on_the_wire(bed, f"ip proto 50 and {ends}")
        # neighbours and routers are looked for in clear, as on every link
        clear = seen_on_the_wire(bed, f"not (ip proto 50 and {ends}) and not arp and not icmp6")
    finally:
        shell(bed.receiver.host, f"kill $(pidof tcpdump); rm -f {CAPTURE} /tmp/pathproof-test.tcpdump")
    cell = by_path(done)["ipsec"]
    assert cell.outcome == "measured", cell.reason
    samples = samples_of(done, "ipsec")
    for sample in samples:
        assert sample.valid
        for role in ("sender", "receiver"):
            assert MB <= int(sample.witness[f"{role}_sa_bytes"] or 0) < 1.1 * MB
    assert len(esp) >= len(samples) * MB / 1400, "all payloads are in the capture"
    assert clear == []
    due = {"null": "ecb(cipher_null)", "3des": "cbc(des3_ede)", "aes128gcm": "rfc4106(gcm(aes))"}
    for text in shown.values():
        assert due.get(str(PROTECTIONS[name]["cipher"]), "") in text
        if "gcm" not in name and "chacha" not in name:
            assert re.findall(r"auth-trunc hmac\((\w+)\)", text) == [PROTECTIONS[name]["integrity"]] * 2


def _weaker(bench: Bench, _deployed: dict[str, Deployed]) -> None:
    """SAs with SHA-1 come in the place of those with SHA-256: the same cipher, traffic flows."""
    for host in (bench.sender, bench.receiver):
        renew_associations(host, lambda _: f"auth-trunc hmac(sha1) 0x{'11' * 20} 96 enc cbc(aes) 0x{'22' * 16}")


def test_a_weaker_integrity_is_never_a_number(bed: Bed, tmp_path: Path) -> None:
    asked = suite("ipsec", cipher="aes128cbc", integrity="sha256")
    cell = by_path(run(bed, profile_of(asked), tmp_path, _weaker))["ipsec"]
    assert cell.outcome == "invalid", cell.reason
    assert "SA of this cipher is not there" in (cell.reason or "")


def test_a_file_in_clear_uses_the_shaped_link_as_fully_as_iperf3(bed: Bed, tmp_path: Path) -> None:
    """30 MB at 1 Gbit/s by nginx and by iperf3, one after the other on the same link: at least 0.95 of its goodput."""
    size = 30 * MB
    goodput: dict[str, list[float]] = {"iperf3": [], "http": []}

    def alternate(bench: Bench, deployed: dict[str, Deployed]) -> None:
        payload = bed.payload(size, 2005)
        for block in range(4):
            bench.receiver.check(["iperf3", "-s", "-1", "-D", "-B", str(bench.peer)])
            said = bench.sender.check(["iperf3", "-c", str(bench.peer), "-n", str(size), "-J"])
            goodput["iperf3"].append(json.loads(said)["end"]["sum_received"]["bits_per_second"])
            sample = measure.take(bed, deployed["http"], payload, "http", block, 0, False, Batch())
            assert sample.valid
            assert sample.seconds
            goodput["http"].append(size * 8 / sample.seconds)

    done = run(bed, profile_of(suite("http", cipher="3des", link_rate="1gbit", sizes={"30MB": 2})), tmp_path, alternate)
    assert by_path(done)["http"].outcome == "measured", by_path(done)["http"].reason
    assert max(goodput["http"]) >= 0.95 * max(goodput["iperf3"]), goodput
    assert max(goodput["iperf3"]) < 1e9
