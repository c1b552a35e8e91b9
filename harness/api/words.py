"""How a data path is called where a person reads of it. It goes into the record, where reports find it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Model = Literal["traditional", "scheme"]
"""The schemes whose crossings the paper models: the traditional one copies every buffer, its own copies none."""
LAST = 100


@dataclass(frozen=True)
class Words:
    """How a path is called; each is a text without its full stop, and where it is empty the path's name stands."""

    label: str = ""
    """What it is, in a few words: ``kernel TLS, sendfile``. Stands beside its name."""
    subject: str = ""
    """The subject of its sentence: ``Encrypting below TCP with IPsec (ipsec)`` made transfers … times as fast."""
    short: str = ""
    """Within a sentence, where it is compared with a baseline: ``IPsec``."""
    baseline: str = ""
    """Within a sentence, where it is the baseline: … times as fast as ``plain HTTP``."""
    order: int = LAST
    """Which comparison speaks for a run: that of the path with the lowest number, among 10, 20, …"""
    order_over_clear: int | None = None
    """The same where it is compared with a path that does not encrypt, if that is a question of its own."""
    model: Model | None = None
    """The scheme of the paper that its crossings are shown beside; None where the paper's model has none."""
