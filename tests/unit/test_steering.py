"""Where both hosts take what arrives: the settings that choose it, and where nothing can be chosen."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.measuring import steering
from hosts.facts import Facts
from hosts.quiet import Quietness


@pytest.mark.parametrize(
    ("processors", "like", "due"),
    [
        ([0], "0", "1"),
        ([0, 1, 2, 3], "0", "f"),
        ([0, 1, 2, 3], "f", "f"),
        ([1, 9], "000", "202"),
        ([0, 33], "00000000,00000000", "00000002,00000001"),
        ([35], "0,00000000", "8,00000000"),
    ],
)
def test_a_mask_is_written_as_the_kernel_reads_it_back(processors: list[int], like: str, due: str) -> None:
    assert steering.mask(processors, like) == due


@given(st.sets(st.integers(0, 127), min_size=1))
def test_a_mask_holds_all_processors_and_no_other(processors: set[int]) -> None:
    text = steering.mask(processors, ",".join(["00000000"] * 4))
    number = int(text.replace(",", ""), 16)
    assert {place for place in range(128) if number >> place & 1} == processors


def test_a_mask_that_has_no_room_is_refused() -> None:
    with pytest.raises(ValueError, match="no room for processor 4"):
        steering.mask([4], "0")


QUEUES = {"/q/rx-0": "0", "/q/rx-1": "0", "/q/rx-2": "3"}


def written(where: Any) -> dict[str, str]:
    return {change.path: change.value for change in steering.settings("eth1", QUEUES, where, [1, 2])}


def test_all_is_taken_on_one_processor_or_where_it_is_read() -> None:
    none = {f"{queue}/rps_flow_cnt": "0" for queue in QUEUES}
    assert written("one") == none | {f"{queue}/rps_cpus": "2" for queue in QUEUES}, "a flow table is asked before it"
    flows = {f"{queue}/rps_flow_cnt": "8192" for queue in QUEUES}
    assert written("readers") == {steering.TABLE: "32768"} | flows | {f"{queue}/rps_cpus": "6" for queue in QUEUES}
    assert next(iter(written("readers"))) == steering.TABLE, "the table is there before anything is looked up in it"


def about(role: str, *usable: int, near: str = "") -> Facts:
    read = {"near": near} if near else {}
    return Facts(role, "6.12", {}, frozenset(), usable=usable, quietness=Quietness(read, "eth1"))


def test_where_there_is_one_processor_nothing_is_chosen() -> None:
    assert steering.unsupported(about("sender", 0, 1), about("receiver", 2, 3)) is None
    said = "receive_on chooses among processors, and the receiver has one for what it runs"
    assert steering.unsupported(about("sender", 0, 1), about("receiver", 2)) == said
    assert "the sender and the receiver has" in str(steering.unsupported(about("sender", 0), about("receiver", 2)))
