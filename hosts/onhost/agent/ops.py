"""What the agent does when asked: one function for each operation of the protocol, registered by its class."""
# ruff: noqa: ARG001 - every function is given both, whatever it needs

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from . import (
    cipher_suites,
    cold,
    commands,
    counters,
    crypto_user,
    curl,
    files,
    gnutls,
    hashing,
    kernel_ciphers,
    link,
    logs,
    network,
    processes,
    protocol,
)
from . import fetch as receiver
from .clients import Clients
from .errors import ChangeError
from .journal import Journal
from .protocol import Operation
from .small import SmallFiles
from .trace import Trace
from .values import (
    Costs,
    Decipher,
    Digested,
    Fetched,
    Given,
    Observation,
    Residency,
    Result,
    SystemCalls,
    Tallied,
)
from .wire import decode, encode


class Operations:
    """What operations work on: the run's directory on tmpfs (mode 0700), its journal, a trace, what receives.

    ``looks``: changes are refused.
    """

    def __init__(self, directory: Path, looks: bool = False) -> None:
        self.directory, self.looks = directory, looks
        self.journal = Journal(directory)
        self.trace: Trace | None = None
        self.large = receiver.Receiver(directory)
        self.clients = Clients()
        self.small = SmallFiles()
        self.masked = False
        """Whether variables were set before a TLS library was loaded."""


Asked = TypeVar("Asked", bound="Operation[Any]")
Reply = TypeVar("Reply")
SERVED: dict[str, tuple[type[Any], Callable[[Operations, Any], Any]]] = {}
"""By the operation's name: its class, and what does it."""


def perform(here: Operations, name: str, arguments: Any) -> Any:
    """Do an operation; its reply as JSON has it. Raises ChangeError, OSError, ValueError where it is refused."""
    if name not in SERVED:
        raise ChangeError(f"there is no operation {name}")
    kind, function = SERVED[name]
    return encode(function(here, decode(kind, arguments, name)))


def serves(kind: type[Asked]) -> Callable[[Callable[[Operations, Asked], Reply]], Callable[[Operations, Asked], Reply]]:
    """Registers what does an operation."""

    def register(function: Callable[[Operations, Asked], Reply]) -> Callable[[Operations, Asked], Reply]:
        SERVED[kind.__name__] = kind, function
        return function

    return register


@serves(protocol.Ping)
def ping(here: Operations, asked: protocol.Ping) -> None:
    """To be heard is enough."""


@serves(protocol.Run)
def run(here: Operations, asked: protocol.Run) -> Result:
    return commands.run(asked.argv, asked.timeout_seconds, Path(asked.cwd or here.directory), asked.stdin)


@serves(protocol.Finish)
def finish(here: Operations, asked: protocol.Finish) -> Result:
    if here.looks:
        raise ChangeError("this agent only looks: it changes nothing")
    return commands.finish(asked.argv, asked.environment, asked.timeout_seconds, here.directory)


@serves(protocol.Read)
def read(here: Operations, asked: protocol.Read) -> dict[str, str | None]:
    return {path: files.read(path) for path in asked.paths}


@serves(protocol.Put)
def put(here: Operations, asked: protocol.Put) -> None:
    try:
        data = base64.b64decode(asked.content_base64, validate=True)
    except binascii.Error as error:
        raise ChangeError(f"{asked.path}: damaged on the way: {error}") from error
    if hashlib.sha256(data).hexdigest() != asked.sha256:
        raise ChangeError(f"{asked.path}: damaged on the way: another SHA-256")
    files.write_atomically(here.directory / asked.path, data, asked.mode)


@serves(protocol.MakePayload)
def make_payload(here: Operations, asked: protocol.MakePayload) -> str:
    return files.write_payload(here.directory / asked.path, asked.size_bytes, asked.seed)


@serves(protocol.Lines)
def lines(here: Operations, asked: protocol.Lines) -> list[list[str]]:
    return files.lines(asked.logs, asked.timeout_seconds)


@serves(protocol.Tally)
def tally(here: Operations, asked: protocol.Tally) -> Tallied:
    return logs.tally(asked.log, asked.connection, asked.leave_out, asked.timeout_seconds)


@serves(protocol.Apply)
def apply(here: Operations, asked: protocol.Apply) -> int:
    if here.looks:
        raise ChangeError("this agent only looks: it changes nothing")
    return here.journal.apply(asked.change)


@serves(protocol.Foresee)
def foresee(here: Operations, asked: protocol.Foresee) -> list[str]:
    return here.journal.foresee(asked.change)


@serves(protocol.Undo)
def undo(here: Operations, asked: protocol.Undo) -> list[str]:
    return here.journal.undo(asked.numbers).problems


@serves(protocol.PortTaken)
def port_taken(here: Operations, asked: protocol.PortTaken) -> bool:
    return link.port_taken(asked.address, asked.port)


@serves(protocol.WaitPort)
def wait_port(here: Operations, asked: protocol.WaitPort) -> str | None:
    server = here.journal.entries[asked.number]["undo"]
    end = time.monotonic() + asked.timeout_seconds
    while time.monotonic() < end:
        if _ended(server["group"], server["start"]):
            return "it ended at once"
        try:
            socket.create_connection((asked.address, asked.port), timeout=1).close()
        except OSError:
            time.sleep(0.01)
        else:
            return None
    return f"nothing listened on {asked.address} port {asked.port} after {asked.timeout_seconds:g} s"


def _ended(pid: int, start_ticks: int) -> bool:
    try:
        ended, _ = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return processes.start_ticks(pid) != start_ticks
    return ended != 0


@serves(protocol.Addresses)
def addresses(here: Operations, asked: protocol.Addresses) -> dict[str, list[str]]:
    return network.addresses()


@serves(protocol.InterfaceTo)
def interface_to(here: Operations, asked: protocol.InterfaceTo) -> str:
    return network.interface_to(asked.destination, asked.source)


@serves(protocol.Clock)
def clock(here: Operations, asked: protocol.Clock) -> float:
    return time.time()


@serves(protocol.SetProcessors)
def set_processors(here: Operations, asked: protocol.SetProcessors) -> None:
    os.sched_setaffinity(0, asked.processors)


@serves(protocol.SetEnvironment)
def set_environment(here: Operations, asked: protocol.SetEnvironment) -> None:
    gnutls.environment(asked.values)
    here.masked = True


@serves(protocol.Observe)
def observe(here: Operations, asked: protocol.Observe) -> Observation:
    return counters.observe(asked.counters)


@serves(protocol.Give)
def give(here: Operations, asked: protocol.Give) -> Given:
    return link.give(asked.address, asked.port, asked.size_bytes, asked.timeout_seconds)


@serves(protocol.Pull)
def pull(here: Operations, asked: protocol.Pull) -> float:
    return link.pull(asked.address, asked.port, asked.size_bytes, asked.timeout_seconds)


@serves(protocol.SendProtocol)
def send_protocol(here: Operations, asked: protocol.SendProtocol) -> None:
    link.send_protocol(asked.number, asked.source, asked.target, bytes.fromhex(asked.content_hex))


@serves(protocol.HearProtocol)
def hear_protocol(here: Operations, asked: protocol.HearProtocol) -> bool:
    return link.hear_protocol(asked.number, asked.address, bytes.fromhex(asked.content_hex), asked.timeout_seconds)


@serves(protocol.MakeRoom)
def make_room(here: Operations, asked: protocol.MakeRoom) -> None:
    here.large.make_room(asked.files, asked.size_bytes)


@serves(protocol.Fetch)
def fetch(here: Operations, asked: protocol.Fetch) -> Fetched:
    return here.large.fetch(asked.url, asked.out, asked.size_bytes, asked.timeout_seconds, asked.tls)


@serves(protocol.HaveClients)
def have_clients(here: Operations, asked: protocol.HaveClients) -> None:
    here.clients.have(asked.commands)


@serves(protocol.Cool)
def cool(here: Operations, asked: protocol.Cool) -> Residency:
    return cold.cool(asked.path)


@serves(protocol.FetchBy)
def fetch_by(here: Operations, asked: protocol.FetchBy) -> Fetched:
    file = here.directory / asked.out
    if not Path(asked.out).is_absolute():
        here.large.room(asked.out, asked.size_bytes).spoil()
    return here.clients.fetch(asked.command, asked.path, file, asked.size_bytes, asked.timeout_seconds)


@serves(protocol.Prime)
def prime(here: Operations, asked: protocol.Prime) -> str | None:
    return here.small.prime(asked)


@serves(protocol.FetchMany)
def fetch_many(here: Operations, asked: protocol.FetchMany) -> Fetched:
    return here.small.fetch(asked)


@serves(protocol.Digest)
def digest(here: Operations, asked: protocol.Digest) -> list[Digested]:
    return [_digested(here.directory / file.path, file.size_bytes, asked.decipher) for file in asked.files]


def _digested(path: Path, size: int, decipher: Decipher | None) -> Digested:
    try:
        return Digested(receiver.digest(path, size, decipher), None)
    except (receiver.PayloadError, OSError) as error:
        return Digested(None, str(error))


@serves(protocol.OfferedCipherSuites)
def offered_cipher_suites(here: Operations, asked: protocol.OfferedCipherSuites) -> list[str]:
    if here.masked and not curl.library().gnutls:
        # Python's own hashes brought OpenSSL into this process before anybody could say anything
        raise ChangeError("OpenSSL in this host's receiver cannot be kept from the processor's instructions")
    return cipher_suites.offered(asked.tls)


@serves(protocol.AgreedCipherSuite)
def agreed_cipher_suite(here: Operations, asked: protocol.AgreedCipherSuite) -> str | None:
    return cipher_suites.agreed(asked.url, asked.tls)


@serves(protocol.TraceStart)
def trace_start(here: Operations, asked: protocol.TraceStart) -> None:
    if here.trace:
        raise ChangeError("a trace is running already")
    group = here.journal.entries[asked.number]["undo"].get("group")
    if group is None:
        raise ChangeError(f"change {asked.number} started no process")
    here.trace = Trace(group, here.directory, asked.timeout_seconds)


@serves(protocol.TraceStop)
def trace_stop(here: Operations, asked: protocol.TraceStop) -> SystemCalls:
    if not here.trace:
        raise ChangeError("no trace is running")
    trace, here.trace = here.trace, None
    return trace.stop()


@serves(protocol.HashCost)
def hash_cost(here: Operations, asked: protocol.HashCost) -> Costs:
    return hashing.cost(asked.interface, asked.name, asked.seconds)


@serves(protocol.GnutlsCost)
def gnutls_cost(here: Operations, asked: protocol.GnutlsCost) -> Costs:
    return gnutls.cost(asked.cipher, asked.mac, asked.record_bytes, asked.seconds)


@serves(protocol.CryptoFlags)
def crypto_flags(here: Operations, asked: protocol.CryptoFlags) -> dict[str, int] | None:
    return crypto_user.flags()


@serves(protocol.AlgAnswer)
def alg_answer(here: Operations, asked: protocol.AlgAnswer) -> str:
    key, iv, text, aad = map(bytes.fromhex, (asked.key_hex, asked.iv_hex, asked.text_hex, asked.aad_hex))
    return kernel_ciphers.answer(asked.interface, asked.kind, asked.name, key, iv, text, aad, asked.encrypt).hex()


@serves(protocol.AlgVerify)
def alg_verify(here: Operations, asked: protocol.AlgVerify) -> str | None:
    sizes = asked.key_bytes, asked.iv_bytes, asked.size_bytes, asked.aad_bytes
    return kernel_ciphers.verify(asked.interface, asked.kind, asked.name, asked.evp, *sizes)
