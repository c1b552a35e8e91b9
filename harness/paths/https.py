"""``https``: TLS in user space (the paper's ssl(3), Figures 5 and 6): nginx and OpenSSL.

Only for cipher suites that OpenSSL does not have any more (3DES) it is lighttpd and GnuTLS. The client offers exactly
one (GnuTLS itself is asked whether it is one), so that a server which wants another ends in a failed handshake.
"""

from __future__ import annotations

from harness.api.bench import Bench
from harness.api.parameters import Parameters
from harness.api.path import DataPath, Deployed
from harness.api.steps import Steps
from harness.api.words import Words
from harness.servers import datapath, gnutls, lighttpd, nginx, openssl, requirements
from hosts.facts import Facts


class Https(DataPath):
    name = "https"
    words = Words(
        label="TLS in user space",
        subject="Encrypting with TLS in user space (https)",
        short="HTTPS",
        baseline="TLS in user space",
        order=50,
        order_over_clear=0,
    )
    speaks_tls = True
    buffers = (4096,)
    prices = (datapath.PRICES, openssl.PRICES, gnutls.PRICES)

    def impossible(self, parameters: Parameters) -> str | None:
        if parameters.driver != "any":
            return "TLS in user space does not use a driver of the kernel's"
        if parameters.cipher_suite and parameters.cipher_suite.openssl is None and parameters.connection == "resumed":
            return (
                f"{parameters.title} needs lighttpd with GnuTLS, whose log does not tell whether a session was "
                "resumed: nothing could prove it"
            )
        if parameters.cipher_suite and parameters.cipher_suite.openssl is None and (parameters.workers or 1) > 1:
            return (
                f"{parameters.title} needs lighttpd with GnuTLS, which does not keep workers to processors of their own"
            )
        return requirements.no_cipher_suite(parameters)

    def unsupported(self, parameters: Parameters, sender: Facts, receiver: Facts) -> str | None:
        by_openssl = parameters.cipher_suite and parameters.cipher_suite.openssl
        programs = ("nginx",) if by_openssl else ("lighttpd", "lighttpd-gnutls")
        missing = requirements.missing(sender, receiver, sender_programs=(*programs, "openssl"))
        return requirements.together(missing, requirements.one_cipher_suite(parameters, receiver))

    def deploy(self, bench: Bench, parameters: Parameters) -> Deployed:
        if parameters.cipher_suite and parameters.cipher_suite.openssl:
            return nginx.serve_tls(bench, self.name, parameters, by="openssl", sendfile=True)
        return lighttpd.serve_tls(bench, self.name, parameters)

    def steps(self, parameters: Parameters) -> Steps | None:
        if parameters.cipher_suite is None:
            return None
        return nginx.tls_steps("openssl") if parameters.cipher_suite.openssl else lighttpd.tls_steps()


PATH = Https()
