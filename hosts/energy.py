"""What a host's processors take of energy, as their own counters tell it (RAPL).

Documentation/power/powercap/powercap.rst, Documentation/ABI/testing/sysfs-class-powercap. Pure but for ``look``, which
only reads. A counter goes back to zero after its range, after minutes under load; only root may read it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hosts.onhost.agent.values import Counter, FileCounter
from hosts.remote.host import RemoteHost

POWERCAP = "/sys/class/powercap"
SCRIPT = f"grep -s . {POWERCAP}/intel-rapl:*/name {POWERCAP}/intel-rapl:*/max_energy_range_uj; true"
"""Prints ``where:what`` lines; AMD's processors have zones of this name, too."""
COUNTED = re.compile(r"package-|dram$")
"""Names of the zones that add up to a host's processors and memory: cores are within packages, psys is around them."""
MOST_WATTS = 1000.0
"""No zone takes more; one that could have gone round twice meanwhile tells nothing."""


@dataclass(frozen=True)
class Zone:
    """One of a host's counters."""

    name: str
    path: str
    range_microjoules: int
    """Where it begins anew."""


def look(host: RemoteHost) -> tuple[Zone, ...]:
    """The zones of a host that add up; none where it tells nothing, as in a virtual machine."""
    return parse(host.run(["sh", "-c", SCRIPT]).stdout)


def parse(text: str) -> tuple[Zone, ...]:
    """What SCRIPT printed."""
    read = {path: value for path, _, value in (line.rpartition(":") for line in text.splitlines())}
    zones = []
    for path, name in sorted(read.items()):
        where, _, file = path.rpartition("/")
        reach = read.get(f"{where}/max_energy_range_uj", "")
        if file == "name" and COUNTED.match(name) and reach.isdigit():
            zones.append(Zone(name, f"{where}/energy_uj", int(reach)))
    return tuple(zones)


def counters(zones: Sequence[Zone]) -> dict[str, Counter]:
    """What an agent is to read of zones."""
    return {zone.path: FileCounter(zone.path, r"^(\d+)$") for zone in zones}


def joules(
    zones: Sequence[Zone], before: Mapping[str, int | None], after: Mapping[str, int | None], seconds: float
) -> float | None:
    """What zones took between two readings that lie so many seconds apart; None where one of them does not tell."""
    total = 0
    for zone in zones:
        start, end = before.get(zone.path), after.get(zone.path)
        if start is None or end is None or seconds * MOST_WATTS * 1e6 > zone.range_microjoules:
            return None
        total += end - start if end >= start else end - start + zone.range_microjoules
    return total / 1e6 if zones else None
