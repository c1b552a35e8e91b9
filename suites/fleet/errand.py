"""What a worker does: it runs one errand at a time on its testbed, in a process of its own, and keeps what comes of it.

A Dask task cannot be cancelled once it runs, and Dask repeats one silently whose worker was lost. So the run is a
process that a keeper watches (``suites/fleet/keeper.py``), and an errand that was claimed before is never run again:
the worker answers with what it left. Whether it is done again is decided, and counted, where the night is driven.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import platformdirs
from distributed import Worker, WorkerPlugin, get_worker

from harness.records import new_run_id
from suites.fleet import keeper, reservations, rules
from suites.fleet.spool import Errand, Parcel, Spool

ROOT = Path(__file__).parents[2]
PLUGIN = "pathproof-testbed"
TOPIC = "pathproof"
"""Of the events that tell the driver of a night that a run began."""
GRACE_SECONDS = 120.0
"""A run that nobody waits for has this long to end."""
TURN_SECONDS = GRACE_SECONDS + 30
"""So long an errand waits at least for the end of the run before it, whose worker was lost."""
LOOK_SECONDS = 1.0

Command = Callable[[Errand, str, str, Path], Sequence[str]]
"""``command(errand, source, run_id, results)``: what runs it. ``source``: the testbed's name or file here."""


def pytest_command(errand: Errand, source: str, run_id: str, results: Path) -> list[str]:
    """A run of a profile, as a person would start it."""
    command = [sys.executable, "-m", "pytest", str(ROOT / "suites"), "-q", "--rootdir", str(ROOT)]
    command += ["--profile", errand.profile, "--testbed", source]
    command += ["--results", str(results), "--run-id", run_id]
    return [*command, *(["--quick"] if errand.quick else [])]


def state() -> Path:
    """Where workers of this user keep what they have."""
    return platformdirs.user_state_path("pathproof") / "fleet"


class Site(WorkerPlugin):  # type: ignore[misc]
    """One testbed, as its worker has it. ``name`` is the fleet's for it, ``source`` a lab's name or a file."""

    name = PLUGIN

    def __init__(self, testbed: str, source: str, folder: Path, command: Command = pytest_command) -> None:
        self.testbed, self.source, self.command = testbed, source, command
        self.spool = Spool(folder, testbed)
        self._guard = threading.Lock()
        self._keeper: subprocess.Popen[bytes] | None = None
        self._drive = ""
        """Which start of a night the run under way belongs to."""
        self._stopped: set[str] = set()
        self._closing = threading.Event()

    def teardown(self, worker: Worker) -> None:
        """The worker ends, and so does its run."""
        self._closing.set()
        with self._guard:
            self._hang_up(b"")

    def stop(self, drive: str) -> None:
        """End the run that a start of a night asked for, and begin none that it asked for."""
        with self._guard:
            self._stopped.add(drive)
            if self._drive == drive:
                self._hang_up(keeper.TOLD)

    def _hang_up(self, word: bytes) -> None:
        if self._keeper is None or self._keeper.stdin is None or self._keeper.stdin.closed:
            return
        try:
            self._keeper.stdin.write(word)
            self._keeper.stdin.close()
        except BrokenPipeError:
            pass  # the run has just ended by itself

    def run(self, errand: Errand, began: Callable[[str, datetime], None]) -> Parcel:
        """Run an errand, or say what became of it where it was claimed before. ``began``: told the record's name."""
        lock = self._turn(errand)
        if isinstance(lock, Parcel):
            return lock
        try:
            claim = self.spool.claimed(errand)
            if claim is None:
                seconds = rules.seconds_left(errand.minutes, errand.ends, datetime.now(UTC))
                if seconds is None:
                    return Parcel(errand, "not run", "too little of the night was left")
                claim = self.spool.claim(errand, new_run_id(f"{errand.profile}-{errand.testbed}"))
                if claim is None:
                    raise RuntimeError(f"{errand.name} was claimed by somebody who does not hold {self.testbed}")
                began(claim.run_id, claim.started)
                self._keep(errand, claim.run_id, seconds, lock)
        finally:
            os.close(lock)
        # a run whose keeper was killed may still be ending, and until then its record is not whole
        if not reservations.idle(self.spool, TURN_SECONDS):
            raise RuntimeError(f"the run {claim.run_id} does not end on {self.testbed}, and nobody keeps it any more")
        return self.spool.parcel(errand, claim)

    def _turn(self, errand: Errand) -> int | Parcel:
        """Wait until the testbed is free and nobody has it: its lock. Or why the errand is not to be run.

        One that was claimed has run: it waits for the lock whatever is told, and is answered with what it left.
        """
        turns = 0.0
        while True:
            claim = self.spool.claimed(errand)
            if claim is None and (errand.drive in self._stopped or self._closing.is_set()):
                return Parcel(errand, "interrupted", "the night was told to end", "told")
            lock = self.spool.lock(LOOK_SECONDS)
            if lock is None:
                turns += LOOK_SECONDS
                left = rules.seconds_left(errand.minutes, errand.ends, datetime.now(UTC))
                if left is None and turns >= TURN_SECONDS:
                    if claim:
                        raise RuntimeError(f"a run is still under way on {self.testbed}: {claim.run_id} cannot be read")
                    return Parcel(errand, "not run", f"another run has been under way on {self.testbed} all the time")
                continue
            now = datetime.now(UTC)
            had = reservations.held(self.spool, now)
            if had is None or claim:
                return lock
            os.close(lock)
            if rules.seconds_left(errand.minutes, errand.ends, now) is None:
                return Parcel(errand, "not run", f"the testbed was reserved: {had}")
            self._closing.wait(LOOK_SECONDS)

    def _keep(self, errand: Errand, run_id: str, seconds: float, lock: int) -> None:
        """Run it, and come back when it has ended."""
        folder = self.spool.of(errand)
        command = self.command(errand, self.source, run_id, folder / "results")
        kept = [
            sys.executable,
            "-I",
            "-S",
            keeper.__file__,
            str(folder),
            str(lock),
            str(seconds),
            str(GRACE_SECONDS),
            *command,
        ]
        with self._guard:
            if errand.drive in self._stopped or self._closing.is_set():
                cause = "told" if errand.drive in self._stopped else "worker"
                keeper.put(folder / "ended.json", None, cause, seconds)  # it was claimed and never began
                return
            self._keeper = subprocess.Popen(
                kept, cwd=ROOT, stdin=subprocess.PIPE, pass_fds=[lock], start_new_session=True
            )
            self._drive = errand.drive
        self._keeper.wait()
        with self._guard:
            self._hang_up(b"")
            self._keeper = None


def do(errand: Errand) -> Parcel:
    """The Dask task: an errand on the testbed of the worker that it came to."""
    worker = get_worker()
    site: Site = worker.plugins[PLUGIN]

    def began(run_id: str, started: datetime) -> None:
        told = {"testbed": errand.testbed, "profile": errand.profile, "attempt": errand.attempt}
        worker.log_event(TOPIC, told | {"run_id": run_id, "started": started.isoformat(), "drive": errand.drive})

    return replace(site.run(errand, began), worker=worker.address)


def home(errand: Errand, dask_worker: Worker) -> None:
    """On a worker: the record of an errand is home."""
    dask_worker.plugins[PLUGIN].spool.forget(errand)


def stop(drive: str, dask_worker: Worker) -> None:
    """On a worker: a start of a night ends, and what it runs does."""
    site = dask_worker.plugins.get(PLUGIN)
    if site is not None:
        site.stop(drive)
