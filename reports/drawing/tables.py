"""Tables as data: what a template needs to draw one that sorts, reads well on a phone and downloads as CSV."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from reports import words


class Value(NamedTuple):
    """One field: what is shown, what it sorts and downloads as, and a smaller line below."""

    text: str
    raw: str | float | None
    small: str = ""


@dataclass(frozen=True)
class Table:
    """A table of a page, which can be sorted and downloaded."""

    id: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Value]]
    notes: Sequence[str] = ()
    hidden: frozenset[int] = field(default=frozenset())
    """Columns that are in the download only, by place."""
    details: Sequence[tuple[str, Table]] = ()
    """Further tables that are folded away, each with its heading."""


def text(value: object, small: str = "") -> Value:
    """A field of words."""
    return Value(str(value), str(value), small)


def number(value: float | None, digits: int = 3, small: str = "") -> Value:
    """A field with a number; a dash and nothing in the download where it is missing."""
    return Value(words.number(value, digits), value, small)


def span(low: float | None, high: float | None, digits: int = 3) -> str:
    """The limits of an interval for a smaller line; empty where there are none."""
    if low is None and high is None:
        return ""
    if high is None:
        return f"over {words.number(low, digits)}"
    return f"{words.number(low, digits)}–{words.number(high, digits)}"
