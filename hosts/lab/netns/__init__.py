"""The lab of two hosts that share this machine's own kernel: namespaces, each host on a processor of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from hosts.debian import image
from hosts.disturbance import Disturbance
from hosts.errors import Refusal
from hosts.lab import guests, keys, ready
from hosts.lab.guests import MANAGEMENT
from hosts.lab.kinds import LabKind
from hosts.lab.netns.accounting import Account, Reading, elsewhere
from hosts.modules import Target
from hosts.progress import Progress, part, silent
from hosts.testbed import LabTestbed

START = Path(__file__).with_name("start")
MODULES = Path("/lib/modules")


class NetnsTestbed(LabTestbed):
    """Two hosts on this machine's own kernel. ``memory_mb`` is what each may keep in memory (tmpfs).

    ``shape`` lets the harness put a rate on the link's two ends, for which the kernel must have sch_netem.
    """

    kind: Literal["netns"]
    memory_mb: int = 2048
    shape: bool = False


class NetnsLab(guests.Lab):
    """A running lab of two hosts that share this machine's kernel."""

    data_interface = "eth1"
    guest = "host={role}"
    start_seconds = 5.0
    boot_seconds = 30.0

    def __init__(self, spec: NetnsTestbed, used: image.Image, pinned: dict[str, int]) -> None:
        modules = MODULES / os.uname().release
        words = ["netns", str(START), str(used.path), str(spec.memory_mb), *map(str, pinned.values()), str(modules)]
        super().__init__(spec.name, words, pinned, [used], keys.make(MANAGEMENT), shape=spec.shape, more_ids=True)
        self._account: Account | None = None
        self._read: list[Reading] = []

    def cpu_seconds(self) -> Mapping[str, float]:
        """CPU time that each host has used, in seconds since some moment: its processes and, on its processor, what the
        kernel did while none ran. Raises HostLost when a host is gone.
        """
        try:
            reading = self._accounting().read()
        except (OSError, KeyError):
            raise self.failure("a host is gone") from None
        self._read = [*self._read[-1:], reading]
        return reading.seconds

    @property
    def cpu_resolution_seconds(self) -> float:
        """How fine the difference between the last two readings is."""
        return self._accounting().resolution_seconds

    @property
    def cpu_elsewhere(self) -> float | None:
        """What share of the busy time between the last two readings may be neither host's, or the other's."""
        return elsewhere(*self._read) if len(self._read) > 1 else None

    def disturbance(self) -> dict[str, Disturbance]:
        """What else happened on each host's processor. Raises HostLost when a host is gone."""
        try:
            return self._accounting().disturbance()
        except (OSError, KeyError):
            raise self.failure("a host is gone") from None

    def _accounting(self) -> Account:
        if self._account is None:
            self._account = Account(guests.processes(self.pid, self.guest), self.processors)
        return self._account


class NetnsParts:
    """The hosts' image. Their kernel is this machine's."""

    def __init__(self, spec: NetnsTestbed, used: image.Image) -> None:
        self._spec, self._image = spec, used
        self.places = (used.path,)

    @property
    def image_path(self) -> Path:
        """What the hosts' programs come from."""
        return self._image.path

    @property
    def target(self) -> Target:
        """Raises Refusal."""
        raise Refusal("this lab's kernel is this machine's own, which gets no module of ours")

    def boot(self, progress: Progress = silent) -> NetnsLab:
        """Start both hosts and wait until they answer. Raises HarnessError, with nothing left behind."""
        return guests.booted(lambda pinned: NetnsLab(self._spec, self._image, pinned), progress)


@contextmanager
def obtain(spec: NetnsTestbed, progress: Progress = silent) -> Iterator[NetnsParts]:
    """Make the machine ready and have the hosts' image, made now where there is none. Raises HarnessError."""
    ready.make_ready(build=not image.location(spec.release).is_dir(), tun=False, more_ids=True, progress=progress)
    with image.obtain(spec.release, part(progress, 0.0, 1.0)) as used:
        yield NetnsParts(spec, used)


LAB = LabKind(
    model=NetnsTestbed,
    obtain=obtain,
    words=("netns",),
    guest=NetnsLab.guest,
    in_image=False,
    label="one kernel",
    caveat="both hosts are namespaces on this machine's own kernel, and their link is a veth pair that passes on in "
    "one piece what a network card would cut, check and interrupt for; so calls and copies cost what they cost here, "
    "and rates are higher than a card's.",
)
