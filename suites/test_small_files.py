"""Small files, 1,000 in a row: what a request costs over http, https, kernel TLS and IPsec (the paper's Figure 6)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from suites.replay import CLOCK

QUESTION = "small-files"


@pytest.mark.benchmark(timer=CLOCK)
def test_small_files(cell: str, measured: Callable[[str], None]) -> None:
    measured(cell)
