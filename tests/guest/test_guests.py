"""Checks that run inside a guest of the lab, where the kernel has what this machine's may lack."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.servers import datapath
from hosts import modules
from hosts.lab.guests import Lab
from hosts.lab.kinds import Parts
from hosts.programs import in_image
from hosts.remote import changes
from hosts.remote.changes import Scope
from hosts.remote.host import RemoteHost
from tests.support.guest_checks import run_checks

CHECKS = Path(__file__).with_name("datapath_checks")


@pytest.fixture(scope="module")
def guest(booted: tuple[Parts, Lab]) -> Iterator[RemoteHost]:
    """With /dev/crypto: the sender, as modules of ours come and go on the receiver."""
    parts, lab = booted
    module = modules.in_image(parts.target, modules.DEVCRYPTO)
    with RemoteHost("sender", lab.testbed.sender) as host, Scope(host) as scope:
        scope.apply(changes.insmod("devcrypto", host.put(module.content, "devcrypto.ko")))
        yield host


@pytest.fixture(scope="module")
def compiled(guest: RemoteHost, booted: tuple[Parts, Lab]) -> str:
    """The program, compiled in the guests' image as a run does it; its place."""
    return guest.put(in_image(booted[0].image_path, datapath.program()), "datapath", 0o700)


@pytest.mark.parametrize("checks", ["transfers", "measuring", "faults"])
def test_datapath_in_a_guest(guest: RemoteHost, compiled: str, checks: str) -> None:
    run_checks(guest, CHECKS, checks, f"DATAPATH={compiled}", seconds=400)
