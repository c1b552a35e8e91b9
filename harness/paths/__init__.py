"""Data paths: one file each. Adding one is adding a file with a ``PATH``, or an entry point of another package.

A path never falls back: it says before anything starts why it can run nowhere (``impossible``) or not on these hosts
(``unsupported``), and after every transfer what proves that the bytes took it (``judge``).
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any, Protocol

from harness.bench import Bench
from harness.ceiling import Steps
from harness.setup import Connection, Setup
from hosts.errors import ConfigError
from hosts.facts import Facts

ENTRY_POINTS = "pathproof.paths"


@dataclass(frozen=True)
class Observed:
    """What one sample left behind: ``requests`` transfers of ``payload`` plain bytes each.

    ``sender`` and ``receiver`` are counter deltas (None: not readable), ``log`` the lines the server wrote about it.
    ``connections``: those the receiver made. ``suite``: TLS version and suite that the server agrees on with what this
    client offers, asked right after the transfer, where the server's log does not say it.
    """

    payload: int
    sender: dict[str, int | None]
    receiver: dict[str, int | None]
    log: list[dict[str, Any]]
    suite: str | None = None
    requests: int = 1
    connection: Connection = "new"
    connections: int | None = None

    @property
    def connections_due(self) -> int:
        """How many connections there should have been."""
        return 1 if self.connection == "kept" else self.requests


@dataclass(frozen=True)
class Witness:
    """Whether the claimed path was taken: facts for the record, and the reason when it was not."""

    facts: dict[str, int | float | str | bool | None]
    reason: str | None = None


Counter = dict[str, Any]


@dataclass(frozen=True)
class Deployed:
    """A path that is ready to serve.

    ``url`` of a payload's name; ``log`` the sender's file that gets one JSON line a request; ``server`` the number of
    the server's process among the sender's changes; counters as ``observe`` of the agent takes them; ``decipher``
    (evp, key, iv) where payloads arrive enciphered. ``asks_suite``: the TLS suite has to be asked for after a sample.
    ``counts``: the log has the server's own account of its system calls. ``buffer_bytes``: of its buffer or record.
    ``calls``: system calls without which it was not this path, seen in an untimed run.
    """

    url: Callable[[str], str]
    log: str
    server: int
    judge: Callable[[Observed], Witness]
    tls: dict[str, Any] | None = None
    asks_suite: bool = False
    decipher: dict[str, str] | None = field(default=None, repr=False)
    sender_counters: dict[str, Counter] = field(default_factory=dict)
    receiver_counters: dict[str, Counter] = field(default_factory=dict)
    driver_found: str | None = None
    counts: bool = False
    buffer_bytes: int | None = None
    calls: frozenset[str] = frozenset()


class DataPath(Protocol):
    """What a path's file provides as ``PATH``."""

    name: str
    title: str
    clear: bool
    """True where nothing is encrypted: the suite's cipher does not apply."""
    builds: tuple[str, ...]
    """Kernel modules of ours that the sender needs (``hosts/kernel``)."""
    buffers: tuple[int, ...]
    """Sizes of its buffer or record that its crossings are counted with; empty where it has none to choose."""

    def impossible(self, setup: Setup) -> str | None:
        """Why this setup can run on no host at all, or None. Pure."""

    def unsupported(self, setup: Setup, sender: Facts, receiver: Facts) -> str | None:
        """Why a possible setup cannot run on these hosts, or None. Pure."""

    def deploy(self, bench: Bench, setup: Setup) -> Deployed:
        """Make it ready through the bench's scopes, which undo everything. Raises HarnessError."""

    def steps(self, setup: Setup) -> Steps | None:
        """What it does beyond plain sendfile, for the ceiling; None where no prices are known. Pure."""


def discover() -> dict[str, DataPath]:
    """All paths by name: the files of this folder, then other packages' entry points."""
    found: dict[str, DataPath] = {}
    for module in pkgutil.iter_modules(__path__):
        if not module.name.startswith("_"):
            path: DataPath = importlib.import_module(f"{__name__}.{module.name}").PATH
            found[path.name] = path
    for entry in entry_points(group=ENTRY_POINTS):
        path = entry.load()
        if path.name in found:
            raise ConfigError(f"two data paths are called {path.name!r}; one comes from {entry.value}")
        found[path.name] = path
    return found
