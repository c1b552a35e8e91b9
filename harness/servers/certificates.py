"""A certificate for the sender's address, made here for this run; its key goes to the sender's tmpfs only."""

from __future__ import annotations

from harness.api.bench import Bench
from hosts import certificate as certificates

SHARED = "certificate"


def make(bench: Bench) -> tuple[str, str, str]:
    """Paths of (certificate, key) on the sender and of the certificate on the receiver; made once a run."""
    certificate = f"{bench.sender.directory}/certificate.pem"
    key = f"{bench.sender.directory}/certificate.key"
    if SHARED not in bench.shared:
        text, secret = certificates.pair(bench.address)
        bench.sender.put(secret, "certificate.key")
        bench.sender.put(text, "certificate.pem")
        bench.shared[SHARED] = bench.receiver.put(text, "certificate.pem")
    return certificate, key, bench.shared[SHARED]
