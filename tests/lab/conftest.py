"""The lab's guests, connected, for all files of tests that need no other connection."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from harness.measuring.opened import CpuMeter, OpenTestbed
from hosts.lab.uml import UmlLab, UmlParts
from tests.support.lab import connected, place_datapath, place_modules


@pytest.fixture(scope="module")
def opened(lab: UmlLab, lab_parts: UmlParts) -> Iterator[OpenTestbed]:
    """For all tests of a file, with our server on the sender and our modules on both."""
    with connected(lab.testbed) as hosts:
        place_datapath(hosts, lab_parts)
        place_modules(hosts, lab_parts)
        yield hosts


@pytest.fixture
def metered(opened: OpenTestbed, lab: UmlLab) -> OpenTestbed:
    """With the machine's own account of each guest's busy time, as runs have it: a guest's ticks are too coarse."""
    return replace(opened, meter=CpuMeter(lab.cpu_seconds, lambda: lab.cpu_resolution_seconds))
