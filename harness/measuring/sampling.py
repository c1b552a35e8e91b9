"""One block of samples: time on the receiver, busy time and counters on both hosts, payloads checked.

Between two transfers there is one look at both hosts, which is the look after the one and before the other. All that
can wait is done after the block: reading the servers' logs, asking for cipher suites, digests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from harness.api.bench import OnDisk, Payload
from harness.api.path import Deployed
from harness.measuring import disk as disks
from harness.measuring import link, looking, proof
from harness.measuring.looking import Look
from harness.measuring.opened import CpuMeter, OpenTestbed
from harness.measuring.proof import OUT, Batch, Busy, Transfer, Verified
from harness.samples import HostSample, Sample, placed
from hosts.errors import Refusal
from hosts.offloads import Link
from hosts.onhost.agent.values import CpuTime, Fetched
from hosts.remote.changes import Scope
from hosts.roles import Role

Linked = Callable[[str, dict[Role, Link]], str | None]
"""Told a cell and the state of both data interfaces of its transfer: why that makes the sample invalid, or None."""
KEPT_BYTES = 64 << 20
"""What the transfers of a block may leave in the receiver's memory; of larger ones, each is checked before the next."""


def take(
    opened: OpenTestbed,
    cells: Sequence[tuple[str, Deployed]],
    payload: Payload,
    block: int,
    warmup: bool,
    batch: Batch,
    began: Callable[[str], None] = lambda _cell: None,
    linked: Linked = lambda _cell, _links: None,
    disk: OnDisk | None = None,
) -> list[Sample]:
    """One sample of each cell, in this order: ``payload`` transferred once, or a batch of times, on ``disk`` or in
    memory.

    ``began`` is told the cell whose transfer begins, ``linked`` over what links it went. What fails, or is refused by
    the receiver, makes its own sample invalid and no other. Raises HostLost, and Refusal where the hosts would not be
    looked at.
    """
    several = [deployed for _, deployed in cells]
    apart = len(cells) * payload.size <= KEPT_BYTES
    outs = [f"{place}.{OUT}" if apart else OUT for place in range(len(cells))]
    if disk:
        outs = [f"{disk.receiver}/{out}" for out in outs]
    elif batch.requests == 1:
        opened.receiver.agent.make_room(sorted(set(outs)), payload.size)
    if clients := [one.client for one in several if one.client]:
        opened.receiver.agent.have_clients(clients)
    _prime(opened, several, payload, batch)
    transfers: list[Transfer] = []
    seen: Look | None = None
    """The last look, as long as both hosts are what they were then."""
    for place, (cell, deployed) in enumerate(cells):
        over, out = batch.over(deployed), outs[place]
        with Scope(opened.sender) as scope:
            failed = _changed(scope, deployed)
            source = disks.make_cold(opened, disk, payload, out) if disk else None
            before = looking.look(opened, several) if seen is None or deployed.during or disk else seen
            began(cell)
            read = read_meter(opened.meter)
            timeout = _timeout(opened, payload, over) + (disks.timeout(payload.size) if disk else 0.0)
            got = failed or _fetch(opened, deployed, payload, over, out, timeout)
            outside = since(opened.meter, read)
            after = looking.look(opened, several)
        made = Transfer(deployed, over, got, before, after, out, outside, source)
        transfers.append(made if apart else replace(made, digested=proof.digests(opened, [made])[0]))
        seen = after if apart and not deployed.during else None
    verified = [
        found if found.reason or not (why := linked(cell, made.after.links)) else replace(found, reason=why)
        for (cell, _), made, found in zip(cells, transfers, proof.verify(opened, payload, transfers), strict=True)
    ]
    named = zip(cells, transfers, verified, strict=True)
    return [_sample(cell, block, place, warmup, made, found) for place, ((cell, _), made, found) in enumerate(named)]


def _timeout(opened: OpenTestbed, payload: Payload, batch: Batch) -> float:
    return link.deadline(payload.size, opened.links) * (1 + batch.requests / 100)


def _prime(opened: OpenTestbed, several: Sequence[Deployed], payload: Payload, batch: Batch) -> None:
    """A full handshake with each TLS server, so that every request of its batch has a session to resume.

    It is over before anything is looked at. What goes wrong with it goes wrong with the batch too, and is told there.
    """
    primed = [one for one in several if one.tls and batch.connection == "resumed"]
    if not primed:
        return
    sizes = looking.look(opened, primed)
    for one in primed:
        if one.tls:
            timeout = _timeout(opened, payload, batch)
            opened.receiver.agent.prime(one.url(payload.name), timeout, payload.size, payload.sha256, one.tls)
    opened.sender.agent.lines([looking.tail(one, sizes, 1) for one in primed], proof.LOG_SECONDS)


def _changed(scope: Scope, deployed: Deployed) -> Fetched | None:
    """What its transfers ask of the sender, made; what came of the transfer where that was refused. Raises HostLost."""
    try:
        for change in deployed.during:
            scope.apply(change)
    except Refusal as error:
        return _failed(error)
    return None


def _fetch(
    opened: OpenTestbed, deployed: Deployed, payload: Payload, batch: Batch, out: str, timeout: float
) -> Fetched:
    """What came of a transfer. Raises HostLost."""
    agent, url = opened.receiver.agent, deployed.url(payload.name)
    try:
        if deployed.client:
            return agent.fetch_by(deployed.client, urlsplit(url).path, out, payload.size, timeout)
        if batch.requests == 1:
            return agent.fetch(url, out, payload.size, timeout, deployed.tls)
        size, sha256 = payload.size, payload.sha256
        return agent.fetch_many(url, batch.requests, timeout, size, sha256, deployed.tls, batch.connection)
    except Refusal as error:
        return _failed(error)


def _failed(error: Refusal) -> Fetched:
    """A transfer that a host refused."""
    idle = CpuTime(0.0, 1.0)
    return Fetched(
        error=error.what,
        seconds=0.0,
        received_bytes=0,
        cpu_before=idle,
        cpu_after=idle,
        handshake_seconds=None,
        latencies_us=None,
        connections=None,
        sha256_ok=None,
    )


def _sample(cell: str, block: int, place: int, warmup: bool, made: Transfer, found: Verified) -> Sample:
    got = made.got
    return Sample(
        cell=cell,
        block=block,
        index=place,
        warmup=warmup,
        seconds=got.seconds if got.error is None else None,
        handshake_seconds=got.handshake_seconds,
        bytes=got.received_bytes,
        sha256_ok=found.sha256_ok,
        witness=found.witness.facts,
        valid=found.valid,
        reason=found.reason,
        sender=_spent("sender", made, found),
        receiver=_spent("receiver", made, found),
        latencies_us=[round(value, 1) for value in got.latencies_us] if got.latencies_us is not None else None,
    )


def _spent(role: Role, made: Transfer, found: Verified) -> HostSample:
    if made.outside:
        busy = made.outside[role]
    elif role == "sender":
        busy = inside(made.before.seen[role].cpu_after, made.after.seen[role].cpu_before)
    else:
        busy = inside(made.got.cpu_before, made.got.cpu_after)
    kept = {name: value for name, value in found.delta[role].items() if name != looking.LOG}
    return HostSample(
        cpu_seconds=max(0.0, busy.seconds) if placed(busy.elsewhere) else None,
        cpu_resolution_seconds=busy.resolution,
        busiest_cpu_seconds=busy.busiest,
        cpu_elsewhere=None if busy.elsewhere is None else round(busy.elsewhere, 4),
        counters=kept,
    )


def inside(before: CpuTime, after: CpuTime) -> Busy:
    """Busy time as the host itself counts it; its busiest processor where it has several."""
    whole = after.busy_seconds - before.busy_seconds
    if len(after.each) < 2 or len(before.each) != len(after.each):  # one went off line, or came
        return Busy(whole, before.resolution_seconds)
    busiest = max(end - start for start, end in zip(before.each, after.each, strict=True))
    return Busy(whole, before.resolution_seconds, max(0.0, busiest))


def read_meter(meter: CpuMeter | None) -> dict[Role, float]:
    """Busy time as it is seen from outside the hosts, by role; nothing where it is not."""
    if meter is None:
        return {}
    busy = meter.read()
    return {"sender": busy["sender"], "receiver": busy["receiver"]}


def since(meter: CpuMeter | None, before: dict[Role, float]) -> dict[Role, Busy] | None:
    """Busy time since the reading before this one."""
    if meter is None:
        return None
    after = read_meter(meter)
    return {role: Busy(after[role] - before[role], meter.resolution(), meter.elsewhere()) for role in after}
