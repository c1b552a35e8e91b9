"""Plans: every cell of a profile once, in orders in which drift and carry-over cancel."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import plan, profile
from harness.profile import CryptoSuite, TransferSuite

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
CLEAR = frozenset({"http", "plain"})


def crypto(**more: Any) -> CryptoSuite:
    """A suite of raw kernel crypto."""
    content = {
        "name": "raw",
        "question": "kernel-crypto",
        "ciphers": ["3des", "null"],
        "buffers": [64, 1024],
        "blocks": 3,
    }
    return CryptoSuite.model_validate(content | more)


def test_every_cell_of_the_profile_is_planned_once() -> None:
    cells = plan.cells(PROFILE, CLEAR)
    wanted = [
        (suite.name, size, path)
        for suite in PROFILE.suites
        if isinstance(suite, TransferSuite)
        for size in suite.sizes
        for path in suite.paths
    ]
    transfers = [cell for cell in cells if cell.buffer is None]
    assert [(cell.suite, cell.size, cell.path) for cell in transfers] == wanted
    assert len({cell.id for cell in cells}) == len(cells)
    assert all((cell.cipher == "none") == (cell.path in CLEAR) for cell in cells)


def test_an_id_says_suite_path_cipher_driver_and_size() -> None:
    assert plan.CellPlan("schemes", "so-crypt", "3des", "any", 10**7).id == "schemes/so-crypt/3des/any/10MB"
    assert plan.CellPlan("s", "raw-encrypt", "3des", "any", buffer=65536, depth=1).id == "s/raw-encrypt/3des/any/65536B"
    assert plan.CellPlan("s", "raw-decrypt", "3des", "x", buffer=64, depth=4).id == "s/raw-decrypt/3des/x/64Bx4"


def test_a_row_says_what_the_plan_does() -> None:
    row = plan.CellPlan("s", "raw-encrypt", "3des", "any", buffer=64, depth=4).row("unsupported", "why")
    assert (row.buffer_bytes, row.depth, row.size_bytes, row.outcome, row.reason) == (64, 4, None, "unsupported", "why")
    row = plan.CellPlan("s", "http", "none", "any", 15).row("measured", None)
    assert (row.buffer_bytes, row.depth, row.size_bytes) == (None, None, 15)


def test_a_clear_path_has_neither_the_cipher_nor_the_driver_of_its_suite() -> None:
    suite = next(suite for suite in PROFILE.suites if isinstance(suite, TransferSuite))
    clear, enciphered = plan.at_size(suite.model_copy(update={"driver": "card"}), 10**6, CLEAR)[:2]
    assert (clear.cipher, clear.driver) == ("none", "any")
    assert (enciphered.cipher, enciphered.driver) == ("3des", "card")


# raw kernel crypto


def test_every_cipher_driver_operation_and_buffer_is_a_cell() -> None:
    cells = plan.operations(crypto(drivers=["any", "qat_3des"]))
    assert [(c.cipher, c.driver, c.path, c.buffer) for c in cells] == [
        (cipher, driver, f"raw-{operation}", size)
        for cipher in ("3des", "null")
        for driver in ("any", "qat_3des")
        for operation in ("encrypt", "decrypt")
        for size in (64, 1024)
    ]
    assert {cell.depth for cell in cells} == {1}
    assert {cell.size for cell in cells} == {None}


def test_each_names_no_driver_before_the_host_is_known() -> None:
    assert plan.operations(crypto(drivers=["any", "each"])) == plan.operations(crypto(drivers=["any"]))


def test_deeper_requests_are_tried_with_the_largest_buffer_only() -> None:
    cells = plan.for_driver(crypto(depths=[1, 4, 16], operations=["decrypt"]), "3des", "x")
    assert [(cell.buffer, cell.depth) for cell in cells] == [(64, 1), (1024, 1), (1024, 4), (1024, 16)]
    assert {(cell.path, cell.driver) for cell in cells} == {("raw-decrypt", "x")}


def test_user_space_is_the_reference_of_what_enciphers() -> None:
    cells = [c for c in plan.operations(crypto(reference_buffers=[64])) if c.path == plan.REFERENCE]
    assert [(cell.cipher, cell.buffer, cell.id) for cell in cells] == [("3des", 64, "raw/openssl-speed/3des/any/64B")]
    only = crypto(reference_buffers=[64], operations=["decrypt"])
    assert not [c for c in plan.operations(only) if c.path == plan.REFERENCE], "openssl speed enciphers"


@given(
    drivers=st.lists(st.sampled_from(["x", "y", "each"]), unique=True),
    buffers=st.lists(st.integers(1, 100).map(lambda n: 16 * n), min_size=1, max_size=5, unique=True),
    depths=st.lists(st.integers(2, 64), max_size=3, unique=True),
)
def test_every_cell_of_raw_crypto_has_an_id_of_its_own(
    drivers: list[str], buffers: list[int], depths: list[int]
) -> None:
    suite = crypto(drivers=["any", *drivers], buffers=buffers, depths=[1, *depths], reference_buffers=buffers[:1])
    cells = plan.operations(suite)
    assert len({cell.id for cell in cells}) == len(cells)
    named = 1 + len([driver for driver in drivers if driver != "each"])
    assert len(cells) == 2 * named * 2 * (len(buffers) + len(depths)) + 1
