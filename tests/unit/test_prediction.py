"""The prediction: prices from measurements, and the ratio that they predict."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from harness.api.steps import Price, Step, Steps, Way, from_two
from harness.costs import prediction
from harness.costs.prediction import Clear, Predicted, Prediction, Rehearsed, Take, Told
from harness.record import Verdict
from harness.servers import datapath
from harness.verdicts import judging

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
            name: {"bytes": n, "median_ns": clock + call_ns + byte_ns * n}
            for name, n in (("small", small), ("large", large))
        },
    }


def lines(clock: float, syscall: float, **steps: tuple[float, float]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"event": "costs", "cipher": "x"},
        {"event": "cost", "what": "clock", "once": {"median_ns": clock}},
        {"event": "cost", "what": "syscall", "once": {"median_ns": clock + syscall}},
    ]
    return found + [cost(what, *prices, clock) for what, prices in steps.items()]


@given(st.floats(0, 1e4), st.floats(1, 1e5), st.floats(1, 50), st.floats(1e-3, 100))
def test_a_price_comes_back_as_it_was_put_in(clock: float, syscall: float, times: float, byte: float) -> None:
    call = syscall * times  # a step is a call at least
    found = datapath.parse_costs(lines(clock, syscall, read=(call, byte), alg_recv=(call, byte)))
    assert found["syscall"].call_ns == pytest.approx(syscall, rel=1e-6, abs=1e-3)
    for name in ("read", "cipher"):
        assert found[name].call_ns == pytest.approx(call, rel=1e-6, abs=0.1)
        assert found[name].byte_ns == pytest.approx(byte, rel=1e-6, abs=1e-6)
    assert found["kernel_cipher"].call_ns == pytest.approx(call - syscall, rel=1e-6, abs=0.1)
    assert found["kernel_cipher"].byte_ns == found["cipher"].byte_ns


@given(st.floats(0, 1e4), st.floats(0, 1e5), st.floats(0, 100), st.floats(0, 1e5), st.floats(0, 100))
def test_the_cipher_is_what_a_request_costs_beyond_one_that_enciphers_nothing(
    clock: float, call: float, byte: float, own_call: float, own_byte: float
) -> None:
    both = {"devcrypto_map": (call, byte), "devcrypto_cipher": (call + own_call, byte + own_byte)}
    found = datapath.parse_costs(lines(clock, 100, alg_recv=(1e9, 1e3), **both))
    assert found["kernel_cipher"].call_ns == pytest.approx(own_call, rel=1e-6, abs=0.1)
    assert found["kernel_cipher"].byte_ns == pytest.approx(own_byte, rel=1e-6, abs=1e-6)
    assert found["devcrypto_map"].byte_ns == pytest.approx(byte, rel=1e-6, abs=1e-6)
    assert "devcrypto_cipher" not in found, "no path pays it by itself"


def test_copying_is_what_send_costs_over_sendfile() -> None:
    found = datapath.parse_costs(lines(10, 100, tcp_send=(5000, 3.0), tcp_sendfile=(4000, 1.0)))
    assert found["tcp_copy"].call_ns == pytest.approx(5000)
    assert found["tcp_copy"].byte_ns == pytest.approx(2.0)
    assert not {"tcp_send", "tcp_sendfile"} & found.keys()


def test_a_difference_below_zero_stays_what_it_is() -> None:
    both = {"devcrypto_map": (5000.0, 2.0), "devcrypto_cipher": (4000.0, 1.5)}
    found = datapath.parse_costs(lines(10, 100, tcp_send=(5000, 1.0), tcp_sendfile=(4000, 3.0), **both))
    assert found["tcp_copy"].byte_ns == pytest.approx(-2.0)
    assert found["kernel_cipher"].call_ns == pytest.approx(-1000.0)
    assert found["kernel_cipher"].byte_ns == pytest.approx(-0.5)


@given(st.floats(0, 1e5), st.floats(0, 1e5), st.floats(-50, 50), st.floats(0, 1e4))
def test_no_noise_makes_a_call_cheaper_than_the_cheapest(
    syscall: float, call: float, byte: float, clock: float
) -> None:
    found = datapath.parse_costs(lines(clock, syscall, read=(call, byte), alg_recv=(call, byte)))
    assert found["read"].call_ns >= found["syscall"].call_ns


def test_steps_that_were_not_measured_are_absent() -> None:
    assert set(datapath.parse_costs(lines(10, 100))) == {"syscall"}
    assert set(datapath.parse_costs(lines(10, 100, alg_sendfile=(200, 1.0)))) == {"syscall", "alg_sendfile"}


@pytest.mark.parametrize("what", ["clock", "syscall"])
def test_without_clock_or_call_there_are_no_prices(what: str) -> None:
    with pytest.raises(ValueError, match=f"told nothing of '{what}'"):
        datapath.parse_costs(line for line in lines(10, 100, read=(200, 1.0)) if line.get("what") != what)


@given(st.floats(-1e6, 1e6), st.floats(-1e3, 1e3), st.integers(1, 1000), st.integers(1, 10**6))
def test_a_line_through_two_points_goes_through_them(call: float, byte: float, small: int, more: int) -> None:
    large = small + more
    found = from_two((small, call + byte * small), (large, call + byte * large))
    for size in (small, large):
        assert found.call_ns + found.byte_ns * size == pytest.approx(call + byte * size, rel=1e-6, abs=1e-6)


# what a transfer costs


@given(step, known_prices, sizes)
def test_a_step_is_paid_for_each_begun_chunk_and_for_each_byte(one: Step, known: dict[str, Price], size: int) -> None:
    chunks = (size + one.chunk - 1) // one.chunk
    due = (one.times * chunks * known[one.price].call_ns + size * known[one.price].byte_ns) / 1e9
    assert prediction.own_seconds([one], known, size) == pytest.approx(due)


@given(st.lists(step), st.lists(step), known_prices, sizes)
def test_steps_add_up(some: list[Step], others: list[Step], known: dict[str, Price], size: int) -> None:
    both = prediction.own_seconds([*some, *others], known, size)
    assert both == pytest.approx(
        prediction.own_seconds(some, known, size) + prediction.own_seconds(others, known, size)
    )


# the predicted ratio


@given(metrics, steps, known_prices, clear, sizes)
def test_a_path_against_itself_is_one(
    metric: str, path: Steps, known: dict[str, Price], base: Clear, size: int
) -> None:
    assert prediction.predicted(metric, path, path, known, base, size) == pytest.approx(1)


@given(metrics, steps, steps, known_prices, clear, sizes)
def test_the_other_way_round_is_the_inverse(
    metric: str, one: Steps, other: Steps, known: dict[str, Price], base: Clear, size: int
) -> None:
    there = prediction.predicted(metric, one, other, known, base, size)
    back = prediction.predicted(metric, other, one, known, base, size)
    assert there is not None
    assert back is not None
    assert there * back == pytest.approx(1)


@given(metrics, steps, step, known_prices, clear, sizes)
def test_a_step_less_never_makes_a_path_dearer(
    metric: str, path: Steps, one: Step, known: dict[str, Price], base: Clear, size: int
) -> None:
    dearer = Steps((*path.sender, one), path.receiver)
    ratio = prediction.predicted(metric, dearer, path, known, base, size)
    assert ratio is not None
    assert ratio >= 1 - 1e-12


@given(steps, steps, known_prices, clear, sizes)
def test_nothing_is_faster_than_the_transfer_in_clear(
    one: Steps, other: Steps, known: dict[str, Price], base: Clear, size: int
) -> None:
    """With a link that takes longer than all that both hosts do, no scheme can win anything."""
    assume(max(p.call_ns + p.byte_ns for p in known.values()) * size * 30 / 1e9 < 1e12)
    slow = Clear(1e12, base.sender_cpu, base.receiver_cpu)
    assert prediction.predicted("seconds", one, other, known, slow, size) == pytest.approx(1)


@given(steps, steps, known_prices, clear, st.floats(0, 1e3), sizes)
def test_the_sender_s_cpu_knows_nothing_of_the_receiver(
    one: Steps, other: Steps, known: dict[str, Price], base: Clear, more: float, size: int
) -> None:
    busier = Clear(base.seconds, base.sender_cpu, base.receiver_cpu + more)
    idle = Steps(one.sender)
    metric = "cpu_seconds_per_gb"
    there = prediction.predicted(metric, one, other, known, base, size)
    assert there == prediction.predicted(metric, one, other, known, busier, size)
    assert there == prediction.predicted(metric, idle, other, known, base, size)


def test_the_fuller_host_decides() -> None:
    known = {"cipher": Price(0, 10.0), "receiver": Price(0, 30.0)}
    base = Clear(seconds=0.5, sender_cpu=0.1, receiver_cpu=0.2)
    crypt, both, size = Steps((Step("cipher"),)), Steps((Step("cipher"),), (Step("receiver"),)), 10**8
    assert prediction.predicted("seconds", crypt, Steps(), known, base, size) == pytest.approx((0.1 + 1.0) / 0.5)
    assert prediction.predicted("seconds", both, Steps(), known, base, size) == pytest.approx((0.2 + 3.0) / 0.5)
    assert prediction.predicted("cpu_seconds_per_gb", both, Steps(), known, base, size) == pytest.approx(1.1 / 0.1)


@given(metrics, steps, steps, known_prices, clear, sizes, st.sampled_from(NAMES))
def test_a_price_that_is_not_known_is_no_prediction(
    metric: str, one: Steps, other: Steps, known: dict[str, Price], base: Clear, size: int, missing: str
) -> None:
    needed = one.names() | other.names()
    fewer = {name: price for name, price in known.items() if name != missing}
    found = prediction.predicted(metric, one, other, fewer, base, size)
    assert (found is None) == (missing in needed)


# what a path should take, from its rehearsal

ways = st.builds(Way, st.sampled_from(["sendfile", "chunks", "send", "records"]), st.sampled_from([16384, 65536]))
small_prices = st.fixed_dictionaries(
    dict.fromkeys((*NAMES, "syscall"), st.builds(Price, st.floats(0, 1e4), st.floats(0, 10)))
)


def rehearsed(clear: Clear, work_ns: float = 0.0) -> Rehearsed:
    """A rehearsal that takes this much for every 10^6 bytes."""
    took = {n * 10**6: Clear(n * clear.seconds, n * clear.sender_cpu, n * clear.receiver_cpu) for n in (1, 3)}
    return Rehearsed(took, {size: size / 65536 * work_ns / 1e9 for size in took})


@given(clear, st.integers(1, 10**3))
def test_a_rehearsal_s_line_goes_through_what_was_tried_and_on(base: Clear, times: int) -> None:
    found = rehearsed(base).at(times * 10**6)
    assert (found.seconds, found.sender_cpu, found.receiver_cpu) == pytest.approx(
        (times * base.seconds, times * base.sender_cpu, times * base.receiver_cpu), rel=1e-6
    )


@given(ways, small_prices, clear, sizes)
def test_a_path_that_is_its_rehearsal_takes_what_that_took(
    way: Way, known: dict[str, Price], base: Clear, size: int
) -> None:
    sender, receiver = way.steps()
    found = prediction.spent(Steps(sender, receiver, way), known, rehearsed(base), size)
    there = rehearsed(base).at(size)
    assert found.sender_cpu == pytest.approx(there.sender_cpu, rel=1e-6, abs=1e-9)
    assert found.receiver_cpu == pytest.approx(there.receiver_cpu, rel=1e-6, abs=1e-9)


@given(ways, small_prices, st.floats(0, 0.1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), sizes, st.floats(0, 5))
def test_a_transfer_waits_once_and_takes_as_long_as_the_fullest_of_hosts_and_link(
    way: Way,
    known: dict[str, Price],
    wait: float,
    sender: float,
    receiver: float,
    linked: float,
    size: int,
    stall: float,
) -> None:
    """By the megabyte; one of the two transfers met somebody else besides."""
    fullest, steps = max(sender, receiver, linked), way.steps()
    took = {n * 10**6: Clear(wait + n * fullest, n * sender, n * receiver) for n in (1, 10)}
    took[10**7] = Clear(took[10**7].seconds + stall, 10 * sender, 10 * receiver)
    found = prediction.spent(Steps(*steps, way), known, Rehearsed(took), size, pace=linked / 1e6)
    assert found.seconds == pytest.approx(wait + size / 1e6 * fullest, rel=1e-6, abs=1e-6)


@given(small_prices, clear)
def test_work_stands_in_for_the_cipher(known: dict[str, Price], base: Clear) -> None:
    """Whole chunks: what the rehearsal worked is taken away again, and the cipher's own price is what is added."""
    path, size = Steps((Step("read"), Step("cipher"), Step("tcp_copy")), way=Way("send")), 65536 * 16
    work = prediction.standing_in(path, known)
    assert work == pytest.approx(known["cipher"].call_ns + 65536 * known["cipher"].byte_ns, rel=1e-6, abs=1e-3)
    found = prediction.spent(path, known, rehearsed(base, work), size)
    assert found.sender_cpu == pytest.approx(rehearsed(base).at(size).sender_cpu, rel=1e-6, abs=1e-7)


@given(st.floats(0.2, 5), st.floats(1, 1e7), st.floats(0, 1e5), ways)
def test_work_tells_how_slow_the_sender_is(slow: float, work_ns: float, clock_ns: float, way: Way) -> None:
    """Of what each work should take and took; its looks at the clock cost as much again, and as much more."""
    chunks = {size: math.ceil(size / way.chunk) for size in (10**6, 3 * 10**6)}
    told = {n: slow * (n / way.chunk * work_ns + times * clock_ns) / 1e9 for n, times in chunks.items()}
    slowness, work = prediction.work_of(Price(clock_ns, 1.0), {"a": Told(told, work_ns, way.chunk)})
    assert slowness == pytest.approx(slow)
    for size, seconds in work["a"].items():
        assert seconds - told[size] == pytest.approx(slow * chunks[size] * clock_ns / 1e9)


def test_no_work_tells_nothing_of_the_sender() -> None:
    assert prediction.work_of(Price(100.0, 1.0), {}) == (1.0, {})


@given(small_prices, clear, st.floats(0.5, 2))
def test_a_slow_sender_s_steps_are_as_slow(known: dict[str, Price], base: Clear, slow: float) -> None:
    """Everything of a rehearsal and of its path twice as slow: twice the processor time."""
    path, size = Steps((Step("read"), Step("cipher"), Step("tcp_copy")), way=Way("send")), 65536 * 16
    work = prediction.standing_in(path, known)
    usual = prediction.spent(path, known, rehearsed(Clear(0.0, 2 * work / 1e9, 0.0), work / 2), size)
    slower = rehearsed(Clear(0.0, 2 * slow * work / 1e9, 0.0), slow * work / 2)
    found = prediction.spent(path, known, slower, size, slowness=slow)
    assert found.sender_cpu == pytest.approx(slow * usual.sender_cpu, rel=1e-6, abs=1e-12)


def test_what_the_receiver_does_alone_counts_where_it_is_the_fuller() -> None:
    known = {"cipher": Price(0.0, 10.0), "receiver": Price(0.0, 30.0), "syscall": Price(0.0, 0.0)}
    path = Steps((Step("cipher"),), (Step("receiver"),), Way("chunks"))
    base = rehearsed(Clear(0.012, 0.011, 0.002), work_ns=10.0 * 65536)
    found = prediction.spent(path, known, base, 65536 * 16)
    more = 65536 * 16 / 1e6
    assert found.receiver_cpu == pytest.approx(0.032 * more)
    assert found.seconds == pytest.approx(0.032 * more + 0.001), "and what the rehearsal waited beyond its fuller host"


@given(clear, st.floats(0, 1), st.floats(0.1, 1))
def test_a_receiver_with_nothing_more_to_do_takes_what_it_took(base: Clear, unpaced: float, share: float) -> None:
    there = Clear(base.seconds, base.sender_cpu, base.seconds * share)
    found = prediction.busy_receiver(there, unpaced * there.receiver_cpu, 0.0, there.seconds)
    assert found == pytest.approx(there.receiver_cpu)


@given(st.floats(0.1, 0.9), st.floats(0, 1), st.floats(0, 10))
def test_waking_up_is_saved_by_a_receiver_that_is_busy(took: float, unpaced: float, more: float) -> None:
    """In a transfer that takes as long as its rehearsal: never more than all of it, never less than none of it."""
    base = Clear(1.0, 1.0, took)
    found = prediction.busy_receiver(base, unpaced * took, more, 1.0)
    assert unpaced * took + more <= found * (1 + 1e-9)
    assert found <= (took + more) * (1 + 1e-9)


def test_a_handshake_is_paid_once() -> None:
    path, none = Steps(way=Way("sendfile")), dict[str, Price]()
    base = rehearsed(Clear(0.01, 0.002, 0.005))
    with_tls = Rehearsed(base.took, {}, Clear(0.006, 0.004, 0.003))
    for size in (10**6, 10**8):
        plain, tls = (prediction.spent(path, none, one, size) for one in (base, with_tls))
        assert tls.seconds - plain.seconds == pytest.approx(0.006)
        assert tls.sender_cpu - plain.sender_cpu == pytest.approx(0.004)


possible = st.builds(
    lambda wait, sender, receiver: Clear(wait + max(sender, receiver), sender, receiver), *3 * [seconds]
)


@given(metrics, ways, small_prices, possible, possible, sizes)
def test_a_take_s_ratio_turns_round_with_its_paths(
    metric: str, way: Way, known: dict[str, Price], one: Clear, other: Clear, size: int
) -> None:
    take = Take(known, {"a": rehearsed(one), "b": rehearsed(other)})
    steps = Steps(*way.steps(), way)
    there = take.ratio(metric, ("a", steps), ("b", steps), size)
    back = take.ratio(metric, ("b", steps), ("a", steps), size)
    assert there is not None and back is not None
    assert there * back == pytest.approx(1, rel=1e-6)


def test_what_was_not_rehearsed_or_priced_has_no_ratio() -> None:
    take = Take({}, {"a": rehearsed(Clear(1, 1, 1))})
    assert take.ratio("seconds", ("a", Steps()), ("b", Steps()), 1) is None
    assert take.ratio("seconds", ("a", Steps()), ("a", Steps((Step("cipher"),))), 1) is None


# the interval

logs = st.lists(st.floats(-1, 1), min_size=2, max_size=12)


def combined(values: list[float]) -> Prediction | None:
    """Of these log ratios, each of a round of its own."""
    return judging.combined([Predicted(number, math.exp(value)) for number, value in enumerate(values)])


@given(logs, st.floats(-1, 1))
def test_a_factor_moves_the_whole_interval(values: list[float], by: float) -> None:
    one, other = combined(values), combined([value + by for value in values])
    assert one and other and one.low and one.high and other.low and other.high
    for a, b in ((one.ratio, other.ratio), (one.low, other.low), (one.high, other.high)):
        assert b / a == pytest.approx(math.exp(by), rel=1e-6)
    assert one.low <= one.ratio <= one.high


def test_no_round_is_no_prediction_and_one_has_no_interval() -> None:
    assert judging.combined([]) is None
    only = judging.combined([Predicted(3, 1.5), Predicted(3, 1.5)])
    assert only and only.low is only.high is None
    assert only.ratio == pytest.approx(1.5)


def test_one_bad_transfer_of_several_is_none_of_what_is_typical() -> None:
    found = prediction.typical([Clear(1.0, 0.5, 0.2), Clear(9.0, 0.6, 0.2), Clear(1.2, 0.1, 0.3)])
    assert found == Clear(1.2, 0.5, 0.2)


def test_the_mean_of_as_many_further_rounds_lies_within_as_often_as_promised() -> None:
    draw, hits, count = random.Random(1).gauss, 0, 4000
    for _ in range(count):
        found = combined([draw(0.3, 0.05) for _ in range(5)])
        further = math.exp(sum(draw(0.3, 0.05) for _ in range(5)) / 5)
        assert found and found.low and found.high
        hits += found.low <= further <= found.high
    assert abs(hits / count - (1 - judging.PREDICTION_MISSES)) < 4 * math.sqrt(0.05 * 0.95 / count)


# whether it fits


def verdict(low: float, high: float, margin: float, ceiling: float, *own: float) -> Verdict:
    return Verdict(
        comparison="a / b",
        baseline="a",
        candidate="b",
        metric="seconds",
        ratio=math.sqrt(low * high),
        ci_low=low,
        ci_high=high,
        blocks=9,
        verdict="cannot_tell",
        margin=margin,
        detectable=None,
        ceiling=ceiling,
        ceiling_low=own[0] if own else None,
        ceiling_high=own[1] if own else None,
    )


@given(st.floats(0.1, 10), st.floats(0.1, 10), st.floats(0, 1), st.floats(0.001, 0.5))
def test_a_prediction_without_an_interval_agrees_within_the_measured_one_widened_by_the_margin(
    one: float, other: float, between: float, margin: float
) -> None:
    low, high = sorted((one, other))
    for ceiling, fits in (
        (low + between * (high - low), True),
        (high * (1 + margin) * 0.999, True),
        (high * (1 + margin) * 1.001, False),
        (low / (1 + margin) / 1.001, False),
    ):
        assert prediction.agrees(verdict(low, high, margin, ceiling)) is fits


@given(st.floats(0.1, 10), st.floats(1.001, 2), st.floats(1.001, 2), st.floats(0.001, 0.5))
def test_a_prediction_with_an_interval_agrees_where_the_two_meet(
    low: float, wide: float, own: float, margin: float
) -> None:
    high = low * wide
    for start, fits in (
        (high * 0.999, True),
        (high * 1.001, False),
        (low / own / 1.001, False),
        (low / own * 1.001, True),
    ):
        found = prediction.agrees(verdict(low, high, margin, start, start, start * own))
        assert found is fits, "the margin is no part of it"
