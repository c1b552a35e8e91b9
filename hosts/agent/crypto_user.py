"""The kernel's crypto_user netlink: what crypto drivers there are with their flags, and a change of one's priority.

Only what is needed of linux/cryptouser.h: GETALG (all, or one by its driver's name) and UPDATEALG. Numbers are in the
host's byte order, as netlink has them.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .kinds import ChangeError

NETLINK_CRYPTO = 21
UPDATEALG, GETALG = 0x12, 0x13
PRIORITY_VAL = 1
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 0x1, 0x4, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
LARVAL, TESTED, INTERNAL = 0x10, 0x400, 0x2000

HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
ALGORITHM = struct.Struct("=64s64s64s4I")  # struct crypto_user_alg: three names, type, mask, refcnt, flags
ATTRIBUTE = struct.Struct("=HH")  # struct nlattr: length, type
NAME_BYTES = 64  # CRYPTO_MAX_NAME, with its closing zero

SECONDS = 5.0
DATAGRAM = 1 << 17  # the kernel fills at most 64 KiB of a dump at once
MOST_DATAGRAMS = 1000


class NoDriverError(Exception):
    """The kernel has no driver of this name now."""


@dataclass(frozen=True)
class Message:
    """One netlink message."""

    type: int
    flags: int
    sequence: int
    payload: bytes


@dataclass(frozen=True)
class Algorithm:
    """A crypto driver as the netlink shows it; ``flags`` are cra_flags of linux/crypto.h."""

    name: str
    driver: str
    module: str
    refcnt: int
    flags: int
    priority: int


def encode(type_: int, flags: int, sequence: int, payload: bytes) -> bytes:
    """One netlink message."""
    return HEADER.pack(HEADER.size + len(payload), type_, flags, sequence, 0) + payload


def decode(data: bytes) -> Iterator[Message]:
    """The messages of a datagram. Raises ChangeError when a length does not fit."""
    while data:
        if len(data) < HEADER.size:
            raise ChangeError("the kernel's crypto_user netlink answered with half a message")
        length, type_, flags, sequence, _port = HEADER.unpack_from(data)
        if not HEADER.size <= length <= len(data):
            raise ChangeError(f"the kernel's crypto_user netlink answered with a message of {length} bytes")
        yield Message(type_, flags, sequence, data[HEADER.size : length])
        data = data[_aligned(length) :]


def encode_algorithm(driver: str, priority: int | None = None) -> bytes:
    """What a request says: the driver's name, and the priority to give it. Raises ChangeError for a bad name."""
    name = driver.encode()
    if not name or len(name) >= NAME_BYTES or b"\0" in name:
        raise ChangeError(f"{driver!r} cannot be a crypto driver's name: those have 1 to {NAME_BYTES - 1} bytes")
    body = ALGORITHM.pack(b"", name, b"", 0, 0, 0, 0)
    if priority is not None:
        body += ATTRIBUTE.pack(ATTRIBUTE.size + 4, PRIORITY_VAL) + struct.pack("=i", priority)
    return body


def decode_algorithm(payload: bytes) -> Algorithm:
    """What an answer says. Raises ChangeError when it is too short or tells no priority."""
    if len(payload) < ALGORITHM.size:
        raise ChangeError(f"the kernel's crypto_user netlink described a driver in {len(payload)} bytes")
    name, driver, module, _type, _mask, refcnt, flags = ALGORITHM.unpack_from(payload)
    rest = payload[ALGORITHM.size :]
    while len(rest) >= ATTRIBUTE.size:
        length, type_ = ATTRIBUTE.unpack_from(rest)
        if not ATTRIBUTE.size <= length <= len(rest):
            break
        if type_ == PRIORITY_VAL and length == ATTRIBUTE.size + 4:
            (priority,) = struct.unpack_from("=i", rest, ATTRIBUTE.size)
            return Algorithm(_text(name), _text(driver), _text(module), refcnt, flags, priority)
        rest = rest[_aligned(length) :]
    raise ChangeError(f"the kernel's crypto_user netlink told no priority of {_text(driver)}")


def _aligned(length: int) -> int:
    return (length + 3) & ~3


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode(errors="replace")


def answers() -> bool:
    """Whether the kernel serves this netlink now. Asked of /proc, for opening a socket would load the module."""
    try:
        lines = Path("/proc/net/netlink").read_text().splitlines()[1:]
    except OSError:
        return False
    # columns: socket, protocol, port; the kernel's own end has port 0
    return any(line.split()[1:3] == [str(NETLINK_CRYPTO), "0"] for line in lines)


def everything() -> list[Algorithm]:
    """All drivers, without larvals (names being looked up or tested). Raises ChangeError."""
    found = [decode_algorithm(m.payload) for m in _ask(GETALG, NLM_F_DUMP, b"\0" * ALGORITHM.size)]
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
        list(_ask(UPDATEALG, NLM_F_ACK, encode_algorithm(driver, priority)))
    except NoDriverError:
        return False
    return True


def _ask(type_: int, flags: int, body: bytes) -> Iterator[Message]:
    """The messages that answer a request. Raises NoDriverError, ChangeError."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_CRYPTO) as kernel:
            kernel.settimeout(SECONDS)
            kernel.bind((0, 0))
            kernel.send(encode(type_, NLM_F_REQUEST | flags, 1, body))
            for _ in range(MOST_DATAGRAMS):
                for message in decode(kernel.recv(DATAGRAM)):
                    if message.type == NLMSG_ERROR:
                        acknowledged(message.payload)
                    if message.type in (NLMSG_ERROR, NLMSG_DONE):
                        return
                    yield message
                    if not flags & NLM_F_DUMP:
                        return
    except TimeoutError:
        raise ChangeError(f"the kernel's crypto_user netlink did not answer in {SECONDS:g} s") from None
    except OSError as error:
        raise ChangeError(_sentence(error.errno or 0)) from error
    raise ChangeError("the kernel's crypto_user netlink did not come to an end")


def acknowledged(payload: bytes) -> None:
    """Raises NoDriverError or ChangeError where the kernel refused."""
    number = -struct.unpack_from("=i", payload)[0] if len(payload) >= 4 else errno.EPROTO
    if number == errno.ENOENT:
        raise NoDriverError
    if number:
        raise ChangeError(_sentence(number))


def _sentence(number: int) -> str:
    if number == errno.EPROTONOSUPPORT:
        return "the kernel has no crypto_user netlink (module crypto_user, CONFIG_CRYPTO_USER)"
    if number in (errno.EPERM, errno.EACCES):
        return "only root may change a crypto driver's priority (CAP_NET_ADMIN in the first user namespace)"
    return f"the kernel's crypto_user netlink refused: {os.strerror(number)}"


def listed(text: str) -> dict[str, tuple[str, int]]:
    """Algorithm and priority by driver, from a text like /proc/crypto; without larvals and internal drivers."""
    found = {}
    for paragraph in re.split(r"\n\s*\n", text):
        fields = dict(re.findall(r"^([a-z]+)[ \t]*: ?(.*)$", paragraph, re.MULTILINE))
        if fields.get("type", "larval") != "larval" and fields.get("internal") != "yes":
            found[fields.get("driver", "")] = (fields.get("name", ""), int(fields.get("priority", "-1")))
    return found
