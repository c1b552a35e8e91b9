"""Text from records and hosts, made safe to print: no control character reaches a terminal."""

from __future__ import annotations


def plain(text: object, longest: int | None = None) -> str:
    """One line that can be printed anywhere; cut to ``longest`` characters."""
    clean = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in str(text))
    return clean if longest is None or len(clean) <= longest else clean[: longest - 1] + "…"
