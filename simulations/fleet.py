"""What a night of many testbeds costs besides its runs, and what is lost where workers are: made-up runs that sleep.

``python -m simulations.fleet DIR [--testbeds 100] [--profiles 14] [--seconds 20] [--processes 20] [--lose 1]``

Workers are processes as at sites, with several testbeds each, on this machine, with TLS. ``--lose`` of these processes
are killed at random times and started again.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import logging
import os
import random
import resource
import shlex
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from distributed import Scheduler, SpecCluster

from harness import records
from harness.night import Entry, Night
from suites.fleet import cluster, rules
from suites.fleet.drive import Drive
from suites.fleet.errand import Site
from suites.fleet.spool import Errand

DATA = Path(__file__).parents[1] / "tests" / "data" / "gigabit-3des"
RUN = """
mkdir -p {run} && cp {data}/samples.jsonl {data}/blocks.jsonl {run}/ && sleep {seconds} &&
sed 's/"run_id": "[^"]*"/"run_id": "{name}"/' {data}/run.json >{run}/run.json
"""


def made_up(seconds: float, _errand: Errand, _source: str, run_id: str, results: Path) -> Sequence[str]:
    """A shell that sleeps and leaves a copy of the small real record."""
    run = shlex.quote(str(results / run_id))
    return ["sh", "-c", RUN.format(run=run, data=shlex.quote(str(DATA)), seconds=seconds, name=run_id)]


def serve(address: str, tls: Path, state: Path, seconds: float, testbeds: Sequence[str]) -> None:
    """A worker's process."""
    command = partial(made_up, seconds)
    sites = [partial(Site, name, name, state, command) for name in testbeds]
    asyncio.run(cluster.serve(address, cluster.security(tls), sites, lambda _: None))


def start(address: str, folder: Path, seconds: float, testbeds: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start one."""
    tls, state = folder / "tls", folder / "state"
    told = [address, str(tls), str(state), str(seconds), *testbeds]
    return subprocess.Popen([sys.executable, "-m", "simulations.fleet", "worker", *told], stderr=subprocess.DEVNULL)


def night(testbeds: Sequence[str], profiles: int) -> Night:
    """Every profile on every testbed."""
    entries = [Entry(testbed=bed, profile=f"profile-{n:02d}", minutes=30) for n in range(profiles) for bed in testbeds]
    return rules.new("simulated", 8, entries, datetime.now(UTC))


def simulate(
    folder: Path, testbeds: int, profiles: int, seconds: float, processes: int, lose: int
) -> dict[str, object]:
    """One night; what it cost."""
    folder.mkdir(parents=True)
    cluster.certificates(folder / "tls")
    security = cluster.security(folder / "tls")
    names = [f"bed-{n:03d}" for n in range(testbeds)]
    parts = [names[n::processes] for n in range(processes)]
    one = night(names, profiles)
    options = {"host": "127.0.0.1", "protocol": "tls://", "security": security, "dashboard": False}
    scheduler_spec = {"cls": Scheduler, "options": options}
    with SpecCluster(scheduler=scheduler_spec, security=security, silence_logs=logging.CRITICAL) as scheduler:
        address = scheduler.scheduler_address
        workers = [start(address, folder, seconds, part) for part in parts]
        timers: list[threading.Timer] = []
        try:
            connect = partial(cluster.remote, address, folder / "tls")
            with cluster.connected(connect) as client:
                while len(cluster.offered(client)) < testbeds:
                    time.sleep(0.5)
                rng = random.Random(2005)
                for n in rng.sample(range(processes), lose):
                    again = partial(start, address, folder, seconds, parts[n])
                    when = rng.uniform(0.2, 0.8) * profiles * seconds
                    timers.append(threading.Timer(when, _lose, [workers, n, again]))
                    timers[-1].start()
                began = time.monotonic()
                one.started = datetime.now(UTC)
                Drive(client, one, folder / "results", 300, lambda _: None, connect).run()
                took = time.monotonic() - began
        finally:
            for timer in timers:
                timer.cancel()
            for process in workers:
                process.terminate()
            for process in workers:
                process.wait(90)
    return told(one, folder, took, profiles * seconds)


def _lose(workers: list[subprocess.Popen[bytes]], n: int, again: Callable[[], subprocess.Popen[bytes]]) -> None:
    workers[n].kill()
    workers[n].wait()
    workers[n] = again()


def told(one: Night, folder: Path, took: float, ideal: float) -> dict[str, object]:
    """What a night cost, and whether anything was lost, or run and not counted."""
    attempts = [attempt for entry in one.entries for attempt in entry.attempts]
    known = {attempt.run_id for attempt in attempts if attempt.run_id}
    claimed = {json.loads(path.read_bytes())["run_id"] for path in (folder / "state").glob("*/*/claim.json")}
    home = {path.name for path in records.list_runs(folder / "results")}
    gaps = []
    for bed in {entry.testbed for entry in one.entries}:
        mine = sorted(
            (attempt.started, attempt.ended) for entry in one.entries if entry.testbed == bed
            for attempt in entry.attempts if attempt.started and attempt.ended and not attempt.cause
        )  # fmt: skip
        gaps += [(b[0] - a[0]).total_seconds() for a, b in itertools.pairwise(mine)]
    return {
        "runs": len(one.entries),
        "complete": sum(entry.outcome == "complete" for entry in one.entries),
        "attempts": len(attempts),
        "interrupted": sum(attempt.outcome == "interrupted" for attempt in attempts),
        "run and not counted": len(claimed - known),
        "run to its end more than once": sum(
            sum(attempt.outcome == "complete" for attempt in entry.attempts) > 1 for entry in one.entries
        ),
        "complete and not home": len({e.run_id for e in one.entries if e.outcome == "complete"} - home),
        "seconds": round(took, 1),
        "ideal seconds": ideal,
        "seconds from a run's begin to the next one's, median": round(statistics.median(gaps), 2) if gaps else None,
        "and the longest": round(max(gaps), 2) if gaps else None,
        "peak MiB of scheduler and driver": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "processor seconds of scheduler and driver": round(time.process_time(), 1),
        "load of this machine": round(os.getloadavg()[1], 1),
    }


def main(argv: Sequence[str]) -> None:
    """Simulate a night, or be one of its workers."""
    if argv[:1] == ["worker"]:
        address, tls, state, seconds, *testbeds = argv[1:]
        serve(address, Path(tls), Path(state), float(seconds), testbeds)
        return
    parser = argparse.ArgumentParser(prog="python -m simulations.fleet", description=__doc__)
    parser.add_argument("folder", type=Path, help="must not exist yet")
    parser.add_argument("--testbeds", type=int, default=100)
    parser.add_argument("--profiles", type=int, default=14)
    parser.add_argument("--seconds", type=float, default=20.0, help="that a run takes")
    parser.add_argument("--processes", type=int, default=20, help="of workers")
    parser.add_argument("--lose", type=int, default=0, help="processes that are killed, and started again")
    options = parser.parse_args(argv)
    found = simulate(
        options.folder, options.testbeds, options.profiles, options.seconds, options.processes, options.lose
    )
    for name, value in found.items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    main(sys.argv[1:])
