"""nginx as a file server for several paths: a JSON log line a request, one worker unless more are asked for; with TLS
where asked."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.api.bench import Bench
from harness.api.parameters import Group, Parameters
from harness.api.path import Deployed, Observed, Witness
from harness.api.steps import Step, Steps, Way
from harness.ciphers.table import lengths
from harness.servers import certificates, gnutls, request_log
from hosts.certificate import Kind
from hosts.errors import Refusal
from hosts.facts import Facts
from hosts.onhost.agent.values import Counter, FileCounter, Tls
from hosts.remote import changes
from hosts.remote.changes import Served

BACKLOG = 4096
"""Connections that may wait to be accepted: all may come at once, and the kernel allows no more unless told to."""
READ_BYTES = 32768
"""That nginx reads of a file at once where it does not use sendfile (output_buffers)."""
RECORD_BYTES = 16384
"""Of a TLS record, as nginx makes them unless told otherwise (ssl_buffer_size)."""
HEADS_BYTES = 16384
"""More than a request and an answer's head, a handshake and a line of the log take."""
ERRORS_OPTION, COMMANDS, CURVE = (1, 19, 5), (1, 19, 4), (1, 21, 5)
"""The first versions with the option ``-e``, with ``ssl_conf_command``, and with ``$ssl_curve``."""
CURVES: dict[Group, str] = {"x25519": "X25519", "secp256r1": "prime256v1", "x25519mlkem768": "0x11ec"}
"""Groups of a key exchange in ``$ssl_curve``: OpenSSL's short names, and the number of one that has none
(draft-ietf-tls-ecdhe-mlkem: 4588)."""
KEYS: dict[Kind, str] = {"rsa-2048": "RSA-2048", "ecdsa-p256": "EC-256"}
"""Servers' keys as OpenSSL calls them, with their bits."""
TLS_COUNTERS: dict[str, Counter] = {
    "tls_tx_software": FileCounter("/proc/net/tls_stat", r"^TlsTxSw\s+(\d+)"),
    "tls_tx_device": FileCounter("/proc/net/tls_stat", r"^TlsTxDevice\s+(\d+)"),
}
"""Connections whose sending the kernel took over, and those that it handed to a network card
(Documentation/networking/tls.rst)."""
Maker = Literal["openssl", "kernel", "card"]
"""Who makes the records of a connection."""
MAKERS: dict[Maker, str] = {"openssl": "OpenSSL", "kernel": "the kernel's TLS", "card": "the network card"}

CONFIGURATION = """\
daemon off;
worker_processes {workers};
{pinned}{user}pid {run}/nginx.pid;
error_log stderr warn;
{limit}events {{ worker_connections {connections}; }}
http {{
    log_format witness escape=json '{{"path":"$uri","status":$status,"bytes":$body_bytes_sent,'
        '"worker":$pid,"connection":$connection,"protocol":"$ssl_protocol","suite":"$ssl_cipher",'
        '"resumed":"$ssl_session_reused"{more}}}';
    access_log {log} witness;
    default_type application/octet-stream;
    sendfile {sendfile};
    keepalive_requests 100000000;
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


@dataclass(frozen=True)
class Lane:
    """One of several servers of a path, with one worker. ``processor``: that of its worker, None for any; ``log``: the
    one that all of them write, where each line has the port of its request."""

    processor: int | None
    log: str


def serve(
    bench: Bench,
    name: str,
    port: int,
    tls: Sequence[str] = (),
    sendfile: bool = True,
    environment: Mapping[str, str] | None = None,
    load: Parameters | None = None,
    lane: Lane | None = None,
) -> Served:
    """Start nginx on the sender at ``port``; its log is ``access_log(bench, name)``, or the lane's.

    ``tls``: lines for the server. ``environment``: variables besides the bench's own. ``load``: what says how many
    connections come at once, and how many workers serve. ``lane``: that it is one of several.
    """
    at_once, workers = (load.at_once, load.workers) if load else (None, None)
    places = bench.places(workers)
    if lane:
        workers, places = 1, () if lane.processor is None else (lane.processor,)
    run = f"{bench.directory}/{name}"
    bench.on_sender.apply(changes.directory(run))
    address = f"[{bench.address}]" if bench.address.version == 6 else str(bench.address)
    text = CONFIGURATION.format(
        run=run,
        log=lane.log if lane else access_log(bench, name),
        user="user root;\n" if bench.sender.uid == 0 else "",
        workers=workers or 1,
        more=(',"curve":"$ssl_curve"' if load and load.group and since(bench.facts, CURVE) else "")
        + (',"port":$server_port' if lane else ""),
        pinned=_pinned(places) if places else "",
        connections=64 + 2 * (at_once or 0),  # some of the last ones may still be closing
        limit=f"worker_rlimit_nofile {128 + 4 * at_once};\n" if at_once else "",  # each may have a file open
        listen=f"{address}:{port}"
        + (" ssl" if tls else "")
        + (f" backlog={BACKLOG}" if at_once else "")
        # a queue each, or whoever is awake first would take most of them
        + (" reuseport" if (workers or 1) > 1 else ""),
        root=bench.payload_directory,
        sendfile="on" if sendfile else "off",
        server="".join(f"        {line}\n" for line in tls),
    )
    configuration = bench.sender.put(text.encode(), f"{bench.folder}/{name}/nginx.conf")
    # what it says before it has read that goes, without the option, to the file that its package chose
    errors = ["-e", "stderr"] if since(bench.facts, ERRORS_OPTION) else []
    return bench.on_sender.serve(
        f"nginx for {name}",
        [*bench.in_environment(environment), "nginx", *errors, "-p", run, "-c", configuration],
        str(bench.address),
        port,
        f"{bench.folder}/{name}",
    )


def _pinned(processors: Sequence[int]) -> str:
    """A line that keeps each worker to one of these processors, in their order."""
    return f"worker_cpu_affinity {' '.join('1' + '0' * number for number in processors)};\n"


def tls_steps(cipher: str) -> Steps:
    """What TLS without sendfile does beyond plain sendfile, enciphering at the price of this name."""
    return Steps(
        sender=(
            Step("read", chunk=READ_BYTES),
            Step(cipher, chunk=RECORD_BYTES),
            Step("tcp_copy", chunk=RECORD_BYTES),
        ),
        receiver=gnutls.receiving(RECORD_BYTES),
        way=Way("records", RECORD_BYTES),
    )


def access_log(bench: Bench, name: str) -> str:
    """Where nginx for a path writes a line for each request."""
    return f"{bench.directory}/{name}/access.log"


def since(sender: Facts, version: tuple[int, ...]) -> bool:
    """Whether the sender's nginx is of this version or a newer one."""
    numbers = re.match(r"nginx/(\d+)\.(\d+)\.(\d+)", sender.programs.get("nginx") or "")
    return numbers is not None and tuple(map(int, numbers.groups())) >= version


def without_ktls(sender: Facts) -> str | None:
    """Why nginx, OpenSSL or the kernel there cannot do kernel TLS, or None."""
    program, library = sender.programs.get("nginx"), sender.programs.get("openssl")
    if program and not since(sender, COMMANDS):
        return f"the sender's {program} cannot tell OpenSSL to use kernel TLS: {'.'.join(map(str, COMMANDS))} is needed"
    if library and library.startswith("OpenSSL 1."):
        return f"the sender's {library} has no kernel TLS: 3.0 is needed"
    if "KTLS" in sender.openssl_disabled:
        return f"the sender's {sender.programs.get('openssl')} is built without kernel TLS"
    if sender.lacking(("tls",)):
        return f"the sender's kernel {sender.kernel} has no module tls"
    return None


def records(seen: Observed) -> int:
    """How many TLS records answers are at the least: each has its own."""
    return seen.requests * max(1, seen.payload // RECORD_BYTES)


def serve_tls(
    bench: Bench,
    name: str,
    parameters: Parameters,
    *,
    by: Maker,
    sendfile: bool,
    environment: Mapping[str, str] | None = None,
) -> Deployed:
    """nginx with OpenSSL offering one cipher suite; records made ``by`` whom.

    The witness: the cipher suite in the server's own log, and the connections that the kernel's TLS took over, in
    software or by a card, which must be all or none. Raises Refusal when the client would offer more than the one
    cipher suite.
    """
    cipher_suite = parameters.cipher_suite
    if cipher_suite is None or cipher_suite.openssl is None:
        raise Refusal(f"{name} needs a cipher suite that OpenSSL has")
    certificate, key, authority = certificates.make(bench, parameters.key)
    group, named = parameters.group, KEYS[parameters.key] if parameters.group else None
    tls = Tls(authority, cipher_suite.version, cipher_suite.gnutls_priority, cipher_suite.openssl, group, named)
    offered = bench.receiver.agent.offered_cipher_suites(tls)
    if len(offered) != 1:
        raise Refusal(f"the client would offer {len(offered)} cipher suites, not one: {', '.join(offered)}")
    record = parameters.buffer_bytes or RECORD_BYTES
    chosen = "ssl_conf_command Ciphersuites" if cipher_suite.version == "1.3" else "ssl_ciphers"
    lines = [
        f"ssl_certificate {certificate};",
        f"ssl_certificate_key {key};",
        f"ssl_protocols TLSv{cipher_suite.version};",
        f"ssl_buffer_size {record};",
    ]
    if cipher_suite.version != "1.3" or since(bench.facts, COMMANDS):  # older ones take all three, so the client's one
        lines.append(f"{chosen} {cipher_suite.openssl};")
    if by != "openssl":
        lines.append("ssl_conf_command Options KTLS;")
    if group:  # and what the ordinary receiver's library has, for canaries
        lines.append(
            f"ssl_ecdh_curve {':'.join(dict.fromkeys((group.upper(), 'X25519')))};".replace("SECP256R1", "P-256")
        )
    port, place = bench.port(), name if parameters.buffer_bytes is None else f"{name}-{record}"
    served = serve(bench, place, port, lines, sendfile, environment, parameters)
    base, in_kernel = bench.base_url("https", port), by != "openssl"
    right = (f"TLSv{cipher_suite.version}", cipher_suite.openssl)

    def verify(seen: Observed) -> Witness:
        logged = request_log.check(seen)
        spoken = [(line["protocol"], line["suite"]) for line in seen.log]
        # of several the one that should not be there
        version, name = next((pair for pair in spoken if pair != right), spoken[0] if spoken else ("", ""))
        facts = logged.facts | {"suite": name, "tls": version.removeprefix("TLSv"), **lengths(name)}
        facts |= {"kernel_tls": seen.sender["tls_tx_software"], "card_tls": seen.sender["tls_tx_device"]}
        resumed = sum(line["resumed"] == "r" for line in seen.log)
        if seen.requests > 1:
            facts["resumed"] = resumed
        if logged.reason:
            return Witness(facts, logged.reason)
        if (version, name) != right:
            return Witness(facts, f"{version} {name} was spoken, not {' '.join(right)}")
        if group and seen.log and "curve" in seen.log[0]:
            facts["agreed_on_group"] = sum(line["curve"] == CURVES[group] for line in seen.log)
            due = seen.requests - (seen.load.canaries if seen.load else 0)
            if facts["agreed_on_group"] < due:
                return Witness(
                    facts, f"the key exchanges of {facts['agreed_on_group']} requests were {group}, not {due}"
                )
        if resumed != seen.resumed_due:
            return Witness(facts, f"{resumed} sessions were resumed, not {seen.resumed_due}")
        if seen.load and resumed != seen.load.resumed:
            told = f"the generator of load resumed {seen.load.resumed}"
            return Witness(facts, f"the server's log has {resumed} resumed sessions, {told}")
        return Witness(facts, made_otherwise(by, seen))

    return Deployed(
        url=lambda payload: f"{base}/{payload}",
        log=access_log(bench, place),
        server=served.number,
        verify=verify,
        tls=tls,
        sender_counters=dict(TLS_COUNTERS),
        driver_found=MAKERS[by],
        buffer_bytes=record,
        calls=frozenset({"sendfile"}) if in_kernel and sendfile else frozenset(),
        crossing_limit=HEADS_BYTES if in_kernel and sendfile else None,
    )


def made_otherwise(by: Maker, seen: Observed) -> str | None:
    """Why the records of a sample's connections were not all made by whom they should; None where they were.

    Each counter must have risen exactly: a connection that the other one took is another path's.
    """
    software, card = seen.sender["tls_tx_software"], seen.sender["tls_tx_device"]
    due = seen.connections_due
    if software is None or card is None:  # no module tls, no kernel TLS
        unread = "its counters of connections could not be read"
        return None if by == "openssl" else f"nothing shows that the kernel's TLS was used: {unread}"
    if by != "card" and card:
        return f"a network card made the records of {card} connections (TlsTxDevice), not {MAKERS[by]}"
    if by == "card" and (software, card) != (0, due):
        return f"the card made the records of {card} connections and the kernel of {software}, not {due} and none"
    if software != (due if by == "kernel" else 0) and by != "card":
        return f"the kernel's TLS took over {software} connections, not {due if by == 'kernel' else 0}"
    if by != "openssl" and seen.load and seen.connection == "kept":  # all of them are there while it goes on
        now = seen.load.card_tls_now if by == "card" else seen.load.kernel_tls_now
        if now is None or now < seen.load.at_once:
            what = "an unknown number of" if now is None else now
            return f"{MAKERS[by]} had {what} connections at one moment, not {seen.load.at_once}"
    return None
