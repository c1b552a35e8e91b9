"""The lab of two QEMU guests on this machine's own processors (KVM): an ordinary kernel, nearly at native speed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Literal

from pydantic import Field

from hosts.errors import HarnessError, Refusal
from hosts.lab import qemu
from hosts.lab.kvm import probe
from hosts.lab.qemu import QemuParts
from hosts.processes import SYSTEM_PATH
from hosts.progress import Progress, silent


class KvmTestbed(qemu.PcTestbed):
    """Two QEMU guests with the release's ordinary kernel on this machine's own processors."""

    kind: Literal["kvm"]
    memory_mb: int = Field(default=1024, ge=384, le=65536)


@contextmanager
def obtain(spec: KvmTestbed, progress: Progress = silent) -> Iterator[QemuParts]:
    """Make the machine ready and have the guests' image and kernel. Raises HarnessError, also where KVM fails."""
    with qemu.obtain(spec, progress, accel="kvm") as parts:
        if reason := probe.unusable(parts.kernel, progress):
            raise Refusal(f"this lab needs KVM: {reason}", next_step="take --testbed auto, or lab-qemu")
        yield parts


def why_not(spec: KvmTestbed, progress: Progress = silent) -> str | None:
    """Why this lab cannot be had here, or None. Installs nothing; a guest is tried where KVM and QEMU are there."""
    if reason := probe.inaccessible():
        return reason
    if not shutil.which("qemu-system-x86_64", path=SYSTEM_PATH):
        return "QEMU is not installed (apt-get install qemu-system-x86)"
    try:
        with obtain(spec, progress):
            return None
    except HarnessError as error:
        return error.what.removeprefix("this lab needs KVM: ")


LAB = replace(
    qemu.LAB,
    model=KvmTestbed,
    obtain=obtain,
    words=("kvm",),
    label="virtual",
    caveat="both hosts are guests on processors of one machine, and their link and cards are programs on these same "
    "processors; so ratios of calls, copies and ciphers are near hardware's, and packets cost more.",
)
