"""Many connections at once: which path carries more, at what CPU and tail, and from how many connections on."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from suites.replay import CLOCK

QUESTION = "load"


@pytest.mark.benchmark(timer=CLOCK)
def test_load(cell: str, measured: Callable[[str], None]) -> None:
    measured(cell)
