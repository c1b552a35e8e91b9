"""A cell's samples shown to pytest and pytest-benchmark. The record is the truth; this is a view of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from harness.record import Cell
from harness.samples import Sample, counted


class RemoteClock:
    """A clock for pytest-benchmark that only moves by durations which the receiver measured (seconds)."""

    __name__ = "receiver_clock"

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass."""
        self.now += seconds


CLOCK = RemoteClock()


def replay(cell: Cell, samples: list[Sample], benchmark: Callable[[], Any]) -> None:
    """Skip an unsupported cell with its reason, fail one that failed or is invalid, replay a measured one."""
    if cell.outcome == "unsupported":
        pytest.skip(cell.reason or "unsupported")
    if cell.outcome != "measured":
        pytest.fail(f"{cell.outcome}: {cell.reason}", pytrace=False)
    durations = [sample.seconds or 0.0 for sample in counted(samples, {cell.id}).get(cell.id, {}).values()]
    assert durations, f"{cell.id} counts as measured without a sample"
    left = iter(durations)
    table = benchmark()
    table.group = f"{cell.suite}, {cell.id.rsplit('/', 1)[1]}"
    table.extra_info.update(cell=cell.id, driver_found=cell.driver_found, size_bytes=cell.size_bytes)
    table.pedantic(lambda: CLOCK.advance(next(left)), rounds=len(durations), iterations=1)
