"""A certificate for the sender's address, made for this run on the sender; its key never leaves tmpfs there."""

from __future__ import annotations

from harness.bench import Bench

SHARED = "certificate"


def make(bench: Bench) -> tuple[str, str, str]:
    """Paths of (certificate, key) on the sender and of the certificate on the receiver; made once a run."""
    certificate = f"{bench.sender.directory}/certificate.pem"
    key = f"{bench.sender.directory}/certificate.key"
    if SHARED not in bench.shared:
        bench.sender.check(
            [
                *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-sha256", "-days", "2"),
                *("-subj", "/CN=pathproof", "-addext", f"subjectAltName=IP:{bench.address}"),
                *("-keyout", key, "-out", certificate),
            ],
            timeout=60,
        )
        text = bench.sender.read([certificate])[certificate] or ""
        bench.shared[SHARED] = bench.receiver.put(text.encode(), "certificate.pem")
    return certificate, key, bench.shared[SHARED]
