"""The kernel's crypto_user netlink: what crypto drivers there are with their flags, and a change of one's priority.

Only what is needed of linux/cryptouser.h: GETALG (all, or one by its driver's name) and UPDATEALG. Numbers are in the
host's byte order, as netlink has them.
"""

from __future__ import annotations

import errno
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from . import netlink
from .errors import ChangeError
from .netlink import ATTRIBUTE, Message, text

NETLINK_CRYPTO = 21
UPDATEALG, GETALG = 0x12, 0x13
PRIORITY_VAL = 1
HIGHEST_PRIORITY = 2**31 - 1  # cra_priority is an int
LARVAL, TESTED, INTERNAL = 0x10, 0x400, 0x2000

ALGORITHM = struct.Struct("=64s64s64s4I")  # struct crypto_user_alg: three names, type, mask, refcnt, flags
PRIORITY = struct.Struct("=i")
NAME_BYTES = 64  # CRYPTO_MAX_NAME, with its closing zero


class NoDriverError(Exception):
    """The kernel has no driver of this name now."""


@dataclass(frozen=True)
class Algorithm:
    """A crypto driver as the netlink shows it; ``flags`` are cra_flags of linux/crypto.h."""

    name: str
    driver: str
    module: str
    refcnt: int
    flags: int
    priority: int


def encode_algorithm(driver: str, priority: int | None = None) -> bytes:
    """What a request says: the driver's name, and the priority to give it. Raises ChangeError for a bad name."""
    name = driver.encode()
    if not name or len(name) >= NAME_BYTES or b"\0" in name:
        raise ChangeError(f"{driver!r} cannot be a crypto driver's name: those have 1 to {NAME_BYTES - 1} bytes")
    body = ALGORITHM.pack(b"", name, b"", 0, 0, 0, 0)
    if priority is not None:
        body += ATTRIBUTE.pack(ATTRIBUTE.size + 4, PRIORITY_VAL) + PRIORITY.pack(priority)
    return body


def decode_algorithm(payload: memoryview) -> Algorithm:
    """What an answer says. Raises ChangeError when it is too short or tells no priority."""
    if len(payload) < ALGORITHM.size:
        raise ChangeError(f"the kernel's crypto_user netlink described a driver in {len(payload)} bytes")
    name, driver, module, _type, _mask, refcnt, flags = ALGORITHM.unpack_from(payload)
    told = netlink.attributes(payload[ALGORITHM.size :]).get(PRIORITY_VAL, memoryview(b""))
    if len(told) != PRIORITY.size:
        raise ChangeError(f"the kernel's crypto_user netlink told no priority of {text(driver)}")
    return Algorithm(text(name), text(driver), text(module), refcnt, flags, *PRIORITY.unpack(told))


def answers() -> bool:
    """Whether the kernel serves this netlink now."""
    return netlink.answers(NETLINK_CRYPTO)


def everything() -> list[Algorithm]:
    """All drivers, without larvals (names being looked up or tested). Raises ChangeError."""
    found = [decode_algorithm(m.payload) for m in _ask(GETALG, netlink.NLM_F_DUMP, b"\0" * ALGORITHM.size)]
    return [algorithm for algorithm in found if not algorithm.flags & LARVAL]


def flags() -> dict[str, int] | None:
    """cra_flags of all drivers by name; None where the kernel does not serve this netlink now."""
    return {a.driver: a.flags for a in everything()} if answers() else None


def get(driver: str) -> Algorithm | None:
    """A driver by its name; None when there is none now. Raises ChangeError."""
    try:
        found = [decode_algorithm(m.payload) for m in _ask(GETALG, 0, encode_algorithm(driver))]
    except NoDriverError:
        return None
    return found[0] if found else None


def update(driver: str, priority: int | None) -> bool:
    """Give a driver a priority (None: leave it) and have the kernel forget all that templates built upon it.

    False when there is no such driver. Raises ChangeError: not allowed, or not served.
    """
    try:
        list(_ask(UPDATEALG, netlink.NLM_F_ACK, encode_algorithm(driver, priority)))
    except NoDriverError:
        return False
    return True


def _ask(type_: int, flags: int, body: bytes) -> Iterator[Message]:
    """The messages that answer a request. Raises NoDriverError, ChangeError."""
    try:
        yield from netlink.ask(NETLINK_CRYPTO, type_, flags, body)
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise NoDriverError from error
        raise ChangeError(_sentence(error)) from error


def _sentence(error: OSError) -> str:
    if error.errno == errno.EPROTONOSUPPORT:
        return "the kernel has no crypto_user netlink (module crypto_user, CONFIG_CRYPTO_USER)"
    if error.errno in (errno.EPERM, errno.EACCES):
        return "only root may change a crypto driver's priority (CAP_NET_ADMIN in the first user namespace)"
    return f"the kernel's crypto_user netlink refused: {error.strerror or error}"


def listed(text: str) -> dict[str, tuple[str, int]]:
    """Algorithm and priority by driver, from a text like /proc/crypto; without larvals and internal drivers."""
    found = {}
    for paragraph in re.split(r"\n\s*\n", text):
        fields = dict(re.findall(r"^([a-z]+)[ \t]*: ?(.*)$", paragraph, re.MULTILINE))
        if fields.get("type", "larval") != "larval" and fields.get("internal") != "yes":
            found[fields.get("driver", "")] = (fields.get("name", ""), int(fields.get("priority", "-1")))
    return found
