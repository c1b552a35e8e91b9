"""Drives a night: gives Dask all of its errands, puts down what becomes of each, and what to do with those that were
lost. Dask decides what runs where and when."""

from __future__ import annotations

import fcntl
import os
import queue
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from distributed import Client, Future
from distributed.scheduler import KilledWorker

from harness import night as nights
from harness.night import Attempt, Entry, Night
from hosts.errors import ConfigError, Refusal
from suites.fleet import arrival, cluster, errand, rules
from suites.fleet.spool import Errand, Parcel

TICK_SECONDS = 2.0
SAVE_SECONDS = 1.0
LATE_SECONDS = 300.0
"""After the night's end: what is still under way then is no longer waited for."""
STOP_SECONDS = 26.0
"""What is under way when the night is told to end has this long to come home."""
SHORT_TELL_SECONDS = 3.0
"""Words to workers are waited for so long by a night that was told to end, or lost its scheduler."""
LOST = 5
"""So often an errand is asked for whose worker was lost, or whose record did not come home; the workers themselves see
to it that it runs once."""
FETCH_SECONDS = 300.0
"""A record is on its way so long at most; then its worker is taken for lost."""
AGAIN_SECONDS = 120.0
"""A scheduler whose connection was lost is looked for so long."""
PAUSE_SECONDS = 1.0
"""Between two tries."""
Said = Callable[[Night], None]


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a night: two programs that drive the same one would take each other's errands. Raises ConfigError."""
    folder.mkdir(parents=True, exist_ok=True)
    fd = os.open(folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise ConfigError(f"the night {folder.name} is driven by another program already") from None
    finally:
        os.close(fd)


@dataclass
class Drive:
    """One start of a night. ``said``: told the night whenever something became of it."""

    client: Client
    """Where the connection to the scheduler is lost, another takes its place (``connect``)."""
    night: Night
    results: Path
    patience: float
    """Seconds that a testbed may be offered by nobody."""
    said: Said
    connect: Callable[[], Client] | None = None
    """Makes another client, where the scheduler is another program. Raises ConfigError where it does not answer."""
    note: Callable[[str], None] = lambda _: None
    """Told what becomes of the connection to the scheduler."""
    _name: str = field(default_factory=lambda: secrets.token_hex(4))
    _news: queue.SimpleQueue[Any] = field(default_factory=queue.SimpleQueue)
    _asked: dict[str, tuple[Entry, int, Future]] = field(default_factory=dict)
    """By key of the task: the entry, the number of its attempt, and what will come of it."""
    _times: dict[tuple[str, str, int], int] = field(default_factory=dict)
    """How often an errand was asked for, by testbed, profile and attempt,"""
    _losses: dict[tuple[str, str, int], int] = field(default_factory=dict)
    """and how often nothing came of that."""
    _later: list[Entry] = field(default_factory=list)
    """What is asked for again at the next look: what is in the way may be gone by then."""
    _missing: dict[str, float] = field(default_factory=dict)
    """Since when a testbed is offered by nobody."""
    _stopping: bool = False
    _fresh: bool = False
    """Whether something became of an entry that is not put down yet,"""
    _saved: float = 0.0
    """and when that was done last."""
    _arrived: list[Parcel] = field(default_factory=list)
    """What is home, and its worker does not know."""
    _telling: list[threading.Thread] = field(default_factory=list)
    """What workers are being told."""

    @property
    def folder(self) -> Path:
        """Of the night."""
        return self.results / nights.FOLDER / self.night.night

    def run(self) -> None:
        """The whole night, or what is left of it. Ctrl-C ends it in order, and is raised again."""
        self.night.finished = None
        first = self.client
        self.client.subscribe_topic(errand.TOPIC, self._news.put)
        try:
            for entry in rules.to_do(self.night, datetime.now(UTC)):
                self._ask(entry)
            self._save()
            looked = time.monotonic()
            while self._asked or self._later:
                self._hear(TICK_SECONDS)
                if time.monotonic() - looked >= TICK_SECONDS:
                    self._look()
                    looked = time.monotonic()
        except KeyboardInterrupt:
            self._stop()
            raise
        finally:
            until = time.monotonic() + (SHORT_TELL_SECONDS if self._stopping or self._asked else arrival.TELL_SECONDS)
            for telling in self._telling:
                telling.join(max(0.0, until - time.monotonic()))
            if self.client.status == "running":
                self.client.unsubscribe_topic(errand.TOPIC)
            if self.client is not first:
                self._leave(self.client)
        self.night.finished = datetime.now(UTC)
        self._save()

    def _ask(self, entry: Entry) -> None:
        """Give Dask the errand of an entry's next attempt."""
        if entry.outcome != "running":
            entry.outcome, entry.reason = "waiting", None
        number = rules.begin(entry)
        wanted = Errand(
            self.night.night,
            entry.testbed,
            entry.profile,
            number,
            entry.minutes,
            self.night.ends,
            entry.quick,
            self._name,
        )
        same = entry.testbed, entry.profile, number
        times = self._times[same] = self._times.get(same, 0) + 1
        key = f"{entry.profile} on {entry.testbed} ({wanted.name}.{self._name}.{times})"
        future = arrival.ask(self.client, wanted, key, entry.priority)
        self._asked[key] = entry, number, future
        future.add_done_callback(self._news.put)

    def _hear(self, seconds: float) -> None:
        """Wait for news, take in what there is, and put it down; only then may workers forget what came home.

        The night is put down at most once in SAVE_SECONDS: with 1400 runs that takes an idle processor 30 ms, in which
        no other thread gets on. Where news come faster than they are taken in, what is known is put down all the
        same.
        """
        with suppress(queue.Empty):
            news = self._news.get(timeout=max(0.0, seconds))
            until = max(time.monotonic(), self._saved + SAVE_SECONDS)
            while True:
                if isinstance(news, Future):
                    self._ended(news)
                else:
                    self._began(news[1])
                now = time.monotonic()
                if now > until + TICK_SECONDS or not self._asked:
                    break
                news = self._news.get(timeout=max(0.0, until - now))
        if self._fresh:
            self._save()
        arrived, self._arrived = self._arrived, []
        for parcel in arrived:
            self._telling.append(arrival.tell(self.client, errand.home, parcel.errand, workers=[parcel.worker]))

    def _began(self, told: dict[str, Any]) -> None:
        """A worker says that a run began."""
        for entry, number, _ in self._asked.values():
            same = (entry.testbed, entry.profile, number) == (told["testbed"], told["profile"], told["attempt"])
            if same and told["drive"] == self._name:
                started = datetime.fromisoformat(told["started"])
                rules.note(entry, number, Attempt(run_id=told["run_id"], started=started, outcome="running"))
                self._fresh = True

    def _ended(self, future: Future) -> None:
        """A task ended: with what became of its errand, or since its worker or the scheduler was lost."""
        if future.key not in self._asked:
            return  # it was given up, or asked for by another client since
        if future.status == "cancelled":  # by nobody here: the connection was lost
            self._again()
            return
        entry, number, _ = self._asked.pop(future.key)
        error = future.exception() if future.status in ("error", "finished") else None
        if future.status == "finished":
            self._fetch(entry, number, future)
        elif future.status != "error" or isinstance(error, KilledWorker):
            self._lost(entry, number)
        else:
            reason = f"{type(error).__name__}: {error}"[:500]
            begun = rules.begun(entry, number)
            rules.note(entry, number, Attempt(run_id=begun, outcome="failed", reason=reason, home=begun is None))
        self._fresh = True

    def _fetch(self, entry: Entry, number: int, future: Future) -> None:
        """Take what came of an errand. Its worker, or the scheduler, may be lost before it is here."""
        try:
            parcel = future.result(FETCH_SECONDS)
        except (OSError, CancelledError):
            if self.client.status == "running":
                self._lost(entry, number)
            else:
                self._asked[future.key] = entry, number, future
                self._again()
        else:
            self._take(entry, number, parcel)

    def _lost(self, entry: Entry, number: int) -> None:
        """Ask again for an errand whose worker was lost: it, or the next one, says what became of the run."""
        if self._once_more(entry, number):
            self._ask(entry)
        else:
            reason = f"its worker was lost {LOST} times"
            rules.finish(entry, Attempt(outcome="unreachable", reason=reason, ended=datetime.now(UTC)))

    def _once_more(self, entry: Entry, number: int) -> bool:
        """Count that nothing came of asking for an attempt; whether to ask for it again."""
        same = entry.testbed, entry.profile, number
        self._losses[same] = self._losses.get(same, 0) + 1
        return self._losses[same] < LOST

    def _again(self) -> None:
        """The connection was lost: another client asks for all that is not answered. Workers say what they claimed.

        Dask would let the same client come back, by the same name. A scheduler that notes the loss of the old
        connection after the new one has come removes the new one (``Scheduler.add_client``, distributed 2026.8).
        """
        if self._stopping:
            self._part()
            return
        old, deadline = self.client, time.monotonic() + AGAIN_SECONDS
        self.note(f"the connection to the scheduler was lost; it is tried again for {AGAIN_SECONDS / 60:g} minutes")
        self._leave(old)
        while self.client is old:
            try:
                if self.connect is None or time.monotonic() > deadline:
                    raise Refusal(
                        "the scheduler was lost; what runs is ended by its workers, which keep the records",
                        next_step="start the scheduler, then the same night again: it goes on where it stopped",
                    )
                self.client = self.connect()
            except ConfigError:
                time.sleep(PAUSE_SECONDS)
        self.note("the scheduler is there: whatever is not answered is asked for again")
        self.client.subscribe_topic(errand.TOPIC, self._news.put)
        asked, self._asked = self._asked, {}
        for entry, _, _ in asked.values():
            self._ask(entry)

    def _part(self) -> None:
        """The night is told to end and has no scheduler: nothing comes home any more."""
        self._asked.clear()
        self.note(
            "the night ends without its scheduler: workers that lost it too end their runs, others may finish them, "
            "and all keep the records until they are asked for"
        )

    def _leave(self, client: Client) -> None:
        """Close a client, without waiting for whom it does not reach."""
        threading.Thread(target=cluster.leave, args=(client, SHORT_TELL_SECONDS), daemon=True).start()

    def _take(self, entry: Entry, number: int, parcel: Parcel) -> None:
        """What became of an errand: its record is written, the worker told so, and a lost run done again.

        A worker that knows of no run, where one was begun, has another disk: the record may be on the first one.
        """
        if parcel.run_id is None and (run_id := rules.begun(entry, number)):
            reason = f"its worker does not know the run {run_id}: {parcel.reason}"
            rules.finish(entry, Attempt(outcome="unreachable", reason=reason, ended=datetime.now(UTC)))
            return
        attempt = arrival.put_down(parcel, self.results, self.folder)
        rules.note(entry, number, attempt)
        if not attempt.home:
            if not self._stopping and self._once_more(entry, number):
                self._later.append(entry)
            return
        if parcel.run_id:
            self._arrived.append(parcel)
        # a run that was told to end was so by an earlier start of the night: this one does not stop
        wanted = parcel.cause == "told" or rules.again(entry, self.night.ends, datetime.now(UTC))
        if wanted and not self._stopping:
            self._ask(entry)

    def _look(self) -> None:
        """Ask again for what did not come home, and give up what nobody can run any more."""
        later, self._later = self._later, []
        for entry in later:
            self._ask(entry)
        if self.client.status != "running":
            self._again()
        now, clock = datetime.now(UTC), time.monotonic()
        there = cluster.offered(self.client)
        gone: set[str] = set()
        for bed in {entry.testbed for entry, _, _ in self._asked.values()}:
            if bed in there:
                self._missing.pop(bed, None)
            elif clock - self._missing.setdefault(bed, clock) >= self.patience:
                gone.add(bed)
        late = (now - self.night.ends).total_seconds() > LATE_SECONDS
        given_up = {key: asked for key, asked in self._asked.items() if late or asked[0].testbed in gone}
        if not given_up:
            return
        reason = f"no worker has offered it for {self.patience / 60:.3g} minutes"
        for key, (entry, _, _) in given_up.items():
            del self._asked[key]
            unreachable = Attempt(outcome="unreachable", reason=reason, ended=now)
            rules.finish(entry, unreachable if entry.testbed in gone else rules.over(entry, now))
        self.client.cancel([future for _, _, future in given_up.values()], force=True)
        self._save()

    def _stop(self) -> None:
        """End the night in order: nothing begins any more, what runs is ended, and what there is of it comes home."""
        self._stopping, deadline = True, time.monotonic() + STOP_SECONDS
        if self.client.status != "running":
            self._part()
            self._save()
            return
        waiting = {key: asked for key, asked in self._asked.items() if asked[0].outcome == "waiting"}
        for key in waiting:
            del self._asked[key]
        self.client.cancel([future for _, _, future in waiting.values()])
        self._telling.append(arrival.tell(self.client, errand.stop, self._name))
        while self._asked and time.monotonic() < deadline:
            self._hear(min(TICK_SECONDS, deadline - time.monotonic()))
        self._save()

    def _save(self) -> None:
        self._fresh, self._saved = False, time.monotonic()
        nights.write(self.folder, self.night)
        self.said(self.night)
