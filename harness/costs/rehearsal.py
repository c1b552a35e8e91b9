"""Rehearsals: a path's transfer in clear, by its own way of feeding TCP, with work in the place of its cipher.

They say what all that has no price by itself costs at the pace of that path: TCP, acknowledgements and the interrupts
they are, packets, waking up on both hosts, copies. They are untimed in the sense that no verdict is made of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from harness.api.bench import Bench, Payload
from harness.api.path import Deployed
from harness.api.steps import Way
from harness.costs.prediction import Clear
from harness.measuring.opened import OpenTestbed
from harness.samples import TICKS, placed
from harness.servers import datapath
from hosts.errors import Refusal
from hosts.onhost.agent.values import LogTail, Tls

DEAR, USUAL, CHEAP = (250_000, 10**6), (10**6, 3 * 10**6), (10**6, 10**7)
"""Bytes of the two transfers that a rehearsal is made of, so that both take some 0.1 s: many can be taken, right after
another. What costs little for each byte costs more of it while TCP still opens its window."""
LONGEST = 0.2
"""Seconds that those of a cheap path may take the link; on a slower one they are the usual ones."""
MUCH_WORK = 12.0
"""Nanoseconds of work for each byte from which they are the shorter ones."""
COARSE = 10**7, 3 * 10**7
"""On hosts whose own clock of busy time is all there is."""
NOTHING = 1
"""Bytes of a transfer that is all connection and handshake."""
TIMEOUT = 30.0
LOG_SECONDS = 5.0
OUT = "rehearsal.out"
MODES = {
    "sendfile": "plain",
    "chunks": "rehearse-sendfile",
    "socket": "rehearse-sendfile",
    "send": "rehearse-send",
    "records": "rehearse-records",
}
"""Of our own server, by how a path hands its bytes to TCP."""


@dataclass(frozen=True)
class Stage:
    """A rehearsal that is ready: where it is served, and what work it does for each chunk."""

    url: Callable[[str], str]
    tls: Tls | None
    work_ns: float
    log: str | None = None
    """Of a server that tells what its work took."""
    client: tuple[str, ...] = ()
    """The command of our own client, where that takes it."""


def serve(bench: Bench, name: str, way: Way, work_ns: float, count_ns: float) -> Stage:
    """Our own server in a way, with ``work_ns`` of work for each chunk, where a count takes ``count_ns``.

    Raises Refusal, HostLost.
    """
    port = bench.port()
    argv = [datapath.compiled(bench), "serve", "--mode", MODES[way.calls], "--address", str(bench.address)]
    argv += ["--port", str(port), "--root", bench.payload_directory, "--chunk", str(way.chunk)]
    counts = round(work_ns / count_ns) if way.calls != "sendfile" else 0
    if counts:
        argv += ["--work", str(counts)]
    served = bench.on_sender.serve(
        f"rehearsal of {name}", argv, str(bench.address), port, f"{bench.folder}/rehearsal-{name}"
    )
    base = bench.base_url("http", port)
    return Stage(lambda payload: f"{base}/{payload}", None, counts * count_ns, served.stdout if counts else None)


def deployed(made: Deployed) -> Stage:
    """A path as it is deployed."""
    return Stage(made.url, made.tls, 0.0, client=made.client)


def sizes(opened: OpenTestbed, way: Way, work_ns: float, pace: float) -> tuple[int, ...]:
    """Bytes of a rehearsal's transfers on these hosts, if it does ``work_ns`` of work for each chunk of its way, and
    the link takes ``pace`` seconds for each byte."""
    if not opened.meter:
        return COARSE
    if way.calls == "packets" or work_ns / way.chunk > MUCH_WORK:
        return DEAR
    return CHEAP if sum(CHEAP) * pace <= LONGEST else USUAL


def transfer(opened: OpenTestbed, stage: Stage, payload: Payload) -> Clear:
    """One transfer: elapsed, and busy on both hosts. Raises Refusal where it fails or is too short for the clock."""
    before, clock = _busy(opened)
    agent, url = opened.receiver.agent, stage.url(payload.name)
    if stage.client:
        got = agent.fetch_by(stage.client, urlsplit(url).path, OUT, payload.size, TIMEOUT)
    else:
        got = agent.fetch(url, OUT, payload.size, TIMEOUT, stage.tls)
    after, _ = _busy(opened)
    if got.error is not None:
        raise Refusal(f"a rehearsal failed: {got.error}")
    spent = [end - start for start, end in zip(before, after, strict=True)]
    if opened.meter and not placed(opened.meter.elsewhere()):
        raise Refusal("a rehearsal's busy time cannot be told: too much of it may be another's")
    if payload.size != NOTHING and min(spent) < TICKS * clock:
        raise Refusal("a rehearsal is too short for the hosts' clock of busy time")
    return Clear(got.seconds, *(max(0.0, value) for value in spent))


def _busy(opened: OpenTestbed) -> tuple[list[float], float]:
    """Busy seconds of sender and receiver, and the step of their clock."""
    if opened.meter:
        busy = opened.meter.read()
        return [busy["sender"], busy["receiver"]], 0.0
    times = [host.agent.observe({}).cpu_after for host in (opened.sender, opened.receiver)]
    return [time.busy_seconds for time in times], times[0].resolution_seconds


def once(
    opened: OpenTestbed, stages: Mapping[str, Stage], seed: int, lengths: Mapping[str, Sequence[int]], first: int = 0
) -> dict[str, dict[int, Clear]]:
    """Each rehearsal once in every one of its ``lengths``, as many for all, side by side; by name and bytes.

    ``first``: which of them begins, counted round and round, so that no path always comes after the same one.
    Raises Refusal, HostLost.
    """
    found: dict[str, dict[int, Clear]] = {name: {} for name in stages}
    names = list(stages)
    begins = first % len(names) if names else 0
    opened.receiver.agent.make_room([OUT], max(size for some in lengths.values() for size in some))
    payloads = {size: opened.payload(size, seed) for some in lengths.values() for size in some}
    for place in range(len(next(iter(lengths.values())))):
        for name in names[begins:] + names[:begins]:
            size = lengths[name][place]
            found[name][size] = transfer(opened, stages[name], payloads[size])
    return found


def told(opened: OpenTestbed, stages: Mapping[str, Stage], transfers: Mapping[str, int]) -> dict[str, list[float]]:
    """Seconds that the work of each transfer took by the server's own clock, of stages that work; ``transfers``: how
    many there were of each. Raises HostLost, and Refusal where a server did not tell."""
    logs = {name: stage.log for name, stage in stages.items() if stage.log}
    tails = [LogTail(log, 0, 1 + transfers[name]) for name, log in logs.items()]
    found = {}
    for name, lines in zip(logs, opened.sender.agent.lines(tails, LOG_SECONDS), strict=True):
        requests = [line for line in map(json.loads, lines) if line.get("event") == "request"]
        if len(requests) != transfers[name]:
            raise Refusal(f"a rehearsal's server told of {len(requests)} transfers, not {transfers[name]}")
        found[name] = [line["worked_ns"] / 1e9 for line in requests]
    return found
