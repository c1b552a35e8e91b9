"""The lab itself: it boots, its guests answer, and nothing is left of it however it ends."""

from __future__ import annotations

import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import IPv4Address
from pathlib import Path

import paramiko
import pytest

from hosts import testbed
from hosts.debian import image
from hosts.errors import ConfigError, HarnessError
from hosts.lab import __main__ as command_line
from hosts.lab import guests, own_kernel, running, uml
from hosts.processes import children
from hosts.testbed import Host, HostsTestbed
from tests.support.machine import LAB, ROOT, client, end, inhabitants, namespace_of, soon, traces

SPEC = uml.UmlTestbed(kind="uml", name="lab", memory_mb=512)


@pytest.fixture(scope="module")
def parts() -> Iterator[uml.UmlParts]:
    """What a lab is booted from; skips where none can boot."""
    with ExitStack() as stack:
        try:
            found = stack.enter_context(uml.obtain(SPEC))
        except HarnessError as error:
            pytest.skip(str(error))
        yield found


@pytest.fixture(scope="module")
def lab(parts: uml.UmlParts) -> Iterator[uml.UmlLab]:
    with parts.boot() as booted:
        print(f"both guests answered after {booted.ready_seconds:.2f} s")
        yield booted


def run(host: Host, command: str) -> str:
    """What a command says in a guest, output and errors together; it must succeed."""
    with client(host) as connected:
        _, output, _ = connected.exec_command(f"exec 2>&1; {command}", timeout=60)
        said = output.read().decode()
        assert output.channel.recv_exit_status() == 0, said
        return said


def test_both_guests_answer_under_their_own_names(lab: uml.UmlLab) -> None:
    assert lab.alive()
    assert run(lab.testbed.sender, "hostname") == "sender\n"
    assert run(lab.testbed.receiver, "hostname") == "receiver\n"


def test_guests_are_what_the_data_paths_need(lab: uml.UmlLab) -> None:
    host = lab.testbed.sender
    modules = "sch_netem tls algif_skcipher algif_aead algif_hash des_generic authenc gcm esp4 xfrm_user"
    run(host, f"modprobe -a {modules}")
    run(host, f"ping -c 1 -W 5 -I {host.data_interface} {lab.testbed.receiver.data_address}")
    run(host, "nginx -v && lighttpd -v && gcc --version")
    assert "Linux version" in run(host, "dmesg")
    types = run(host, "findmnt -n -o FSTYPE /tmp; findmnt -n -o FSTYPE /run; findmnt -n -o FSTYPE /dev/shm")
    assert types.split() == ["tmpfs"] * 3


def test_host_keys_are_strict(lab: uml.UmlLab, tmp_path: Path) -> None:
    sender, receiver = lab.testbed.sender, lab.testbed.receiver
    assert sender.known_hosts
    swapped = sender.known_hosts.read_text().splitlines()
    keys = [line.split(" ", 1)[1] for line in swapped]
    (tmp_path / "swapped").write_text(f"{receiver.address} {keys[0]}\n{sender.address} {keys[1]}\n")
    with pytest.raises(paramiko.BadHostKeyException), client(sender, tmp_path / "swapped"):
        pass
    assert sender.identity_file
    assert sender.identity_file.stat().st_mode & 0o777 == 0o600


def test_a_kernel_of_one_s_own_is_booted(parts: uml.UmlParts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_kernel, "cache", lambda: tmp_path / "cache")
    file = parts.places[1] / "linux"
    spec = testbed.with_kernel(SPEC, file, None)
    assert isinstance(spec, uml.UmlTestbed)
    with uml.obtain(spec) as mine, mine.boot() as lab:
        (copy,) = (tmp_path / "cache").glob("uml-*")
        assert mine.places[1] == copy
        release = own_kernel.find(file).release
        assert run(lab.testbed.sender, f"uname -r; modprobe tls; ls -d /lib/modules/{release}/modules.dep").split() == [
            release,
            f"/lib/modules/{release}/modules.dep",
        ]


def test_only_keys_let_in(lab: uml.UmlLab) -> None:
    host = lab.testbed.sender
    assert host.proxy_command
    proxy = paramiko.ProxyCommand(host.proxy_command.replace("%h", host.address).replace("%p", "22"))
    transport = paramiko.Transport(proxy)
    transport.start_client(timeout=20)
    with pytest.raises(paramiko.BadAuthenticationType) as caught:
        transport.auth_none("root")
    end(transport, proxy)
    assert caught.value.allowed_types == ["publickey"]


def test_each_guest_runs_on_its_processor(lab: uml.UmlLab) -> None:
    (found,) = [each for each in running.find() if each.pid == lab.pid]
    assert found.processors == lab.processors
    for role, pid in found.guests.items():
        for process in [pid, *children(pid)]:
            assert os.sched_getaffinity(process) == {lab.processors[role]}


def test_cpu_time_is_told_for_each_guest(lab: uml.UmlLab) -> None:
    started = time.monotonic()
    before = lab.cpu_seconds()
    # A fixed amount of work: on a busy machine a guest gets less time than its own clock says.
    run(lab.testbed.sender, "python3 -c 'for _ in range(10_000_000): pass'")
    used = {role: seconds - before[role] for role, seconds in lab.cpu_seconds().items()}
    assert used["sender"] > 0.1
    assert used["sender"] > 3 * used["receiver"]
    assert used["sender"] < time.monotonic() - started + 0.05
    assert lab.cpu_resolution_seconds <= 0.01


def test_what_else_happens_is_told_for_each_guest(lab: uml.UmlLab) -> None:
    before = lab.disturbance()
    spin = f"import os, time; os.sched_setaffinity(0, {{{lab.processors['sender']}}}); end = time.monotonic() + 3\n"
    with subprocess.Popen([sys.executable, "-c", f"{spin}while time.monotonic() < end: pass"]) as other:
        run(lab.testbed.sender, "python3 -c 'for _ in range(10_000_000): pass'")
        other.kill()
    after = lab.disturbance()
    found = {role: after[role].since(before[role]) for role in lab.processors}
    # both want the sender's processor: the guest waits, and the processor works for the other meanwhile
    assert (found["sender"].run_delay_ns or 0) > 10**7
    assert (found["sender"].others_ns or 0) > 10**7
    assert found["sender"].steal_ns is not None and found["sender"].switches


def test_a_guest_cannot_write_into_the_image(lab: uml.UmlLab) -> None:
    said = run(lab.testbed.sender, "mount -o remount,rw /.image; touch /.image/etc/written || echo refused")
    assert "refused" in said
    assert not (image.location(SPEC.release) / "etc/written").exists()


def test_a_person_can_walk_in(lab: uml.UmlLab) -> None:
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [*LAB, "enter", "--lab", str(lab.pid), "sender", "hostname; tty; exit 7"],
        cwd=ROOT,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    assert process.wait(timeout=20) == 7
    said = os.read(controller, 4096).decode()
    os.close(controller)
    assert said.split() == ["sender", "/dev/pts/0"]


def test_entering_needs_to_know_which_lab(lab: uml.UmlLab, monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = [each for each in running.find() if each.pid == lab.pid]
    assert running.choose(lab.pid) == found
    monkeypatch.setattr(running, "find", lambda: [found, found])
    with pytest.raises(ConfigError, match="more than one") as caught:
        running.choose(None)
    assert f"--lab PID, one of {lab.pid}" in str(caught.value)
    monkeypatch.setattr(running, "find", list)
    with pytest.raises(ConfigError, match="no lab runs here"):
        running.choose(None)


def test_two_labs_at_once_and_an_exception_ends_one_with_its_connections(lab: uml.UmlLab, parts: uml.UmlParts) -> None:
    before = traces()
    with pytest.raises(RuntimeError, match="in the middle"), parts.boot() as second:
        assert second.testbed.sender.address == lab.testbed.sender.address
        assert run(second.testbed.sender, "touch /run/second; hostname") == "sender\n"
        assert run(lab.testbed.sender, "ls /run/second || true") != "/run/second\n"
        inside = namespace_of(second.pid)
        command = second.testbed.receiver.proxy_command
        assert command
        open_connection = paramiko.ProxyCommand(command.replace("%h", "10.97.0.3").replace("%p", "22"))
        assert open_connection.recv(4) == b"SSH-"
        raise RuntimeError("in the middle")
    end(None, open_connection)
    assert not second.alive()
    second.close()
    with pytest.raises(HarnessError):
        second.cpu_seconds()
    assert soon(lambda: inhabitants(inside) == [])
    assert soon(lambda: traces() == before), traces()
    assert run(lab.testbed.sender, "hostname") == "sender\n"


@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL, None])
def test_nothing_is_left_when_the_controller_ends(parts: uml.UmlParts, tmp_path: Path, blow: int | None) -> None:
    before = traces()
    file = tmp_path / "booted.toml"
    controller = subprocess.Popen(
        [*LAB, "up", "--write-testbed", str(file)], cwd=ROOT, stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert soon(file.exists, 60)
    (booted,) = [each for each in running.find() if each.controller == controller.pid]
    inside = namespace_of(booted.pid)
    assert len(inhabitants(inside)) > 4
    hosts = testbed.load(str(file))
    assert isinstance(hosts, HostsTestbed)
    assert run(hosts.receiver, "hostname") == "receiver\n"
    if blow:
        controller.send_signal(blow)
    assert controller.stdin
    if blow != signal.SIGKILL:
        controller.stdin.close()
        assert controller.wait(timeout=10) == 0
        assert not file.exists()
    assert soon(lambda: inhabitants(inside) == []), inhabitants(inside)
    assert soon(lambda: traces() == before), traces()
    controller.wait(timeout=5)
    controller.stdin.close()
    assert controller.stderr
    controller.stderr.close()


def test_ctrl_c_while_it_boots_leaves_nothing(parts: uml.UmlParts, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []
    real = uml.UmlLab.wait_until_ready

    def remember(self: uml.UmlLab, *args: object) -> None:
        started.append(self.pid)
        real(self, *args)  # type: ignore[arg-type]

    def interrupt(what: str, _done: float | None) -> None:
        if what.startswith("booting"):
            raise KeyboardInterrupt

    monkeypatch.setattr(uml.UmlLab, "wait_until_ready", remember)
    with pytest.raises(KeyboardInterrupt):
        parts.boot(interrupt)
    assert not Path(f"/proc/{started[0]}").exists()


def test_a_lab_that_cannot_start_says_why(parts: uml.UmlParts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "lab-init"
    broken.write_text("echo 'mount: out of luck' >&2\nexit 1\n")
    monkeypatch.setattr(guests, "LAB_INIT", broken)
    with pytest.raises(HarnessError, match="lab: mount: out of luck"):
        parts.boot()


def test_a_guest_that_dies_is_quoted(parts: uml.UmlParts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("lab-init", "guest-init"):
        shutil.copy(guests.LAB_INIT.with_name(name), tmp_path / name)
    (tmp_path / "guest-init").write_text("#!/bin/sh\necho 'no luck in here'\nexit 1\n")
    monkeypatch.setattr(guests, "LAB_INIT", tmp_path / "lab-init")
    started = time.monotonic()
    with pytest.raises(HarnessError, match=r"(sender|receiver): .*no luck in here"):
        parts.boot()
    assert time.monotonic() - started < uml.BOOT_SECONDS / 2


def test_the_testbed_file_can_be_read_back(tmp_path: Path) -> None:
    host = Host(
        address="10.97.0.2",
        data_address="10.98.0.2",  # type: ignore[arg-type]
        data_interface="vec1",
        identity_file=Path("/proc/1/fd/3"),
        proxy_command='nsenter -t 1 -n "a \\ path with blanks/ü" %h %p',
    )
    other = host.model_copy(update={"address": "10.97.0.3", "data_address": IPv4Address("10.98.0.3")})
    hosts = HostsTestbed(kind="hosts", name="lab", sender=host, receiver=other)
    with command_line._written(hosts, tmp_path / "lab.toml"):
        assert testbed.load(str(tmp_path / "lab.toml")) == hosts
    assert not (tmp_path / "lab.toml").exists()


def test_commands_that_cannot_work_are_one_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "find", list)
    assert command_line.main(["list"]) == 0
    assert command_line.main(["enter", "sender"]) == 1
    assert command_line.main(["up", "--testbed", "nowhere"]) == 1
    assert command_line.main(["up", "--write-testbed", "lab.txt"]) == 1
    said = capsys.readouterr().err
    assert "no lab runs here" in said
    assert "no testbed is called 'nowhere'" in said
    assert "ends in .toml" in said
    assert "Traceback" not in said
