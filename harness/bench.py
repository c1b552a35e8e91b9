"""What a data path is deployed on: both hosts, their scopes of changes, payloads, keys made for this run."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address

from harness.ciphers import Cipher
from hosts import changes
from hosts.changes import Scope
from hosts.facts import Facts
from hosts.remote import RemoteHost

FIRST_PORT = 18080
MODULES = "/proc/modules"


@dataclass(frozen=True)
class Payload:
    """A file on the sender: its name there, its bytes, their SHA-256."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, repr=False)
class Key:
    """A key and an IV in hex, made for one deployment. Not shown anywhere."""

    key: str
    iv: str


def new_key(cipher: Cipher) -> Key:
    """A random key and IV of the cipher's sizes."""
    return Key(secrets.token_hex(cipher.key_bytes), secrets.token_hex(cipher.iv_bytes))


def load(host: RemoteHost, scope: Scope, *modules: str, sticky: Collection[str] = ()) -> None:
    """Load those of these kernel modules that a host has, as changes that are undone with ``scope``.

    A kernel may have others built in or under another name: whether it can do what they are for is found by trying.
    ``sticky``: those that the kernel may not let go of any more.
    """
    loaded = {line.split()[0] for line in (host.read([MODULES])[MODULES] or "").splitlines()}
    wanted = [module for module in modules if module.replace("-", "_") not in loaded]
    there = 'for module do modprobe -n -q "$module" && echo "$module"; done; true'
    for module in host.run(["sh", "-c", there, "sh", *wanted]).stdout.split():
        scope.apply(changes.module(module, sticky=module in sticky))


@dataclass
class Bench:
    """Both hosts during one suite. ``scope`` undoes a deployment's changes when the suite is over.

    ``folder``, on the sender below the run's own directory, is this suite's. ``facts`` are the sender's, ``loaded`` the
    kernel modules of ours that this suite has loaded; ``shared`` keeps what paths made once a run: the
    compiled server, the certificate. ``environment`` is what servers in user space are started with.
    """

    sender: RemoteHost
    receiver: RemoteHost
    on_sender: Scope
    on_receiver: Scope
    folder: str
    payload_directory: str
    ports: list[int]
    shared: dict[str, str]
    facts: Facts
    loaded: set[str] = field(default_factory=set)
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def directory(self) -> str:
        """The suite's own directory on the sender: what servers keep and say."""
        return f"{self.sender.directory}/{self.folder}"

    @property
    def address(self) -> IPv4Address | IPv6Address:
        """The sender's address on the measured link."""
        return self.sender.host.data_address

    @property
    def peer(self) -> IPv4Address | IPv6Address:
        """The receiver's address on the measured link."""
        return self.receiver.host.data_address

    @contextmanager
    def anew(self) -> Iterator[Bench]:
        """The same bench with scopes of its own: what is deployed on it is gone when this is left."""
        with Scope(self.sender) as on_sender, Scope(self.receiver) as on_receiver:
            yield replace(self, on_sender=on_sender, on_receiver=on_receiver)

    def beside(self) -> Bench:
        """The same bench with a folder of its own, for a second deployment of what the first one has."""
        other = replace(self, folder=f"{self.folder}-again")
        self.on_sender.apply(changes.directory(other.directory))
        return other

    def in_environment(self) -> list[str]:
        """What stands before a server's command to start it with the bench's environment."""
        return ["env", *(f"{name}={value}" for name, value in self.environment.items())] if self.environment else []

    def port(self) -> int:
        """A port of the sender that no other deployment of this run uses."""
        self.ports.append(self.ports[-1] + 1 if self.ports else FIRST_PORT)
        return self.ports[-1]

    def base_url(self, scheme: str, port: int) -> str:
        """``http://10.98.0.2:18080``, with brackets round an IPv6 address."""
        host = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{scheme}://{host}:{port}"
