"""Pure: a certificate for a host's address, that it signs itself.

It is valid whatever time it is: the clocks of two hosts may differ, and only this run's receiver trusts it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

# UTCTime ends with 2049 (RFC 5280, 4.1.2.5.1); a clock that nobody set begins in 1970
FIRST, LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2049, 12, 31, tzinfo=UTC)


Kind = Literal["rsa-2048", "ecdsa-p256"]
"""Of a server's key."""


def pair(address: IPv4Address | IPv6Address, kind: Kind = "rsa-2048") -> tuple[bytes, bytes]:
    """A certificate that it signs itself, and its key; both as PEM."""
    key = rsa.generate_private_key(65537, 2048) if kind == "rsa-2048" else ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pathproof")])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), FIRST, LAST)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(address)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made.public_bytes(serialization.Encoding.PEM), secret
