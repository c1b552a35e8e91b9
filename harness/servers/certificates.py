"""A certificate for the sender's address, made here for this run; its key goes to the sender's tmpfs only."""

from __future__ import annotations

from harness.api.bench import Bench
from hosts import certificate as certificates
from hosts.certificate import Kind

SHARED = "certificate"


def make(bench: Bench, kind: Kind = "rsa-2048") -> tuple[str, str, str]:
    """Paths of (certificate, key) on the sender and of the certificate on the receiver; made once a run."""
    name = SHARED if kind == "rsa-2048" else f"{SHARED}-{kind}"
    if name not in bench.shared:
        text, secret = certificates.pair(bench.address, kind)
        bench.sender.put(secret, f"{name}.key")
        bench.sender.put(text, f"{name}.pem")
        bench.shared[name] = bench.receiver.put(text, f"{name}.pem")
    return f"{bench.sender.directory}/{name}.pem", f"{bench.sender.directory}/{name}.key", bench.shared[name]
