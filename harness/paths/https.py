"""``https``: TLS in user space (the paper's ssl(3), Figures 5 and 6): nginx and OpenSSL.

Only for suites that OpenSSL does not have any more (3DES) it is lighttpd and GnuTLS. The client offers exactly one
suite (GnuTLS itself is asked whether it is one), so that a server which wants another ends in a failed handshake.
"""

from __future__ import annotations

from harness.bench import Bench
from harness.ceiling import Step, Steps
from harness.paths import Deployed, _lighttpd, _need, _nginx
from harness.setup import Setup
from hosts.facts import Facts


def no_suite(setup: Setup) -> str | None:
    """Why TLS cannot protect a transfer like this at all."""
    if setup.suite:
        return None
    beside = "" if setup.cipher is None or setup.cipher.aead else f" and HMAC-{setup.integrity.upper()}"
    return f"TLS {setup.tls} has no suite with {setup.title}{beside} that a server offers today"


class Https:
    name = "https"
    title = "HTTPS (TLS in user space)"
    clear = False
    builds: tuple[str, ...] = ()
    buffers: tuple[int, ...] = (4096,)

    def impossible(self, setup: Setup) -> str | None:
        if setup.driver != "any":
            return "TLS in user space does not use a driver of the kernel's"
        if setup.suite and setup.suite.openssl is None and setup.connection == "resumed":
            return (
                f"{setup.title} needs lighttpd with GnuTLS, whose log does not tell whether a session was resumed: "
                "nothing could prove it"
            )
        return no_suite(setup)

    def unsupported(self, setup: Setup, sender: Facts, receiver: Facts) -> str | None:
        programs = ("nginx",) if setup.suite and setup.suite.openssl else ("lighttpd", "lighttpd-gnutls")
        missing = _need.missing(sender, receiver, sender_programs=(*programs, "openssl"))
        return _need.together(missing, _need.one_suite(receiver))

    def deploy(self, bench: Bench, setup: Setup) -> Deployed:
        if setup.suite and setup.suite.openssl:
            return _nginx.serve_tls(bench, self.name, setup, ktls=False, sendfile=True)
        return _lighttpd.serve_tls(bench, self.name, setup)

    def steps(self, setup: Setup) -> Steps | None:
        if setup.suite is None:
            return None
        library = "openssl" if setup.suite.openssl else "gnutls"
        record = _nginx.RECORD_BYTES
        return Steps(
            sender=(Step("read", chunk=2 * record), Step(library, chunk=record), Step("tcp_copy", chunk=record)),
            receiver=(Step("receiver_gnutls", chunk=record),),
        )


PATH = Https()
