"""One path that sends, and ways of receiving it: what each costs the receiver."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from suites.replay import CLOCK

QUESTION = "receive"


@pytest.mark.benchmark(timer=CLOCK)
def test_receive(cell: str, measured: Callable[[str], None]) -> None:
    measured(cell)
