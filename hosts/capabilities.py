"""What a process may do where it counts: in the first user namespace. Pure, over what a host tells.

proc_pid_status(5), CapEff; user_namespaces(7); numbers as in linux/capability.h.
"""

from __future__ import annotations

import re

NET_ADMIN, SYS_MODULE, SYS_ADMIN = 12, 16, 21
FIRST_NAMESPACE = "0 0 4294967295"
"""Of uid_map: this process is in the first user namespace."""


def holds(status: str, uid_map: str, *capabilities: int) -> bool:
    """Whether a process has one of these, by its /proc/PID/status and uid_map.

    A kernel without user namespaces has no uid_map, and everybody is in the first.
    """
    found = re.search(r"^CapEff:\s*([0-9a-f]+)$", status, re.MULTILINE)
    held = int(found[1], 16) if found else 0
    first = " ".join(uid_map.split()) in ("", FIRST_NAMESPACE)
    return first and any(held >> number & 1 for number in capabilities)
