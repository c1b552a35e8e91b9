"""``python -m harness restore``: hosts put back after a crash, from any machine that reaches them."""

from __future__ import annotations

from hosts.errors import ConfigError, HarnessError
from hosts.remote import restore
from hosts.roles import ROLES
from hosts.testbed import AnyTestbed, HostsTestbed


def both(spec: AnyTestbed) -> tuple[list[str], bool]:
    """Lines for a terminal, and whether both hosts are as they were. Raises ConfigError for a lab."""
    if not isinstance(spec, HostsTestbed):
        raise ConfigError(f"{spec.name} is a lab: nothing of it outlives the program that booted it")
    lines, well = [], True
    for role in ROLES:
        try:
            found = restore.restore(role, getattr(spec, role))
        except HarnessError as error:
            lines.append(str(error))
            well = False
            continue
        lines.append(f"{restore.told(role, found)} (up for {found.up_minutes} min)")
        well = well and not found.left
    return lines, well
