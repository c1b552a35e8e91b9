"""The labs that there are: each is a folder beside this file, whose ``LAB`` says all that others know of it."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import hosts.lab
from hosts.errors import ConfigError
from hosts.lab.guests import Lab
from hosts.modules import Target
from hosts.progress import Progress
from hosts.testbed import LabTestbed


class Parts(Protocol):
    """What a lab is booted from, in use in the cache until ``obtain`` is left: obtained once for a run."""

    @property
    def places(self) -> tuple[Path, ...]:
        """Where the parts are in the cache."""

    @property
    def image_path(self) -> Path:
        """What the guests' programs come from; its tools make others for them."""

    @property
    def target(self) -> Target:
        """The kernel that the guests boot, as one that modules can be built for. Raises Refusal where none can."""

    def boot(self, progress: Progress) -> Lab:
        """Boot both guests and wait until they answer. Raises HarnessError, with nothing left behind."""


@dataclass(frozen=True)
class LabKind:
    """A kind of lab."""

    model: type[LabTestbed]
    """Its testbed file."""
    obtain: Callable[[Any, Progress], AbstractContextManager[Parts]]
    """Makes the machine ready and has the parts, made now where the cache has none. Raises HarnessError."""
    words: tuple[str, ...]
    """What lab-init calls its guests."""
    guest: str
    """A guest is a process that has this word, filled in with its role, among its arguments."""
    in_image: bool
    """Whether the image is the root of the guests' processes."""
    caveat: str
    """What the reader of its figures must know. After the last ``; `` stands what follows from it, for where there is
    little room."""
    label: str = "emulated"
    """What its figures are called in a word."""
    generic_ciphers: bool | None = None
    """Whether the guests' kernel has its ciphers in generic C only; None where its drivers tell."""


@cache
def known() -> dict[str, LabKind]:
    """All kinds by name: the folders beside this file."""
    names = (module.name for module in pkgutil.iter_modules(hosts.lab.__path__) if module.ispkg)
    return {name: importlib.import_module(f"hosts.lab.{name}").LAB for name in names}


def of(spec: LabTestbed) -> LabKind:
    """The kind of a lab's testbed."""
    return known()[spec.kind]


def by_word(word: str) -> LabKind:
    """The kind whose guests lab-init calls by this word. Raises ConfigError where there is none."""
    for kind in known().values():
        if word in kind.words:
            return kind
    raise ConfigError(f"no lab has guests called {word!r}")
