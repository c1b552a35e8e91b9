"""What transfers left behind, looked at when their clocks have stopped: logs, cipher suites, digests, witnesses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.api.bench import Payload
from harness.api.parameters import Connection
from harness.api.path import Deployed, Observed, Witness
from harness.measuring import disk, looking
from harness.measuring.looking import Look
from harness.measuring.opened import OpenTestbed
from hosts.onhost.agent.values import Digested, Fetched, Received, Residency
from hosts.roles import Role

OUT = "payload.out"
OTHER_DIGEST = "its SHA-256 is not the one of the source"
LOG_SECONDS = 3.0
"""How long the servers' lines about a block are waited for."""


@dataclass(frozen=True)
class Batch:
    """How a sample transfers its payload: ``requests`` times in a row, over connections as said."""

    requests: int = 1
    connection: Connection = "new"

    def over(self, deployed: Deployed) -> Batch:
        """The same for a path: where there is no TLS, there is no session to resume, only new connections."""
        return replace(self, connection="new") if self.connection == "resumed" and not deployed.tls else self


@dataclass(frozen=True)
class Busy:
    """What a host's processors spent, in seconds, and the step in which that is counted."""

    seconds: float
    resolution: float
    busiest: float | None = None
    """Of the one that was busiest, where there are several and the host told."""
    elsewhere: float | None = None
    """The share of it that may be neither host's, or the other's; None where it is the host's for certain."""


@dataclass(frozen=True)
class Transfer:
    """A transfer, or a batch of them, between two looks."""

    deployed: Deployed
    batch: Batch
    got: Fetched
    before: Look
    after: Look
    out: str = OUT
    """The file that it wrote, below the receiver's directory."""
    outside: dict[Role, Busy] | None = None
    """Busy time as it was seen from outside the hosts, where it was."""
    source: Residency | None = None
    """Of files on disk: how much of the source lay in the sender's memory when it began."""
    digested: Digested | None = None
    """Of what it wrote, where that is known already."""


@dataclass(frozen=True)
class Verified:
    """A transfer looked at when its clock has stopped: what the server wrote, what the path's witness says."""

    sha256_ok: bool | None
    witness: Witness
    reason: str | None
    log: list[dict[str, Any]]
    delta: dict[Role, dict[str, int | None]]

    @property
    def valid(self) -> bool:
        """Whether the payload arrived, and by the claimed path."""
        return bool(self.sha256_ok) and self.reason is None


def verify(opened: OpenTestbed, payload: Payload, transfers: Sequence[Transfer]) -> list[Verified]:
    """Whether what was transferred is the payload, and came by the claimed path. Raises HostLost, Refusal."""
    logs = _logs(opened, transfers)
    # not before the logs were read and the hosts looked at: asking makes connections
    cipher_suites = [_cipher_suite(opened, payload, made) for made in transfers]
    digested = digests(opened, transfers)
    return [_verified(payload, *one) for one in zip(transfers, logs, cipher_suites, digested, strict=True)]


def digests(opened: OpenTestbed, transfers: Sequence[Transfer]) -> list[Digested | None]:
    """SHA-256 of what transfers wrote, deciphered where it was enciphered; None of those that failed, and of batches.

    Deciphering is a function of its input: what a cipher text deciphers to is known where it has come before.
    """
    agent, known = opened.receiver.agent, opened.carried.deciphered
    due = [made for made in transfers if not made.digested and not made.got.error and made.batch.requests == 1]
    files = [Received(made.out, made.got.received_bytes) for made in due]
    found: dict[str, Digested] = {}
    for made, file, digested in zip(due, files, agent.digest(files) if files else [], strict=True):
        found[made.out] = digested
        if (how := made.deployed.decipher) and (received := digested.sha256):
            if (how, received) not in known:
                found[made.out] = deciphered = agent.digest([file], how)[0]
                if deciphered.sha256:
                    known[how, received] = deciphered.sha256
            else:
                found[made.out] = Digested(known[how, received], None)
    return [made.digested or found.get(made.out) for made in transfers]


def _logs(opened: OpenTestbed, transfers: Sequence[Transfer]) -> list[list[dict[str, Any]]]:
    """The lines that the servers wrote about each transfer. Of a log that several share, each has as many as are due.

    Nobody knows how many lines a transfer that failed makes: none are waited for.
    """
    sharing: dict[str, list[Transfer]] = {}
    for made in transfers:
        sharing.setdefault(made.deployed.log, []).append(made)
    tails = []
    for several in sharing.values():
        due = sum(made.batch.requests for made in several if not made.got.error)
        tails.append(looking.tail(several[0].deployed, several[0].before, due))
    read = opened.sender.agent.lines(tails, LOG_SECONDS)
    told = {log: [json.loads(line) for line in lines] for log, lines in zip(sharing, read, strict=True)}
    found = []
    for made in transfers:
        log, several = made.deployed.log, sharing[made.deployed.log]
        several.pop()
        count = made.batch.requests if several else len(told[log])  # an unexpected line is the last one's
        found.append(told[log][:count])
        told[log] = told[log][count:]
    return found


def _cipher_suite(opened: OpenTestbed, payload: Payload, made: Transfer) -> str | None:
    asked = made.deployed
    if not asked.asks_cipher_suite or not asked.tls or made.got.error:
        return None
    return opened.receiver.agent.agreed_cipher_suite(asked.url(payload.name), asked.tls)


def _verified(
    payload: Payload,
    made: Transfer,
    log: list[dict[str, Any]],
    cipher_suite: str | None,
    digested: Digested | None,
) -> Verified:
    before, after, batch = made.before.of(made.deployed), made.after.of(made.deployed), made.batch
    risen = {role: looking.delta(before[role].values, after[role].values) for role in before}
    states = {role: looking.seen(before[role].states, after[role].states) for role in before}
    client = json.loads(made.got.told) if made.got.told else None
    witness = made.deployed.verify(
        Observed(
            payload=payload.size,
            sender=risen["sender"],
            receiver=risen["receiver"],
            log=log,
            cipher_suite=cipher_suite,
            requests=batch.requests,
            connection=batch.connection,
            connections=made.got.connections,
            sender_states=states["sender"],
            receiver_states=states["receiver"],
            client=client,
        )
    )
    if witness.reason and (wrong := looking.went_back(made.deployed, before, after)):
        witness = replace(witness, reason=wrong)
    sha256_ok, payload_reason = _checked(payload, made, digested)
    relinked = looking.relinked(made.before, made.after)
    if relinked and not witness.reason:
        witness = replace(witness, reason=relinked)
    on_disk = None
    if made.source:
        facts, on_disk = disk.told(made.source, payload.size, client)
        witness = replace(witness, facts=witness.facts | facts)
    reasons = [reason for reason in (made.got.error, payload_reason, witness.reason, on_disk) if reason]
    return Verified(sha256_ok, witness, "; ".join(reasons) or None, log, risen)


def _checked(payload: Payload, made: Transfer, digested: Digested | None) -> tuple[bool | None, str | None]:
    """Whether the payload arrived as it is at the source, and else why not; None after a failed transfer."""
    if made.got.error is not None:
        return None, None
    if made.batch.requests > 1:
        ok = bool(made.got.sha256_ok)
        return ok, None if ok else "payload: a file's SHA-256 is not the one of the source"
    if digested and digested.sha256 == payload.sha256:
        return True, None
    why = digested.error if digested else None
    return False, f"payload: {why or OTHER_DIGEST}"
