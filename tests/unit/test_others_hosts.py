"""What was met on other people's hosts, as far as no lab is needed to show it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any, cast

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from harness.api.parameters import Parameters
from harness.measuring import link, opened
from hosts import certificate, facts, packages
from hosts.errors import HostLost, Refusal
from hosts.onhost.agent import network
from hosts.remote import ssh
from hosts.roles import ROLES
from hosts.testbed import HostsTestbed
from tests.support.agent_process import LocalAgent, alone
from tests.unit.test_paths import PATHS, STREAMS, TRIPLE, unsupported
from tests.unit.test_paths import facts as facts_of

# programs, and where they are


def test_what_an_ordinary_user_s_path_lacks_is_found() -> None:
    """Debian's has no /usr/sbin, where nginx is."""
    with alone(), LocalAgent(environment={"PATH": "/usr/bin:/bin"}) as agent:
        path = agent.client.run(["sh", "-c", "echo $PATH"], 10.0).stdout.strip().split(":")
    assert path[:2] == ["/usr/bin", "/bin"], "what the user has comes first"
    assert {"/usr/sbin", "/sbin", "/usr/local/sbin"} <= set(path)


def test_addresses_are_known_without_iproute2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    found = network.addresses()
    assert "127.0.0.1" in found["lo"]
    assert found.keys() == {name for _, name in socket.if_nameindex()}
    assert network.interface_to("127.0.0.1", "127.0.0.1") == "lo"
    with pytest.raises(OSError):
        network.interface_to("203.0.113.1", "192.0.2.1")


@pytest.mark.parametrize("role", ROLES)
def test_iproute2_is_named_where_ipsec_lacks_it(role: str) -> None:
    said = unsupported("ipsec", None, **{role: ("ip",)})
    assert said == f"the {role} has no ip (apt-get install iproute2)"
    assert unsupported("http", None, **{role: ("ip", "tc")}) is None


@pytest.mark.parametrize("shape", [True, False])
def test_iproute2_is_named_where_a_rate_is_asked_for(shape: bool) -> None:
    about = facts_of("receiver", without=("tc",))
    if not shape:
        assert opened.allowed(hosts(), about) == about
        return
    with pytest.raises(Refusal, match="there is no tc") as caught:
        opened.allowed(hosts(shape=True), about)
    assert str(caught.value).startswith("receiver: ")
    assert caught.value.next_step == "apt-get install iproute2, or shape = false"


# modules


DISABLED = "install algif_aead /bin/false\ninstall usb-storage /bin/true\ninstall sound run-this --first\n"


def test_modules_that_the_administrator_disabled_are_known_by_his_words() -> None:
    found = facts.disabled_modules(DISABLED, "quiet module_blacklist=tls,esp-4 ro", "", "")
    assert found == {
        "algif_aead": "modprobe.d there: install algif_aead /bin/false",
        "usb_storage": "modprobe.d there: install usb-storage /bin/true",
        "tls": "the kernel's command line: module_blacklist",
        "esp_4": "the kernel's command line: module_blacklist",
    }


def test_what_is_in_the_kernel_already_is_not_disabled() -> None:
    assert facts.disabled_modules(DISABLED, "", "algif_aead 1 0\n", "kernel/drivers/usb/usb-storage.ko\n") == {}


@pytest.mark.parametrize(
    ("enforced", "lockdown", "expected"),
    [
        ("Y\n", "", "module.sig_enforce is on"),
        ("N\n", "none [integrity] confidentiality\n", "kernel lockdown, integrity"),
        ("N\n", "[none] integrity confidentiality\n", None),
        ("", "", None),
    ],
)
def test_a_kernel_that_takes_signed_modules_only_says_so(enforced: str, lockdown: str, expected: str | None) -> None:
    assert facts.signatures(enforced, lockdown) == expected


@pytest.mark.parametrize("name", ["so-crypt", "so-crypt-send"])
def test_under_secure_boot_so_crypt_is_unsupported_with_what_to_do(name: str) -> None:
    receiver, sender = facts_of("receiver"), facts_of("sender")
    sender = replace(sender, built={"so_crypt": "/x.ko"}, signed_only="kernel lockdown, integrity")
    said = PATHS[name].unsupported(Parameters(TRIPLE), sender, receiver)
    assert said is not None
    assert "takes signed modules only (kernel lockdown, integrity): sign so_crypt" in said
    assert PATHS[name].unsupported(Parameters(TRIPLE), replace(sender, signed_only=None), receiver) is None


@pytest.mark.parametrize("name", ["plain", *STREAMS])
def test_a_host_whose_tmpfs_are_all_noexec_cannot_run_programs_of_ours(name: str) -> None:
    sender = replace(facts_of("sender"), built={"so_crypt": "/x.ko"}, executable=False)
    assert "mounted noexec" in str(PATHS[name].unsupported(Parameters(TRIPLE), sender, facts_of("receiver")))


def test_ipsec_needs_the_module_of_its_version_of_ip() -> None:
    sender, receiver = (replace(facts_of(role), ip_version=6) for role in ROLES)
    assert "has no module esp6" in str(PATHS["ipsec"].unsupported(Parameters(TRIPLE), sender, receiver))


# the management path

STACKED = """
set -e
mount -t sysfs sysfs /sys
ip link add eth1 type veth peer name eth2
ip link add bond0 type bridge
ip link set eth1 master bond0
ip link add eth3 type veth peer name eth4
ip link set eth3 master bond0
"$1" -c 'from hosts.onhost.agent import network; print(*network.beneath("bond0")); print(*network.beneath("eth4"))'
"""


def test_what_carries_an_interface_is_known() -> None:
    """A bridge stands for all that is stacked: the kernel tells VLANs and bonds by the same links."""
    done = subprocess.run(
        ["unshare", "--net", "--mount", "sh", "-c", STACKED, "sh", sys.executable],
        capture_output=True,
        text=True,
        check=False,
    )
    if "not permitted" in done.stderr or "denied" in done.stderr:
        pytest.skip(f"no namespaces here: {done.stderr}")
    assert done.stdout.splitlines() == ["bond0 eth1 eth3", "eth4"], done.stderr


@pytest.mark.parametrize(
    ("management", "expected"),
    [
        (["eth0"], None),
        (["eth1"], "eth1 carries the SSH connection"),
        (["bond0.5", "bond0", "eth0", "eth1"], "eth1 carries the SSH connection"),
        ([], "it cannot be told whether eth1 carries the SSH connection"),
    ],
)
def test_the_interface_that_carries_ssh_is_known(management: list[str], expected: str | None) -> None:
    assert facts.shared("eth1", management) == expected


PLACE = {"address": "a", "data_address": "192.0.2.1", "data_interface": "eth1"}
OTHER = PLACE | {"address": "b", "data_address": "192.0.2.2"}
SHARED = "eth1 carries the SSH connection"


def hosts(**more: bool) -> HostsTestbed:
    """Two hosts, and what their file allows."""
    return HostsTestbed.model_validate({"kind": "hosts", "name": "x", "sender": PLACE, "receiver": OTHER, **more})


def test_a_rate_is_not_put_on_what_carries_ssh_unless_the_file_says_so() -> None:
    about = replace(facts_of("sender"), shared=SHARED)
    with pytest.raises(Refusal, match=f"shape = true, but {SHARED}") as caught:
        opened.allowed(hosts(shape=True), about)
    assert "shared_interface = true" in str(caught.value.next_step)
    assert opened.allowed(hosts(shape=True, shared_interface=True), about).shared is None
    assert opened.allowed(hosts(), about).shared == SHARED, "nothing is asked for that could cut it"


@pytest.mark.parametrize("role", ROLES)
def test_ipsec_is_unsupported_where_it_would_be_put_on_what_carries_ssh(role: str) -> None:
    sender, receiver = (replace(facts_of(name), shared=SHARED if name == role else None) for name in ROLES)
    said = PATHS["ipsec"].unsupported(Parameters(TRIPLE), sender, receiver)
    assert said == f"on the {role} {SHARED}: its policies are left alone (docs/hosts.md)"
    assert PATHS["http"].unsupported(Parameters(TRIPLE), sender, receiver) is None


def test_the_ssh_connection_is_found_above_what_sudo_starts() -> None:
    """sudo takes SSH_CONNECTION from the environment; the process above still has it."""
    command = ["env", "-u", "SSH_CONNECTION"]
    outer = {**os.environ, "SSH_CONNECTION": "127.0.0.1 50000 127.0.0.1 22"}
    with alone(), LocalAgent(environment=outer, under=["sh", "-c", '"$@"; exit $?', "sh", *command]) as agent:
        assert agent.first is not None
        assert agent.first["ready"]["management"] == ["lo"]


# what a host may do to this machine


class Endless:
    """The remote end of a channel that never ends its line."""

    def settimeout(self, _seconds: float) -> None: ...

    def recv(self, size: int) -> bytes:
        return b"x" * size


def test_a_host_does_not_fill_this_machine_s_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "LINE_BYTES", 1 << 20)
    with pytest.raises(HostLost, match="more than 1 MiB without the end of a line"):
        ssh.Channel("receiver", cast(Any, Endless())).read_line(20.0)


# clocks


def test_a_certificate_is_valid_by_any_clock_and_for_its_address_only() -> None:
    text, secret = certificate.pair(ip_address("fd98::2"))
    made = x509.load_pem_x509_certificate(text)
    assert made.not_valid_before_utc <= datetime(1971, 1, 1, tzinfo=UTC)
    assert made.not_valid_after_utc >= datetime(2049, 1, 1, tzinfo=UTC)
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.IPAddress) == [ip_address("fd98::2")]
    assert b"PRIVATE KEY" in secret and b"PRIVATE" not in text


# slow links


@given(st.floats(1e3, 1e11), st.integers(1, 10**9))
def test_every_deadline_leaves_a_slow_link_its_time(rate: float, size: int) -> None:
    assert link.deadline(size, {None: link.at(rate)}) > 3 * size * 8 / rate
    assert link.deadline(size, {}) >= 20


# distributions


@pytest.mark.parametrize(
    ("name", "command", "headers"),
    [
        ("Debian GNU/Linux 13 (trixie)", "apt-get install gcc iproute2 libc6-dev", "apt-get install linux-headers-6.1"),
        ("Ubuntu 24.04.1 LTS", "apt-get install gcc iproute2 libc6-dev", "apt-get install linux-headers-6.1"),
        ("Rocky Linux 9.4", "dnf install gcc glibc-devel iproute", "dnf install kernel-devel-6.1"),
        ("openSUSE Leap 15.6", "zypper install gcc glibc-devel iproute2", "zypper install kernel-default-devel"),
        ("Arch Linux", "pacman -S gcc iproute2", "pacman -S linux-headers"),
        ("Alpine Linux v3.20", "apk add gcc iproute2 musl-dev", "apk add linux-lts-dev"),
    ],
)
def test_every_family_has_its_own_command_and_names(name: str, command: str, headers: str) -> None:
    assert packages.advice(["cc", "ip"], name) == command
    assert packages.headers("6.1", name) == headers


@pytest.mark.parametrize("name", ["Slackware 15.0", "NixOS 24.05", None])
def test_a_distribution_that_nobody_knows_is_given_no_command(name: str | None) -> None:
    said = packages.advice(["cc"], name) + packages.headers("6.1", name)
    assert not any(tool in said for tool in ("apt-get", "dnf", "zypper", "pacman", "apk"))
    assert "gcc" not in said
