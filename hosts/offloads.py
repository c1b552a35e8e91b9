"""Offloads of an interface (ethtool(8), ``-k`` and ``-K``): what it has, the changes that switch them. Pure.

Documentation/networking/{segmentation-offloads,tls-offload,xfrm_device,netdev-features}.rst.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from hosts.onhost.agent.values import CommandChange
from hosts.remote import changes

Link = dict[str, bool | int | str]
"""What of an interface changes a result, by name: MTU, congestion control, offloads (``onhost/agent/ethtool.py``)."""


@dataclass(frozen=True)
class Offload:
    """One of an interface's. ``fixed``: its driver does not let it be changed."""

    on: bool
    fixed: bool

    def __str__(self) -> str:
        return ("on" if self.on else "off") + (", and its driver lets nobody change that" if self.fixed else "")


def parse(told: str) -> dict[str, Offload]:
    """What ``ethtool -k`` printed, by name; an indented one too, which belongs to the one above."""
    lines = re.findall(r"^\s*([a-z0-9-]+): (on|off)\b(.*)$", told, re.MULTILINE)
    return {name: Offload(word == "on", "[fixed]" in rest) for name, word, rest in lines}


def why_not(name: str, wanted: bool, has: Mapping[str, Offload], interface: str) -> str | None:
    """Why an offload cannot be had on an interface as it is wanted; None where it is so, or can be switched."""
    found = has.get(name)
    if not has:
        return f"what offloads {interface} has cannot be told: ethtool is missing, or does not work"
    if found is None:
        return f"{interface} has no offload called {name}"
    if found.on != wanted and found.fixed:
        return f"{name} of {interface} is {found}"
    return None


def switch(name: str, on: bool, interface: str) -> CommandChange:
    """Turn an offload on or off that is the other way now; undone: the other way again."""
    word, other = ("on", "off") if on else ("off", "on")
    return changes.command(
        f"{name} {word} of {interface}",
        look=["ethtool", "-k", interface],
        present=rf"(?m)^\s*{re.escape(name)}: {word}\b",
        apply=["ethtool", "-K", interface, name, word],
        undo=["ethtool", "-K", interface, name, other],
    )


def state(told: str | None) -> Link:
    """An interface's state as the agent told it; empty where it could not."""
    found: Link = json.loads(told) if told else {}
    return found


def differences(before: Link, after: Link) -> list[str]:
    """What of a state became another, each in words; nothing is said of what one of the two does not tell."""
    return [
        f"{name} {_word(before[name])}, then {_word(after[name])}"
        for name in before
        if name in after and before[name] != after[name]
    ]


def _word(value: bool | int | str) -> str:
    return ("on" if value else "off") if isinstance(value, bool) else str(value)
