"""Time that a run may spend on more blocks than its profile asks for, shared among the groups that may want it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class Budget:
    """``seconds`` that are left, for ``groups`` of compared cells that are still to come."""

    seconds: float = 0.0
    groups: int = 1

    @property
    def share(self) -> float:
        """What the next group may spend: what others left over is shared out anew."""
        return self.seconds / max(1, self.groups)

    @contextmanager
    def spending(self) -> Iterator[None]:
        """Time inside is spent."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds = max(0.0, self.seconds - (time.monotonic() - started))
