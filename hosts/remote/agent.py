"""The typed door to a host's agent: a method for each operation of ``hosts/onhost/agent/protocol.py``.

Every method has a deadline, its own timeout and some slack where it has one. It raises AgentError where the host
refuses or replies in another shape, HostLost where the agent is gone, does not keep to the protocol or is too late.
"""

from __future__ import annotations

import itertools
import json
import shlex
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

from hosts.errors import HostLost, Refusal
from hosts.onhost.agent import protocol, values
from hosts.onhost.agent.protocol import Operation, Reply
from hosts.onhost.agent.wire import ShapeError, decode, encode

USUAL_SECONDS = 30.0
TALLY_SECONDS = 120.0
"""What counting a long log may take beyond waiting for it."""
SLACK_SECONDS = 15.0
CLIENTS_SECONDS = 200.0
"""For as many clients as a suite has, each of which may take its time to start."""
"""So much later than its own timeout an operation must have answered."""
COOL_SECONDS = 120.0
"""For a slow disk to take what is still to be written."""


FOREIGN_LINES = 1000
"""What a login shell may print before its command begins."""


class AgentError(Refusal):
    """The agent refused or failed an operation; the message is the host's own."""


class Transport(Protocol):
    """What carries lines to an agent and back; raises HostLost."""

    def write(self, data: bytes) -> None: ...

    def read_line(self, timeout: float) -> bytes: ...


class Agent:
    """One host's agent. Safe to be asked by several threads: one after the other."""

    def __init__(self, name: str, transport: Transport) -> None:
        self.name = name
        self.commands: deque[str] = deque(maxlen=5)
        """The last commands run there, for messages; what they read is never shown."""
        self.heard = time.monotonic()
        """When it answered last."""
        self._transport = transport
        self._ids = itertools.count(1)
        self._lock = threading.Lock()

    def hello(self, deadline: float) -> values.Hello:
        """Its first words. Raises AgentError where it will not serve, HostLost.

        A login shell may print something before, which is passed over.
        """
        first, said = None, list[str]()
        end = time.monotonic() + deadline
        while first is None:
            try:
                line = self._transport.read_line(max(0.01, end - time.monotonic()))
            except HostLost as error:
                if not said:
                    raise
                raise self._never_began(f"{error.what}; on its standard output: {said[-1]}") from error
            first = _first_words(line)
            if first is None:
                said.append(line[:200].decode(errors="replace").strip() or "an empty line")
            if len(said) > FOREIGN_LINES:
                raise self._never_began(f"it only said things like: {said[-1]}")
        if "fatal" in first:
            step = first.get("next_step")
            raise AgentError(str(first["fatal"]), host=self.name, next_step=None if step is None else str(step))
        return cast(values.Hello, self._decoded(values.Hello, first.get("ready"), "its first line"))

    def _never_began(self, why: str) -> HostLost:
        return HostLost(
            f"the agent did not begin: {why}",
            host=self.name,
            next_step="see what the host says to a command: ssh HOST true; it should say nothing, and end well",
        )

    def _ask(self, asked: Operation[Reply], deadline: float = USUAL_SECONDS) -> Reply:
        op = type(asked).__name__
        with self._lock:
            number = next(self._ids)
            message = {"id": number, "op": op, "args": encode(asked)}
            self._transport.write((json.dumps(message) + "\n").encode())
            reply = self._receive(deadline)
            self.heard = time.monotonic()
        if reply.get("id") != number:  # of a request that was given up: from now on every answer is a wrong one
            raise HostLost(f"the agent answered request {reply.get('id')} instead of {number}, {op}", host=self.name)
        if "error" in reply:
            raise AgentError(str(reply["error"]), host=self.name, commands=tuple(self.commands))
        return cast(Reply, self._decoded(protocol.reply_type(type(asked)), reply.get("result"), f"the reply to {op}"))

    def _receive(self, deadline: float) -> dict[str, Any]:
        line = self._transport.read_line(deadline)
        try:
            return dict(json.loads(line))
        except (ValueError, TypeError) as error:
            said = line[:200].decode(errors="replace")
            raise HostLost(f"the agent did not speak JSON but said: {said}", host=self.name) from error

    def _decoded(self, kind: Any, value: Any, where: str) -> Any:
        try:
            return decode(kind, value, where)
        except ShapeError as error:
            raise AgentError(f"the agent does not keep to the protocol: {error}", host=self.name) from error

    def ping(self) -> None:
        """Renew the lease."""
        self._ask(protocol.Ping(), 15.0)

    # changes, commands, files, servers

    def apply(self, change: values.Change) -> int:
        """Make a change; its number in the host's journal."""
        return self._ask(protocol.Apply(change), 60.0)

    def foresee(self, change: values.Change) -> list[str]:
        """The kernel modules that a change would load; refused where the change would be."""
        return self._ask(protocol.Foresee(change), 60.0)

    def undo(self, numbers: Sequence[int]) -> list[str]:
        """Undo changes, newest first; what could not be undone. What others changed or use is told at the end."""
        return self._ask(protocol.Undo(list(numbers)), 120.0)

    def run(
        self,
        argv: Sequence[str],
        timeout: float,
        stdin: str | None = None,
        cwd: str | None = None,
        looks: bool = False,
    ) -> values.Result:
        """Run a command for at most ``timeout`` seconds. ``stdin`` is never shown. ``looks``: it changes nothing."""
        self.commands.append(shlex.join(argv))
        return self._ask(protocol.Run(list(argv), timeout, stdin, cwd, looks), timeout + SLACK_SECONDS)

    def finish(self, argv: Sequence[str], environment: Mapping[str, str], timeout: float) -> values.Result:
        """Run a command that is not to be ended in its middle, and that the host's guardian waits for, too."""
        self.commands.append(shlex.join(argv))
        return self._ask(protocol.Finish(list(argv), dict(environment), timeout), timeout + SLACK_SECONDS)

    def read(self, paths: Sequence[str]) -> dict[str, str | None]:
        """Contents of whole files; None for what is not there."""
        return self._ask(protocol.Read(list(paths)))

    def put(self, path: str, content_base64: str, mode: int, sha256: str) -> None:
        """Write a file below the run's directory."""
        self._ask(protocol.Put(path, content_base64, mode, sha256))

    def make_payload(self, path: str, size_bytes: int, seed: int) -> str:
        """A file of random bytes below the run's directory; its SHA-256."""
        return self._ask(protocol.MakePayload(path, size_bytes, seed), 120.0)

    def lines(self, logs: Sequence[values.LogTail], timeout: float) -> list[list[str]]:
        """The whole lines of each log from its offset on, once those due are there or ``timeout`` s are over."""
        return self._ask(protocol.Lines(list(logs), timeout), timeout + SLACK_SECONDS)

    def tally(
        self, log: values.LogTail, connection: Sequence[str], leave_out: Sequence[str], timeout: float
    ) -> values.Tallied:
        """The lines of a log of JSON objects from its offset on, counted; waits as ``lines`` does."""
        asked = protocol.Tally(log, list(connection), list(leave_out), timeout)
        return self._ask(asked, timeout + TALLY_SECONDS)

    def port_taken(self, address: str, port: int) -> bool:
        """Whether somebody listens there."""
        return self._ask(protocol.PortTaken(address, port))

    def wait_port(self, address: str, port: int, number: int, timeout: float) -> str | None:
        """Wait until the process of change ``number`` lets a connection in; else why not."""
        return self._ask(protocol.WaitPort(address, port, number, timeout), timeout + SLACK_SECONDS)

    def addresses(self) -> dict[str, list[str]]:
        """The host's addresses, by interface; of one that has none, too."""
        return self._ask(protocol.Addresses())

    def interface_to(self, destination: str, source: str) -> str:
        """The interface by which packets from ``source``, an address there, leave to ``destination``."""
        return self._ask(protocol.InterfaceTo(destination, source))

    def clock(self) -> float:
        """Its time of day, in seconds since 1970."""
        return self._ask(protocol.Clock())

    def set_processors(self, processors: Sequence[int]) -> None:
        """The processors that the agent and what it starts may run on."""
        self._ask(protocol.SetProcessors(list(processors)))

    def set_environment(self, values: Mapping[str, str]) -> None:
        """Environment variables of the agent and of what it starts. Refused once GnuTLS is loaded."""
        self._ask(protocol.SetEnvironment(dict(values)))

    def observe(self, counters: Mapping[str, values.Counter]) -> values.Observation:
        """Counters and busy time, read in one go."""
        return self._ask(protocol.Observe(dict(counters)))

    # the link and transfers

    def give(self, address: str, port: int, size_bytes: int, timeout: float) -> values.Given:
        """Let one connection in and send bytes down it; what TCP tells of it once all has arrived."""
        return self._ask(protocol.Give(address, port, size_bytes, timeout), timeout + SLACK_SECONDS)

    def pull(self, address: str, port: int, size_bytes: int, timeout: float) -> float:
        """Take bytes from such a giver, who is waited for as long as for the bytes; seconds."""
        return self._ask(protocol.Pull(address, port, size_bytes, timeout), 2 * timeout + SLACK_SECONDS)

    def send_protocol(self, number: int, source: str, target: str, content_hex: str) -> None:
        """Send one IP packet of a protocol."""
        self._ask(protocol.SendProtocol(number, source, target, content_hex))

    def hear_protocol(self, number: int, address: str, content_hex: str, timeout: float) -> bool:
        """Whether such a packet arrives within ``timeout`` s."""
        return self._ask(protocol.HearProtocol(number, address, content_hex, timeout), timeout + SLACK_SECONDS)

    def make_room(self, files: Sequence[str], size_bytes: int) -> None:
        """Room for payloads of this size in these files below the run's directory."""
        self._ask(protocol.MakeRoom(list(files), size_bytes), 120.0)

    def fetch(self, url: str, out: str, size_bytes: int, timeout: float, tls: values.Tls | None) -> values.Fetched:
        """One transfer of a payload of ``size_bytes`` into a file below the run's directory."""
        return self._ask(protocol.Fetch(url, out, size_bytes, timeout, tls), timeout + SLACK_SECONDS)

    def have_clients(self, commands: Sequence[Sequence[str]]) -> None:
        """Have these clients of ours ready to fetch, and no others."""
        self._ask(protocol.HaveClients([list(command) for command in commands]), CLIENTS_SECONDS)

    def cool(self, path: str) -> values.Residency:
        """Put a file out of the host's memory; what of it stayed there."""
        return self._ask(protocol.Cool(path), COOL_SECONDS)

    def fetch_by(self, command: Sequence[str], path: str, out: str, size_bytes: int, timeout: float) -> values.Fetched:
        """One transfer of a payload of ``size_bytes`` by a client of ours."""
        return self._ask(protocol.FetchBy(list(command), path, out, size_bytes, timeout), timeout + SLACK_SECONDS)

    def prime(self, url: str, timeout: float, size_bytes: int, sha256: str, tls: values.Tls) -> str | None:
        """The TLS session for the next ``resumed`` batch of this file; else why not."""
        return self._ask(protocol.Prime(url, timeout, size_bytes, sha256, tls), timeout + SLACK_SECONDS)

    def fetch_many(
        self,
        url: str,
        count: int,
        timeout: float,
        size_bytes: int,
        sha256: str,
        tls: values.Tls | None,
        connection: values.Connection,
    ) -> values.Fetched:
        """Transfers of one small file, one after the other."""
        asked = protocol.FetchMany(url, count, timeout, size_bytes, sha256, tls, connection)
        return self._ask(asked, timeout + SLACK_SECONDS)

    def digest(
        self, files: Sequence[values.Received], decipher: values.Decipher | None = None
    ) -> list[values.Digested]:
        """SHA-256 of what was received, deciphered where asked."""
        return self._ask(protocol.Digest(list(files), decipher), 120.0 * max(1, len(files)))

    def offered_cipher_suites(self, tls: values.Tls) -> list[str]:
        """The TLS cipher suites that this host would offer as a receiver."""
        return self._ask(protocol.OfferedCipherSuites(tls))

    def agreed_cipher_suite(self, url: str, tls: values.Tls) -> str | None:
        """TLS version and cipher suite that a server agrees on with this host."""
        return self._ask(protocol.AgreedCipherSuite(url, tls))

    # what servers and ciphers do and cost

    def trace_start(self, number: int, timeout: float) -> None:
        """Attach strace to the processes of change ``number``."""
        self._ask(protocol.TraceStart(number, timeout), timeout + SLACK_SECONDS)

    def trace_stop(self) -> values.SystemCalls:
        """End the trace; what the processes did."""
        return self._ask(protocol.TraceStop(), 40.0)

    def hash_cost(self, name: str, seconds: float, interface: values.CryptoInterface = "AF_ALG") -> values.Costs:
        """What a digest by the kernel's hash costs."""
        return self._ask(protocol.HashCost(interface, name, seconds), seconds + 2 * SLACK_SECONDS)

    def gnutls_cost(self, cipher: str, mac: str | None, record_bytes: int, seconds: float) -> values.Costs:
        """What enciphering a TLS record costs in user space."""
        return self._ask(protocol.GnutlsCost(cipher, mac, record_bytes, seconds), seconds + 2 * SLACK_SECONDS)

    def crypto_flags(self) -> dict[str, int] | None:
        """Flags of the kernel's crypto drivers by name; None where they are not to be had."""
        return self._ask(protocol.CryptoFlags())

    def alg_answer(
        self,
        kind: values.CipherKind,
        name: str,
        key_hex: str,
        iv_hex: str,
        text_hex: str,
        aad_hex: str,
        encrypt: bool,
        interface: values.CryptoInterface = "AF_ALG",
    ) -> str:
        """What the kernel's cipher makes of a text, in hex."""
        return self._ask(protocol.AlgAnswer(interface, kind, name, key_hex, iv_hex, text_hex, aad_hex, encrypt))

    def alg_verify(
        self,
        kind: values.CipherKind,
        name: str,
        evp: str | None,
        key_bytes: int,
        iv_bytes: int,
        size_bytes: int,
        aad_bytes: int,
        interface: values.CryptoInterface = "AF_ALG",
    ) -> str | None:
        """None where the kernel's cipher and OpenSSL agree about random bytes, else what differs."""
        asked = protocol.AlgVerify(interface, kind, name, evp, key_bytes, iv_bytes, size_bytes, aad_bytes)
        return self._ask(asked)


def _first_words(line: bytes) -> dict[str, Any] | None:
    """An agent's, or None where it is somebody else who speaks."""
    try:
        said = json.loads(line)
    except ValueError:
        return None
    return said if isinstance(said, dict) and said.keys() & {"ready", "fatal"} else None
