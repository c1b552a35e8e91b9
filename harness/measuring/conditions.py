"""A long way between the hosts: a round trip that takes time, packets that get lost, an MTU; made, and seen to be so.

Both are put where packets arrive (tc-mirred(8) to an ifb device, with tc-netem(8) there): what a queue of the sender
itself drops is told to its TCP at once, as no network tells it (tc-netem(8), BUGS). Half of the round trip is waited
on either host; packets are lost on their way to the receiver, who takes the file.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from harness.api.bench import Bench, load
from harness.measuring import link
from harness.measuring.link import SHORT, Measured
from harness.profile import TransferSuite
from harness.servers import requirements
from hosts.errors import Refusal
from hosts.onhost.agent.values import CommandChange, Given
from hosts.remote import changes
from hosts.remote.changes import Scope
from hosts.remote.host import RemoteHost

DEVICE = "pathproof-in"
"""The ifb device that what arrives goes through."""
MODULES = ("sch_netem", "sch_ingress", "ifb", "act_mirred", "cls_matchall")
PACKET_BYTES = 1500
FEWEST_PACKETS = 1000
FASTEST = 10**10
"""Bit/s that a link of unknown rate has at the most: for how many packets may be under way."""
LOST = 10
"""So many lost packets tell a share of loss, within ``SHARE``."""
SHARE = 0.25, 4.0
LONGEST_SECONDS = 20.0
RTT_LOW, RTT_HIGH, RTT_MORE = 0.98, 1.5, 0.01
"""Within what the shortest round trip must be: factors, and seconds that busy hosts add."""


@dataclass(frozen=True)
class Conditions:
    """What a suite asks of the way beyond its rate."""

    rtt_seconds: float = 0.0
    """What is added to a round trip."""
    loss: float = 0.0
    """The share of packets that are lost on their way to the receiver."""
    mtu: int | None = None
    """Bytes, of both data interfaces; None as they have it."""

    def __str__(self) -> str:
        parts = [f"{self.rtt_seconds * 1e3:g} ms"] if self.rtt_seconds else []
        parts += [f"{self.loss * 100:g} % lost"] if self.loss else []
        parts += [f"MTU {self.mtu}"] if self.mtu else []
        return ", ".join(parts)


def asked(suite: TransferSuite) -> Conditions | None:
    """What a suite asks for; None where it takes the way as it is. Pure."""
    if suite.rtt is None and suite.loss is None and suite.mtu is None:
        return None
    return Conditions(suite.rtt or 0.0, suite.loss or 0.0, suite.mtu)


def make(bench: Bench, conditions: Conditions, rate: int | None) -> None:
    """Make the way so, on both hosts; undone with the bench. ``rate``: bit/s of the link, None where it has none.

    Raises Refusal where a host cannot, or something of somebody else is in its place; HostLost.
    """
    queued, both = conditions.rtt_seconds or conditions.loss, (bench.facts, bench.receiver_facts)
    lacking = requirements.no_programs(("ip", "tc"), *both), requirements.unasked(MODULES, *both)
    if queued and (why := requirements.together(*lacking)):
        raise Refusal(f"the way cannot be made {conditions}: {why}")

    def made(scope: Scope, _host: RemoteHost) -> None:
        _make(scope, conditions, conditions.loss if scope is bench.on_receiver else 0.0, rate)

    bench.on_both(made)


def _make(scope: Scope, conditions: Conditions, loss: float, rate: int | None) -> None:
    interface = scope.host.host.data_interface
    if conditions.mtu:
        path = f"/sys/class/net/{interface}/mtu"
        if (scope.host.read([path])[path] or "").strip() != str(conditions.mtu):
            scope.apply(changes.setting(f"MTU {conditions.mtu} of {interface}", path, str(conditions.mtu)))
    if not conditions.rtt_seconds and not loss:
        return
    load(scope.host, scope, *MODULES)
    for change in arriving(interface, conditions.rtt_seconds / 2, loss, rate):
        scope.apply(change)


def arriving(interface: str, delay: float, loss: float, rate: int | None) -> Sequence[CommandChange]:
    """The changes that delay what arrives at an interface by so many seconds and lose a share of it. Pure.

    The queue holds four times what is under way at the link's rate: it must not lose anything by itself.
    """
    packets = max(FEWEST_PACKETS, round(4 * delay * 2 * (rate or FASTEST) / 8 / PACKET_BYTES))
    lost = ["loss", f"{loss * 100:g}%"] if loss else []
    show = ["tc", "qdisc", "show", "dev"]
    return (
        changes.command(
            f"device {DEVICE}",
            look=["ip", "-o", "link", "show"],
            present=rf" {DEVICE}: ",
            apply=["ip", "link", "add", "name", DEVICE, "up", "type", "ifb"],
            undo=["ip", "link", "delete", "dev", DEVICE],
        ),
        changes.command(
            f"delay of {interface}",
            look=[*show, DEVICE],
            present="qdisc netem ca12:",
            apply=[
                *("tc", "qdisc", "add", "dev", DEVICE, "root", "handle", "ca12:", "netem"),
                *("limit", str(packets), "delay", f"{round(delay * 1e6)}us", *lost),
            ],
            undo=["tc", "qdisc", "delete", "dev", DEVICE, "root", "handle", "ca12:"],
        ),
        changes.command(
            f"queue of what arrives at {interface}",
            look=[*show, interface],
            present="qdisc ingress ",
            refuse="qdisc clsact ",
            apply=["tc", "qdisc", "add", "dev", interface, "ingress"],
            undo=["tc", "qdisc", "delete", "dev", interface, "ingress"],
        ),
        changes.command(
            f"what arrives at {interface} goes through {DEVICE}",
            look=["tc", "filter", "show", "dev", interface, "ingress"],
            present=rf"mirred \(Egress Redirect to device {DEVICE}\)",
            apply=[
                *("tc", "filter", "add", "dev", interface, "ingress", "pref", "1", "protocol", "all", "matchall"),
                *("action", "mirred", "egress", "redirect", "dev", DEVICE),
            ],
            undo=["tc", "filter", "delete", "dev", interface, "ingress", "pref", "1"],
        ),
    )


def prepare(bench: Bench, conditions: Conditions, rate: int | None, *, seen: bool) -> Measured:
    """Make the way so, then measure it; where it was ``seen`` in an earlier round, it is only made.

    ``rtt_seconds``: the shortest round trip; ``lost_share``: segments sent again, of all; ``far_bits_per_second``: the
    goodput of one connection. Raises Refusal when the way is not as asked.
    """
    make(bench, conditions, rate)
    if seen:
        return {}
    measured = measure(bench, conditions)
    if why := wrong(conditions, measured):
        raise Refusal(
            f"the way is not the one of the profile ({conditions}): {why}",
            host="link",
            next_step="see what else delays or drops packets between the hosts",
        )
    return measured


def measure(bench: Bench, conditions: Conditions) -> Measured:
    """Transfers of 1 MB until enough packets were to be lost for a share to be told, or for so many seconds."""
    end, given, seconds = time.monotonic() + LONGEST_SECONDS, list[Given](), list[float]()
    while not given or (expected(conditions, given) < LOST and time.monotonic() < end):
        took, told = link.pulled(bench, SHORT, link.SLOW_SECONDS)
        seconds.append(took)
        given.append(told)
        if not conditions.loss:
            break
    lost = sum(one.retransmitted for one in given) / max(1, sum(one.segments for one in given))
    enough = not conditions.loss or expected(conditions, given) >= LOST
    return {
        "rtt_seconds": min(one.min_rtt_seconds for one in given),
        "lost_share": lost if enough else None,
        "far_bits_per_second": SHORT * 8 / min(seconds),
    }


def expected(conditions: Conditions, given: Sequence[Given]) -> float:
    """How many packets of these transfers were to be lost. Pure."""
    return conditions.loss * sum(one.segments for one in given)


def wrong(conditions: Conditions, measured: Measured) -> str | None:
    """What of the measured way does not fit, or None. Pure."""
    rtt, lost = measured["rtt_seconds"], measured["lost_share"]
    if rtt is None:
        return "it was not measured"
    wanted = conditions.rtt_seconds
    if not RTT_LOW * wanted <= rtt <= RTT_HIGH * wanted + RTT_MORE:
        return f"the shortest round trip took {rtt * 1e3:.1f} ms where {wanted * 1e3:g} ms are asked for"
    if not conditions.loss:
        return None
    if lost is None:
        return f"too few packets went over it in {LONGEST_SECONDS:g} s to tell what share is lost"
    low, high = SHARE
    if not low * conditions.loss <= lost <= high * conditions.loss:
        return f"{lost * 100:.2g} % of the segments were sent again where {conditions.loss * 100:g} % are to be lost"
    return None
