"""Judging: only what counts is compared, in pairs of one block; a full resource is named."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from harness.costs.prediction import Prediction
from harness.record import Cell, Outcome, Verdict
from harness.samples import HostSample, Sample, counted, cpu_seconds_per_gb
from harness.verdicts import judging
from hosts.roles import ROLES

PREDICTIONS = {
    ("seconds", "other"): Prediction(1.5),
    ("cpu_seconds_per_gb", "other"): Prediction(2.5, 2.4, 2.6),
}
BASE, OTHER = "s/base/3des/any/1MB", "s/other/3des/any/1MB"


def cell(ident: str, outcome: Outcome = "measured") -> Cell:
    suite, path, cipher, driver, _ = ident.split("/")
    return Cell(id=ident, suite=suite, path=path, cipher=cipher, driver=driver, size_bytes=10**6, outcome=outcome)


def sample(ident: str, block: int, seconds: float | None = 1.0, cpu: float | None = 1.0, **more: Any) -> Sample:
    host = HostSample(cpu_seconds=cpu, cpu_resolution_seconds=0.01)
    content: dict[str, Any] = {
        "cell": ident,
        "block": block,
        "index": 0,
        "warmup": False,
        "seconds": seconds,
        "bytes": 10**6,
        "valid": True,
        "sender": host,
        "receiver": HostSample(cpu_seconds=0.0, cpu_resolution_seconds=0.01),
    }
    return msgspec.convert(content | more, Sample)


def times(base: list[float], other: list[float]) -> list[Sample]:
    """Samples of both cells, a block each."""
    return [
        sample(ident, block, value)
        for ident, values in ((BASE, base), (OTHER, other))
        for block, value in enumerate(values)
    ]


BOTH = [cell(BASE), cell(OTHER)]


def verdicts(cells: list[Cell], samples: list[Sample], limits: dict[str, str | None] | None = None) -> list[Verdict]:
    rows = judging.rows(cells, "base", 0.03, limits or {}, lambda metric, path: PREDICTIONS.get((metric, path)))
    return judging.settled(rows, samples)


def test_a_verdict_names_both_cells_and_divides_baseline_by_candidate() -> None:
    found = verdicts(BOTH, times([2.0, 2.2, 1.9], [1.0, 1.1, 1.0]), {OTHER: "link"})
    assert [verdict.metric for verdict in found] == ["seconds", "cpu_seconds_per_gb"]
    first = found[0]
    assert (first.baseline, first.candidate, first.blocks) == (BASE, OTHER, 3)
    assert first.comparison == "base / other, s 1MB"
    assert first.ratio == pytest.approx((2.0 * 2.0 * 1.9) ** (1 / 3))
    assert (first.verdict, first.bottleneck, first.margin) == ("faster", "link", 0.03)
    assert first.ratio is not None
    assert first.ci_low is not None
    assert first.ci_high is not None
    assert 1 < first.ci_low < first.ratio < first.ci_high
    assert [verdict.ceiling for verdict in found] == [1.5, 2.5]
    assert [(verdict.ceiling_low, verdict.ceiling_high) for verdict in found] == [(None, None), (2.4, 2.6)]


def test_warm_ups_invalid_samples_and_other_cells_do_not_count() -> None:
    kept = sample(BASE, 3)
    dropped = [
        sample(BASE, 0, warmup=True),
        sample(BASE, 1, valid=False),
        sample(BASE, 2, seconds=None, valid=False),
        sample(OTHER, 4),
    ]
    assert counted([kept, *dropped], {BASE}) == {BASE: {3: kept}}


def test_only_blocks_that_both_have_are_compared() -> None:
    samples = times([1.0, 2.0, 4.0, 8.0], [1.0, 2.0, 4.0, 8.0])
    del samples[1], samples[-2]
    found = verdicts(BOTH, samples)[0]
    assert (found.blocks, found.ratio) == (2, 1.0)


@pytest.mark.parametrize("outcome", ["unsupported", "failed", "invalid"])
def test_what_was_not_measured_gets_no_verdict(outcome: Outcome) -> None:
    samples = times([1.0] * 4, [2.0] * 4)
    assert verdicts([cell(BASE), cell(OTHER, outcome)], samples) == []
    assert verdicts([cell(BASE, outcome), cell(OTHER)], samples) == []


def test_without_samples_there_is_a_row_that_says_nothing() -> None:
    found = verdicts(BOTH, [])
    said = {(v.ratio, v.blocks, v.verdict, v.detectable, v.ceiling) for v in found}
    assert said == {(None, 0, "cannot_tell", None, None)}


@pytest.mark.parametrize(
    ("cpu", "resolution", "size", "expected"),
    [
        (1.0, 0.01, 10**6, 1000.0),
        (0.1, 0.01, 10**6, 100.0),
        (0.099, 0.01, 10**6, None),
        (0.0, 0.01, 10**6, None),
        (None, 0.01, 10**6, None),
        (1.0, None, 10**6, None),
        (1.0, 0.01, None, None),
        (1.0, 0.01, 0, None),
    ],
)
def test_processor_time_is_compared_only_where_its_clock_is_fine_enough(
    cpu: float | None, resolution: float | None, size: int | None, expected: float | None
) -> None:
    host = HostSample(cpu_seconds=cpu, cpu_resolution_seconds=resolution)
    one = sample(BASE, 0, bytes=size, sender=host, receiver=host)
    for role in ROLES:
        found = cpu_seconds_per_gb(one, role)
        assert found == (None if expected is None else pytest.approx(expected))


def test_one_block_that_the_clock_cannot_tell_leaves_no_comparison() -> None:
    """To keep only the blocks that took long enough would be to choose the slow ones."""
    base = [sample(BASE, block) for block in range(6)]
    other = [sample(OTHER, block, cpu=0.05 if block == 2 else 1.0) for block in range(6)]
    seconds, cpu = verdicts(BOTH, base + other)
    assert (cpu.ratio, cpu.blocks, cpu.verdict) == (None, 0, "cannot_tell")
    assert (seconds.blocks, seconds.verdict) == (6, "same")
    assert judging.remarks([seconds, cpu], base + other) == [
        "the sender's CPU was not compared where a sample of it is shorter than 10 steps of its clock: "
        "base / other, s 1MB"
    ]


def test_a_path_against_itself_is_a_comparison_like_others() -> None:
    """The first measured cell of the baseline's path is the baseline, wherever it stands."""
    twin = cell("s/base/3des/generic/1MB")
    samples = [sample(ident, n) for ident in (BASE, twin.id, OTHER) for n in range(4)]
    found = [verdict for verdict in verdicts([cell(OTHER), cell(BASE), twin], samples) if verdict.metric == "seconds"]
    assert [(one.baseline, one.candidate) for one in found] == [(BASE, OTHER), (BASE, twin.id)]
    assert [one.comparison for one in found] == ["base / other, s 1MB", "base any / base generic, s 1MB"]
    assert {one.verdict for one in found} == {"same"}


def test_a_clock_of_coarse_steps_is_not_taken_for_an_exact_one() -> None:
    """CPU in ticks is the same in every block: a tick of twelve is still not known to be nothing."""
    ticks = HostSample(cpu_seconds=0.12, cpu_resolution_seconds=0.01)
    samples = [sample(ident, n, sender=ticks) for ident in (BASE, OTHER) for n in range(6)]
    seconds, cpu = verdicts(BOTH, samples)
    assert (seconds.ratio, seconds.verdict) == (1.0, "same")
    assert (cpu.ratio, cpu.verdict) == (1.0, "cannot_tell")
    assert cpu.ci_low is not None


def test_a_batch_of_operations_is_timed_as_a_whole() -> None:
    one = sample(BASE, 0, 5e-6)
    many = sample(BASE, 0, 5e-6, witness={"operations": 1000})
    assert judging.step(one, "seconds") == pytest.approx(0.2)
    assert judging.step(many, "seconds") == pytest.approx(0.0002)
    told = {"operations": 200_000, "clock_step_seconds": 0.01}
    assert judging.step(sample(BASE, 0, 5e-6, witness=told), "seconds") == pytest.approx(0.01)


def noisy(first: str, second: str, ratio: float, blocks: int = 8) -> list[Sample]:
    """Two cells whose ratio is ``ratio`` with about 3 % of noise."""
    wave = [1.03 if n % 2 else 0.97 for n in range(blocks)]
    return [sample(first, n, ratio * wave[n]) for n in range(blocks)] + [sample(second, n) for n in range(blocks)]


def test_verdicts_of_all_suites_are_corrected_together() -> None:
    """Each suite by itself tells more than it may when there are twenty of them."""
    rows, samples = [], []
    for number in range(20):
        base, other = f"s{number}/base/3des/any/1MB", f"s{number}/other/3des/any/1MB"
        taken = noisy(base, other, 1.04)
        rows += verdicts([cell(base), cell(other)], taken, {other: "link"})
        samples += taken
    settled = judging.settled(rows, samples)
    alone, together = rows[0], settled[0]
    assert (alone.verdict, together.verdict) == ("faster", "cannot_tell")
    ends = (together.ci_low, alone.ci_low, alone.ci_high, together.ci_high)
    assert list(ends) == sorted(end for end in ends if end is not None)
    assert together.detectable is not None
    assert alone.detectable is not None
    assert together.detectable > alone.detectable
    same = {"ratio", "comparison", "baseline", "candidate", "metric", "margin", "ceiling", "bottleneck", "blocks"}
    assert together.model_dump(include=same) == alone.model_dump(include=same)
    assert judging.settled(settled, samples) == settled, "doing it again changes nothing"
    assert judging.settled(rows[:2], samples, planned=40)[0] == settled[0], "those still to come count"


def width(verdict: Verdict) -> float:
    assert verdict.ci_low is not None
    assert verdict.ci_high is not None
    return verdict.ci_high - verdict.ci_low


def test_the_question_has_half_of_the_error_however_many_others_there_are() -> None:
    asked: list[Verdict] = []
    rest: list[Verdict] = []
    samples: list[Sample] = []
    for number in range(20):
        base, other = f"s{number}/base/3des/any/1MB", f"s{number}/other/3des/any/1MB"
        samples += noisy(base, other, 1.04)
        rows = judging.against(cell(base), cell(other), 0.03, of_question=number == 0)
        (asked if number == 0 else rest).extend(rows)
    alone = judging.settled(asked, samples)
    together = judging.settled([*rest, *asked], samples)
    assert together[-2:] == alone, "what others find is nothing to the question"
    assert [one.of_question for one in together] == [False] * len(rest) + [True] * len(asked)
    assert {one.verdict for one in alone if one.metric == "seconds"} == {"faster"}
    assert {one.verdict for one in together[:-2] if one.metric == "seconds"} == {"cannot_tell"}
    without = judging.settled(rest, samples)
    assert width(together[0]) > width(without[0]), "half of the error is the question's"
    assert judging.settled(rest, samples, planned_question=2) == together[:-2], "asked, and not there yet"
    assert width(judging.settled(asked, samples, planned_question=6)[0]) > width(alone[0])
    assert judging.settled(asked, samples, planned=100) == alone


def test_a_path_that_is_asked_for_is_marked() -> None:
    for asked in ("other", "third", None):
        found = judging.rows(BOTH, "base", 0.03, {}, lambda *_: None, question=asked)
        assert [one.of_question for one in found] == [asked == "other"] * 2


def test_blocks_of_several_boots_are_judged_by_their_boots() -> None:
    """Five boots that differ by 4 % each way, with blocks that hardly do: twenty blocks are not twenty witnesses."""
    shifts = [1.04, 0.96, 1.08, 1.0, 0.98]
    base = [sample(BASE, n, shifts[n // 4] * (1.001 if n % 2 else 0.999), round=n // 4) for n in range(20)]
    other = [sample(OTHER, n, round=n // 4) for n in range(20)]
    several = verdicts(BOTH, base + other)[0]
    one_boot = verdicts(BOTH, times([one.seconds or 0.0 for one in base], [1.0] * 20))[0]
    assert (several.rounds, several.blocks, one_boot.rounds, one_boot.between) == (5, 20, 1, None)
    assert several.between == pytest.approx(1.0, abs=0.01)
    assert width(several) > 2 * width(one_boot)


def test_looks_widen_the_interval_of_their_cell() -> None:
    taken = noisy(BASE, OTHER, 1.1)
    rows = verdicts(BOTH, taken)
    once, often = judging.settled(rows, taken)[0], judging.settled(rows, taken, {OTHER: 4})[0]
    assert once.ci_low is not None
    assert often.ci_low is not None
    assert often.ci_low < once.ci_low


def test_a_block_that_stands_out_is_told_and_counts() -> None:
    samples = times([1.0, 1.01, 0.99, 1.0, 8.0, 0.99], [1.0] * 6)
    rows = verdicts(BOTH, samples)
    assert judging.remarks(rows, samples) == [
        "base / other, s 1MB, seconds: far from the median of x1: block 4 (x8); counted"
    ]
    assert rows[0].blocks == 6
    assert judging.remarks(rows, times([1.0] * 6, [1.0] * 6)) == []


def test_cpu_that_may_be_another_s_is_told_as_missing() -> None:
    shared = [HostSample(cpu_elsewhere=share) for share in (0.005, 0.02, 0.05, 0.3)]
    samples = [msgspec.structs.replace(sample(BASE, block), sender=host) for block, host in enumerate(shared)]
    assert judging.remarks([], samples) == [
        "the CPU of 2 of 4 samples is missing: of the busy time there 17.5% (the median; allowed 2%) may not be that "
        "host's"
    ]
    assert judging.remarks([], [sample(BASE, 0)]) == [], "where each host has a kernel of its own"


def test_no_verdicts_settle_to_none_and_margins_may_not_differ() -> None:
    assert judging.settled([], []) == []
    rows = verdicts(BOTH, times([1.0] * 3, [1.0] * 3))
    with pytest.raises(ValueError, match="one margin"):
        judging.settled([rows[0], rows[1].model_copy(update={"margin": 0.1})], [])


def test_verdicts_whose_samples_are_gone_say_nothing() -> None:
    rows = verdicts(BOTH, times([2.0, 2.1, 2.0], [1.0, 1.0, 1.0]))
    assert rows[0].ceiling == 1.5
    assert {(v.ratio, v.blocks, v.verdict, v.ceiling) for v in judging.settled(rows, [])} == {
        (None, 0, "cannot_tell", None)
    }


def bottleneck(seconds: float, sender: float | None, receiver: float | None, link: float | None) -> str | None:
    hosts = [HostSample(cpu_seconds=cpu, cpu_resolution_seconds=0.01) for cpu in (sender, receiver)]
    samples = [sample(BASE, block, seconds, sender=hosts[0], receiver=hosts[1]) for block in range(3)]
    return judging.bottleneck(samples, {"sender": 1, "receiver": 2}, link)


@pytest.mark.parametrize(
    ("seconds", "sender", "receiver", "link", "expected"),
    [
        (0.008, 0.0, 0.0, 10**9, "link"),
        (0.0085, 0.0, 0.0, 10**9, "link"),
        (0.009, 0.0, 0.0, 10**9, None),
        (1.0, 0.95, 0.1, 10**9, "sender"),
        (1.0, 0.85, 0.1, 10**9, None),
        (1.0, 0.1, 1.9, 10**9, "receiver"),
        (1.0, 0.1, 1.0, 10**9, None),
        (1.0, 0.92, 1.9, 10**9, "receiver"),
        (1.0, 0.95, None, None, "sender"),
        (1.0, None, None, None, None),
    ],
)
def test_the_full_resource_is_named(
    seconds: float, sender: float | None, receiver: float | None, link: float | None, expected: str | None
) -> None:
    assert bottleneck(seconds, sender, receiver, link) == expected


def test_a_tick_or_two_fill_nothing() -> None:
    """1 MB in 9 ms: where the clock steps by 10 ms, one step would be a full processor."""
    tick = HostSample(cpu_seconds=0.01, cpu_resolution_seconds=0.01, busiest_cpu_seconds=0.01)
    samples = [sample(BASE, block, 0.009, sender=tick, receiver=tick) for block in range(3)]
    assert judging.bottleneck(samples, {"sender": 1, "receiver": 16}, None) is None


def test_one_full_processor_of_many_is_named() -> None:
    """A server's one worker fills one of sixteen, and then it does not matter that fifteen idle."""
    worker = HostSample(cpu_seconds=1.1, cpu_resolution_seconds=0.01, busiest_cpu_seconds=0.97)
    idle = HostSample(cpu_seconds=0.2, cpu_resolution_seconds=0.01, busiest_cpu_seconds=0.1)
    samples = [sample(BASE, block, 1.0, sender=worker, receiver=idle) for block in range(3)]
    assert judging.bottleneck(samples, {"sender": 16, "receiver": 16}, None) == "sender's fullest processor"
    assert judging.bottleneck(samples, {"sender": 16, "receiver": 16}, None, 0.9) == "cipher"
    spread = [sample(BASE, block, 1.0, sender=idle, receiver=idle) for block in range(3)]
    assert judging.bottleneck(spread, {"sender": 16, "receiver": 16}, None) is None


def loaded(ident: str, *shares: float) -> list[Sample]:
    """Samples whose generator took these shares of a processor, and whose sender was full."""
    load = {
        "connections": 8, "at_once": 8, "requests": 9, "opened": 8, "handshakes": 0, "resumed": 0, "canaries": 1,
        "window_seconds": 2.0, "window_responses": 2, "window_bytes": 2 * 10**6,
    }  # fmt: skip
    return [sample(ident, n, load=load | {"generator_cpu_seconds": share * 2.0}) for n, share in enumerate(shares)]


@pytest.mark.parametrize(
    ("shares", "expected"), [((0.97, 0.99, 0.2), "generator"), ((0.97, 0.9, 0.2), "sender"), ((0.2,), "sender")]
)
def test_a_generator_that_was_full_in_most_samples_is_what_limits(shares: tuple[float, ...], expected: str) -> None:
    assert judging.bottleneck(loaded(OTHER, *shares), {"sender": 1, "receiver": 1}, None) == expected
    assert judging.bottleneck(loaded(OTHER, *shares), {"sender": 1, "receiver": 1}, 8e6) == "link"


@pytest.mark.parametrize("full", [BASE, OTHER])
def test_a_comparison_is_limited_by_the_generator_whichever_side_filled_it(full: str) -> None:
    limits: dict[str, str | None] = {BASE: "sender", OTHER: "receiver", full: "generator"}
    assert {row.bottleneck for row in verdicts(BOTH, times([2.0], [1.0]), limits)} == {"generator"}
    assert {row.bottleneck for row in verdicts(BOTH, times([2.0], [1.0]), {OTHER: "receiver"})} == {"receiver"}


def test_of_nothing_there_is_no_bottleneck() -> None:
    assert judging.bottleneck([], {"sender": 1, "receiver": 1}, 10**9) is None


def test_one_slow_transfer_does_not_change_the_bottleneck() -> None:
    samples = [sample(BASE, block, 5.0 if block == 0 else 0.008) for block in range(5)]
    assert judging.bottleneck(samples, {"sender": 1, "receiver": 1}, 10**9) == "link"


def test_a_full_sender_that_mostly_enciphers_waits_for_the_cipher() -> None:
    full = [sample(BASE, n, 1.0, 0.98) for n in range(3)]
    assert judging.bottleneck(full, {"sender": 1, "receiver": 1}, None, 0.9) == "cipher"
    assert judging.bottleneck(full, {"sender": 1, "receiver": 1}, None, 0.3) == "sender"
    assert judging.bottleneck(full, {"sender": 1, "receiver": 1}, None, None) == "sender"


# one cell against another: kernel crypto, where driver, depth and user space are compared


def operations(ident: str, depth: int = 1) -> Cell:
    suite, path, cipher, driver, what = ident.split("/")
    size = int(what.partition("B")[0])
    return Cell(id=ident, suite=suite, path=path, cipher=cipher, driver=driver, buffer_bytes=size, depth=depth,
                outcome="measured")  # fmt: skip


ANY = operations("raw/raw-encrypt/3des/any/64B")


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (operations("raw/raw-encrypt/3des/qat/64B"), "3des raw-encrypt any / 3des raw-encrypt qat, raw 64B"),
        (
            operations("raw/raw-encrypt/3des/any/64Bx4", 4),
            "3des raw-encrypt any x1 / 3des raw-encrypt any x4, raw 64Bx4",
        ),
        (operations("raw/openssl-speed/3des/any/64B"), "3des raw-encrypt / 3des openssl-speed, raw 64B"),
    ],
)
def test_a_comparison_says_what_tells_the_two_apart(other: Cell, said: str) -> None:
    samples = [sample(one.id, block, 1.0) for one in (ANY, other) for block in range(3)]
    assert {verdict.comparison for verdict in judging.settled(judging.against(ANY, other, 0.03), samples)} == {said}


def test_one_against_another_is_paired_by_blocks_and_keeps_both_ids() -> None:
    other = operations("raw/raw-encrypt/3des/qat/64B")
    samples = [sample(ANY.id, block, 2.0 + block) for block in range(5)]
    samples += [sample(other.id, block, 1.0 + block / 2) for block in range(1, 5)]
    seconds = judging.settled(judging.against(ANY, other, 0.03), samples)[0]
    assert (seconds.baseline, seconds.candidate, seconds.metric) == (ANY.id, other.id, "seconds")
    assert seconds.blocks == 4
    assert seconds.ratio == pytest.approx(2.0)
    assert (seconds.ceiling, seconds.bottleneck) == (None, None)


def test_what_knows_no_processor_time_is_not_compared_by_it() -> None:
    other = operations("raw/raw-encrypt/3des/qat/64B")
    samples = [sample(one.id, block, cpu=None) for one in (ANY, other) for block in range(4)]
    cpu = judging.settled(judging.against(ANY, other, 0.03), samples)[1]
    assert (cpu.metric, cpu.ratio, cpu.blocks) == ("cpu_seconds_per_gb", None, 0)
