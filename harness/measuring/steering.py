"""Which processors of a host take what arrives: one for all, or of each flow that of the program that reads it.

Receive packet steering hands packets on from the queue that they came by; receive flow steering chooses where the
flow was read last (Documentation/networking/scaling.rst). A flow of ESP is an SA: its SPI stands where ports do.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from harness.api.bench import Bench
from harness.api.parameters import ReceiveOn
from hosts.errors import Refusal
from hosts.facts import Facts
from hosts.onhost.agent.values import SettingChange
from hosts.remote import changes
from hosts.remote.changes import Scope
from hosts.remote.host import RemoteHost

TABLE = "/proc/sys/net/core/rps_sock_flow_entries"
FLOWS = 32768
"""Of the whole table, which is dealt to the queues: many more than there are connections."""
WORDS: Mapping[ReceiveOn, str] = {
    "one": "what arrives is taken on one processor",
    "readers": "what arrives is taken where it is read",
}


def unsupported(sender: Facts, receiver: Facts) -> str | None:
    """Why it makes no difference on these hosts where what arrives is taken, or None. Pure."""
    alone = [about.role for about in (sender, receiver) if len(about.usable) < 2]
    if not alone:
        return None
    return f"receive_on chooses among processors, and the {' and the '.join(alone)} has one for what it runs"


def mask(processors: Collection[int], like: str) -> str:
    """Processors as a file of the kernel has them that now says ``like``: as many hex digits, in groups of eight. Pure.

    Raises ValueError where the file has no room for one of them.
    """
    groups = like.split(",")
    digits = f"{sum(1 << number for number in processors):0{sum(map(len, groups))}x}"
    if len(digits) > sum(map(len, groups)):
        raise ValueError(f"{like} has no room for processor {max(processors)}")
    found = []
    for group in groups:
        found.append(digits[: len(group)])
        digits = digits[len(group) :]
    return ",".join(found)


def settings(
    interface: str, queues: Mapping[str, str], where: ReceiveOn, processors: Sequence[int]
) -> list[SettingChange]:
    """The changes that make it so. ``queues``: what rps_cpus of each receive queue says now, by its directory. Pure."""
    words, wanted = f"{WORDS[where]} ({interface})", list[tuple[str, str]]()
    if where == "readers":
        wanted.append((TABLE, str(FLOWS)))
    # a queue's flow table is asked before its rps_cpus (get_rps_cpu in net/core/dev.c)
    flows, there = (_power(FLOWS // len(queues)), processors) if where == "readers" else (0, processors[:1])
    for queue, now in queues.items():
        wanted += [(f"{queue}/rps_flow_cnt", str(flows)), (f"{queue}/rps_cpus", mask(there, now))]
    return [changes.setting(f"{words}: {path}", path, value) for path, value in wanted]


def _power(number: int) -> int:
    """The largest power of two that is no larger."""
    return 1 << (number.bit_length() - 1)


def make(bench: Bench, where: ReceiveOn) -> None:
    """Make it so on both hosts, undone with the bench. Raises Refusal where a host's kernel cannot; HostLost."""

    def made(scope: Scope, host: RemoteHost) -> None:
        _make(scope, host, where, bench.facts if scope is bench.on_sender else bench.receiver_facts)

    bench.on_both(made)


def _make(scope: Scope, host: RemoteHost, where: ReceiveOn, about: Facts) -> None:
    interface = host.host.data_interface
    folder = f"/sys/class/net/{interface}/queues"
    names = [name for name in host.look(["ls", folder]).stdout.split() if name.startswith("rx-")]
    files = [f"{folder}/{name}/rps_cpus" for name in names]
    told = host.read(files)
    queues = {path.rpartition("/")[0]: text.strip() for path, text in told.items() if text}
    if not queues:
        raise Refusal(
            f"the kernel does not let it be chosen where what arrives at {interface} is taken: it has no {folder}/*/"
            "rps_cpus (CONFIG_RPS)",
            host=host.name,
        )
    for change in settings(interface, queues, where, about.usable):
        if (host.read([change.path])[change.path] or "").strip() != change.value:
            scope.apply(change)
