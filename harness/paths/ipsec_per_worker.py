"""``ipsec-per-worker``: HTTP over ESP where each worker has a port, a processor and SAs of its own.

An SA is one flow: whatever deals packets to receive queues or processors does so by its SPI, and its sequence numbers
are taken under its lock. ``ipsec`` has one SA for all connections, this one an SA in each direction for each worker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

from harness.api.bench import Bench
from harness.api.parameters import Parameters
from harness.api.path import DataPath, Deployed, Observed, Witness
from harness.api.words import Words
from harness.servers import cards, ipsec, nginx, request_log
from harness.servers.nginx import Lane
from hosts.onhost.agent.values import Counter

SUMS = ("sender_sa_bytes", "receiver_sa_bytes", "sender_sa_packets")
"""Facts of an SA that add up."""
Value = TypeVar("Value")


class IpsecPerWorker(DataPath):
    name = "ipsec-per-worker"
    words = Words(
        label="HTTP over IPsec (ESP), SAs for each worker",
        subject="Encrypting below TCP with IPsec, an SA for each worker (ipsec-per-worker)",
        short="IPsec with an SA for each worker",
    )
    speaks_esp = True
    unsupported = staticmethod(ipsec.unsupported)

    def impossible(self, parameters: Parameters) -> str | None:
        if parameters.at_once is None:
            return "single transfers have one connection, and so one SA, as ipsec has: this path is for load"
        return ipsec.impossible(parameters)

    def deploy(self, bench: Bench, parameters: Parameters) -> Deployed:
        workers = parameters.workers
        ports = [bench.port() for _ in range(workers or 1)]
        places = bench.places(workers) or (None,)
        log = nginx.access_log(bench, self.name)
        ipsec.make_ready(bench, parameters)
        pairs = {port: ipsec.protect(bench, port, parameters) for port in ports}
        names = [self.name, *(f"{self.name}-{number}" for number in range(2, len(ports) + 1))]
        served = [
            nginx.serve(bench, name, port, load=parameters, lane=Lane(place, log))
            for name, port, place in zip(names, ports, places, strict=True)
        ]
        base = bench.base_url("http", ports[0])
        sender: dict[str, Counter] = {}
        receiver: dict[str, Counter] = {}
        for port, pair in pairs.items():
            sender |= _named(port, pair.counters("sender"))
            receiver |= _named(port, pair.counters("receiver"))
        deployed = Deployed(
            url=lambda payload: f"{base}/{payload}",
            log=log,
            server=served[0].number,
            more_ports=tuple(ports[1:]),
            verify=partial(verify, parameters, ports),
            sender_counters=sender,
            receiver_counters=receiver,
            calls=frozenset({"sendfile"}),
            crossing_limit=nginx.HEADS_BYTES,
            driver_found=None if parameters.driver == "any" else parameters.driver,
        )
        if parameters.driver == "any":
            return deployed
        # each packet is a request
        return cards.watched(
            deployed, parameters.driver, bench.facts, lambda _seen, said: int(said.facts["sender_sa_packets"] or 0)
        )


def verify(parameters: Parameters, ports: Sequence[int], seen: Observed) -> Witness:
    """Each port's SAs carried what its own server logged, each was used that connections were dealt to, and their bytes
    add up to all that was sent."""
    said, told = request_log.check(seen), list[Witness]()
    facts = said.facts | {"sas": len(ports)}
    for number, port in enumerate(ports):
        asked = sum(line["port"] == port for line in seen.log)
        one = ipsec.carried(parameters, None, of_port(port, seen), seen.payload * asked)
        if one.reason:
            return Witness(facts | one.facts, f"port {port}: {one.reason}")
        if not asked and number < (seen.load.at_once if seen.load else 1):
            return Witness(facts | one.facts, f"no request came to port {port}, whose SAs are one worker's")
        told.append(one)
    carried = [int(one.facts["sender_sa_bytes"] or 0) for one in told]
    facts |= told[0].facts | {name: sum(int(one.facts[name] or 0) for one in told) for name in SUMS}
    shares = {"least_sa_share": min(carried), "most_sa_share": max(carried)}
    facts |= {name: round(count / max(1, sum(carried)), 4) for name, count in shares.items()}
    if sum(carried) < seen.payload * seen.requests:
        due = seen.payload * seen.requests
        return Witness(facts, f"the sender's SAs carried {sum(carried)} bytes together of a payload of {due}")
    return Witness(facts, said.reason)


def of_port(port: int, seen: Observed) -> Observed:
    """What was seen of the SAs of one port, called as those of a path that has one."""
    return replace(
        seen,
        sender=_only(port, seen.sender),
        receiver=_only(port, seen.receiver),
        sender_states=_only(port, seen.sender_states),
        receiver_states=_only(port, seen.receiver_states),
    )


def _named(port: int, some: Mapping[str, Value]) -> dict[str, Value]:
    return {f"{port}_{name}": value for name, value in some.items()}


def _only(port: int, some: Mapping[str, Value]) -> dict[str, Value]:
    prefix = f"{port}_"
    return {name.removeprefix(prefix): value for name, value in some.items() if name.startswith(prefix)}


PATH = IpsecPerWorker()
