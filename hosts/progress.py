"""How long work in this layer tells what it is doing; the harness turns it into bars, log lines and records."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, float | None], None]
"""``progress(what, done)``: what is being done now, and the fraction done (0 to 1), or None where unknown."""


def silent(_what: str, _done: float | None = None) -> None:
    """Tell nobody."""
