"""Kernel crypto by buffer size and driver (the paper's Figure 4).

A duration is that of one operation. Drivers beyond the kernel's own choice are found on the host: they are cells of the
record and the report, not items here.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from suites.replay import CLOCK

QUESTION = "kernel-crypto"


@pytest.mark.benchmark(timer=CLOCK)
def test_kernel_crypto(cell: str, measured: Callable[[str], None]) -> None:
    measured(cell)
