"""What a data path is deployed on: both hosts, their scopes of changes, payloads, keys made for this run."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from harness.ciphers.table import Cipher
from hosts.errors import Refusal
from hosts.facts import Facts
from hosts.onhost.agent.kinds import needed
from hosts.onhost.agent.values import Decipher
from hosts.programs import Program, in_image, on_host
from hosts.remote import changes
from hosts.remote.changes import Scope
from hosts.remote.host import RemoteHost
from hosts.renamed import known_as

LINK_PORT = 18070
"""Of the sender, where the link is tested."""
FIRST_PORT, LAST_PORT = 18080, 18120
"""Of the sender: those of a suite's servers, one for each."""
MODULES = "/proc/modules"


@dataclass(frozen=True)
class Payload:
    """A file on the sender: its name there, its bytes, their SHA-256."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class OnDisk:
    """The directories on a real file system where a suite's files lie, on the sender and on the receiver."""

    sender: str
    receiver: str


@dataclass(frozen=True, repr=False)
class Key:
    """A key and an IV in hex, made for one run. Not shown anywhere."""

    key: str
    iv: str


def new_key(cipher: Cipher) -> Key:
    """A random key and IV of the cipher's sizes."""
    return Key(secrets.token_hex(cipher.key_bytes), secrets.token_hex(cipher.iv_bytes))


@dataclass(frozen=True, repr=False)
class Carried:
    """What a run carries from one opening of its testbed to the next, so that it is made or proven only once."""

    keys: dict[str, Key] = field(default_factory=dict)
    """By the cipher's name: the same file under the same key is the same cipher text, whoever sends it, and later too.
    """
    deciphered: dict[tuple[Decipher, str], str] = field(default_factory=dict)
    """The SHA-256 of a plain text, by how to decipher it and the SHA-256 of its cipher text."""
    programs: dict[str, bytes] = field(default_factory=dict)
    """Those compiled for their hosts, by name."""
    image: Path | None = None
    """What a lab's sender was booted from: programs are compiled there, and not on it."""

    def key(self, cipher: Cipher) -> Key:
        """This run's key for a cipher."""
        return self.keys.setdefault(cipher.name, new_key(cipher))


def load(host: RemoteHost, scope: Scope, *modules: str, sticky: bool = False) -> None:
    """Load those of these kernel modules that a host has, as a change that is undone with ``scope``.

    Newer kernels have some by another name (``hosts/renamed.py``), and any may have others built in: whether it can do
    what they are for is found by trying.
    What its administrator disabled (modprobe.d(5): ``install NAME /bin/false``) is not listed, and left alone.
    ``sticky``: the kernel may not let go of them any more.
    """
    loaded = {line.split()[0] for line in (host.read([MODULES])[MODULES] or "").splitlines()}
    wanted = [module for module in modules if loaded.isdisjoint(known_as(module))]
    if not wanted:
        return
    show = ["modprobe", "--quiet", "--all", "--show-depends"]  # of names that it does not know it says nothing
    listed = host.look([*show, *wanted]).stdout
    there = {word.rpartition("/")[2].partition(".")[0].replace("-", "_") for word in listed.split()}
    if later := [name for older, *newer in map(known_as, wanted) if older not in there for name in newer]:
        listed += host.look([*show, *later]).stdout
    if missing := [module for module in needed(listed) if module not in loaded]:
        scope.apply(changes.modules(*missing, sticky=sticky))


@dataclass
class Bench:
    """Both hosts during one suite."""

    sender: RemoteHost
    receiver: RemoteHost
    on_sender: Scope
    """Changes of the sender that are undone when the suite is over."""
    on_receiver: Scope
    """The same of the receiver."""
    folder: str
    """The suite's own, on the sender below the run's directory."""
    payload_directory: str
    """Where the sender has the files that are fetched."""
    ports: list[int]
    """Those of the sender that deployments of this suite use."""
    shared: dict[str, str]
    """What paths made once for an opened testbed, by name: the compiled server, the certificate."""
    facts: Facts
    """The sender's."""
    receiver_facts: Facts
    loaded: set[tuple[str, str]] = field(default_factory=set)
    """Kernel modules of ours that this suite has loaded, each with the role of its host."""
    environment: dict[str, str] = field(default_factory=dict)
    """What servers in user space are started with."""
    disk: OnDisk | None = None
    """None where files are in memory (tmpfs)."""
    carried: Carried = field(default_factory=Carried)
    """What outlives the opened testbed."""

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

    def on_both(self, action: Callable[[Scope, RemoteHost], None]) -> None:
        """Do something on both hosts at once, through the scope of each. Raises what it raises."""
        with ThreadPoolExecutor(2) as pool:
            both = [
                pool.submit(action, self.on_sender, self.sender),
                pool.submit(action, self.on_receiver, self.receiver),
            ]
        for each in both:
            each.result()

    @contextmanager
    def anew(self) -> Iterator[Bench]:
        """The same bench with scopes of its own: what is deployed on it is gone when this is left."""
        with changes.scopes(self.sender, self.receiver) as (on_sender, on_receiver):
            yield replace(self, on_sender=on_sender, on_receiver=on_receiver)

    def beside(self, name: str) -> Bench:
        """The same bench with a folder of its own, for another deployment of what the first one has."""
        other = replace(self, folder=f"{self.folder}-{name}")
        self.on_sender.apply(changes.directory(other.directory))
        return other

    def program(self, host: RemoteHost, name: str, made: Callable[[], Program]) -> str:
        """A program of ours on a host, compiled once a run, for a lab once for its image; its path.

        Raises Refusal where it cannot be compiled.
        """
        if name not in self.shared:
            known, image = self.carried.programs, self.carried.image
            if name not in known:
                known[name] = in_image(image, made()) if image else on_host(host, made())
            self.shared[name] = host.put(known[name], name, 0o700)
        return self.shared[name]

    def in_environment(self, more: Mapping[str, str] | None = None) -> list[str]:
        """What stands before a command to start it with the bench's environment, and ``more``."""
        variables = {**self.environment, **(more or {})}
        return ["env", *(f"{name}={value}" for name, value in variables.items())] if variables else []

    def places(self, workers: int | None) -> tuple[int, ...]:
        """The sender's processors that so many workers are kept to, one each; none where they may be anywhere."""
        return self.facts.usable[:workers] if workers else ()

    def port(self) -> int:
        """A port of the sender that no other deployment of this suite uses. Raises Refusal where there is none left."""
        port = self.ports[-1] + 1 if self.ports else FIRST_PORT
        if port > LAST_PORT:
            raise Refusal(
                f"a suite has ports {FIRST_PORT} to {LAST_PORT} for its servers, and all are taken",
                next_step="make two suites of it",
            )
        self.ports.append(port)
        return port

    def base_url(self, scheme: str, port: int) -> str:
        """``http://10.98.0.2:18080``, with brackets round an IPv6 address."""
        host = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{scheme}://{host}:{port}"
