"""A long way between the lab's guests: it is what was asked for, transfers feel it, and nothing of it stays."""

from __future__ import annotations

from pathlib import Path

from harness.events import Events
from harness.measuring.opened import Wanted, open_testbed
from harness.profile import WHOLE_PACKETS
from hosts.lab.uml import UmlLab
from tests.support import runs
from tests.support.lab import connected, shell, unchanged


def test_a_long_way_is_seen_by_tcp_and_gone_afterwards(lab: UmlLab, tmp_path: Path) -> None:
    """Of 2 % lost over 30 ms so many are sent again, and no transfer is quicker than its round trips."""
    far = {"rtt": "30ms", "loss": 0.02, "mtu": 1500, "link_rate": "100mbit", "sizes": {"100kB": {"blocks": 3}}}
    packets = dict.fromkeys(WHOLE_PACKETS, False)
    asked = runs.profile_of(runs.suite("http", "https", cipher="aes128gcm", **far), offloads=packets)
    with unchanged(lab.testbed), open_testbed(lab.testbed, Events(), Wanted(offloads=packets)) as opened:
        done = runs.run(opened, asked, tmp_path)
    (entry,) = done.head.suites
    assert entry.conditions == "30 ms, 2 % lost, MTU 1500"
    assert 0.0294 <= (entry.link["rtt_seconds"] or 0) <= 0.055
    assert 0.005 <= (entry.link["lost_share"] or 0) <= 0.08
    for cell in done.head.cells:
        assert cell.outcome == "measured", cell.reason
        assert cell.links["sender"]["mtu"] == 1500
    counted = [sample for sample in done.samples if sample.valid and sample.seconds]
    assert all(sample.seconds >= 2 * 0.03 for sample in counted if sample.seconds)  # SYN, then the request
    assert sum(sample.sender.counters["tcp_retransmitted_segments"] or 0 for sample in counted) > 0


def test_a_queue_of_somebody_else_is_left_alone(lab: UmlLab, tmp_path: Path) -> None:
    small = {"sizes": {"100kB": {"blocks": 2}}}
    far = runs.profile_of(runs.suite("http", cipher="aes128gcm", rtt="30ms", **small))
    with connected(lab.testbed) as opened:
        for what in ("ingress", "clsact"):
            shell(lab.testbed.receiver, f"tc qdisc add dev vec1 {what}")
            try:
                with unchanged(lab.testbed):
                    done = runs.run(opened, far, tmp_path / what)
            finally:
                shell(lab.testbed.receiver, f"tc qdisc delete dev vec1 {what}; rmmod sch_ingress")
            (cell,) = done.head.cells
            assert cell.outcome == "failed"
            assert "vec1" in (cell.reason or "")
