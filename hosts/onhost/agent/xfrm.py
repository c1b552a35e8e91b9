"""The kernel's IPsec netlink (linux/xfrm.h): what an ESP SA is protected with, by names and lengths; never its keys.

`ip xfrm state` shows an SA with its keys, or (nokeys) without their lengths. Here the lengths are read, and the memory
in which the kernel handed the keys over is overwritten (netlink.ask).
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address

from . import netlink
from .netlink import text

NETLINK_XFRM = 6
NEWSA, GETSA = 0x10, 0x12
ALG_CRYPT, ALG_AEAD, ALG_AUTH_TRUNC, OFFLOAD_DEV = 2, 18, 20, 28
INBOUND, PACKET = 2, 4  # of struct xfrm_user_offload's flags
MODES = ("transport", "tunnel")

# struct xfrm_usersa_info of a 64-bit kernel: of its lifetime bytes, packets, when it was added; its mode
SA = struct.Struct("=160x3Q30xB9x")
SA_ID = struct.Struct("=16s4sHBx")  # struct xfrm_usersa_id: destination, SPI, family, protocol
CRYPT = struct.Struct("=64sI")  # struct xfrm_algo, without the key that follows: name, bits of the key
AUTH = struct.Struct("=64sII")  # struct xfrm_algo_auth and xfrm_algo_aead: name, bits of the key, bits of the ICV
OFFLOAD = struct.Struct("=iB")  # struct xfrm_user_offload: the interface's number, flags

NO_OFFLOAD = "no offload"
WORDS = ("protection", "offload")
"""What of an SA is told in words."""


@dataclass(frozen=True)
class Algorithm:
    """A cipher or MAC of an SA by the kernel's name. ``key_bits`` with the salt of an AEAD's key (RFC 4106, RFC 7634);
    ``icv_bits``, of the tag in each packet, None where a MAC beside it makes that."""

    name: str
    key_bits: int
    icv_bits: int | None = None

    def __str__(self) -> str:
        icv = "" if self.icv_bits is None else f", a tag of {self.icv_bits}"
        return f"{self.name} with a key of {self.key_bits} bits{icv}"


@dataclass(frozen=True)
class Association:
    """An SA. ``protection``: mode and algorithms in words. ``offload``: what an interface's card does for it, in words.
    ``added``: seconds since 1970; ``bytes`` and ``packets`` that went through it."""

    protection: str
    offload: str
    added: int
    bytes: int
    packets: int


def protection(algorithms: Iterable[Algorithm], mode: str = "transport") -> str:
    """The words in which an SA's protection is told and asked for: a cipher first, then its MAC."""
    return f"{mode} mode, {' and '.join(map(str, algorithms)) or 'no algorithm'}"


def offload(kind: str, interface: str, direction: str) -> str:
    """The words in which an SA's offload is told and asked for: ``crypto`` or ``packet``, ``in`` or ``out``."""
    return f"{kind} offload to {interface}, {direction}"


def encode_id(destination: str, spi: int) -> bytes:
    """Which SA of ESP is asked for. Raises ValueError for what is no address."""
    address = ip_address(destination)
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    return SA_ID.pack(address.packed, spi.to_bytes(4, "big"), family, socket.IPPROTO_ESP)


def decode(payload: memoryview) -> Association:
    """What the kernel says of an SA. Raises OSError where it is cut short."""
    if len(payload) < SA.size:
        raise OSError(errno.EPROTO, f"an SA in {len(payload)} bytes")
    carried, packets, added, mode = SA.unpack_from(payload)
    told = netlink.attributes(payload[SA.size :])
    algorithms = []
    for type_, shape in ((ALG_AEAD, AUTH), (ALG_CRYPT, CRYPT), (ALG_AUTH_TRUNC, AUTH)):
        if type_ in told:
            if len(told[type_]) < shape.size:
                raise OSError(errno.EPROTO, f"an algorithm in {len(told[type_])} bytes")
            name, *bits = shape.unpack_from(told[type_])
            algorithms.append(Algorithm(text(name), *bits))
    word = MODES[mode] if mode < len(MODES) else f"number {mode}"
    return Association(protection(algorithms, word), _offload(told.get(OFFLOAD_DEV)), added, carried, packets)


def _offload(told: memoryview | None) -> str:
    """What the kernel says of an SA's offload. It says nothing where it fell back to software (xfrm_dev_state_add)."""
    if told is None or len(told) < OFFLOAD.size:
        return NO_OFFLOAD
    number, flags = OFFLOAD.unpack_from(told)
    try:
        interface = socket.if_indextoname(number)
    except OSError:
        interface = f"interface {number}"
    return offload("packet" if flags & PACKET else "crypto", interface, "in" if flags & INBOUND else "out")


def association(destination: str, spi: int) -> Association | None:
    """An SA of ESP on this host by where it leads to and its SPI; None where there is none, or it may not be seen."""
    if not netlink.answers(NETLINK_XFRM):
        return None
    try:
        found = [decode(m.payload) for m in netlink.ask(NETLINK_XFRM, GETSA, 0, encode_id(destination, spi))]
    except OSError:
        return None
    return found[0] if found else None
