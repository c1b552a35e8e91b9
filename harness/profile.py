"""Profile: what to measure, read from TOML into a validated model. A profile is data, not code."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from harness.ciphers import CIPHERS, Cipher, Integrity, TlsVersion
from harness.setup import Connection, Setup
from hosts.errors import ConfigError
from hosts.testbed import explain

PROFILES = Path(__file__).parent.parent / "suites" / "profiles"
UNITS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9}
QUESTIONS = ("large-files", "schemes", "small-files", "kernel-crypto")
COMMON = ("cipher", "link_rate", "tls", "integrity")
"""What may stand at the top of a profile for all its suites that transfer files and do not say it themselves."""
RATES = {"kbit": 10**3, "mbit": 10**6, "gbit": 10**9}


def parse_size(text: object) -> int:
    """``"10MB"`` -> 10000000 (bytes; MB is 10^6). Raises ValueError."""
    match = re.fullmatch(r"([0-9]+)\s*(B|kB|MB|GB)", str(text))
    if not match:
        raise ValueError(f"{text!r} is not a size like 15B, 1MB or 100MB")
    return int(match[1]) * UNITS[match[2]]


def size_name(size: int) -> str:
    """10000000 -> ``"10MB"``: the largest unit that divides it."""
    for unit in ("GB", "MB", "kB"):
        if size and size % UNITS[unit] == 0:
            return f"{size // UNITS[unit]}{unit}"
    return f"{size}B"


def _rate(text: object) -> object:
    if text == "unshaped":
        return None
    match = re.fullmatch(r"([1-9][0-9]*)\s*(kbit|mbit|gbit)", str(text))
    if not match:
        raise ValueError(f"{text!r} is not a rate like 100mbit or 1gbit, nor unshaped")
    return int(match[1]) * RATES[match[2]]


def _sizes(value: object) -> object:
    if not isinstance(value, dict):
        raise ValueError('sizes are a table of size and counted blocks: { "1MB" = 20 }')
    sizes = {parse_size(key): blocks for key, blocks in value.items()}
    if len(sizes) < len(value):
        raise ValueError("two of its sizes are the same")
    if 0 in sizes:
        raise ValueError("a file of no bytes cannot be timed")
    return sizes


Blocks = Annotated[int, Field(ge=2, le=1000)]
Buffer = Annotated[int, Field(ge=1, le=131_072)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TransferSuite(_Model):
    """One question: paths compared with a baseline, for one cipher, on one link.

    ``question`` names the test file that asks it; ``sizes`` maps bytes to counted blocks; ``link_rate`` is in
    bit/s, None for a link that is not shaped. ``tls`` is by default the newest version that has the cipher;
    ``integrity`` is the MAC beside a cipher that is no AEAD. ``requests`` consecutive transfers make one sample,
    each over a ``connection`` as said. ``again``: every path is deployed twice and compared with itself.
    """

    name: Name
    question: Literal["large-files", "schemes", "small-files"]
    figure: int | None = None
    cipher: str
    driver: str = "any"
    tls: TlsVersion | None = None
    integrity: Integrity = "sha1"
    connection: Connection = "new"
    again: bool = False
    requests: Annotated[int, Field(ge=1, le=10_000)] = 1
    link_rate: Annotated[int | None, BeforeValidator(_rate)]
    baseline: Name
    paths: Annotated[tuple[Name, ...], Field(min_length=1)]
    sizes: Annotated[dict[int, Blocks], BeforeValidator(_sizes), Field(min_length=1)]

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
        if self.connection != "new" and self.requests < 2:
            raise ValueError(f"a connection that is {self.connection} needs requests of 2 or more")
        return self

    @property
    def setup(self) -> Setup:
        """What it asks of the paths that encrypt."""
        cipher = CIPHERS[self.cipher]
        version = self.tls or (cipher.tls_versions() or ["1.2"])[0]
        return Setup(cipher, self.driver, version, self.integrity, self.connection, requests=self.requests)

    def fewer(self, quick: Quick) -> TransferSuite:
        """Itself with fewer blocks, smaller files, fewer requests."""
        some = {size: min(blocks, quick.blocks) for size, blocks in self.sizes.items()}
        largest = max(quick.largest, min(some))
        sizes = {size: blocks for size, blocks in some.items() if size <= largest}
        return self.model_copy(update={"sizes": sizes, "requests": min(self.requests, quick.requests)})


class CryptoSuite(_Model):
    """Raw kernel crypto: operations on a buffer, for every cipher, buffer size and driver (the paper's Figure 4).

    ``drivers``: ``any`` is the kernel's own choice, ``each`` all others that /proc/crypto then offers, or names.
    ``depths`` above 1 (requests under way at once) are tried with the largest buffer. ``seconds`` is the time of one
    sample. ``reference_buffers``: those for which `openssl speed` is asked too, one second a sample.
    """

    name: Name
    question: Literal["kernel-crypto"]
    figure: int | None = None
    ciphers: Annotated[tuple[str, ...], Field(min_length=1)]
    operations: Annotated[tuple[Literal["encrypt", "decrypt"], ...], Field(min_length=1)] = ("encrypt", "decrypt")
    drivers: Annotated[tuple[str, ...], Field(min_length=1)] = ("any", "each")
    buffers: Annotated[tuple[Buffer, ...], Field(min_length=1)]
    reference_buffers: tuple[Buffer, ...] = ()
    depths: tuple[Annotated[int, Field(ge=1, le=64)], ...] = (1,)
    seconds: Annotated[float, Field(ge=0.02, le=10)] = 0.1
    blocks: Blocks

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
        for what in (self.ciphers, self.buffers, self.drivers, self.depths, self.operations):
            if len(set(what)) != len(what):
                raise ValueError("something is named twice")
        return self

    def fewer(self, quick: Quick) -> CryptoSuite:
        """Itself with fewer blocks."""
        return self.model_copy(update={"blocks": min(self.blocks, quick.blocks)})


Suite = Annotated[TransferSuite | CryptoSuite, Field(discriminator="question")]


def _known(name: str) -> Cipher:
    if name not in CIPHERS:
        raise ValueError(f"no cipher is called {name!r} (known: {', '.join(sorted(CIPHERS))})")
    return CIPHERS[name]


class Quick(_Model):
    """What ``--quick`` leaves of a profile."""

    largest: Annotated[int, BeforeValidator(parse_size)] = 10**7
    blocks: Blocks = 4
    requests: Annotated[int, Field(ge=2)] = 100


class Profile(_Model):
    """A whole profile. ``margin``: how far from 1 a ratio still counts as the same.

    ``precision``: a comparison that cannot tell yet, with half an interval wider than this, gets more blocks, up to
    twice as many, as long as ``budget_seconds`` for such blocks of the whole run last. None: their numbers are fixed.

    ``instructions``: ``masked`` hides AES and vector instructions from user space on both hosts, for a comparison with
    a kernel whose ciphers are generic C. ``testbeds``: the embedded labs that it is made for, the first one by default.
    """

    name: Name
    description: str
    margin: Annotated[float, Field(gt=0, lt=1)] = 0.03
    warmup_blocks: Annotated[int, Field(ge=1, le=10)] = 1
    precision: Annotated[float, Field(gt=0, lt=1)] | None = None
    budget_seconds: Annotated[float, Field(ge=0, le=86_400)] = 0.0
    seed: int = 2005
    instructions: Literal["all", "masked"] = "all"
    testbeds: Annotated[tuple[Name, ...], Field(min_length=1)] = ("lab",)
    quick: Quick = Quick()
    suites: Annotated[tuple[Suite, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _names(self) -> Profile:
        names = [suite.name for suite in self.suites]
        if len(set(names)) != len(names):
            raise ValueError("two suites have the same name")
        return self

    def quickened(self) -> Profile:
        """The same questions with fewer blocks and a smaller largest file."""
        return self.model_copy(update={"suites": tuple(suite.fewer(self.quick) for suite in self.suites)})

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
            raise ConfigError(f"the profile {self.name} transfers no files, so no path can be held against itself")
        return self.model_copy(update={"suites": suites})

    def content(self) -> dict[str, Any]:
        """The whole profile as plain data, for the record."""
        return self.model_dump(mode="json")

    def sha256(self) -> str:
        """Hash of the content: two runs with equal hashes measured the same thing."""
        return hashlib.sha256(json.dumps(self.content(), sort_keys=True).encode()).hexdigest()


def load(name: str, folder: Path = PROFILES) -> Profile:
    """Read a profile by name. Raises ConfigError: unknown, not TOML, or not a right profile."""
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
    if suite.get("question") == "kernel-crypto":
        return suite
    return {**common, **suite}


def _read(name: str, folder: Path) -> dict[str, Any]:
    path = folder / f"{name}.toml"
    known = sorted(p.stem for p in folder.glob("*.toml"))
    if name not in known:
        raise ConfigError(f"no profile is called {name!r}", next_step=f"name one of: {', '.join(known)}")
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"cannot read the profile {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"the profile {path} is not valid TOML: {error}") from error
