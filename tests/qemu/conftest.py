"""The lab of QEMU guests. Where KVM does not work their processors are emulated: minutes, and all of this machine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from hosts import testbed
from hosts.errors import HarnessError
from hosts.lab import qemu
from tests.support.lab import obtained
from tests.support.machine import inhabitants, namespace_of, soon


@pytest.fixture(scope="module")
def qemu_parts() -> Iterator[qemu.QemuParts]:
    """What the lab of QEMU guests is booted from."""
    spec = testbed.load("lab-qemu")
    assert isinstance(spec, qemu.QemuTestbed)
    with obtained(qemu.obtain(spec)) as parts:
        yield parts


@pytest.fixture(scope="module")
def qemu_lab(qemu_parts: qemu.QemuParts) -> Iterator[qemu.QemuLab]:
    """The embedded lab of QEMU guests, booted once for a file: emulating two processors would slow down all others."""
    with contextlib.ExitStack() as stack:
        try:
            booted = stack.enter_context(qemu_parts.boot())
        except HarnessError as error:
            pytest.skip(f"the lab of QEMU guests does not boot here: {error}")
        inside = namespace_of(booted.pid)
        yield booted
    assert soon(lambda: inhabitants(inside) == []), inhabitants(inside)
