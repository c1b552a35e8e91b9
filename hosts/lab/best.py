"""The best lab at hand: guests on this machine's own processors where they come up, else User Mode Linux.

Never one that shares this machine's own kernel: such a lab is taken where it is named.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from hosts import testbed
from hosts.lab import kvm, own_kernel
from hosts.progress import Progress, silent
from hosts.testbed import AnyTestbed, AutoTestbed, LabTestbed, Settled

BETTER, ALWAYS, SLOW = "lab-kvm", "lab", "lab-qemu"
"""Testbeds: the one nearly as fast as hardware, the one that runs everywhere, the one that emulates processors."""


@dataclass(frozen=True)
class Choice:
    """The lab that was chosen, and why in a sentence."""

    spec: LabTestbed
    why: str


def choose(
    spec: AutoTestbed, progress: Progress = silent, lacks: Callable[[LabTestbed], str | None] = lambda _spec: None
) -> Choice:
    """The best lab that can be had here. ``lacks`` says what a lab cannot run of what is asked, or None.

    Raises ConfigError where no lab boots the kernel that is asked for.
    """
    if spec.kernel:
        return _that_boots(spec.kernel, spec.modules, progress)
    better, always = cast(kvm.KvmTestbed, testbed.load(BETTER)), cast(LabTestbed, testbed.load(ALWAYS))
    reason = kvm.why_not(better, progress) or lacks(better)
    if reason is None:
        return Choice(better, f"the lab is {BETTER}: a guest that was tried came up on this machine's own processors")
    return Choice(always, f"the lab is {ALWAYS} (User Mode Linux), not {BETTER}, which is faster: {reason}")


def _that_boots(kernel: Path, modules: Path | None, progress: Progress) -> Choice:
    """The best lab that boots a kernel of somebody's own."""
    own = own_kernel.find(kernel, modules)
    if own.boots == "uml":
        name, why = ALWAYS, f"{kernel} is a kernel of User Mode Linux"
    else:
        tried = cast(kvm.KvmTestbed, testbed.with_kernel(testbed.load(BETTER), kernel, modules))
        reason = kvm.why_not(tried, progress)
        name, why = (SLOW, f"not {BETTER}: {reason}") if reason else (BETTER, f"{kernel} came up under KVM")
    spec = cast(LabTestbed, testbed.with_kernel(testbed.load(name), kernel, modules))
    return Choice(spec, f"the lab is {name} with the kernel {own.release}: {why}")


def settled(spec: AnyTestbed, tell: Callable[[str], None], progress: Progress = silent) -> Settled:
    """The testbed itself, or the best lab where that is what it says; then ``tell`` hears why it is this one."""
    if not isinstance(spec, AutoTestbed):
        return spec
    choice = choose(spec, progress)
    tell(choice.why)
    return choice.spec
