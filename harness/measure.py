"""One sample: time on the receiver, busy time and counters on both hosts, the payload checked."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from harness.bed import Bed, CpuMeter
from harness.bench import Payload
from harness.paths import Deployed, Observed, Witness
from harness.record import HostSample, Sample
from harness.setup import Connection

ALWAYS: dict[str, dict[str, Any]] = {
    "tcp_retransmitted_segments": {"table": "/proc/net/snmp", "field": "Tcp.RetransSegs"},
    "ip_truncated_packets": {"table": "/proc/net/netstat", "field": "IpExt.InTruncatedPkts"},
    "tls_tx_software": {"file": "/proc/net/tls_stat", "pattern": r"^TlsTxSw\s+(\d+)"},
}
"""Counters that every sample keeps, whatever the path."""

LOG = "log_size"
OUT = "payload.out"


@dataclass(frozen=True)
class Batch:
    """How a sample transfers its payload: ``requests`` times in a row, over connections as said."""

    requests: int = 1
    connection: Connection = "new"

    def over(self, deployed: Deployed) -> Batch:
        """The same for a path: where there is no TLS, there is no session to resume, only new connections."""
        return replace(self, connection="new") if self.connection == "resumed" and not deployed.tls else self


@dataclass(frozen=True)
class Judged:
    """A transfer looked at when its clock has stopped: what the server wrote, what the path's witness says."""

    sha256_ok: bool | None
    witness: Witness
    reason: str | None
    log: list[dict[str, Any]]
    delta: dict[str, dict[str, int | None]]

    @property
    def valid(self) -> bool:
        """Whether the payload arrived, and by the claimed path."""
        return bool(self.sha256_ok) and self.witness.reason is None


def take(
    bed: Bed, deployed: Deployed, payload: Payload, cell: str, block: int, index: int, warmup: bool, batch: Batch
) -> Sample:
    """Transfer ``payload`` once, or a batch of times.

    Raises HarnessError only when a host is lost; what fails is in the sample.
    """
    batch = batch.over(deployed)
    timeout = (20 + payload.size / 2e6) * (1 + batch.requests / 100)
    if batch.connection == "resumed":
        _prime(bed, deployed, payload, timeout)
    before = look(bed, deployed)
    outside = _read(bed.meter)
    got = _fetch(bed, deployed, payload, batch, timeout)
    outside_after = _read(bed.meter)
    after = look(bed, deployed)
    found = judged(bed, deployed, payload, batch, got, before, after)
    inside = {
        "sender": (before["sender"]["cpu_after"], after["sender"]["cpu_before"]),
        "receiver": (got["cpu_before"], got["cpu_after"]),
    }
    spent = {role: _spent(role, bed.meter, outside, outside_after, inside[role], found.delta[role]) for role in before}
    return Sample(
        cell=cell,
        block=block,
        index=index,
        warmup=warmup,
        seconds=got["seconds"] if got["error"] is None else None,
        handshake_seconds=got.get("handshake_seconds"),
        bytes=got["bytes"],
        sha256_ok=found.sha256_ok,
        witness=found.witness.facts,
        valid=found.valid,
        reason=found.reason,
        sender=spent["sender"],
        receiver=spent["receiver"],
        latencies_us=[round(value, 1) for value in got["latencies_us"]] if batch.requests > 1 else None,
    )


def look(bed: Bed, deployed: Deployed) -> dict[str, dict[str, Any]]:
    """Counters and busy time of both hosts, before a transfer or after it."""
    return {
        "sender": bed.sender.observe(ALWAYS | deployed.sender_counters | {LOG: {"size": deployed.log}}),
        "receiver": bed.receiver.observe(ALWAYS | deployed.receiver_counters),
    }


def judged(
    bed: Bed,
    deployed: Deployed,
    payload: Payload,
    batch: Batch,
    got: dict[str, Any],
    before: dict[str, dict[str, Any]],
    after: dict[str, dict[str, Any]],
) -> Judged:
    """Whether what was transferred between two looks is the payload, and came by the claimed path."""
    log = bed.sender.call(
        "lines",
        15.0,
        path=deployed.log,
        offset=before["sender"]["values"][LOG] or 0,
        count=batch.requests,
        timeout=3.0,
    )
    suite = (
        bed.receiver.call("suite", url=deployed.url(payload.name), tls=deployed.tls)
        if deployed.asks_suite and got["error"] is None
        else None
    )
    risen = {role: delta(before[role]["values"], after[role]["values"]) for role in before}
    lines = [json.loads(line) for line in log]
    witness = deployed.judge(
        Observed(
            payload=payload.size,
            sender=risen["sender"],
            receiver=risen["receiver"],
            log=lines,
            suite=suite,
            requests=batch.requests,
            connection=batch.connection,
            connections=got.get("connections"),
        )
    )
    sha256_ok, payload_reason = _checked(bed, deployed, payload, batch, got)
    reasons = [reason for reason in (got["error"], payload_reason, witness.reason) if reason]
    return Judged(sha256_ok, witness, "; ".join(reasons) or None, lines, risen)


def _prime(bed: Bed, deployed: Deployed, payload: Payload, timeout: float) -> None:
    """A full handshake, so that every request of the batch has a session to resume; over before anything is looked at.

    What goes wrong with it goes wrong with the batch too, and is told there.
    """
    offset = bed.sender.observe({LOG: {"size": deployed.log}})["values"][LOG] or 0
    bed.receiver.call(
        "prime",
        timeout + 15,
        url=deployed.url(payload.name),
        timeout=timeout,
        size=payload.size,
        sha256=payload.sha256,
        tls=deployed.tls,
    )
    bed.sender.call("lines", 15.0, path=deployed.log, offset=offset, count=1, timeout=3.0)


def _fetch(bed: Bed, deployed: Deployed, payload: Payload, batch: Batch, timeout: float) -> dict[str, Any]:
    url = deployed.url(payload.name)
    if batch.requests == 1:
        one: dict[str, Any] = bed.receiver.call(
            "fetch", timeout + 15, url=url, out=OUT, timeout=timeout, tls=deployed.tls
        )
        return one
    many: dict[str, Any] = bed.receiver.call(
        "fetch_many",
        timeout + 15,
        url=url,
        count=batch.requests,
        timeout=timeout,
        size=payload.size,
        sha256=payload.sha256,
        tls=deployed.tls,
        connection=batch.connection,
    )
    return many


def _checked(
    bed: Bed, deployed: Deployed, payload: Payload, batch: Batch, got: dict[str, Any]
) -> tuple[bool | None, str | None]:
    """Whether the payload arrived as it is at the source, and else why not; None after a failed transfer."""
    if got["error"] is not None:
        return None, None
    if batch.requests > 1:
        ok = bool(got["sha256_ok"])
        return ok, None if ok else "payload: a file's SHA-256 is not the one of the source"
    checked = bed.receiver.call("digest", 120.0, path=OUT, count=got["bytes"], cipher=deployed.decipher)
    if checked["sha256"] == payload.sha256:
        return True, None
    return False, f"payload: {checked.get('error') or 'its SHA-256 is not the one of the source'}"


def _read(meter: CpuMeter | None) -> dict[str, float]:
    return {role: meter.read(role) for role in ("sender", "receiver")} if meter else {}


def _spent(
    role: str,
    meter: CpuMeter | None,
    before: dict[str, float],
    after: dict[str, float],
    inside: tuple[dict[str, float], dict[str, float]],
    counters: dict[str, int | None],
) -> HostSample:
    if meter:
        seconds, resolution = after[role] - before[role], meter.resolution()
    else:
        seconds = inside[1]["busy_seconds"] - inside[0]["busy_seconds"]
        resolution = inside[0]["resolution_seconds"]
    kept = {name: value for name, value in counters.items() if name != LOG}
    return HostSample(cpu_seconds=max(0.0, seconds), cpu_resolution_seconds=resolution, counters=kept)


def delta(before: dict[str, int | None], after: dict[str, int | None]) -> dict[str, int | None]:
    """Differences; None where either end could not be read, or the counter went backwards (it is another one)."""
    risen: dict[str, int | None] = {}
    for name, end in after.items():
        start = before.get(name)
        risen[name] = end - start if start is not None and end is not None and end >= start else None
    return risen
