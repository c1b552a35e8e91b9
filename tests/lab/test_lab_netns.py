"""The lab of two hosts on this machine's own kernel: each sees its own, and each one's work is told as its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.samples import ELSEWHERE, placed
from hosts import testbed
from hosts.errors import Refusal
from hosts.lab import netns, running
from hosts.processes import children
from hosts.roles import ROLES
from hosts.testbed import Host
from tests.support.lab import obtained, shell
from tests.support.machine import LAB, ROOT, inhabitants, namespace_of, soon, traces

WORK = "python3 -c 'import time\nwhile time.process_time() < 0.3: pass'"
FLOOD = (
    "python3 -c 'import socket\ns = socket.socket(type=2)\nfor _ in range(20000): s.sendto(bytes(1000), (\"{}\", 9))'"
)


@pytest.fixture(scope="module")
def parts() -> Iterator[netns.NetnsParts]:
    """What the lab is made of; skips where it cannot be had."""
    spec = testbed.load("lab-netns")
    assert isinstance(spec, netns.NetnsTestbed)
    with obtained(netns.obtain(spec)) as found:
        yield found


@pytest.fixture(scope="module")
def lab(parts: netns.NetnsParts) -> Iterator[netns.NetnsLab]:
    with parts.boot() as booted:
        print(f"both hosts answered after {booted.ready_seconds:.2f} s")
        yield booted


def spent(lab: netns.NetnsLab, host: Host, command: str) -> dict[str, float]:
    """CPU time of each host while a command runs on one, the SSH connection that starts it left out."""
    shell(host, "true")
    before = lab.cpu_seconds()
    shell(host, command)
    return {role: seconds - before[role] for role, seconds in lab.cpu_seconds().items()}


def test_each_host_sees_its_own_and_nothing_of_this_machine(lab: netns.NetnsLab) -> None:
    for role, host, other in zip(ROLES, (lab.testbed.sender, lab.testbed.receiver), reversed(ROLES), strict=True):
        assert shell(host, "hostname") == role
        assert shell(host, "nproc; grep -c ^processor /proc/cpuinfo").split() == ["1", "1"]
        assert shell(host, "ls /sys/class/net").split() == ["eth0", "eth1", "lo"]
        assert shell(host, "ps -o args= -p 1") == "/bin/sh /mnt/guest-init second shared"
        assert (
            shell(host, f"ls -d {ROOT} {Path.home()}/.cache 2>/dev/null; cut -d' ' -f2 /proc/mounts | grep image") == ""
        )
        assert "64 bytes" in shell(host, f"ping -c 1 -W 5 -I {host.data_interface} {other}")
    (found,) = [each for each in running.find() if each.pid == lab.pid]
    assert (found.word, found.processors, found.guests.keys()) == ("netns", lab.processors, lab.processors.keys())


def test_no_module_of_ours_is_built_for_this_machine_s_kernel(parts: netns.NetnsParts) -> None:
    with pytest.raises(Refusal, match="this machine's own"):
        _ = parts.target


def test_a_host_cannot_load_a_module(lab: netns.NetnsLab) -> None:
    for host in (lab.testbed.sender, lab.testbed.receiver):
        capabilities = int(shell(host, "grep CapEff /proc/self/status").split()[1], 16)
        assert capabilities & 1 << 12, "CAP_NET_ADMIN, as on any host"
        assert not capabilities & 1 << 16, "CAP_SYS_MODULE"


@pytest.mark.parametrize("role", ROLES)
def test_work_of_one_host_is_told_as_its_own(lab: netns.NetnsLab, role: str) -> None:
    other = {"sender": "receiver", "receiver": "sender"}[role]
    used = spent(lab, getattr(lab.testbed, role), WORK)
    assert used[role] > 0.29
    assert used[other] < 0.1 * used[role]


def test_what_one_host_sends_is_received_by_the_other_s_processor(lab: netns.NetnsLab) -> None:
    if lab.processors["sender"] == lab.processors["receiver"]:
        pytest.skip("both hosts have one processor here")
    sender, receiver = lab.testbed.sender, lab.testbed.receiver
    flood, rps = FLOOD.format(receiver.data_address), "/sys/class/net/eth1/queues/rx-0/rps_cpus"
    lab.cpu_seconds()
    spent(lab, sender, flood)
    before, after = lab._read
    got = {
        name: getattr(after.sides["receiver"], name) - getattr(before.sides["receiver"], name)
        for name in ("received", "worked_off")
    }
    assert got["received"] > 15000
    assert got["worked_off"] >= (1 - ELSEWHERE) * got["received"]
    mask = shell(receiver, f"cat {rps}; echo 0 >{rps}")
    spent(lab, sender, flood)
    shell(receiver, f"echo {mask} >{rps}")
    assert lab.cpu_elsewhere is not None and lab.cpu_elsewhere > 0.9, "the sender's processor worked it off"


def test_who_else_works_on_a_host_s_processor_makes_its_time_unknown(lab: netns.NetnsLab) -> None:
    """Not this program: it started this one, but through another that is no child of its own any more."""
    before = lab.disturbance()["sender"]
    spin = f"import os, time\nos.sched_setaffinity(0, {{{lab.processors['sender']}}})\nif not os.fork():\n"
    spin += "  while time.process_time() < 0.4: pass"
    lab.cpu_seconds()
    subprocess.run([sys.executable, "-c", spin], check=True, timeout=60)
    time.sleep(0.6)
    lab.cpu_seconds()
    assert not placed(lab.cpu_elsewhere)
    others = lab.disturbance()["sender"].since(before).others_ns
    assert others is not None and others > 0.2e9


@pytest.mark.parametrize("blow", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_when_the_controller_ends(parts: netns.NetnsParts, tmp_path: Path, blow: int) -> None:
    before, file = traces(), tmp_path / "two.toml"
    command = [*LAB, "up", "--testbed", "lab-netns", "--write-testbed", str(file)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert soon(lambda: file.exists() and file.stat().st_size > 0, 60)
        (unshare,) = [pid for pid in children(process.pid) if namespace_of(pid) != namespace_of(os.getpid())]
        (init,) = children(unshare)
        inside = [namespace_of(pid) for pid in (init, *children(init))]
        assert len(set(inside)) == 3, "the lab's and each host's"
        os.kill(process.pid, blow)
    assert soon(lambda: not any(inhabitants(namespace) for namespace in inside))
    assert soon(lambda: traces() == before), traces()
