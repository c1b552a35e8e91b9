"""Logs of JSON objects, a line each, counted on this host: under load they are longer than anybody is sent."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

from .errors import ChangeError
from .values import Alike, LogTail, Tallied

PIECE = 1 << 20
MOST_UNLIKE = 5000
"""Lines that are unlike one another; no server of ours comes near."""


def tally(log: LogTail, connection: list[str], leave_out: list[str], timeout: float) -> Tallied:
    """The lines of a log from its offset on, alike ones together. Raises ChangeError, OSError, ValueError.

    It waits up to ``timeout`` seconds for the lines that are due, and reads each once.
    """
    counts: dict[str, int] = {}
    connections: set[tuple[Any, ...]] = set()
    for line in _lines(log, time.monotonic() + timeout):
        said = json.loads(line)
        connections.add(tuple(said.get(name) for name in connection))
        kept = {name: value for name, value in said.items() if name not in connection and name not in leave_out}
        alike = json.dumps(kept)
        counts[alike] = counts.get(alike, 0) + 1
        if len(counts) > MOST_UNLIKE:
            raise ChangeError(f"{log.path} has more than {MOST_UNLIKE} lines that are unlike: they are not counted")
    different = {name: len({each[place] for each in connections}) for place, name in enumerate(connection)}
    return Tallied([Alike(line, count) for line, count in counts.items()], len(connections), different)


def _lines(log: LogTail, end: float) -> Iterator[bytes]:
    """Whole lines, as long as there are some, or some are due and ``end`` (of the monotonic clock) has not come."""
    try:
        file = open(log.path, "rb", buffering=0)  # noqa: PTH123, SIM115
    except FileNotFoundError:
        return
    with file:
        file.seek(log.offset_bytes)
        left, rest = log.count, b""
        while True:
            piece = file.read(PIECE)
            if not piece:
                if left <= 0 or time.monotonic() > end:
                    return
                time.sleep(0.01)
                continue
            *whole, rest = (rest + piece).split(b"\n")
            left -= len(whole)
            yield from whole
