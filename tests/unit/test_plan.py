"""Plans: every cell of a profile once, in orders in which drift and carry-over cancel."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import plan, profile
from harness.ciphers.interfaces import AF_ALG
from harness.profile import CryptoSuite, Profile, TransferSuite
from harness.spans import Span
from tests.support.runs import profile_of

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


@given(treatments, st.integers(1, 3), st.integers(0, 10), st.integers())
def test_as_many_blocks_as_cells_balance_places(count: int, squares: int, before: int, seed: int) -> None:
    """An odd number of cells needs no whole design for it: profiles have five paths and five blocks."""
    counted = plan.orders(count, before + squares * count, seed)[before:]
    places = Counter((place, cell) for row in counted for place, cell in enumerate(row))
    assert len(places) == count * count
    assert set(places.values()) == {squares}


def test_seeds_differ() -> None:
    assert len({str(plan.orders(4, 12, seed)) for seed in range(20)}) > 10


PROFILE = profile.load("gigabit-3des")
CLEAR = frozenset({"http", "plain"})


def crypto(**more: Any) -> CryptoSuite:
    """A suite of kernel crypto."""
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


def test_the_interface_is_part_of_what_a_cell_is() -> None:
    """Records that knew AF_ALG alone have its cells by the same ids."""
    one, other = (plan.CellPlan("s", f"{name}-encrypt", "3des", "any", buffer=64) for name in ("devcrypto", "raw"))
    assert (one.row("measured", None).interface, other.row("measured", None).interface) == ("/dev/crypto", "AF_ALG")
    assert (one.id, other.id) == ("s/devcrypto-encrypt/3des/any/64B", "s/raw-encrypt/3des/any/64B")
    assert plan.CellPlan("s", "devcrypto-copy", "3des", "any", 10**6).row("measured", None).interface is None


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


# stages


def asking(sizes: dict[str, int] | None = None, **more: Any) -> Profile:
    """Two suites of three paths and two sizes each, and one of kernel crypto; the question is about the first."""
    one = {
        "name": "one",
        "question": "schemes",
        "cipher": "3des",
        "link_rate": "unshaped",
        "baseline": "afalg-copy",
        "paths": ["afalg-copy", "so-crypt", "plain"],
        "sizes": {"1MB": {"seconds": 4, "blocks": 3}, "10MB": {"blocks": 5}},
    }
    spans = {size: {"seconds": 20, "blocks": blocks} for size, blocks in (sizes or {"1MB": 20, "10MB": 10}).items()}
    asked = {"candidate": "so-crypt", "baseline": "afalg-copy", "suites": ["one"], "sizes": spans}
    content: dict[str, Any] = {
        "name": "asking",
        "description": "d",
        "question": asked,
        "suites": [one, one | {"name": "two"}, crypto().model_dump()],
    }
    return Profile.model_validate(content | more)


def stages(wanted: Profile, *left_out: str) -> dict[str, set[str]]:
    """The cells of each stage, without those that have one of these words in their id."""
    cells = [cell for cell in plan.cells(wanted, CLEAR) if not any(word in cell.id for word in left_out)]
    return {stage.name: {cell.id for cell in stage.cells} for stage in plan.stages(wanted, cells)}


def paths_of(cells: set[str], suite: str, size: str) -> set[str]:
    return {cell.split("/")[1] for cell in cells if cell.startswith(f"{suite}/") and cell.endswith(f"/{size}")}


def test_the_question_comes_first_and_its_baseline_is_in_both_stages() -> None:
    found = stages(asking())
    assert list(found) == [plan.QUESTION, plan.REST]
    asked = {f"one/{path}/3des/any/{size}" for path in ("afalg-copy", "so-crypt") for size in ("1MB", "10MB")}
    assert found[plan.QUESTION] == asked
    everything = {cell.id for cell in plan.cells(asking(), CLEAR)}
    assert found[plan.REST] == everything - {cell for cell in asked if "so-crypt" in cell}


def test_a_size_that_the_question_does_not_ask_for_is_in_the_rest() -> None:
    found = stages(asking({"10MB": 10}))
    assert paths_of(found[plan.QUESTION], "one", "1MB") == set()
    assert paths_of(found[plan.REST], "one", "1MB") == {"afalg-copy", "so-crypt", "plain"}
    assert paths_of(found[plan.REST], "one", "10MB") == {"afalg-copy", "plain"}


def test_without_a_question_there_is_one_stage() -> None:
    whole = asking(question=None)
    assert stages(whole) == {plan.REST: {cell.id for cell in plan.cells(whole, CLEAR)}}
    assert stages(whole, "/") == {}


def test_a_baseline_that_nothing_else_is_compared_with_is_not_measured_again() -> None:
    found = stages(asking(), "one/plain/none/any/1MB")
    assert paths_of(found[plan.QUESTION], "one", "1MB") == {"afalg-copy", "so-crypt"}
    assert paths_of(found[plan.REST], "one", "1MB") == set()
    assert paths_of(found[plan.REST], "one", "10MB") == {"afalg-copy", "plain"}
    assert list(stages(asking(), "plain", "two/", "raw")) == [plan.QUESTION], "and then there is no rest"


@pytest.mark.parametrize(("missing", "left"), [("so-crypt", "afalg-copy"), ("afalg-copy", "so-crypt")])
def test_one_side_of_the_question_without_the_other_is_none(missing: str, left: str) -> None:
    found = stages(asking(), f"one/{missing}/3des/any/1MB")
    assert paths_of(found[plan.QUESTION], "one", "1MB") == set()
    assert paths_of(found[plan.REST], "one", "1MB") == {left, "plain"}
    assert paths_of(found[plan.QUESTION], "one", "10MB") == {"afalg-copy", "so-crypt"}
    assert list(stages(asking(), f"one/{missing}")) == [plan.REST]


def test_a_stage_says_how_long_its_cells_are_measured() -> None:
    whole = asking()
    question, rest = plan.stages(whole, plan.cells(whole, CLEAR))
    assert (question.rounds, question.looks, rest.rounds, rest.looks) == (10, (5, 10), 5, ())
    assert question.spans["one", 10**6] == Span(seconds=20, blocks=20)
    assert rest.spans["one", 10**6] == Span(seconds=4, blocks=3)
    assert rest.spans["raw", None] == Span(blocks=3)
    for stage in (question, rest):
        assert all((cell.suite, cell.size) in stage.spans for cell in stage.cells)
        assert stage.suites == list(dict.fromkeys(cell.suite for cell in stage.cells))


@given(st.sets(st.sampled_from([cell.id for cell in plan.cells(asking(), CLEAR)])), st.booleans(), st.booleans())
def test_every_wanted_cell_is_in_a_stage_and_only_a_baseline_in_two(
    wanted: set[str], asked: bool, large_only: bool
) -> None:
    whole = asking({"10MB": 10} if large_only else None, **({} if asked else {"question": None}))
    cells = [cell for cell in plan.cells(whole, CLEAR) if cell.id in wanted]
    found = plan.stages(whole, cells)
    assert all(stage.cells for stage in found)
    places = Counter(cell.id for stage in found for cell in stage.cells)
    assert set(places) == wanted
    twice = {cell for cell, count in places.items() if count > 1}
    assert all(cell.startswith("one/afalg-copy/") for cell in twice)
    if stages_by_name := {stage.name: stage for stage in found if stage.name == plan.QUESTION}:
        pairs = Counter((cell.suite, cell.size) for cell in stages_by_name[plan.QUESTION].cells)
        assert set(pairs.values()) == {2}, "whole comparisons"
    for stage in found:
        order = [cells.index(cell) for cell in stage.cells]
        assert order == sorted(order), "in the order of the profile"


def test_the_verdicts_of_the_question_are_those_of_its_candidate() -> None:
    whole = asking({"10MB": 10})
    marked = {cell.id for cell in plan.cells(whole, CLEAR) if plan.of_question(whole, cell.row("measured", None))}
    assert marked == {"one/so-crypt/3des/any/10MB"}
    without = asking(question=None)
    assert not any(plan.of_question(without, cell.row("measured", None)) for cell in plan.cells(without, CLEAR))


def test_a_run_knows_how_many_verdicts_it_is_going_to_hold() -> None:
    """Time and CPU of every candidate at every size; of the question 2 sizes. Of kernel crypto the other interface."""
    by_other = 2 * 2 * 2  # ciphers, operations, buffers
    assert plan.comparisons(asking()) == (4, 2 * 2 * 2 * 2 - 4 + by_other)
    assert plan.comparisons(asking({"10MB": 10})) == (2, 14 + by_other)
    assert plan.comparisons(asking(question=None)) == (0, 16 + by_other)
    itself = asking().against_itself()
    assert plan.comparisons(itself) == (0, 2 * 2 * 6), "every path with itself"
    reference = crypto(reference_buffers=[64], drivers=["any", "x"]).model_dump()
    assert plan.comparisons(asking(question=None, suites=[reference])) == (0, 2 * 2 * 2 * 2 + by_other + 1)


@given(st.integers(0, 10_000), st.integers(1, 100))
def test_blocks_are_due_round_by_round_until_all_are_there(blocks: int, rounds: int) -> None:
    due = [plan.due(blocks, rounds, done) for done in range(rounds + 1)]
    assert (due[0], due[-1]) == (0, blocks)
    steps = [after - before for before, after in pairwise(due)]
    assert max(steps) - min(steps) <= 1 and min(steps) >= 0
    assert blocks == 0 or steps[0] > 0, "the first round has some of everything"


@given(
    seconds=st.floats(0, 86_400),
    fewest=st.integers(2, 10_000),
    per_block=st.floats(5e-324, 1e6, exclude_min=False, allow_subnormal=True),
)
def test_a_time_makes_as_many_blocks_as_it_lasts_for(seconds: float, fewest: int, per_block: float) -> None:
    found = plan.blocks(Span(seconds=seconds, blocks=fewest), per_block)
    assert fewest <= found <= max(fewest, plan.MOST_BLOCKS)
    if fewest < found < plan.MOST_BLOCKS:
        assert (found - 1) * per_block <= seconds * (1 + 1e-9) and found * per_block >= seconds * (1 - 1e-9)
    if found == fewest:
        assert seconds / per_block <= fewest or fewest >= plan.MOST_BLOCKS


# kernel crypto


def test_every_cipher_driver_operation_and_buffer_is_a_cell() -> None:
    cells = plan.operations(crypto(drivers=["any", "qat_3des"]))
    assert [(c.cipher, c.driver, c.path, c.buffer) for c in cells] == [
        (cipher, driver, f"{interface}-{operation}", size)
        for cipher in ("3des", "null")
        for interface in ("devcrypto", "raw")
        for driver in ("any", "qat_3des")
        for operation in ("encrypt", "decrypt")
        for size in (64, 1024)
    ]
    assert {cell.depth for cell in cells} == {1}
    assert {cell.size for cell in cells} == {None}


def test_each_names_no_driver_before_the_host_is_known() -> None:
    assert plan.operations(crypto(drivers=["any", "each"])) == plan.operations(crypto(drivers=["any"]))


def test_deeper_requests_are_tried_with_the_largest_buffer_only() -> None:
    cells = plan.for_driver(crypto(depths=[1, 4, 16], operations=["decrypt"]), AF_ALG, "3des", "x")
    assert [(cell.buffer, cell.depth) for cell in cells] == [(64, 1), (1024, 1), (1024, 4), (1024, 16)]
    assert {(cell.path, cell.driver) for cell in cells} == {("raw-decrypt", "x")}


@pytest.mark.parametrize(("first", "second"), [("/dev/crypto", "AF_ALG"), ("AF_ALG", "/dev/crypto")])
def test_interfaces_are_judged_against_the_first_and_drivers_within_theirs(first: str, second: str) -> None:
    asked = crypto(ciphers=["3des"], buffers=[64], drivers=["any", "x"], interfaces=[first, second])
    asked = asked.model_copy(update={"reference_buffers": (64,)})
    rows = [cell.row("measured", None) for cell in plan.operations(asked)]
    found = {(a.path, b.path, b.driver) for a in rows for b in rows if plan.compared(a, b, asked.interfaces[0])}
    base, other = ("devcrypto", "raw") if first == "/dev/crypto" else ("raw", "devcrypto")
    drivers = {(f"{name}-{op}", f"{name}-{op}", "x") for name in (base, other) for op in ("encrypt", "decrypt")}
    across = {(f"{base}-{op}", f"{other}-{op}", "any") for op in ("encrypt", "decrypt")}
    assert found == drivers | across | {(f"{base}-encrypt", plan.REFERENCE, "any")}
    profile = profile_of(asked.model_dump(mode="json", exclude_none=True))
    assert plan.comparisons(profile) == (0, len(found))


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
def test_every_cell_of_kernel_crypto_has_an_id_of_its_own(
    drivers: list[str], buffers: list[int], depths: list[int]
) -> None:
    suite = crypto(drivers=["any", *drivers], buffers=buffers, depths=[1, *depths], reference_buffers=buffers[:1])
    cells = plan.operations(suite)
    assert len({cell.id for cell in cells}) == len(cells)
    named = 1 + len([driver for driver in drivers if driver != "each"])
    interfaces = operations = ciphers = 2
    assert len(cells) == interfaces * operations * named * ciphers * (len(buffers) + len(depths)) + 1
