"""Profile: what to measure, read from TOML into a validated model. A profile is data, not code."""

from __future__ import annotations

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from harness.api.parameters import Connection, Files, Group, Parameters, ReceiveOn
from harness.ciphers.table import CIPHERS, Cipher, Integrity, TlsVersion
from harness.spans import Blocks, Model, Quick, Sizes
from harness.units import parse_delay, parse_rate, size_name
from hosts.certificate import Kind
from hosts.errors import ConfigError
from hosts.onhost.agent.values import CryptoInterface
from hosts.testbed import explain

PROFILES = Path(__file__).parent.parent / "suites" / "profiles"
RECEIVING = ("receive", "disk-to-disk")
"""Questions whose paths are ways of receiving."""
QUESTIONS = ("large-files", "schemes", "small-files", "kernel-crypto", "load", *RECEIVING)
COMMON = ("cipher", "link_rate", "rtt", "loss", "mtu", "tls", "integrity")
"""What may stand at the top of a profile for all its suites that transfer files and do not say it themselves."""
FEWEST_ROUNDS = 5
"""Rounds of the question before its verdicts are looked at, and in a quick run: fewer tell little."""
MOST_CONNECTIONS, MOST_WORKERS = 4096, 64
WHOLE_PACKETS = ("tcp-segmentation-offload", "generic-segmentation-offload", "generic-receive-offload")
"""Offloads by which what is lost would be many packets at once."""


Buffer = Annotated[int, Field(ge=1, le=131_072)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]


class Question(Model):
    """What a profile is about: one path against another, time and CPU. It is measured first.

    After half of its rounds a size is let go whose verdicts are decided, or known to ``precision``.
    """

    candidate: Name
    baseline: Name
    suites: Annotated[tuple[Name, ...], Field(min_length=1)]
    sizes: Sizes
    rounds: Annotated[int, Field(ge=2, le=100)] = 10
    """How many boots of a lab, or deployments on hosts, its blocks are spread over."""
    precision: Annotated[float, Field(gt=0, lt=1)] = 0.01
    """Half an interval that is narrow enough, as a fraction."""

    @property
    def looks(self) -> tuple[int, ...]:
        """The rounds after which its verdicts are looked at: half of them, but no fewer than five, and all."""
        half = max(FEWEST_ROUNDS, -(-self.rounds // 2))
        return (half, self.rounds) if half < self.rounds else (self.rounds,)

    def asked_of(self, suite: Suite | None, name: str) -> None:
        """Raises ValueError where it cannot be asked of the suite of this name."""
        if not isinstance(suite, TransferSuite):
            raise ValueError(f"the question names {name!r}, which is no suite that transfers files")
        if self.candidate == self.baseline or self.baseline != suite.baseline:
            raise ValueError(f"the question's baseline must be that of {name}, {suite.baseline}, and not its candidate")
        if self.candidate not in suite.paths:
            raise ValueError(f"the question's candidate {self.candidate!r} is not among the paths of {name}")
        if others := sorted(set(self.sizes) - set(suite.sizes)):
            raise ValueError(f"the question asks for {size_name(others[0])}, which is no size of {name}")
        if suite.connections:
            _untimed(self.sizes)


class TransferSuite(Model):
    """One question: paths compared with a baseline, for one cipher, on one link."""

    name: Name
    question: Literal["large-files", "schemes", "small-files", "load", "receive", "disk-to-disk"]
    """The test file that asks it."""
    figure: int | None = None
    """Which of the paper's it answers."""
    cipher: str
    driver: str = "any"
    """The kernel's implementation of the cipher: by name, or ``any``, or ``card``."""
    tls: TlsVersion | None = None
    """By default the newest version that has the cipher."""
    integrity: Integrity = "sha1"
    """The hash of the HMAC beside a cipher that is no AEAD."""
    connection: Connection = "new"
    again: bool = False
    """Whether every path is deployed twice and compared with itself."""
    requests: Annotated[int, Field(ge=1, le=10_000)] = 1
    """Consecutive transfers that make one sample."""
    connections: tuple[Annotated[int, Field(ge=1, le=MOST_CONNECTIONS)], ...] = ()
    """How many ask at once, of load: each number is measured by itself."""
    key: Kind = "rsa-2048"
    """The server's, of TLS."""
    group: Group | None = None
    """Of load: the one that is offered for the key exchange of TLS 1.3."""
    workers: tuple[Annotated[int, Field(ge=1, le=MOST_WORKERS)], ...] = ()
    """Of load: processes that serve, each on a processor of its own; each number by itself. None: one, anywhere."""
    receive_on: ReceiveOn | None = None
    """Of load: the processors on which both hosts take what arrives; as they do where it is not said."""
    seconds: Annotated[float, Field(ge=0.2, le=600)] = 2.0
    """How long a sample of load is measured."""
    rates: tuple[Annotated[float, Field(gt=0, le=10)], ...] = ()
    """Of load: rates of an open loop besides, as shares of what the baseline's closed loop gives in the same run."""
    link_rate: Annotated[int | None, BeforeValidator(parse_rate)]
    """Bits per second; None for a link that is not shaped."""
    rtt: Annotated[float | None, BeforeValidator(parse_delay)] = None
    """Seconds that a round trip takes longer than the hosts' own way."""
    loss: Annotated[float | None, Field(gt=0, le=0.5)] = None
    """The share of packets that are lost on their way to the receiver."""
    mtu: Annotated[int | None, Field(ge=576, le=9000)] = None
    """Bytes, of both data interfaces; as they have it where it is not said."""
    sent_by: Name | None = None
    """Of receive, the path that sends to all of its ways of receiving."""
    files: Files = "memory"
    """Of ways of receiving: where the sent file and the received one lie."""
    baseline: Name
    """The path that others are compared with."""
    paths: Annotated[tuple[Name, ...], Field(min_length=1)]
    sizes: Sizes

    @model_validator(mode="after")
    def _consistent(self) -> TransferSuite:
        cipher = _known(self.cipher)
        if self.baseline not in self.paths:
            raise ValueError(f"the baseline {self.baseline!r} is not among its paths")
        if len(set(self.paths)) != len(self.paths):
            raise ValueError("a path is named twice")
        if self.tls and self.tls not in cipher.tls_versions():
            has = ", ".join(cipher.tls_versions()) or "none"
            raise ValueError(f"TLS {self.tls} has no {cipher.title} (versions that have it: {has})")
        if cipher.aead and self.integrity != "sha1":
            raise ValueError(f"{cipher.title} protects integrity by itself: leave out integrity")
        if self.connection != "new" and self.requests < 2 and not self.connections:
            raise ValueError(f"a connection that is {self.connection} needs requests of 2 or more, or connections")
        self._loaded()
        return self

    def _loaded(self) -> None:
        if (self.question == "load") != bool(self.connections):
            raise ValueError("connections = [...] are what the question load is about, and no other")
        if (self.rates or self.workers or self.group or self.receive_on) and not self.connections:
            raise ValueError("rates, workers, receive_on and a group of the key exchange are for the question load")
        if (self.group or self.key != "rsa-2048") and self.parameters.tls != "1.3":
            raise ValueError("another key, and a group of the key exchange, need TLS 1.3")
        if self.connections and self.requests > 1:
            raise ValueError("requests are transfers one after the other: load has connections instead")
        if self.connections:
            _untimed(self.sizes)
        if (self.question == "receive") != bool(self.sent_by):
            raise ValueError('sent_by = "PATH" is what the question receive holds constant, and no other')
        if self.files == "disk" and not self.receives:
            raise ValueError('files = "disk" is for ways of receiving: others receive into memory')
        if self.receives and self.driver != "any":
            raise ValueError('driver = "any" alone is for ways of receiving: no driver is chosen on the receiver')
        if self.receives and (self.requests > 1 or self.connection != "new"):
            raise ValueError("ways of receiving are compared by single files, each over a connection of its own")
        if any(len(set(some)) != len(some) for some in (self.connections, self.rates, self.workers)):
            raise ValueError("a number of connections or workers, or a rate, is named twice")

    @property
    def receives(self) -> bool:
        """Whether its ``paths`` are ways of receiving: sent by one path, or each by its counterpart."""
        return self.question in RECEIVING

    @property
    def parameters(self) -> Parameters:
        """What it asks of the paths that encrypt."""
        cipher = CIPHERS[self.cipher]
        version = self.tls or (cipher.tls_versions() or ["1.2"])[0]
        return Parameters(
            cipher,
            self.driver,
            version,
            self.integrity,
            self.connection,
            requests=self.requests,
            at_once=max(self.connections, default=None),
            receive_on=self.receive_on,
            key=self.key,
            group=self.group,
            sent_by=self.sent_by,
            files=self.files,
        )

    def fewer(self, quick: Quick) -> TransferSuite:
        """Itself with less time, smaller files, fewer requests."""
        less = {"requests": min(self.requests, quick.requests), "seconds": min(self.seconds, quick.load_seconds)}
        return self.model_copy(update={"sizes": quick.sizes(self.sizes), **less})


class CryptoSuite(Model):
    """Kernel crypto: operations on a buffer, for every cipher, buffer size and driver (the paper's Figure 4)."""

    name: Name
    question: Literal["kernel-crypto"]
    figure: int | None = None
    """Which of the paper's it answers."""
    ciphers: Annotated[tuple[str, ...], Field(min_length=1)]
    operations: Annotated[tuple[Literal["encrypt", "decrypt"], ...], Field(min_length=1)] = ("encrypt", "decrypt")
    drivers: Annotated[tuple[str, ...], Field(min_length=1)] = ("any", "each")
    """``any`` is the kernel's own choice, ``each`` all others that /proc/crypto then offers; or names."""
    interfaces: Annotated[tuple[CryptoInterface, ...], Field(min_length=1)] = ("/dev/crypto", "AF_ALG")
    """By which the kernel is asked; the others are compared with the first."""
    buffers: Annotated[tuple[Buffer, ...], Field(min_length=1)]
    """Their sizes in bytes."""
    reference_buffers: tuple[Buffer, ...] = ()
    """Those for which `openssl speed` is asked too, one second a sample."""
    depths: tuple[Annotated[int, Field(ge=1, le=64)], ...] = (1,)
    """Requests under way at once; those above 1 are tried with the largest buffer."""
    seconds: Annotated[float, Field(ge=0.02, le=10)] = 0.1
    """Time of one sample."""
    blocks: Blocks
    """Those that count."""

    @model_validator(mode="after")
    def _consistent(self) -> CryptoSuite:
        for name in self.ciphers:
            block = _known(name).block_bytes
            if odd := [size for size in self.buffers if size % block]:
                raise ValueError(f"buffers of {odd} bytes are no whole blocks of {name}")
        if unknown := sorted(set(self.reference_buffers) - set(self.buffers)):
            raise ValueError(f"reference buffers {unknown} are not among its buffers")
        if "any" not in self.drivers or 1 not in self.depths:
            raise ValueError("drivers must have any, and depths 1: they are what others are compared with")
        for what in (self.ciphers, self.buffers, self.drivers, self.depths, self.operations, self.interfaces):
            if len(set(what)) != len(what):
                raise ValueError("something is named twice")
        return self

    def fewer(self, quick: Quick) -> CryptoSuite:
        """Itself with fewer blocks, and only the buffers that user space is asked for too, where it is; without it."""
        less = {"blocks": min(self.blocks, quick.blocks), "seconds": min(self.seconds, quick.seconds)}
        buffers = self.reference_buffers or self.buffers
        return self.model_copy(update={**less, "buffers": buffers, "reference_buffers": ()})


Suite = Annotated[TransferSuite | CryptoSuite, Field(discriminator="question")]


def _untimed(sizes: Sizes) -> None:
    """Of load, where a sample's time is that of one request: raises ValueError where a size says seconds."""
    if timed := [size_name(size) for size, span in sizes.items() if span.seconds]:
        raise ValueError(
            f"{timed[0]} has seconds: of load, a size says its blocks alone, and the suite's seconds how long each is"
        )


def _known(name: str) -> Cipher:
    if name not in CIPHERS:
        raise ValueError(f"no cipher is called {name!r} (known: {', '.join(sorted(CIPHERS))})")
    return CIPHERS[name]


class Profile(Model):
    """A whole profile."""

    name: Name
    description: str
    margin: Annotated[float, Field(gt=0, lt=1)] = 0.03
    """How far from 1 a ratio still counts as the same."""
    warmup_blocks: Annotated[int, Field(ge=1, le=10)] = 1
    rounds: Annotated[int, Field(ge=1, le=100)] = 5
    """How many boots of a lab, or deployments on hosts, the blocks of what is not the question are spread over."""
    question: Question | None = None
    """None: everything is asked alike."""
    seed: int = 2005
    """Of payloads and of the order in each block."""
    instructions: Literal["all", "masked"] = "all"
    """``masked`` hides AES and vector instructions from user space on both hosts, for a comparison with a kernel whose
    ciphers are generic C."""
    offloads: dict[Annotated[str, Field(pattern=r"^[a-z0-9-]+$")], bool] = {}  # noqa: RUF012 - pydantic copies it
    """Of both data interfaces, by the names that ``ethtool -k`` shows: on or off."""
    numa: Literal["card"] | None = None
    """``card``: both hosts' programs keep to the processors of the node that the data interface's card is on."""
    af_alg: Literal["unrestricted"] | None = None
    """``unrestricted`` lifts the kernels' restriction of AF_ALG (crypto.af_alg_restrict) for the run."""
    testbeds: Annotated[tuple[Name, ...], Field(min_length=1)] = ("auto",)
    """The embedded labs that it is made for, the first one by default; ``auto`` is the best one at hand."""
    quick: Quick = Quick()
    suites: Annotated[tuple[Suite, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _names(self) -> Profile:
        names = [suite.name for suite in self.suites]
        if len(set(names)) != len(names):
            raise ValueError("two suites have the same name")
        if self.question:
            for name in self.question.suites:
                self.question.asked_of(next((suite for suite in self.suites if suite.name == name), None), name)
        lossy = any(isinstance(suite, TransferSuite) and suite.loss for suite in self.suites)
        if lossy and (kept := [name for name in WHOLE_PACKETS if self.offloads.get(name) is not False]):
            raise ValueError(f"loss is of single packets: the profile's offloads must have {', '.join(kept)} = false")
        return self

    def quickened(self) -> Profile:
        """The same questions with less time and a smaller largest file."""
        quick, question, rounds = self.quick, self.question, min(self.rounds, self.quick.rounds)
        rest = quick
        if question:
            fewer = {"sizes": quick.sizes(question.sizes), "rounds": min(question.rounds, FEWEST_ROUNDS)}
            question, rest = question.model_copy(update=fewer), quick.model_copy(update={"share": 0.0})
        suites = tuple(suite.fewer(rest) for suite in self.suites)
        return self.model_copy(update={"suites": suites, "question": question, "rounds": rounds})

    def against_itself(self) -> Profile:
        """An A/A run: every path that transfers files, deployed twice, against itself. What it finds is wrong.

        Raises ConfigError where the profile transfers nothing.
        """
        suites = tuple(
            suite.model_copy(update={"name": f"{suite.name}-{path}", "paths": (path,), "baseline": path, "again": True})
            for suite in self.suites
            if isinstance(suite, TransferSuite)
            for path in suite.paths
        )
        if not suites:
            raise ConfigError(f"the profile {self.name} transfers no files, so no path can be compared with itself")
        rounds = max(self.rounds, FEWEST_ROUNDS) if self.rounds > 1 else 1  # fewer would find nothing
        return self.model_copy(update={"suites": suites, "question": None, "rounds": rounds})

    def content(self) -> dict[str, Any]:
        """The whole profile as plain data, for the record."""
        return self.model_dump(mode="json")

    def sha256(self) -> str:
        """Hash of the content: two runs with equal hashes measured the same thing."""
        return hashlib.sha256(json.dumps(self.content(), sort_keys=True).encode()).hexdigest()


def load(name: str, folder: Path = PROFILES) -> Profile:
    """Read a profile by name, or from a file elsewhere whose name ends with ``.toml``.

    Raises ConfigError: unknown, not TOML, or not a right profile.
    """
    if name.endswith(".toml") and Path(name).is_file():
        folder, name = Path(name).parent, Path(name).stem
    content = _read(name, folder)
    path = folder / f"{name}.toml"
    like = content.pop("like", None)
    if like is not None:
        try:
            model = _read(str(like), folder)
        except ConfigError as error:
            raise ConfigError(f"the profile {path} is like another: {error.what}", next_step=error.next_step) from error
        if "like" in model:
            raise ConfigError(f"the profile {path} is like {like}, which itself is like another: name the first one")
        content = {**model, **content}
    # what a whole profile has in common may stand at its top
    common = {key: content.pop(key) for key in COMMON if key in content}
    suites = content.get("suites")
    if isinstance(suites, list):
        content["suites"] = [_with_common(suite, common) if isinstance(suite, dict) else suite for suite in suites]
    try:
        return Profile.model_validate({"name": name, **content})
    except ValidationError as error:
        raise ConfigError(f"the profile {path} is not right: {explain(error, QUESTIONS)}") from error


def _with_common(suite: dict[str, Any], common: dict[str, Any]) -> dict[str, Any]:
    return suite if suite.get("question") == "kernel-crypto" else {**common, **suite}


def _read(name: str, folder: Path) -> dict[str, Any]:
    path = folder / f"{name}.toml"
    names = sorted(p.stem for p in folder.glob("*.toml"))
    if name not in names:
        raise ConfigError(f"no profile is called {name!r}", next_step=f"name one of: {', '.join(names)}")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"cannot read the profile {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"the profile {path} is not valid TOML: {error}") from error
