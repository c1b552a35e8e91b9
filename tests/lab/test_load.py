"""Load on the lab: generator, servers' logs and witnesses agree, and a lie of any of them is never a number."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.api.bench import Bench
from harness.api.path import Deployed
from harness.load import generator
from harness.measuring.loading import CANARIES
from harness.measuring.opened import OpenTestbed
from harness.record import Run
from harness.samples import Load, Sample
from hosts.lab import uml
from hosts.testbed import Host
from reports import frame
from reports.drawing import loadfigures
from reports.findings import load as findings
from reports.findings import panels
from tests.support.lab import ESTABLISHED, place_generator, shell
from tests.support.runs import Sabotage, profile_of, reconfigured, run, samples_of, suite

pytestmark = pytest.mark.usefixtures("esp_modules")
MOST = 96
LOAD = {
    "question": "load",
    "connection": "kept",
    "connections": [1, MOST],
    "seconds": 0.4,
    "sizes": {"10kB": {"blocks": 2}},
}


@pytest.fixture(scope="module", autouse=True)
def compiled(opened: OpenTestbed, lab_parts: uml.UmlParts) -> Iterator[None]:
    place_generator(opened, lab_parts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generator, "WARM_SECONDS", 0.1)  # nothing here asks how quick it is
        yield


def loads(done: Run, path: str) -> list[tuple[Sample, Load]]:
    """The samples of a path that count, with what load they were."""
    return [(sample, sample.load) for sample in samples_of(done, path) if sample.load and not sample.warmup]


def test_many_connections_are_counted_by_both_ends_and_the_kernel(opened: OpenTestbed, tmp_path: Path) -> None:
    paths = ("https", "ktls", "ipsec", "http")
    done = run(opened, profile_of(suite(*paths, cipher="aes128gcm", tls="1.3", **LOAD)), tmp_path)
    for path in paths:
        cells = [cell for cell in done.head.cells if cell.path == path]
        assert {cell.outcome for cell in cells} == {"measured"}, [cell.reason for cell in cells]
        for sample, load in loads(done, path):
            said = sample.witness
            assert load.opened == load.at_once == load.connections
            assert said["server_requests"] == load.requests + load.canaries
            assert said["server_bytes"] == 10_000 * (load.requests + load.canaries)
            assert said["logged_connections"] == said["connections"] == load.opened + load.canaries
            assert 0 < load.window_responses < load.requests
            assert load.canaries > 0
            assert sample.sha256_ok
            assert sum(load.latency.values()) == load.window_responses
            assert not load.errors
            if path in ("https", "ktls"):
                assert load.handshakes == load.opened
                assert said["kernel_tls"] == (load.opened + load.canaries if path == "ktls" else 0)
    at_once = [sample.witness for sample, load in loads(done, "ktls") if load.connections == MOST]
    assert max(int(said["sender_connections_now"] or 0) for said in at_once) >= MOST, "really at once"
    assert max(int(said["kernel_tls_now"] or 0) for said in at_once) >= MOST
    verdicts = {(row.candidate, row.metric) for row in done.head.verdicts}
    assert len(verdicts) == 3 * 2 * 2, "three paths against one, at two numbers of connections"


@contextmanager
def watched(host: Host, seen: list[tuple[int, int]]) -> Iterator[None]:
    """What nobody of the harness counts: established connections of the server's ports, one by one, and those that the
    kernel's TLS has at that moment, again and again."""
    watch = (
        "touch /run/watching; while [ -e /run/watching ]; do "
        f"echo $({ESTABLISHED}) "
        "$(grep TlsCurrTxSw /proc/net/tls_stat 2>/dev/null | tr -dc 0-9); sleep 0.2; done"
    )
    with ThreadPoolExecutor(1) as beside:
        told = beside.submit(shell, host, watch)
        try:
            yield
        finally:
            shell(host, "rm /run/watching")
    rows = [line.split() for line in told.result().splitlines()]
    seen += [(int(row[0]), int(row[1]) if len(row) > 1 else 0) for row in rows if row]


def test_512_connections_are_really_there_at_once(opened: OpenTestbed, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    asked = LOAD | {"connections": [512], "seconds": 1.5}
    with watched(opened.sender.host, seen):
        done = run(opened, profile_of(suite("ktls", cipher="aes128gcm", tls="1.3", **asked)), tmp_path)
    (cell,) = done.head.cells
    assert cell.outcome == "measured", cell.reason
    for _, load in loads(done, "ktls"):
        assert load.at_once == load.opened == 512
    connections, by_kernel = (max(column) for column in zip(*seen, strict=True))
    assert 512 <= connections <= 512 + CANARIES, "canaries come one after the other, each over one of its own"
    assert 512 <= by_kernel <= connections


def test_all_connections_together_never_exceed_the_link(opened: OpenTestbed, tmp_path: Path) -> None:
    rate = 50e6
    asked = LOAD | {"connections": [32], "seconds": 3.0, "link_rate": "50mbit", "sizes": {"100kB": {"blocks": 2}}}
    done = run(opened, profile_of(suite("http", "ipsec", cipher="aes128gcm", **asked)), tmp_path)
    assert {cell.outcome for cell in done.head.cells} == {"measured"}, [cell.reason for cell in done.head.cells]
    for path in ("http", "ipsec"):
        for _, load in loads(done, path):
            carried = load.window_bytes * 8 / load.window_seconds
            assert carried < rate, "bodies alone, without their packets' heads"
            assert carried > 0.6 * rate, "and that is what they wait for"
    (page,) = findings.loaded(panels.panels(done, frame.cells(done, frame.samples(done))), done)
    for row in loadfigures.table(page).rows:
        assert 0.6 * rate < float(row[3].raw or 0) * 1e6 < rate, "and the page says so"
    assert {row.bottleneck for row in done.head.verdicts} == {"link"}


def test_the_schemes_each_over_a_connection_of_its_own(opened: OpenTestbed, tmp_path: Path) -> None:
    paths = ("devcrypto-copy", "afalg-copy", "afalg-splice", "so-crypt", "https", "plain")
    asked = LOAD | {"connection": "new", "connections": [32]}
    done = run(opened, profile_of(suite(*paths, cipher="3des", **asked)), tmp_path)
    for path in paths:
        (cell,) = [cell for cell in done.head.cells if cell.path == path]
        assert cell.outcome == "measured", cell.reason
        for sample, load in loads(done, path):
            assert load.opened == load.requests
            assert sample.witness["logged_connections"] == load.requests + load.canaries
            assert 1 < load.at_once <= 32


def test_sessions_are_resumed_but_each_connections_first(opened: OpenTestbed, tmp_path: Path) -> None:
    """Of TLS 1.2, whose servers give no new session to one that was resumed."""
    asked = LOAD | {"connection": "resumed", "connections": [8], "seconds": 2.0}
    done = run(opened, profile_of(suite("https", "ktls", cipher="aes128gcm", tls="1.2", **asked)), tmp_path)
    assert {cell.outcome for cell in done.head.cells} == {"measured"}, [cell.reason for cell in done.head.cells]
    for path in ("https", "ktls"):
        for sample, load in loads(done, path):
            assert load.resumed == load.requests - 8 == sample.witness["resumed"]


@pytest.mark.parametrize(
    ("key", "group", "told", "clear"),
    [
        ("rsa-2048", "x25519", "RSA-2048", ("http",)),
        ("ecdsa-p256", "x25519mlkem768", "EC-256", ()),
    ],
)
def test_handshakes_are_of_the_key_and_group_that_are_asked_for(
    opened: OpenTestbed, tmp_path: Path, key: str, group: str, told: str, clear: tuple[str, ...]
) -> None:
    asked = LOAD | {
        "connection": "new",
        "connections": [8],
        "key": key,
        "group": group,
        "sizes": {"15B": {"blocks": 2}},
    }
    done = run(opened, profile_of(suite("https", "ktls", *clear, cipher="aes128gcm", tls="1.3", **asked)), tmp_path)
    assert {cell.outcome for cell in done.head.cells} == {"measured"}, [cell.reason for cell in done.head.cells]
    for path in ("https", "ktls"):
        for sample, load in loads(done, path):
            assert (str(load.group).lower(), load.key) == (group, told)
            assert 0 < sum(load.handshake.values()) <= load.handshakes
            agreed = int(sample.witness["agreed_on_group"] or 0)
            assert load.requests <= agreed <= load.requests + load.canaries, "canaries may have another library's"
    assert all(not load.handshake and load.group is None for _, load in loads(done, "http"))


def test_fixed_rates_are_shares_of_what_the_baseline_gave(opened: OpenTestbed, tmp_path: Path) -> None:
    asked = LOAD | {"connections": [8], "seconds": 0.6, "rates": [0.4], "sizes": {"10kB": {"blocks": 4}}}
    done = run(opened, profile_of(suite("http", "https", cipher="aes128gcm", **asked), rounds=2), tmp_path)
    for (
        cell
    ) in done.head.cells:  # a machine that does much else may keep the generator from its schedule, which is told
        late = cell.rate_share is not None and "did not keep its schedule" in (cell.reason or "")
        assert cell.outcome == "measured" or late, cell.reason
    closed = [sample for sample, load in loads(done, "http") if load.rate is None]
    capacity = [sample.requests_per_second or 0 for sample in closed if sample.round == 0]
    assert 0 < len(capacity) < len(closed)
    rates = [load.rate for path in ("http", "https") for _, load in loads(done, path) if load.rate]
    assert len(rates) >= 2
    for rate in rates:
        assert rate == pytest.approx(0.4 * statistics.median(capacity), rel=1e-3), "in each round the first one's"
    assert len(done.head.verdicts) == 2, "of the closed loop alone"


def test_as_many_workers_serve_as_the_sender_has_processors_for(opened: OpenTestbed, tmp_path: Path) -> None:
    asked = LOAD | {"connections": [16], "workers": [1, 2]}
    done = run(
        opened, profile_of(suite("http", "plain", cipher="aes128gcm", **asked | {"connection": "new"})), tmp_path
    )
    for cell in done.head.cells:
        if cell.workers == 1:
            assert cell.outcome == "measured", cell.reason
        else:
            assert cell.outcome == "unsupported"
            assert cell.reason == "2 workers want a processor each, and the sender's servers have 1 processor"
    for path in ("http", "plain"):
        assert all(sample.witness["logged_workers"] == 1 for sample, _ in loads(done, path))


def test_an_sa_for_each_worker_on_one_processor_is_one_pair(opened: OpenTestbed, tmp_path: Path) -> None:
    asked = LOAD | {"connections": [16], "workers": [1, 2]}
    done = run(opened, profile_of(suite("ipsec", "ipsec-per-worker", cipher="aes128gcm", **asked)), tmp_path)
    for cell in done.head.cells:
        assert cell.outcome == ("measured" if cell.workers == 1 else "unsupported"), cell.reason
    for sample, load in loads(done, "ipsec-per-worker"):
        said = sample.witness
        assert (said["sas"], said["least_sa_share"], said["most_sa_share"]) == (1, 1.0, 1.0)
        assert int(said["sender_sa_bytes"] or 0) >= 10_000 * (load.requests + load.canaries)


@pytest.fixture
def twice(opened: OpenTestbed) -> OpenTestbed:
    """The guests as if their one processor were two: where work is done cannot be seen there, what is sent how can."""
    return replace(opened, sender_facts=replace(opened.sender_facts, usable=(0, 0)))


def test_two_workers_have_sas_of_their_own_whose_bytes_add_up(twice: OpenTestbed, tmp_path: Path) -> None:
    asked = LOAD | {"connections": [16], "workers": [2]}
    done = run(twice, profile_of(suite("ipsec", "ipsec-per-worker", cipher="aes128gcm", **asked)), tmp_path)
    assert {cell.outcome for cell in done.head.cells} == {"measured"}, [cell.reason for cell in done.head.cells]
    for sample, load in loads(done, "ipsec-per-worker"):
        said, payload = sample.witness, 10_000 * (load.requests + load.canaries)
        assert (said["sas"], said["logged_workers"], load.at_once) == (2, 2, 16)
        assert 0.2 < float(said["least_sa_share"] or 0) <= 0.5 <= float(said["most_sa_share"] or 0)
        assert payload <= int(said["sender_sa_bytes"] or 0) < 1.2 * payload
        ports = {name.split("_")[0] for name in sample.sender.counters if name.endswith("sa_out_bytes")}
        assert len(ports) == 2
        assert sum(sample.sender.counters[f"{port}_sa_out_bytes"] or 0 for port in ports) == said["sender_sa_bytes"]


def lied(opened: OpenTestbed, tmp_path: Path, path: str, act: Sabotage | None, **more: Any) -> str:
    """Why a path's only cell is invalid."""
    asked = suite(
        "http", *([path] if path != "http" else []), cipher="aes128gcm", **(LOAD | {"connections": [8]} | more)
    )
    done = run(opened, profile_of(asked), tmp_path, act)
    (cell,) = [cell for cell in done.head.cells if cell.path == path]
    assert cell.outcome == "invalid", (cell.outcome, cell.reason)
    return str(cell.reason)


def test_a_generator_that_keeps_connections_which_it_should_not_is_found_out(
    opened: OpenTestbed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = generator.argv

    def argv(bench: Bench, deployed: Deployed, payload: Any, asked: generator.Asked) -> list[str]:
        return right(bench, deployed, payload, replace(asked, reuse="kept"))

    monkeypatch.setattr(generator, "argv", argv)
    assert "connections were made, not" in lied(opened, tmp_path, "http", None, connection="new")


def _another(bench: Bench, _deployed: dict[str, Deployed]) -> None:
    """A second nginx at the same port, which writes into the same log and has no kernel TLS."""
    run = f"{bench.directory}/ktls"
    other = (
        f"sed -e '/Options KTLS/d' -e 's,pid .*,pid {run}/other.pid;,' -e 's/daemon off/daemon on/' "
        f"{run}/nginx.conf > {run}/other.conf && nginx -e stderr -p {run} -c {run}/other.conf >/dev/null 2>&1"
    )
    bench.sender.check(["sh", "-c", other])


def _halved(bench: Bench, deployed: dict[str, Deployed]) -> None:
    reconfigured("ktls", "s/backlog=[0-9]*/& reuseport/")(bench, deployed)
    _another(bench, deployed)


def test_a_server_that_sends_half_of_it_another_way_is_found_out(opened: OpenTestbed, tmp_path: Path) -> None:
    try:
        said = lied(opened, tmp_path, "ktls", _halved, connections=[16], connection="new", seconds=1.5)
    finally:
        opened.sender.run(["pkill", "-f", "other.conf"])
    assert "the kernel's TLS took over" in said


def _spoil(bench: Bench, _deployed: dict[str, Deployed]) -> None:
    script = f"printf X | dd of={bench.payload_directory}/10000.bin bs=1 seek=777 conv=notrunc"
    bench.sender.check(["sh", "-c", script])


def test_a_flipped_byte_is_found_by_the_canaries(opened: OpenTestbed, tmp_path: Path) -> None:
    wanted = profile_of(suite("http", cipher="aes128gcm", **LOAD))
    try:
        assert "payload of a single transfer meanwhile" in lied(opened, tmp_path, "http", _spoil)
    finally:
        opened.sender.agent.make_payload("payloads/10000.bin", 10_000, wanted.seed + 10_000)
