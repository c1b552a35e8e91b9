"""Plans: every cell of a profile once, in orders in which drift and carry-over cancel."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import plan, profile

treatments = st.integers(1, 24)


@given(treatments)
def test_every_cell_stands_in_every_place_equally_often(count: int) -> None:
    rows = plan.williams(count)
    places = Counter((place, cell) for row in rows for place, cell in enumerate(row))
    assert len(places) == count * count
    assert set(places.values()) == {len(rows) // count}


@given(st.integers(2, 24))
def test_every_cell_follows_every_other_equally_often(count: int) -> None:
    rows = plan.williams(count)
    pairs = Counter(pair for row in rows for pair in pairwise(row))
    assert set(pairs) == {(a, b) for a in range(count) for b in range(count) if a != b}
    assert set(pairs.values()) == {len(rows) // count}


@given(treatments)
def test_a_design_is_no_longer_than_it_must_be(count: int) -> None:
    assert len(plan.williams(count)) == (count if count % 2 == 0 else 2 * count)


def test_a_design_for_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one"):
        plan.williams(0)


@given(treatments, st.integers(0, 100), st.integers())
def test_every_block_has_every_cell_once(count: int, blocks: int, seed: int) -> None:
    found = plan.orders(count, blocks, seed)
    assert len(found) == blocks
    assert all(sorted(row) == list(range(count)) for row in found)
    assert found == plan.orders(count, blocks, seed), "the same seed gives the same orders"


@given(st.integers(1, 9), st.integers(1, 3), st.integers(0, 10), st.integers())
def test_blocks_that_count_are_balanced_whatever_the_warm_up(count: int, designs: int, warmup: int, seed: int) -> None:
    whole = sorted(plan.williams(count) * designs)
    counted = plan.orders(count, warmup + len(whole), seed)[warmup:]
    assert sorted(counted) == whole


def test_seeds_differ() -> None:
    assert len({str(plan.orders(4, 12, seed)) for seed in range(20)}) > 10


PROFILE = profile.load("gigabit-3des")


def test_every_cell_of_the_profile_is_planned_once() -> None:
    clear = frozenset({"http", "plain"})
    cells = plan.cells(PROFILE, clear)
    wanted = [(s.name, size, path) for s in PROFILE.suites for size in s.sizes for path in s.paths]
    assert [(cell.suite, cell.size, cell.path) for cell in cells] == wanted
    assert len({cell.id for cell in cells}) == len(cells)
    assert all((cell.cipher == "none") == (cell.path in clear) for cell in cells)


def test_an_id_says_suite_path_cipher_driver_and_size() -> None:
    assert plan.CellPlan("schemes", "so-crypt", "3des", "any", 10**7).id == "schemes/so-crypt/3des/any/10MB"


def test_a_clear_path_has_neither_the_cipher_nor_the_driver_of_its_suite() -> None:
    suite = PROFILE.suites[0].model_copy(update={"driver": "card"})
    clear, enciphered = plan.at_size(suite, 10**6, frozenset({"http"}))[:2]
    assert (clear.cipher, clear.driver) == ("none", "any")
    assert (enciphered.cipher, enciphered.driver) == ("3des", "card")
