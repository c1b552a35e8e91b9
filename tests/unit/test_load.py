"""Load: what a profile asks for, what a generator's line must say to count, how a long log is counted."""

from __future__ import annotations

import json
import os
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from pydantic import ValidationError

from harness import paths, plan, receiving, record, records
from harness.api.parameters import Parameters
from harness.ciphers.table import CIPHERS
from harness.events import Events
from harness.load import generator, latency
from harness.load.generator import Asked, Told
from harness.measuring import loading
from harness.measuring.opened import CpuMeter, OpenTestbed
from harness.plan import CellPlan
from harness.profile import TransferSuite
from harness.run import feasible
from harness.run.suite import Outcomes
from harness.run.transfers import Transfers
from harness.samples import HostSample, Sample
from harness.servers import requirements, so_crypt
from hosts import facts
from hosts.errors import Refusal
from hosts.facts import Facts
from hosts.onhost.agent import logs
from hosts.onhost.agent.errors import ChangeError
from hosts.onhost.agent.values import LogTail, Tls
from tests.support.runs import profile_of, suite

TLS = Tls("/ca", "1.3", "PRIORITY", "TLS_AES_128_GCM_SHA256")
ASKED = {"question": "load", "connections": [1, 8], "sizes": {"10kB": {"blocks": 2}}}


def loaded(**more: Any) -> TransferSuite:
    cipher = more.pop("cipher", "aes128gcm")
    (one,) = profile_of(suite("https", "ktls", "http", cipher=cipher, **(ASKED | more))).suites
    assert isinstance(one, TransferSuite)
    return one


def test_every_number_of_connections_is_measured_by_itself_and_fixed_rates_last() -> None:
    asked = suite("https", "http", cipher="aes128gcm", **ASKED, rates=[0.5, 1.2])
    cells = plan.cells(profile_of(asked), frozenset({"http"}))
    assert [cell.id.partition("/")[2] for cell in cells if cell.path == "https"] == [
        f"https/aes128gcm/any/10kBx{what}" for what in ("1", "8", "1@50%", "8@50%", "1@120%", "8@120%")
    ]
    rows = [cell.row("measured", None) for cell in cells]
    assert [(row.connections, row.rate_share) for row in rows[::2]] == [
        (1, None), (8, None), (1, 0.5), (8, 0.5), (1, 1.2), (8, 1.2),
    ]  # fmt: skip


def test_the_qat_engine_is_asked_for_what_nginx_can_ask_of_it() -> None:
    """Its handshakes are done in batches of asynchronous jobs, and each new connection has one."""
    path, asked = paths.discover()["https-qat"], Parameters(CIPHERS["aes256gcm"], tls="1.3", at_once=8)
    assert "needs an asynchronous server" in str(path.impossible(asked))
    assert path.impossible(replace(asked, connection="kept")) is None


def test_verdicts_are_counted_for_each_number_of_connections_and_none_for_rates() -> None:
    asked = suite("https", "ktls", "http", cipher="aes128gcm", **ASKED, rates=[0.5])
    assert plan.comparisons(profile_of(asked)) == (0, 2 * 2 * 2)
    question = {"candidate": "ktls", "baseline": "https", "suites": ["small"], "sizes": {"10kB": {"blocks": 2}}}
    wanted = profile_of(asked, question=question)
    assert plan.comparisons(wanted) == (4, 4)
    first, rest = plan.stages(wanted, plan.cells(wanted, frozenset({"http"})))
    assert {(cell.path, cell.what) for cell in first.cells} == {
        (path, what) for path in ("https", "ktls") for what in ("10kBx1", "10kBx8")
    }
    assert "10kBx8@50%" in {cell.what for cell in rest.cells if cell.path == "ktls"}


def test_every_number_of_workers_has_cells_and_a_deployment_of_its_own() -> None:
    asked = suite("https", "ktls", "http", cipher="aes128gcm", **ASKED, workers=[1, 2], rates=[0.5])
    profile = profile_of(asked)
    cells = [cell for cell in plan.cells(profile, frozenset({"http"})) if cell.path == "https"]
    assert [cell.what for cell in cells] == [
        *("10kBx1w1", "10kBx8w1", "10kBx1w2", "10kBx8w2"),
        *("10kBx1w1@50%", "10kBx8w1@50%", "10kBx1w2@50%", "10kBx8w2@50%"),
    ]
    assert {cell.side for cell in cells} == {"https w1", "https w2"}
    assert cells[2].row("measured", None).workers == 2
    assert plan.comparisons(profile) == (0, 2 * 2 * 2 * 2)


def test_workers_want_a_processor_each() -> None:
    status = "Cpus_allowed:\tf\nCpus_allowed_list:\t0-1,5\n"
    assert facts.usable(status) == (0, 1, 5)
    assert facts.usable("") == ()
    assert facts.usable(Path("/proc/self/status").read_text()) == tuple(sorted(os.sched_getaffinity(0)))
    sender = Facts("sender", "6.12", {}, frozenset(), usable=(0, 1, 5))
    assert feasible.no_processors(3, sender) is None
    said = feasible.no_processors(4, sender)
    assert said == "4 workers want a processor each, and the sender's servers have 3 processors"
    kept = replace(sender, usable=(5,), shown={"quiet": True})
    assert "have 1 processor (quiet = true keeps them to one)" in str(feasible.no_processors(2, kept))


@pytest.mark.parametrize(
    ("connections", "workers", "logged", "wrong"),
    [
        (64, None, 1, False),
        (64, None, 2, True),
        (64, 4, 4, False),
        (64, 4, 3, True),
        (63, 4, 3, False),
        (1, 4, 1, False),
        (8, 4, 5, True),
    ],
)
def test_as_many_workers_must_have_answered_as_were_asked_for(
    connections: int, workers: int | None, logged: int, wrong: bool
) -> None:
    said = loading._not_by_all(Asked(connections, "new", 1.0, workers=workers), logged)
    assert (said is not None) == wrong


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"connections": []}, "connections"),
        ({"question": "schemes"}, "connections"),
        ({"requests": 5}, "one after the other"),
        ({"sizes": {"10kB": {"seconds": 20, "blocks": 5}}}, "10kB has seconds: of load, a size says its blocks alone"),
        ({"connections": [8, 8]}, "twice"),
        ({"connections": [0]}, "greater than or equal to 1"),
        ({"rates": [0.5, 0.5]}, "twice"),
        ({"workers": [2, 2]}, "twice"),
        ({"group": "x25519", "tls": "1.2"}, "need TLS 1.3"),
        ({"key": "ecdsa-p256", "tls": "1.2"}, "need TLS 1.3"),
        ({"group": "x448"}, "x25519mlkem768"),
        ({"question": "schemes", "connections": [], "group": "x25519"}, "a group"),
        ({"workers": [0]}, "greater than or equal to 1"),
        ({"question": "schemes", "connections": [], "workers": [2]}, "workers"),
        ({"question": "schemes", "connections": [], "rates": [0.5]}, "rates"),
    ],
)
def test_what_is_no_load_is_refused(more: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        loaded(**more)


def test_a_question_about_load_has_blocks_alone() -> None:
    asked = suite("https", "ktls", "http", cipher="aes128gcm", **ASKED)
    question = {"candidate": "ktls", "baseline": "https", "suites": ["small"]}
    with pytest.raises(ValidationError, match="10kB has seconds"):
        profile_of(asked, question=question | {"sizes": {"10kB": {"seconds": 20, "blocks": 5}}})


def test_servers_are_told_the_most_connections() -> None:
    assert loaded(connections=[1, 64, 8], connection="kept").parameters.at_once == 64


def test_a_so_crypt_socket_cannot_be_kept_and_lighttpd_not_be_kept_to_processors() -> None:
    known = receiving.beside(paths.discover())
    kept = loaded(cipher="3des", connection="kept").parameters
    assert "cannot go back to clear text" in str(known["so-crypt"].impossible(kept))
    assert so_crypt.impossible(loaded(cipher="3des").parameters) is None
    assert known["https"].impossible(kept) is None
    assert "does not keep workers to processors" in str(known["https"].impossible(replace(kept, workers=2)))
    resumed = loaded(cipher="3des", connection="resumed").parameters
    assert "does not tell whether a session was resumed" in str(known["https"].impossible(resumed))
    assert known["https"].impossible(loaded(connection="kept").parameters) is None


def line(**more: Any) -> dict[str, Any]:
    """What the generator tells of eight kept connections."""
    right = {
        "event": "load", "connections": 8, "reuse": "kept", "tls": "openssl", "version": "TLSv1.3",
        "suite": TLS.openssl, "other_suites": 0, "requests": 1000, "responses": 1000, "bytes": 10**7, "opened": 8,
        "handshakes": 8, "resumed": 0, "at_once": 8,
        "window": {"seconds": 2.0, "responses": 900, "bytes": 9 * 10**6, "cpu_seconds": 1.0}, "errors": {},
        "latency": {"total": 900, "most_ns": 5_000_000, "buckets": {"900": 900}},
    }  # fmt: skip
    return right | more


KEPT = Asked(8, "kept", 2.0)


def test_what_the_generator_tells_is_the_records() -> None:
    load = generator.parse(json.dumps(line())).load(canaries=2)
    assert (load.requests, load.opened, load.canaries, load.at_once) == (1000, 8, 2, 8)
    assert load.longest_seconds == 0.005
    assert load.rate is None
    assert not load.generator_full
    assert Told(line(window=line()["window"] | {"cpu_seconds": 1.99})).load(0).generator_full


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, None),
        ({"errors": {"no_ports": 3}, "first_error": "connect: x"}, "requests went wrong (3 no ports): connect: x"),
        ({"responses": 999}, "1000 requests were made and 999 answered"),
        ({"at_once": 7}, "7 connections were there at once, not 8"),
        ({"suite": "TLS_AES_256_GCM_SHA384"}, "spoke TLS_AES_256_GCM_SHA384"),
        ({"other_suites": 1}, "spoke"),
        ({"late": {"buckets": {"10": 900, "1500": 100}}}, None),
        ({"late": {"buckets": {"10": 800, "1500": 200}}}, "did not keep its schedule: 200 of 1000"),
    ],
)
def test_a_generator_that_did_something_else_measured_nothing(more: dict[str, Any], said: str | None) -> None:
    told = Told(line(**more))
    wrong = generator.wrong(told, told.load(2), KEPT, TLS)
    assert (wrong is None) == (said is None)
    assert said is None or said in str(wrong)


def test_a_tail_that_the_generator_may_have_made_is_not_told_and_says_why() -> None:
    """In each of two samples nearly one of 100 requests starts 0.6 s late, which makes neither of them invalid."""
    late = {"100": 49_550, "1526": 450}
    histogram = {"buckets": {"1300": 49_550, "1526": 450}, "most_ns": 1}
    told = Told(line(rate=100.0, late={"buckets": late}, latency=histogram, requests=50_000, responses=50_000))
    load = told.load(2)
    assert generator.wrong(told, load, KEPT, TLS) is None
    found = latency.of([load, load])
    assert (found.seconds["p50"], found.seconds["p90"]) == (latency.middle_seconds(1300),) * 2
    assert (found.seconds["p99"], found.seconds["p99.9"]) == (None, None)
    assert found.doubts == {
        "p99": "900 of 100000 requests started over 5 ms late",
        "p99.9": "900 of 100000 requests started over 49.7 ms late",
    }
    kept = latency.of([msgspec.structs.replace(load, late={"100": 50_000})] * 2)
    assert kept.seconds["p99.9"] == latency.middle_seconds(1526), "the server's own"
    assert not kept.doubts


def test_a_key_exchange_is_the_one_that_is_asked_for_or_no_measurement() -> None:
    tls = Tls("/ca", "1.3", "PRIORITY", "TLS_AES_128_GCM_SHA256", "x25519mlkem768", "EC-256")
    right = line(group="X25519MLKEM768", key="EC-256", handshake={"buckets": {"1000": 7}})
    told = Told(right).load(2)
    assert (told.group, told.key, told.handshake) == ("X25519MLKEM768", "EC-256", {"1000": 7})
    assert generator.wrong(Told(right), told, KEPT, tls) is None
    for more in ({"group": "x25519"}, {"key": "RSA-2048"}):
        other = Told(right | more)
        assert "the key exchange was" in str(generator.wrong(other, other.load(2), KEPT, tls))


def test_a_group_wants_an_openssl_that_has_it_on_both_hosts() -> None:
    new, old = (Facts(role, "6.12", {"openssl": f"OpenSSL {version}"}, frozenset(), shown={"os": "Debian GNU/Linux 13"})
                for role, version in (("sender", "3.5.1"), ("receiver", "3.0.17")))  # fmt: skip
    assert requirements.no_group("x25519", new, old) is None
    said = requirements.no_group("x25519mlkem768", new, old)
    assert said == "the receiver's OpenSSL 3.0.17 has not x25519mlkem768 as one group that is asked for: 3.5 is needed"
    without = replace(old, programs={})
    assert "the receiver has no openssl (" in str(requirements.no_group("x25519", new, without))


def test_what_gnutls_spoke_is_told_as_the_ordinary_receiver_would() -> None:
    spoken = {"tls": "gnutls", "version": "TLS1.2", "suite": "ECDHE_RSA_3DES_EDE_CBC_SHA1"}
    told = Told(line(**spoken))
    triple = CIPHERS["3des"].tls["1.2", "sha1"]
    assert told.cipher_suite == triple.libcurl
    tls = Tls("/ca", "1.2", triple.gnutls_priority, None)
    assert generator.wrong(told, told.load(2), KEPT, tls) is None
    mixed = Told(line(**spoken, other_suites=1))
    assert mixed.cipher_suite is None
    assert "and others" in str(generator.wrong(mixed, mixed.load(2), KEPT, tls))
    assert Told(line()).cipher_suite is None, "the server's log says what OpenSSL spoke"


def test_a_generator_without_an_answer_is_refused_with_its_reason() -> None:
    empty = {"seconds": 0, "responses": 0, "bytes": 0, "cpu_seconds": 0}
    with pytest.raises(Refusal, match="measured nothing: no answer within 10 s"):
        Told(line(window=empty, first_error="no answer within 10 s of the beginning")).load(0)


def test_without_tls_there_is_no_session_to_resume() -> None:
    class Plain:
        tls = None

    assert Asked(8, "resumed", 1.0).over(Plain()).reuse == "new"  # type: ignore[arg-type]


# a suite of load


def begun(folder: Path, **more: Any) -> tuple[Transfers, list[CellPlan]]:
    """A suite of load, all cells of which are measured, and them."""
    profile = profile_of(suite("https", "ktls", cipher="aes128gcm", **(ASKED | {"connections": [8]} | more)))
    (asked,) = profile.suites
    assert isinstance(asked, TransferSuite)
    head = record.Head(
        run_id=records.new_run_id("test"), started=datetime.now(UTC), status="running", harness="test",
        profile=record.ProfileEntry(name="test", content={}, sha256=""),
        testbed=record.TestbedEntry(name="lab", kind="uml"),
    )  # fmt: skip
    known, outcomes = paths.discover(), Outcomes(records.Writer(folder, head))
    kind = Transfers(profile, asked, known, outcomes, Events(), explain=False)
    cells = plan.cells(profile, frozenset())
    for cell in cells:
        kind.outcomes.add(cell)
    return kind, cells


def carried(cell: str, block: int, each_second: float, busy: float = 0.0) -> Sample:
    """A sample of so many requests of 10 kB a second, whose sender was busy for a share of the time."""
    window = {"seconds": 2.0, "responses": 0, "bytes": int(each_second * 2 * 10**4), "cpu_seconds": 1.0}
    return Sample(
        cell=cell, block=block, index=0, warmup=False, seconds=1 / each_second, bytes=10_000, valid=True,
        load=Told(line(window=window)).load(1),
        sender=HostSample(cpu_seconds=busy / each_second, cpu_resolution_seconds=1e-9),
    )  # fmt: skip


def test_a_fixed_rate_stays_what_it_was_in_the_first_round(tmp_path: Path) -> None:
    """Else one "50 %" would be another rate in each round, and latencies of several rates were put together."""
    kind, cells = begun(tmp_path, rates=[0.5, 1.2])
    closed, *_ = (cell for cell in cells if cell.path == "https")
    half, more = (cell for cell in cells if cell.path == "ktls" and cell.rate_share)
    with pytest.raises(Refusal, match="what https gives in a closed loop is not known"):
        kind._rate(half)
    kind.outcomes.keep(*(carried(closed.id, block, each) for block, each in enumerate((90.0, 100.0, 130.0))))
    assert kind._rate(half) == pytest.approx(50)
    kind.outcomes.keep(*(carried(closed.id, block, 200.0) for block in range(3, 9)))
    assert [kind._rate(half), kind._rate(more)] == pytest.approx([50, 120])
    assert kind._rate(closed) is None


def test_a_guest_of_several_processors_is_full_when_the_one_is_that_it_has(tmp_path: Path) -> None:
    kind, cells = begun(tmp_path)
    (cell,) = [cell for cell in cells if cell.path == "ktls"]
    kind.outcomes.keep(*(carried(cell.id, block, 100.0, busy=0.97) for block in range(3)))
    several = Facts("sender", "6.12", {}, frozenset(), shown={"processors": 4})
    rows = [kind.outcomes.cells[cell.id]]
    for meter, limit in ((CpuMeter(dict, lambda: 1e-9), "sender"), (None, None)):
        opened = SimpleNamespace(sender_facts=several, receiver_facts=several, meter=meter)
        kind.opened = cast(OpenTestbed, opened)
        assert kind._limits(10_000, rows) == {cell.id: limit}


# the server's log


def written(path: Path, *lines: dict[str, Any]) -> None:
    with path.open("a") as file:
        file.writelines(json.dumps(one) + "\n" for one in lines)


def test_lines_that_say_the_same_are_counted_together(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("of somebody else\n")
    start = log.stat().st_size
    written(
        log, *({"bytes": 5, "connection": n % 3, "seconds": n / 7} for n in range(30)), {"bytes": 6, "connection": 9}
    )
    told = logs.tally(LogTail(str(log), start, 31), ["worker", "connection"], ["seconds"], 1.0)
    assert {json.loads(one.line)["bytes"]: one.count for one in told.alike} == {5: 30, 6: 1}
    assert all(json.loads(one.line).keys() == {"bytes"} for one in told.alike)
    assert told.connections == 4
    assert told.different == {"worker": 1, "connection": 4}


def test_lines_that_are_due_are_waited_for_and_none_is_left_out(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()

    def write() -> None:
        for number in range(20):
            time.sleep(0.01)
            with log.open("a") as file:  # a line in two pieces, as a reader may find it
                file.write(json.dumps({"connection": number})[:5])
                file.flush()
                file.write(json.dumps({"connection": number})[5:] + "\n")

    writer = threading.Thread(target=write)
    writer.start()
    told = logs.tally(LogTail(str(log), 0, 20), ["connection"], [], 20.0)
    writer.join()
    assert told.connections == 20


def test_a_log_of_lines_unlike_one_another_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MOST_UNLIKE", 10)
    log = tmp_path / "log"
    written(log, *({"bytes": n} for n in range(11)))
    with pytest.raises(ChangeError, match="more than 10 lines that are unlike"):
        logs.tally(LogTail(str(log), 0, 11), ["connection"], [], 0.0)


def test_a_log_that_is_not_there_has_no_lines(tmp_path: Path) -> None:
    told = logs.tally(LogTail(str(tmp_path / "none"), 0, 5), ["connection"], [], 0.0)
    assert (told.alike, told.connections, told.different) == ([], 0, {"connection": 0})
