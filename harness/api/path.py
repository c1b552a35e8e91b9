"""The contract of a data path: what its file provides as ``PATH``, what it leaves ready to serve, what it is shown.

A path never falls back: it says before anything starts why it can run nowhere (``impossible``) or not on these hosts
(``unsupported``), and after every transfer what proves that the bytes took it (``verify``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from harness.api.bench import Bench
from harness.api.parameters import Connection, Parameters
from harness.api.prices import PriceSource
from harness.api.steps import Steps, Taking
from harness.api.words import Words
from hosts.facts import Facts
from hosts.onhost.agent.values import Change, Counter, Decipher, Tls


@dataclass(frozen=True)
class Loaded:
    """What many connections at once were, where a sample is that, as the generator of them counted it."""

    at_once: int
    """Connections that asked at once."""
    resumed: int
    """TLS sessions that were resumed."""
    canaries: int
    """Single transfers over connections of their own meanwhile; ``requests`` of the sample has them in it."""
    kernel_tls_now: int | None = None
    """The most connections that the sender's kernel TLS had at one moment; None where nobody could tell."""
    card_tls_now: int | None = None
    """The same of its network card."""


@dataclass(frozen=True)
class Observed:
    """What one sample left behind: ``requests`` transfers of ``payload`` plain bytes each."""

    payload: int
    """Plain bytes of one transfer."""
    sender: dict[str, int | None]
    """How much each counter of the sender has risen; None where it could not be read."""
    receiver: dict[str, int | None]
    """The same of the receiver."""
    log: list[dict[str, Any]]
    """The lines that the server wrote about it."""
    cipher_suite: str | None = None
    """TLS version and cipher suite that the server agrees on with what this client offers, asked after the
    block, where the server's log does not say it."""
    requests: int = 1
    """Consecutive transfers that make the sample."""
    connection: Connection = "new"
    connections: int | None = None
    """How many the receiver made."""
    sender_states: dict[str, str | None] = field(default_factory=dict)
    """What of the sender is no number: before and after where it changed, None where it never was."""
    receiver_states: dict[str, str | None] = field(default_factory=dict)
    """The same of the receiver."""
    load: Loaded | None = None
    """Where requests came from many connections at once; else they came one after the other."""
    client: dict[str, Any] | None = None
    """What our own client told of the transfer, where it was that one's."""

    @property
    def connections_due(self) -> int:
        """How many connections there should have been."""
        if self.connection != "kept":
            return self.requests
        return self.load.at_once + self.load.canaries if self.load else 1

    @property
    def resumed_due(self) -> int:
        """How many TLS sessions should have been resumed. Of load, each connection's first one is new."""
        if self.connection != "resumed":
            return 0
        return self.requests - (self.load.at_once + self.load.canaries if self.load else 0)


@dataclass(frozen=True)
class Witness:
    """Whether the claimed path was taken: facts for the record, and the reason when it was not."""

    facts: dict[str, int | float | str | bool | None]
    reason: str | None = None


@dataclass(frozen=True)
class Deployed:
    """A path that is ready to serve."""

    url: Callable[[str], str]
    """The URL of a payload's name."""
    log: str
    """The sender's file that gets one JSON line a request."""
    server: int
    """The number of the server's process among the sender's changes; of several, the first one's."""
    verify: Callable[[Observed], Witness]
    """What proves that a sample's bytes took this path, or the reason why nothing does."""
    tls: Tls | None = None
    """What the client offers; None where it does not speak TLS."""
    more_ports: tuple[int, ...] = ()
    """Ports of the sender besides that of ``url`` at which the same is served: load is dealt to all of them in turn."""
    client: tuple[str, ...] = ()
    """The command of our own client that receives it (``hosts/onhost/receiver``); empty for the ordinary receiver."""
    asks_cipher_suite: bool = False
    """Whether the cipher suite has to be asked for after a sample."""
    decipher: Decipher | None = field(default=None, repr=False)
    """How to decipher payloads that arrive enciphered."""
    sender_counters: dict[str, Counter] = field(default_factory=dict)
    """What the sender's agent reads before and after a sample, by name."""
    receiver_counters: dict[str, Counter] = field(default_factory=dict)
    """The same of the receiver's."""
    wire_bytes: Callable[[int], int] = int
    """How many bytes a payload is as an answer's body: more than its own where it is padded."""
    driver_found: str | None = None
    """What the kernel or library bound."""
    counts: bool = False
    """Whether the log has the server's own account of its system calls."""
    buffer_bytes: int | None = None
    """Size of its buffer or TLS record, where it has one."""
    calls: frozenset[str] = frozenset()
    """System calls without which it was not this path; an untimed run shows them."""
    during: tuple[Change, ...] = ()
    """Changes of the sender that are in force during each of its transfers, and undone before another path's."""
    crossing_limit: int | None = None
    """Where none of the payload may go between user and kernel memory: the bytes that heads, a handshake and a log may
    take; an untimed run shows them."""


class DataPath(ABC):
    """What a path's file provides as ``PATH``: an instance of a class that says its name and how it is deployed.

    All else has a default: it encrypts, needs nothing that could be missing, and no ratio is predicted for it.
    """

    name: str
    words: Words = Words()
    """How it is called in a terminal and in reports."""
    clear: bool = False
    """True where nothing is encrypted: the suite's cipher does not apply."""
    receives: bool = False
    """True of a way of receiving (``harness/receiving``), which some questions compare, and nothing else."""
    speaks_tls: bool = False
    """Whether it is TLS by OpenSSL's cipher suites, so that our own client can receive it."""
    rehearses: Taking | None = None
    """How our own client takes the rehearsal of a way of receiving; None where it is the ordinary receiver."""
    streams: bool = False
    """Whether an answer's body is one stream of cipher text under the run's key, which ends with its connection."""
    speaks_esp: bool = False
    """Whether its packets are ESP, which a firewall may drop: a check tries whether they pass."""
    builds: tuple[str, ...] = ()
    """Kernel modules of ours that the sender needs (``hosts/onhost/modules``)."""
    receiver_builds: tuple[str, ...] = ()
    """The same of the receiver."""
    buffers: tuple[int, ...] = ()
    """Sizes in bytes of its buffer or record that its crossings are counted with besides its usual one."""
    prices: tuple[PriceSource, ...] = ()
    """Where the prices of its steps are measured."""

    def impossible(self, parameters: Parameters) -> str | None:
        """Why this can run on no host at all, or None. Pure."""
        return None

    def unsupported(self, parameters: Parameters, sender: Facts, receiver: Facts) -> str | None:
        """Why what is possible cannot run on these hosts, or None. Pure."""
        return None

    @abstractmethod
    def deploy(self, bench: Bench, parameters: Parameters) -> Deployed:
        """Make it ready through the bench's scopes, which undo everything. Raises HostLost, Refusal."""

    def steps(self, parameters: Parameters) -> Steps | None:
        """What it does beyond plain sendfile, for the prediction; None where no prices are known. Pure."""
        return None
