"""The module devcrypto in guests of the lab: whether it does what its header says."""

from __future__ import annotations

from pathlib import Path

import pytest

from hosts import modules
from hosts.lab.kinds import Parts
from hosts.remote.host import RemoteHost
from tests.support.guest_checks import put_modules, run_checks

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def places(released: tuple[Parts, RemoteHost]) -> list[str]:
    """The module, and a driver that answers later, built for the guest's kernel; where they are there."""
    return put_modules(*released, (modules.DEVCRYPTO, HERE / "kernel" / "delayed"))


@pytest.mark.parametrize("checks", ["answers", "arguments", "asynchronous", "together", "faults"])
def test_the_module_in_a_guest(released: tuple[Parts, RemoteHost], places: list[str], checks: str) -> None:
    if checks == "faults" and not released[1].run(["test", "-e", "/proc/self/fail-nth"]).ok:
        pytest.skip("this kernel cannot make allocations fail: a kernel for debugging can")
    run_checks(released[1], HERE / "devcrypto_checks", checks, *places, seconds=140)
