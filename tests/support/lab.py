"""The lab's guests, looked at from outside the harness: what is there before a test and after it."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TypeVar

import pytest

from harness.api.bench import FIRST_PORT, LAST_PORT
from harness.events import Events
from harness.load import generator
from harness.measuring.opened import OpenTestbed, open_testbed
from harness.servers import datapath, ipsec
from hosts import modules
from hosts.errors import HarnessError, HostLost
from hosts.lab.kinds import Parts
from hosts.programs import in_image
from hosts.remote.ssh import Connection
from hosts.testbed import Host, HostsTestbed

Kept = TypeVar("Kept")


@contextlib.contextmanager
def connected(testbed: HostsTestbed) -> Iterator[OpenTestbed]:
    """An open testbed on hosts that are as they were afterwards."""
    with unchanged(testbed), open_testbed(testbed, Events()) as opened:
        yield opened


def place_modules(opened: OpenTestbed, parts: Parts) -> None:
    """Our kernel modules, built for the guests' kernel, onto both hosts."""
    hosts = ((opened.sender, opened.sender_facts), (opened.receiver, opened.receiver_facts))
    for source in (modules.SO_CRYPT, modules.DEVCRYPTO):
        module = modules.in_image(parts.target, source)
        for host, facts in hosts:
            facts.built[source.name] = host.put(module.content, f"{source.name}.ko")


def place_datapath(opened: OpenTestbed, parts: Parts) -> None:
    """Our server onto the sender, made by the image's compiler as in a run."""
    content = in_image(parts.image_path, datapath.program())
    opened.shared[datapath.SHARED] = opened.sender.put(content, datapath.SHARED, 0o700)


def compile_in_image(opened: OpenTestbed, parts: Parts) -> None:
    """Programs are made by the image's compiler, as for a lab that a run boots by itself."""
    opened.carried = replace(opened.carried, image=parts.image_path)


def place_generator(opened: OpenTestbed, parts: Parts) -> None:
    """The generator of load onto the receiver, made by the image's compiler as in a run."""
    content = in_image(parts.image_path, generator.program())
    opened.shared[generator.NAME] = opened.receiver.put(content, generator.NAME, 0o700)


@contextlib.contextmanager
def obtained(getting: AbstractContextManager[Kept]) -> Iterator[Kept]:
    """What a lab is booted from, as its kind's ``obtain`` gets it; skips where it cannot be had."""
    with contextlib.ExitStack() as stack:
        try:
            parts = stack.enter_context(getting)
        except HarnessError as error:
            pytest.skip(f"the lab cannot be had here: {error}")
        yield parts


@contextlib.contextmanager
def unchanged(testbed: HostsTestbed) -> Iterator[None]:
    """Both hosts are afterwards as they were before."""
    hosts = (testbed.sender, testbed.receiver)
    with ThreadPoolExecutor(2) as pool:
        before = list(pool.map(state, hosts))
    yield
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(eventually_as_before, hosts, before))


def shell(host: Host, command: str) -> str:
    """Output of a shell command on a host, over a connection of its own."""
    with Connection("test", host) as connection:
        channel = connection.start(command)
        lines: list[str] = []
        with contextlib.suppress(HostLost):
            lines.extend(channel.read_line(30.0).decode(errors="replace") for _ in range(10_000))
        return "\n".join(lines)


ESTABLISHED = f"""awk '$4 == "01" && substr($2, 10) >= "{FIRST_PORT:04X}" && substr($2, 10) <= "{LAST_PORT:04X}"' \
    /proc/net/tcp | wc -l"""
"""How many connections of servers' ports a host has. (ss(8) would load modules.)"""
STATE = (
    "echo policies; ip xfrm policy list; echo states; ip xfrm state list nokeys; echo qdiscs; tc qdisc show; "
    "echo modules; cut -d' ' -f1 /proc/modules | sort; echo shm; ls -A /dev/shm; echo files; "
    "ls -A /run /tmp /root; echo addresses; ip -o address; echo processes; "
    "for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline | grep . ; done; true"
)


def state(host: Host) -> list[str]:
    """What a run could leave behind on a host: IPsec, queueing, modules, files, addresses, processes."""
    lines = shell(host, STATE).splitlines()
    # the shell that looks, its connection, and modules the kernel itself never lets go of
    passing = re.compile(
        r"sshd-session|^sshd: |sh -c echo policies|^tr |^sleep |ls -A|^bash -c|valid_lft|^sort|^cut|^grep"
    )
    staying = set(ipsec.RANDOM)
    return [line for line in lines if not passing.search(line) and line not in staying]


def eventually_as_before(host: Host, before: list[str]) -> None:
    """The guardian works by itself: give it a while."""
    now: list[str] = []
    for _ in range(20):
        now = state(host)
        if now == before:
            return
        time.sleep(0.5)
    assert now == before, set(now) ^ set(before)
