"""Nested facts of unknown shape as flat rows for a table: both hosts side by side, or a profile's content."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from harness.record import Head
from hosts.roles import ROLES

DEPTH = 4
ABSENT = "–"


@dataclass(frozen=True)
class Row:
    """One fact: its dotted name and its value on each side, and whether the sides differ."""

    name: str
    values: tuple[str, ...]
    differs: bool


def side_by_side(*sides: dict[str, Any]) -> dict[str, list[Row]]:
    """Rows by the first part of their name; top-level scalars under ``""``. Names in the order first met."""
    flats = [flatten(side) if side else {} for side in sides]
    names = list(dict.fromkeys(name for flat in flats for name in flat))
    found: dict[str, list[Row]] = {"": []}
    for name in names:
        group = name.split(".", 1)[0]
        nested = any(isinstance(side.get(group), dict | list) for side in sides)
        values = tuple(flat.get(name, ABSENT) for flat in flats)
        row = Row(name.split(".", 1)[-1] if nested else name, values, len(set(values)) > 1)
        found.setdefault(group if nested else "", []).append(row)
    return {group: rows for group, rows in found.items() if rows}


def machine(told: dict[str, Any]) -> str:
    """A host in a few words: ``2 × AMD EPYC, kernel 6.1.0-9, Debian 12``; empty where nothing is known."""
    processor = f"{told.get('processors') or '?'} × {told['processor']}" if told.get("processor") else ""
    kernel = f"kernel {told['kernel']}" if told.get("kernel") else ""
    return ", ".join(part for part in (processor, kernel, str(told.get("os") or "")) if part)


def machines(head: Head) -> list[str]:
    """On what machines a run was made, in sentences."""
    sender, receiver = (machine(head.hosts.get(role, {})) for role in ROLES)
    apart = {"Sender": sender, "Receiver": receiver}
    named = {"Sender and receiver, each": sender} if sender == receiver else apart
    named["Both emulated on"] = machine(head.testbed.machine)
    return [f"{name}: {what}." for name, what in named.items() if what]


def flatten(value: Any, prefix: str = "", depth: int = DEPTH) -> dict[str, str]:
    """Dotted names to readable values. Lists of plain values are one value; deeper structures become JSON."""
    if isinstance(value, dict) and value and depth:
        flat: dict[str, str] = {}
        for key, item in value.items():
            flat |= flatten(item, f"{prefix}.{key}" if prefix else str(key), depth - 1)
        return flat
    if isinstance(value, list) and value and depth and all(isinstance(item, dict) for item in value):
        flat = {}
        for n, item in enumerate(value):
            rest = {key: inner for key, inner in item.items() if key != _label(item)}
            name = str(item[_label(item)]) if _label(item) else str(n)
            name = f"{prefix}.{name}" if f"{prefix}.{name}" not in flat else f"{prefix}.{name} ({n})"
            flat[name] = ", ".join(f"{key} {plain(inner)}" for key, inner in rest.items()) or "yes"
        return flat
    return {prefix: plain(value)}


def _label(item: dict[str, Any]) -> str | None:
    return next((key for key in ("driver", "name", "id") if isinstance(item.get(key), str)), None)


def plain(value: Any) -> str:
    """A value as a person reads it."""
    if value is None:
        return ABSENT
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and not any(isinstance(item, dict | list) for item in value):
        return ", ".join(plain(item) for item in value) or "none"
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False) if value else "none"
    return str(value)
