"""What a suite asks of a data path, beside the file: the cipher, who implements it, how TLS and ESP are to use it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.ciphers import Cipher, Integrity, TlsSuite, TlsVersion

Connection = Literal["new", "resumed", "kept"]
"""Of consecutive requests: a connection and full handshake each, a resumed TLS session each, or one connection."""


@dataclass(frozen=True)
class Setup:
    """``cipher`` is None for a path that does not encrypt. ``driver``: the kernel's implementation, ``any`` or by name.

    ``buffer_bytes``: of the path's own buffer or TLS record where it has one; None for its usual size. ``requests``:
    transfers that make a sample; over 1, what a connection and its handshake cost is part of the question.
    """

    cipher: Cipher | None
    driver: str = "any"
    tls: TlsVersion = "1.2"
    integrity: Integrity = "sha1"
    connection: Connection = "new"
    buffer_bytes: int | None = None
    requests: int = 1

    @property
    def title(self) -> str:
        """The cipher as a person calls it."""
        return self.cipher.title if self.cipher else "no cipher"

    @property
    def suite(self) -> TlsSuite | None:
        """The TLS suite that this is, if there is one. An AEAD has an integrity of its own: no other is asked for."""
        if self.cipher is None:
            return None
        return self.cipher.tls.get((self.tls, "sha1" if self.cipher.aead else self.integrity))
