"""A lab's SSH keys: made for one boot, kept in memory only.

Each file is a memfd of this process: it has no name in any file system, so nothing is left of it however the
process ends. Others of the same user (an ssh client, say) read it as ``/proc/PID/fd/N`` while this process holds
it.
"""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat


class MemoryFile:
    """A file in memory that only its owner reads; gone when the last process that holds it is."""

    def __init__(self, name: str, content: bytes = b"") -> None:
        self.name = name
        self.fd = os.memfd_create(name)
        os.fchmod(self.fd, 0o600)
        os.write(self.fd, content)

    @property
    def path(self) -> Path:
        """Where other processes of this user find it."""
        return Path(f"/proc/{os.getpid()}/fd/{self.fd}")

    def text(self) -> str:
        """All of it, whoever wrote it; "" once it is closed."""
        if self.fd < 0:
            return ""
        return os.pread(self.fd, os.fstat(self.fd).st_size, 0).decode(errors="replace")

    def close(self) -> None:
        """Let go of it; a second call does nothing."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


def make(addresses: dict[str, str]) -> list[MemoryFile]:
    """New ed25519 keys for guests ``{role: address}``: who may log in, who answers, who is known to answer.

    Files ``id`` (the user's private key), ``authorized_keys``, ``known_hosts`` and each host's ``ROLE.key``.
    """
    user = Ed25519PrivateKey.generate()
    hosts = {role: Ed25519PrivateKey.generate() for role in addresses}
    known = b"".join(addresses[role].encode() + b" " + _public(key) for role, key in hosts.items())
    return [
        MemoryFile("id", _private(user)),
        MemoryFile("authorized_keys", _public(user)),
        MemoryFile("known_hosts", known),
        *(MemoryFile(f"{role}.key", _private(key)) for role, key in hosts.items()),
    ]


def _private(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())


def _public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) + b"\n"
