"""A long way: what a profile may ask of it, how it is made, and when it is not the one that was asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from harness import profile
from harness.api.bench import Bench
from harness.measuring import conditions, link
from harness.measuring.conditions import Conditions
from hosts.errors import ConfigError, Refusal
from hosts.facts import Facts
from hosts.onhost.agent.values import Given

FAR = Conditions(rtt_seconds=0.02, loss=0.001)
SUITE = """\
description = "far away"
cipher = "aes128gcm"
link_rate = "100mbit"
{top}
[[suites]]
name = "large-files"
question = "large-files"
baseline = "https"
paths = ["https", "ktls"]
sizes = {{ "1MB" = {{ seconds = 1, blocks = 2 }} }}
"""
WHOLE = "offloads = { " + ", ".join(f"{name} = false" for name in profile.WHOLE_PACKETS) + " }"


def loaded(folder: Path, top: str) -> Conditions | None:
    (folder / "far.toml").write_text(SUITE.format(top=top))
    suite = profile.load(str(folder / "far.toml")).suites[0]
    assert isinstance(suite, profile.TransferSuite)
    return conditions.asked(suite)


@pytest.mark.parametrize(
    ("top", "due", "said"),
    [
        ("", None, ""),
        ('rtt = "20ms"', Conditions(0.02), "20 ms"),
        (f'rtt = "7.5ms"\nloss = 0.001\n{WHOLE}', Conditions(0.0075, 0.001), "7.5 ms, 0.1 % lost"),
        ("mtu = 1500", Conditions(mtu=1500), "MTU 1500"),
    ],
)
def test_a_profile_says_what_its_way_is_like(tmp_path: Path, top: str, due: Conditions | None, said: str) -> None:
    found = loaded(tmp_path, top)
    assert found == due
    assert str(found or "") == said


@pytest.mark.parametrize(
    ("top", "why"),
    [
        ('rtt = "20"', "no time like 20ms"),
        ('rtt = "0ms"', "no time like 20ms"),
        ('rtt = "2001ms"', "at most 2000 ms"),
        (f"loss = 0.6\n{WHOLE}", "less than or equal to 0.5"),
        ("mtu = 100", "greater than or equal to 576"),
        ("loss = 0.01", "loss is of single packets: .* tcp-segmentation-offload, .* = false"),
    ],
)
def test_a_way_that_cannot_be_is_refused(tmp_path: Path, top: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        loaded(tmp_path, top)


def test_half_of_the_round_trip_is_waited_on_arrival_and_the_queue_has_room() -> None:
    device, delay, queue, redirect = conditions.arriving("eth1", 0.01, 0.001, 10**9)
    assert delay.apply[-6:] == ["limit", "6667", "delay", "10000us", "loss", "0.1%"]
    assert [change.undo[0:3] for change in (device, delay, queue, redirect)] == [
        ["ip", "link", "delete"],
        ["tc", "qdisc", "delete"],
        ["tc", "qdisc", "delete"],
        ["tc", "filter", "delete"],
    ]
    assert "loss" not in conditions.arriving("eth1", 0.01, 0.0, None)[1].apply
    assert conditions.arriving("eth1", 1e-5, 0.0, 10**6)[1].apply[-3] == str(conditions.FEWEST_PACKETS)


@pytest.mark.parametrize(
    ("rtt", "lost", "why"),
    [
        (0.0201, 0.001, None),
        (0.039, 0.0035, None),
        (0.019, 0.001, "the shortest round trip took 19.0 ms where 20 ms are asked for"),
        (0.041, 0.001, "the shortest round trip took 41.0 ms"),
        (0.021, 0.0001, "0.01 % of the segments were sent again where 0.1 % are to be lost"),
        (0.021, 0.005, "0.5 % of the segments"),
        (0.021, None, "too few packets"),
        (None, 0.001, "it was not measured"),
    ],
)
def test_a_way_that_is_another_is_told(rtt: float | None, lost: float | None, why: str | None) -> None:
    said = conditions.wrong(FAR, {"rtt_seconds": rtt, "lost_share": lost, "far_bits_per_second": 1e7})
    assert said is None if why is None else said is not None and said.startswith(why)


def test_transfers_go_on_until_enough_were_to_be_lost() -> None:
    one = Given(0.02, 700, 1)
    assert conditions.expected(FAR, [one] * 14) < conditions.LOST <= conditions.expected(FAR, [one] * 15)


class Hosts:
    """Both hosts' programs, and nothing that could be changed."""

    def __init__(self, *programs: str) -> None:
        about = Facts("sender", "6.12", dict.fromkeys(programs, "1"), frozenset(), shown={"os": "Debian GNU/Linux 13"})
        self.facts, self.receiver_facts = (
            replace(about, programs={"ip": "1", "tc": "1"}),
            replace(about, role="receiver"),
        )
        self.on_sender = self.on_receiver = self


@pytest.mark.parametrize(
    ("programs", "lacks"), [((), "ip, tc"), (("ip",), "tc"), (("tc",), "ip")], ids=["neither", "no-tc", "no-ip"]
)
def test_a_host_without_the_programs_is_one_clear_sentence(programs: tuple[str, ...], lacks: str) -> None:
    with pytest.raises(Refusal) as refused:
        conditions.make(cast(Bench, Hosts(*programs)), FAR, None)
    said = refused.value.what
    assert said.startswith(f"the way cannot be made 20 ms, 0.1 % lost: the receiver has no {lacks} (")
    assert "iproute2" in said
    assert "\n" not in said


def test_a_link_without_tc_is_one_clear_sentence() -> None:
    with pytest.raises(Refusal, match=r"^the link cannot be put to its rate: the receiver has no tc \("):
        link.shape(cast(Bench, Hosts("ip")), 10**9)


@pytest.mark.parametrize("make", [link.shape, lambda bench, rate: conditions.make(bench, FAR, rate)])
def test_a_kernel_that_hosts_share_loads_no_queue_by_itself(make: Callable[[Bench, int], None]) -> None:
    """tc would have it load sch_netem, and nobody there could unload it."""
    hosts = Hosts("ip", "tc")
    hosts.facts = replace(hosts.facts, own_kernel=False, modules=frozenset(conditions.MODULES))
    hosts.receiver_facts = replace(hosts.receiver_facts, own_kernel=False)
    with pytest.raises(Refusal, match=r"the receiver may load no kernel module, .* would load sch_netem"):
        make(cast(Bench, hosts), 10**9)
