"""Looking at both hosts before a transfer and after it: counters, busy time, links, what is no number."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from harness.api.path import Deployed
from harness.measuring.opened import OpenTestbed
from hosts import offloads
from hosts.offloads import Link
from hosts.onhost.agent.values import (
    Counter,
    FileCounter,
    LinkState,
    LogTail,
    Observation,
    SizeCounter,
    TableCounter,
)
from hosts.roles import ROLES, Role

ALWAYS: dict[str, Counter] = {
    "tcp_retransmitted_segments": TableCounter("/proc/net/snmp", "Tcp.RetransSegs"),
    "ip_truncated_packets": TableCounter("/proc/net/netstat", "IpExt.InTruncatedPkts"),
    "tls_tx_software": FileCounter("/proc/net/tls_stat", r"^TlsTxSw\s+(\d+)"),
}
"""Counters that every sample keeps, whatever the path."""

LOG = "log_size"
LINK = "link"


@dataclass(frozen=True)
class Look:
    """Both hosts at one moment, for several deployments: what was ``asked``, by numbers, and what they said."""

    asked: dict[Role, dict[str, Counter]]
    seen: dict[Role, Observation]

    @property
    def links(self) -> dict[Role, Link]:
        """The state of both data interfaces, by role; empty where a host cannot tell it."""
        return {role: offloads.state(seen.states.get(LINK)) for role, seen in self.seen.items()}

    def of(self, deployed: Deployed) -> dict[Role, Observation]:
        """What concerns one of the deployments, by its own names."""
        found: dict[Role, Observation] = {}
        for role, named in _counters(deployed).items():
            seen, numbers = self.seen[role], {counter: number for number, counter in self.asked[role].items()}
            mine = {name: numbers[counter] for name, counter in named.items()}
            found[role] = replace(
                seen,
                values={name: seen.values[number] for name, number in mine.items() if number in seen.values},
                states={name: seen.states[number] for name, number in mine.items() if number in seen.states},
            )
        return found


def look(opened: OpenTestbed, deployed: Sequence[Deployed]) -> Look:
    """Look at both hosts at once. Nothing may be timed meanwhile. Raises HostLost, Refusal."""
    asked: dict[Role, dict[str, Counter]] = {}
    for role in ROLES:
        wanted = dict.fromkeys(counter for one in deployed for counter in _counters(one)[role].values())
        host = opened.sender if role == "sender" else opened.receiver
        asked[role] = {str(number): counter for number, counter in enumerate(wanted)}
        asked[role][LINK] = LinkState(host.host.data_interface)
    with ThreadPoolExecutor(1) as beside:
        receiver = beside.submit(opened.receiver.agent.observe, asked["receiver"])
        sender = opened.sender.agent.observe(asked["sender"])
    return Look(asked, {"sender": sender, "receiver": receiver.result()})


def _counters(deployed: Deployed) -> dict[Role, dict[str, Counter]]:
    """What is read of each host for a deployment, by name."""
    return {
        "sender": ALWAYS | deployed.sender_counters | {LOG: SizeCounter(deployed.log)},
        "receiver": ALWAYS | deployed.receiver_counters,
    }


def delta(before: dict[str, int | None], after: dict[str, int | None]) -> dict[str, int | None]:
    """Differences; None where either end could not be read, or the counter went backwards (it is another one)."""
    risen: dict[str, int | None] = {}
    for name, end in after.items():
        start = before.get(name)
        risen[name] = end - start if start is not None and end is not None and end >= start else None
    return risen


def seen(before: dict[str, str | None], after: dict[str, str | None]) -> dict[str, str | None]:
    """What is no number: as it was at both ends, else what it was and what it became; None where it never was."""
    return {
        name: end if before.get(name) == end else f"{before.get(name) or 'none'}, then {end or 'none'}"
        for name, end in after.items()
    }


def relinked(before: Look, after: Look) -> str | None:
    """What of a data interface became another between two looks; None where nothing did."""
    reasons = [
        f"the {role}'s link changed: {'; '.join(found)}"
        for role, link in before.links.items()
        if (found := offloads.differences(link, after.links[role]))
    ]
    return "; ".join(reasons) or None


def tail(deployed: Deployed, since: Look, count: int) -> LogTail:
    """A server's log since a look, where so many lines are due."""
    return LogTail(deployed.log, since.of(deployed)["sender"].values[LOG] or 0, count)


def went_back(deployed: Deployed, before: dict[Role, Observation], after: dict[Role, Observation]) -> str | None:
    """Which of the path's own counters went backwards, so that they prove nothing; None where none did."""
    reasons = []
    own: dict[Role, dict[str, Counter]] = {"sender": deployed.sender_counters, "receiver": deployed.receiver_counters}
    for role, counters in own.items():
        for name in counters:
            start, end = before[role].values.get(name), after[role].values.get(name)
            if start is not None and end is not None and end < start:
                reasons.append(f"the {role}'s counter {name} went from {start} back to {end}: it is not the one it was")
    return "; ".join(reasons) or None
