"""Counters of this host, and its busy time."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

from . import ethtool, files, xfrm
from .values import (
    AssociationCounter,
    Counter,
    CpuTime,
    LinkState,
    NumberCounter,
    Observation,
    SizeCounter,
    StatisticCounter,
    TableCounter,
)

PROCESSORS_BYTES = 1 << 17
"""More than the lines of a thousand processors take."""


def observe(counters: dict[str, Counter]) -> Observation:
    """Read counters now. One that cannot be read is None, never zero.

    Busy time is read before and after all that: reading counters is no part of what lies between two observations.
    """
    cpu_before = cpu()
    texts: dict[str, str | None] = {}
    values: dict[str, int | None] = {}
    states: dict[str, str | None] = {}
    associations: dict[tuple[str, int], xfrm.Association | None] = {}
    statistics: dict[str, dict[str, int]] = {}
    for name, counter in counters.items():
        if isinstance(counter, SizeCounter):
            values[name] = _size(counter.path)
        elif isinstance(counter, NumberCounter):
            values[name] = _number(Path(counter.path), counter.offset_bytes)
        elif isinstance(counter, AssociationCounter):
            which = (counter.destination, counter.spi)
            if which not in associations:
                associations[which] = xfrm.association(*which)
            kept: dict[str, Any] = states if counter.field in xfrm.WORDS else values
            kept[name] = getattr(associations[which], counter.field, None)
        elif isinstance(counter, StatisticCounter):
            if counter.interface not in statistics:
                statistics[counter.interface] = ethtool.statistics(counter.interface)
            values[name] = statistics[counter.interface].get(counter.name)
        elif isinstance(counter, LinkState):
            states[name] = ethtool.state(counter.interface)
        else:
            if counter.path not in texts:
                texts[counter.path] = files.read(counter.path)
            text = texts[counter.path]
            if isinstance(counter, TableCounter):
                values[name] = _field(text, counter.field)
                continue
            matches = re.findall(counter.pattern, text, re.MULTILINE) if text is not None else []
            values[name] = sum(int(match) for match in matches) if matches else None
    return Observation(values, states, cpu_before, cpu())


def _size(path: str) -> int | None:
    """A file's bytes; None where it is not there."""
    try:
        return os.stat(path).st_size  # noqa: PTH116 - a Path of its own for each look costs more than the look
    except FileNotFoundError:
        return None


def _number(path: Path, at: int) -> int | None:
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
    for names, values in zip(rows[::2], rows[1::2]):  # noqa: B905 (Python 3.9 has no strict)
        if field in names:
            return int(values[names.index(field)])
    return None


def cpu() -> CpuTime:
    """The host's busy time since boot in seconds (all but idle, iowait and steal), and the clock's resolution.

    user + nice + system + irq + softirq of /proc/stat's first lines (proc_stat(5)), which are of all processors and of
    each; guest time is in user.
    """
    tick = 1.0 / os.sysconf("SC_CLK_TCK")
    fd = os.open("/proc/stat", os.O_RDONLY | os.O_CLOEXEC)
    try:
        text = os.read(fd, PROCESSORS_BYTES)
    finally:
        os.close(fd)
    busy, softirq, numbers = [], [], []
    for line in text.split(b"\n"):
        if not line.startswith(b"cpu"):
            break
        name, *words = line.split()[:8]
        fields = [int(value) for value in words]
        busy.append((fields[0] + fields[1] + fields[2] + fields[5] + fields[6]) * tick)
        softirq.append(fields[6] * tick)
        numbers.append(int(name[3:] or -1))  # the first line is of all together
    return CpuTime(busy[0], tick, busy[1:], softirq[1:], numbers[1:])
