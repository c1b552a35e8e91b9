"""Ways of receiving: reasons, deployments and witnesses, without a kernel that deciphers."""

from __future__ import annotations

import html
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from harness import paths, plan, profile, receiving, records
from harness.api.parameters import Parameters
from harness.api.path import DataPath, Deployed, Observed
from harness.api.receiving import Receiving
from harness.api.steps import Taking
from harness.ciphers.table import CIPHERS
from harness.cli import closing
from harness.profile import Profile
from harness.record import Cell, Head, Metric, SuiteEntry
from harness.run import session
from harness.samples import HostSample, Sample
from harness.servers import receiver
from harness.verdicts import answer, judging, narrowing
from hosts.errors import ConfigError, Refusal
from hosts.onhost.agent import clients
from hosts.onhost.agent.clients import Clients
from reports.findings import headline
from reports.site import pages
from tests.support.record_maker import make_run
from tests.support.runs import PATHS
from tests.unit.test_paths import bench, facts, seen, tls_line, tls_tx
from tests.unit.test_record import head

WAYS = receiving.discover()
TLS_WAYS = [name for name, way in WAYS.items() if way.takes == "tls"]
IN_KERNEL = ["ktls-rx", "ktls-rx-splice"]
WORDS = {name: way.words for name, way in WAYS.items()}
OF_RECEIVER: dict[Metric, Metric] = {"cpu_seconds_per_gb": "receiver_cpu_seconds_per_gb"}
GCM = Parameters(CIPHERS["aes128gcm"], tls="1.3", sent_by="https")
SIZE = 10**6


def test_all_ways_are_there_and_say_their_names_and_words() -> None:
    tls = {"user", "ktls-rx", "ktls-rx-splice"}
    assert set(WAYS) == tls | {"esp-rx", "esp-rx-splice", "so-crypt-rx", "so-crypt-rx-splice", "devcrypto-rx"}
    orders = [way.words.order for name, way in WAYS.items() if name != "user"]
    assert len(set(orders)) == len(orders), "which one speaks for a run is no accident"
    for name, way in WAYS.items():
        assert PATHS[name].receives
        assert PATHS[name].words == way.words
        assert way.words.label and way.words.short
        assert f"({name})" in way.words.subject
    assert not any(path.receives for path in paths.discover().values())
    assert PATHS["esp-rx"].speaks_esp and not PATHS["user"].speaks_esp


class Entry:
    """An entry point of another package."""

    value = "elsewhere:WAY"

    def __init__(self, way: Any) -> None:
        self.way = way

    def load(self) -> Any:
        return self.way


def test_another_package_adds_a_way_but_takes_no_name_away(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mine(Receiving):
        name = "mine"

        def receive(self, bench: Any, parameters: Any, sent: Deployed) -> Deployed:
            return sent

    entries = [Entry(Mine())]
    monkeypatch.setattr(receiving, "entry_points", lambda group: entries if group == receiving.ENTRY_POINTS else [])
    assert set(receiving.beside(paths.discover())) == {*PATHS, "mine"}
    Mine.name = "user"
    with pytest.raises(ConfigError, match="two ways of receiving are called 'user'"):
        receiving.discover()
    Mine.name = "https"
    with pytest.raises(ConfigError, match="'https' is the name of a data path and of a way of receiving"):
        receiving.beside(paths.discover())
    entries[:] = [Entry("no way")]
    with pytest.raises(ConfigError, match="elsewhere:WAY is no way of receiving"):
        receiving.discover()


# prices


def test_what_each_way_does_beyond_its_rehearsal_and_how_that_is_taken() -> None:
    due = {
        "user": (["receiver_openssl", "receiver_copy"], Taking("recv", 65536)),
        "ktls-rx": (["receiver_cipher"], Taking("recv")),
        "ktls-rx-splice": (["receiver_cipher"], Taking("splice", 16384)),
        "esp-rx": (["receiver_cipher"], Taking("recv")),
        "esp-rx-splice": (["receiver_cipher"], Taking("splice")),
    }
    for name, (prices, taking) in due.items():
        path = PATHS[name]
        steps, sent = path.steps(GCM), PATHS[WAYS[name].sent_by or "https"].steps(GCM)
        assert steps and sent
        assert [step.price for step in steps.receiver] == prices
        assert (steps.sender, steps.way) == (sent.sender, sent.way), "what sends is what sends anyway"
        assert path.rehearses == taking
        priced = {price for every in ("user", name) for source in PATHS[every].prices for price in source.names}
        assert steps.names() <= priced, "each step has a source"
    cbc = PATHS["esp-rx"].steps(Parameters(CIPHERS["aes128cbc"]))
    assert cbc and [step.price for step in cbc.receiver] == ["receiver_cipher", "receiver_esp_hash"]


# what cannot be, and where


@pytest.mark.parametrize("name", TLS_WAYS)
def test_tls_is_received_of_paths_that_speak_it(name: str) -> None:
    speaking = {path.name for path in paths.discover().values() if path.speaks_tls}
    assert speaking == {"https", "https-qat", "ktls", "ktls-nic", "ktls-write"}
    for sender in ("https", "ktls", "ktls-write"):
        assert PATHS[name].impossible(replace(GCM, sent_by=sender)) is None
    for sender in ("http", "ipsec", "so-crypt"):
        said = PATHS[name].impossible(replace(GCM, sent_by=sender))
        assert said == f"{sender} does not speak TLS, which {name} receives"
    assert "no data path is called nobody" in str(PATHS[name].impossible(replace(GCM, sent_by="nobody")))


def test_ipsec_is_sent_by_ipsec_whatever_the_suite_sends() -> None:
    assert PATHS["esp-rx"].impossible(GCM) is None
    assert "ESP has no" in str(PATHS["esp-rx"].impossible(replace(GCM, cipher=None)))


@pytest.mark.parametrize("name", TLS_WAYS)
def test_a_cipher_that_openssl_or_the_kernel_has_not_is_told(name: str) -> None:
    said = PATHS[name].impossible(Parameters(CIPHERS["3des"], sent_by="https"))
    assert "3DES" in str(said)
    cbc = PATHS[name].impossible(Parameters(CIPHERS["aes128cbc"], sent_by="https"))
    assert (cbc is None) == (name == "user"), cbc


def unsupported(name: str, parameters: Parameters = GCM, *without: str, **changed: Any) -> str | None:
    """Why a receiver that lacks these cannot receive so."""
    known = facts("receiver", without)
    known = replace(known, programs=known.programs | changed)
    return PATHS[name].unsupported(parameters, facts("sender"), known)


@pytest.mark.parametrize("name", [name for name, way in WAYS.items() if way.takes != "stream"])
def test_a_way_runs_where_all_is_there_and_names_what_is_not(name: str) -> None:
    assert unsupported(name) is None
    assert "the receiver has no cc" in str(unsupported(name, GCM, "cc"))


@pytest.mark.parametrize("name", TLS_WAYS)
@pytest.mark.parametrize("sent_by", ["https", None])
def test_no_way_asks_for_what_libcurl_can_offer(name: str, sent_by: str | None) -> None:
    """Named or each by its counterpart: the handshake is our client's."""
    old = "libcurl/7.88.1 GnuTLS/3.7.9"
    assert unsupported(name, replace(GCM, sent_by=sent_by), libcurl=old) is None
    assert "cannot be told which TLS cipher suite" in str(unsupported("https", replace(GCM, sent_by=None), libcurl=old))


@pytest.mark.parametrize("name", IN_KERNEL)
def test_a_kernel_or_library_without_it_is_a_reason(name: str) -> None:
    assert "the receiver's kernel 6.12.1 has no module tls" in str(unsupported(name, GCM, "tls"))
    older = {"openssl": "OpenSSL 3.0.17"}
    assert "3.2 is needed" in str(unsupported(name, GCM, **older))
    assert unsupported(name, replace(GCM, tls="1.2"), **older) is None
    assert "3.0 is needed" in str(unsupported(name, replace(GCM, tls="1.2"), openssl="OpenSSL 1.1.1w"))
    assert unsupported("user", GCM, **older) is None
    built = PATHS[name].unsupported(GCM, facts("sender"), facts("receiver", disabled=("KTLS",)))
    assert "built without kernel TLS" in str(built)


# deployments and witnesses


def deployed(name: str, parameters: Parameters = GCM) -> tuple[Deployed, Any]:
    where, host = bench(offered=["ONE"])
    where.shared[receiver.NAME] = "/receive"
    return PATHS[name].deploy(where, parameters), host


@pytest.mark.parametrize("name", TLS_WAYS)
def test_a_way_has_a_sender_of_its_own_and_our_client(name: str) -> None:
    made, host = deployed(name)
    assert any(path == f"suite-{name}/https/nginx.conf" for path in host.written)
    way = {"user": "library", "ktls-rx": "recv", "ktls-rx-splice": "splice"}[name]
    assert made.client[:5] == ("/receive", "--way", way, "--address", "10.98.0.2")
    assert made.client[made.client.index("--port") + 1] == "18080"
    assert made.client[-2:] == ("--suite", "TLS_AES_128_GCM_SHA256")
    loaded = [module for change in host.applied if change.kind == "module" for module in change.names]
    assert ("tls" in loaded) == (name != "user")


def test_what_cannot_be_is_not_deployed() -> None:
    with pytest.raises(Refusal, match="does not speak TLS"):
        deployed("user", replace(GCM, sent_by="http"))


def told(name: str, **more: Any) -> dict[str, Any]:
    """What the client says of a transfer that went this way."""
    way = {"user": "library", "ktls-rx": "recv", "ktls-rx-splice": "splice"}[name]
    line = {"way": way, "bytes": SIZE, "version": "TLSv1.3", "suite": "TLS_AES_128_GCM_SHA256", "calls": {"write": 3}}
    line |= {"library_bytes": 0, "kernel_version": "1.3", "kernel_cipher": "TLS_CIPHER_AES_GCM_128"}
    line |= {"crossing_bytes": 600 if way == "splice" else 2 * SIZE + 500}
    if name == "user":
        line |= {"library_bytes": SIZE + 2000, "kernel_version": None, "kernel_cipher": None}
    return {key: value for key, value in (line | more).items() if value is not None}


def counted(software: int | None, **more: int | None) -> dict[str, int | None]:
    return {
        "tls_rx_software": software, "tls_rx_device": 0, "tls_decrypt_errors": 0, "tls_padding_violations": 0, **more
    }  # fmt: skip


def observed(
    name: str, client: dict[str, Any] | None = None, counters: dict[str, int | None] | None = None
) -> Observed:
    due = 0 if name == "user" else 1
    log = [tls_line(SIZE, GCM)]
    got = counted(due) if counters is None else counters
    return seen(SIZE, log, sender=tls_tx(0), receiver=got, client=told(name) if client is None else client)


@pytest.mark.parametrize("name", TLS_WAYS)
def test_a_transfer_that_went_so_is_proven(name: str) -> None:
    made, _ = deployed(name)
    found = made.verify(observed(name))
    assert found.reason is None
    assert found.facts["sent_by"] == "https"
    assert (found.facts["key_bits"], found.facts["kernel_tls_received"]) == (128, 0 if name == "user" else 1)
    older = counted(0 if name == "user" else 1, tls_padding_violations=None)
    assert made.verify(observed(name, counters=older)).reason is None, "a kernel that does not count padding"


@pytest.mark.parametrize("name", IN_KERNEL)
@pytest.mark.parametrize(
    ("counters", "due"),
    [
        (counted(0), "took over receiving of 0 connections, not 1"),
        (counted(2), "took over receiving of 2 connections, not 1"),
        (counted(None), "could not be read"),
        (counted(0, tls_rx_device=1), "a network card deciphered 1 connections"),
        (counted(1, tls_decrypt_errors=1), "1 records did not decipher"),
        (counted(1, tls_padding_violations=2), "2 records were padded"),
    ],
)
def test_the_kernels_counters_must_rise_exactly(name: str, counters: dict[str, int | None], due: str) -> None:
    assert due in str(deployed(name)[0].verify(observed(name, counters=counters)).reason)


@pytest.mark.parametrize("name", IN_KERNEL)
@pytest.mark.parametrize(
    ("more", "due"),
    [
        ({"kernel_version": None, "kernel_cipher": None}, "deciphers None None, not 1.3 TLS_CIPHER_AES_GCM_128"),
        ({"kernel_cipher": "TLS_CIPHER_AES_GCM_256"}, "deciphers 1.3 TLS_CIPHER_AES_GCM_256"),
        ({"kernel_version": "1.2"}, "deciphers 1.2 TLS_CIPHER_AES_GCM_128"),
        ({"library_bytes": 5}, "the TLS library read 5 bytes after the handshake"),
        ({"way": "library"}, "by library, not"),
        ({"bytes": SIZE - 1}, f"received {SIZE - 1} bytes"),
        ({"suite": "TLS_AES_256_GCM_SHA384"}, "the client spoke TLSv1.3 TLS_AES_256_GCM_SHA384"),
    ],
)
def test_the_socket_and_the_client_must_say_the_same(name: str, more: dict[str, Any], due: str) -> None:
    assert due in str(deployed(name)[0].verify(observed(name, told(name, **more))).reason)


def test_each_way_crosses_as_much_as_it_must() -> None:
    spliced = deployed("ktls-rx-splice")[0].verify(
        observed("ktls-rx-splice", told("ktls-rx-splice", crossing_bytes=SIZE))
    )
    assert "crossed on the receiver, where heads need at most" in str(spliced.reason)
    for name in ("user", "ktls-rx"):
        found = deployed(name)[0].verify(observed(name, told(name, crossing_bytes=SIZE)))
        assert "where reading and writing takes" in str(found.reason)


def test_the_library_is_not_helped_by_the_kernel() -> None:
    made, _ = deployed("user")
    assert "of 1 connections, not of none" in str(made.verify(observed("user", counters=counted(1))).reason)
    assert made.verify(observed("user", counters=counted(None, tls_rx_device=None))).reason is None, "no module tls"
    said = made.verify(observed("user", told("user", kernel_cipher="TLS_CIPHER_AES_GCM_128")))
    assert "the socket says that the kernel deciphers" in str(said.reason)


def test_without_a_word_of_the_client_nothing_is_proven() -> None:
    made, _ = deployed("user")
    silent = replace(observed("user"), client=None)
    assert made.verify(silent).reason == "the client told nothing of the transfer"


# profiles, cells, verdicts


def asked(**more: Any) -> dict[str, Any]:
    return {
        "name": "rx", "question": "receive", "cipher": "aes128gcm", "link_rate": "unshaped", "sent_by": "https",
        "baseline": "user", "paths": ["user", "ktls-rx-splice"], "sizes": {"1MB": {"blocks": 2}}, **more,
    }  # fmt: skip


def made(**more: Any) -> Profile:
    return Profile.model_validate({"name": "p", "description": "d", "rounds": 1, "suites": [asked(**more)]})


@pytest.mark.parametrize(
    ("more", "due"),
    [
        ({"sent_by": None}, "sent_by"),
        ({"question": "schemes"}, "sent_by"),
        ({"requests": 5}, "single files"),
        ({"requests": 5, "connection": "kept"}, "single files"),
        ({"driver": "card"}, "no driver is chosen on the receiver"),
        ({"driver": "cbc-aes-aesni", "question": "disk-to-disk", "sent_by": None}, "no driver is chosen"),
        ({"question": "disk-to-disk"}, "sent_by"),
        ({"question": "disk-to-disk", "sent_by": None, "requests": 5}, "single files"),
    ],
)
def test_a_suite_says_who_sends_and_compares_single_files_by_no_chosen_driver(more: dict[str, Any], due: str) -> None:
    with pytest.raises(ValueError, match=due):
        made(**more)


def test_ways_and_paths_are_not_compared_with_one_another() -> None:
    with pytest.raises(ConfigError, match="https is no way of receiving"):
        session._never(made(paths=["user", "https"]), PATHS)
    mixed = made(question="schemes", sent_by=None, baseline="https", paths=["https", "user"])
    with pytest.raises(ConfigError, match="user is a way of receiving"):
        session._never(mixed, PATHS)
    assert session._never(made(), PATHS) == []
    said = session._never(made(cipher="aes128cbc", tls="1.2"), PATHS)
    assert "ktls-rx-splice can never run" in said[0]


def test_cells_are_named_by_their_way_and_others_keep_their_names() -> None:
    cells = plan.cells(made(), frozenset())
    assert [cell.id for cell in cells] == ["rx/user/aes128gcm/any/1MB", "rx/ktls-rx-splice/aes128gcm/any/1MB"]
    assert made().suites[0].parameters.sent_by == "https"  # type: ignore[union-attr]


def test_the_profile_asks_of_the_receiver() -> None:
    loaded = profile.load("receive-aes128gcm")
    assert {suite.question for suite in loaded.suites} == {"receive"}
    assert session._never(loaded, PATHS) == []


def cell_of(path: str) -> Cell:
    return Cell(
        id=f"rx/{path}/aes128gcm/any/10MB", suite="rx", path=path, cipher="aes128gcm", driver="any",
        size_bytes=10**7, outcome="measured",
    )  # fmt: skip


def sample(path: str, block: int, busy: float) -> Sample:
    return Sample(
        cell=cell_of(path).id, block=block, index=0, round=block % 3, warmup=False, seconds=1.0 + 0.001 * block,
        bytes=10**7, valid=True, sender=HostSample(cpu_seconds=0.5, cpu_resolution_seconds=1e-6),
        receiver=HostSample(cpu_seconds=busy + 0.001 * block, cpu_resolution_seconds=1e-6),
    )  # fmt: skip


def test_the_verdict_is_about_the_receiver() -> None:
    cells = [cell_of("user"), cell_of("ktls-rx-splice")]
    samples = [sample("user", n, 0.4) for n in range(9)] + [sample("ktls-rx-splice", n, 0.2) for n in range(9)]
    rows = judging.rows(cells, "user", 0.03, {}, lambda _metric, _path: None, judged="receiver")
    time, cpu = judging.settled(rows, samples)
    assert (time.metric, time.verdict) == ("seconds", "same")
    assert (cpu.metric, cpu.verdict) == ("receiver_cpu_seconds_per_gb", "faster")
    assert cpu.ratio == pytest.approx(2.0, rel=0.05)
    run = head().model_copy(update={"cells": cells, "verdicts": [time, cpu], "paths": WORDS, "status": "complete"})
    said = answer.sentence(run)
    assert "kernel TLS on receipt with splice is as fast as deciphering in user space" in said
    assert "costs the receiver less CPU" in said
    assert "sender" not in said
    told = narrowing.so_far([time, cpu], cells)
    assert [one.what for one in told.intervals] == ["time at 10 MB", "receiver CPU at 10 MB"]


def test_the_report_names_the_receiver(tmp_path: Path) -> None:
    entry = SuiteEntry(
        name="rx", figure=None, link_rate_bits_per_second=None, baseline="user", sent_by="https", question="receive",
        tls="1.3", connection=None,
    )  # fmt: skip
    folder = make_run(tmp_path, suites=[(entry, ("user", "ktls-rx-splice"), "aes128gcm")], paths=WORDS)
    run = records.read(folder)
    rows = [row.model_copy(update={"metric": OF_RECEIVER.get(row.metric, row.metric)}) for row in run.head.verdicts]
    run = replace(run, head=run.head.model_copy(update={"verdicts": rows}))
    text = html.unescape(pages.render(run).html)
    assert "sent by https" in text
    assert "receiver CPU per GB" in text
    assert "kernel TLS on receipt, spliced into the file" in text
    assert "The sender needed" not in headline.headline(run)
    assert "receiver" in headline.headline(run)
    assert all(
        line.split()[0] in ("time", "receiver") for line in closing._rows(told_of(run.head)).ways[0].splitlines()
    )


def told_of(told: Head) -> answer.Answer:
    found = answer.about(told)
    assert found
    return found


# the agent's side: clients that stay, on this machine


CLIENT = """
import json, sys
print(json.dumps({"event": "ready"}), flush=True)
for line in sys.stdin:
    path, size, out = line.split()
    if path == "/gone":
        sys.exit("it went away")
    with open(out, "r+b") as file:
        file.write(b"x" * int(size))
    print(json.dumps({"event": "received", "bytes": int(size), "ns": 2_000_000, "handshake_ns": 500_000}), flush=True)
"""


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    script = tmp_path / "client.py"
    script.write_text(CLIENT)
    return [sys.executable, str(script)]


def test_a_client_stays_from_one_transfer_to_the_next_and_ends_at_the_end(command: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_bytes(bytes(100))
    some = Clients()
    some.have([command])
    first = some._running[tuple(command)]
    for _ in range(2):
        got = some.fetch(command, "/file", out, 100, 20.0)
        assert (got.error, got.received_bytes, got.seconds, got.handshake_seconds) == (None, 100, 0.002, 0.0005)
        assert json.loads(got.told or "")["event"] == "received"
    assert out.read_bytes() == b"x" * 100
    assert some._running[tuple(command)] is first
    gone = some.fetch(command, "/gone", out, 100, 20.0)
    assert (gone.error, gone.received_bytes, gone.told) == ("it went away", 0, None)
    assert some.fetch(command, "/file", out, 100, 20.0).error is None, "another one"
    last = some._running[tuple(command)]._process
    some.have([])
    assert last.returncode == 0
    assert not some._running


def test_a_client_that_cannot_be_started_or_says_nothing_is_an_error_of_its_transfer(tmp_path: Path) -> None:
    some, out = Clients(), tmp_path / "out"
    nowhere = [str(tmp_path / "nowhere")]
    some.have([nowhere])
    assert "No such file" in str(some.fetch(nowhere, "/file", out, 1, 5.0).error)
    silent = ["sh", "-c", "echo '{}'; exec sleep 100"]
    started = some.fetch(silent, "/file", out, 1, 0.2)
    assert started.error == "it told nothing for 0.2 s"
    assert not some._running
    assert "end of words" in str(some.fetch(["sh", "-c", "echo end of words >&2; exit 1"], "/f", out, 1, 5.0).error)
    assert len(str(started.error)) <= clients.MOST_WORDS


def test_a_path_in_a_ways_place_is_a_path() -> None:
    assert all(isinstance(cast(Any, path), DataPath) for path in PATHS.values())
