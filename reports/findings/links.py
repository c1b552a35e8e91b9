"""Over what links a run's transfers went: what of both data interfaces all its cells had alike, and what not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from harness.record import Cell, Head
from hosts.roles import ROLES
from reports import facts

Setting = tuple[str, str]
"""A host's role, and what of its interface it is: ``mtu``, ``congestion_control``, an offload by ethtool's name."""


@dataclass(frozen=True)
class Group:
    """Cells whose transfers went over the same links, in words, and what of these other cells had otherwise."""

    cells: str
    had: str


@dataclass(frozen=True)
class Links:
    """``alike``: of sender and receiver, what every cell had that tells it. ``groups``: none where all are alike."""

    cells: int
    """How many tell their links: those that were transfers, none in older records."""
    alike: tuple[dict[str, str], dict[str, str]]
    groups: tuple[Group, ...]
    differing: int
    """How many settings of a host are not the same for all."""


def of_run(head: Head) -> Links:
    """What a record's cells say of their links. What one of two cells does not tell, differs in nothing."""
    told = {cell.id: _settings(cell) for cell in head.cells if cell.links}
    values: dict[Setting, set[str]] = {}
    for had in told.values():
        for setting, value in had.items():
            values.setdefault(setting, set()).add(value)
    alike = {setting: next(iter(found)) for setting, found in values.items() if len(found) == 1}
    differing = [setting for setting in values if setting not in alike]
    groups: dict[str, list[Cell]] = {}
    for cell in head.cells if differing else ():
        if cell.links:
            groups.setdefault(_words(differing, told[cell.id]), []).append(cell)
    sender, receiver = ({name: value for (mine, name), value in alike.items() if mine == role} for role in ROLES)
    found = tuple(Group(_named(cells), had) for had, cells in groups.items())
    return Links(len(told), (sender, receiver), found, len(differing))


def _settings(cell: Cell) -> dict[Setting, str]:
    return {(role, name): facts.plain(value) for role in ROLES for name, value in cell.links.get(role, {}).items()}


def _words(differing: Iterable[Setting], had: dict[Setting, str]) -> str:
    """``mtu 1500; esp-hw-offload yes on the sender``"""
    hosts: dict[tuple[str, str], list[str]] = {}
    for role, name in differing:
        if (role, name) in had:
            hosts.setdefault((name, had[role, name]), []).append(role)
    where = {key: "" if len(roles) == len(ROLES) else f" on the {roles[0]}" for key, roles in hosts.items()}
    return "; ".join(f"{name} {value}{where[name, value]}" for name, value in hosts)


def _named(cells: Iterable[Cell]) -> str:
    """``schemes: plain, so-crypt; schemes-null: plain``"""
    paths: dict[str, dict[str, None]] = {}
    for cell in cells:
        paths.setdefault(cell.suite, {})[cell.path] = None
    return "; ".join(f"{suite}: {', '.join(found)}" for suite, found in paths.items())
