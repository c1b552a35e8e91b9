"""The keys that are offered to a host, as OpenSSH would offer them: those of the SSH agent first, never a password."""

from __future__ import annotations

import base64
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm
from paramiko.agent import AgentSSH
from paramiko.pkey import UnknownKeyType

from hosts.remote.known_hosts import certified_key
from hosts.remote.route import Route

AGENT_SECONDS = 10.0
ENVELOPE = b"openssh-key-v1\0"


@dataclass
class Offer:
    """Keys in the order in which they are offered, and why others are not."""

    keys: list[paramiko.PKey] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


class _Agent(AgentSSH):
    """paramiko's own reads its socket's place in the environment only, and ssh_config may name another."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(AGENT_SECONDS)
            connection.connect(str(path))
            self._connect(connection)  # type: ignore[attr-defined]
        except BaseException:
            connection.close()
            raise


@contextmanager
def offered(route: Route) -> Iterator[Offer]:
    """What is offered there; the agent is let go of afterwards."""
    offer = Offer()
    agent: _Agent | None = None
    if route.agent:
        try:
            agent = _Agent(route.agent)
        except (OSError, paramiko.SSHException) as error:
            offer.left_out.append(f"the SSH agent at {route.agent} does not answer: {error}")
    try:
        choose(route, agent.get_keys() if agent else (), offer)
        yield offer
    finally:
        if agent:
            agent._close()  # type: ignore[attr-defined]


def choose(route: Route, held: Sequence[paramiko.AgentKey], offer: Offer) -> None:
    """Add to an offer what a route's files and the keys that an agent has held make of it."""
    used: list[paramiko.AgentKey] = []
    certificates = [(key, certified_key(key.blob)) for key in held]
    for path in route.identities:
        half = public_half(path)
        there = [key for key, of in certificates if half and of == half]
        there += [key for key in held if key.asbytes() == half]
        if there:
            used += there
            offer.keys += there
            continue
        try:
            if path.is_file() and not path.name.endswith(".pub"):
                offer.keys.append(_certified(paramiko.PKey.from_path(path), route.certificates))
            elif route.only_identities:
                why = "the SSH agent has not" if path.exists() else "there is no"
                offer.left_out.append(f"{why} {path}")
        except (TypeError, paramiko.PasswordRequiredException):  # what cryptography and paramiko say of these
            offer.left_out.append(f"{path} needs its passphrase: ssh-add {path}")
        except (OSError, ValueError, UnsupportedAlgorithm, paramiko.SSHException, UnknownKeyType) as error:
            offer.left_out.append(f"{path} cannot be read: {error or type(error).__name__}")
    if not route.only_identities:
        offer.keys += [key for key in held if key not in used]


def public_half(path: Path) -> bytes | None:
    """The public key of a private one, from the file beside it or from itself, be it encrypted; None if unknown."""
    for file in (path, path.with_name(path.name + ".pub")):
        try:
            content = file.read_bytes()
            if b"PRIVATE KEY" in content:
                return _of_private(content)
            return base64.b64decode(content.split()[1], validate=True)
        except (OSError, ValueError, IndexError, paramiko.SSHException):
            continue
    return None


def _of_private(content: bytes) -> bytes:
    """The public key in OpenSSH's own format (PROTOCOL.key), where it is never encrypted. Raises ValueError."""
    data = base64.b64decode(b"".join(content.split(b"-----")[2].split()))
    if not data.startswith(ENVELOPE):
        raise ValueError("an older format, in which everything is encrypted")
    message = paramiko.Message(data[len(ENVELOPE) :])
    for _ in ("cipher", "key derivation", "its options"):
        message.get_string()
    message.get_int()
    return message.get_string()


def _certified(key: paramiko.PKey, certificates: Sequence[Path]) -> paramiko.PKey:
    """The key, with the user's certificate for it where there is one."""
    for path in certificates:
        try:
            key.load_certificate(str(path))
        except (ValueError, OSError):  # of another key's kind, or not there
            continue
    return key
