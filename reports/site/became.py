"""What became of each path from kernel to kernel: where it was measured, where it ended, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Entry = dict[str, Any]
"""What one kernel gave for a path and a size, as ``reports.site.kernels`` makes it."""


@dataclass(frozen=True)
class Shown:
    """What a kernel gave for a path, of the largest size that it measured."""

    entry: Entry
    size: str
    """Of what was measured; empty where nothing was."""


@dataclass(frozen=True)
class Became:
    """A path of a suite on all kernels, in their order."""

    path: str
    title: str
    suite: str
    shown: list[Shown]
    end: str
    """A sentence."""


def became(suite: str, tables: Sequence[tuple[str, str, Sequence[Entry]]], labels: Sequence[str]) -> list[Became]:
    """A row for each path of a suite; ``tables`` as a section of the page has them, the smallest size first."""
    found = []
    for rows in zip(*(rows for _size, _id, rows in tables), strict=True):
        shown = []
        for k in range(len(labels)):
            sizes = [
                Shown(row["entries"][k], size)
                for (size, _id, _rows), row in zip(tables, rows, strict=True)
                if row["entries"][k]["seconds"] is not None
            ]
            shown.append(sizes[-1] if sizes else Shown(rows[-1]["entries"][k], ""))
        found.append(Became(rows[0]["path"], rows[0]["title"], suite, shown, sentence(shown, labels)))
    return found


def sentence(shown: Sequence[Shown], labels: Sequence[str]) -> str:
    """Where a path was measured and where not, with the reasons; beside that, of which kernels nothing is known since
    their runs ended before."""
    told = [(one, label) for one, label in zip(shown, labels, strict=True) if one.size or not one.entry.get("ended")]
    lost: dict[str, list[str]] = {}
    for one, label in zip(shown, labels, strict=True):
        if (one, label) not in told:
            lost.setdefault(one.entry["ended"], []).append(label)
    nothing = [f"nothing is known of {' and '.join(names)}, whose run {why}" for why, names in lost.items()]
    known = [_of_known([one for one, _ in told], [label for _, label in told], bool(lost))] if told else []
    return "; ".join([*known, *nothing])


def _of_known(shown: Sequence[Shown], labels: Sequence[str], some_lost: bool) -> str:
    there = [bool(one.size) for one in shown]
    if all(there):
        return f"measured on every {'other ' if some_lost else ''}kernel"
    reasons: dict[str, list[str]] = {}
    for one, label in zip(shown, labels, strict=True):
        if not one.size:
            reasons.setdefault(one.entry["said"] or "no sample counts", []).append(label)
    why = "; ".join(f"on {' and '.join(names)} {reason}" for reason, names in reasons.items())
    if not any(there):
        return f"never measured: {why}"
    first, last = there.index(True), len(there) - 1 - there[::-1].index(True)
    if all(there[: last + 1]):
        return f"ended after {labels[last]}: {why}"
    if all(there[first:]):
        return f"begins with {labels[first]}: {why}"
    return f"not everywhere: {why}"
