"""An interface's statistics and offloads as its driver tells them, by the kernel's own call (linux/ethtool.h).

No program is needed, and a look costs microseconds: it is taken between transfers. Nothing here changes anything.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import socket
import struct
from functools import cache
from pathlib import Path
from typing import Any

SIOCETHTOOL = 0x8946
GSTRINGS, GSTATS, GSSET_INFO, GFEATURES = 0x1B, 0x1D, 0x37, 0x3A
STATISTICS, FEATURES = 1, 4  # enum ethtool_stringset
NAME_BYTES = 32
NETWORK = Path("/sys/class/net")
MODULES, ESP_OFFLOADS = Path("/sys/module"), ("esp4_offload", "esp6_offload")
CONGESTION_CONTROL = Path("/proc/sys/net/ipv4/tcp_congestion_control")

IFREQ = struct.Struct("=16sQ16x")  # struct ifreq of a 64-bit kernel: the interface's name, where the question lies
SET_INFO = struct.Struct("=IIQI")  # struct ethtool_sset_info with room for one set's size
STRINGS = struct.Struct("=III")  # struct ethtool_gstrings, without the strings that follow
COUNTED = struct.Struct("=II")  # struct ethtool_stats and ethtool_gfeatures, without what follows
BLOCK = struct.Struct("=4I")  # struct ethtool_get_features_block: available, requested, active, never changed

WATCHED = {
    "tx-generic-segmentation": "generic-segmentation-offload",
    "tx-tcp-segmentation": "tcp-segmentation-offload",
    "tx-tcp6-segmentation": "tcp-segmentation-offload",
    "rx-gro": "generic-receive-offload",
    "rx-gro-hw": "rx-gro-hw",
    "rx-lro": "large-receive-offload",
    "tls-hw-tx-offload": "tls-hw-tx-offload",
    "tls-hw-rx-offload": "tls-hw-rx-offload",
    "tls-hw-record": "tls-hw-record",
    "esp-hw-offload": "esp-hw-offload",
    "esp-tx-csum-hw-offload": "esp-tx-csum-hw-offload",
    "tx-esp-segmentation": "tx-esp-segmentation",
}
"""Offloads that change what a transfer costs, by the kernel's names, and how ethtool(8) calls them; it has one name for
several, which is on where one of them is."""


def statistics(interface: str) -> dict[str, int]:
    """What its driver counts, by name; nothing where it counts nothing, or there is no such interface."""
    try:
        names = _names(interface, STATISTICS)
        room = bytearray(COUNTED.size + 8 * len(names))
        COUNTED.pack_into(room, 0, GSTATS, len(names))
        _ask(interface, room)
        values = struct.unpack_from(f"={len(names)}Q", room, COUNTED.size)
    except OSError:
        return {}
    return dict(zip(names, values))  # noqa: B905 (Python 3.9 has no strict)


def features(interface: str) -> dict[str, bool]:
    """Whether each offload that the kernel knows is active on an interface, by the kernel's names. Raises OSError."""
    names = _feature_names(interface)
    blocks = (len(names) + 31) // 32
    room = bytearray(COUNTED.size + BLOCK.size * blocks)
    COUNTED.pack_into(room, 0, GFEATURES, blocks)
    _ask(interface, room)
    active = [BLOCK.unpack_from(room, COUNTED.size + BLOCK.size * block)[2] for block in range(blocks)]
    return {name: bool(active[bit // 32] >> bit % 32 & 1) for bit, name in enumerate(names) if name}


def state(interface: str) -> str | None:
    """What of an interface and of TCP changes a result, as JSON: MTU, congestion control, the offloads of WATCHED, and
    whether ESP is cut into packets late (``esp_offload_module``), which a module does, card or not.

    None where it cannot be told.
    """
    found: dict[str, Any] = {}
    try:
        found["mtu"] = int((NETWORK / interface / "mtu").read_text())
        found["congestion_control"] = CONGESTION_CONTROL.read_text().strip()
        found["esp_offload_module"] = any((MODULES / name).exists() for name in ESP_OFFLOADS)
        for name, active in features(interface).items():
            if name in WATCHED:
                found[WATCHED[name]] = active or found.get(WATCHED[name], False)
    except (OSError, ValueError):
        return None
    return json.dumps(found, sort_keys=True)


@cache
def _feature_names(interface: str) -> list[str]:
    """By their bits; the kernel's own, the same for every interface as long as it runs."""
    return _names(interface, FEATURES)


def _names(interface: str, which: int) -> list[str]:
    """A set of names, in the order in which values are told. Some drivers fill them up with blanks."""
    room = bytearray(SET_INFO.size)
    SET_INFO.pack_into(room, 0, GSSET_INFO, 0, 1 << which, 0)
    _ask(interface, room)
    _, _, there, count = SET_INFO.unpack_from(room)
    if not there:
        return []
    room = bytearray(STRINGS.size + NAME_BYTES * count)
    STRINGS.pack_into(room, 0, GSTRINGS, which, count)
    _ask(interface, room)
    told = room[STRINGS.size :]
    each = (told[at : at + NAME_BYTES] for at in range(0, len(told), NAME_BYTES))
    return [name.split(b"\0", 1)[0].decode(errors="replace").strip() for name in each]


def _ask(interface: str, room: bytearray) -> None:
    """One question of struct ethtool_*, answered in its place. Raises OSError where the kernel or driver cannot."""
    place = (ctypes.c_char * len(room)).from_buffer(room)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCETHTOOL, IFREQ.pack(interface.encode(), ctypes.addressof(place)))
