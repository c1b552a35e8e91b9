"""What of a host moves its own speed about (clock, idle states, interrupts), and the settings that would keep it still.

Documentation/admin-guide/pm/{cpufreq,cpuidle,intel_pstate}.rst, Documentation/core-api/irq/irq-affinity.rst and
Documentation/ABI/testing/sysfs-devices-system-cpu. Pure but for ``look`` and ``look_here``, which only read.
"""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hosts.onhost.agent.values import SettingChange
from hosts.remote import changes
from hosts.remote.host import RemoteHost

CPU = "/sys/devices/system/cpu"
DEEP_MICROSECONDS = 10
"""An idle state that takes longer to leave delays what wakes the processor; in microseconds."""
LIMITED = 0.98
"""A clock that may reach less than this part of the highest is limited."""
SCRIPT = f"""
grep -s . {CPU}/cpu[0-9]*/cpufreq/scaling_governor {CPU}/cpu[0-9]*/cpufreq/scaling_max_freq \
    {CPU}/cpu[0-9]*/cpufreq/cpuinfo_max_freq {CPU}/cpufreq/boost {CPU}/intel_pstate/no_turbo {CPU}/smt/active \
    {CPU}/cpu[0-9]*/topology/thread_siblings_list {CPU}/cpu[0-9]*/cpuidle/state[0-9]*/name \
    {CPU}/cpu[0-9]*/cpuidle/state[0-9]*/latency {CPU}/cpu[0-9]*/cpuidle/state[0-9]*/disable {CPU}/online
grep -s -q 'User Mode Linux' /proc/cpuinfo || grep -s -m1 -o -w hypervisor /proc/cpuinfo | sed 's/^/hypervisor:/'
grep -s -x -m1 -h irqbalance /proc/[0-9]*/comm | sed 's/^/balancer:/'
cards() {{  # INTERFACE: those at the bottom of it, as a VLAN, a bond or a bridge has them
    test -e "/sys/class/net/$1/device" && echo "$1"
    for below in "/sys/class/net/$1"/lower_*; do test -e "$below" && cards "${{below##*/lower_}}"; done
}}
test -n "$1" || exit 0
cards "$1" | sort -u | while read -r card; do
    # of a virtio device the PCI function is the one above
    grep -s . "/sys/class/net/$card/device/local_cpulist" "/sys/class/net/$card/device/../local_cpulist" |
        head -n 1 | sed 's/^[^:]*:/near:/'
    {{ ls "/sys/class/net/$card/device/msi_irqs" "/sys/class/net/$card/device/../msi_irqs" 2>/dev/null
      grep -w "$card" /proc/interrupts | cut -d: -f1; }} | tr -d ' ' | grep -x '[0-9]*' | sort -u |
    while read -r irq; do grep -s . "/proc/irq/$irq/smp_affinity_list" | sed "s/^/irq $irq:/"; done
done
true
"""
"""Prints ``where:what`` lines. Reads only."""


@dataclass(frozen=True)
class Quietness:
    """What was read of a host, by file or word. ``interface``: whose interrupts these are, empty where of none."""

    read: Mapping[str, str] = field(default_factory=dict)
    interface: str = ""

    @property
    def processors(self) -> list[int]:
        """Those that are online."""
        return numbers(self.read.get(f"{CPU}/online", ""))

    @property
    def near(self) -> list[int]:
        """Those that are on the NUMA node of the interface's card; empty where its driver does not tell."""
        return numbers(self.read.get("near", ""))

    @property
    def interrupts(self) -> dict[str, str]:
        """The interface's interrupts by number, and the processors that each may go to, as the kernel lists them."""
        return {name[4:]: value for name, value in self.read.items() if name.startswith("irq ")}

    def each(self, name: str) -> dict[str, str]:
        """Values by path, of the files of this name of all processors."""
        return {path: value for path, value in self.read.items() if path.startswith(CPU) and path.endswith(f"/{name}")}

    @property
    def governor(self) -> str | None:
        """The first processor's; None where it has none."""
        return self.read.get(f"{CPU}/cpu0/cpufreq/scaling_governor")

    @property
    def turbo(self) -> bool | None:
        """Whether the clock may go above its base; None where the kernel does not tell."""
        if (off := self.read.get(f"{CPU}/intel_pstate/no_turbo")) is not None:
            return off == "0"
        on = self.read.get(f"{CPU}/cpufreq/boost")
        return None if on is None else on == "1"

    @property
    def deep(self) -> dict[str, int]:
        """Idle states that are in use and take long to leave: the path that switches each off, its microseconds."""
        found = {}
        for path, latency in self.each("latency").items():
            switch = path.removesuffix("latency") + "disable"
            if int(latency) > DEEP_MICROSECONDS and self.read.get(switch) == "0":
                found[switch] = int(latency)
        return found

    def shown(self) -> dict[str, Any]:
        """For the record."""
        limits = [
            int(most) / int(self.read[top])
            for path, most in self.each("scaling_max_freq").items()
            if int(self.read.get(top := path.replace("scaling_max", "cpuinfo_max"), 0))
        ]
        smt = self.read.get(f"{CPU}/smt/active")
        return {
            "governors": dict(Counter(self.each("scaling_governor").values())),
            "turbo": self.turbo,
            "smt": None if smt is None else smt == "1",
            "frequency_limit": round(min(limits), 3) if limits else None,
            "deep_idle_states": len(self.deep),
            "interrupts": len(self.interrupts),
            "irqbalance": "balancer" in self.read,
            "virtual": "hypervisor" in self.read,
        }


def parse(text: str, interface: str) -> Quietness:
    """What SCRIPT printed."""
    lines = (line.partition(":") for line in text.splitlines())
    return Quietness({name: value.strip() for name, _, value in lines}, interface)


def look(host: RemoteHost) -> Quietness:
    """Ask a host."""
    interface = host.host.data_interface
    return parse(host.run(["sh", "-c", SCRIPT, "sh", interface]).stdout, interface)


def look_here() -> Quietness:
    """Ask this machine."""
    done = subprocess.run(["sh", "-c", SCRIPT, "sh", ""], capture_output=True, text=True, check=False, timeout=30)
    return parse(done.stdout, "")


def loud(seen: Quietness, placed: Sequence[int] = ()) -> list[str]:
    """What of a host is not quiet, each in a few words. ``placed``: the processors that its servers are kept to."""
    shown, found = seen.shown(), []
    others = {name: count for name, count in shown["governors"].items() if name != "performance"}
    found += [f"governor {name} on {count} processors" for name, count in sorted(others.items())]
    if shown["turbo"]:
        found.append("turbo")
    if shown["frequency_limit"] is not None and shown["frequency_limit"] < LIMITED:
        found.append(f"clock limited to {shown['frequency_limit'] * 100:.0f} % of its highest")
    if seen.deep:
        found.append(f"idle states that take up to {max(seen.deep.values())} µs to leave")
    if shown["smt"]:
        found.append("SMT")
    if seen.interrupts and len({tuple(numbers(where)) for where in seen.interrupts.values()}) > 1:
        found.append(f"interrupts of {seen.interface} on several processors")
    elif any(len(numbers(where)) > 1 for where in seen.interrupts.values()):
        found.append(f"interrupts of {seen.interface} on any processor")
    if shown["irqbalance"]:
        found.append("irqbalance moves interrupts")
    if len(seen.processors) > 1 and not placed:
        found.append("servers on any processor")
    if shown["virtual"]:
        found.append("a virtual machine, which cannot see its neighbours")
    return found


@dataclass(frozen=True)
class Places:
    """Which processor is for what: ``interrupts`` of the data interface, ``servers`` or whoever receives."""

    interrupts: int
    servers: int


def places(seen: Quietness) -> Places | None:
    """Two processors that are near the card and no two halves of one core; None where there is one only."""
    known = seen.processors
    near = [cpu for cpu in seen.near if cpu in known] or known
    for interrupts in [*near, *known]:
        halves = numbers(seen.read.get(f"{CPU}/cpu{interrupts}/topology/thread_siblings_list", str(interrupts)))
        servers = next((cpu for cpu in [*near, *known] if cpu not in {interrupts, *halves}), None)
        if servers is not None:
            return Places(interrupts, servers)
    return Places(known[0], known[1]) if len(known) > 1 else None


def settings(seen: Quietness) -> list[SettingChange]:
    """What would make a host quiet and is not so already, in the order in which it is to be done."""
    found = [
        changes.setting("governor performance", path, "performance")
        for path, value in seen.each("scaling_governor").items()
        if value != "performance"
    ]
    if seen.turbo:
        intel = f"{CPU}/intel_pstate/no_turbo"
        path, value = (intel, "1") if intel in seen.read else (f"{CPU}/cpufreq/boost", "0")
        found.append(changes.setting("turbo off", path, value))
    found += [changes.setting(f"idle state of {latency} µs off", path, "1") for path, latency in seen.deep.items()]
    if where := places(seen):
        found += [
            changes.setting(f"interrupt {irq} of {seen.interface} on processor {where.interrupts}",
                            f"/proc/irq/{irq}/smp_affinity_list", str(where.interrupts))
            for irq, now in seen.interrupts.items()
            if numbers(now) != [where.interrupts]
        ]  # fmt: skip
    return found


def numbers(text: str) -> list[int]:
    """``0-2,5`` -> [0, 1, 2, 5], as the kernel lists processors; empty for what is no list."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if first.isdigit() and (last or first).isdigit():
            found += range(int(first), int(last or first) + 1)
    return found
