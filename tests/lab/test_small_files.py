"""Small files on the lab: a connection each, a resumed session each, one connection for all; the log proves which."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.api.bench import Bench
from harness.api.path import Deployed
from harness.measuring.opened import OpenTestbed
from tests.support.runs import by_path, counting, profile_of, reconfigured, run, samples_of, suite

pytestmark = pytest.mark.usefixtures("esp_modules")
REQUESTS, WARMING = 20, 2
"""Of a block that counts, and of one that warms up: a tenth, two at least."""
BATCH = {"question": "small-files", "requests": REQUESTS, "sizes": {"15B": {"blocks": 2}}}
PATHS = {
    "new": ("http", "https", "ipsec", "ktls"),
    "resumed": ("http", "https", "ktls"),
    "kept": ("http", "https", "ipsec", "ktls"),
}


@pytest.mark.parametrize(
    ("connection", "version"), [("new", "1.3"), ("resumed", "1.3"), ("resumed", "1.2"), ("kept", "1.3")]
)
def test_each_request_is_made_as_it_is_said(opened: OpenTestbed, tmp_path: Path, connection: str, version: str) -> None:
    asked = suite(*PATHS[connection], cipher="aes128gcm", tls=version, connection=connection, **BATCH)
    done = run(opened, profile_of(asked), tmp_path)
    entry = done.head.suites[0]
    assert (entry.connection, entry.requests) == (connection, REQUESTS)
    for path, cell in by_path(done).items():
        assert cell.outcome == "measured", cell.reason
        samples = samples_of(done, path)
        assert counting(samples) == 2
        for sample in samples:
            requests = WARMING if sample.warmup else REQUESTS
            made = 1 if connection == "kept" else requests
            assert sample.latencies_us is not None
            assert len(sample.latencies_us) == requests
            assert all(0 < latency < 1e6 * (sample.seconds or 0) for latency in sample.latencies_us)
            said = sample.witness
            assert (said["server_requests"], said["server_bytes"]) == (requests, 15 * requests)
            assert said["connections"] == made
            assert sample.bytes == 15 * requests
            if path in ("https", "ktls"):
                assert said["resumed"] == (requests if connection == "resumed" else 0)
                assert said["kernel_tls"] == (made if path == "ktls" else 0)
    assert {verdict.metric for verdict in done.head.verdicts} == {"seconds", "cpu_seconds_per_gb"}
    assert all(verdict.ceiling is None for verdict in done.head.verdicts), "of handshakes no price is known"
    assert not entry.crossings


def test_3des_needs_lighttpd_whose_log_tells_no_resumption(opened: OpenTestbed, tmp_path: Path) -> None:
    suites = [
        {"name": kind, **suite("http", "https", cipher="3des", connection=kind, **BATCH), **{"name": kind}}
        for kind in ("new", "kept", "resumed")
    ]
    done = run(opened, profile_of(*suites), tmp_path)
    cells = {cell.suite: cell for cell in done.head.cells if cell.path == "https"}
    assert cells["new"].outcome == cells["kept"].outcome == "measured", [cell.reason for cell in cells.values()]
    assert cells["resumed"].outcome == "unsupported"
    assert "whether a session was resumed" in (cells["resumed"].reason or "")


def test_sessions_that_are_not_resumed_are_never_a_number(opened: OpenTestbed, tmp_path: Path) -> None:
    """A server that gives no tickets any more: every handshake is a full one, and the log says so."""
    asked = suite("http", "https", cipher="aes128gcm", connection="resumed", **BATCH)
    no_tickets = reconfigured(
        "https", "s/ssl_buffer_size/ssl_session_tickets off; ssl_session_cache off; ssl_buffer_size/"
    )
    done = run(opened, profile_of(asked), tmp_path, no_tickets)
    cells = by_path(done)
    assert cells["https"].outcome == "invalid", cells["https"].reason
    assert f"0 sessions were resumed, not {WARMING}" in (cells["https"].reason or "")
    assert cells["http"].outcome == "measured", cells["http"].reason


def test_a_kept_connection_that_is_closed_in_between_is_never_a_number(opened: OpenTestbed, tmp_path: Path) -> None:
    asked = suite("http", "https", cipher="aes128gcm", connection="kept", **BATCH)
    closing = reconfigured("https", "s/keepalive_requests [0-9]*/keepalive_requests 7/")
    cells = by_path(run(opened, profile_of(asked), tmp_path, closing))
    assert cells["https"].outcome in ("failed", "invalid"), cells["https"].reason
    assert "connections" in (cells["https"].reason or "")
    assert cells["http"].outcome == "measured", cells["http"].reason


def _spoil(bench: Bench, _deployed: dict[str, Deployed]) -> None:
    script = f"printf X | dd of={bench.payload_directory}/15.bin bs=1 seek=7 conv=notrunc"
    bench.sender.check(["sh", "-c", script])


def test_a_wrong_small_file_is_never_a_number(opened: OpenTestbed, tmp_path: Path) -> None:
    asked = suite("http", cipher="aes128gcm", connection="kept", **BATCH)
    wanted = profile_of(asked)
    try:
        cell = by_path(run(opened, wanted, tmp_path, _spoil))["http"]
    finally:
        opened.sender.agent.make_payload("payloads/15.bin", 15, wanted.seed + 15)
    assert cell.outcome in ("failed", "invalid")
    assert "SHA-256" in (cell.reason or "")
