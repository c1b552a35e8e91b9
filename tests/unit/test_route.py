"""Where a testbed's address leads: destinations, ssh_config as OpenSSH resolves it, jumps with strict host keys."""

from __future__ import annotations

import configparser
import getpass
import shlex
import shutil
import socket
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosts import testbed
from hosts.errors import ConfigError
from hosts.remote import route
from hosts.testbed import Destination, Host, HostsTestbed, destination

ROOT = Path(__file__).parents[2]
HERE: dict[str, Any] = {"data_address": ip_address("198.51.100.1"), "data_interface": "eth1"}
openssh = pytest.mark.skipif(not shutil.which("ssh"), reason="this machine has no ssh")

FILE = """
[{role}]
address = "{address}"
data_address = "198.51.100.{number}"
data_interface = "eth1"
{more}
"""


def host(address: str, **more: Any) -> Host:
    return Host(address=address, **HERE, **more)


def two(sender: str, receiver: str, **more: Any) -> HostsTestbed:
    ends = [{"address": address, "data_interface": "eth1", **more} for address in (sender, receiver)]
    given = [{**end, "data_address": f"198.51.100.{number}"} for number, end in enumerate(ends, 1)]
    return HostsTestbed.model_validate({"kind": "hosts", "name": "two", "sender": given[0], "receiver": given[1]})


def test_tox_passes_the_agents_socket_on() -> None:
    tox = configparser.ConfigParser()
    tox.read(ROOT / "tox.ini", encoding="utf-8")
    assert "SSH_AUTH_SOCK" in tox["testenv"]["pass_env"].split()


# destinations


@pytest.mark.parametrize(
    ("text", "due"),
    [
        ("web", Destination(None, "web", None)),
        ("root@192.0.2.10", Destination("root", "192.0.2.10", None)),
        ("me@corp@web", Destination("me@corp", "web", None)),
        ("fd00::1", Destination(None, "fd00::1", None)),
        ("[fd00::1]", Destination(None, "fd00::1", None)),
        ("root@fe80::1%eth0", Destination("root", "fe80::1%eth0", None)),
        ("ssh://root@web:2222", Destination("root", "web", 2222)),
        ("ssh://[fd00::1]:2222/", Destination(None, "fd00::1", 2222)),
    ],
)
def test_an_address_is_what_ssh_takes(text: str, due: Destination) -> None:
    assert destination(text) == due
    assert host(text).address == text


@pytest.mark.parametrize(
    ("address", "more", "said"),
    [
        (
            "192.0.2.10:2222",
            "",
            "sender.address: '192.0.2.10:2222' ends in a port, which ssh takes elsewhere: say port = 2222",
        ),
        ("[fd00::1]:22", "", "ends in a port"),
        ("fd00::1::2", "", "sender.address: "),
        ("", "", "names no host"),
        ("root@", "", "names no host"),
        ("@web", "", "is nothing that ssh takes"),
        ("-oProxyCommand=x", "", "is nothing that ssh takes"),
        ("root@-web", "", "names no host"),
        ("web; reboot", "", "is nothing that ssh takes"),
        ("$(id)", "", "is nothing that ssh takes"),
        ("ssh://web:0", "", "a port is a number from 1 to 65535"),
        ("ssh://web:none", "", "a port is a number from 1 to 65535"),
        ("me@web", 'user = "root"', "address says user me, and user says root"),
        ("ssh://web:22", "port = 23", "address says port 22, and port says 23"),
        ("web", 'user = "-l"', "'-l' is no user's name"),
        ("web", 'become = "su"', "sender.become: "),
    ],
)
def test_what_is_wrong_with_an_address_is_one_sentence_before_anything_begins(
    address: str, more: str, said: str, tmp_path: Path
) -> None:
    file = tmp_path / "mine.toml"
    ends = [FILE.format(role="sender", address=address, number=1, more=more)]
    ends.append(FILE.format(role="receiver", address="other", number=2, more=""))
    file.write_text('kind = "hosts"\n' + "".join(ends))
    with pytest.raises(ConfigError) as caught:
        testbed.load(str(file))
    assert said in caught.value.what and "\n" not in caught.value.what, caught.value.what


@given(st.text(max_size=20))
def test_whatever_is_taken_can_be_an_argument_of_ssh(text: str) -> None:
    try:
        found = destination(text)
    except ValueError:
        return
    assert found.host and not found.host.startswith("-") and not (found.user or "").startswith("-")
    assert shlex.split(f"{found.host} {found.user or 'x'}") == [found.host, found.user or "x"]


def test_two_ends_of_one_machine_are_told_before_connecting() -> None:
    with pytest.raises(ValueError, match="have the same data_address"):
        HostsTestbed(kind="hosts", name="two", sender=host("a"), receiver=host("b"))
    with pytest.raises(ConfigError, match=r"the same machine: both addresses lead to 192.0.2.1 port 22"):
        route.require_two(two("192.0.2.1", "root@192.0.2.1", ssh_config="none"))
    route.require_two(two("192.0.2.1", "ssh://192.0.2.1:23", ssh_config="none"))


def test_data_addresses_that_cannot_be_measured_are_refused() -> None:
    with pytest.raises(ValueError, match="means another host on every link"):
        Host(address="web", data_address=ip_address("fe80::1%eth1"), data_interface="eth1")
    one, other = host("a"), host("b").model_copy(update={"data_address": ip_address("fd00::2")})
    with pytest.raises(ValueError, match="IPv4 and the other one IPv6"):
        HostsTestbed(kind="hosts", name="two", sender=one, receiver=other)


def test_a_testbed_file_with_all_of_it_can_be_read_back(tmp_path: Path) -> None:
    hosts = two("me@[fd00::1]", "web", become="sudo", ssh_config="~/other", known_hosts="~/k", port=2222)
    (tmp_path / "two.toml").write_text(testbed.as_toml(hosts))
    assert testbed.load(str(tmp_path / "two.toml")) == hosts


@pytest.mark.parametrize(
    ("given", "due"),
    [
        (host("web"), "web"),
        (host("me@web", port=2222), "-p 2222 me@web"),
        (host("ssh://[fd00::1]:23", user="root", ssh_config="my config"), "-F 'my config' -p 23 root@fd00::1"),
    ],
)
def test_a_person_can_try_the_same(given: Host, due: str) -> None:
    assert route.typed(given) == f"ssh {due}"


# without any configuration


def test_without_configuration_everything_is_as_spelt_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", "/run/agent")
    found = route.resolve("sender", host("me@web", ssh_config="none", known_hosts="/k", proxy_command="nc %h %p %%"))
    assert (found.host, found.port, found.user) == ("web", 22, "me")
    assert (found.proxy, found.known_hosts, found.agent) == ("nc web 22 %", (Path("/k"),), Path("/run/agent"))
    assert route.resolve("sender", host("web", ssh_config="none")).user == getpass.getuser()


@pytest.mark.parametrize("ssh", ["/usr/bin/ssh", None])
@pytest.mark.parametrize("key", ["identity_file", "known_hosts", "ssh_config"])
def test_a_file_in_nobodys_home_is_told_in_one_sentence(
    key: str, ssh: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"ssh_config": "none", key: "~nosuchuser/file"}
    monkeypatch.setattr(shutil, "which", lambda _: ssh)
    with pytest.raises(ConfigError, match="~nosuchuser/file begins with a home directory, and there is none") as caught:
        route.resolve("sender", host("web", **given))
    assert caught.value.host == "sender"


def test_a_file_of_ssh_config_in_nobodys_home_is_told_in_one_sentence() -> None:
    said = {"user": ["root"], "identityfile": ["~nosuchuser/key"]}
    with pytest.raises(ConfigError, match="~nosuchuser/key begins with a home directory, and there is none"):
        route.route(destination("web"), (), lambda _: said)


def test_an_identity_that_is_named_is_the_only_one() -> None:
    found = route.resolve("sender", host("web", ssh_config="none", identity_file="~/key"))
    assert (found.identities, found.only_identities) == ((Path.home() / "key",), True)


def test_without_openssh_fabric_reads_the_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setenv("HOME", str(tmp_path))
    file = tmp_path / "config"
    file.write_text("Host web\nHostName 192.0.2.1\nPort 2222\nUser me\nIdentityFile ~/k\nProxyCommand nc %h %p\n")
    found = route.resolve("sender", host("web", ssh_config=file))
    assert (found.host, found.port, found.user) == ("192.0.2.1", 2222, "me")
    assert (found.identities, found.proxy) == ((tmp_path / "k",), "nc 192.0.2.1 2222")
    assert found.known_hosts[0] == tmp_path / ".ssh/known_hosts"
    mine = route.resolve("sender", host("you@web", port=23, ssh_config=file))
    assert (mine.host, mine.port, mine.user) == ("192.0.2.1", 23, "you")
    other = route.resolve("sender", host("other", ssh_config=file))
    assert (other.host, other.port, other.user) == ("other", 22, getpass.getuser())


@pytest.mark.parametrize("line", ["Include other", "ProxyJump gate"])
def test_without_openssh_what_fabric_passes_over_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, line: str
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    file = tmp_path / "config"
    file.write_text(f"Host web\n{line}\n")
    with pytest.raises(ConfigError, match="only OpenSSH's ssh knows what") as told:
        route.resolve("sender", host("web", ssh_config=file))
    assert "openssh-client" in str(told.value)


# as ssh resolves it


def configured(tmp_path: Path, text: str) -> dict[str, Any]:
    file = tmp_path / "config"
    file.write_text(text)
    return {"ssh_config": file}


@openssh
def test_an_alias_leads_where_ssh_leads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYS", str(tmp_path))
    (tmp_path / "more").write_text("Host web\n  User alice\n  IdentityAgent /run/other\n")
    more = configured(
        tmp_path,
        f"""
        Include {tmp_path}/more
        Match originalhost web exec true
            HostName web.example.com
            Port 2222
        Host web
            User bob
            IdentityFile ~/.ssh/%r@%h
            IdentityFile ${{KEYS}}/key
            CertificateFile {tmp_path}/key-cert.pub
            IdentitiesOnly yes
            UserKnownHostsFile /k1 ~/k2
            GlobalKnownHostsFile none
            HostKeyAlias the-web
            ProxyCommand nc "%h" %p 2>/dev/null
            AddressFamily inet6
            BindAddress fd00::9
        """,
    )
    found = route.resolve("sender", host("web", **more))
    assert (found.user, found.host, found.port) == ("alice", "web.example.com", 2222)
    assert found.identities == (Path.home() / ".ssh/alice@web.example.com", tmp_path / "key")
    assert (found.only_identities, found.certificates) == (True, (tmp_path / "key-cert.pub",))
    assert (found.known_hosts, found.alias) == ((Path("/k1"), Path.home() / "k2"), "the-web")
    assert (found.agent, found.proxy) == (Path("/run/other"), 'nc "web.example.com" 2222 2>/dev/null')
    assert (found.family, found.bind_address) == (socket.AF_INET6, "fd00::9")
    said = route.resolve("sender", host("root@web", port=3333, proxy_command="mine %p", known_hosts="/k", **more))
    assert (said.user, said.port, said.proxy, said.known_hosts) == ("root", 3333, "mine 3333", (Path("/k"),))


@openssh
def test_jumps_are_strict_at_every_hop(tmp_path: Path) -> None:
    """The nearest hop's own jump comes before it; what goes through another ssh has its percent signs doubled."""
    more = configured(
        tmp_path,
        """
        Host web
            ProxyJump bob@first:2201,[fd00::2]
        Host first
            HostName fe80::1%%eth0
            ProxyJump gate
        Host *
            StrictHostKeyChecking no
        """,
    )
    found = route.resolve("sender", host("web", **more))
    command = found.proxy
    assert command and found.jumps == ("first", "fd00::2")
    commands = []
    while command:
        words = shlex.split(command)
        commands.append(words)
        inner = [word.removeprefix("ProxyCommand=") for word in words if word.startswith("ProxyCommand=")]
        command = inner[0].replace("%%", "%") if inner else ""
    last, middle, first = commands
    assert [words[words.index("-W") + 1 :] for words in commands] == [
        ["[web]:22", "--", "fd00::2"],
        ["[fd00::2]:22", "--", "first"],
        ["[fe80::1%eth0]:2201", "--", "gate"],
    ]
    for words in commands:
        assert words[1:3] == ["-F", str(more["ssh_config"])]
        assert {"StrictHostKeyChecking=yes", "BatchMode=yes"} <= set(words)
        assert words.index("StrictHostKeyChecking=yes") < words.index("--")
    assert middle[middle.index("-l") + 1] == "bob" and middle[middle.index("-p") + 1] == "2201"
    assert "-l" not in last and "-l" not in first


@openssh
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("ProxyJump a\nHost a\nProxyJump b\nHost b\nProxyJump a", "ProxyJump leads in a circle"),
        ("RevokedHostKeys /krl", "sets revokedhostkeys for web, which is not understood here"),
        ("BindInterface eth0", "sets bindinterface for web, which is not understood here"),
        ("ProxyCommand x\nProxyUseFdpass yes", "ProxyUseFdpass"),
        ("ProxyCommand nc %Q", "%Q"),
        ("NoSuchThing yes", "ssh does not understand its configuration: .*[Bb]ad configuration option: nosuchthing"),
    ],
)
def test_what_is_not_understood_is_refused_in_one_sentence(settings: str, said: str, tmp_path: Path) -> None:
    more = configured(tmp_path, f"Host web\n{settings}\n")
    with pytest.raises(ConfigError, match=said) as caught:
        route.resolve("sender", host("web", **more))
    assert caught.value.host == "sender" and caught.value.next_step and "\n" not in caught.value.what


@openssh
def test_a_configuration_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no ssh_config"):
        route.resolve("sender", host("web", ssh_config=tmp_path / "none-here"))


@openssh
def test_two_aliases_of_one_machine_are_one_machine(tmp_path: Path) -> None:
    more = configured(tmp_path, "Host a b\n  HostName 192.0.2.7\n")
    with pytest.raises(ConfigError, match=r"both addresses lead to 192.0.2.7 port 22"):
        route.require_two(two("a", "b", **more))
