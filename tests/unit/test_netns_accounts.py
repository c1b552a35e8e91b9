"""Who used the processors of hosts that share a kernel, from what the kernel's files say: known answers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hosts.lab.netns import accounting
from hosts.lab.netns.accounting import Reading, Side, elsewhere

NOTHING = Side(processes=0, bare=0, tasks=0, softirqd=0, received=0, worked_off=0)
START = Reading({"sender": NOTHING, "receiver": NOTHING}, ours=0, threads=0, stolen=0, shared=False)
MS = 1_000_000


def after(sender: Side, receiver: Side, **more: int | bool) -> Reading:
    return replace(START, sides={"sender": sender, "receiver": receiver}, **more)  # type: ignore[arg-type]


def test_a_host_s_time_is_its_processes_and_what_its_processor_did_for_none() -> None:
    sender = replace(NOTHING, processes=70 * MS, bare=20 * MS, tasks=80 * MS, softirqd=10 * MS)
    assert after(sender, NOTHING).seconds == {"sender": pytest.approx(0.1), "receiver": 0.0}


def test_nothing_is_elsewhere_where_only_the_hosts_ran() -> None:
    sender = replace(
        NOTHING, processes=70 * MS, bare=20 * MS, tasks=80 * MS, softirqd=10 * MS, received=9, worked_off=9
    )
    receiver = replace(NOTHING, processes=50 * MS, tasks=50 * MS, received=1000, worked_off=1001)
    assert elsewhere(START, after(sender, receiver, ours=120 * MS)) == 0.0


@pytest.mark.parametrize(
    ("more", "share"),
    [
        ({"ours": 100 * MS}, 0.0),
        ({"ours": 90 * MS}, 0.1),  # somebody else ran on a host's processor
        ({"ours": 140 * MS}, 0.0),  # what waits for the hosts ran on another
        ({"ours": 100 * MS, "threads": 25 * MS}, 0.2),  # kernel threads elsewhere
        ({"ours": 100 * MS, "stolen": 100 * MS}, 0.5),
        ({"ours": 100 * MS, "shared": True}, 1.0),
    ],
)
def test_what_may_be_anybody_s_is_a_share_of_all(more: dict[str, int | bool], share: float) -> None:
    others = 100 * MS - int(more["ours"])
    sender = replace(NOTHING, processes=100 * MS - max(0, others), tasks=100 * MS)
    assert elsewhere(START, after(sender, NOTHING, **more)) == pytest.approx(share)


@pytest.mark.parametrize(("worked_off", "share"), [(1000, 0.0), (980, 0.02), (0, 1.0), (5000, 0.0)])
def test_packets_that_another_processor_worked_off_are_elsewhere(worked_off: int, share: float) -> None:
    receiver = replace(NOTHING, processes=MS, tasks=MS, received=1000, worked_off=worked_off)
    assert elsewhere(START, after(NOTHING, receiver, ours=MS)) == pytest.approx(share)


@pytest.mark.parametrize("unknown", ["bare", "tasks"])
def test_where_the_kernel_does_not_tell_nothing_is_anybody_s_for_certain(unknown: str) -> None:
    receiver = replace(NOTHING, processes=MS, **{unknown: None})  # type: ignore[arg-type]
    assert elsewhere(START, after(NOTHING, receiver)) == 1.0


def test_it_is_the_difference_that_counts() -> None:
    sender = replace(NOTHING, processes=10 * MS, tasks=90 * MS, received=100, worked_off=3)
    later = replace(sender, processes=30 * MS, tasks=110 * MS, received=110, worked_off=13)
    assert elsewhere(after(sender, NOTHING, ours=10 * MS), after(later, NOTHING, ours=30 * MS)) == 0.0


TIMERS = """Timer List Version: v0.10
HRTIMER_MAX_CLOCK_BASES: 8
now at 23935996216910 nsecs

cpu: 0
 clock 0:
  .base:       0000000000000000
  .idle_entrytime : 23933657784566 nsecs
  .idle_sleeptime : 4000 nsecs
  .iowait_sleeptime: 32 nsecs

cpu: 1
 clock 0:
  .idle_sleeptime : 6000 nsecs
  .iowait_sleeptime: 25 nsecs

cpu: 10
  .idle_sleeptime : 7 nsecs
  .iowait_sleeptime: 1 nsecs
"""


@pytest.mark.parametrize(("place", "idle"), [(0, 4032), (1, 6025), (10, 8)])
def test_idle_time_is_read_to_the_nanosecond(place: int, idle: int) -> None:
    assert accounting.idle_of(TIMERS, place) == idle


def test_what_a_processor_ran_is_read_from_the_scheduler() -> None:
    text = "version 16\ntimestamp 4294\ncpu0 0 0 0 0 0 0 111 222 333\ncpu10 1 2 3 4 5 6 777 888 999\n"
    assert [accounting.ran_on(text, place) for place in (0, 10, 1)] == [111, 777, None]


def test_packets_are_counted_by_processor_whether_or_not_the_kernel_names_it() -> None:
    newer = "0000000a 1 0 0 0 0 0 0 0 00000002 0 00000000 00000000\n000000ff 0 0 0 0 0 0 0 0 0 0 00000000 00000003\n"
    older = "0000000a 0 0 0 0 0 0 0 0 00000002 0\n000000ff 0 0 0 0 0 0 0 0 0 0\n"
    assert accounting.worked_off(newer) == {0: 11, 3: 255}, "and dropped"
    assert accounting.worked_off(older) == {0: 10, 1: 255}


def test_what_came_in_is_counted_over_all_interfaces() -> None:
    text = """Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       2    0    0    0     0          0         0      100       2    0    0    0     0       0          0
  eth1:12345678    4000    0    0    0     0          0         0        1       1    0    0    0     0       0          0
"""  # noqa: E501
    assert accounting.received(text) == 4002
