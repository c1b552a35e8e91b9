"""Pure: what a fleet is, read from TOML into a validated model, and the night's entries that it asks for."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from harness import profile
from harness.night import Entry
from harness.profile import Name
from hosts import testbed
from hosts.errors import ConfigError
from hosts.testbed import explain

Minutes = Annotated[float, Field(gt=0, le=7 * 24 * 60)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Member(_Model):
    """A testbed of the fleet: one that this machine drives, or one that a worker elsewhere offers.

    Its name is what its nights go by, so it is the testbed's own and no other's.
    """

    testbed: str | None = None
    """A lab's name, or a testbed's file; its place is relative to the fleet's file."""
    name: Name | None = None
    """Of one that a worker elsewhere offers."""
    labels: tuple[Name, ...] = ()

    @model_validator(mode="after")
    def _is_one_thing(self) -> Member:
        if (self.testbed is None) == (self.name is None):
            raise ValueError("a testbed has either testbed (a lab or a file, here) or name (of one that is elsewhere)")
        return self


class Runs(_Model):
    """Profiles for every testbed that has all of these labels. A testbed's name is one of its labels."""

    profiles: Annotated[tuple[Name, ...], Field(min_length=1)]
    on: tuple[Name, ...] = ()
    """None: every testbed."""
    minutes: Minutes = 120
    """The longest that one run takes."""
    priority: int = 0
    """What is higher begins first; among equals, the order of the file."""
    quick: bool = False


class Fleet(_Model):
    """A whole fleet and what it does in a night."""

    name: Name
    hours: Annotated[float, Field(gt=0, le=7 * 24)] = 8
    """Then nothing more is begun, and what runs is ended."""
    patience_minutes: Annotated[float, Field(gt=0, le=24 * 60)] = 10
    """How long a testbed may be offered by no worker before it counts as unreachable."""
    testbeds: Annotated[tuple[Member, ...], Field(min_length=1)]
    runs: Annotated[tuple[Runs, ...], Field(min_length=1)]


@dataclass(frozen=True)
class Testbed:
    """A testbed of the fleet. ``source``: a lab's name or a file; None where a worker elsewhere has it."""

    name: str
    labels: frozenset[str]
    source: str | None


@dataclass(frozen=True)
class Plan:
    """A fleet whose testbeds and profiles exist, with the entries of a night of it, in the order they are to begin."""

    fleet: Fleet
    testbeds: tuple[Testbed, ...]
    entries: tuple[Entry, ...]


def load(path: Path) -> Plan:
    """Read a fleet's file, its testbeds and its profiles. Raises ConfigError."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"cannot read the fleet {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"the fleet {path} is not valid TOML: {error}") from error
    try:
        fleet = Fleet.model_validate({"name": path.stem, **content})
    except ValidationError as error:
        raise ConfigError(f"the fleet {path} is not right: {explain(error)}") from error
    try:
        testbeds = tuple(_testbed(member, path.parent) for member in fleet.testbeds)
        return Plan(fleet, testbeds, tuple(entries(fleet, testbeds)))
    except ConfigError as error:
        raise ConfigError(f"the fleet {path} is not right: {error.what}", next_step=error.next_step) from error


def _testbed(member: Member, folder: Path) -> Testbed:
    source = member.testbed
    if source is None:
        name = str(member.name)
    else:
        source = str((folder / source).absolute()) if source.endswith(".toml") else source
        name = testbed.load(source).name
    return Testbed(name, frozenset((*member.labels, name)), source)


def entries(fleet: Fleet, testbeds: tuple[Testbed, ...]) -> list[Entry]:
    """What a night of the fleet is to do, first things first.

    Raises ConfigError: two testbeds of one name, labels that no testbed has, an unknown profile, or one that is asked
    for twice on one testbed.
    """
    names = [bed.name for bed in testbeds]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"two testbeds are called {twice[0]}", next_step='say name = "…" in the file of one of them')
    found: dict[tuple[str, str], Entry] = {}
    for runs in fleet.runs:
        mine = [bed for bed in testbeds if bed.labels.issuperset(runs.on)]
        if not mine:
            known = ", ".join(sorted({label for bed in testbeds for label in bed.labels}))
            raise ConfigError(f"no testbed has the labels {', '.join(runs.on)} (there are: {known})")
        for name in runs.profiles:
            profile.load(name)
            for bed in mine:
                if (bed.name, name) in found:
                    raise ConfigError(f"{name} is asked for twice on {bed.name}")
                found[bed.name, name] = Entry(
                    testbed=bed.name,
                    profile=name,
                    labels=sorted(bed.labels - {bed.name}),
                    quick=runs.quick,
                    minutes=runs.minutes,
                    priority=runs.priority,
                )
    return sorted(found.values(), key=lambda entry: -entry.priority)
