"""One sample of load: many connections at once, counted by the generator, the server's log and the witnesses alike.

While it runs, the ordinary receiver makes single transfers of its own (canaries), which are checked byte by byte: the
generator counts bytes and does not look at them. Its requests and theirs are one sample to the server's log.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from harness.api.bench import Bench, Payload
from harness.api.path import Deployed, Loaded, Observed, Witness
from harness.load import generator
from harness.load.generator import Asked, Told
from harness.measuring import link, looking, proof, spending
from harness.measuring.looking import Look
from harness.measuring.opened import OpenTestbed
from harness.measuring.sampling import Linked
from harness.measuring.spending import Spent
from harness.samples import HostSample, Load, Sample
from hosts.errors import Refusal
from hosts.onhost.agent.values import Counter, Digested, FileCounter, LogTail, Received, TableCounter, Tallied
from hosts.remote import changes
from hosts.remote.changes import Scope
from hosts.roles import Role

CANARIES = 3
"""The most of a sample."""
NEXT_SHARE = 0.25
"""How long after one canary the next is sent, as a share of the sample's seconds."""
LOG_SECONDS = 5.0
WORKER = "worker"
CONNECTION, LEAVE_OUT = (WORKER, "connection"), ("seconds", "worked_ns")
"""Fields of a server's line: which connection it is of, and those in which lines differ anyway."""
SURELY = 16
"""Connections for each worker, from which on none goes without: the kernel deals them out by a hash of their ports."""
NOW: dict[str, Counter] = {
    "sender_connections_now": TableCounter("/proc/net/snmp", "Tcp.CurrEstab"),
    "kernel_tls_now": FileCounter("/proc/net/tls_stat", r"^TlsCurrTxSw\s+(\d+)"),
    "card_tls_now": FileCounter("/proc/net/tls_stat", r"^TlsCurrTxDevice\s+(\d+)"),
}
"""How many connections there are on the sender at one moment, and how many of them the kernel's TLS and a card have."""


@dataclass(frozen=True)
class Canary:
    """A single transfer meanwhile: the file that it wrote, its bytes, what went wrong."""

    out: str
    received: int
    error: str | None


@dataclass(frozen=True)
class Ran:
    """A load that is over: what the generator told, the canaries, how many connections were seen meanwhile."""

    told: Told
    canaries: tuple[Canary, ...]
    seen: dict[str, int]
    spent: dict[Role, Spent]
    """By role; a host that could not be asked in time is missing."""


def take(
    opened: OpenTestbed,
    bench: Bench,
    cell: str,
    deployed: Deployed,
    payload: Payload,
    asked: Asked,
    block: int,
    place: int,
    warmup: bool,
    linked: Linked,
) -> Sample:
    """A sample of a cell; ``linked`` as in ``sampling.take``. What fails makes it invalid.

    Raises HostLost, and Refusal where nothing was measured.
    """
    over = asked.over(deployed)
    line = generator.argv(bench, deployed, payload, over)
    outs = [f"canary-{number}" for number in range(CANARIES)]
    opened.receiver.agent.make_room(outs, payload.size)
    with Scope(opened.sender) as scope:
        for change in deployed.during:
            scope.apply(change)
        before = looking.look(opened, [deployed])
        ran = _run(opened, deployed, payload, over, line, outs)
        after = looking.look(opened, [deployed])
    load = ran.told.load(len(ran.canaries))
    due = load.requests + len(ran.canaries)
    log = LogTail(deployed.log, before.of(deployed)["sender"].values[looking.LOG] or 0, due)
    tallied = opened.sender.agent.tally(log, CONNECTION, LEAVE_OUT, LOG_SECONDS)
    witness = _witness(deployed, payload, over, load, ran.told.cipher_suite, before, after, tallied, ran.seen)
    facts = witness.facts | ran.seen
    if asked.workers:
        facts["worker_processors"] = " ".join(map(str, bench.places(asked.workers)))
    facts |= {"operations": load.window_responses, "generator_full": load.generator_full}
    ok, spoiled = _checked(opened, deployed, payload, ran.canaries)
    answered = load.window_bytes / deployed.wire_bytes(payload.size)
    each_seconds = load.window_seconds / (answered + load.canaries)
    reasons = [generator.wrong(ran.told, load, over, deployed.tls), spoiled, witness.reason]
    reason = "; ".join(each for each in reasons if each) or linked(cell, after.links)
    start, end = before.of(deployed), after.of(deployed)

    def host(role: Role) -> HostSample:
        risen = looking.delta(start[role].values, end[role].values)
        counters = {name: value for name, value in risen.items() if name != looking.LOG}
        return spending.of_request(ran.spent.get(role), each_seconds, counters)

    return Sample(
        cell=cell,
        block=block,
        index=place,
        warmup=warmup,
        seconds=load.window_seconds / answered,
        bytes=payload.size,
        sha256_ok=ok,
        witness=facts,
        valid=reason is None,
        reason=reason,
        sender=host("sender"),
        receiver=host("receiver"),
        load=load,
    )


def _run(
    opened: OpenTestbed, deployed: Deployed, payload: Payload, asked: Asked, argv: Sequence[str], outs: Sequence[str]
) -> Ran:
    """Start the generator, send canaries while it runs, wait for its line. Raises HostLost, Refusal."""
    agent = opened.receiver.agent
    canaries: list[Canary] = []
    seen: dict[str, int] = {}
    name = f"{opened.receiver.directory}/load-{secrets.token_hex(4)}"
    out, err = f"{name}.out", f"{name}.err"
    timeout = link.deadline(payload.size * asked.connections, opened.links)
    with Scope(opened.receiver) as scope, ThreadPoolExecutor(1) as beside:
        scope.apply(changes.process("the generator of load", argv, out, err))
        said = agent.lines([LogTail(out, 0, 1)], asked.longest_seconds)[0]  # the window begins
        counted = beside.submit(spending.count, opened, asked.seconds)
        _look(opened, seen)  # a canary on busy hosts may outlast the window
        said = agent.lines([LogTail(out, 0, 2)], 0.0)[0]  # where that came too late, nothing of it counts
        while _goes_on(said) and len(canaries) < CANARIES:
            got = agent.fetch(deployed.url(payload.name), outs[len(canaries)], payload.size, timeout, deployed.tls)
            canaries.append(Canary(outs[len(canaries)], got.received_bytes, got.error))
            _look(opened, seen)
            time.sleep(NEXT_SHARE * asked.seconds)  # here: an agent that waits could not tell what its host spends
            said = agent.lines([LogTail(out, 0, 2)], 0.0)[0]
        spent = counted.result()  # before the agent waits for the end
        if _goes_on(said):
            said = agent.lines([LogTail(out, 0, 2)], asked.longest_seconds + timeout)[0]
    if not said or generator.begins(said[-1]):
        why = (opened.receiver.read([err])[err] or "").strip()
        raise Refusal(f"the generator of load told nothing: {why or 'it took too long'}", host=opened.receiver.name)
    return Ran(generator.parse(said[-1]), tuple(canaries), seen, spent)


def _look(opened: OpenTestbed, seen: dict[str, int]) -> None:
    """What of the sender is so now; the most of it is kept, and nothing of what it cannot tell."""
    for counter, value in opened.sender.agent.observe(NOW).values.items():
        if value is not None:
            seen[counter] = max(seen.get(counter, 0), value)


def _goes_on(said: Sequence[str]) -> bool:
    """Whether the window has begun and the generator has not told its end."""
    return len(said) == 1 and generator.begins(said[0])


def _witness(
    deployed: Deployed,
    payload: Payload,
    asked: Asked,
    load: Load,
    cipher_suite: str | None,
    before: Look,
    after: Look,
    tallied: Tallied,
    now: dict[str, int],
) -> Witness:
    """The path's own, of all requests; and before it the log's connections, which must be those that were opened.
    ``now``: what was seen in the middle of it."""
    start, end = before.of(deployed), after.of(deployed)
    risen = {role: looking.delta(start[role].values, end[role].values) for role in start}
    states = {role: looking.seen(start[role].states, end[role].states) for role in start}
    opened = load.opened + load.canaries
    said = deployed.verify(
        Observed(
            payload=payload.size,
            sender=risen["sender"],
            receiver=risen["receiver"],
            cipher_suite=cipher_suite,
            log=[line for alike in tallied.alike for line in [json.loads(alike.line)] * alike.count],
            requests=load.requests + load.canaries,
            connection=asked.reuse,
            connections=opened,
            sender_states=states["sender"],
            receiver_states=states["receiver"],
            load=Loaded(
                at_once=asked.connections,
                resumed=load.resumed,
                canaries=load.canaries,
                kernel_tls_now=now.get("kernel_tls_now"),
                card_tls_now=now.get("card_tls_now"),
            ),
        )
    )
    facts = said.facts | {"logged_connections": tallied.connections, "logged_workers": tallied.different[WORKER]}
    reason = said.reason or _not_by_all(asked, tallied.different[WORKER])
    if not reason and tallied.connections != opened:
        reason = f"the server's log has requests of {tallied.connections} connections, {opened} were made"
    if reason and (back := looking.went_back(deployed, start, end)):
        reason = back
    return Witness(facts, reason or looking.relinked(before, after))


def _not_by_all(asked: Asked, logged: int) -> str | None:
    """Why it were not as many workers that answered as were asked for, or None. Pure.

    Of few connections the kernel may deal a worker none.
    """
    due = asked.workers or 1
    if logged > due or (logged < due and asked.connections >= SURELY * due):
        return f"{logged} workers answered, not {due}"
    return None


def _checked(
    opened: OpenTestbed, deployed: Deployed, payload: Payload, canaries: Sequence[Canary]
) -> tuple[bool | None, str | None]:
    """Whether all canaries are the payload, and else why not; None where none came to be looked at."""
    if not canaries:
        return None, "the load was over before a single transfer could be checked"
    if failed := next((canary.error for canary in canaries if canary.error), None):
        return None, f"a single transfer meanwhile failed: {failed}"
    files = [Received(canary.out, canary.received) for canary in canaries]
    digested: list[Digested] = opened.receiver.agent.digest(files, deployed.decipher)
    for one in digested:
        if one.sha256 != payload.sha256:
            return False, f"payload of a single transfer meanwhile: {one.error or proof.OTHER_DIGEST}"
    return True, None
