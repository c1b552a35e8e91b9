"""How the agent refuses."""

from __future__ import annotations

LIMIT_BYTES = 16 << 20
"""What is longer is refused, never cut: of a file, a command's output, new lines of a log."""


class ChangeError(Exception):
    """An operation that was refused, or a change that did not take; the host is as it was before it."""
