"""lighttpd with GnuTLS, for the cipher suites that OpenSSL does not have any more.

lighttpd's log knows no cipher suite, so after every sample, when the clock has stopped, a further handshake tells what
the server agrees to.
"""

from __future__ import annotations

import json

from harness.api.bench import Bench
from harness.api.parameters import Parameters
from harness.api.path import Deployed, Observed, Witness
from harness.api.steps import Step, Steps, Way
from harness.ciphers.table import lengths
from harness.servers import certificates, gnutls, request_log
from hosts.errors import Refusal
from hosts.onhost.agent.values import Tls
from hosts.remote import changes

RECORD_BYTES = 16384
"""Of a TLS record: the largest, which is what it reads of a file at once."""
BACKLOG = 4096
"""Connections that may wait to be accepted under load, as nginx's."""
CONFIGURATION = """\
server.document-root = "{root}"
server.port = {port}
server.bind = "{address}"
server.errorlog = "/dev/stderr"
server.modules = ( "mod_gnutls", "mod_accesslog" )
server.network-backend = "sendfile"
server.max-keep-alive-requests = 65535
server.upload-dirs = ( "{run}" )
ssl.engine = "enable"
ssl.pemfile = "{certificate}"
ssl.privkey = "{key}"
ssl.openssl.ssl-conf-cmd = ( "MinProtocol" => "TLSv1.2", "MaxProtocol" => "TLSv1.2",
    "CipherString" => "{ciphers}" )
accesslog.filename = "|exec cat >>{run}/access.log"
accesslog.format = "{log_format}"
{limit}"""

# one JSON object a request; behind a pipe, because lighttpd keeps lines for a file back for up to four seconds
# the client's port tells its connection from others of the same moment, and from those of the seconds before
LOG_FORMAT = json.dumps('{"path":"%U","status":%s,"bytes":%B,"connection":%{remote}p}')[1:-1]


def tls_steps() -> Steps:
    """What it does for TLS beyond plain sendfile: for each record it reads, enciphers, sends and looks at the time."""
    own = ("read", "gnutls", "tcp_copy", "syscall")
    return Steps(
        sender=tuple(Step(price, chunk=RECORD_BYTES) for price in own),
        receiver=gnutls.receiving(RECORD_BYTES),
        way=Way("records", RECORD_BYTES),
    )


def _limit(at_once: int) -> str:
    """Lines that leave room for so many connections of load, each with a file open, and for those before them that
    still close."""
    fds = 128 + 6 * at_once
    return f"server.max-fds = {fds}\nserver.max-connections = {64 + 2 * at_once}\nserver.listen-backlog = {BACKLOG}\n"


def serve_tls(bench: Bench, name: str, parameters: Parameters) -> Deployed:
    """Start it on the sender, offering the asked cipher suite alone. Raises Refusal."""
    cipher_suite = parameters.cipher_suite
    if cipher_suite is None or cipher_suite.lighttpd is None:
        raise Refusal(f"{name} needs a cipher suite that lighttpd with GnuTLS has")
    certificate, key, authority = certificates.make(bench)
    tls = Tls(authority, cipher_suite.version, cipher_suite.gnutls_priority, cipher_suite.openssl)
    offered = bench.receiver.agent.offered_cipher_suites(tls)
    if len(offered) != 1:
        raise Refusal(f"the client would offer {len(offered)} cipher suites, not one: {', '.join(offered)}")
    port = bench.port()
    run = f"{bench.directory}/{name}"
    bench.on_sender.apply(changes.directory(run))
    text = CONFIGURATION.format(
        root=bench.payload_directory,
        port=port,
        address=f"[{bench.address}]" if bench.address.version == 6 else bench.address,
        run=run,
        certificate=certificate,
        key=key,
        log_format=LOG_FORMAT,
        ciphers=cipher_suite.lighttpd,
        limit=_limit(parameters.at_once) if parameters.at_once else "",
    )
    configuration = bench.sender.put(text.encode(), f"{bench.folder}/{name}/lighttpd.conf")
    served = bench.on_sender.serve(
        f"lighttpd for {name}",
        [*bench.in_environment(), "lighttpd", "-D", "-f", configuration],
        str(bench.address),
        port,
        f"{bench.folder}/{name}",
    )
    base = bench.base_url("https", port)

    def verify(seen: Observed) -> Witness:
        logged = request_log.check(seen)
        facts = logged.facts | {"suite": seen.cipher_suite, **lengths(seen.cipher_suite)}
        if logged.reason is None and seen.cipher_suite != cipher_suite.libcurl:
            return Witness(facts, f"the cipher suite is {seen.cipher_suite}, not {cipher_suite.libcurl}")
        return Witness(facts, logged.reason)

    return Deployed(
        url=lambda payload: f"{base}/{payload}",
        log=f"{run}/access.log",
        server=served.number,
        verify=verify,
        tls=tls,
        asks_cipher_suite=True,
        driver_found="GnuTLS",
    )
