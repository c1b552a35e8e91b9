"""Where prices of steps come from: a server or library says of itself how each of its prices is measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from harness.api.bench import Bench
from harness.api.parameters import Parameters
from harness.api.steps import Price, from_two
from harness.ciphers.table import Cipher
from hosts.errors import Refusal
from hosts.onhost.agent.values import Costs

Known = tuple[str, str, str, str]
"""What a price depends on: cipher, driver, integrity, and the step's name."""
SMALL, LARGE = 256, 16384
"""Bytes of the two records that a library's price is made of; a TLS record holds 2^14 at most (RFC 8446, 5.1)."""


@dataclass(frozen=True)
class Asked:
    """What a source is asked: the names ``needed`` of what it has, for these parameters on this bench.

    ``known``: the prices that were measured before.
    """

    bench: Bench
    parameters: Parameters
    needed: AbstractSet[str]
    known: Mapping[str, Price]

    @property
    def cipher(self) -> Cipher:
        """The cipher whose prices these are. Raises Refusal where there is none."""
        if self.parameters.cipher is None:
            raise Refusal("there is no cipher to measure")
        return self.parameters.cipher


@dataclass(frozen=True, eq=False)
class PriceSource:
    """A server or library whose steps have prices. They are measured untimed, right before a suite's blocks."""

    names: Mapping[str, str]
    """What its prices are called in a report, by the name that a step has for them."""
    measure: Callable[[Asked], Mapping[str, Price]]
    """Its prices by name; what cannot be known on these hosts is left out. Raises Refusal when a host refuses."""
    ciphering: frozenset[str] = frozenset()
    """Those of the sender's that are the cipher's (and its MAC's) own."""
    stands_on: frozenset[str] = frozenset()
    """Prices of other sources that are measured first, since its own are made of them."""
    builds: frozenset[str] = frozenset()
    """Kernel modules of ours that it measures with where the sender has them."""
    receiver_builds: frozenset[str] = frozenset()
    """The same on the receiver."""
    by: Callable[[Asked], Mapping[str, str]] = lambda _asked: {}
    """Which interface to the kernel a price is measured by, where there is more than one, by the price's name."""

    def called(self, asked: Asked) -> dict[str, str]:
        """What its prices are called in a record, with the interface that measured them."""
        by = self.by(asked)
        return {name: f"{said} (by {by[name]})" if name in by else said for name, said in self.names.items()}


def price_of(costs: Costs) -> Price:
    """The price that an agent's two measurements give."""
    small, large = costs.small, costs.large
    return from_two((small.size_bytes, small.usual_ns), (large.size_bytes, large.usual_ns))
