"""Hosts that are not as the lab's are: what was met on other people's machines, made on the lab's guests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest

from harness.api.bench import Bench
from harness.api.path import Deployed
from harness.ciphers.interfaces import AF_ALG, DEVCRYPTO
from harness.ciphers.table import CIPHERS
from harness.cli import restore as restoring
from harness.events import Event, Events, Note
from harness.measuring import between, link, way
from harness.measuring.opened import Wanted, open_testbed
from harness.servers import interfaces
from hosts import testbed
from hosts.errors import Refusal
from hosts.lab import uml
from hosts.remote import changes
from hosts.remote.agent import AgentError
from hosts.remote.host import RemoteHost
from hosts.testbed import Host, HostsTestbed
from tests.support.lab import connected, place_datapath, place_modules, shell, unchanged
from tests.support.runs import profile_of, renew_associations, run, samples_of, suite

SIX = {"sender": "fd98::2", "receiver": "fd98::3"}
DISABLED = "install algif_aead /bin/false"
"""As Ubuntu ships it since spring 2026."""


@contextmanager
def altered(host: Host, command: str, undo: str) -> Iterator[None]:
    """A host on which somebody did something that a run must cope with."""
    said = shell(host, f"{command} && echo done")
    assert said.endswith("done"), said
    try:
        yield
    finally:
        shell(host, undo)


@pytest.fixture
def others(lab: uml.UmlLab) -> Iterator[HostsTestbed]:
    """The guests as others have them: data addresses of IPv6, a clock that is behind, /dev/shm mounted noexec on both,
    an AEAD that the administrator disabled."""
    place, found = "/etc/modprobe.d/disabled.conf", {}
    with ExitStack() as stack:
        for role, address in SIX.items():
            host: Host = getattr(lab.testbed, role)
            where = f"{address}/64 dev {host.data_interface}"
            stack.enter_context(altered(host, f"ip address add {where} nodad", f"ip address del {where}"))
            remount = "mount -o remount,{} /dev/shm"
            stack.enter_context(altered(host, remount.format("noexec"), remount.format("exec")))
            found[role] = host.model_copy(update={"data_address": ip_address(address)})
        stack.enter_context(altered(lab.testbed.sender, f"echo '{DISABLED}' >{place}", f"rm {place}"))
        clock = "date -s '{} seconds' >/dev/null"
        stack.enter_context(altered(lab.testbed.receiver, clock.format(-90), clock.format("+90")))
        yield lab.testbed.model_copy(update=found)


def test_every_path_is_measured_on_hosts_as_others_have_them(
    others: HostsTestbed,
    lab_parts: uml.UmlParts,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Over IPv6; and over a link so slow that a megabyte takes half a second; and where ESP does not arrive."""
    deadline = link.deadline
    monkeypatch.setattr(
        link, "deadline", lambda size, known: deadline(size, known) - 19
    )  # only what fails waits for it
    monkeypatch.setattr(link, "LONG_SECONDS", 1.0)

    def act(bench: Bench, _deployed: dict[str, Deployed]) -> None:
        """What arrives with another key's ICV is dropped, as a firewall drops all of protocol 50."""
        if bench.folder == "dropped":
            words = "enc cbc(des3_ede) 0x" + "11" * 24 + " auth-trunc hmac(sha1) 0x" + "22" * 20 + " 96"
            assert renew_associations(bench.sender, lambda _old: words) == 2

    ours = ("so-crypt", "so-crypt-send", "devcrypto-copy", "devcrypto-mapped")
    schemes = ("http", *ours, "afalg-copy", "afalg-splice", "plain", "https", "ipsec")
    wanted = profile_of(
        suite(*schemes, cipher="3des", link_rate="200mbit"),
        suite("http", "https", "ktls", "ktls-write", "ipsec", cipher="aes128gcm") | {"name": "today"},
        suite("http", cipher="3des", link_rate="15mbit") | {"name": "slow"},
        suite("ipsec", cipher="3des") | {"name": "dropped"},
    )
    with connected(others) as opened:
        about = opened.sender_facts, opened.receiver_facts
        place_datapath(opened, lab_parts)
        place_modules(opened, lab_parts)
        assert not opened.sender.directory.startswith("/dev/shm"), "a tmpfs from which programs run"
        done = run(opened, wanted, tmp_path, act)
    ahead = [facts.shown["clock"]["ahead_seconds"] for facts in about]
    assert 80 < ahead[0] - ahead[1] < 100
    cells = {cell.id: cell for cell in done.head.cells}
    dropped = cells.pop("dropped/ipsec/3des/any/1MB")
    assert {cell.id: cell.reason for cell in cells.values() if cell.outcome != "measured"} == {}
    assert len(cells) == len(schemes) + 5 + 1
    carried = [sample.witness["receiver_sa_bytes"] for sample in samples_of(done, "ipsec") if sample.valid]
    assert carried and all(int(count or 0) > 10**6 for count in carried)
    assert dropped.outcome == "failed"
    assert "bytes, the sender's took none: ESP (IP protocol 50) does not get through" in (dropped.reason or "")
    # what needs the AEAD that is disabled is told so, and nothing else
    said = f"the sender's kernel module algif_aead is disabled (modprobe.d there: {DISABLED})"
    assert interfaces.why_not(AF_ALG, CIPHERS["aes128gcm"], about[0]) == said
    assert interfaces.why_not(AF_ALG, CIPHERS["3des"], about[0]) is None
    assert interfaces.why_not(DEVCRYPTO, CIPHERS["aes128gcm"], about[0]) is None, "it needs nothing of AF_ALG"


@pytest.fixture(scope="class")
def pair(lab: uml.UmlLab) -> Iterator[tuple[RemoteHost, RemoteHost]]:
    """Both guests' agents, and nothing else."""
    with RemoteHost("sender", lab.testbed.sender) as sender, RemoteHost("receiver", lab.testbed.receiver) as receiver:
        yield sender, receiver


def management(host: Host) -> str:
    """The interface that is not the measured link's."""
    return shell(host, f"ip -o -4 address | grep -v ' lo ' | grep -v ' {host.data_interface} '").split()[1]


def refused(pair: tuple[RemoteHost, RemoteHost]) -> str:
    """What is in the way between both hosts: one sentence, and what to do next."""
    with pytest.raises(Refusal) as caught:
        between.require(*pair)
    assert caught.value.next_step
    return caught.value.what


class TestBetween:
    """What is in the way between both hosts, before anything is measured."""

    def test_nothing_is_in_the_way_of_the_lab_and_ssh_goes_another(self, pair: tuple[RemoteHost, RemoteHost]) -> None:
        between.require(*pair)
        for host in pair:
            assert host.hello.management == [management(host.host)] != [host.host.data_interface]

    def test_packets_that_leave_by_another_interface_are_refused(self, pair: tuple[RemoteHost, RemoteHost]) -> None:
        sender, receiver = (host.host for host in pair)
        other = management(sender)
        route = f"{receiver.data_address}/32 dev {other}"
        with altered(sender, f"ip route add {route}", f"ip route del {route}"):
            said = refused(pair)
        ways = f"{sender.data_address} to {receiver.data_address} leave by {other}, not by {sender.data_interface}"
        assert said == f"packets from {ways}"

    def test_a_firewall_is_named_with_host_port_and_direction(
        self, pair: tuple[RemoteHost, RemoteHost], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One that lets the first ports through: the last one is tried, too."""
        monkeypatch.setattr(way, "SECONDS", 1.0)
        sender, receiver = (host.host for host in pair)
        rule = f"dir in src {receiver.data_address} dst {sender.data_address} proto tcp dport 18120"
        with altered(sender, f"ip xfrm policy add {rule} action block", f"ip xfrm policy delete {rule}"):
            said = refused(pair)
        who = f"the receiver ({receiver.data_address}) does not get through to {sender.data_address} TCP port 18120"
        assert said == f"{who}: timed out"

    def test_a_port_that_is_in_use_is_no_firewall(
        self, pair: tuple[RemoteHost, RemoteHost], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(way, "SECONDS", 1.0)
        sender = pair[0].host
        script = f"import socket, time; s = socket.create_server(('{sender.data_address}', 18070)); time.sleep(60)"
        listening = f'python3 -c "{script}" >/dev/null 2>&1 & for n in $(seq 50); do ss -ltn | grep -q 18070 && break; '
        with altered(sender, listening + "sleep 0.1; done", "pkill -f create_server"):
            assert refused(pair) == f"port 18070 of {sender.data_address} is in use"


def test_who_uses_a_host_is_told_and_a_crash_is_put_back_from_elsewhere(lab: uml.UmlLab, hosts_file: Path) -> None:
    place, marker = lab.testbed.receiver.model_copy(), "marker-of-a-test"
    made = changes.command(
        "a marker",
        look=["ls", "/run"],
        present=f"(?m)^{marker}$",
        apply=["touch", f"/run/{marker}"],
        undo=["rm", f"/run/{marker}"],
    )
    with unchanged(lab.testbed):
        host = RemoteHost("receiver", place, run="20261130-test")
        host.agent.apply(made)
        with pytest.raises(Refusal, match=r"another run .*: .* at .*, since 20.* UTC, for 20261130-test \(process"):
            RemoteHost("receiver", place)
        shell(place, "pkill -9 -f '[p]ython3[.0-9]* -I /.*pathproof-'")
        with pytest.raises(AgentError, match="the agent did not say that it put the host back: ended with status"):
            host.close()
        assert marker in shell(place, "ls /run"), "nobody was left to undo it"
        lines, well = restoring.both(testbed.load(str(hosts_file)))
    assert well, lines
    assert lines[0].startswith("the sender was put back: nothing was left to undo")
    assert lines[1].startswith("the receiver was put back: pathproof-") and ": put back" in lines[1]


def test_a_quiet_host_is_as_before_afterwards(lab: uml.UmlLab) -> None:
    place = lab.testbed.receiver
    ask = f"ethtool -k {place.data_interface} | grep '^generic-receive-offload'"
    before, told = shell(place, ask), list[Event]()
    assert "fixed" not in before
    on = before.split()[1] == "on"
    wanted = Wanted(offloads={"generic-receive-offload": not on})
    with open_testbed(lab.testbed.model_copy(update={"quiet": True}), Events([told.append]), wanted) as opened:
        assert shell(place, ask).split()[1] == ("off" if on else "on")
        assert opened.receiver_facts.shown["quiet"] is True
    assert shell(place, ask) == before
    assert not [note for note in told if isinstance(note, Note)]
