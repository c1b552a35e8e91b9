"""How workers are asked for a run, and how what became of it comes home: what a night puts down of it, and what earlier
nights left at workers."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from contextlib import suppress
from pathlib import Path

from distributed import Client, Future, wait
from distributed.scheduler import KilledWorker

from harness import night as nights
from harness.night import Attempt, Night
from harness.records import point
from hosts.errors import HarnessError
from suites.fleet import cluster, errand, rules, spool
from suites.fleet.spool import Errand, Parcel

LEFT_SECONDS = 60.0
"""What is left of a night before this one is waited for so long: it is there, or a run is just ending."""
LEFT_PRIORITY = 1_000_000
"""It is asked for before anything is run."""
TELL_SECONDS = 30.0
"""Words to workers are waited for so long."""


def ask(client: Client, wanted: Errand, key: str, priority: int) -> Future:
    """Have an errand done by whoever offers its testbed, which does one thing at a time; Dask does not repeat it."""
    where = {wanted.testbed: 1}
    return client.submit(errand.do, wanted, key=key, resources=where, priority=priority, retries=0, pure=False)


def put_down(parcel: Parcel, results: Path, folder: Path) -> Attempt:
    """Write the record and the log that came home to a night's ``folder``; what the night knows of the attempt.

    What cannot be written, or is not what was sent, is not home: its worker keeps it.
    """
    attempt = Attempt(
        run_id=parcel.run_id,
        started=parcel.started,
        ended=parcel.ended,
        outcome=parcel.outcome,
        reason=parcel.reason,
        cause=parcel.cause,
        home=True,
    )
    try:
        if parcel.record:
            spool.deliver(parcel, results, folder / "incoming")
            attempt.sha256 = parcel.sha256
            if parcel.outcome == "complete":
                with suppress(OSError):  # some file systems have no symbolic links
                    point(results, str(parcel.run_id))
        if parcel.log:
            attempt.log = f"{parcel.errand.testbed}-{parcel.errand.profile}-{parcel.errand.attempt + 1}.log"
            (folder / attempt.log).write_text(parcel.log, encoding="utf-8")
    except (HarnessError, OSError) as error:
        attempt.outcome, attempt.cause, attempt.home, attempt.sha256 = "failed", None, False, None
        attempt.reason = f"it did not come home, and its worker keeps it: {error}"
    return attempt


def fetch(client: Client, night: Night, results: Path) -> list[str]:
    """Bring home what workers that are there now have of a night before this one; the names of the records.

    Nothing is run for it: no time is left of that night.
    """
    folder = results / nights.FOLDER / night.night
    there, token = cluster.offered(client), secrets.token_hex(4)
    asked = []
    for entry in night.entries:
        if rules.unanswered(entry) and entry.testbed in there:
            number = rules.begin(entry)
            wanted = Errand(night.night, entry.testbed, entry.profile, number, entry.minutes, night.started)
            key = f"left of {wanted.name} on {entry.testbed} ({token})"
            asked.append((entry, number, ask(client, wanted, key, LEFT_PRIORITY)))
    if not asked:
        return []
    with suppress(TimeoutError):
        wait([future for _, _, future in asked], timeout=LEFT_SECONDS)
    came = []
    for entry, number, future in asked:
        if future.status == "finished":
            with suppress(OSError, CancelledError, KilledWorker):  # another night asks again
                parcel = future.result(LEFT_SECONDS)
                if parcel.run_id and (attempt := put_down(parcel, results, folder)).home:
                    rules.note(entry, number, attempt)
                    came.append(parcel)
        future.release()
    if came:
        nights.write(folder, night)
    for telling in [tell(client, errand.home, parcel.errand, workers=[parcel.worker]) for parcel in came]:
        telling.join(TELL_SECONDS)
    return [str(parcel.run_id) for parcel in came]


def tell(
    client: Client, function: Callable[..., None], *arguments: object, workers: list[str] | None = None
) -> threading.Thread:
    """Have workers, or all, do something beside their tasks, told by a thread that is returned. Those that are gone are
    not waited for."""

    def run() -> None:
        with suppress(OSError, CancelledError):  # the scheduler is gone: a worker keeps what it has
            client.run(function, *arguments, workers=workers, on_error="ignore")

    telling = threading.Thread(target=run, daemon=True)
    telling.start()
    return telling
