"""What a controller may ask of a host's agent and what it is told: one definition for both ends.

Messages are JSON objects, one a line, over the SSH channel's standard streams. The agent begins with
``{"ready": values.Hello}`` or ``{"fatal": reason, "next_step": what to do}``, without the latter where the reason says
it. Then each ``{"id": number, "op": name of a class below, "args": its fields}`` is answered by
``{"id": number, "result": its reply}``, or by ``{"id": number, "error": reason}`` where the host refuses.
``Operation[R]`` says the type R of the reply. What may hold keys is kept out of every ``repr``.

The host may have Python 3.9, which cannot evaluate ``X | None``: hence Optional.
"""
# ruff: noqa: UP045

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Generic, Optional, TypeVar, get_args

from . import values

Reply = TypeVar("Reply")
IN_USE = "another run is using this host"
"""How the reason begins with which an agent ends whose host has another one."""
NOT_UNDONE = "not undone: "
"""How a line begins that an agent says last, on standard error, for each change that it could not undo."""
LEFT = "left to others: "
"""How the line begins with what it left to others, who changed or use it by then."""


class Operation(Generic[Reply]):
    """Something the agent does when asked; fields are its arguments."""


def reply_type(operation: Any) -> Any:
    """The type R of a class ``Operation[R]``."""
    return get_args(operation.__orig_bases__[0])[0]


@dataclass(frozen=True)
class Apply(Operation[int]):
    """Make a change; its number in the host's journal."""

    change: values.Change


@dataclass(frozen=True)
class Foresee(Operation[list[str]]):
    """What a change would find, without making it: the kernel modules that it would load. Refused as the change."""

    change: values.Change


@dataclass(frozen=True)
class Undo(Operation[list[str]]):
    """Undo changes, newest first; what could not be undone, a line each. What others changed or use is tried again, and
    told, when the agent ends."""

    numbers: list[int]


# commands, files, servers


@dataclass(frozen=True)
class Ping(Operation[None]):
    """Renew the lease."""


@dataclass(frozen=True)
class Run(Operation[values.Result]):
    """Run a command in a process group of its own. Refused where it writes more than the agent hands over. ``looks``:
    it changes nothing, so that a check may run it, too."""

    argv: list[str]
    timeout_seconds: float
    stdin: Optional[str] = field(repr=False)
    cwd: Optional[str]
    looks: bool


@dataclass(frozen=True)
class Finish(Operation[values.Result]):
    """Run a command that must not be ended in its middle, as root's package managers: whatever becomes of the
    controller, the guardian waits for it, too. ``stdout`` has all that it wrote."""

    argv: list[str]
    environment: dict[str, str]
    timeout_seconds: float


@dataclass(frozen=True)
class Read(Operation[dict[str, Optional[str]]]):
    """Whole files by path; None for one that is not there or not readable. Refused where one is too large."""

    paths: list[str]


@dataclass(frozen=True)
class Put(Operation[None]):
    """Write a file below the run's directory, atomically."""

    path: str
    content_base64: str = field(repr=False)
    mode: int
    sha256: str


@dataclass(frozen=True)
class MakePayload(Operation[str]):
    """Write a file of random bytes below the run's directory; its SHA-256 in hex."""

    path: str
    size_bytes: int
    seed: int


@dataclass(frozen=True)
class Lines(Operation[list[list[str]]]):
    """What logs have from an offset on, in whole lines, once each has the lines that are due or time is over."""

    logs: list[values.LogTail]
    timeout_seconds: float


@dataclass(frozen=True)
class Tally(Operation[values.Tallied]):
    """What a log of JSON objects has from its offset on, counted, once it has the lines that are due or time is over.

    Lines are alike that differ in nothing but the fields ``connection`` and ``leave_out``; a connection is told from
    others by these. Refused where too many are unlike.
    """

    log: values.LogTail
    connection: list[str]
    leave_out: list[str]
    timeout_seconds: float


@dataclass(frozen=True)
class PortTaken(Operation[bool]):
    """Whether somebody listens on a TCP port of this host."""

    address: str
    port: int


@dataclass(frozen=True)
class WaitPort(Operation[Optional[str]]):
    """Wait until the process of change ``number`` lets a connection in; None, or why it does not."""

    address: str
    port: int
    number: int
    timeout_seconds: float


@dataclass(frozen=True)
class Addresses(Operation[dict[str, list[str]]]):
    """The addresses of this host, by interface; of one that has none, too."""


@dataclass(frozen=True)
class InterfaceTo(Operation[str]):
    """The interface by which packets from an address of this host leave to another. Refused where there is no way."""

    destination: str
    source: str


@dataclass(frozen=True)
class Clock(Operation[float]):
    """This host's time of day, in seconds since 1970."""


@dataclass(frozen=True)
class SetProcessors(Operation[None]):
    """The processors that the agent, and what it starts from now on, may run on."""

    processors: list[int]


@dataclass(frozen=True)
class SetEnvironment(Operation[None]):
    """Set environment variables of the agent and of what it starts, before GnuTLS is loaded."""

    values: dict[str, str]


@dataclass(frozen=True)
class Observe(Operation[values.Observation]):
    """Read counters now, without a round trip each."""

    counters: dict[str, values.Counter]


# the link and transfers


@dataclass(frozen=True)
class Give(Operation[values.Given]):
    """Let one connection in and send bytes down it; what TCP tells of it once all has arrived."""

    address: str
    port: int
    size_bytes: int
    timeout_seconds: float


@dataclass(frozen=True)
class Pull(Operation[float]):
    """Take bytes from such a giver; seconds from the start of connect to the last byte."""

    address: str
    port: int
    size_bytes: int
    timeout_seconds: float


@dataclass(frozen=True)
class SendProtocol(Operation[None]):
    """Send one IP packet of a protocol, by its number, from an address of this host. Needs root."""

    number: int
    source: str
    target: str
    content_hex: str


@dataclass(frozen=True)
class HearProtocol(Operation[bool]):
    """Whether such a packet with this content comes to an address of this host within the time. Needs root."""

    number: int
    address: str
    content_hex: str
    timeout_seconds: float


@dataclass(frozen=True)
class MakeRoom(Operation[None]):
    """Have room for payloads of this size in these files below the run's directory, and in no others any more: ahead,
    so that no transfer is the first to touch a page."""

    files: list[str]
    size_bytes: int


@dataclass(frozen=True)
class Fetch(Operation[values.Fetched]):
    """One transfer of a payload of ``size_bytes`` into the file ``out`` below the run's directory, over a new
    connection."""

    url: str
    out: str
    size_bytes: int
    timeout_seconds: float
    tls: Optional[values.Tls]


@dataclass(frozen=True)
class HaveClients(Operation[None]):
    """Have these clients of ours running and ready, by their commands, and no others any more: ahead, so that no start
    of a process is part of a transfer. One that does not start says so when it is to fetch."""

    commands: list[list[str]]


@dataclass(frozen=True)
class Cool(Operation[values.Residency]):
    """Write a file of the run's back and have the kernel give up its pages; what of it stayed in memory."""

    path: str


@dataclass(frozen=True)
class FetchBy(Operation[values.Fetched]):
    """As ``Fetch``, by a client of ours: ``path`` is the URL's, of the server that its command names. An ``out`` that
    is an absolute path is a file that is there, and no room is made."""

    command: list[str]
    path: str
    out: str
    size_bytes: int
    timeout_seconds: float


@dataclass(frozen=True)
class Prime(Operation[Optional[str]]):
    """Make the TLS session that the next FetchMany of this file, ``resumed``, begins with (those for several files may
    wait together); None, or why not."""

    url: str
    timeout_seconds: float
    size_bytes: int
    sha256: str
    tls: values.Tls


@dataclass(frozen=True)
class FetchMany(Operation[values.Fetched]):
    """Transfers of one small file, one after the other."""

    url: str
    count: int
    timeout_seconds: float
    size_bytes: int
    sha256: str
    tls: Optional[values.Tls]
    connection: values.Connection


@dataclass(frozen=True)
class Digest(Operation[list[values.Digested]]):
    """SHA-256 of what was received into files below the run's directory, after deciphering where asked."""

    files: list[values.Received]
    decipher: Optional[values.Decipher]


@dataclass(frozen=True)
class OfferedCipherSuites(Operation[list[str]]):
    """The TLS cipher suites that the receiver is left to offer. Refused where its TLS library could not be masked."""

    tls: values.Tls


@dataclass(frozen=True)
class AgreedCipherSuite(Operation[Optional[str]]):
    """TLS version and cipher suite that a server agrees on, in libcurl's words; None without a connection."""

    url: str
    tls: values.Tls


# what servers and ciphers do and cost


@dataclass(frozen=True)
class TraceStart(Operation[None]):
    """Attach strace to the processes of change ``number``; returns when it is attached and they are at rest."""

    number: int
    timeout_seconds: float


@dataclass(frozen=True)
class TraceStop(Operation[values.SystemCalls]):
    """End the trace, and sum up what they did since."""


@dataclass(frozen=True)
class HashCost(Operation[values.Costs]):
    """What a digest costs by the kernel's hash ``name``; tried for ``seconds``."""

    interface: values.CryptoInterface
    name: str
    seconds: float


@dataclass(frozen=True)
class GnutlsCost(Operation[values.Costs]):
    """What enciphering a TLS record costs GnuTLS in user space; tried for ``seconds``. GnuTLS's names."""

    cipher: str
    mac: Optional[str]
    record_bytes: int
    seconds: float


@dataclass(frozen=True)
class CryptoFlags(Operation[Optional[dict[str, int]]]):
    """cra_flags of the kernel's crypto drivers by name; None where the crypto_user netlink is not served now."""


@dataclass(frozen=True)
class AlgAnswer(Operation[str]):
    """What the kernel's cipher makes of a text, in hex; an AEAD's tag at the end."""

    interface: values.CryptoInterface
    kind: values.CipherKind
    name: str
    key_hex: str = field(repr=False)
    iv_hex: str = field(repr=False)
    text_hex: str
    aad_hex: str
    encrypt: bool


@dataclass(frozen=True)
class AlgVerify(Operation[Optional[str]]):
    """Whether the kernel's cipher and OpenSSL's ``evp`` agree about random bytes; None, or what differs."""

    interface: values.CryptoInterface
    kind: values.CipherKind
    name: str
    evp: Optional[str]
    key_bytes: int
    iv_bytes: int
    size_bytes: int
    aad_bytes: int
