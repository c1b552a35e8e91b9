"""The measured link: put to the profile's rate on both hosts, and measured to have that rate."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from harness.api.bench import LINK_PORT, Bench, load
from harness.measuring import way
from harness.servers import requirements
from hosts.errors import Refusal
from hosts.onhost.agent.values import Given
from hosts.remote import changes
from hosts.remote.changes import Scope

Measured = dict[str, float | None]
"""Seconds of a short transfer and goodput of a long one, by name."""
USUAL_BYTES_PER_SECOND = 2e6
"""What a deadline allows for at least, where the link is not known to be slower."""
SLOW_SECONDS = 120.0
"""How long 1 MB may take on a link of which nothing is known."""
LONG_SECONDS = 2.0
"""Of a slow link's long transfer."""
PAUSES = (0.0, 0.0, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds before each try: something else may be using the machines for a while. A link that is slow for longer is
called wrong."""
NETEM = "sch_netem"
SHORT, LONG = 10**6, 3 * 10**7
BRIEFLY = 3, 1
"""Transfers, short and long, of a link that was measured in an earlier round: the first one after a boot is slow."""
# Ethernet, IP and TCP headers leave 1448 of 1538 bytes at an MTU of 1500, more with larger frames
LONG_LOW, LONG_HIGH = 0.80, 1.02
SHORT_LOW, SHORT_HIGH = 0.95, 2.0


def shape(bench: Bench, rate: int) -> None:
    """Put ``rate`` (bit/s) on the sending side of both hosts' data interfaces.

    netem's rate is right for one file of 1 MB too; a token bucket lets a short file through at full speed.
    Refused where somebody else's queueing discipline is in place, or a host has no tc, or may not load sch_netem.
    """
    both = bench.facts, bench.receiver_facts
    if why := requirements.together(requirements.no_programs(("tc",), *both), requirements.unasked((NETEM,), *both)):
        raise Refusal(f"the link cannot be put to its rate: {why}")
    with ThreadPoolExecutor(2) as pool:
        shaped = [pool.submit(_shape, scope, rate) for scope in (bench.on_sender, bench.on_receiver)]
    for each in shaped:
        each.result()


def _shape(scope: Scope, rate: int) -> None:
    interface = scope.host.host.data_interface
    load(scope.host, scope, NETEM)
    scope.apply(
        changes.command(
            f"rate of {interface}",
            look=["tc", "qdisc", "show", "dev", interface, "root"],
            present="qdisc netem ca11:",
            refuse=r"qdisc \S+ (?!0:)[0-9a-f]+: .*root",
            apply=[
                *("tc", "qdisc", "add", "dev", interface, "root", "handle", "ca11:"),
                *("netem", "rate", f"{rate}bit", "limit", "4000"),
            ],
            undo=["tc", "qdisc", "del", "dev", interface, "root", "handle", "ca11:"],
        )
    )


def measure(bench: Bench, rate: int | None, times: tuple[int, int] = (5, 2)) -> Measured:
    """Seconds of a 1 MB transfer, and goodput (bit/s) of a long one, in clear between the two agents.

    The best of a few ``times``, short and long: what else the machines do can only slow a transfer down, and the
    question is the link. A slow link's are fewer and shorter. Raises Refusal where the data interfaces did not count
    what was transferred.
    """
    carried = way.counting(bench.sender, bench.receiver)
    first = _pull(bench, SHORT, SLOW_SECONDS if rate is None else deadline(SHORT, {rate: at(rate)}))
    found: dict[int | str | None, Measured] = {rate: at(SHORT * 8 / first)}
    tries, size = (times[0] - 1 if first < 1 else 1), min(LONG, max(SHORT, int(SHORT / first * LONG_SECONDS)))
    short = min([first, *(_pull(bench, SHORT, deadline(SHORT, found)) for _ in range(tries))])
    long = min(_pull(bench, size, deadline(size, found)) for _ in range(times[1]))
    for end in carried((1 + tries) * SHORT + times[1] * size):
        if refusal := end.refusal:
            raise refusal
    return {"seconds_1mb": short, "goodput_bits_per_second": size * 8 / long}


def at(rate: float) -> Measured:
    """What measuring an ideal link of this rate would give."""
    return {"seconds_1mb": SHORT * 8 / rate, "goodput_bits_per_second": rate}


def deadline(size: int, known: Mapping[int | str | None, Measured]) -> float:
    """Seconds within which so many bytes come, on links that were measured to be like this: four times what they need
    on the slowest."""
    goodputs = [goodput for each in known.values() if (goodput := each["goodput_bits_per_second"])]
    return 20 + max([size / USUAL_BYTES_PER_SECOND, *(4 * size * 8 / goodput for goodput in goodputs)])


def wrong(rate: int, measured: Measured) -> str | None:
    """What of the measured link does not fit the rate, or None. Pure."""
    short, goodput = measured["seconds_1mb"], measured["goodput_bits_per_second"]
    if short is None or goodput is None:
        return "it was not measured"
    ideal = SHORT * 8 / rate
    if not SHORT_LOW * ideal <= short <= SHORT_HIGH * ideal:
        return f"1 MB took {short * 1e3:.1f} ms where {ideal * 1e3:.1f} ms is the least"
    if not LONG_LOW * rate <= goodput <= LONG_HIGH * rate:
        return f"in the long run it gave {goodput / 1e6:.0f} Mbit/s of {rate / 1e6:.0f}"
    return None


def prepare(
    bench: Bench,
    rate: int | None,
    may_shape: bool,
    known: dict[int | str | None, Measured],
    earlier: Measured | None = None,
) -> Measured:
    """Shape where asked and allowed, then measure. ``known``: what was measured at which rates between these hosts
    since they were booted or reached, which is not measured again. ``earlier``: what it was in an earlier round, whose
    number is the record's; now the link only has to be seen at its rate, if it has one.

    Raises Refusal when the link is not at its rate.
    """
    rate = rate if may_shape else None
    if rate is not None:
        shape(bench, rate)
    if rate is None and earlier:
        return earlier
    if rate not in known:
        known[rate] = measure(bench, None) if rate is None else _at(bench, rate, seen=earlier is not None)
    return earlier or known[rate]


def _at(bench: Bench, rate: int, *, seen: bool) -> Measured:
    why: str | None = None
    for number, pause in enumerate(PAUSES):
        time.sleep(pause)
        measured = measure(bench, rate, BRIEFLY) if seen and number == 0 else measure(bench, rate)
        why = wrong(rate, measured)
        if why is None:
            return measured
    raise Refusal(
        f"the link is not at the {rate / 1e6:.0f} Mbit/s of the profile: {why}",
        host="link",
        next_step="see what else uses the machines or the network between them",
    )


def pulled(bench: Bench, size: int, timeout: float) -> tuple[float, Given]:
    """Seconds from the start of connect to the last byte, as the receiver sees them; what the sender's TCP tells."""
    with ThreadPoolExecutor(1) as pool:
        serving = pool.submit(bench.sender.agent.give, str(bench.address), LINK_PORT, size, timeout)
        seconds = bench.receiver.agent.pull(str(bench.address), LINK_PORT, size, timeout)
        return seconds, serving.result()


def _pull(bench: Bench, size: int, timeout: float) -> float:
    return pulled(bench, size, timeout)[0]
