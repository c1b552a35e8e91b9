"""Large files over http, https and IPsec (the paper's Figure 5)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from suites.replay import CLOCK

QUESTION = "large-files"


@pytest.mark.benchmark(timer=CLOCK)
def test_large_file(cell: str, measured: Callable[[str], None]) -> None:
    measured(cell)
