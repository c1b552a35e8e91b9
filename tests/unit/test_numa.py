"""The processors beside a host's network card: told as facts, and kept to where a profile asks for that."""

from __future__ import annotations

from typing import cast

import pytest

from harness.measuring import asked
from hosts import facts
from hosts.errors import Refusal
from hosts.facts import Facts
from hosts.quiet import CPU, Quietness
from hosts.remote.changes import Scope


def about(role: str, *usable: int, near: str = "") -> Facts:
    read = {"near": near} if near else {}
    return Facts(role, "6.12", {}, frozenset(), usable=usable, quietness=Quietness(read, "eth1"))


class Kept:
    """A host that is told which processors its programs keep to."""

    data_interface = "eth1"

    def __init__(self) -> None:
        self.processors: list[int] = []
        self.host = self.agent = self

    def set_processors(self, processors: list[int]) -> None:
        self.processors = processors


def test_programs_keep_to_the_processors_of_the_cards_node() -> None:
    scope = Kept()
    found = asked.made(cast(Scope, scope), about("sender", 0, 1, 2, 3, near="2-5"), {}, False, near=True)
    assert found.usable == (2, 3) == tuple(scope.processors)
    scope = Kept()
    found = asked.made(cast(Scope, scope), about("sender", 0, 1, near="1"), {}, False, near=False)
    assert (found.usable, scope.processors) == ((0, 1), [])


@pytest.mark.parametrize(("near", "why"), [("", "its driver does not tell them"), ("4-5", r"those are \[4, 5\]")])
def test_without_such_processors_the_profile_is_refused(near: str, why: str) -> None:
    with pytest.raises(Refusal, match=why):
        asked.beside_card(about("sender", 0, 1, near=near))


NODES = "/sys/devices/system/node/node0/cpulist:0-3\n/sys/devices/system/node/node1/cpulist:4-7\n"


@pytest.mark.parametrize(("near", "card"), [("4-7", 1), ("5", 1), ("0-7", None), ("", None)])
def test_nodes_and_the_cards_own_are_facts(near: str, card: int | None) -> None:
    seen = Quietness({"near": near} | {f"{CPU}/online": "0-7"})
    assert facts.numa(NODES, seen.near) == {"nodes": {"0": "0-3", "1": "4-7"}, "card": card}


def test_a_kernel_without_nodes_tells_none() -> None:
    assert facts.numa("", []) == {"nodes": {}, "card": None}
