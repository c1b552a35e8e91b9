"""Netlink, as its protocols share it (linux/netlink.h): messages, their attributes, a request and its answers.

Numbers are in the host's byte order. Every error is an OSError with the kernel's number.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 0x1, 0x4, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3

HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
ATTRIBUTE = struct.Struct("=HH")  # struct nlattr: length, type

SECONDS = 5.0
DATAGRAM = 1 << 17  # the kernel fills at most 64 KiB of a dump at once
MOST_DATAGRAMS = 1000


@dataclass(frozen=True, repr=False)
class Message:
    """One netlink message. Its ``payload`` may hold keys: it is not shown, and gone when the next one is taken."""

    type: int
    flags: int
    sequence: int
    payload: memoryview


def encode(type_: int, flags: int, sequence: int, payload: bytes) -> bytes:
    """One netlink message."""
    return HEADER.pack(HEADER.size + len(payload), type_, flags, sequence, 0) + payload


def decode(data: memoryview) -> Iterator[Message]:
    """The messages of a datagram. Raises OSError when a length does not fit."""
    while data:
        if len(data) < HEADER.size:
            raise OSError(errno.EPROTO, "half a message")
        length, type_, flags, sequence, _port = HEADER.unpack_from(data)
        if not HEADER.size <= length <= len(data):
            raise OSError(errno.EPROTO, f"a message of {length} bytes")
        yield Message(type_, flags, sequence, data[HEADER.size : length])
        data = data[_aligned(length) :]


def attributes(data: memoryview) -> dict[int, memoryview]:
    """The attributes of a message by type, up to the first whose length does not fit."""
    found = {}
    while len(data) >= ATTRIBUTE.size:
        length, type_ = ATTRIBUTE.unpack_from(data)
        if not ATTRIBUTE.size <= length <= len(data):
            break
        found[type_] = data[ATTRIBUTE.size : length]
        data = data[_aligned(length) :]
    return found


def attribute(type_: int, value: bytes) -> bytes:
    """One attribute of a message."""
    length = ATTRIBUTE.size + len(value)
    return ATTRIBUTE.pack(length, type_) + value + bytes(_aligned(length) - length)


def answers(protocol: int) -> bool:
    """Whether the kernel serves this protocol now. Asked of /proc, for opening a socket would load the module."""
    try:
        lines = Path("/proc/net/netlink").read_text().splitlines()[1:]
    except OSError:
        return False
    # columns: socket, protocol, port; the kernel's own end has port 0
    return any(line.split()[1:3] == [str(protocol), "0"] for line in lines)


def ask(protocol: int, type_: int, flags: int, body: bytes) -> Iterator[Message]:
    """The messages that answer a request. Their memory is overwritten: each is to be read before the next is taken."""
    room = memoryview(bytearray(DATAGRAM))
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol) as kernel:
        kernel.settimeout(SECONDS)
        kernel.bind((0, 0))
        kernel.send(encode(type_, NLM_F_REQUEST | flags, 1, body))
        for _ in range(MOST_DATAGRAMS):
            size = kernel.recv_into(room)
            try:
                for message in decode(room[:size]):
                    if message.type == NLMSG_ERROR:
                        acknowledged(message.payload)
                    if message.type in (NLMSG_ERROR, NLMSG_DONE):
                        return
                    yield message
                    if not flags & NLM_F_DUMP:
                        return
            finally:
                room[:size] = bytes(size)
    raise OSError(errno.EPROTO, "no end of the answer")


def acknowledged(payload: memoryview) -> None:
    """Raises OSError where the kernel refused."""
    number = -struct.unpack_from("=i", payload)[0] if len(payload) >= 4 else errno.EPROTO
    if number:
        raise OSError(number, os.strerror(number))


def text(field: bytes) -> str:
    """A name of a fixed field, which ends at its first zero."""
    return field.split(b"\0", 1)[0].decode(errors="replace")


def _aligned(length: int) -> int:
    return (length + 3) & ~3
