"""Which host key is to be believed: known_hosts files read as OpenSSH reads them (sshd(8), SSH_KNOWN_HOSTS), and
certificates of hosts (OpenSSH's PROTOCOL.certkeys). Pure, but for reading the files.

Lines that make no sense, or whose key is of a kind that is not known here, are passed over. A revoked key is refused
wherever else it stands.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, SSHCertificate, SSHCertificateType
from cryptography.hazmat.primitives.serialization.ssh import load_ssh_public_identity

AUTHORITY, REVOKED = "@cert-authority", "@revoked"


@dataclass(frozen=True)
class Line:
    """One that OpenSSH understands: whom it is about, and a key in SSH's wire format."""

    marker: str
    """``@cert-authority``, ``@revoked`` or nothing."""
    patterns: str
    key: bytes

    @property
    def kind(self) -> str:
        """The key's type, as ``ssh-ed25519``."""
        return _kind(self.key)

    def about(self, name: str) -> bool:
        """Whether the line is about a host of this name: hashed, or by patterns of which none with ``!`` matches."""
        if self.patterns.startswith("|"):
            return _hashed(self.patterns, name)
        words = [word for word in self.patterns.lower().split(",") if word]
        if any(_like(word[1:], name) for word in words if word.startswith("!")):
            return False
        return any(_like(word, name) for word in words if not word.startswith("!"))


@dataclass(frozen=True)
class Shown:
    """What a host showed: its key, and its certificate where it has one."""

    key: bytes
    certificate: bytes | None = None

    @property
    def fingerprint(self) -> str:
        """As ssh-keygen -l says it."""
        digest = base64.b64encode(hashlib.sha256(self.key).digest()).decode().rstrip("=")
        return f"{_kind(self.key)} SHA256:{digest}"


@dataclass(frozen=True)
class Known:
    """What the files say of one host. ``names``: with its port where that is not 22, then without."""

    names: Sequence[str]
    lines: Sequence[Line]

    @property
    def certified(self) -> bool:
        """Whether a certificate would be believed."""
        return any(line.marker == AUTHORITY for line in self.lines)

    @property
    def kinds(self) -> list[str]:
        """Types of the keys that are known."""
        return list(dict.fromkeys(line.kind for line in self.lines if not line.marker))

    def trouble(self, shown: Shown, now: datetime) -> str | None:
        """Why this is not the host that is meant, as far as anybody can tell; None where it is."""
        certificate = _certificate(shown.certificate) if shown.certificate else None
        signer = _signer(certificate) if certificate else None
        revoked = {line.key for line in self.lines if line.marker == REVOKED}
        if shown.key in revoked:
            return f"the host's key {shown.fingerprint} is one that known_hosts says is revoked"
        if signer in revoked:
            return "the host's certificate is signed by a key that known_hosts says is revoked"
        if any(line.key == shown.key for line in self.lines if not line.marker):
            return None
        if not self.certified or not shown.certificate:
            return self._unknown(shown)
        authorities = {line.key for line in self.lines if line.marker == AUTHORITY}
        why = _untrusted(certificate, signer, shown, authorities, self.names[-1], now)
        return f"the host's certificate is not to be believed: {why}" if why else None

    def _unknown(self, shown: Shown) -> str:
        """What is wrong with a key that is not known."""
        if _kind(shown.key) in self.kinds:
            return "the host's key is not the one in known_hosts: another machine, or somebody between"
        if self.kinds:
            return f"of this host known_hosts has only {' and '.join(self.kinds)}, and it shows {shown.fingerprint}"
        if self.certified:
            return f"the host shows no certificate, only its key {shown.fingerprint}, which known_hosts does not have"
        return f"known_hosts does not know the host's key {shown.fingerprint}"


def names(host: str, port: int, alias: str | None = None) -> tuple[str, ...]:
    """How a host is called in known_hosts. ``alias``: HostKeyAlias, which stands for both."""
    if alias:
        return (alias.lower(),)
    return (host.lower(),) if port == 22 else (f"[{host.lower()}]:{port}", host.lower())


def known(files: Iterable[Path], names: Sequence[str]) -> Known:
    """What these files say of a host; a file that is not there says nothing. Raises OSError.

    A key that is known without the port counts where none is known with it.
    """
    lines = [line for file in files if file.exists() for line in read(file.read_bytes())]
    about = [[line for line in lines if line.about(name)] for name in names]
    marked = [line for found in about for line in found if line.marker]
    plain = ([line for line in found if not line.marker] for found in about)
    return Known(names, [*marked, *next(filter(None, plain), [])])


def read(content: bytes) -> list[Line]:
    """The lines of a known_hosts file that make sense."""
    return [line for text in content.decode("latin-1").split("\n") if (line := _line(text))]


def certified_key(blob: bytes) -> bytes | None:
    """The key that a certificate is for; None for what is no certificate."""
    found = _certificate(blob)
    return _wire(found.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)) if found else None


def _line(text: str) -> Line | None:
    words = text.split()
    if not words or words[0].startswith("#"):
        return None
    marker = words.pop(0) if words[0].startswith("@") else ""
    if marker not in ("", AUTHORITY, REVOKED) or len(words) < 3:
        return None
    patterns, kind, key = words[:3]
    try:
        blob = base64.b64decode(key, validate=True)
        return Line(marker, patterns, blob) if _kind(blob) == kind else None
    except (ValueError, struct.error):
        return None


def _kind(key: bytes) -> str:
    """The type at the beginning of a key's wire format (RFC 4253, 6.6). Raises struct.error, ValueError."""
    (length,) = struct.unpack_from(">I", key)
    return key[4 : 4 + length].decode("ascii")


def _hashed(text: str, name: str) -> bool:
    """Whether ``|1|salt|digest`` stands for the name: HMAC with SHA-1."""
    parts = text.split("|")
    try:
        if len(parts) != 4 or parts[1] != "1":
            return False
        salt, digest = (base64.b64decode(part, validate=True) for part in parts[2:])
    except binascii.Error:
        return False
    return hmac.compare_digest(hmac.digest(salt, name.encode(), "sha1"), digest)


def _like(pattern: str, name: str) -> bool:
    """Whether a pattern of ``*`` and ``?`` matches; brackets stand for themselves."""
    expression = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(expression, name, re.DOTALL) is not None


def _certificate(blob: bytes) -> SSHCertificate | None:
    """A certificate; None where it is none that can be read."""
    try:
        found = load_ssh_public_identity(_kind(blob).encode() + b" " + base64.b64encode(blob))
    except (ValueError, struct.error, UnsupportedAlgorithm):
        return None
    return found if isinstance(found, SSHCertificate) else None


def _signer(certificate: SSHCertificate) -> bytes | None:
    """The key that signed it; None where its kind is not known here, as that of a security key."""
    try:
        return _wire(certificate.signature_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH))
    except (ValueError, UnsupportedAlgorithm):
        return None


def _wire(line: bytes) -> bytes:
    return base64.b64decode(line.split()[1])


def _untrusted(  # noqa: PLR0911 - the checks of PROTOCOL.certkeys, one after the other
    certificate: SSHCertificate | None,
    signer: bytes | None,
    shown: Shown,
    authorities: set[bytes],
    host: str,
    now: datetime,
) -> str | None:
    """Why a certificate does not prove that this is the host; None where it does."""
    if certificate is None or signer is None:
        return "it is of a kind that cannot be checked here"
    if signer not in authorities:
        return "it is signed by nobody whom known_hosts calls a @cert-authority for this host"
    if _wire(certificate.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)) != shown.key:
        return "it is another key's"
    try:
        if _with_sha1(certificate, shown.certificate or b""):
            return "it is signed with SHA-1"
        certificate.verify_cert_signature()
    except (InvalidSignature, AssertionError, ValueError):
        return "its signature is wrong"
    if certificate.type is not SSHCertificateType.HOST:
        return "it is a user's and not a host's"
    if certificate.critical_options:
        return "it has options that are not known here"
    principals = [name.decode(errors="replace").lower() for name in certificate.valid_principals]
    if host not in principals:
        return f"it is not for {host} but for {', '.join(principals) or 'nobody by name'}"
    if not certificate.valid_after <= now.timestamp() < certificate.valid_before:
        ends = [_moment(seconds) for seconds in (certificate.valid_after, certificate.valid_before)]
        return f"it is valid from {ends[0]} to {ends[1]}, and now it is {_moment(int(now.timestamp()))}"
    return None


def _with_sha1(certificate: SSHCertificate, blob: bytes) -> bool:
    """Whether an RSA key signed it with SHA-1: the signature's type stands before its length and itself at the end."""
    signer = certificate.signature_key()
    return isinstance(signer, RSAPublicKey) and blob[: -((signer.key_size + 7) // 8) - 4].endswith(b"ssh-rsa")


def _moment(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError, OSError):  # the greatest number stands for ever
        return "the end of time"
