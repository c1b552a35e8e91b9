"""Pure: the kernel's crypto drivers as /proc/crypto lists them, and which of them the kernel takes.

The list stands in the order of the kernel's own (crypto/proc.c). A lookup by an algorithm's name takes the driver of
the highest priority that passed its self-test and is not internal, and between equal priorities the one that stands
first; a lookup by a driver's name takes that one (crypto/api.c, ``__crypto_alg_lookup``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

KERN_DRIVER_ONLY = 0x1000
"""CRYPTO_ALG_KERN_DRIVER_ONLY of linux/crypto.h: user space has no other way to this implementation."""


@dataclass(frozen=True)
class Driver:
    """One implementation of one algorithm. Sizes are None where this type of algorithm has none."""

    algorithm: str
    driver: str
    module: str
    """``kernel`` where it is built in."""
    type: str
    priority: int
    """The kernel takes the highest."""
    asynchronous: bool | None
    """None for types of which /proc/crypto does not tell."""
    passed: bool
    """The self-test."""
    internal: bool
    """Whether only other drivers of the kernel may use it."""
    block_bytes: int | None
    min_key: int | None
    """Bytes of the shortest key."""
    max_key: int | None
    """Bytes of the longest key."""
    iv_bytes: int | None
    refcnt: int
    """How many use it."""
    kernel_driver_only: bool | None = None
    """The flag of that name, which only the crypto_user netlink shows; None where nobody asked it."""

    @property
    def eligible(self) -> bool:
        """Whether the kernel ever takes it for its algorithm's name."""
        return self.passed and not self.internal


def parse(text: str) -> tuple[Driver, ...]:
    """The drivers in a text like /proc/crypto.

    Left out are larvals (names that are being looked up or tested: no drivers) and paragraphs that do not name
    algorithm, driver and priority, as the last one of a text that was cut may not.
    """
    drivers = []
    for paragraph in re.split(r"\n\s*\n", text):
        fields = dict(re.findall(r"^([a-z ]+?)[ \t]*: ?(.*)$", paragraph, re.MULTILINE))
        if not (fields.get("name") and fields.get("driver") and re.fullmatch(r"-?\d+", fields.get("priority", ""))):
            continue
        if fields.get("type", "larval") != "larval":
            drivers.append(_driver(fields))
    return tuple(drivers)


def _driver(fields: Mapping[str, str]) -> Driver:
    is_async = fields.get("async")
    return Driver(
        algorithm=fields["name"],
        driver=fields["driver"],
        module=fields.get("module", ""),
        type=fields["type"],
        priority=int(fields["priority"]),
        asynchronous=None if is_async is None else is_async == "yes",
        passed=fields.get("selftest") == "passed",
        internal=fields.get("internal") == "yes",
        block_bytes=_number(fields, "blocksize"),
        min_key=_number(fields, "min keysize"),
        max_key=_number(fields, "max keysize"),
        iv_bytes=_number(fields, "ivsize"),
        refcnt=_number(fields, "refcnt") or 0,
    )


def _number(fields: Mapping[str, str], name: str) -> int | None:
    value = fields.get(name, "")
    return int(value) if value.isdecimal() else None


def flagged(drivers: Iterable[Driver], flags: Mapping[str, int] | None) -> tuple[Driver, ...]:
    """The same drivers with what the crypto_user netlink said of them; ``flags`` by driver, None where not asked."""
    known_flags = flags or {}
    return tuple(
        replace(d, kernel_driver_only=bool(known_flags[d.driver] & KERN_DRIVER_ONLY)) if d.driver in known_flags else d
        for d in drivers
    )


def named(drivers: Iterable[Driver], driver: str) -> Driver | None:
    """The driver of this name; a driver's name stands once in the kernel's list."""
    return next((d for d in drivers if d.driver == driver), None)


def taken(drivers: Iterable[Driver], algorithm: str) -> Driver | None:
    """The driver that the kernel takes now for an algorithm's name; None where it would first have to load or
    build one."""
    return max((d for d in drivers if d.algorithm == algorithm and d.eligible), key=lambda d: d.priority, default=None)
