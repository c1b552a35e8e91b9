"""Pure: what else happened while a block was taken, and the one rule of what a disturbed block is.

``harness/records.py`` writes and reads these facts beside the samples.
"""

from __future__ import annotations

import msgspec

from harness.samples import Count, Seconds

DISTURBED_SHARE = 0.05
"""A block is disturbed where a host was kept from its processors for more than this part of the block's time.

The whole block's, with the pauses between its transfers: a part of one transfer's own time would depend on how that
transfer went. It is told of a block, and changes nothing: all blocks count (docs/statistics.md)."""


class HostBlock(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, gc=False):
    """What else happened on one host's processors in one block; None where nobody can tell.

    The first three are causes that no path has. The others may be a path's own doing and are there to be looked at.
    """

    steal_ns: Count | None = None
    """The hypervisor gave its processors to somebody else; of a real host for each of its processors on average."""
    throttled_ns: Count | None = None
    """A quota (cgroup) held processes back, on each processor on average."""
    run_delay_ns: Count | None = None
    """Its emulated processors were ready to run, and something else ran, or a quota held them; None of a real host."""
    others_ns: Count | None = None
    """Its processor worked for other programs, the machine's kernel or the controller; None of a real host."""
    softirq_ns: Count | None = None
    """Spent on interrupts' later half, on its processors."""
    switches: Count | None = None
    """How often its emulated processors were put on a real one; of a real host all its context switches."""
    frequency_khz: Count | None = None
    """How fast its processor was clocked at the end; None of a real host."""

    @property
    def kept_ns(self) -> int | None:
        """How long it was kept from its processors by what no path causes; None where nothing of it is known.

        Run-queue delay goes on while a quota holds a task back, so that throttling counts where that is not known.
        """
        waited = self.throttled_ns if self.run_delay_ns is None else self.run_delay_ns
        known = [each for each in (self.steal_ns, waited) if each is not None]
        return sum(known) if known else None


class BlockFacts(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, gc=False):
    """One line of blocks.jsonl: what else happened while one block was taken."""

    cells: list[str]
    """The ids of those that were to have a sample in it."""
    block: Count
    round: Count = 0
    """Which boot of a lab, or deployment on hosts, it was taken in."""
    warmup: bool
    window_seconds: Seconds
    """From before its first sample to after its last."""
    sender: HostBlock = HostBlock()
    receiver: HostBlock = HostBlock()
    disturbed: bool | None = None
    """By the rule that was in force (``DISTURBED_SHARE``); None where nothing is known."""


def disturbed(window_seconds: float, *hosts: HostBlock) -> bool | None:
    """Whether a block is; None where of no host anything is known."""
    kept = [host.kept_ns for host in hosts if host.kept_ns is not None]
    return max(kept) > DISTURBED_SHARE * window_seconds * 1e9 if kept else None
