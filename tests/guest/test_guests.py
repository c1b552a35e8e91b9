"""Checks that run inside a guest of the lab, where the kernel has what this machine's may lack."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.servers import datapath
from hosts import modules
from hosts.lab.uml import UmlLab, UmlParts
from hosts.programs import in_image
from hosts.remote import changes
from hosts.remote.changes import Scope
from hosts.remote.host import RemoteHost
from tests.support.guest_checks import run_checks

CHECKS = Path(__file__).with_name("datapath_checks")


@pytest.fixture(scope="module")
def guest(lab: UmlLab, lab_parts: UmlParts) -> Iterator[RemoteHost]:
    """With /dev/crypto."""
    module = modules.in_image(lab_parts.target, modules.DEVCRYPTO)
    with RemoteHost("sender", lab.testbed.sender) as host, Scope(host) as scope:
        scope.apply(changes.insmod("devcrypto", host.put(module.content, "devcrypto.ko")))
        yield host


@pytest.fixture(scope="module")
def compiled(guest: RemoteHost, lab_parts: UmlParts) -> str:
    """The program, compiled in the guests' image as a run does it; its place."""
    return guest.put(in_image(lab_parts.image_path, datapath.program()), "datapath", 0o700)


@pytest.mark.parametrize("checks", ["transfers", "measuring", "faults"])
def test_datapath_in_a_guest(guest: RemoteHost, compiled: str, checks: str) -> None:
    run_checks(guest, CHECKS, checks, f"DATAPATH={compiled}", seconds=400)
