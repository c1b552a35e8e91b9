"""Takes away what ``--provision`` installed on a testbed's hosts."""

from __future__ import annotations

from hosts import provision
from hosts.errors import HarnessError
from hosts.provision import Removed
from hosts.remote.host import RemoteHost
from hosts.roles import ROLES
from hosts.testbed import HostsTestbed


def deprovision(hosts: HostsTestbed) -> int:
    """On both hosts, one after the other; the exit status: 1 where a host could not be put back."""
    status = 0
    for role in ROLES:
        try:
            with RemoteHost(role, getattr(hosts, role)) as host:
                for line in (*host.recovered, *host.remaining):
                    print(f"{role}: an earlier run had left changes: {line}")
                print("\n".join(told(role, provision.deprovision(host))))
        except HarnessError as error:
            print(error)
            status = 1
    return status


def told(role: str, done: Removed) -> list[str]:
    """What was done on a host, in lines. Pure."""
    if not done.packages and not done.kept:
        return [f"{role}: nothing of ours is installed"]
    lines = [f"{role}: removed {' '.join(done.packages) or 'nothing'}"]
    return lines + [f"  kept {name}: {_why(needed)}" for name, needed in done.kept.items()]


def _why(needed: tuple[str, ...]) -> str:
    return f"{', '.join(needed)} needs it" if needed else "somebody asked for it since"
