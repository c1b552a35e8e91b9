"""From a file to a file, both ends of one scheme against both ends of another: what each costs the receiver."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from suites.replay import CLOCK

QUESTION = "disk-to-disk"


@pytest.mark.benchmark(timer=CLOCK)
def test_disk_to_disk(cell: str, measured: Callable[[str], None]) -> None:
    measured(cell)
