"""Long work in this layer tells what it is doing; the harness turns that into bars, log lines and records."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable

Progress = Callable[[str, float | None], None]
"""``progress(what, done)``: what is being done now, and the fraction done (0 to 1), or None where unknown."""


def silent(_what: str, _done: float | None = None) -> None:
    """Tell nobody."""


def part(progress: Progress, start: float, end: float) -> Progress:
    """``progress`` for a part of the whole, from ``start`` to ``end`` (0 to 1)."""
    return lambda what, done: progress(what, None if done is None else start + (end - start) * done)


def any_terminal() -> None:
    """What a terminal's character set lacks is printed as a question mark, where it would be an error."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
