"""Who has a testbed, so that people and nights do not meet. The lock on its hosts stays the last word."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime

from hosts.errors import Refusal
from suites.fleet.spool import Spool, get, put

FILE = "reserved.json"


@dataclass(frozen=True)
class Reservation:
    """Somebody has a testbed: no run begins on it. ``until``: None until it is released."""

    by: str
    until: datetime | None

    def __str__(self) -> str:
        return f"{self.by} has it {f'until {self.until:%Y-%m-%d %H:%M} UTC' if self.until else 'until it is released'}"


def held(spool: Spool, now: datetime) -> Reservation | None:
    """Who has the testbed now; None for nobody."""
    found = get(spool.folder / FILE)
    if found is None:
        return None
    until = datetime.fromisoformat(found["until"]) if found["until"] else None
    return Reservation(found["by"], until) if until is None or now < until else None


def reserve(spool: Spool, by: str, until: datetime | None) -> Reservation:
    """Give the testbed to somebody. Raises Refusal while a run is under way, and where somebody else has it."""
    lock = spool.lock()
    if lock is None:
        raise Refusal(
            f"a run is under way on {spool.folder.name}",
            next_step="drain it: no other run begins, and this one is waited for",
        )
    try:
        return _take(spool, by, until)
    finally:
        os.close(lock)


def drain(spool: Spool, by: str) -> Reservation:
    """Have no other run begin, whether or not one is under way. Raises Refusal where somebody else has the testbed."""
    return _take(spool, by, None)


def idle(spool: Spool, seconds: float) -> bool:
    """Wait until no run is under way; False where one still is after so long."""
    lock = spool.lock(seconds)
    if lock is None:
        return False
    os.close(lock)
    return True


def release(spool: Spool) -> Reservation | None:
    """Give the testbed back to the nights, whoever had it; None where nobody did."""
    had = held(spool, datetime.now(UTC))
    (spool.folder / FILE).unlink(missing_ok=True)
    return had


def _take(spool: Spool, by: str, until: datetime | None) -> Reservation:
    had = held(spool, datetime.now(UTC))
    if had and had.by != by:
        raise Refusal(f"{spool.folder.name} is taken: {had}", next_step="ask there, or release it")
    put(spool.folder / FILE, {"by": by, "until": until.isoformat() if until else None})
    return Reservation(by, until)
