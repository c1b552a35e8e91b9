"""The contract of a way of receiving: what its file provides as ``WAY``.

It is the other half of a data path: what some path sends, taken from the socket into a file. Like a path it never falls
back; it says before anything starts why it can run nowhere or not on these hosts, and proves each transfer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

from harness.api.bench import Bench
from harness.api.parameters import Parameters
from harness.api.path import Deployed
from harness.api.prices import PriceSource
from harness.api.steps import Step, Taking
from harness.api.words import Words
from hosts.facts import Facts

Takes = Literal["tls", "esp", "stream"]
"""What is received: TLS; what the kernel deciphers below the socket; one stream of cipher text under the run's key."""


class Receiving(ABC):
    """What a way's file provides as ``WAY``: an instance of a class that says its name and how it receives."""

    name: str
    words: Words = Words()
    """How it is called in a terminal and in reports."""
    sent_by: str | None = None
    """The one path whose bytes it receives, whatever the suite's other ways have; None: the path that the suite
    names."""
    counterpart: str | None = None
    """The path whose other half it is: what sends where both ends are compared, and the suite names no path."""
    takes: Takes = "tls"
    builds: tuple[str, ...] = ()
    """Kernel modules of ours that the receiver needs (``hosts/onhost/modules``)."""

    def impossible(self, parameters: Parameters) -> str | None:
        """Why this can run on no host at all, or None. Pure."""
        return None

    def unsupported(self, parameters: Parameters, sender: Facts, receiver: Facts) -> str | None:
        """Why what is possible cannot be received on this receiver, or None. Pure."""
        return None

    prices: tuple[PriceSource, ...] = ()
    """Where the prices of its steps are measured, beside those of what sends."""
    rehearses: Taking = Taking()
    """How our client takes its rehearsal, which comes in clear."""

    def steps(self, parameters: Parameters) -> tuple[Step, ...] | None:
        """What the receiver does beyond its rehearsal, for the prediction; None where no prices are known. Pure."""
        return None

    def prepare(self, bench: Bench, parameters: Parameters) -> None:  # noqa: B027 - most need nothing
        """Make ready on the receiver what does not depend on what is sent: before the sender is. Raises HostLost,
        Refusal."""

    @abstractmethod
    def receive(self, bench: Bench, parameters: Parameters, sent: Deployed) -> Deployed:
        """What is sent, received this way: with a client, counters, and a witness of its own beside that of ``sent``.

        Changes go through the bench's scopes. Raises HostLost, Refusal.
        """
