"""The measured link: put to the profile's rate on both hosts, and measured to be what it is said to be."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from harness.bench import Bench, load
from hosts import changes
from hosts.errors import HarnessError

PORT = 18070
TRIES = 6
"""Something else may be using the machines for a moment: so often the link is measured before it is called wrong."""
SHORT, LONG = 10**6, 3 * 10**7
# Ethernet, IP and TCP headers leave 1448 of 1538 bytes at an MTU of 1500, more with larger frames
LONG_LOW, LONG_HIGH = 0.80, 1.02
SHORT_LOW, SHORT_HIGH = 0.95, 2.0


def shape(bench: Bench, rate: int) -> None:
    """Put ``rate`` (bit/s) on the sending side of both hosts' data interfaces.

    netem's rate is right for one file of 1 MB too; a token bucket lets a short file through at full speed.
    Refused where somebody else's queueing discipline is in place.
    """
    for scope, host in ((bench.on_sender, bench.sender), (bench.on_receiver, bench.receiver)):
        interface = host.host.data_interface
        load(host, scope, "sch_netem")
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


def measure(bench: Bench) -> dict[str, float | None]:
    """Seconds of a 1 MB transfer, and goodput (bit/s) of a long one, in clear between the two agents.

    The best of a few: what else the machines do can only slow a transfer down, and the question is the link.
    """
    short = min(_pull(bench, SHORT) for _ in range(8))
    long = min(_pull(bench, LONG) for _ in range(3))
    return {"seconds_1mb": short, "goodput_bits_per_second": LONG * 8 / long}


def wrong(rate: int, measured: dict[str, float | None]) -> str | None:
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


def prepare(bench: Bench, rate: int | None, may_shape: bool) -> dict[str, float | None]:
    """Shape where asked and allowed, then measure. Raises HarnessError when the link is not at its rate."""
    if rate is None or not may_shape:
        return measure(bench)
    shape(bench, rate)
    why: str | None = None
    for _ in range(TRIES):
        measured = measure(bench)
        why = wrong(rate, measured)
        if why is None:
            return measured
    raise HarnessError(
        f"the link is not at the {rate / 1e6:.0f} Mbit/s of the profile: {why}",
        host="link",
        next_step="see what else uses the machines or the network between them",
    )


def _pull(bench: Bench, size: int) -> float:
    """Seconds from the start of connect to the last byte, as the receiver sees them."""
    with ThreadPoolExecutor(1) as pool:
        serving = pool.submit(
            bench.sender.call, "give", 30.0, address=str(bench.address), port=PORT, size=size, timeout=15.0
        )
        seconds = bench.receiver.call("pull", 40.0, address=str(bench.address), port=PORT, size=size, timeout=15.0)
        serving.result()
    return float(seconds)
