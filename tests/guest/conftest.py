"""Guests whose kernels the modules of ours are tried on: one of each testbed that ``--guests`` names."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from hosts import testbed
from hosts.debian.linux_source import NoSource
from hosts.errors import HarnessError
from hosts.lab import kinds
from hosts.lab.kinds import Parts
from hosts.progress import silent
from hosts.remote.host import RemoteHost
from hosts.testbed import LabTestbed


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "released" in metafunc.fixturenames:
        names = (metafunc.config.getoption("--guests") or "lab").split(",")
        metafunc.parametrize("released", names, indirect=True, scope="package")


@pytest.fixture(scope="package")
def released(request: pytest.FixtureRequest) -> Iterator[tuple[Parts, RemoteHost]]:
    """What the guests of a testbed are made of, and the receiver: it has no crypto card, where the sender has one.

    One that was asked for by name is skipped only where Debian's archive does not have its kernel.
    """
    spec = testbed.load(request.param)
    assert isinstance(spec, LabTestbed)
    asked = request.config.getoption("--guests") is not None
    with contextlib.ExitStack() as stack:
        try:
            parts = stack.enter_context(kinds.of(spec).obtain(spec, silent))
        except HarnessError as error:
            if asked and not isinstance(error, NoSource):
                raise
            pytest.skip(f"{spec.name} cannot be had here: {error}")
        lab = stack.enter_context(parts.boot(silent))
        yield parts, stack.enter_context(RemoteHost("receiver", lab.testbed.receiver))
