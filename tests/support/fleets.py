"""Nights of a fleet whose runs are made up (``tests/support/made_up_run.py``), for tests of how errands travel.

``python -m tests.support.fleets worker SCHEDULER TLS STATE SECONDS TESTBED…``: a worker that offers these testbeds; a
run of the profile ``a`` takes so many seconds the first time. ``drive FOLDER SECONDS``: goes on with the night that was
begun there.
``schedule PORT TLS``: a scheduler by itself; it says its port (0: any) and lives until it is ended.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from distributed import Scheduler, Worker

from harness import night as nights
from harness.night import Entry, Night
from suites.fleet import cluster, rules
from suites.fleet.drive import Drive
from suites.fleet.errand import Site
from suites.fleet.spool import Errand
from tests.support import made_up_run

PAUSE_SECONDS = 1
"""Between two tries of a worker here to reach a scheduler."""


@dataclass
class MadeUp:
    """What a worker runs in a profile's place. ``outcome`` and ``seconds``, those of a first attempt, by profile."""

    seconds: dict[str, float] = field(default_factory=dict)
    outcome: dict[str, str] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)

    def __call__(self, errand: Errand, source: str, run_id: str, results: Path) -> list[str]:
        self.calls.append(f"{errand.profile} on {errand.testbed}")
        seconds = 0.0 if errand.attempt else self.seconds.get(errand.profile, 0.0)
        told = str(seconds), self.outcome.get(errand.profile, "complete")
        return [sys.executable, made_up_run.__file__, str(results), run_id, errand.testbed, errand.profile, *told]


def begun(log: Path) -> None:
    """Wait until the made-up run that prints to ``log`` is under way and has a record."""
    deadline = time.monotonic() + 60
    while not (log.exists() and log.read_bytes()):
        assert time.monotonic() < deadline, f"the run of {log} has not begun"
        time.sleep(0.02)


def entry(testbed: str, profile: str, minutes: float = 1.0, priority: int = 0) -> Entry:
    """What a night is to do."""
    return Entry(testbed=testbed, profile=profile, minutes=minutes, priority=priority)


def night(*entries: Entry, hours: float = 1.0) -> Night:
    """A night that begins now."""
    return rules.new("made-up", hours, entries, datetime.now(UTC))


def drive(night: Night, folder: Path, command: MadeUp, testbeds: Sequence[str], patience: float = 60.0) -> Night:
    """Drive a night on a cluster in this process; records go to ``folder/results``, spools to ``folder/state``."""
    sites = [Site(name, name, folder / "state", command) for name in testbeds]
    with cluster.local(sites) as client:
        Drive(client, night, folder / "results", patience, lambda _: None).run()
    return night


async def close(dask_worker: Worker) -> None:
    """On a worker: it ends, as one does whose connection is lost."""
    await dask_worker.close()


def main(what: str, *told: str) -> None:
    """A worker, or a night that is driven, in a process of its own."""
    if what == "drive":
        folder = Path(told[0])
        begun = nights.read(nights.folders(folder / "results")[-1])
        drive(begun, folder, MadeUp(seconds={"a": float(told[1])}), sorted({one.testbed for one in begun.entries}))
        return
    if what == "schedule":
        asyncio.run(schedule(int(told[0]), Path(told[1])))
        return
    address, tls, state, seconds, *beds = told
    cluster.PAUSE_SECONDS = PAUSE_SECONDS
    sites = [partial(Site, bed, bed, Path(state), MadeUp(seconds={"a": float(seconds)})) for bed in beds]
    asyncio.run(cluster.serve(address, cluster.security(Path(tls)), sites, partial(print, flush=True)))


async def schedule(port: int, tls: Path) -> None:
    """Be a scheduler, until this process ends."""
    security = cluster.security(tls)
    one = Scheduler(host="127.0.0.1", port=port, protocol="tls://", security=security, dashboard=False)
    await one
    print(one.port, flush=True)
    await one.finished()


if __name__ == "__main__":
    main(*sys.argv[1:])
