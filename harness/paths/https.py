"""``https``: TLS in user space (the paper's ssl(3), Figures 5 and 6), with lighttpd and GnuTLS.

Debian's OpenSSL has no 3DES suites, GnuTLS still has. The client offers exactly one suite (GnuTLS itself is asked
whether it is one), so that a server which wants another ends in a failed handshake; after every transfer, when the
clock has stopped, a further handshake tells what the server agrees to.
"""

from __future__ import annotations

import json

from harness.bench import Bench
from harness.ceiling import Step
from harness.ciphers import Cipher
from harness.paths import Deployed, Observed, Witness, _certificate, _need
from hosts import changes
from hosts.errors import HarnessError
from hosts.facts import Facts

CONFIGURATION = """\
server.document-root = "{root}"
server.port = {port}
server.bind = "{address}"
server.errorlog = "/dev/stderr"
server.modules = ( "mod_gnutls", "mod_accesslog" )
server.network-backend = "sendfile"
server.max-keep-alive-requests = 100
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


class Https:
    name = "https"
    title = "HTTPS (TLS in user space)"
    clear = False
    builds: tuple[str, ...] = ()
    steps: tuple[Step, ...] | None = None

    def unsupported(self, cipher: Cipher | None, driver: str, sender: Facts, receiver: Facts) -> str | None:
        if cipher is None or cipher.gnutls_priority is None:
            return f"TLS has no suite with {cipher.title if cipher else 'no cipher'} that a server offers today"
        if driver != "any":
            return "TLS in user space does not use a driver of the kernel's"
        return _need.missing(sender, receiver, sender_programs=("lighttpd", "lighttpd-gnutls", "openssl"))

    def deploy(self, bench: Bench, cipher: Cipher | None, driver: str) -> Deployed:
        if cipher is None or cipher.gnutls_priority is None:
            raise HarnessError("https needs a cipher that TLS has")
        offered = bench.receiver.call("offered", priority=cipher.gnutls_priority)
        if len(offered) != 1:
            raise HarnessError(f"the client would offer {len(offered)} suites, not one: {', '.join(offered)}")
        certificate, key, authority = _certificate.make(bench)
        port = bench.port()
        run = f"{bench.directory}/{self.name}"
        bench.on_sender.apply(changes.directory(run))
        text = CONFIGURATION.format(
            root=bench.payload_directory,
            port=port,
            address=f"[{bench.address}]" if bench.address.version == 6 else bench.address,
            run=run,
            certificate=certificate,
            key=key,
            log_format=LOG_FORMAT,
            ciphers=cipher.gnutls_cipher_string,
        )
        configuration = bench.sender.put(text.encode(), f"{bench.folder}/{self.name}/lighttpd.conf")
        bench.on_sender.serve(
            "lighttpd for https",
            ["lighttpd", "-D", "-f", configuration],
            str(bench.address),
            port,
            f"{bench.folder}/{self.name}",
        )
        base = bench.base_url("https", port)
        suite = cipher.tls_suite

        def judge(seen: Observed) -> Witness:
            """The server's log: one request of the whole payload over the one suite."""
            sent = [line["bytes"] for line in seen.log]
            facts = {"server_requests": len(sent), "server_bytes": sum(sent), "suite": seen.suite}
            if sent != [seen.payload]:
                return Witness(facts, f"the server's log shows {sent} bytes, not one request of {seen.payload}")
            if seen.suite != suite:
                return Witness(facts, f"the suite is {seen.suite}, not {suite}")
            return Witness(facts)

        return Deployed(
            url=lambda name: f"{base}/{name}",
            log=f"{run}/access.log",
            judge=judge,
            tls={"ca": authority, "priority": cipher.gnutls_priority},
            driver_found="GnuTLS",
        )


PATH = Https()
