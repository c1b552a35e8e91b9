"""What else happens on both hosts, before and after a block: a lab's machine is asked, or else the hosts themselves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict

from harness.blocks import BlockFacts, HostBlock, disturbed
from hosts.disturbance import THROTTLED, Disturbance
from hosts.onhost.agent.values import Counter, FileCounter
from hosts.remote.host import RemoteHost

Surroundings = Callable[[], Mapping[str, Disturbance]]
"""What happened around each host since some moment, by role. Raises HostLost."""

COUNTERS: dict[str, Counter] = {
    "steal": FileCounter("/proc/stat", r"^cpu +(?:\d+ +){7}(\d+)"),
    "softirq": FileCounter("/proc/stat", r"^cpu +(?:\d+ +){6}(\d+)"),
    "switches": FileCounter("/proc/stat", r"^ctxt (\d+)"),
}
"""What a real host tells of itself in one reading."""


def of_host(host: RemoteHost, processors: int, quotas: Sequence[str] = ()) -> Disturbance:
    """What a host says happened on it since it booted. ``quotas``: files there that tell what they held back, of the
    cgroup of the agent and those above it. Raises HostLost."""
    throttled: dict[str, Counter] = {
        f"{path} {word}": FileCounter(path, rf"^{word} (\d+)") for path in quotas for word in THROTTLED
    }
    seen = host.agent.observe(COUNTERS | throttled)
    tick = round(seen.cpu_before.resolution_seconds * 1e9)

    def times(name: str, factor: int) -> int | None:
        value = seen.values.get(name)
        return None if value is None else value * factor

    steal = times("steal", tick)
    held = [found for name in throttled if (found := times(name, THROTTLED[name.rpartition(" ")[2]])) is not None]
    return Disturbance(
        steal_ns=None if steal is None else steal // max(1, processors),
        throttled_ns=sum(held) // max(1, processors) if held else None,
        softirq_ns=times("softirq", tick),
        switches=seen.values.get("switches"),
    )


@contextmanager
def watching(
    surroundings: Surroundings,
    keep: Callable[[BlockFacts], None],
    cells: Sequence[str],
    block: int,
    warmup: bool,
    round: int = 0,
) -> Iterator[None]:
    """Take one block inside; what else happened meanwhile goes to ``keep``. One that was not finished has no facts.

    ``cells``: their ids. Raises HostLost.
    """
    before, started = surroundings(), time.monotonic()
    yield
    seconds, after = time.monotonic() - started, surroundings()
    around = {role: HostBlock(**asdict(after[role].since(before[role]))) for role in after}
    marked = disturbed(seconds, *around.values())
    keep(
        BlockFacts(
            cells=list(cells),
            block=block,
            round=round,
            warmup=warmup,
            window_seconds=seconds,
            sender=around["sender"],
            receiver=around["receiver"],
            disturbed=marked,
        )
    )
