"""Hosts as strangers: two jumps away by aliases of ssh_config, over IPv6, with users who need sudo for root."""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from paramiko import HostKeys

from harness.events import Events
from harness.measuring.opened import open_testbed
from hosts import testbed
from hosts.errors import HostLost
from hosts.lab import uml
from hosts.remote.ssh import Connection
from hosts.testbed import Host, HostsTestbed
from tests.support.lab import place_datapath, shell, unchanged
from tests.support.runs import by_path, profile_of, run, samples_of, suite

pytestmark = pytest.mark.skipif(not shutil.which("ssh"), reason="this machine has no ssh")
ROOT = Path(__file__).parents[2]
PASSWORD = "correct horse; battery"  # noqa: S105
PORT = 2202
INSIDE = {"sender": "fd00:97::2", "receiver": "fd00:97::3"}
DATA = {"sender": "fd00:98::2", "receiver": "fd00:98::3"}

PREPARE = """
set -e
exec 2>&1
modprobe ipv6
ip -6 address add {inside}/64 dev vec0 nodad
ip -6 address add {data}/64 dev vec1 nodad
hashed=$(openssl passwd -6 '{password}')
for user in alice bob carol; do useradd -m -s /bin/sh -p "$hashed" $user; done
printf 'alice ALL=(ALL) NOPASSWD: ALL\\nbob ALL=(ALL) ALL\\n' >/etc/sudoers.d/test
su alice -c 'sudo true'  # from now on it has its folder in /run
mkdir -m 755 /run/keys
echo '{authorized}' | tee /run/keys/authorized >>/root/.ssh/authorized_keys
ssh-keygen -q -t ecdsa -N '' -f /run/sshd/ecdsa
ssh-keygen -q -t ed25519 -N '' -f /run/sshd/authority
ssh-keygen -y -f /run/sshd/host_key >/run/sshd/host_key.pub
ssh-keygen -q -s /run/sshd/authority -I test -h -n {inside} /run/sshd/host_key.pub
/usr/sbin/sshd -f /dev/null -h /run/sshd/host_key -h /run/sshd/ecdsa -o HostCertificate=/run/sshd/host_key-cert.pub \\
    -p {port} -o PidFile=none -o UseDNS=no -o UsePAM=no -o AuthorizedKeysFile=/run/keys/authorized \\
    -o PasswordAuthentication=no -o PerSourcePenalties=no
cut -d ' ' -f 1,2 /run/sshd/*.pub
"""

CONFIG = """
Host sender receiver close
    Port {port}
    User alice
Host sender receiver
    ProxyJump near,far
Host close
    ProxyJump near
Host sender close
    HostName fd00:97::2
Host receiver
    HostName fd00:97::3
Host near
    HostName 10.97.0.2
    ProxyCommand {proxy}
Host far
    HostName fd00:97::3
Host *
    User root
    IdentityFile {identity}
    IdentitiesOnly yes
    UserKnownHostsFile {known}
    GlobalKnownHostsFile none
    StrictHostKeyChecking no
"""

AS_ROOT = """
import sys
from hosts import testbed
from hosts.errors import HarnessError
from hosts.remote.host import RemoteHost
for _ in range(int(sys.argv[2])):
    try:
        with RemoteHost("sender", testbed.load(sys.argv[1]).sender) as there:
            print("uid", there.uid, flush=True)
    except HarnessError as error:
        print(error, flush=True)
"""


@dataclass(frozen=True)
class Strangers:
    """Two guests as a user has hosts; ``lab`` reaches them in the lab's own way."""

    lab: HostsTestbed
    room: Path
    keys: dict[str, str]
    """The sender's, by kind."""

    def host(self, alias: str = "sender", **more: Any) -> Host:
        """``close`` is the sender through one jump only, which takes less time."""
        wanted = {"address": alias, "ssh_config": self.room / "config", **more}
        data = DATA["receiver" if alias == "receiver" else "sender"]
        return Host(data_address=ip_address(data), data_interface="vec1", **wanted)

    def testbed(self, sender: str = "sender", **more: Any) -> HostsTestbed:
        first, second = self.host(sender, **more), self.host("receiver", **more)
        return HostsTestbed(kind="hosts", name="strangers", shape=True, sender=first, receiver=second)

    def other(self, key: str, value: Path) -> Host:
        """The sender by a configuration in which one setting is another."""
        text = re.sub(rf"^( *{key}) .*", rf"\1 {value}", (self.room / "config").read_text(), flags=re.MULTILINE)
        file = value.with_name(f"config-{value.name}")
        file.write_text(text)
        return self.host(ssh_config=file)


@pytest.fixture(scope="module")
def strangers(lab: uml.UmlLab, tmp_path_factory: pytest.TempPathFactory) -> Strangers:
    room = tmp_path_factory.mktemp("strangers")
    for name, secret in (("id", ""), ("locked", PASSWORD)):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", secret, "-f", str(room / name)], check=True)
    authorized = (room / "id.pub").read_text() + (room / "locked.pub").read_text()
    known, keys, proxy = [], {}, lab.testbed.sender.proxy_command
    assert lab.testbed.sender.known_hosts and proxy
    for role, line in zip(INSIDE, lab.testbed.sender.known_hosts.read_text().splitlines(), strict=True):
        host = getattr(lab.testbed, role)
        more = {"inside": INSIDE[role], "data": DATA[role], "port": PORT, "password": PASSWORD}
        said = shell(host, PREPARE.format(authorized=authorized, **more)).splitlines()
        assert len(said) == 4, said
        keys[role] = dict(zip(("authority", "ecdsa", "certificate", "ed25519"), said, strict=True))
        names = (host.address, INSIDE[role], f"[{INSIDE[role]}]:{PORT}")
        known += [f"{HostKeys.hash_host(name)} {line.split(' ', 1)[1]}" for name in names]
    (room / "known").write_text("\n".join(["# hashed, as Debian does it", *known, ""]))
    (room / "config").write_text(CONFIG.format(port=PORT, proxy=proxy, identity=room / "id", known=room / "known"))
    return Strangers(lab.testbed, room, keys["sender"])


def test_two_jumps_a_user_with_sudo_and_ipv6_throughout(
    strangers: Strangers, lab_parts: uml.UmlParts, tmp_path: Path
) -> None:
    """nginx, lighttpd and our own server; the hosts are afterwards as they were."""
    with unchanged(strangers.lab), open_testbed(strangers.testbed(become="sudo"), Events()) as opened:
        assert (opened.sender.uid, opened.receiver.uid) == (0, 0)
        place_datapath(opened, lab_parts)
        done = run(opened, profile_of(suite("http", "https", "plain", "afalg-splice", cipher="3des")), tmp_path)
    for path, cell in by_path(done).items():
        assert cell.outcome == "measured", cell.reason
        assert all(sample.sha256_ok for sample in samples_of(done, path))


def test_the_way_is_that_of_the_configuration(strangers: Strangers) -> None:
    user, connection = shell(strangers.host(), "id -un; echo $SSH_CONNECTION").splitlines()
    here, _, there, port = connection.split()
    assert (user, here, there, port) == ("alice", INSIDE["receiver"], INSIDE["sender"], str(PORT))


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("another's key for the host", "the host's key is not the one in known_hosts"),
        ("another's key for the jump", "Host key verification failed"),
        ("none for the host", "known_hosts does not know the host's key ssh-ed25519 SHA256:"),
    ],
)
def test_keys_are_strict_at_each_hop_whatever_the_configuration_says(
    strangers: Strangers, case: str, said: str
) -> None:
    near, far = (line.split(" ", 1)[1] for line in (strangers.room / "known").read_text().splitlines()[1:5:3])
    lines = {"10.97.0.2": near, "fd00:97::3": far, f"[fd00:97::2]:{PORT}": near}
    place = "fd00:97::3" if "jump" in case else f"[fd00:97::2]:{PORT}"
    if case.startswith("none"):
        del lines[place]
    else:
        lines[place] = near if lines[place] == far else far
    file = strangers.room / case.replace(" ", "-").replace("'", "")
    file.write_text("".join(f"{name} {key}\n" for name, key in lines.items()))
    with pytest.raises(HostLost) as caught, Connection("sender", strangers.other("UserKnownHostsFile", file)):
        pass
    assert said in caught.value.what


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("@cert-authority fd00:97::* {authority}", None),
        ("@cert-authority fd00:97::* {ecdsa}", "it is signed by nobody whom known_hosts calls a @cert-authority"),
        ("[fd00:97::2]:2202 {ecdsa}", None),
    ],
)
def test_a_host_is_believed_by_its_certificate_or_whichever_key_is_known(
    strangers: Strangers, line: str, said: str | None
) -> None:
    """The server has an ed25519 key with a certificate, and an ECDSA key."""
    file = strangers.room / "of-the-host"
    file.write_text(line.format(**strangers.keys) + "\n")
    host = strangers.host("close", known_hosts=file)
    if said is None:
        assert shell(host, "id -un") == "alice"
        return
    with pytest.raises(HostLost, match=said), Connection("sender", host):
        pass


def test_a_key_with_a_passphrase_is_the_agents(strangers: Strangers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named in the testbed file for the host, in ssh_config for the jumps."""
    locked, sock = strangers.room / "locked", strangers.room / "agent"
    monkeypatch.setenv("SSH_AUTH_SOCK", str(sock))
    answer = strangers.room / "answer"
    answer.write_text(f"#!/bin/sh\necho '{PASSWORD}'\n")
    answer.chmod(0o700)
    with subprocess.Popen(["ssh-agent", "-D", "-a", str(sock)], stdout=subprocess.DEVNULL) as agent:
        try:
            while not sock.exists():
                time.sleep(0.01)
            asked = {"SSH_ASKPASS": str(answer), "SSH_ASKPASS_REQUIRE": "force"}
            subprocess.run(["ssh-add", "-q", str(locked)], env=os.environ | asked, check=True)
            host = strangers.other("IdentityFile", locked).model_copy(update={"identity_file": locked})
            assert shell(host, "id -un") == "alice"
        finally:
            agent.terminate()


# sudo


def as_root(strangers: Strangers, user: str, tmp_path: Path, answer: str | None, times: int = 1) -> str:
    """What a program says that becomes root some times, with a terminal (and what is typed there) or without one."""
    file = tmp_path / "hosts.toml"
    file.write_text(testbed.as_toml(strangers.testbed("close", user=user, become="sudo")))
    command = [sys.executable, "-c", AS_ROOT, str(file), str(times)]
    if answer is None:
        done = subprocess.run(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            start_new_session=True,
            check=False,
        )
        return done.stdout + done.stderr
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", "--wait", *command], cwd=ROOT, stdin=terminal, stdout=terminal, stderr=terminal
    )
    os.close(terminal)
    said, typed = b"", False
    try:
        while piece := os.read(controller, 4096):
            said += piece
            if b"sudo's password of" in said and not typed:
                typed = True
                os.write(controller, answer.encode() + b"\n")
    except OSError:  # the terminal's other side is closed
        pass
    finally:
        os.close(controller)
    assert process.wait(30) == 0, said
    return said.decode().replace("\r", "")


def test_a_password_is_asked_for_once_and_is_nowhere_to_be_seen(strangers: Strangers, tmp_path: Path) -> None:
    said = as_root(strangers, "bob", tmp_path, PASSWORD, times=2)
    assert said.split("\n")[1:] == ["uid 0", "uid 0", ""] and PASSWORD not in said
    assert said.count("sudo's password of bob@fd00:97::2 port 2202: ") == 1


@pytest.mark.parametrize(
    ("user", "answer", "said"),
    [
        ("bob", "wrong", "sender: sudo does not make bob root: sudo: no password was provided"),
        ("bob", None, "sudo wants a password of bob@fd00:97::2 port 2202, and there is no terminal to ask for it"),
        ("carol", PASSWORD, "sender: sudo does not make carol root: "),
    ],
)
def test_who_cannot_become_root_is_told_why(
    strangers: Strangers, tmp_path: Path, user: str, answer: str | None, said: str
) -> None:
    told = as_root(strangers, user, tmp_path, answer)
    assert said in told and "Traceback" not in told and "uid" not in told, told
