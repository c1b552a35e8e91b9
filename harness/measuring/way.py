"""The way between both data interfaces, tried with a megabyte and a few packets: nothing on a host is changed by it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from harness.measuring.link import PORT
from hosts.errors import Refusal
from hosts.remote.host import RemoteHost

SECONDS = 4.0
"""How long an answer is waited for."""
BYTES = 10**6
ESP = 50
"""RFC 4303, IANA's protocol numbers."""
RESERVED_SPI = 256
"""Those below are IANA's (RFC 4303, 2.1)."""
EVERY_SECONDS = 0.2
STATISTICS = "/sys/class/net"
FILTERS = ("nf_tables", "ip_tables", "ip6_tables", "ebtables")


@dataclass(frozen=True)
class Found:
    """What was found of something: ``good`` is None where only a run can tell."""

    what: str
    good: bool | None
    said: str
    next_step: str | None = None


def try_port(sender: RemoteHost, receiver: RemoteHost, port: int = PORT) -> list[Found]:
    """The receiver fetches bytes from a port of the sender, and both data interfaces are seen to carry them."""
    address = str(sender.host.data_address)
    what = f"TCP from {address} port {port} to {receiver.host.data_address}"
    before = {host.name: _carried(host) for host in (sender, receiver)}
    with ThreadPoolExecutor(1) as pool:
        giving = pool.submit(sender.agent.give, address, port, BYTES, SECONDS)
        try:
            receiver.agent.pull(address, port, BYTES, SECONDS)
            giving.result()
        except Refusal as error:
            said = error.what
            if giving.done() and isinstance(own := giving.exception(), Refusal):
                said = own.what
            filters = [host.name for host in (sender, receiver) if _filters(host)]
            where = f" (a packet filter is loaded on the {' and the '.join(filters)})" if filters else ""
            step = f"let TCP through from the receiver to ports {PORT} and 18080 to 18120 of the sender{where}"
            return [Found(what, False, said, step)]
    found = [Found(what, True, f"{BYTES // 10**6} MB arrived")]
    for host, counter in ((sender, "tx_bytes"), (receiver, "rx_bytes")):
        after = _carried(host)
        risen = {name: after[name][counter] - was[counter] for name, was in before[host.name].items() if name in after}
        found.append(by_interface(host.name, host.host.data_interface, risen))
    return found


def by_interface(role: str, named: str, risen: Mapping[str, int]) -> Found:
    """Whether the named interface carried what was sent, by how far each interface's counter rose. Pure."""
    what = f"{role}: data_interface {named}"
    took = risen.get(named, 0)
    if took >= BYTES:
        return Found(what, True, f"carried it: {took} bytes")
    other = [name for name, count in sorted(risen.items(), key=lambda item: -item[1]) if count >= BYTES]
    instead = f"; {' and '.join(other)} did" if other else ""
    step = f"name {other[0]} as data_interface of the {role}" if other else "check data_address and data_interface"
    return Found(what, False, f"did not carry it: {took} bytes of {BYTES}{instead}", f"{step}, or mend the route")


def try_esp(sender: RemoteHost, receiver: RemoteHost) -> list[Found]:
    """A packet of protocol 50 in each direction, to a raw socket: no kernel module is needed for that."""
    found = []
    for source, target in ((sender, receiver), (receiver, sender)):
        what = f"ESP (IP protocol {ESP}) from the {source.name} to the {target.name}"
        if source.uid or target.uid:
            found.append(Found(what, None, "needs root to be tried"))
            continue
        start, end = str(source.host.data_address), str(target.host.data_address)
        content = (secrets.randbelow(2**32 - RESERVED_SPI) + RESERVED_SPI).to_bytes(4, "big") + secrets.token_bytes(28)
        with ThreadPoolExecutor(1) as pool:
            hearing = pool.submit(target.agent.hear_protocol, ESP, end, content.hex(), SECONDS)
            while not hearing.done():
                source.agent.send_protocol(ESP, start, end, content.hex())
                time.sleep(EVERY_SECONDS)
            heard = hearing.result()
        step = None if heard else f"let IP protocol {ESP} through from {start} to {end}: a firewall on the way drops it"
        found.append(Found(what, heard, "passes" if heard else "does not arrive", step))
    return found


def clocks(known: Mapping[str, Mapping[str, float]]) -> list[Found]:
    """How far each host's clock is from this machine's, and how well that is known, by its facts. Pure."""
    return [
        Found(
            f"{role}: clock",
            True,
            f"{clock['ahead_seconds']:+.3f} s from this machine's, known to {clock['within_seconds']:.3f} s",
        )
        for role, clock in known.items()
    ]


def room(host: RemoteHost, needed: int) -> Found:
    """Whether the run's directory has room for so many bytes."""
    what = f"{host.name}: room on {host.directory.rpartition('/')[0]}"
    told = host.look(["df", "-Pk", host.directory]).stdout.splitlines()
    free = int(told[-1].split()[3]) * 1024
    step = None if free >= needed else "make the tmpfs larger, or take a profile with smaller files (--quick)"
    return Found(what, free >= needed, f"{free // 10**6} MB free, {needed // 10**6} MB needed", step)


def mtus(known: Mapping[str, int | None]) -> Found:
    """Whether both data interfaces have one MTU. Pure."""
    said = ", ".join(f"{role} {mtu or 'not known'}" for role, mtu in known.items())
    same = None if None in known.values() else len(set(known.values())) == 1
    return Found("MTU", same, said, "give both data interfaces the same MTU")


def _carried(host: RemoteHost) -> dict[str, dict[str, int]]:
    """What each interface counted, by its name."""
    names = host.look(["ls", STATISTICS]).stdout.split()
    counters = ("tx_bytes", "rx_bytes")
    paths = {name: [f"{STATISTICS}/{name}/statistics/{counter}" for counter in counters] for name in names}
    read = host.read([path for some in paths.values() for path in some])
    return {
        name: dict(zip(counters, (int(read[path] or 0) for path in some), strict=True)) for name, some in paths.items()
    }


def _filters(host: RemoteHost) -> list[str]:
    loaded = {line.split()[0] for line in (host.read(["/proc/modules"])["/proc/modules"] or "").splitlines()}
    return [name for name in FILTERS if name in loaded]
