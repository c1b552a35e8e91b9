"""Files on a real file system: a directory of each host's own there during a suite, and a source that is cold.

The sender's file is out of memory when a transfer begins (``hosts/onhost/agent/cold.py``), and what stayed there makes
the sample invalid. The receiver writes a file that was empty, and a transfer ends when that is on its disk: what the
kernel kept to write later would be paid for by whichever path comes next.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from harness.api.bench import Bench, OnDisk, Payload
from harness.measuring.opened import OpenTestbed
from hosts import disks
from hosts.facts import Facts
from hosts.onhost.agent.values import Residency
from hosts.remote import changes

PATIENCE_SECONDS, SLOW_BYTES_PER_SECOND = 20.0, 10e6
"""So much longer than over the link a transfer may take by its disks."""
Fact = dict[str, int | float | str | bool | None]


def missing(*hosts: Facts) -> str | None:
    """Why these hosts have no disk for a suite's files, or None. Pure."""
    return "; ".join(f"the {facts.role} {facts.no_disk}" for facts in hosts if facts.no_disk) or None


def prepare(bench: Bench) -> Bench:
    """A bench whose files are on both hosts' disks, in directories that go with it. Raises HostLost, Refusal."""
    places = []
    for host, scope in ((bench.sender, bench.on_sender), (bench.receiver, bench.on_receiver)):
        places.append(f"{host.host.disk}/{disks.FOLDER}")
        scope.apply(changes.directory(places[-1]))
    sender, receiver = places
    return replace(bench, payload_directory=sender, disk=OnDisk(sender, receiver))


def payload(bench: Bench, size: int, seed: int) -> Payload:
    """The sender's file of ``size`` bytes on its disk: the same bytes as in memory. Raises HostLost, Refusal."""
    name = f"{size}.bin"
    return Payload(name, size, bench.sender.agent.make_payload(f"{bench.payload_directory}/{name}", size, seed + size))


def make_cold(opened: OpenTestbed, disk: OnDisk, payload: Payload, out: str) -> Residency:
    """Have the receiver's file ``out`` empty and the sender's out of memory; what of it stayed there.

    Raises HostLost, Refusal.
    """
    opened.receiver.check(["truncate", "--size=0", out])
    return opened.sender.agent.cool(f"{disk.sender}/{payload.name}")


def timeout(size: int) -> float:
    """Seconds that disks may take beyond the link."""
    return PATIENCE_SECONDS + size / SLOW_BYTES_PER_SECOND


def told(source: Residency, size: int, client: dict[str, Any] | None) -> tuple[Fact, str | None]:
    """What is kept of a transfer from disk to disk, and why it was none; None where it was. Pure."""
    synced = (client or {}).get("calls", {}).get("fsync", 0)
    facts: Fact = {"source_resident_bytes": source.resident_bytes}
    if source.resident_bytes:
        return facts, f"the source was not cold: {source.resident_bytes} of its bytes stayed in the sender's memory"
    if source.size_bytes != size:
        return facts, f"the source had {source.size_bytes} bytes, not {size}"
    if client is not None and synced != 1:
        return facts, f"the receiver's file was written to its disk {synced} times within the transfer, not once"
    return facts, None
