"""Checks that run inside a guest of the lab, where the kernel has what this machine's may lack."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.servers import datapath
from hosts.lab.uml import UmlLab
from hosts.remote.host import RemoteHost
from tests.support.guest_checks import run_checks

CHECKS = Path(__file__).with_name("datapath_checks")


@pytest.fixture(scope="module")
def guest(lab: UmlLab) -> Iterator[RemoteHost]:
    with RemoteHost("sender", lab.testbed.sender) as host:
        yield host


@pytest.fixture(scope="module")
def compiled(guest: RemoteHost) -> str:
    """The program, compiled there by the guest's own compiler; its place."""
    sources = datapath.program().sources
    for name, content in sources.items():
        guest.put(content, name)
    guest.check([*datapath.COMPILE, "-o", "datapath", *(name for name in sources if name.endswith(".c"))], timeout=120)
    return f"{guest.directory}/datapath"


@pytest.mark.parametrize("checks", ["transfers", "measuring", "faults"])
def test_datapath_in_a_guest(guest: RemoteHost, compiled: str, checks: str) -> None:
    run_checks(guest, CHECKS, checks, f"DATAPATH={compiled}", seconds=400)
