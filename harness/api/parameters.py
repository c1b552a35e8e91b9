"""What a suite asks of a data path, beside the file: the cipher, who implements it, how TLS and ESP are to use it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.ciphers.table import Cipher, CipherSuite, Integrity, TlsVersion
from hosts.certificate import Kind

Connection = Literal["new", "resumed", "kept"]
"""Of consecutive requests: a connection and full handshake each, a resumed TLS session each, or one connection."""

Files = Literal["memory", "disk"]
"""Where files lie on both hosts: in memory (tmpfs), or on a real file system, read cold and written through."""

ReceiveOn = Literal["one", "readers"]
"""Processors on which what arrives is taken: one for all of it, or of each flow that of the program that reads it."""

Group = Literal["x25519", "secp256r1", "x25519mlkem768"]
"""Of a key exchange (RFC 8446, 4.2.7; draft-ietf-tls-ecdhe-mlkem)."""


@dataclass(frozen=True)
class Parameters:
    """What a suite asks of one data path."""

    cipher: Cipher | None
    """None for a path that does not encrypt."""
    driver: str = "any"
    """The kernel's implementation: by name, or ``any``."""
    tls: TlsVersion = "1.2"
    integrity: Integrity = "sha1"
    """The hash of the HMAC beside a cipher that is no AEAD."""
    connection: Connection = "new"
    buffer_bytes: int | None = None
    """Size of the path's own buffer or TLS record, where it has one; None for its usual size."""
    requests: int = 1
    """Transfers that make a sample; over 1, what a connection and its handshake cost is part of the question."""
    at_once: int | None = None
    """Of load, the most connections that ask at once; None where one transfer follows the other."""
    workers: int | None = None
    """Of load, the processes that serve, each on a processor of its own; None for one on whatever processor."""
    receive_on: ReceiveOn | None = None
    """Of load: where both hosts are to take what arrives; None: as they do."""
    key: Kind = "rsa-2048"
    """The server's, where the path speaks TLS."""
    group: Group | None = None
    """Of load: the one that the generator offers for the key exchange; None for its library's own choice."""
    sent_by: str | None = None
    """Asked of a way of receiving: the path that sends."""
    files: Files = "memory"

    @property
    def title(self) -> str:
        """The cipher as a person calls it."""
        return self.cipher.title if self.cipher else "no cipher"

    @property
    def cipher_suite(self) -> CipherSuite | None:
        """The cipher suite that this is, or None. An AEAD has an integrity of its own: no other is asked for."""
        if self.cipher is None:
            return None
        return self.cipher.tls.get((self.tls, "sha1" if self.cipher.aead else self.integrity))
