"""GnuTLS in user space, lighttpd's library, and the receiver's, which may be OpenSSL: what a TLS record costs there."""

from __future__ import annotations

from harness.api.prices import LARGE, Asked, PriceSource, price_of
from harness.api.steps import Price, Step
from harness.servers import openssl
from hosts.onhost.agent import curl

SECONDS = 0.2
RECEIVING_CALLS = 3
"""System calls of libcurl for each record: GnuTLS asks for its header and its body apart, and once more in vain where
that was not there yet. What came is copied into memory without one."""


def receiving(record: int) -> tuple[Step, ...]:
    """What the receiver does for each TLS record. The sender's cheapest call stands for the receiver's."""
    return Step("receiver_tls", chunk=record), Step("syscall", RECEIVING_CALLS, record)


def _measure(asked: Asked) -> dict[str, Price]:
    cipher, found = asked.cipher, dict[str, Price]()
    mac = None if cipher.aead else asked.parameters.integrity.upper()
    by_gnutls = curl.by_gnutls(asked.bench.receiver_facts.programs["libcurl"] or "")
    for name, host in (("gnutls", asked.bench.sender), ("receiver_tls", asked.bench.receiver)):
        if name in asked.needed and name == "receiver_tls" and not by_gnutls:
            found[name] = openssl.of_record(host, asked.bench.in_environment(), asked.parameters)
        elif name in asked.needed and cipher.gnutls:
            found[name] = price_of(host.agent.gnutls_cost(cipher.gnutls, mac, LARGE, seconds=SECONDS))
    return found


PRICES = PriceSource(
    {"gnutls": "a TLS record by GnuTLS", "receiver_tls": "a TLS record by the receiver's library"},
    _measure,
    ciphering=frozenset({"gnutls"}),
)
