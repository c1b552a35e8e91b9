"""What a transfer takes across the border of user and kernel memory: one untimed transfer for each path and buffer.

Our own server counts its calls itself, exactly. strace watches others and slows them down many times over, so it is
never in a timed sample.
"""

from __future__ import annotations

from contextlib import suppress

from harness.api.bench import Payload
from harness.api.path import Deployed
from harness.measuring import link, looking, proof
from harness.measuring.opened import OpenTestbed
from harness.measuring.proof import Batch, Transfer
from harness.record import Cell, Crossing
from harness.samples import Sample
from harness.servers.receiver import CALLS
from hosts.errors import Refusal
from hosts.onhost.agent.values import SystemCalls
from hosts.remote.changes import Scope


class NotThisPath(Refusal):
    """The transfer did not take the path that it is said to take, or did not bring the payload."""


def count(opened: OpenTestbed, deployed: Deployed, payload: Payload, path: str, cipher: str) -> Crossing:
    """The crossings of one transfer. Raises NotThisPath, or Refusal when it could not be made or watched."""
    with Scope(opened.sender) as scope:
        for change in deployed.during:
            scope.apply(change)
        return _count(opened, deployed, payload, path, cipher)


def _count(opened: OpenTestbed, deployed: Deployed, payload: Payload, path: str, cipher: str) -> Crossing:
    timeout = 60 + max(payload.size / 2e5, link.deadline(payload.size, opened.links))
    before = looking.look(opened, [deployed])
    if not deployed.counts:
        opened.sender.agent.trace_start(deployed.server, timeout=20.0)
    try:
        url = deployed.url(payload.name)
        got = opened.receiver.agent.fetch(url, proof.OUT, payload.size, timeout, deployed.tls)
    except Refusal:
        if not deployed.counts:
            with suppress(Refusal):  # the first one is told
                opened.sender.agent.trace_stop()
        raise
    seen = None if deployed.counts else opened.sender.agent.trace_stop()
    if got.error:
        raise Refusal(f"counting the crossings of {path} failed: {got.error}", host=opened.sender.name)
    made = Transfer(deployed, Batch(), got, before, looking.look(opened, [deployed]))
    found = proof.verify(opened, payload, [made])[0]
    if not found.valid:
        raise NotThisPath(f"an untimed transfer over {path}: {found.reason}", host=opened.sender.name)
    if seen is not None and (other := another_path(deployed, seen, payload.size)):
        raise NotThisPath(f"{path} {other}", host=opened.sender.name)
    line = found.log[0] if seen is None else {}
    return Crossing(
        path=path,
        cipher=cipher,
        size_bytes=payload.size,
        buffer_bytes=deployed.buffer_bytes,
        calls={name: calls for name, calls in (seen.calls if seen else line["calls"]).items() if calls},
        crossing_bytes=seen.read_bytes + seen.written_bytes if seen else line["crossing_bytes"],
        copied_bytes=line.get("copied_bytes"),
        source="strace" if seen else "server",
        uncounted=seen.uncounted if seen else [],
    )


def of_sample(sample: Sample, cell: Cell, deployed: Deployed) -> Crossing:
    """What a sample of a way of receiving took on the receiver, as our client counted it. Pure."""
    said = sample.witness
    return Crossing(
        path=cell.path,
        cipher=cell.cipher,
        size_bytes=cell.size_bytes or 0,
        buffer_bytes=deployed.buffer_bytes,
        calls={name[len(CALLS) :]: int(count or 0) for name, count in said.items() if name.startswith(CALLS)},
        crossing_bytes=int(said["receiver_crossing_bytes"] or 0),
        source="client",
    )


def another_path(deployed: Deployed, seen: SystemCalls, payload: int) -> str | None:
    """What of the calls that were seen (see syscalls.count) speaks against the path, or None; ``payload`` in bytes."""
    if absent := deployed.calls - seen.calls.keys():
        return f"made no {', '.join(sorted(absent))} call"
    crossed, limit = seen.read_bytes + seen.written_bytes, deployed.crossing_limit
    if limit is None:
        return None
    if seen.uncounted:
        return f"made {', '.join(seen.uncounted)} calls, whose bytes nobody counts"
    if crossed > limit:
        return f"took {crossed} bytes through user space, where heads, handshake and log need at most {limit}"
    if seen.moved_bytes < payload:  # of a small file, all may stay below the limit
        return f"sent {seen.moved_bytes} bytes on within the kernel, not the {payload} of the payload"
    return None
