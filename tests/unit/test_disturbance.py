"""What else happened: parsed from what Linux says, marked by a rule that was fixed before, told beside a verdict."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.blocks import DISTURBED_SHARE, BlockFacts, HostBlock, disturbed
from harness.measuring import disturbance
from harness.measuring.disturbance import watching
from harness.record import Verdict
from harness.samples import Sample
from harness.verdicts import disturbed as verdicts_disturbed
from hosts.disturbance import Disturbance, Ticks, processors, quotas, run_delay, throttled
from hosts.lab.disturbance import Watch, read
from hosts.onhost.agent import counters, files
from hosts.remote.host import RemoteHost

STAT = """\
cpu  100 20 30 4000 5 6 7 80 0 0
cpu0 60 10 10 2000 5 1 2 50 0 0
cpu11 40 10 20 2000 0 5 5 30 0 0
intr 12 0 0
ctxt 4321
softirq 99 1 2
"""
TIMES = st.integers(min_value=0, max_value=10**15)
DISTURBANCES = st.builds(Disturbance, **{field.name: st.none() | TIMES for field in fields(Disturbance)})


def test_each_processor_has_its_own_time() -> None:
    assert processors(STAT) == {0: Ticks(60 + 10 + 10 + 1 + 2, 2, 50), 11: Ticks(40 + 10 + 20 + 5 + 5, 5, 30)}


def test_waiting_and_turns_are_the_last_two_numbers_of_schedstat() -> None:
    assert run_delay("266583668 7805609 20414\n") == (7805609, 20414)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "0::/user.slice/user-1.slice\n",
            ["/sys/fs/cgroup/user.slice/user-1.slice", "/sys/fs/cgroup/user.slice", "/sys/fs/cgroup"],
        ),
        (
            "9:name=systemd:/x\n4:cpu,cpuacct:/box\n3:cpuset:/y\n",
            ["/sys/fs/cgroup/cpu/box", "/sys/fs/cgroup/cpu"],
        ),
        ("2:cpuset:/\n", []),
    ],
)
def test_quotas_are_looked_for_in_all_cgroups_that_hold_a_process(text: str, expected: list[str]) -> None:
    assert quotas(text) == [PurePosixPath(place) / "cpu.stat" for place in expected]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["usage_usec 5\nnr_periods 0\nnr_throttled 2\nthrottled_usec 7\n", "throttled_usec 1\n"], 8000),
        (["nr_periods 9\nnr_throttled 3\nthrottled_time 123456\n"], 123456),
        (["usage_usec 5\n"], None),
        ([], None),
    ],
)
def test_throttling_is_told_by_both_kinds_of_cgroups_and_unknown_without_a_quota(
    texts: list[str], expected: int | None
) -> None:
    assert throttled(texts, 1) == expected
    assert throttled(texts, 4) == (None if expected is None else expected // 4), "a sum over all processors"


@given(DISTURBANCES, DISTURBANCES)
def test_what_happened_since_is_a_difference_never_less_than_none_and_unknown_where_either_end_is(
    before: Disturbance, after: Disturbance
) -> None:
    since = after.since(before)
    for field in fields(Disturbance):
        start, end, found = (getattr(each, field.name) for each in (before, after, since))
        if field.name == "frequency_khz":
            assert found == end
        elif start is None or end is None:
            assert found is None
        else:
            assert found == max(0, end - start)


@given(
    st.floats(0.01, 100),
    st.lists(
        st.builds(HostBlock, **{name: st.none() | TIMES for name in ("steal_ns", "throttled_ns", "run_delay_ns")})
    ),
    st.builds(HostBlock, **dict.fromkeys(("others_ns", "softirq_ns", "switches", "frequency_khz"), TIMES)),
)
def test_only_what_no_path_causes_marks_a_block(window: float, hosts: list[HostBlock], busy: HostBlock) -> None:
    known = [host.kept_ns for host in hosts if host.kept_ns is not None]
    assert disturbed(window, *hosts, busy) == (max(known) > DISTURBED_SHARE * window * 1e9 if known else None)


def test_a_longer_block_bears_more() -> None:
    host = HostBlock(run_delay_ns=20_000_000, steal_ns=10_000_000)
    assert disturbed(0.5, host) is True
    assert disturbed(0.7, host) is False


def test_what_a_quota_held_back_is_counted_once() -> None:
    """A task that is held back waits in its run queue meanwhile."""
    assert HostBlock(run_delay_ns=20, throttled_ns=15, steal_ns=1).kept_ns == 21
    assert HostBlock(throttled_ns=15, steal_ns=1).kept_ns == 16, "a host tells of no run queue"
    assert HostBlock(run_delay_ns=0, throttled_ns=15).kept_ns == 0, "others of its processes were held back"


def test_another_program_on_a_processor_makes_a_task_wait() -> None:
    """Two tasks on one processor: whoever is watched waits about as long as the other works."""
    (processor, *_) = sorted(os.sched_getaffinity(0))
    spin = f"import os; os.sched_setaffinity(0, {{{processor}}})\nwhile True: pass"
    with (
        subprocess.Popen([sys.executable, "-c", spin]) as watched,
        subprocess.Popen([sys.executable, "-c", spin]) as other,
    ):
        try:
            time.sleep(0.5)
            watch = Watch([Path(f"/proc/{watched.pid}/task/{watched.pid}")], processor, [watched.pid])
            before = read({"sender": watch})["sender"]
            time.sleep(1.0)
            found = read({"sender": watch})["sender"].since(before)
        finally:
            watched.kill()
            other.kill()
    assert found.run_delay_ns is not None
    assert found.run_delay_ns > 10**8
    assert found.others_ns is not None
    assert found.others_ns > 10**8
    assert found.steal_ns is not None
    assert found.switches
    with pytest.raises(OSError):
        read({"sender": watch})


def test_a_host_tells_what_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {"/proc/stat": STAT, "/sys/fs/cgroup/cpu.stat": "nr_throttled 1\nthrottled_usec 3\n"}
    monkeypatch.setattr(files, "read", texts.get)
    tick = 10**9 // os.sysconf("SC_CLK_TCK")
    host = cast(RemoteHost, SimpleNamespace(agent=SimpleNamespace(observe=counters.observe)))
    quotas = ["/sys/fs/cgroup/cpu.stat", "/sys/fs/cgroup/box/cpu.stat"]
    assert disturbance.of_host(host, 2, quotas) == Disturbance(
        steal_ns=80 * tick // 2, throttled_ns=1500, softirq_ns=7 * tick, switches=4321
    )
    texts.clear()
    assert disturbance.of_host(host, 2) == Disturbance()


def test_a_block_is_watched_from_before_to_after() -> None:
    readings = iter([Disturbance(steal_ns=10**9, switches=5), Disturbance(steal_ns=3 * 10**9, switches=9)])
    kept: list[BlockFacts] = []

    def around() -> dict[str, Disturbance]:
        now = next(readings)
        return {"sender": now, "receiver": Disturbance()}

    with watching(around, kept.append, ["a", "b"], 7, warmup=False):
        assert not kept
    (facts,) = kept
    assert (facts.cells, facts.block, facts.warmup, facts.disturbed) == (["a", "b"], 7, False, True)
    assert facts.sender == HostBlock(steal_ns=2 * 10**9, switches=4)
    assert facts.receiver == HostBlock()


def verdict(baseline: str, candidate: str) -> Verdict:
    return Verdict(
        comparison="", baseline=baseline, candidate=candidate, metric="seconds", ratio=None, ci_low=None, ci_high=None,
        blocks=0, verdict="cannot_tell", margin=0.03, detectable=None,
    )  # fmt: skip


def test_a_verdict_tells_how_many_of_its_own_blocks_were_disturbed() -> None:
    taken = [("a", 1), ("b", 1), ("a", 2), ("b", 2), ("a", 3), ("c", 3)]
    samples = [Sample(cell=cell, block=block, index=0, warmup=False, seconds=1.0, valid=True) for cell, block in taken]
    marks: list[tuple[list[str], int, bool | None]] = [(["a", "b"], 1, True), (["a", "b"], 2, False), (["a"], 3, True)]
    blocks = [
        BlockFacts(cells=cells, block=block, warmup=False, window_seconds=1.0, disturbed=mark)
        for cells, block, mark in marks
    ]
    rows = verdicts_disturbed.told([verdict("a", "b"), verdict("a", "c"), verdict("a", "absent")], samples, blocks)
    assert [row.disturbed for row in rows] == [1, None, None]


def test_what_a_quota_held_back_is_told_in_seconds() -> None:
    held = [HostBlock(throttled_ns=ns) for ns in (0, 10**9, None)]
    blocks = [
        BlockFacts(cells=["a"], block=n, warmup=False, window_seconds=2.0, sender=one) for n, one in enumerate(held)
    ]
    assert verdicts_disturbed.throttled(blocks) == [
        "a CPU quota (cgroup) held the sender back for 1 s in 6 s of blocks: its figures are the quota's too"
    ]
    assert verdicts_disturbed.throttled(blocks[:1]) == []
