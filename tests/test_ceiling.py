"""The ceiling: prices from measurements, and the ratio that they predict."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from harness import ceiling
from harness.ceiling import Clear, Price, Step, Steps

nanoseconds = st.floats(0, 1e6)
per_byte = st.floats(0, 100)
price = st.builds(Price, nanoseconds, per_byte)
NAMES = ("read", "cipher", "tcp_copy", "receiver")
known_prices = st.fixed_dictionaries(dict.fromkeys(NAMES, price))
step = st.builds(Step, st.sampled_from(NAMES), st.integers(1, 3), st.sampled_from([1400, 4096, 16384, 65536]))
steps = st.builds(Steps, st.lists(step, max_size=4).map(tuple), st.lists(step, max_size=2).map(tuple))
seconds = st.floats(1e-6, 1e3)
clear = st.builds(Clear, seconds, seconds, seconds)
sizes = st.integers(1, 10**9)
metrics = st.sampled_from(["seconds", "cpu_seconds_per_gb"])


# prices from what `datapath costs` says


def cost(
    what: str, call_ns: float, byte_ns: float, clock: float, small: int = 4096, large: int = 65536
) -> dict[str, Any]:
    """A line that a step with these costs would give, clock included."""
    return {
        "event": "cost",
        "what": what,
        **{
            name: {"bytes": n, "min_ns": clock + call_ns + byte_ns * n}
            for name, n in (("small", small), ("large", large))
        },
    }


def lines(clock: float, syscall: float, **steps: tuple[float, float]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"event": "costs", "cipher": "x"},
        {"event": "cost", "what": "clock", "once": {"min_ns": clock}},
        {"event": "cost", "what": "syscall", "once": {"min_ns": clock + syscall}},
    ]
    return found + [cost(what, *prices, clock) for what, prices in steps.items()]


@given(st.floats(0, 1e4), st.floats(1, 1e5), st.floats(1, 50), st.floats(1e-3, 100))
def test_a_price_comes_back_as_it_was_put_in(clock: float, syscall: float, times: float, byte: float) -> None:
    call = syscall * times  # a step is a call at least
    found = ceiling.prices(lines(clock, syscall, read=(call, byte), alg_recv=(call, byte)))
    assert found["syscall"].call_ns == pytest.approx(syscall, rel=1e-6, abs=1e-3)
    for name in ("read", "cipher"):
        assert found[name].call_ns == pytest.approx(call, rel=1e-6, abs=0.1)
        assert found[name].byte_ns == pytest.approx(byte, rel=1e-6, abs=1e-6)
    assert found["kernel_cipher"].call_ns == pytest.approx(call - syscall, rel=1e-6, abs=0.1)
    assert found["kernel_cipher"].byte_ns == found["cipher"].byte_ns


def test_copying_is_what_send_costs_over_sendfile() -> None:
    found = ceiling.prices(lines(10, 100, tcp_send=(5000, 3.0), tcp_sendfile=(4000, 1.0)))
    assert found["tcp_copy"].call_ns == pytest.approx(5000)
    assert found["tcp_copy"].byte_ns == pytest.approx(2.0)
    assert not {"tcp_send", "tcp_sendfile"} & found.keys()


def test_copying_never_earns_anything() -> None:
    assert ceiling.prices(lines(10, 100, tcp_send=(5000, 1.0), tcp_sendfile=(4000, 3.0)))["tcp_copy"].byte_ns == 0


@given(st.floats(0, 1e5), st.floats(0, 1e5), st.floats(-50, 0), st.floats(0, 1e4))
def test_no_noise_makes_a_price_negative_or_a_call_free(syscall: float, call: float, byte: float, clock: float) -> None:
    found = ceiling.prices(lines(clock, syscall, read=(call, byte), alg_recv=(call, byte)))
    assert all(price.call_ns >= 0 and price.byte_ns >= 0 for price in found.values())
    assert found["read"].call_ns >= found["syscall"].call_ns


def test_steps_that_were_not_measured_are_absent() -> None:
    assert set(ceiling.prices(lines(10, 100))) == {"syscall"}
    assert set(ceiling.prices(lines(10, 100, alg_sendfile=(200, 1.0)))) == {"syscall", "alg_sendfile"}


@pytest.mark.parametrize("what", ["clock", "syscall"])
def test_without_clock_or_call_there_are_no_prices(what: str) -> None:
    with pytest.raises(ValueError, match=f"told nothing of '{what}'"):
        ceiling.prices(line for line in lines(10, 100, read=(200, 1.0)) if line.get("what") != what)


@given(st.floats(0, 1e6), st.floats(0, 1e3), st.integers(1, 1000), st.integers(1, 10**6))
def test_a_line_through_two_points_goes_through_them(call: float, byte: float, small: int, more: int) -> None:
    large = small + more
    found = ceiling.from_two((small, call + byte * small), (large, call + byte * large))
    for size in (small, large):
        assert found.call_ns + found.byte_ns * size == pytest.approx(call + byte * size, rel=1e-6, abs=1e-6)


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_two_points_never_give_a_negative_price(first: float, second: float) -> None:
    found = ceiling.from_two((256, first), (16384, second))
    assert found.call_ns >= 0
    assert found.byte_ns >= 0


# what a transfer costs


@given(step, known_prices, sizes)
def test_a_step_is_paid_for_each_begun_chunk_and_for_each_byte(one: Step, known: dict[str, Price], size: int) -> None:
    chunks = (size + one.chunk - 1) // one.chunk
    due = (one.times * chunks * known[one.price].call_ns + size * known[one.price].byte_ns) / 1e9
    assert ceiling.own_seconds([one], known, size) == pytest.approx(due)


@given(st.lists(step), st.lists(step), known_prices, sizes)
def test_steps_add_up(some: list[Step], others: list[Step], known: dict[str, Price], size: int) -> None:
    both = ceiling.own_seconds([*some, *others], known, size)
    assert both == pytest.approx(ceiling.own_seconds(some, known, size) + ceiling.own_seconds(others, known, size))


# the predicted ratio


@given(metrics, steps, known_prices, clear, sizes)
def test_a_path_against_itself_is_one(
    metric: str, path: Steps, known: dict[str, Price], base: Clear, size: int
) -> None:
    assert ceiling.predicted(metric, path, path, known, base, size) == pytest.approx(1)


@given(metrics, steps, steps, known_prices, clear, sizes)
def test_the_other_way_round_is_the_inverse(
    metric: str, one: Steps, other: Steps, known: dict[str, Price], base: Clear, size: int
) -> None:
    there = ceiling.predicted(metric, one, other, known, base, size)
    back = ceiling.predicted(metric, other, one, known, base, size)
    assert there is not None
    assert back is not None
    assert there * back == pytest.approx(1)


@given(metrics, steps, step, known_prices, clear, sizes)
def test_a_step_less_never_makes_a_path_dearer(
    metric: str, path: Steps, one: Step, known: dict[str, Price], base: Clear, size: int
) -> None:
    dearer = Steps((*path.sender, one), path.receiver)
    ratio = ceiling.predicted(metric, dearer, path, known, base, size)
    assert ratio is not None
    assert ratio >= 1 - 1e-12


@given(steps, steps, known_prices, clear, sizes)
def test_nothing_is_faster_than_the_transfer_in_clear(
    one: Steps, other: Steps, known: dict[str, Price], base: Clear, size: int
) -> None:
    """With a link that takes longer than all that both hosts do, no scheme can win anything."""
    assume(max(p.call_ns + p.byte_ns for p in known.values()) * size * 30 / 1e9 < 1e12)
    slow = Clear(1e12, base.sender_cpu, base.receiver_cpu)
    assert ceiling.predicted("seconds", one, other, known, slow, size) == pytest.approx(1)


@given(steps, steps, known_prices, clear, st.floats(0, 1e3), sizes)
def test_the_sender_s_cpu_knows_nothing_of_the_receiver(
    one: Steps, other: Steps, known: dict[str, Price], base: Clear, more: float, size: int
) -> None:
    busier = Clear(base.seconds, base.sender_cpu, base.receiver_cpu + more)
    idle = Steps(one.sender)
    metric = "cpu_seconds_per_gb"
    there = ceiling.predicted(metric, one, other, known, base, size)
    assert there == ceiling.predicted(metric, one, other, known, busier, size)
    assert there == ceiling.predicted(metric, idle, other, known, base, size)


def test_the_fuller_host_decides() -> None:
    known = {"cipher": Price(0, 10.0), "receiver": Price(0, 30.0)}
    base = Clear(seconds=0.5, sender_cpu=0.1, receiver_cpu=0.2)
    crypt, both, size = Steps((Step("cipher"),)), Steps((Step("cipher"),), (Step("receiver"),)), 10**8
    assert ceiling.predicted("seconds", crypt, Steps(), known, base, size) == pytest.approx((0.1 + 1.0) / 0.5)
    assert ceiling.predicted("seconds", both, Steps(), known, base, size) == pytest.approx((0.2 + 3.0) / 0.5)
    assert ceiling.predicted("cpu_seconds_per_gb", both, Steps(), known, base, size) == pytest.approx(1.1 / 0.1)


@given(metrics, steps, steps, known_prices, clear, sizes, st.sampled_from(NAMES))
def test_a_price_that_is_not_known_is_no_prediction(
    metric: str, one: Steps, other: Steps, known: dict[str, Price], base: Clear, size: int, missing: str
) -> None:
    needed = one.names() | other.names()
    fewer = {name: price for name, price in known.items() if name != missing}
    found = ceiling.predicted(metric, one, other, fewer, base, size)
    assert (found is None) == (missing in needed)


@given(st.floats(0.1, 10), st.floats(0.1, 10), st.floats(0, 1), st.floats(0.001, 0.5))
def test_a_prediction_agrees_within_the_interval_widened_by_the_margin(
    one: float, other: float, between: float, margin: float
) -> None:
    low, high = sorted((one, other))
    assert ceiling.agrees(low + between * (high - low), low, high, margin)
    assert ceiling.agrees(high * (1 + margin) * 0.999, low, high, margin)
    assert not ceiling.agrees(high * (1 + margin) * 1.001, low, high, margin)
    assert not ceiling.agrees(low / (1 + margin) / 1.001, low, high, margin)
