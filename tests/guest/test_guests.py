"""Checks that run inside a guest of the lab, where the kernel has what this machine's may lack."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.servers import datapath
from hosts import modules
from hosts.lab.uml import UmlLab, UmlParts
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
def compiled(guest: RemoteHost) -> str:
    """The program, compiled there by the guest's own compiler; its place."""
    made = datapath.program()
    for name, content in made.sources.items():
        guest.put(content, name)
    sources = [name for name in made.sources if name.endswith(".c")]
    guest.check([*datapath.COMPILE, "-o", "datapath", *sources], timeout=120)
    return f"{guest.directory}/datapath"


@pytest.mark.parametrize("checks", ["transfers", "measuring", "faults"])
def test_datapath_in_a_guest(guest: RemoteHost, compiled: str, checks: str) -> None:
    run_checks(guest, CHECKS, checks, f"DATAPATH={compiled}", seconds=400)
