"""The agent on the lab's guests: small files, and system calls seen from outside."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, cast

import pytest

from harness.ciphers.table import TlsVersion
from hosts.lab.uml import UmlLab
from hosts.onhost.agent.values import Connection, Fetched, SystemCalls, Tls
from hosts.remote import changes
from hosts.remote.agent import AgentError
from hosts.remote.changes import Scope
from hosts.remote.host import RemoteHost
from tests.support.lab import shell

SIZE = 10_000
PORTS = {"http": 18080, "1.2": 18412, "1.3": 18413, "http, 3 requests": 18083, "1.3, no sessions": 18423}
PRIORITY = "NONE:+VERS-TLS{}:+AES-128-GCM:+AEAD:+ECDHE-RSA:+SIGN-ALL:+GROUP-SECP256R1:+GROUP-X25519:+COMP-NULL"
SUITE = {"1.2": "ECDHE-RSA-AES128-GCM-SHA256", "1.3": "TLS_AES_128_GCM_SHA256"}

NGINX = """\
daemon off;
worker_processes 1;
user root;
pid {run}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 64; }}
http {{
    log_format seen '$ssl_session_reused $connection $ssl_protocol $ssl_cipher $body_bytes_sent';
    access_log {run}/access.log seen;
    client_body_temp_path {run}/body;
    proxy_temp_path {run}/proxy;
    fastcgi_temp_path {run}/fastcgi;
    uwsgi_temp_path {run}/uwsgi;
    scgi_temp_path {run}/scgi;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 10000;
    root {root};
    ssl_certificate {run}/certificate.pem;
    ssl_certificate_key {run}/certificate.key;
    ssl_session_cache shared:sessions:1m;
    server {{ listen {address}:18080; }}
    server {{ listen {address}:18083; keepalive_requests 3; }}
    server {{ listen {address}:18412 ssl; ssl_protocols TLSv1.2; }}
    server {{ listen {address}:18413 ssl; ssl_protocols TLSv1.3; }}
    server {{ listen {address}:18423 ssl; ssl_protocols TLSv1.3; ssl_session_cache off; ssl_session_tickets off; }}
}}
"""


def offer(authority: str, version: TlsVersion) -> Tls:
    return Tls(authority, version, PRIORITY.format(version), SUITE[version])


@dataclass(frozen=True)
class Pair:
    """Both hosts, nginx on the sender (change ``number``) and two files that it serves."""

    sender: RemoteHost
    receiver: RemoteHost
    address: str
    number: int
    sha256: str
    authority: str

    def tls(self, port: str) -> Tls | None:
        version = port.partition(",")[0]
        return None if version == "http" else offer(self.authority, cast(TlsVersion, version))

    def url(self, port: str, name: str = "small") -> str:
        return f"{'http' if port.startswith('http') else 'https'}://{self.address}:{PORTS[port]}/{name}"

    def fetch_many(self, port: str, connection: Connection, count: int = 6, **other: Any) -> Fetched:
        asked: dict[str, Any] = {"url": self.url(port), "timeout": 20.0, "size_bytes": SIZE, "sha256": self.sha256}
        asked |= {"tls": self.tls(port), "count": count, "connection": connection}
        return self.receiver.agent.fetch_many(**asked | other)

    def prime(self, port: str) -> str | None:
        """A session for the next batch."""
        tls = self.tls(port)
        assert tls
        return self.receiver.agent.prime(self.url(port), 20.0, SIZE, self.sha256, tls)

    def log(self) -> list[list[str]]:
        """What nginx logged since the last time: reused, connection, protocol, cipher suite, bytes."""
        path = f"{self.sender.directory}/nginx/access.log"
        self.sender.check(["sleep", "0.1"])
        lines = (self.sender.read([path])[path] or "").splitlines()
        self.sender.check(["truncate", "-s", "0", path])
        return [line.split() for line in lines]


@pytest.fixture(scope="module")
def pair(lab: UmlLab) -> Iterator[Pair]:
    with ExitStack() as stack:
        sender = stack.enter_context(RemoteHost("sender", lab.testbed.sender))
        receiver = stack.enter_context(RemoteHost("receiver", lab.testbed.receiver))
        scope = stack.enter_context(Scope(sender))
        address, run = str(lab.testbed.sender.data_address), f"{sender.directory}/nginx"
        scope.apply(changes.directory(run))
        sender.check(["mkdir", f"{sender.directory}/files"])
        sha256 = sender.agent.make_payload("files/small", SIZE, 1)
        sender.agent.make_payload("files/large", 1_000_000, 2)
        key = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test", "-days", "2"]
        names = ["-addext", f"subjectAltName=IP:{address}"]
        sender.check([*key, *names, "-keyout", f"{run}/certificate.key", "-out", f"{run}/certificate.pem"])
        authority = receiver.put(sender.check(["cat", f"{run}/certificate.pem"]).encode(), "authority.pem")
        text = NGINX.format(run=run, root=f"{sender.directory}/files", address=address)
        configuration = sender.put(text.encode(), "nginx/nginx.conf")
        argv = ["nginx", "-e", "stderr", "-p", run, "-c", configuration]
        number = scope.apply(changes.process("nginx", argv, f"{run}/out", f"{run}/err"))
        why = sender.agent.wait_port(address, 18423, number, 15.0)
        assert why is None, sender.read([f"{run}/err"])
        yield Pair(sender, receiver, address, number, sha256, authority)


# small files


@pytest.mark.parametrize("port", ["http", "1.2", "1.3"])
@pytest.mark.parametrize("connection", ["new", "resumed", "kept"])
def test_small_files_over_connections_of_each_kind(pair: Pair, port: str, connection: Connection) -> None:
    """The server's own log shows whether connections were new, resumed or kept."""
    if port == "http" and connection == "resumed":
        with pytest.raises(AgentError, match="without TLS there is no session to resume"):
            pair.fetch_many(port, connection)
        return
    pair.log()
    got = pair.fetch_many(port, connection)
    opened = 1 if connection == "kept" else 6
    assert got.error is None
    assert (got.received_bytes, got.sha256_ok, got.connections) == (6 * SIZE, True, opened)
    assert got.latencies_us is not None and len(got.latencies_us) == 6
    assert all(value > 0 for value in got.latencies_us)
    assert sum(got.latencies_us) < got.seconds * 1e6
    assert got.cpu_after.busy_seconds >= got.cpu_before.busy_seconds > 0
    log, primed = pair.log(), connection == "resumed"
    assert [line[4] for line in log] == [str(SIZE)] * (6 + primed)
    assert len({line[1] for line in log}) == opened + primed
    if port != "http":
        assert {(line[2], line[3]) for line in log} == {(f"TLSv{port}", SUITE[port])}
        assert [line[0] for line in log] == ([".", *"rrrrrr"] if connection == "resumed" else ["."] * 6)


def test_a_session_made_beforehand_is_the_one_that_is_resumed(pair: Pair) -> None:
    pair.log()
    assert pair.prime("1.3") is None
    assert [line[0] for line in pair.log()] == ["."]
    got = pair.fetch_many("1.3", "resumed")
    assert (got.error, got.connections) == (None, 6)
    assert [line[0] for line in pair.log()] == ["r"] * 6
    pair.fetch_many("1.3", "resumed")
    assert [line[0] for line in pair.log()] == [".", *"rrrrrr"], "it is for one batch"
    pair.prime("1.3")
    pair.log()
    pair.fetch_many("1.2", "resumed")
    assert [line[0] for line in pair.log()] == [".", *"rrrrrr"], "and for the same one"


def test_a_server_that_resumes_nothing_is_found_out_by_its_log(pair: Pair) -> None:
    pair.log()
    assert pair.fetch_many("1.3, no sessions", "resumed").error is None
    assert {line[0] for line in pair.log()} == {"."}


def test_a_connection_that_is_not_kept_is_an_error(pair: Pair) -> None:
    got = pair.fetch_many("http, 3 requests", "kept")
    assert got.error == "request 4: it opened 1 connections, not 0"
    assert (len(got.latencies_us or []), got.sha256_ok) == (3, None)
    assert pair.fetch_many("http, 3 requests", "new").error is None


def test_the_first_body_that_is_wrong_ends_the_batch(pair: Pair) -> None:
    for other, said in (
        ({"sha256": "0" * 64}, "request 1: payload: its SHA-256 is not the one of the source"),
        ({"size_bytes": SIZE - 1}, f"request 1: payload: {SIZE} bytes, not {SIZE - 1}"),
        ({"size_bytes": SIZE - 2}, f"request 1: payload: more than {SIZE - 2} bytes"),
        ({"size_bytes": SIZE + 1}, f"request 1: payload: {SIZE} bytes, not {SIZE + 1}"),
    ):
        got = pair.fetch_many("http", "new", **other)
        assert (got.error, got.latencies_us, got.sha256_ok) == (said, [], False)


def test_a_batch_that_fails_says_how_far_it_came(pair: Pair) -> None:
    got = pair.fetch_many("http", "new", url=pair.url("http", "none"))
    assert re.fullmatch(r"request 1: libcurl 22: .*404.*", str(got.error))
    assert (got.latencies_us, got.sha256_ok) == ([], None)
    late = pair.fetch_many("http", "new", count=100_000, timeout=0.5)
    assert re.search(r"took 0.5 s|libcurl 28", str(late.error))
    assert 0 < len(late.latencies_us or []) < 100_000
    assert late.sha256_ok is None
    refused = pair.fetch_many("1.3", "resumed", tls=offer(pair.authority, "1.2"))
    assert str(refused.error).startswith("libcurl 35")


def test_what_makes_no_sense_is_refused(pair: Pair) -> None:
    with pytest.raises(AgentError, match=r"FetchMany\.connection is none of new, resumed, kept"):
        pair.fetch_many("http", "used")  # type: ignore[arg-type]
    with pytest.raises(AgentError, match="0 requests: at least 1"):
        pair.fetch_many("http", "new", count=0)
    with pytest.raises(AgentError, match="16777216 are the most"):
        pair.fetch_many("http", "new", size_bytes=1 << 30)


def test_the_receiver_has_loaded_gnutls_so_that_nothing_can_be_masked(pair: Pair) -> None:
    pair.fetch_many("http", "new", count=1)
    with pytest.raises(AgentError, match="GnuTLS is loaded already"):
        pair.receiver.agent.set_environment({"GNUTLS_CPUID_OVERRIDE": "0x1"})


# system calls


def trace(pair: Pair, port: str) -> SystemCalls:
    """One untimed transfer of 1 MB, its system calls on the sender."""
    pair.sender.agent.trace_start(pair.number, 15.0)
    got = pair.receiver.agent.fetch(pair.url(port, "large"), "out", 1_000_000, 20.0, pair.tls(port))
    seen = pair.sender.agent.trace_stop()
    assert (got.error, got.received_bytes) == (None, 1_000_000)
    assert seen.uncounted == []
    return seen


def test_nginx_sends_a_file_without_touching_it(pair: Pair) -> None:
    for _ in range(2):
        seen = trace(pair, "http")
        assert seen.moved_bytes == 1_000_000
        assert seen.calls["sendfile"] >= 1
        assert seen.calls["accept4"] == 1
        assert 0 < seen.read_bytes < 1000, "the request"
        assert 0 < seen.written_bytes < 2000, "the answer's head and the log's line"


def test_nginx_with_tls_reads_and_writes_it_all(pair: Pair) -> None:
    seen = trace(pair, "1.2")
    assert seen.moved_bytes == 0
    assert 1_000_000 < seen.read_bytes < 1_010_000
    assert 1_000_000 + 62 * 29 < seen.written_bytes < 1_020_000, "with the records' heads and tags"
    assert "sendfile" not in seen.calls


def test_nothing_of_a_trace_is_left(pair: Pair, lab: UmlLab) -> None:
    pair.sender.agent.trace_start(pair.number, 15.0)
    assert "strace.out" in shell(lab.testbed.sender, f"ls -A {pair.sender.directory}")
    assert pair.sender.agent.trace_stop().calls == {}, "nobody asked, nothing was done"
    assert "strace" not in shell(lab.testbed.sender, f"ls -A {pair.sender.directory}; ps -e -o comm")
