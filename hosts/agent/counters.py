"""Counters of this host, and its busy time."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def observe(
    counters: dict[str, dict[str, Any]],
    read: Callable[[list[str]], dict[str, str | None]],
    run: Callable[[list[str], float], dict[str, Any]],
) -> dict[str, Any]:
    """Read counters now.

    A counter is a ``file`` or the output of a ``command``, and a ``pattern`` whose one group is summed over
    all its matches; ``size`` of a file; a ``table`` like /proc/net/snmp with a ``field``
    (Tcp.RetransSegs); or ``u64``, a file that holds 64-bit numbers as this machine does, the one ``at`` a place
    in bytes. One that cannot be read is None, never zero. ``cpu_before`` and ``cpu_after`` are the host's busy time
    before and after all that: commands that read counters are no part of what lies between two observations.
    """
    cpu_before = cpu()
    values: dict[str, int | None] = {}
    texts: dict[str, str | None] = {}
    for name, counter in counters.items():
        if "size" in counter:
            path = Path(counter["size"])
            values[name] = path.stat().st_size if path.exists() else None
            continue
        if "u64" in counter:
            values[name] = _u64(Path(counter["u64"]), counter["at"])
            continue
        if "table" in counter:
            values[name] = _field(read([counter["table"]])[counter["table"]], counter["field"])
            continue
        source = str(counter.get("file") or counter["command"])
        if source not in texts:
            if "file" in counter:
                texts[source] = read([counter["file"]])[counter["file"]]
            else:
                done = run(counter["command"], 10)
                texts[source] = done["stdout"] if done["status"] == 0 else None
        text = texts[source]
        matches = re.findall(counter["pattern"], text, re.MULTILINE) if text is not None else []
        values[name] = sum(int(m) for m in matches) if matches else None
    return {"values": values, "cpu_before": cpu_before, "cpu_after": cpu()}


def _u64(path: Path, at: int) -> int | None:
    """The unsigned 64-bit number that starts at a byte of a file; None where there is no such file or number."""
    try:
        number = path.read_bytes()[at : at + 8]
    except OSError:
        return None
    return int.from_bytes(number, sys.byteorder) if len(number) == 8 else None


def _field(text: str | None, name: str) -> int | None:
    """A field of a table of name lines and value lines, as /proc/net/snmp and /proc/net/netstat have them."""
    group, _, field = name.partition(".")
    rows = [line.split() for line in (text or "").splitlines() if line.startswith(group + ":")]
    for names, values in zip(rows[::2], rows[1::2], strict=False):
        if field in names:
            return int(values[names.index(field)])
    return None


def cpu() -> dict[str, float]:
    """The host's busy time since boot in seconds (all but idle, iowait and steal), and the clock's resolution.

    user + nice + system + irq + softirq of /proc/stat's first line (proc_pid_stat(5)); guest time is in user.
    """
    tick = 1.0 / os.sysconf("SC_CLK_TCK")
    fields = [int(v) for v in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:8]]
    busy = fields[0] + fields[1] + fields[2] + fields[5] + fields[6]
    return {"busy_seconds": busy * tick, "resolution_seconds": tick}
