"""The directory of a host where files lie on a real file system: what its testbed names, and whether it is one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from hosts.remote.host import RemoteHost

FOLDER = "pathproof-files"
"""What a run makes there. Its name is always the same, so that one which outlived its host's memory is found."""
IN_MEMORY = frozenset({"tmpfs", "ramfs", "devtmpfs", "hugetlbfs"})
"""File systems (of /proc/self/mountinfo) that have no other place for a file than memory."""


@dataclass(frozen=True)
class Disk:
    """What a host has."""

    lacking: str | None
    """Why nothing can lie there, after the host's name; None where it can."""
    shown: dict[str, Any] | None = None
    """For the record."""


def look(host: RemoteHost) -> Disk:
    """Ask one host; changes nothing."""
    named = host.host.disk
    if named is None:
        return Disk('has no disk that may be used: name a directory there in the testbed file (disk = "/…")')
    found = host.run(["readlink", "--canonicalize-existing", str(named)])
    place = found.stdout.strip()
    if not found.ok or not host.run(["sh", "-c", '[ -d "$1" ] && [ -w "$1" ]', "sh", place]).ok:
        return Disk(f"has no directory {named} that this user may write to")
    kind = file_system(place, host.read(["/proc/self/mountinfo"])["/proc/self/mountinfo"] or "")
    shown = {"path": str(named), "file_system": kind}
    return Disk(f"has {named} on {kind}, which is memory" if kind in IN_MEMORY else None, shown)


def file_system(place: str, mounts: str) -> str | None:
    """The kind of file system that a path without symbolic links is on, by /proc/self/mountinfo
    (proc_pid_mountinfo(5)); of several at one point the last one. Pure."""
    best, kind = -1, None
    for line in mounts.splitlines():
        mine, _, rest = line.partition(" - ")
        point = re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), mine.split()[4])
        if (place == point or place.startswith(f"{point.rstrip('/')}/")) and len(point) >= best:
            best, kind = len(point), rest.split()[0]
    return kind
