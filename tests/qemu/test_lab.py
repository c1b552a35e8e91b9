"""The lab of QEMU guests: an ordinary kernel, a crypto card in the sender, and nothing left however it ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import paramiko
import pytest

from harness.events import Event, Events, Sampled
from harness.measuring.opened import open_testbed
from hosts import modules, testbed
from hosts.debian import chroot, image
from hosts.errors import HarnessError
from hosts.lab import qemu, running
from hosts.lab.kvm import probe
from hosts.lab.qemu import guest_kernel, initrd
from hosts.progress import silent
from hosts.remote.agent import AgentError
from hosts.remote.host import RemoteHost
from tests.support.lab import place_datapath
from tests.support.machine import LAB, ROOT, client, inhabitants, namespace_of, soon, traces
from tests.support.runs import by_path, profile_of, run, samples_of, suite

SPEC = qemu.QemuTestbed(kind="qemu", name="lab-qemu")
CARD = "virtio_crypto_aes_cbc"
PATIENCE = 60.0

Shell = Callable[[str], str]


@pytest.fixture(scope="module")
def parts(qemu_parts: qemu.QemuParts) -> qemu.QemuParts:
    """The image and the kernel."""
    return qemu_parts


@pytest.fixture(scope="module")
def lab(qemu_lab: qemu.QemuLab) -> qemu.QemuLab:
    print(f"both guests answered after {qemu_lab.ready_seconds:.1f} s")
    return qemu_lab


@pytest.fixture(scope="module")
def shells(lab: qemu.QemuLab) -> Iterator[dict[str, Shell]]:
    """What runs a command on each guest, over one connection: making one takes an emulated processor seconds."""
    with ExitStack() as stack:
        yield {role: shell(stack.enter_context(client(getattr(lab.testbed, role)))) for role in lab.processors}


def shell(connected: paramiko.SSHClient) -> Shell:
    def ask(command: str) -> str:
        _, output, _ = connected.exec_command(f"exec 2>&1; {command}", timeout=PATIENCE)
        said = output.read().decode()
        assert output.channel.recv_exit_status() == 0, said
        return said

    return ask


def test_both_guests_answer_and_run_the_harness_own_kernel(
    lab: qemu.QemuLab, shells: dict[str, Shell], parts: qemu.QemuParts
) -> None:
    assert lab.alive()
    about = parts.kernel.about
    for role in lab.processors:
        said = shells[role]("hostname; uname -r; cat /proc/version")
        assert said.splitlines()[:2] == [role, about.kernel_release]
        assert f"Debian {about.version}" in said
    # The kernel's own tests of its ciphers are what makes a driver usable: without them nothing of this can be trusted.
    assert "notests" not in shells["sender"]("cat /proc/cmdline")


def test_the_card_is_the_senders_and_passes_the_kernels_own_tests(lab: qemu.QemuLab, shells: dict[str, Shell]) -> None:
    devices = "cat /sys/bus/virtio/devices/*/device"
    assert "0x0014" in shells["sender"](devices)
    assert "0x0014" not in shells["receiver"](devices)
    said = shells["sender"](f"modprobe virtio_crypto && grep -A 12 {CARD} /proc/crypto")
    assert re.search(r"^selftest +: passed$", said, re.MULTILINE)
    assert re.search(r"^async +: yes$", said, re.MULTILINE)


def test_the_card_enciphers_as_openssl_does(lab: qemu.QemuLab, shells: dict[str, Shell]) -> None:
    """One chunk through AF_ALG, bound to the card by its driver's name."""
    script = (
        "import socket;"
        "s=socket.socket(socket.AF_ALG,socket.SOCK_SEQPACKET,0);"
        f"s.bind(('skcipher','{CARD}'));"
        "s.setsockopt(socket.SOL_ALG,socket.ALG_SET_KEY,bytes(range(16)));"
        "c=s.accept()[0];"
        "c.sendmsg_afalg([bytes(65536)],op=socket.ALG_OP_ENCRYPT,iv=bytes(16));"
        "print(c.recv(65536).hex())"
    )
    ours = shells["sender"](f'modprobe -a virtio_crypto algif_skcipher; python3 -c "{script}"').strip()
    theirs = shells["sender"](
        "head -c 65536 /dev/zero | openssl enc -aes-128-cbc -nopad -iv 00000000000000000000000000000000 "
        "-K 000102030405060708090a0b0c0d0e0f | od -An -v -tx1 | tr -d ' \\n'",
    ).strip()
    assert len(ours) == 2 * 65536
    assert ours == theirs


def test_guests_are_what_the_data_paths_need(lab: qemu.QemuLab, shells: dict[str, Shell]) -> None:
    modules = "tls algif_skcipher algif_aead algif_hash des_generic authenc gcm cbc esp4 xfrm_user sch_netem"
    shells["sender"](f"modprobe -a {modules}")
    shells["sender"]("nginx -v && lighttpd -v && cc --version")
    types = shells["sender"]("findmnt -n -o FSTYPE /tmp; findmnt -n -o FSTYPE /run; findmnt -n -o FSTYPE /")
    assert types.split() == ["tmpfs", "tmpfs", "overlay"]


def test_the_data_link_passes_big_packets_and_bulk(lab: qemu.QemuLab, shells: dict[str, Shell]) -> None:
    sender, receiver = lab.testbed.sender, lab.testbed.receiver
    ping = f"ping -c 1 -W 20 -I {sender.data_interface}"
    shells["sender"](f"{ping} {receiver.data_address}; {ping} -M do -s 8972 {receiver.data_address}")
    listens = "for i in $(seq 100); do ss -ltn | grep -q :5201 && exit; sleep 0.1; done; exit 1"
    shells["receiver"](f"iperf3 -s -1 -D -B {receiver.data_address}; {listens}")
    said = shells["sender"](f"iperf3 -c {receiver.data_address} -B {sender.data_address} -n 50M -J")
    received = re.search(r'"sum_received":.*?"bytes":\s*(\d+)', said, re.DOTALL)
    assert received
    # What is still on its way when the client counts is not there yet.
    assert int(received[1]) > 45e6


def test_the_module_that_was_built_beside_it_loads(
    lab: qemu.QemuLab, shells: dict[str, Shell], parts: qemu.QemuParts
) -> None:
    built = modules.in_image(parts.target)
    assert (built.package, built.version) == ("linux-headers", parts.kernel.about.version)
    assert modules.in_image(parts.target) == built
    with RemoteHost("sender", lab.testbed.sender) as host:
        host.check(["modprobe", "-a", "algif_skcipher"])
        host.check(["insmod", host.put(built.content, "so_crypt.ko")])
        assert "so_crypt" in host.check(["cat", "/proc/sys/net/ipv4/tcp_available_ulp"])
        host.check(["rmmod", "so_crypt"])


def test_guests_see_the_headers_of_their_kernel(lab: qemu.QemuLab, shells: dict[str, Shell]) -> None:
    said = shells["sender"]('cd "/lib/modules/$(uname -r)/build" && ls Makefile scripts/mod/modpost include')
    assert "autoconf.h" in shells["sender"]('ls "/lib/modules/$(uname -r)/build/include/generated"')
    assert "Makefile" in said


def test_a_guest_cannot_write_into_the_cache(
    lab: qemu.QemuLab, shells: dict[str, Shell], parts: qemu.QemuParts
) -> None:
    written = ("etc/written", "usr/src/written")
    shells["sender"](" && ".join(f"touch /{name}" for name in written))
    assert not any((place / name).exists() for name in written for place in (parts.places[0], parts.kernel.tree))


def test_each_guest_runs_on_its_processor(lab: qemu.QemuLab, shells: dict[str, Shell]) -> None:
    (found,) = [each for each in running.find() if each.pid == lab.pid]
    assert (found.word, found.release, found.processors) == (lab.accel, SPEC.release, lab.processors)
    for role, pid in found.guests.items():
        for thread in Path(f"/proc/{pid}/task").iterdir():
            assert os.sched_getaffinity(int(thread.name)) == {lab.processors[role]}


def test_cpu_time_is_told_for_each_guest(lab: qemu.QemuLab, shells: dict[str, Shell]) -> None:
    before = lab.cpu_seconds()
    shells["sender"]("python3 -c 'for _ in range(3_000_000): pass'")
    used = {role: seconds - before[role] for role, seconds in lab.cpu_seconds().items()}
    assert used["sender"] > 10 * lab.cpu_resolution_seconds
    assert used["sender"] > 2 * used["receiver"] >= 0


def test_what_else_happens_is_told_for_each_guest(lab: qemu.QemuLab, shells: dict[str, Shell]) -> None:
    before = lab.disturbance()
    shells["sender"]("python3 -c 'for _ in range(100_000): pass'")
    found = {role: after.since(before[role]) for role, after in lab.disturbance().items()}
    assert found.keys() == {"sender", "receiver"}
    assert found["sender"].switches and found["sender"].run_delay_ns is not None


def test_a_person_can_walk_in(lab: qemu.QemuLab, shells: dict[str, Shell]) -> None:
    command = [sys.executable, "-m", "hosts.lab", "enter", "--lab", str(lab.pid), "receiver", "hostname; exit 7"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.stdout, done.returncode) == ("receiver\n", 7), done.stderr


@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_when_the_controller_ends_while_guests_boot(parts: qemu.QemuParts, blow: int) -> None:
    before = traces()
    controller = subprocess.Popen(
        [*LAB, "up", "--testbed", "lab-qemu"], cwd=ROOT, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
    )

    def booting() -> list[running.RunningLab]:
        return [lab for lab in running.find() if lab.controller == controller.pid and len(lab.guests) == 2]

    try:
        assert soon(lambda: bool(booting()), PATIENCE)
        (found,) = booting()
        inside = namespace_of(found.pid)
        controller.send_signal(blow)
        controller.wait(timeout=PATIENCE)
    finally:
        controller.kill()
    assert soon(lambda: inhabitants(inside) == [], PATIENCE), inhabitants(inside)
    assert soon(lambda: traces() == before), traces()
    assert controller.stdin
    controller.stdin.close()


def test_a_guest_that_does_not_come_up_is_quoted(
    parts: qemu.QemuParts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = traces()
    broken = tmp_path / "init"
    broken.write_text("#!/bin/busybox sh\necho 'no luck in here'\nexit 1\n")
    monkeypatch.setattr(initrd, "INIT", broken)
    with pytest.raises(HarnessError, match=r"(sender|receiver): .*no luck in here") as caught:
        parts.boot()
    assert "Kernel panic - not syncing: Attempted to kill init!" in str(caught.value)
    assert "RIP" not in str(caught.value)
    assert soon(lambda: traces() == before), traces()


def test_a_guest_that_takes_too_long_is_given_up(parts: qemu.QemuParts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qemu.QemuLab, "boot_seconds", 1.5)
    with pytest.raises(HarnessError, match="sender and receiver did not boot in 2 s"):
        parts.boot()


def test_what_runs_in_the_image_dies_with_its_controller(parts: qemu.QemuParts, tmp_path: Path) -> None:
    lingering = "sleep 987.321"
    reader, writer = os.pipe()

    def tell(_line: str) -> None:
        os.write(writer, b"up")

    controller = os.fork()
    if controller == 0:
        chroot.run(parts.places[0], tmp_path, f"echo up; {lingering}", "failed", line=tell)
        os._exit(0)
    assert os.read(reader, 10) == b"up"
    os.kill(controller, signal.SIGKILL)
    os.waitpid(controller, 0)
    os.close(writer)
    os.close(reader)

    def runs() -> bool:
        return lingering in subprocess.run(["ps", "axo", "args"], capture_output=True, text=True, check=True).stdout

    assert soon(lambda: not runs())


def test_kvm_is_found_out_by_trying(parts: qemu.QemuParts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever the answer is here: it comes, and it says why not."""
    monkeypatch.setattr(probe, "_memory", lambda: tmp_path / "kvm.json")
    monkeypatch.setattr(probe, "PROBE_SECONDS", 8.0)
    why = probe.unusable(parts.kernel, silent)
    print(f"KVM: {why or 'works'}")
    assert why is None or "/dev/kvm" in why or "a guest that was booted to try it" in why
    assert (tmp_path / "kvm.json").exists() == (why is None or "/dev/kvm" not in why)


def test_the_cache_is_where_it_is_said_to_be(parts: qemu.QemuParts) -> None:
    spec = testbed.load("lab-qemu")
    assert isinstance(spec, qemu.QemuTestbed)
    assert parts.places == (image.location(spec.release), guest_kernel.location(spec.release))


def test_a_card_that_disappears_in_mid_run_ends_its_transfers_only(
    lab: qemu.QemuLab, parts: qemu.QemuParts, tmp_path: Path
) -> None:
    """Unbound from its driver, as one that is pulled out. The last test: what waits for it in the kernel, waits on."""
    drivers = "/sys/bus/virtio/drivers/virtio_crypto"
    pull = ["sh", "-c", f"cd {drivers}; for device in virtio*; do echo $device >unbind; done"]
    asked = suite("plain", "afalg-copy", cipher="aes128cbc", driver="card", sizes={"100kB": {"blocks": 2}})
    with suppress(AgentError), open_testbed(lab.testbed, Events()) as opened:  # it says so when a server would not end
        place_datapath(opened, parts)

        def listen(event: Event) -> None:
            if isinstance(event, Sampled) and event.count == 2:
                opened.sender.check(pull)

        done = run(opened, profile_of(asked), tmp_path, listener=listen)
    cells = by_path(done)
    assert cells["afalg-copy"].outcome == "failed", cells["afalg-copy"].reason
    assert cells["plain"].outcome == "measured", cells["plain"].reason
    assert [sample.valid for sample in samples_of(done, "afalg-copy")] == [True, False]
    assert not done.head.verdicts
