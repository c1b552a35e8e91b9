"""What else happened while blocks were taken, by suite and size: seen on the machines, not guessed from the samples."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from harness.blocks import DISTURBED_SHARE, BlockFacts, HostBlock
from reports import words
from reports.drawing.tables import Table, Value, number, text

READING = (
    "A block is disturbed where a hypervisor, a quota, or whatever else ran on its processor kept a host from it for "
    f"more than {100 * DISTURBED_SHARE:g} % of the block's time. No path causes that. All blocks count: the verdicts "
    "are as they would be without this table.",
    "Work for others and softirqs may be a path's own doing, or the kernel's for it. They mark nothing.",
)
COLUMNS = ("Suite", "Size", "Blocks", "Disturbed", "Kept off, median %", "Kept off, most %", "Steal %", "Throttled %",
           "Run-queue delay %", "Others %", "Softirqs %")  # fmt: skip
CAUSES: tuple[Callable[[HostBlock], int | None], ...] = (
    lambda host: host.steal_ns,
    lambda host: host.throttled_ns,
    lambda host: host.run_delay_ns,
    lambda host: host.others_ns,
    lambda host: host.softirq_ns,
)


def sentence(blocks: Sequence[BlockFacts]) -> str:
    """How many of the blocks that were watched and count are disturbed."""
    known = [facts.disturbed for facts in blocks if not facts.warmup and facts.cells and facts.disturbed is not None]
    return f"Something else disturbed {sum(known)} of {words.count(len(known), 'block')}."


def tables(blocks: Sequence[BlockFacts]) -> list[Table]:
    """A row for each suite and size whose counted blocks were watched; no table where none was."""
    groups: dict[tuple[str, str], list[BlockFacts]] = {}
    for facts in blocks:
        if not facts.warmup and facts.cells and facts.disturbed is not None:
            suite, *_, size = facts.cells[0].split("/")
            groups.setdefault((suite, size), []).append(facts)
    rows = [_row(suite, size, group) for (suite, size), group in groups.items()]
    return [Table("disturbed", "By suite and size, on the host that had more of it", COLUMNS, rows)] if rows else []


def _row(suite: str, size: str, blocks: Sequence[BlockFacts]) -> list[Value]:
    kept = [share for facts in blocks if (share := _share(facts, lambda host: host.kept_ns)) is not None]
    means = []
    for cause in CAUSES:
        shares = [share for facts in blocks if (share := _share(facts, cause)) is not None]
        means.append(number(statistics.fmean(shares) if shares else None, 2))
    return [
        text(suite),
        text(size),
        number(len(blocks)),
        number(sum(facts.disturbed is True for facts in blocks)),
        number(statistics.median(kept), 2),
        number(max(kept), 2),
        *means,
    ]


def _share(facts: BlockFacts, cause: Callable[[HostBlock], int | None]) -> float | None:
    """In percent of the block's time, of the host that had more of it; None where neither is known."""
    known = [spent for host in (facts.sender, facts.receiver) if (spent := cause(host)) is not None]
    return max(known) / facts.window_seconds / 1e7 if known and facts.window_seconds else None
