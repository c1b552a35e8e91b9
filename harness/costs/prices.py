"""What the steps of data paths cost on these hosts: measured, untimed, right before a suite's blocks.

Each price has one way of being measured, and is only measured where a path of the suite has that step.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from graphlib import TopologicalSorter

from harness.api.bench import Bench
from harness.api.parameters import Parameters
from harness.api.prices import Asked, Known, PriceSource
from harness.api.steps import Price


def measure(
    bench: Bench,
    parameters: Parameters,
    sources: Iterable[PriceSource],
    needed: AbstractSet[str],
    known: dict[Known, Price] | None = None,
) -> dict[str, Price]:
    """The prices that are needed, by name. ``known``: those of earlier calls on these hosts, which it adds to.

    Raises Refusal when a host refuses, HostLost.
    """
    known = {} if known is None else known
    what = parameters.cipher.name if parameters.cipher else "none", parameters.driver, parameters.integrity
    found = {name: price for (*asked, name), price in known.items() if tuple(asked) == what}
    order = in_order(sources)
    wanted = {*needed, *(name for source in order if needed & source.names.keys() for name in source.stands_on)}
    for source in order:
        if mine := (wanted & source.names.keys()) - found.keys():
            found |= source.measure(Asked(bench, parameters, mine, found))
    known |= {(*what, name): price for name, price in found.items()}
    return {name: price for name, price in found.items() if name in needed}


def in_order(sources: Iterable[PriceSource]) -> list[PriceSource]:
    """Each source once, after those that it stands on."""
    every = list(dict.fromkeys(sources))
    below = {source: [other for other in every if source.stands_on & other.names.keys()] for source in every}
    return list(TopologicalSorter(below).static_order())
