"""lighttpd with GnuTLS, for the TLS suites that OpenSSL does not have any more.

lighttpd's log knows no TLS suite, so after every sample, when the clock has stopped, a further handshake tells what
the server agrees to.
"""

from __future__ import annotations

import json

from harness.bench import Bench
from harness.paths import Deployed, Observed, Witness, _certificate, _log
from harness.setup import Setup
from hosts import changes
from hosts.errors import HarnessError

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
"""

# one JSON object a request; behind a pipe, because lighttpd keeps lines for a file back for up to four seconds
LOG_FORMAT = json.dumps('{"path":"%U","status":%s,"bytes":%B}')[1:-1]


def serve_tls(bench: Bench, name: str, setup: Setup) -> Deployed:
    """Start it on the sender, offering the setup's suite alone. Raises HarnessError."""
    suite = setup.suite
    if suite is None or suite.lighttpd is None:
        raise HarnessError(f"{name} needs a TLS suite that lighttpd with GnuTLS has")
    offered = bench.receiver.call("offered", priority=suite.gnutls_priority)
    if len(offered) != 1:
        raise HarnessError(f"the client would offer {len(offered)} suites, not one: {', '.join(offered)}")
    certificate, key, authority = _certificate.make(bench)
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
        ciphers=suite.lighttpd,
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

    def judge(seen: Observed) -> Witness:
        said = _log.check(seen)
        facts = said.facts | {"suite": seen.suite}
        if said.reason is None and seen.suite != suite.libcurl:
            return Witness(facts, f"the suite is {seen.suite}, not {suite.libcurl}")
        return Witness(facts, said.reason)

    return Deployed(
        url=lambda payload: f"{base}/{payload}",
        log=f"{run}/access.log",
        server=served.number,
        judge=judge,
        tls={"ca": authority, "priority": suite.gnutls_priority},
        asks_suite=True,
        driver_found="GnuTLS",
    )
