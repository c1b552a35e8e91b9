"""nginx as a file server for several paths: one worker, one JSON log line a request; with TLS where asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.bench import Bench
from harness.paths import Deployed, Observed, Witness, _certificate, _log
from harness.setup import Setup
from hosts import changes
from hosts.changes import Served
from hosts.errors import HarnessError
from hosts.facts import Facts

RECORD_BYTES = 16384
"""Of a TLS record, as nginx makes them unless told otherwise (ssl_buffer_size)."""
TLS_COUNTERS = {
    "tls_tx": {"file": "/proc/net/tls_stat", "pattern": r"^TlsTx(?:Sw|Device)\s+(\d+)"},
}
"""Connections whose sending the kernel took over (Documentation/networking/tls.rst)."""

CONFIGURATION = """\
daemon off;
worker_processes 1;
{user}pid {run}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 64; }}
http {{
    log_format witness escape=json '{{"path":"$uri","status":$status,"bytes":$body_bytes_sent,'
        '"connection":$connection,"protocol":"$ssl_protocol","suite":"$ssl_cipher",'
        '"resumed":"$ssl_session_reused"}}';
    access_log {run}/access.log witness;
    default_type application/octet-stream;
    sendfile {sendfile};
    keepalive_requests 100000;
    tcp_nopush on;
    tcp_nodelay on;
    client_body_temp_path {run}/body;
    proxy_temp_path {run}/proxy;
    fastcgi_temp_path {run}/fastcgi;
    uwsgi_temp_path {run}/uwsgi;
    scgi_temp_path {run}/scgi;
    server {{
        listen {listen};
        root {root};
{server}
    }}
}}
"""


def serve(
    bench: Bench,
    name: str,
    port: int,
    tls: Sequence[str] = (),
    sendfile: bool = True,
    environment: Mapping[str, str] | None = None,
) -> Served:
    """Start nginx on the sender at ``port``; its log is ``access_log(bench, name)``.

    ``tls``: lines for the server. ``environment``: variables besides the bench's own.
    """
    run = f"{bench.directory}/{name}"
    bench.on_sender.apply(changes.directory(run))
    address = f"[{bench.address}]" if bench.address.version == 6 else str(bench.address)
    text = CONFIGURATION.format(
        run=run,
        user="user root;\n" if bench.sender.uid == 0 else "",
        listen=f"{address}:{port}" + (" ssl" if tls else ""),
        root=bench.payload_directory,
        sendfile="on" if sendfile else "off",
        server="".join(f"        {line}\n" for line in tls),
    )
    configuration = bench.sender.put(text.encode(), f"{bench.folder}/{name}/nginx.conf")
    return bench.on_sender.serve(
        f"nginx for {name}",
        [
            *bench.in_environment(),
            *in_environment(environment or {}),
            "nginx",
            "-e",
            "stderr",
            "-p",
            run,
            "-c",
            configuration,
        ],
        str(bench.address),
        port,
        f"{bench.folder}/{name}",
    )


def in_environment(variables: Mapping[str, str]) -> list[str]:
    """What stands before a command to start it with these variables; nothing where there are none."""
    return ["env", *(f"{name}={value}" for name, value in variables.items())] if variables else []


def access_log(bench: Bench, name: str) -> str:
    """Where nginx for a path writes a line for each request."""
    return f"{bench.directory}/{name}/access.log"


def without_ktls(sender: Facts) -> str | None:
    """Why OpenSSL or the kernel there cannot do kernel TLS, or None."""
    if "KTLS" in sender.openssl_disabled:
        return f"the sender's {sender.programs.get('openssl')} is built without kernel TLS"
    if sender.lacking(("tls",)):
        return f"the sender's kernel {sender.kernel} has no module tls"
    return None


def serve_tls(
    bench: Bench,
    name: str,
    setup: Setup,
    *,
    ktls: bool,
    sendfile: bool,
    environment: Mapping[str, str] | None = None,
) -> Deployed:
    """nginx with OpenSSL offering one suite; records made by the kernel (``ktls``) or in user space.

    The witness: the suite in the server's own log, and the connections that the kernel's TLS took over, which must be
    all or none. Raises HarnessError when the client would offer more than the one suite.
    """
    suite = setup.suite
    if suite is None or suite.openssl is None:
        raise HarnessError(f"{name} needs a TLS suite that OpenSSL has")
    offered = bench.receiver.call("offered", priority=suite.gnutls_priority)
    if len(offered) != 1:
        raise HarnessError(f"the client would offer {len(offered)} suites, not one: {', '.join(offered)}")
    certificate, key, authority = _certificate.make(bench)
    record = setup.buffer_bytes or RECORD_BYTES
    chosen = "ssl_conf_command Ciphersuites" if suite.version == "1.3" else "ssl_ciphers"
    lines = [
        f"ssl_certificate {certificate};",
        f"ssl_certificate_key {key};",
        f"ssl_protocols TLSv{suite.version};",
        f"{chosen} {suite.openssl};",
        f"ssl_buffer_size {record};",
    ]
    if ktls:
        lines.append("ssl_conf_command Options KTLS;")
    port, place = bench.port(), name if setup.buffer_bytes is None else f"{name}-{record}"
    served = serve(bench, place, port, lines, sendfile, environment)
    base = bench.base_url("https", port)
    spoken = (f"TLSv{suite.version}", suite.openssl)

    def judge(seen: Observed) -> Witness:
        said = _log.check(seen)
        resumed = sum(line["resumed"] == "r" for line in seen.log)
        facts = said.facts | {"suite": suite.openssl, "tls": suite.version, "kernel_tls": seen.sender["tls_tx"]}
        if seen.requests > 1:
            facts["resumed"] = resumed
        if said.reason:
            return Witness(facts, said.reason)
        for line in seen.log:
            if (line["protocol"], line["suite"]) != spoken:
                facts |= {"suite": line["suite"], "tls": line["protocol"].removeprefix("TLSv")}
                return Witness(facts, f"{line['protocol']} {line['suite']} was spoken, not {' '.join(spoken)}")
        due = seen.requests if seen.connection == "resumed" else 0
        if resumed != due:
            return Witness(facts, f"{resumed} sessions were resumed, not {due}")
        taken = seen.connections_due if ktls else 0
        if seen.sender["tls_tx"] is None and not ktls:
            return Witness(facts)  # no module tls, no kernel TLS
        if seen.sender["tls_tx"] != taken:
            return Witness(facts, f"the kernel's TLS took over {seen.sender['tls_tx']} connections, not {taken}")
        return Witness(facts)

    return Deployed(
        url=lambda payload: f"{base}/{payload}",
        log=access_log(bench, place),
        server=served.number,
        judge=judge,
        tls={"ca": authority, "priority": suite.gnutls_priority},
        sender_counters=dict(TLS_COUNTERS),
        driver_found="the kernel's TLS" if ktls else "OpenSSL",
        buffer_bytes=record,
        calls=frozenset({"sendfile"}) if ktls and sendfile else frozenset(),
    )
