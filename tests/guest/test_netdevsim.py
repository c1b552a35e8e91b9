"""Paths of a network card without a card: netdevsim between two namespaces of one guest.

It takes IPsec offload and counts packets, and enciphers nothing: so steering, counters and undo are what is tested, and
no transfer may be valid. Its TLS offload is fixed off in all kernels up to 7.3. A guest whose kernel has it is asked
for: ``--guests lab-netdevsim``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address

import pytest

from harness import paths
from harness.api.bench import Bench
from harness.api.parameters import Parameters
from harness.ciphers.table import CIPHERS
from harness.events import Events
from harness.measuring import link, sampling
from harness.measuring.opened import OpenTestbed, Wanted, open_testbed
from harness.measuring.proof import Batch
from harness.samples import Sample
from harness.servers import nic
from hosts.errors import Refusal
from hosts.lab.kinds import Parts
from hosts.offloads import Link
from hosts.remote.host import RemoteHost
from hosts.roles import Role
from hosts.testbed import HostsTestbed

PATHS = paths.discover()
GCM = Parameters(CIPHERS["aes128gcm"], tls="1.3")
SIZE = 50_000
NAMES = ("pp-a", "pp-b")
PORTS = (2201, 2202)
SETUP = """
set -e
modprobe netdevsim
mountpoint -q /sys/kernel/debug || mount -t debugfs debugfs /sys/kernel/debug
for n in 1 2; do
    echo "$n 1" >/sys/bus/netdevsim/new_device
    for try in $(seq 50); do [ ! -d /sys/bus/netdevsim/devices/netdevsim$n/net ] || break; sleep 0.1; done
    name=$(ls /sys/bus/netdevsim/devices/netdevsim$n/net)
    space=$([ $n = 1 ] && echo pp-a || echo pp-b)
    ip netns add $space
    ip link set "$name" netns $space
    ip -n $space link set "$name" name sim$n
    ip -n $space address add 10.99.0.$n/24 dev sim$n
    ip -n $space link set lo up
    ip -n $space link set sim$n up
done
a=$(ip -n pp-a -o link show sim1 | cut -d: -f1)
b=$(ip -n pp-b -o link show sim2 | cut -d: -f1)
exec 8</run/netns/pp-a 9</run/netns/pp-b
echo "8:$a 9:$b" >/sys/bus/netdevsim/link_device
"""
TEARDOWN = """
for n in 1 2; do echo $n >/sys/bus/netdevsim/del_device; done
ip netns delete pp-a; ip netns delete pp-b
for try in $(seq 50); do rmmod netdevsim 2>/dev/null && break; sleep 0.1; done
true
"""
DOOR = """
import os, socket, sys
inside = "mount -t debugfs debugfs /sys/kernel/debug; exec /usr/sbin/sshd -i -f /dev/null -h /run/sshd/host_key "
inside += "-o UsePAM=no -o UseDNS=no -o PermitRootLogin=prohibit-password -o MaxSessions=100 -o PidFile=none"
for space, port in zip(sys.argv[1::2], sys.argv[2::2]):
    if os.fork():
        continue
    listening = socket.create_server(("", int(port)))
    while True:
        one, _ = listening.accept()
        if not os.fork():
            os.setsid()
            for fd in (0, 1):
                os.dup2(one.fileno(), fd)
            os.execvp("ip", ["ip", "netns", "exec", space, "sh", "-c", inside])
        one.close()
"""
"""Lets SSH into namespaces: what listens outside of one stands in its process's place inside."""


@pytest.fixture(scope="module")
def two(released: tuple[Parts, RemoteHost]) -> Iterator[HostsTestbed]:
    """Two hosts in namespaces of one guest, as a testbed that nobody has booted."""
    _, guest = released
    if not guest.run(["modprobe", "-n", "netdevsim"]).ok:
        pytest.skip("the guest's kernel has no netdevsim: ask for one that has (--guests lab-netdevsim)")
    guest.check(["sh", "-c", SETUP])
    door = guest.put(DOOR.encode(), "door.py")
    words = [word for pair in zip(NAMES, PORTS, strict=True) for word in (pair[0], str(pair[1]))]
    guest.check(["sh", "-c", 'setsid python3 "$@" >/dev/null 2>&1 &', "sh", door, *words])
    listens = f"for try in $(seq 200); do ss -ltn | grep -q :{PORTS[1]} && exit; sleep 0.1; done; exit 1"
    guest.check(["sh", "-c", listens])
    spaces = [
        guest.host.model_copy(
            update={"port": port, "data_address": ip_address(f"10.99.0.{n}"), "data_interface": f"sim{n}"}
        )
        for n, port in enumerate(PORTS, 1)
    ]
    try:
        yield HostsTestbed(kind="hosts", name="netdevsim", sender=spaces[0], receiver=spaces[1], shared_interface=True)
    finally:
        guest.run(["pkill", "-f", door])
        guest.run(["sh", "-c", TEARDOWN])


@pytest.fixture
def opened(two: HostsTestbed, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenTestbed]:
    monkeypatch.setattr(link, "deadline", lambda *_: 4.0)  # what never arrives is not waited for
    with open_testbed(two, Events()) as testbed:
        yield testbed


@contextmanager
def benched(opened: OpenTestbed) -> Iterator[Bench]:
    with ExitStack() as stack:
        yield opened.bench("suite", stack)


def take(opened: OpenTestbed, bench: Bench, name: str, parameters: Parameters = GCM) -> tuple[Sample, dict[Role, Link]]:
    """One transfer by a path, and over what links it went."""
    deployed, kept = PATHS[name].deploy(bench, parameters), dict[Role, Link]()

    def linked(_cell: str, links: dict[Role, Link]) -> None:
        kept.update(links)

    payload = opened.payload(SIZE, 1)
    (sample,) = sampling.take(opened, [("cell", deployed)], payload, 0, False, Batch(), linked=linked)
    return sample, kept


def left(opened: OpenTestbed) -> list[str]:
    """What there is of IPsec on both hosts, and SAs that the card still has."""
    found = []
    for host in (opened.sender, opened.receiver):
        found += host.check(["ip", "xfrm", "policy", "list"]).splitlines()
        found += host.check(["ip", "xfrm", "state", "list", "nokeys"]).splitlines()
    ipsec = opened.sender_facts.card.ipsec or ""
    told = opened.sender.read([ipsec])[ipsec] or "unread"
    return found if told.startswith("SA count=0 ") else [*found, told]


def test_the_card_takes_the_sa_and_counts_and_no_transfer_is_valid(opened: OpenTestbed) -> None:
    assert opened.sender_facts.card.driver == "netdevsim"
    assert PATHS["esp-nic"].unsupported(GCM, opened.sender_facts, opened.receiver_facts) is None
    with benched(opened) as bench:
        sample, _ = take(opened, bench, "esp-nic")
        assert not sample.valid
        assert nic.PLAYED in str(sample.reason)
        assert int(sample.witness["card_tx_ipsec"] or 0) > 0, "the card was handed packets of the SA"
        assert int(sample.witness["sender_sa_packets"] or 0) > 0
    assert left(opened) == []


def test_ipsec_in_software_is_measured_over_the_same_cards(opened: OpenTestbed) -> None:
    with benched(opened) as bench:
        sample, links = take(opened, bench, "ipsec")
        assert sample.valid, sample.reason
        assert links["sender"]["esp-hw-offload"] is True and links["sender"]["mtu"] == 1500
    assert left(opened) == []


def test_packet_offload_is_refused_where_the_card_has_none(opened: OpenTestbed) -> None:
    with benched(opened) as bench, pytest.raises(Refusal, match=r"SA 0x|policy"):
        PATHS["esp-nic-packet"].deploy(bench, GCM)
    assert left(opened) == []


def test_a_cipher_that_the_card_has_not_is_refused(opened: OpenTestbed) -> None:
    with benched(opened) as bench, pytest.raises(Refusal, match="SA 0x"):
        PATHS["esp-nic"].deploy(bench, Parameters(CIPHERS["3des"]))
    assert left(opened) == []


def test_the_silent_fallback_of_an_interface_without_offload_is_refused(opened: OpenTestbed) -> None:
    """The loopback interface has no driver that an SA could be handed to: the kernel takes the SA and says nothing."""
    place = opened.sender.host
    opened.sender.host = place.model_copy(update={"data_interface": "lo"})
    try:
        with (
            benched(opened) as bench,
            pytest.raises(Refusal, match="the kernel fell back to software: the sender's SA"),
        ):
            PATHS["esp-nic"].deploy(bench, GCM)
    finally:
        opened.sender.host = place
    assert left(opened) == []


def test_tls_by_the_card_is_refused_with_the_reason(opened: OpenTestbed) -> None:
    why = PATHS["ktls-nic"].unsupported(GCM, opened.sender_facts, opened.receiver_facts)
    assert "tls-hw-tx-offload of sim1 is off, and its driver lets nobody change that" in str(why)


def test_offloads_that_a_profile_asks_for_are_switched_seen_and_put_back(two: HostsTestbed) -> None:
    wanted = Wanted(offloads={"generic-segmentation-offload": False})
    with open_testbed(two, Events(), wanted) as opened, benched(opened) as bench:
        sample, links = take(opened, bench, "http", Parameters(None))
        assert sample.valid, sample.reason
        assert links["sender"]["generic-segmentation-offload"] is False
        assert opened.sender_facts.offloads["generic-segmentation-offload"].on is False
    with open_testbed(two, Events()) as opened:
        assert opened.sender_facts.offloads["generic-segmentation-offload"].on is True
    fixed = Wanted(offloads={"tls-hw-tx-offload": True})
    with (
        pytest.raises(Refusal, match="the profile asks for tls-hw-tx-offload on, but"),
        open_testbed(two, Events(), fixed),
    ):
        pass
