"""Pure: how many of a verdict's blocks were disturbed, told beside it; and what a CPU quota held back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.blocks import BlockFacts
from harness.record import Verdict
from harness.samples import Sample
from harness.verdicts import judging
from hosts.roles import ROLES


def throttled(blocks: Iterable[BlockFacts]) -> list[str]:
    """For how long a quota held a host back while blocks were taken, a sentence for each host that one did."""
    known = list(blocks)
    total = sum(each.window_seconds for each in known)
    found = []
    for role in ROLES:
        seconds = sum(getattr(each, role).throttled_ns or 0 for each in known) / 1e9
        if seconds > 0:
            found.append(
                f"a CPU quota (cgroup) held the {role} back for {seconds:.3g} s in {total:.3g} s of blocks: "
                "its figures are the quota's too"
            )
    return found


def told(rows: Sequence[Verdict], samples: Iterable[Sample], blocks: Iterable[BlockFacts]) -> list[Verdict]:
    """These verdicts with the number of their paired blocks that were disturbed; None where of none it is known."""
    known = {(cell, each.block): each.disturbed for each in blocks for cell in each.cells}
    found = []
    for row, pairs in zip(rows, judging.all_pairs(rows, samples), strict=True):
        marks = [mark for block in pairs if (mark := known.get((row.candidate, block))) is not None]
        found.append(row.model_copy(update={"disturbed": sum(marks) if marks else None}))
    return found
