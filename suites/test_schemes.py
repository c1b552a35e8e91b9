"""The traditional scheme against those that keep the data in the kernel (the paper's Figure 7)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from suites.replay import CLOCK

QUESTION = "schemes"


@pytest.mark.benchmark(timer=CLOCK)
def test_scheme(cell: str, measured: Callable[[str], None]) -> None:
    measured(cell)
