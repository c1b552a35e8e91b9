"""Guests whose kernels the modules of ours are tried on: one of each testbed that ``--guests`` names."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from hosts import facts, testbed
from hosts.debian.linux_source import NoSource
from hosts.errors import HarnessError
from hosts.facts import Facts
from hosts.lab import kinds
from hosts.lab.guests import Lab
from hosts.lab.kinds import Parts
from hosts.progress import silent
from hosts.remote.host import RemoteHost
from hosts.testbed import LabTestbed


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "booted" in metafunc.fixturenames:
        names = (metafunc.config.getoption("--guests") or "lab").split(",")
        metafunc.parametrize("booted", names, indirect=True, scope="package")


@pytest.fixture(scope="package")
def booted(request: pytest.FixtureRequest) -> Iterator[tuple[Parts, Lab]]:
    """What the guests of a testbed are made of, and both of them.

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
        yield parts, stack.enter_context(parts.boot(silent))


@pytest.fixture(scope="package")
def released(booted: tuple[Parts, Lab]) -> Iterator[tuple[Parts, RemoteHost]]:
    """The same, and the receiver: it has no crypto card, where the sender has one."""
    parts, lab = booted
    with RemoteHost("receiver", lab.testbed.receiver) as host:
        yield parts, host


@pytest.fixture(scope="module")
def about(released: tuple[Parts, RemoteHost]) -> Facts:
    """What the receiver says of itself, asked once for the tests of a file."""
    return facts.gather(released[1], "sender")
