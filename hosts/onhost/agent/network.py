"""This host's addresses and routes, as the kernel's rtnetlink tells them (rtnetlink(7)): no program is needed."""

from __future__ import annotations

import os
import socket
import struct
from ipaddress import ip_address
from pathlib import Path

from . import netlink, processes

NETLINK_ROUTE = 0
GETADDR, GETROUTE = 22, 26
IFA_ADDRESS, IFA_LOCAL = 1, 2
RTA_DST, RTA_SRC, RTA_OIF = 1, 2, 4
ADDRESS = struct.Struct("=BBBBI")  # struct ifaddrmsg: family, prefix, flags, scope, index of the interface
ROUTE = struct.Struct("=8BI")  # struct rtmsg: family, lengths of both prefixes, five more, flags
MOST_ANCESTORS = 50


def addresses() -> dict[str, list[str]]:
    """The addresses of this host, by interface; of one that has none, too."""
    names = dict(socket.if_nameindex())
    found: dict[str, list[str]] = {name: [] for name in names.values()}
    for message in netlink.ask(NETLINK_ROUTE, GETADDR, netlink.NLM_F_DUMP, ADDRESS.pack(0, 0, 0, 0, 0)):
        name = names.get(ADDRESS.unpack_from(message.payload)[4])
        told = netlink.attributes(message.payload[ADDRESS.size :])
        # of a link between two the first is this end, the second the other; elsewhere both are one, or IPv6 has one
        packed = told.get(IFA_LOCAL) or told.get(IFA_ADDRESS)
        if name and packed:
            found[name].append(str(ip_address(bytes(packed))))
    return found


def interface_to(destination: str, source: str) -> str:
    """The interface by which packets from ``source``, an address of this host, leave to ``destination``.

    Raises OSError where there is no way.
    """
    there, here = ip_address(destination), ip_address(source)
    family = socket.AF_INET if there.version == 4 else socket.AF_INET6
    bits = there.max_prefixlen
    body = ROUTE.pack(family, bits, bits, 0, 0, 0, 0, 0, 0)
    body += netlink.attribute(RTA_DST, there.packed) + netlink.attribute(RTA_SRC, here.packed)
    for message in netlink.ask(NETLINK_ROUTE, GETROUTE, 0, body):
        told = netlink.attributes(message.payload[ROUTE.size :])
        if RTA_OIF in told:
            return socket.if_indextoname(struct.unpack_from("=I", told[RTA_OIF])[0])
    raise OSError(f"the kernel names no interface to {destination}")


def management_interfaces() -> list[str]:
    """The interface by which the SSH connection that carries this agent leaves, and those beneath it, as a VLAN, a
    bond or a bridge has them; empty where that cannot be told.

    sshd says the connection's two ends in the environment of what it starts; sudo hides it, but not from root, who
    may read it of the processes above.
    """
    pid = os.getpid()
    for _ in range(MOST_ANCESTORS):
        found = _connection(pid)
        if found is not None:
            client, server = found
            try:
                return beneath(interface_to(client, server))
            except (OSError, ValueError):
                return []
        process = processes.look(pid)
        if process is None or process.parent <= 1:
            return []
        pid = process.parent
    return []


def beneath(interface: str) -> list[str]:
    """An interface, and those that its packets pass on their way out (Documentation/ABI/testing/sysfs-class-net)."""
    found = [interface]
    for name in found:  # which grows
        lower = sorted(path.name for path in Path(f"/sys/class/net/{name}").glob("lower_*"))
        found += [below for each in lower if (below := each[len("lower_") :]) not in found]
    return found


def _connection(pid: int) -> tuple[str, str] | None:
    """Addresses of client and server, of the environment that a process was started with."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return None
    for variable in environment.split(b"\0"):
        name, _, value = variable.decode(errors="replace").partition("=")
        words = value.split()
        if name == "SSH_CONNECTION" and len(words) == 4:
            # an address of one link only has the interface behind it
            return words[0].partition("%")[0], words[2].partition("%")[0]
    return None
