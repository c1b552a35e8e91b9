"""The kind of change that steers the kernel to a crypto driver: its priority, by the crypto_user netlink.

What asks the kernel for an algorithm by name (ESP, kernel TLS) gets the driver of the highest priority. A template's
instance, authenc(hmac(sha1),cbc(aes)) say, keeps the driver it was built upon, and is found by its name again: raising
another driver's priority does not reach it. So the kernel is made to forget what was built upon the rivals: an
instance stays with those that use it now, and the next request gets a new one.
"""

from __future__ import annotations

import os
from pathlib import Path

from . import crypto_user
from .errors import ChangeError
from .kinds import Entry, Kind
from .values import PriorityChange

PROC = Path("/proc/crypto")


class Priority(Kind[PriorityChange]):
    """A crypto driver's priority: driver, value. Undo gives it the old one.

    The module crypto_user must be loaded (as a change of its own). Undo is satisfied when the driver is gone, and
    leaves it to whoever gave it another priority meanwhile.
    """

    def look(self, change: PriorityChange) -> Entry:
        driver = change.driver
        _served()
        found = crypto_user.get(driver)
        if found is None:
            raise ChangeError(f"the kernel has no crypto driver {driver} now: load its module first")
        if found.flags & crypto_user.INTERNAL or not found.flags & crypto_user.TESTED:
            why = "is internal" if found.flags & crypto_user.INTERNAL else "did not pass the kernel's self-test"
            raise ChangeError(f"the crypto driver {driver} {why}: no priority makes the kernel take it")
        return {"driver": driver, "old": found.priority, "new": change.value}

    def apply(self, change: PriorityChange, undo: Entry) -> Entry:
        driver, value = undo["driver"], undo["new"]
        now = _listed(driver)
        if now != undo["old"]:
            undo["given"] = False
            raise ChangeError(f"the priority of {driver} became {now} while it was looked at: somebody else changes it")
        if not crypto_user.update(driver, value):
            raise ChangeError(f"the crypto driver {driver} went away")
        undo["given"] = True
        for rival in _rivals(driver):
            crypto_user.update(rival, None)  # one that went meanwhile needs no forgetting
        if (now := _listed(driver)) != value:
            raise ChangeError(f"the kernel said nothing against it, but the priority of {driver} is {now}, not {value}")
        return {"given": True}

    def undo(self, undo: Entry) -> str | None:
        driver, now = undo["driver"], _listed(undo["driver"])
        if now in (None, undo["old"]) or undo.get("given") is False:
            return None
        if now != undo["new"]:
            if "given" not in undo:
                return None  # the agent was killed right here: whatever this is, it is not known to be ours
            return f"the priority of {driver} is {now}, neither {undo['old']} as before nor {undo['new']} as we set it"
        _served()
        crypto_user.update(driver, undo["old"])  # one that went meanwhile is as good as put back
        if (now := _listed(driver)) not in (None, undo["old"]):
            raise ChangeError(f"the priority of {driver} is still {now}, not {undo['old']}")
        return None


def _served() -> None:
    if crypto_user.answers():
        return
    loadable = Path(f"/lib/modules/{os.uname().release}/modules.dep")
    if loadable.exists() and "/crypto_user.ko" in loadable.read_text():
        raise ChangeError("the kernel module crypto_user is not loaded: load it first, as a change of its own")
    raise ChangeError("this kernel has no crypto_user netlink (module crypto_user, CONFIG_CRYPTO_USER)")


def _listed(driver: str) -> int | None:
    """Its priority as /proc/crypto has it; None where it is not there."""
    found = crypto_user.listed(PROC.read_text()).get(driver)
    return found[1] if found else None


def _rivals(driver: str) -> list[str]:
    """Other drivers of the same algorithm, but those that this one is itself built upon: cryptd(X) stands on X."""
    known = crypto_user.listed(PROC.read_text())
    if driver not in known:
        return []
    algorithm = known[driver][0]
    return [name for name, (of, _) in known.items() if of == algorithm and name != driver and name not in driver]
