"""What of a host is not quiet, and the settings that would make it so."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.measuring import quieting
from hosts import quiet
from hosts.facts import Facts
from hosts.onhost.agent.errors import ChangeError
from hosts.onhost.agent.journal import Journal, Undone
from hosts.onhost.agent.values import SettingChange
from hosts.quiet import CPU, Places, Quietness
from hosts.remote import changes
from hosts.remote.changes import Scope

INTEL = f"""
{CPU}/cpu0/cpufreq/scaling_governor:powersave
{CPU}/cpu1/cpufreq/scaling_governor:performance
{CPU}/cpu0/cpufreq/scaling_max_freq:2000000
{CPU}/cpu0/cpufreq/cpuinfo_max_freq:4000000
{CPU}/intel_pstate/no_turbo:0
{CPU}/smt/active:1
{CPU}/cpu0/topology/thread_siblings_list:0,2
{CPU}/cpu1/topology/thread_siblings_list:1,3
{CPU}/cpu0/cpuidle/state0/latency:0
{CPU}/cpu0/cpuidle/state0/disable:0
{CPU}/cpu0/cpuidle/state2/latency:133
{CPU}/cpu0/cpuidle/state2/disable:0
{CPU}/cpu1/cpuidle/state2/latency:133
{CPU}/cpu1/cpuidle/state2/disable:1
{CPU}/online:0-3
balancer:irqbalance
near:2-3
irq 24:0-3
irq 25:2
"""


def test_all_that_moves_a_host_s_speed_is_told() -> None:
    assert quiet.loud(quiet.parse(INTEL, "eth1")) == [
        "governor powersave on 1 processors",
        "turbo",
        "clock limited to 50 % of its highest",
        "idle states that take up to 133 µs to leave",
        "SMT",
        "interrupts of eth1 on several processors",
        "irqbalance moves interrupts",
        "servers on any processor",
    ]


def test_a_host_of_one_processor_without_any_of_it_is_quiet() -> None:
    assert quiet.loud(quiet.parse(f"{CPU}/online:0\n", "vec0")) == []


def test_a_virtual_machine_says_so() -> None:
    assert quiet.loud(quiet.parse("hypervisor:hypervisor\n", "")) == [
        "a virtual machine, which cannot see its neighbours"
    ]


def test_what_is_not_so_already_is_set_and_nothing_else() -> None:
    settings = [(change.path, change.value) for change in quiet.settings(quiet.parse(INTEL, "eth1"))]
    assert settings == [
        (f"{CPU}/cpu0/cpufreq/scaling_governor", "performance"),
        (f"{CPU}/intel_pstate/no_turbo", "1"),
        (f"{CPU}/cpu0/cpuidle/state2/disable", "1"),
        ("/proc/irq/24/smp_affinity_list", "2"),
    ]


def test_other_processors_have_their_boost_elsewhere() -> None:
    seen = quiet.parse(f"{CPU}/cpufreq/boost:1\n{CPU}/online:0\n", "")
    assert [(change.path, change.value) for change in quiet.settings(seen)] == [(f"{CPU}/cpufreq/boost", "0")]


def test_the_server_is_near_the_card_but_on_no_half_of_the_interrupts_core() -> None:
    assert quiet.places(quiet.parse(INTEL, "eth1")) == Places(interrupts=2, servers=3)
    halves = INTEL.replace("near:2-3", "near:0,2") + f"{CPU}/cpu2/topology/thread_siblings_list:0,2\n"
    assert quiet.places(quiet.parse(halves, "eth1")) == Places(interrupts=0, servers=1)
    assert quiet.places(quiet.parse(f"{CPU}/online:0", "eth1")) is None


@given(st.sets(st.integers(0, 500)))
def test_a_list_of_processors_is_read_as_the_kernel_writes_it(wanted: set[int]) -> None:
    assert quiet.numbers(_as_the_kernel(sorted(wanted))) == sorted(wanted)


def _as_the_kernel(known: Iterable[int]) -> str:
    spans: list[list[int]] = []
    for number in known:
        if spans and spans[-1][-1] == number - 1:
            spans[-1].append(number)
        else:
            spans.append([number])
    return ",".join(f"{span[0]}-{span[-1]}" if len(span) > 1 else str(span[0]) for span in spans)


def test_this_machine_is_read() -> None:
    seen = quiet.look_here()
    assert seen.processors == quiet.numbers(Path(f"{CPU}/online").read_text())
    assert isinstance(seen, Quietness)


def test_the_script_is_one_that_every_shell_takes() -> None:
    subprocess.run(["sh", "-n", "-c", quiet.SCRIPT], check=True)


class Silenced:
    """A host that takes every setting."""

    def __init__(self) -> None:
        self.taken: dict[str, str] = {}
        self.host = self.agent = self

    def apply(self, change: SettingChange) -> None:
        self.taken[change.path] = change.value

    def set_processors(self, _processors: list[int]) -> None:
        pass


def test_what_is_shown_of_a_host_is_what_it_was_made(monkeypatch: pytest.MonkeyPatch) -> None:
    host, before = Silenced(), quiet.parse(INTEL, "eth1")
    monkeypatch.setattr(quiet, "look", lambda _host: Quietness({**before.read, **host.taken}, "eth1"))
    shown = {"governor": "powersave", "speed": before.shown(), "clocksource": "tsc"}
    about = Facts("sender", "6.12", {}, frozenset(), quietness=before, shown=shown)
    found = quieting.made(cast(Scope, host), about).shown
    assert found["governor"] == "performance"
    assert found["speed"]["governors"] == {"performance": 2}
    assert (found["speed"]["turbo"], found["clocksource"], found["quiet"]) == (False, "tsc", True)
    assert about.shown["governor"] == "powersave", "what it was is not written over"


# a setting is a change like others

NOTHING = Undone([], [], passes=False)
"""All is as it was."""


@pytest.fixture
def knob(tmp_path: Path) -> Path:
    path = tmp_path / "scaling_governor"
    path.write_text("powersave\n")
    return path


def test_a_setting_is_made_and_undone(knob: Path, tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.apply(changes.setting("governor", str(knob), "performance"))
    assert knob.read_text() == "performance"
    assert Journal(tmp_path).undo() == NOTHING
    assert knob.read_text() == "powersave"


def test_a_setting_that_the_kernel_takes_in_other_words_is_refused_and_gets_its_old_value(tmp_path: Path) -> None:
    """Another one than was asked for, and than there was: as a mask of processors of which some are not there."""
    knob = Path("/proc/self/oom_score_adj")
    before = knob.read_text()
    other = int(before) + (1 if int(before) < 1000 else -1)
    journal = Journal(tmp_path)
    with pytest.raises(ChangeError, match=f"took '{other} ' without a word, but is '{other}'"):
        journal.apply(changes.setting("blame", str(knob), f"{other} "))
    assert knob.read_text() == before
    assert journal.pending == []


def test_a_setting_that_somebody_else_changed_is_left_alone(knob: Path, tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.apply(changes.setting("governor", str(knob), "performance"))
    knob.write_text("ondemand\n")
    said = f"governor: {knob} is 'ondemand', neither 'powersave' as before nor 'performance' as we set it"
    assert journal.undo() == Undone([], [said], passes=False)
    assert knob.read_text() == "ondemand\n"
    knob.write_text("performance\n")
    assert Journal(tmp_path).undo() == NOTHING, "it is ours again"
    assert knob.read_text() == "powersave"


def test_a_setting_that_is_not_there_is_refused_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(ChangeError, match="cannot be read"):
        Journal(tmp_path).apply(changes.setting("governor", str(tmp_path / "none"), "performance"))
    assert list(tmp_path.iterdir()) == []


def test_a_setting_that_is_gone_is_as_good_as_undone(knob: Path, tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.apply(changes.setting("governor", str(knob), "performance"))
    knob.unlink()
    assert journal.undo() == NOTHING
