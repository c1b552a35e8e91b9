"""Offloads of an interface: read as ethtool prints them, switched as changes, and told apart as states."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.measuring import asked
from hosts import offloads
from hosts.facts import Facts
from hosts.offloads import Offload
from hosts.onhost.agent import counters, ethtool
from hosts.onhost.agent.values import Change, LinkState, StatisticCounter
from hosts.remote.changes import Scope

CONNECTX = """\
Features for enp1s0f0np0:
rx-checksumming: on
tx-checksumming: on
	tx-checksum-ipv4: off [fixed]
	tx-checksum-ip-generic: on
scatter-gather: on
	tx-scatter-gather: on
	tx-scatter-gather-fraglist: off [fixed]
tcp-segmentation-offload: on
	tx-tcp-segmentation: on
	tx-tcp-ecn-segmentation: off [fixed]
	tx-tcp6-segmentation: on
generic-segmentation-offload: on
generic-receive-offload: on
large-receive-offload: off
rx-vlan-filter: on
highdma: on [fixed]
rx-lro-timeout: off [requested on]
tls-hw-tx-offload: off
tls-hw-rx-offload: off
tls-hw-record: off [fixed]
esp-hw-offload: on
hw-tc-offload: off
"""
"""What ethtool 6.1 prints of a card, shortened."""


def test_offloads_are_read_as_ethtool_prints_them() -> None:
    found = offloads.parse(CONNECTX)
    assert found["tcp-segmentation-offload"] == found["tx-tcp-segmentation"] == Offload(True, False)
    assert found["tls-hw-tx-offload"] == Offload(False, False)
    assert found["tls-hw-record"] == Offload(False, True)
    assert found["highdma"] == Offload(True, True)
    assert found["rx-lro-timeout"] == Offload(False, False)
    assert "Features for enp1s0f0np0" not in found and len(found) == 22


@pytest.mark.parametrize(
    ("name", "wanted", "why"),
    [
        ("tls-hw-tx-offload", True, None),
        ("tls-hw-tx-offload", False, None),
        ("tls-hw-record", False, None),
        ("tls-hw-record", True, "tls-hw-record of eth1 is off, and its driver lets nobody change that"),
        ("highdma", False, "highdma of eth1 is on, and its driver lets nobody change that"),
        ("psp-hw-offload", True, "eth1 has no offload called psp-hw-offload"),
    ],
)
def test_what_cannot_be_had_is_told_before_it_is_tried(name: str, wanted: bool, why: str | None) -> None:
    assert offloads.why_not(name, wanted, offloads.parse(CONNECTX), "eth1") == why


def test_without_ethtool_nothing_is_known() -> None:
    assert "ethtool is missing" in str(offloads.why_not("tls-hw-tx-offload", True, {}, "eth1"))


@pytest.mark.parametrize("on", [True, False])
def test_a_switch_is_undone_by_its_opposite_and_seen_where_it_is(on: bool) -> None:
    change = offloads.switch("tx-tcp-segmentation", on, "eth1")
    word, other = ("on", "off") if on else ("off", "on")
    assert change.apply == ["ethtool", "-K", "eth1", "tx-tcp-segmentation", word]
    assert change.undo == ["ethtool", "-K", "eth1", "tx-tcp-segmentation", other]
    assert bool(re.search(change.present, CONNECTX)) == on


class Switched:
    """A host that takes every switch."""

    data_interface = "eth1"

    def __init__(self) -> None:
        self.host = self
        self.taken: list[Change] = []

    def apply(self, change: Change) -> None:
        self.taken.append(change)


def test_what_is_shown_of_a_link_is_what_it_was_made() -> None:
    known = offloads.parse(CONNECTX)
    on = sorted(name for name, found in known.items() if found.on)
    shown = {"link": {"interface": "eth1", "offloads_on": on}, "clocksource": "tsc"}
    about = Facts("sender", "6.12", {}, frozenset(), offloads=known, shown=shown)
    wanted = {"esp-hw-offload": False, "tls-hw-tx-offload": True, "highdma": True}
    host = Switched()
    found = asked.made(cast(Scope, host), about, wanted, False, near=False)
    assert len(host.taken) == 2
    assert set(found.shown["link"]["offloads_on"]) == {*on, "tls-hw-tx-offload"} - {"esp-hw-offload"}
    assert found.shown["link"]["offloads_on"] == sorted(name for name, now in found.offloads.items() if now.on)
    assert (found.shown["link"]["interface"], found.shown["clocksource"]) == ("eth1", "tsc")
    assert about.shown["link"]["offloads_on"] == on, "what it was is not written over"


links = st.dictionaries(
    st.sampled_from(["mtu", "rx-gro", "cc"]), st.booleans() | st.integers(500, 9000) | st.just("bbr")
)


@given(links, links)
def test_states_differ_in_what_both_tell(before: offloads.Link, after: offloads.Link) -> None:
    told = offloads.differences(before, after)
    assert len(told) == sum(before[name] != after[name] for name in before.keys() & after.keys())
    assert offloads.differences(before, before) == []


def test_a_state_says_on_and_off() -> None:
    assert offloads.differences({"tso": True, "mtu": 1500}, {"tso": False, "mtu": 9000}) == [
        "tso on, then off",
        "mtu 1500, then 9000",
    ]


# what the agent asks the kernel


def test_the_call_is_laid_out_as_the_kernels_header_has_it(tmp_path: Path) -> None:
    equal = {
        "SIOCETHTOOL": ethtool.SIOCETHTOOL,
        "ETHTOOL_GSTRINGS": ethtool.GSTRINGS,
        "ETHTOOL_GSTATS": ethtool.GSTATS,
        "ETHTOOL_GSSET_INFO": ethtool.GSSET_INFO,
        "ETHTOOL_GFEATURES": ethtool.GFEATURES,
        "ETH_SS_STATS": ethtool.STATISTICS,
        "ETH_SS_FEATURES": ethtool.FEATURES,
        "ETH_GSTRING_LEN": ethtool.NAME_BYTES,
        "sizeof(struct ifreq)": ethtool.IFREQ.size,
        "__builtin_offsetof(struct ifreq, ifr_data)": 16,
        "__builtin_offsetof(struct ethtool_sset_info, data) + 4": ethtool.SET_INFO.size,
        "__builtin_offsetof(struct ethtool_gstrings, data)": ethtool.STRINGS.size,
        "__builtin_offsetof(struct ethtool_stats, data)": ethtool.COUNTED.size,
        "__builtin_offsetof(struct ethtool_gfeatures, features)": ethtool.COUNTED.size,
        "sizeof(struct ethtool_get_features_block)": ethtool.BLOCK.size,
        "__builtin_offsetof(struct ethtool_get_features_block, active)": 8,
    }
    source = tmp_path / "check.c"
    source.write_text(
        "#include <net/if.h>\n#include <linux/ethtool.h>\n#include <linux/sockios.h>\n"
        + "".join(f'_Static_assert({name} == {value}, "{name}");\n' for name, value in equal.items())
    )
    command = ["cc", "-std=gnu11", "-fsyntax-only", str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_loopback_interface_tells_its_state() -> None:
    told = counters.observe({"lo": LinkState("lo"), "none": LinkState("no-such"), "x": StatisticCounter("lo", "y")})
    assert told.states["none"] is None
    assert told.values == {"x": None}
    state = json.loads(told.states["lo"] or "")
    assert state["mtu"] == int(Path("/sys/class/net/lo/mtu").read_text())
    assert state["congestion_control"] == ethtool.CONGESTION_CONTROL.read_text().strip()
    assert {"generic-segmentation-offload", "tcp-segmentation-offload", "generic-receive-offload"} <= state.keys()
    assert all(isinstance(state[name], bool) for name in state.keys() & set(ethtool.WATCHED.values()))
