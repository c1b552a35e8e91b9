"""A night on Dask: errands go out and records come home, whatever is lost between. The runs are made up."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import paramiko
import pytest

pytest.importorskip("distributed")

from distributed import Client, Scheduler, SpecCluster

from harness import night as nights
from harness import records
from harness.night import Attempt, Night
from hosts.errors import ConfigError, Refusal
from suites.fleet import arrival, cluster, reservations, rules
from suites.fleet import drive as drives
from suites.fleet import errand as errands
from suites.fleet.drive import Drive, alone
from suites.fleet.errand import Site, pytest_command
from suites.fleet.spool import Errand, Spool
from tests.support import commands, fleets
from tests.support.fleets import MadeUp, begun, drive, entry, night

ROOT = Path(__file__).parents[2]
LOST_CONNECTIONS = 2


def outcomes(one: Night) -> dict[str, str]:
    """By testbed and profile."""
    return {f"{entry.testbed} {entry.profile}": entry.outcome for entry in one.entries}


def log(folder: Path, night: Night, testbed: str, profile: str) -> Path:
    """What a run prints to, of the first attempt."""
    return folder / "state" / testbed / f"{night.night}.{profile}.0" / "log"


def test_every_row_has_its_outcome_and_every_record_is_home(tmp_path: Path) -> None:
    made_up = MadeUp(outcome={"b": "lost", "c": "nothing"})
    one = night(*(entry(bed, name) for name in "abc" for bed in ("x", "y")), entry("gone", "a"))
    drive(one, tmp_path, made_up, ["x", "y"], patience=1.0)
    assert outcomes(one) == {
        "x a": "complete", "x b": "unreachable", "x c": "failed", "gone a": "unreachable",
        "y a": "complete", "y b": "unreachable", "y c": "failed",
    }  # fmt: skip
    assert len(made_up.calls) == 6
    assert one.entries[-1].reason == "no worker has offered it for 0.0167 minutes"
    runs = {path.name for path in records.list_runs(tmp_path / "results")}
    assert runs == {entry.run_id for entry in one.entries if entry.run_id} and len(runs) == 4
    assert nights.read(tmp_path / "results" / "nights" / one.night) == one
    assert one.finished
    left = list((tmp_path / "state").glob("*/*/results/*"))
    soon = time.monotonic() + 20
    while [path for path in left if path.exists()] and time.monotonic() < soon:
        time.sleep(0.05)
    assert not [path for path in left if path.exists() and (path / "run.json").exists()], "what is home is not kept"


def test_on_one_testbed_one_run_at_a_time_those_of_higher_priority_first(tmp_path: Path) -> None:
    made_up = MadeUp(seconds=dict.fromkeys("abcd", 0.2))
    one = night(*(entry("x", name, priority=n) for n, name in enumerate("abcd")))
    locks = [Spool(tmp_path / "state", "x").lock()]

    def begin_once_all_are_asked(_: Night) -> None:
        while lock := locks.pop() if locks else None:
            os.close(lock)

    with cluster.local([Site("x", "x", tmp_path / "state", made_up)]) as client:
        Drive(client, one, tmp_path / "results", 60, begin_once_all_are_asked).run()
    times = sorted((a.started, a.ended, e.profile) for e in one.entries for a in e.attempts)
    assert [name for _, _, name in times][1:] == ["d", "c", "b"] or [name for *_, name in times] == ["d", "c", "b", "a"]
    assert set(outcomes(one).values()) == {"complete"}


class Lost(MadeUp):
    """Loses the worker's run the first time: its keeper sees the worker's end, as if that had been killed."""

    def __call__(self, *arguments: object) -> list[str]:
        command = super().__call__(*arguments)  # type: ignore[arg-type]
        return command if len(self.calls) > 1 else ["sh", "-c", "kill -9 $PPID; exec sleep 600"]


def test_a_lost_run_is_done_once_more_and_both_are_counted(tmp_path: Path) -> None:
    one = night(entry("x", "a"))
    made_up = Lost()
    drive(one, tmp_path, made_up, ["x"])
    first, second = one.entries[0].attempts
    assert (first.outcome, first.cause, second.outcome) == ("interrupted", "worker", "complete")
    assert first.run_id != second.run_id and len(made_up.calls) == 2


def test_what_was_claimed_is_answered_and_never_run_again(tmp_path: Path) -> None:
    """As Dask repeats a task whose worker it lost, and as a night is started again."""
    made_up = MadeUp()
    site = Site("x", "x", tmp_path / "state", made_up)
    one = Errand("tonight", "x", "a", 0, 1.0, datetime.now(UTC) + timedelta(hours=1))
    began: list[str] = []
    first = site.run(one, lambda run_id, _: began.append(run_id))
    assert first.outcome == "complete" and first.record and began == [first.run_id]
    assert site.run(one, lambda run_id, _: began.append(run_id)) == first
    assert len(made_up.calls) == len(began) == 1


def test_a_worker_that_was_killed_before_it_had_claimed_a_run_hinders_nobody(tmp_path: Path) -> None:
    site = Site("x", "x", tmp_path, MadeUp())
    one = Errand("tonight", "x", "a", 0, 1.0, datetime.now(UTC) + timedelta(hours=1))
    site.spool.of(one).mkdir()
    assert site.run(one, lambda *_: None).outcome == "complete"


def test_a_night_that_ends_between_claim_and_begin_leaves_a_run_to_be_done_again(tmp_path: Path) -> None:
    made_up = MadeUp(seconds={"a": 600.0})
    site = Site("x", "x", tmp_path, made_up)
    one = Errand("tonight", "x", "a", 0, 1.0, datetime.now(UTC) + timedelta(hours=1), drive="this")
    parcel = site.run(one, lambda *_: site.stop("this"))
    assert (parcel.outcome, parcel.cause, parcel.reason) == ("interrupted", "told", "the night was told to end")
    assert site.run(replace(one, drive="next"), lambda *_: None) == replace(parcel, errand=replace(one, drive="next"))
    assert not list(tmp_path.rglob("run.json"))


@pytest.mark.parametrize("closing", [False, True])
def test_a_night_that_is_told_to_end_while_a_lost_run_does_is_told_of_that_run(tmp_path: Path, closing: bool) -> None:
    """Its worker was killed; the next one waits for the testbed when the night, or that worker too, is to end."""
    made_up = MadeUp()
    site = Site("x", "x", tmp_path, made_up)
    one = Errand("tonight", "x", "a", 0, 1.0, datetime.now(UTC) + timedelta(hours=1), drive="this")
    claim, lock = site.spool.claim(one, "the-run"), site.spool.lock()
    assert claim and lock is not None
    if closing:
        site.teardown(None)
    else:
        site.stop("this")
    ending = threading.Timer(0.5, os.close, [lock])
    ending.start()
    parcel = site.run(one, lambda *_: None)
    ending.join()
    assert (parcel.run_id, parcel.outcome, parcel.cause) == ("the-run", "interrupted", "worker")
    assert not made_up.calls


def test_a_claimed_run_is_not_said_to_be_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not end, and its night is over."""
    monkeypatch.setattr(errands, "TURN_SECONDS", 1.0)
    site = Site("x", "x", tmp_path, MadeUp())
    one = Errand("tonight", "x", "a", 0, 1.0, datetime.now(UTC))
    claim, lock = site.spool.claim(one, "the-run"), site.spool.lock()
    assert claim and lock is not None
    with pytest.raises(RuntimeError, match="a run is still under way on x: the-run cannot be read"):
        site.run(one, lambda *_: None)
    assert site.run(replace(one, attempt=1), lambda *_: None).outcome == "not run"
    os.close(lock)


def test_a_worker_that_does_not_know_a_run_does_not_make_the_night_forget_it(tmp_path: Path) -> None:
    """It has another disk than the worker that began it, which may still have the record."""
    one = night(entry("x", "a"))
    one.ends = datetime.now(UTC)
    rules.note(one.entries[0], 0, Attempt(run_id="the-run", started=one.started, outcome="running"))
    drive(one, tmp_path, MadeUp(), ["x"])
    [attempt] = one.entries[0].attempts
    assert (attempt.run_id, attempt.outcome, attempt.home) == ("the-run", "interrupted", False)
    assert outcomes(one) == {"x a": "unreachable"}
    assert rules.unanswered(one.entries[0]), "the next night asks for it"


def test_a_run_that_does_not_end_is_not_taken_for_one_that_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has left its group, and nobody keeps it: its record may change yet."""
    monkeypatch.setattr(errands, "TURN_SECONDS", 0.2)
    site = Site("x", "x", tmp_path, lambda *_: ["sh", "-c", "setsid sleep 4 & sleep 1"])
    one = Errand("tonight", "x", "a", 0, 1.0, datetime.now(UTC) + timedelta(hours=1))
    with pytest.raises(RuntimeError, match=r"the run .* does not end on x"):
        site.run(one, lambda *_: None)


def test_a_record_that_cannot_be_written_is_asked_for_again(tmp_path: Path) -> None:
    one = night(entry("x", "a"))
    made_up, hindrance = MadeUp(), tmp_path / "results" / nights.FOLDER / one.night / "incoming"
    hindrance.parent.mkdir(parents=True)
    hindrance.touch()
    reasons = []

    def mend(told: Night) -> None:
        if told.entries[0].attempts and (reason := told.entries[0].attempts[0].reason):
            reasons.append(reason)
            hindrance.unlink(missing_ok=True)

    with cluster.local([Site("x", "x", tmp_path / "state", made_up)]) as client:
        Drive(client, one, tmp_path / "results", 60, mend).run()
    assert outcomes(one) == {"x a": "complete"} and len(one.entries[0].attempts) == 1
    assert reasons[0].startswith("it did not come home, and its worker keeps it: ")
    assert made_up.calls == ["a on x"] and len(records.list_runs(tmp_path / "results")) == 1


def test_what_an_earlier_night_left_at_a_worker_comes_home(tmp_path: Path) -> None:
    """Its testbed was away when that night ended."""
    one = night(entry("x", "a"), entry("x", "b"), entry("gone", "a"))
    made_up, results = MadeUp(), tmp_path / "results"
    site = Site("x", "x", tmp_path / "state", made_up)
    wanted = Errand(one.night, "x", "a", 0, 1.0, datetime.now(UTC) + timedelta(hours=1))
    left = site.run(wanted, lambda *_: None)
    for row in one.entries:
        rules.note(row, 0, Attempt(run_id=left.run_id if row is one.entries[0] else "x", outcome="running"))
        rules.finish(row, Attempt(outcome="unreachable", reason="no worker has offered it", ended=one.ends))
    with cluster.local([site]) as client:
        assert arrival.fetch(client, one, results) == [left.run_id]
        assert arrival.fetch(client, one, results) == []
    read = nights.read(results / nights.FOLDER / one.night)
    assert outcomes(read) == {"x a": "complete", "x b": "unreachable", "gone a": "unreachable"}
    assert read.entries[0].attempts[0].sha256 == left.sha256
    assert [path.name for path in records.list_runs(results)] == [left.run_id]
    assert made_up.calls == ["a on x"], "nothing is run for a night that is over"
    assert not (site.spool.of(wanted) / "results").exists(), "its worker knows"


def test_a_reserved_testbed_is_waited_for(tmp_path: Path) -> None:
    one = night(entry("x", "a"))
    until = datetime.now(UTC) + timedelta(seconds=2)
    reservations.reserve(Spool(tmp_path / "state", "x"), "anna", until)
    drive(one, tmp_path, MadeUp(), ["x"])
    assert outcomes(one) == {"x a": "complete"}
    assert one.entries[0].attempts[0].started and one.entries[0].attempts[0].started >= until


def test_a_testbed_that_stays_reserved_is_a_row(tmp_path: Path) -> None:
    one = night(entry("x", "a", minutes=60))
    one.ends = datetime.now(UTC) + timedelta(minutes=15, seconds=2)
    reservations.drain(Spool(tmp_path / "state", "x"), "anna")
    made_up = MadeUp()
    drive(one, tmp_path, made_up, ["x"])
    assert outcomes(one) == {"x a": "not run"} and made_up.calls == []
    assert one.entries[0].reason in (
        "the testbed was reserved: anna has it until it is released",
        "too little of the night was left",
    )


def test_when_the_night_is_over_a_run_that_was_begun_could_not_be_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its worker was lost shortly before."""
    monkeypatch.setattr(drives, "LATE_SECONDS", 0.0)
    one = night(entry("gone", "a"), entry("gone", "b"))
    one.ends = datetime.now(UTC)
    rules.note(one.entries[0], 0, Attempt(run_id="the-run", started=one.started, outcome="running"))
    drive(one, tmp_path, MadeUp(), ["x"])
    assert [(row.outcome, row.reason) for row in one.entries] == [
        ("unreachable", "the night was over, and no worker had said what became of its run"),
        ("not run", "the night was over"),
    ]
    assert [attempt.run_id for attempt in one.entries[0].attempts] == ["the-run"] and not one.entries[1].attempts


def test_a_night_is_driven_by_one_program(tmp_path: Path) -> None:
    with alone(tmp_path), pytest.raises(ConfigError, match="is driven by another program already"), alone(tmp_path):
        pass


def test_ctrl_c_ends_all_in_order_and_the_same_night_goes_on(tmp_path: Path) -> None:
    one = night(entry("x", "a"), entry("x", "b"), entry("y", "a"))
    made_up = MadeUp(seconds={"a": 600.0})
    sites = [Site(name, name, tmp_path / "state", made_up) for name in ("x", "y")]
    stopped: list[threading.Thread] = []

    def stop() -> None:
        for bed in ("x", "y"):
            begun(log(tmp_path, one, bed, "a"))
        signal.raise_signal(signal.SIGINT)

    def stop_once_two_run(told: Night) -> None:
        if sum(entry.outcome == "running" for entry in told.entries) == 2 and not stopped:
            stopped.append(threading.Thread(target=stop))
            stopped[0].start()

    with cluster.local(sites) as client, pytest.raises(KeyboardInterrupt):
        Drive(client, one, tmp_path / "results", 60, stop_once_two_run).run()
    assert outcomes(one) == {"x a": "interrupted", "x b": "waiting", "y a": "interrupted"}
    assert one.finished is None
    assert {a.cause for e in one.entries for a in e.attempts} == {"told"}
    made_up.seconds = {}
    read = nights.read(tmp_path / "results" / "nights" / one.night)
    drive(read, tmp_path, made_up, ["x", "y"])
    assert set(outcomes(read).values()) == {"complete"}
    assert [len(entry.attempts) for entry in read.entries] == [2, 1, 2]
    assert len(records.list_runs(tmp_path / "results")) == 5


def test_a_night_whose_driver_was_killed_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """Scheduler and workers are in the driver's process: all are killed at once."""
    one = night(entry("x", "a"), entry("x", "b"), entry("y", "a"))
    folder = tmp_path / "results" / "nights" / one.night
    nights.write(folder, one)
    process = subprocess.Popen([sys.executable, "-m", "tests.support.fleets", "drive", str(tmp_path), "600"], cwd=ROOT)
    deadline = time.monotonic() + 120
    try:
        while sum(entry.outcome == "running" for entry in nights.read(folder).entries) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        process.kill()
        process.wait()
    again = nights.read(folder)
    drive(again, tmp_path, MadeUp(), ["x", "y"])
    assert set(outcomes(again).values()) == {"complete"}
    assert [[a.outcome for a in entry.attempts] for entry in again.entries] == [
        ["interrupted", "complete"], ["complete"], ["interrupted", "complete"],
    ]  # fmt: skip
    assert {entry.attempts[0].cause for entry in again.entries} == {"worker", None}
    claims = list((tmp_path / "state").glob("*/*/claim.json"))
    assert len(claims) == 5, "nothing was run that was not counted"


@pytest.fixture
def tls(tmp_path: Path) -> Path:
    folder = tmp_path / "tls"
    cluster.certificates(folder)
    return folder


@pytest.fixture
def scheduler(tls: Path) -> Iterator[str]:
    """A scheduler with TLS that stands by itself, without workers."""
    options = {"host": "127.0.0.1", "protocol": "tls://", "security": cluster.security(tls), "dashboard": False}
    spec = {"cls": Scheduler, "options": options}
    with SpecCluster(scheduler=spec, security=cluster.security(tls), silence_logs=logging.CRITICAL) as one:
        yield one.scheduler_address


def once_it_runs(tmp_path: Path, number: int, act: Callable[[], None]) -> Callable[[Night], None]:
    """What a night is told to: does something once, when the run of this entry (``lab a``) has begun."""
    done: list[Night] = []

    def told(one: Night) -> None:
        if not done and one.entries[number].outcome == "running":
            done.append(one)
            begun(log(tmp_path, one, "lab", "a"))  # it is claimed, and told, before it begins
            act()

    return told


def ended(process: subprocess.Popen[bytes]) -> None:
    """Kill a process, and wait until it is gone."""
    process.kill()
    process.wait()


def scheduling(port: int, tls: Path) -> tuple[subprocess.Popen[bytes], int]:
    """A scheduler's own process, and its port; 0 for any."""
    command = [sys.executable, "-m", "tests.support.fleets", "schedule", str(port), str(tls)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout
    with process.stdout:
        return process, int(process.stdout.readline())


@pytest.fixture
def stranger() -> Iterator[int]:
    """A port of this machine on which an SSH server answers that nobody knows, until the test ends."""
    key = paramiko.ECDSAKey.generate()
    with socket.create_server(("127.0.0.1", 0)) as first:
        port = int(first.getsockname()[1])
        with socket.create_server(("127.0.0.2", port)) as second:
            for listening in (first, second):
                threading.Thread(target=answer, args=(listening, key), daemon=True).start()
            yield port


def answer(listening: socket.socket, key: paramiko.PKey) -> None:
    """Shake hands with whoever comes, until the socket is closed."""
    with contextlib.suppress(OSError):
        while True:
            transport = paramiko.Transport(listening.accept()[0])
            transport.add_server_key(key)
            with contextlib.suppress(paramiko.SSHException, EOFError):
                transport.start_server(server=paramiko.ServerInterface())


def worker(state: Path, address: str, tls: Path, seconds: float = 0.0, beds: str = "lab") -> subprocess.Popen[bytes]:
    """A worker's own process, as at a site, whose runs are made up."""
    command = [sys.executable, "-m", "tests.support.fleets", "worker", address, str(tls), str(state), str(seconds)]
    return subprocess.Popen([*command, *beds.split()], cwd=ROOT)


def offering(client: Client, wanted: str, gone: str = "") -> dict[str, str]:
    """Wait until these testbeds are offered, and a worker is gone; the address of each one's worker."""
    deadline = time.monotonic() + 60
    while True:
        workers = client.scheduler_info(n_workers=-1)["workers"]
        found = {worker["name"]: address for address, worker in workers.items()}
        if found.keys() == set(wanted.split()) and gone not in workers:
            return found
        assert time.monotonic() < deadline, f"{found} are offered, not {wanted}"
        time.sleep(0.1)


def test_a_night_whose_scheduler_was_killed_goes_on_where_it_stopped(
    tmp_path: Path, tls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers live on: they end their runs, keep the records, and offer their testbeds to the next scheduler."""
    monkeypatch.setattr(drives, "AGAIN_SECONDS", 5.0)
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 5)
    one = night(entry("lab", "b", priority=1), entry("lab", "a"))
    folder = tmp_path / "results" / "nights" / one.night
    first, port = scheduling(0, tls)
    address = f"tls://127.0.0.1:{port}"
    started = [first, worker(tmp_path / "state", address, tls, 600)]

    try:
        connect = partial(cluster.remote, address, tls)
        with cluster.connected(connect) as client, pytest.raises(Refusal, match="the scheduler was lost"):
            Drive(
                client, one, tmp_path / "results", 120, once_it_runs(tmp_path, 1, partial(ended, first)), connect
            ).run()
        again = nights.read(folder)
        assert outcomes(again) == {"lab b": "complete", "lab a": "running"} and again.finished is None
        started.append(scheduling(port, tls)[0])
        with cluster.remote(address, tls) as client:
            Drive(client, again, tmp_path / "results", 120, lambda _: None).run()
    finally:
        for process in started[1:]:
            process.terminate()
            process.wait(60)
    assert outcomes(again) == {"lab b": "complete", "lab a": "complete"} and again.finished
    assert [[a.outcome for a in entry.attempts] for entry in again.entries] == [
        ["complete"], ["interrupted", "complete"],
    ]  # fmt: skip
    lost = again.entries[1].attempts[0]
    assert (lost.cause, lost.reason) == ("worker", "its worker ended") and lost.sha256, "its record came home"
    assert len(records.list_runs(tmp_path / "results")) == 3
    claims = list((tmp_path / "state").glob("*/*/claim.json"))
    assert len(claims) == 3, "nothing was run that was not counted"


def test_ctrl_c_while_the_scheduler_is_looked_for_leaves_the_night_to_be_gone_on_with(
    tmp_path: Path, tls: Path
) -> None:
    one = night(entry("lab", "a"), entry("gone", "a"))
    first, port = scheduling(0, tls)
    address = f"tls://127.0.0.1:{port}"
    working = worker(tmp_path / "state", address, tls, 600)
    clients: list[Client] = []
    notes: list[str] = []

    def connect() -> Client:
        """Ctrl-C comes once the client that lost its scheduler is closed."""
        if clients:
            deadline = time.monotonic() + 60
            while clients[0].status != "closed":
                assert time.monotonic() < deadline
                time.sleep(0.05)
            signal.raise_signal(signal.SIGINT)
        clients.append(cluster.remote(address, tls))
        return clients[-1]

    try:
        with cluster.connected(connect) as client, pytest.raises(KeyboardInterrupt):
            Drive(
                client,
                one,
                tmp_path / "results",
                120,
                once_it_runs(tmp_path, 0, partial(ended, first)),
                connect,
                notes.append,
            ).run()
    finally:
        working.terminate()
        working.wait(60)
    assert [note.split(";")[0].split(":")[0] for note in notes] == [
        "the connection to the scheduler was lost", "the night ends without its scheduler",
    ]  # fmt: skip
    assert nights.read(tmp_path / "results" / "nights" / one.night) == one
    assert outcomes(one) == {"lab a": "running", "gone a": "waiting"} and one.finished is None
    assert rules.to_do(one, datetime.now(UTC)) == one.entries and rules.unanswered(one.entries[0])


def test_a_scheduler_that_comes_back_ends_no_night(tmp_path: Path, tls: Path) -> None:
    one = night(entry("lab", "a"), entry("lab", "b"))
    first, port = scheduling(0, tls)
    address, schedulers = f"tls://127.0.0.1:{port}", [first]
    notes: list[str] = []
    working = worker(tmp_path / "state", address, tls, 600)

    def restart() -> None:
        ended(first)
        schedulers.append(scheduling(port, tls)[0])

    try:
        connect = partial(cluster.remote, address, tls)
        with cluster.connected(connect) as client:
            Drive(
                client, one, tmp_path / "results", 120, once_it_runs(tmp_path, 0, restart), connect, notes.append
            ).run()
    finally:
        for process in (working, *schedulers[1:]):
            process.terminate()
            process.wait(60)
    assert outcomes(one) == {"lab a": "complete", "lab b": "complete"}
    assert [[a.outcome for a in entry.attempts] for entry in one.entries] == [["interrupted", "complete"], ["complete"]]
    assert [note.split(";")[0].split(":")[0] for note in notes] == [
        "the connection to the scheduler was lost", "the scheduler is there",
    ]  # fmt: skip
    assert len(list((tmp_path / "state").glob("*/*/claim.json"))) == 3, "nothing was run that was not counted"


def test_connections_that_are_lost_end_no_night(tmp_path: Path, scheduler: str, tls: Path) -> None:
    one = night(*(entry("lab", name) for name in "abcd"))
    working = worker(tmp_path / "state", scheduler, tls, 3)
    clients: list[Client] = []

    def connect() -> Client:
        """The first connections are cut while the first run is under way."""
        clients.append(cluster.remote(scheduler, tls))
        if len(clients) <= LOST_CONNECTIONS:
            threading.Timer(0.5, cut, [clients[-1]]).start()
        return clients[-1]

    def cut(client: Client) -> None:
        client.loop.add_callback(client.scheduler_comm.comm.abort)

    try:
        with cluster.connected(connect) as client:
            Drive(client, one, tmp_path / "results", 120, lambda _: None, connect).run()
    finally:
        working.terminate()
        working.wait(60)
    assert len(clients) == LOST_CONNECTIONS + 1
    assert set(outcomes(one).values()) == {"complete"}
    assert [len(entry.attempts) for entry in one.entries] == [1, 1, 1, 1], "nothing is done twice"
    assert len(list((tmp_path / "state").glob("*/*/claim.json"))) == 4


def test_a_testbed_whose_host_key_changed_is_a_row_with_its_reason(tmp_path: Path, stranger: int) -> None:
    """A real run of a profile, on hosts that answer with another key than the one that is known."""
    known = tmp_path / "known_hosts"
    key = paramiko.ECDSAKey.generate()
    known.write_text("".join(f"[127.0.0.{n}]:{stranger} {key.get_name()} {key.get_base64()}\n" for n in (1, 2)))
    file = tmp_path / "pair-7.toml"
    file.write_text(commands.HOSTS.format(port=stranger, known=known, more=""))
    one = night(entry("pair-7", "servers", minutes=5), entry("x", "a"))
    sites = [
        Site("pair-7", str(file), tmp_path / "state", pytest_command),
        Site("x", "x", tmp_path / "state", MadeUp()),
    ]
    with cluster.local(sites) as client:
        Drive(client, one, tmp_path / "results", 60, lambda _: None).run()
    assert outcomes(one) == {"pair-7 servers": "unreachable", "x a": "complete"}
    row = one.entries[0]
    assert row.reason and "the host's key is not the one in known_hosts" in row.reason
    assert row.attempts[0].log and len(row.attempts) == 1, "it is not done again: nothing was lost"


def test_a_client_without_the_certificate_gets_nothing(tmp_path: Path, scheduler: str, tls: Path) -> None:
    with cluster.remote(scheduler, tls) as client:
        assert cluster.offered(client) == set()
    cluster.certificates(tmp_path / "others")
    for strange in (cluster.security(tmp_path / "others"), None):
        with pytest.raises((OSError, TypeError)):
            Client(scheduler, security=strange, timeout=2)
    with pytest.raises(ConfigError, match="is no address with TLS"), cluster.remote("tcp://127.0.0.1:1", tls):
        pass
    assert (tls / "key.pem").stat().st_mode & 0o077 == 0


def test_a_killed_worker_s_run_comes_home_interrupted_and_is_done_again(
    tmp_path: Path, scheduler: str, tls: Path
) -> None:
    one = night(entry("lab", "a"), entry("lab", "b"))
    workers = [worker(tmp_path / "state", scheduler, tls, 600)]

    def replace_it() -> None:
        workers[0].kill()
        workers.append(worker(tmp_path / "state", scheduler, tls))

    try:
        with cluster.remote(scheduler, tls) as client:
            Drive(client, one, tmp_path / "results", 120, once_it_runs(tmp_path, 0, replace_it)).run()
    finally:
        for process in workers:
            process.terminate()
        assert workers[-1].wait(60) == 0, "a worker ends in order"
    first, second = one.entries[0].attempts
    assert (first.outcome, first.cause, first.reason) == ("interrupted", "worker", "its worker ended")
    assert first.sha256 and second.outcome == "complete"
    assert outcomes(one) == {"lab a": "complete", "lab b": "complete"}
    assert len(one.entries[1].attempts) == 1


def test_a_testbed_is_offered_again_while_another_of_its_worker_is_at_work(
    tmp_path: Path, scheduler: str, tls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrival, "TELL_SECONDS", 2.0)  # workers that are gone are not told
    one, closed = night(entry("x", "a"), entry("y", "b")), threading.Event()
    working = worker(tmp_path / "state", scheduler, tls, 600, "x y")
    seen: list[dict[str, str]] = []

    def close_once_the_other_is_idle(told: Night) -> None:
        """The run of x ends with its worker, once y is offered again."""
        if outcomes(told) != {"x a": "running", "y b": "complete"} or closed.is_set():
            return
        closed.set()
        begun(log(tmp_path, one, "x", "a"))
        with cluster.remote(scheduler, tls) as client:
            seen.append(offering(client, "x y"))
            for bed in "yx":
                gone = seen[-1][bed]
                client.run(fleets.close, workers=[gone], wait=False)
                seen.append(offering(client, "x y", gone))

    try:
        with cluster.remote(scheduler, tls) as client:
            offering(client, "x y")
            Drive(client, one, tmp_path / "results", 120, close_once_the_other_is_idle).run()
    finally:
        working.terminate()
        assert working.wait(60) == 0, "a worker ends in order"
    first, second, third = seen
    assert first["x"] == second["x"] and first["y"] != second["y"] == third["y"] and second["x"] != third["x"]
    assert outcomes(one) == {"x a": "complete", "y b": "complete"}
    assert [[a.outcome for a in entry.attempts] for entry in one.entries] == [["interrupted", "complete"], ["complete"]]


def test_a_testbed_whose_name_is_taken_hinders_no_other_of_its_worker(
    tmp_path: Path, scheduler: str, tls: Path
) -> None:
    one = night(entry("x", "a"), entry("y", "b"))
    workers = [worker(tmp_path / "other", scheduler, tls, 0, "y")]
    try:
        with cluster.remote(scheduler, tls) as client:
            before = offering(client, "y")
            workers.append(worker(tmp_path / "state", scheduler, tls, 3 * fleets.PAUSE_SECONDS, "x y"))
            offering(client, "x y")
            Drive(client, one, tmp_path / "results", 120, lambda _: None).run()
            after = offering(client, "x y")
            workers[0].terminate()
            assert workers[0].wait(60) == 0
            later = offering(client, "x y")
    finally:
        for process in workers:
            process.terminate()
            process.wait(60)
    assert outcomes(one) == {"x a": "complete", "y b": "complete"}
    assert [len(entry.attempts) for entry in one.entries] == [1, 1], "the run of x was left alone"
    assert before["y"] == after["y"] != later["y"] and after["x"] == later["x"]
