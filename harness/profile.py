"""Profile: what to measure, read from TOML into a validated model. A profile is data, not code."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from harness.ciphers import CIPHERS
from hosts.errors import ConfigError
from hosts.testbed import explain

PROFILES = Path(__file__).parent.parent / "suites" / "profiles"
UNITS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9}
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
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Suite(_Model):
    """One question: paths compared with a baseline, for one cipher, on one link.

    ``question`` names the test file that asks it; ``sizes`` maps bytes to counted blocks; ``link_rate`` is in
    bit/s, None for a link that is not shaped.
    """

    name: Name
    question: Literal["large-files", "schemes"]
    figure: int | None = None
    cipher: str
    driver: str = "any"
    link_rate: Annotated[int | None, BeforeValidator(_rate)]
    baseline: Name
    paths: Annotated[tuple[Name, ...], Field(min_length=1)]
    sizes: Annotated[dict[int, Blocks], BeforeValidator(_sizes), Field(min_length=1)]

    @model_validator(mode="after")
    def _consistent(self) -> Suite:
        if self.cipher not in CIPHERS:
            raise ValueError(f"no cipher is called {self.cipher!r} (known: {', '.join(sorted(CIPHERS))})")
        if self.baseline not in self.paths:
            raise ValueError(f"the baseline {self.baseline!r} is not among its paths")
        if len(set(self.paths)) != len(self.paths):
            raise ValueError("a path is named twice")
        return self


class Quick(_Model):
    """What ``--quick`` leaves of a profile."""

    largest: Annotated[int, BeforeValidator(parse_size)] = 10**7
    blocks: Blocks = 4


class Profile(_Model):
    """A whole profile. ``margin``: how far from 1 a ratio still counts as the same."""

    name: Name
    description: str
    margin: Annotated[float, Field(gt=0, lt=1)] = 0.03
    warmup_blocks: Annotated[int, Field(ge=1, le=10)] = 1
    seed: int = 2005
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
        suites = []
        for suite in self.suites:
            fewer = {size: min(blocks, self.quick.blocks) for size, blocks in suite.sizes.items()}
            largest = max(self.quick.largest, min(fewer))
            kept = {size: blocks for size, blocks in fewer.items() if size <= largest}
            suites.append(suite.model_copy(update={"sizes": kept}))
        return self.model_copy(update={"suites": tuple(suites)})

    def content(self) -> dict[str, Any]:
        """The whole profile as plain data, for the record."""
        return self.model_dump(mode="json")

    def sha256(self) -> str:
        """Hash of the content: two runs with equal hashes measured the same thing."""
        return hashlib.sha256(json.dumps(self.content(), sort_keys=True).encode()).hexdigest()


def load(name: str, folder: Path = PROFILES) -> Profile:
    """Read a profile by name. Raises ConfigError: unknown, not TOML, or not a right profile."""
    path = folder / f"{name}.toml"
    known = sorted(p.stem for p in folder.glob("*.toml"))
    if name not in known:
        raise ConfigError(f"no profile is called {name!r}", next_step=f"name one of: {', '.join(known)}")
    try:
        content = tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"cannot read the profile {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"the profile {path} is not valid TOML: {error}") from error
    try:
        return Profile.model_validate({"name": name, **content})
    except ValidationError as error:
        raise ConfigError(f"the profile {path} is not right: {explain(error)}") from error
