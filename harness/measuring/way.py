"""The way between both data interfaces, tried with a few bytes and packets: nothing on a host is changed by it.

A try returns what it found: a run refuses by it, and a check tells it in a line.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from harness.api.bench import FIRST_PORT, LAST_PORT, LINK_PORT
from hosts.errors import HostLost, Refusal
from hosts.remote.agent import AgentError
from hosts.remote.host import RemoteHost

PORTS = (LINK_PORT, FIRST_PORT, LAST_PORT)
"""Those that are tried: the link test's, and both ends of the servers'."""
SECONDS = 4.0
"""How long an answer is waited for."""
BYTES = 10**5
"""Of a try: packets as large as the MTU allows."""
COUNTED_SECONDS = 5.0
"""Drivers may tell their counts a second or two late."""
COUNTERS = "/proc/net/dev"
RECEIVED, SENT = 0, 8
"""Columns of ``COUNTERS`` (proc_pid_net(5)): bytes that an interface took, and gave."""
ESP = 50
"""RFC 4303, IANA's protocol numbers."""
RESERVED_SPI = 256
"""Those below are IANA's (RFC 4303, 2.1)."""
EVERY_SECONDS = 0.2
FILTERS = ("nf_tables", "ip_tables", "ip6_tables", "ebtables")


@dataclass(frozen=True)
class Found:
    """What was found of something: ``good`` is None where only a run can tell."""

    what: str
    good: bool | None
    said: str
    next_step: str | None = None


@dataclass(frozen=True)
class Carried:
    """What the interfaces of one end say of ``size`` bytes that were transferred: by how far each counter rose."""

    role: str
    named: str
    """The data interface."""
    size: int
    risen: Mapping[str, int]
    """Bytes by interface; one that came or went meanwhile is left out."""

    @property
    def refusal(self) -> Refusal | None:
        """Why the figures would be another interface's; None where the one that is named carried all."""
        took = self.risen.get(self.named, 0)
        if took >= self.size:
            return None
        other = [name for name, count in sorted(self.risen.items(), key=lambda item: -item[1]) if count >= self.size]
        instead = f"{' and '.join(other)} did" if other else "they took another way"
        step = f"name {other[0]} as data_interface of the {self.role}" if other else "check data_interface"
        return Refusal(
            f"{self.named} counted {took} bytes of {self.size} that were transferred: {instead}",
            host=self.role,
            next_step=f"{step}, or mend the route (ip route, ip rule)",
        )


def counting(sender: RemoteHost, receiver: RemoteHost) -> Callable[[int], list[Carried]]:
    """What is called with a number of bytes once they were transferred from the sender to the receiver.

    Returns what the sender's and the receiver's interfaces counted of them since now.
    """
    ends = ((sender, SENT), (receiver, RECEIVED))
    before = [_counts(host, column) for host, column in ends]

    def carried(size: int) -> list[Carried]:
        found = []
        for (host, column), start in zip(ends, before, strict=True):
            end = time.monotonic() + COUNTED_SECONDS
            while True:
                now = _counts(host, column)
                risen = {name: count - start[name] for name, count in now.items() if name in start}
                seen = Carried(host.name, host.host.data_interface, size, risen)
                if seen.refusal is None or time.monotonic() > end:
                    break
                time.sleep(EVERY_SECONDS)
            found.append(seen)
        return found

    return carried


def refused(sender: RemoteHost, receiver: RemoteHost, port: int) -> Refusal | None:
    """Why the receiver does not get bytes from a port of the sender, or None. Raises HostLost."""
    address, peer = sender.host.data_address, receiver.host.data_address
    if one := _pulled(sender, receiver, port, 1):
        if "in use" in one:
            return Refusal(
                f"port {port} of {address} is in use",
                host=sender.name,
                next_step=f"find out by whom (ss -ltnp 'sport = :{port}' on the sender) and end it, or wait",
            )
        filters = [host.name for host in (sender, receiver) if _filters(host)]
        loaded = f" (a packet filter is loaded on the {' and the '.join(filters)})" if filters else ""
        return Refusal(
            f"the receiver ({peer}) does not get through to {address} TCP port {port}: {one}",
            host=sender.name,
            next_step=f"let TCP through from {peer} to {address}, port {LINK_PORT} and ports {FIRST_PORT} to "
            f"{LAST_PORT}: a firewall on the sender, or between, stops it{loaded}",
        )
    if many := _pulled(sender, receiver, port, BYTES):
        return Refusal(
            f"a byte gets from {address} to {peer}, {BYTES} do not ({many}): packets as large as the MTU are lost",
            host=sender.name,
            next_step="give both data interfaces an MTU that all between them passes (1500 nearly always is one)",
        )
    return None


def _pulled(sender: RemoteHost, receiver: RemoteHost, port: int, size: int) -> str | None:
    """What is in the way of so many bytes: the sender's own trouble, where it had any. None where they came."""
    address = str(sender.host.data_address)
    with ThreadPoolExecutor(1) as pool:
        giving = pool.submit(sender.agent.give, address, port, size, SECONDS)
        try:
            receiver.agent.pull(address, port, size, SECONDS)
        except AgentError as error:
            why = error.what
        else:
            giving.result()
            return None
        own = giving.exception()  # waits for it
    if isinstance(own, HostLost):
        raise own
    # that nobody came, or took what was sent, is no trouble of the sender's
    return own.what if isinstance(own, AgentError) and "timed out" not in own.what else why


def try_ports(sender: RemoteHost, receiver: RemoteHost) -> list[Found]:
    """Whether the receiver gets bytes from the sender's ports, and whether both data interfaces carried them."""
    carried, found = counting(sender, receiver), []
    for port in PORTS:
        refusal = refused(sender, receiver, port)
        what = f"TCP from {sender.host.data_address} port {port} to {receiver.host.data_address}"
        found.append(of(what, refusal, f"{BYTES // 1000} kB arrived"))
    size = BYTES * sum(one.good is True for one in found)
    return found + [by_interface(one) for one in carried(size) if size]


def of(what: str, refusal: Refusal | None, well: str) -> Found:
    """What a try says that may have been refused. Pure."""
    return Found(what, False, refusal.what, refusal.next_step) if refusal else Found(what, True, well)


def by_interface(end: Carried) -> Found:
    """Whether the named interface carried what was sent. Pure."""
    well = f"carried it: {end.risen.get(end.named)} bytes"
    return of(f"{end.role}: data_interface {end.named}", end.refusal, well)


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


def counts(text: str, column: int) -> dict[str, int]:
    """A column of /proc/net/dev by interface. Pure."""
    rows = [line.rpartition(":") for line in text.splitlines() if ":" in line]
    return {name.strip(): int(numbers.split()[column]) for name, _, numbers in rows}


def _counts(host: RemoteHost, column: int) -> dict[str, int]:
    return counts(host.read([COUNTERS])[COUNTERS] or "", column)


def _filters(host: RemoteHost) -> list[str]:
    loaded = {line.split()[0] for line in (host.read(["/proc/modules"])["/proc/modules"] or "").splitlines()}
    return [name for name in FILTERS if name in loaded]
