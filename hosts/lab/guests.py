"""Two guests in namespaces of their own, handed out as ordinary hosts: what the labs of all kinds have in common."""

from __future__ import annotations

import os
import re
import select
import selectors
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import IO, ClassVar, Protocol, Self, TypeVar, cast

from hosts.disturbance import Disturbance
from hosts.errors import HostLost
from hosts.lab import disturbance, processors
from hosts.lab.keys import MemoryFile
from hosts.processes import SYSTEM_PATH, arguments, children, end_namespaces, ended
from hosts.progress import Progress
from hosts.testbed import Host, HostsTestbed

LAB_INIT = Path(__file__).resolve().parent / "lab-init"
PROXY = LAB_INIT.with_name("proxy.py")
NUMBERS = {"sender": 2, "receiver": 3}
MANAGEMENT = {role: f"10.97.0.{number}" for role, number in NUMBERS.items()}
DATA = {role: f"10.98.0.{number}" for role, number in NUMBERS.items()}
CLOSE_SECONDS = 10.0
PROBE_MARGIN_SECONDS = 60.0
# What a kernel that panics says of where it was: stack, registers and addresses, which tell nobody anything.
_TRACE = re.compile(r"\[<|\] (RIP|Code|[A-Z0-9]{2,3}|PKRU|Call Trace|Modules linked in|Hardware name):|\] ( |CPU: )")


class Held(Protocol):
    """Something in the cache that a lab uses: it stays there as long as anybody has ``fd`` open."""

    @property
    def fd(self) -> int: ...


class Meter(Protocol):
    """A guest's CPU time, in seconds, as this machine accounts for it."""

    @property
    def resolution_seconds(self) -> float: ...

    def seconds(self) -> float: ...


def processes(lab: int, guest: str) -> dict[str, int]:
    """The processes that are the guests, by role, of the lab whose process on this machine is ``lab``.

    ``guest``: the word that a guest has among its arguments, with ``{role}`` for its role. Raises OSError when the lab
    is gone.
    """
    found = {}
    for init in children(lab):
        for child in children(init):
            words = arguments(child)
            for role in NUMBERS:
                if guest.format(role=role) in words:
                    found[role] = child
    return found


class Lab:
    """A running lab. Closing it, or the end of this process however it comes, ends all of it.

    ``testbed`` names both guests as ordinary hosts, ``processors`` where each runs, and ``ready_seconds`` how long
    it took, with everything in the cache, until both answered by SSH.
    """

    data_interface: ClassVar[str]
    guest: ClassVar[str]
    """The word that a guest's process has among its arguments, with ``{role}`` for its role."""
    start_seconds: ClassVar[float]
    """After this long, both guests have been started."""
    disk: ClassVar[Path | None] = None
    """Where its guests have a file system whose files are not in their own memory."""
    boot_seconds: ClassVar[float]
    """A guest that has not answered by SSH after this long never will."""

    def __init__(
        self,
        name: str,
        init: Sequence[str],
        pinned: dict[str, int],
        held: Sequence[Held],
        files: Sequence[MemoryFile],
        *,
        shape: bool = True,
        more_ids: bool = False,
    ) -> None:
        """Start it. ``init`` is what lab-init is told of the guests; ``files`` are closed with it.

        ``held`` is what they are booted from: the cache has it in use until the lab's last process is gone. ``shape``
        says whether a rate may be put on the link. ``more_ids``: an ordinary user's subordinate ids are those of the
        lab's other users; without it there is root alone.

        ``files`` are the keys (:func:`hosts.lab.keys.make`) and whatever else lab-init is to have.
        """
        self.processors = pinned
        self.ready_seconds = 0.0
        self._files = files
        self._consoles = {role: MemoryFile(f"{role}.console") for role in NUMBERS}
        self._errors = MemoryFile("lab")
        self._meters: dict[str, Meter] = {}
        self._watches: dict[str, disturbance.Watch] = {}
        given = [*files, *self._consoles.values()]
        self._process = subprocess.Popen(
            [
                *("unshare", *_user_namespace(more_ids)),
                *("--net", "--mount", "--ipc", "--uts", "--pid", "--fork", "--kill-child"),
                *("/bin/sh", str(LAB_INIT), *init, *(f"{file.name}={file.fd}" for file in given)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors.fd,
            pass_fds=[*(each.fd for each in held), *(file.fd for file in given)],
            env={"PATH": SYSTEM_PATH, "LC_ALL": "C"},
            # Ctrl-C is for the controller: the guests stay until it has put them back as they were.
            start_new_session=True,
        )
        self.testbed = HostsTestbed(
            kind="hosts", name=name, sender=self._host("sender"), receiver=self._host("receiver"), shape=shape
        )

    def _meter(self, guest: int) -> Meter:
        """What measures the CPU time of the guest that is process ``guest``. Raises OSError when it is gone."""
        raise NotImplementedError

    def _processor_threads(self, guest: int) -> list[Path]:
        """The threads of process ``guest`` that are its processors, as folders in /proc. Raises OSError."""
        raise NotImplementedError

    @property
    def pid(self) -> int:
        """The lab's first process on this machine; it is in the lab's network namespace."""
        return self._process.pid

    @property
    def cpu_resolution_seconds(self) -> float:
        """How fine the difference between the last two :meth:`cpu_seconds` is, for the coarser guest."""
        return max((meter.resolution_seconds for meter in self._meters.values()), default=0.01)

    @property
    def cpu_elsewhere(self) -> float | None:
        """What share of the busy time between the last two :meth:`cpu_seconds` may be neither guest's, or the other's;
        None where each guest's time is its own for certain.
        """
        return None

    def cpu_seconds(self) -> Mapping[str, float]:
        """CPU time, in seconds, that each guest has used since it booted, as this machine accounts for it.

        Raises HostLost when a guest is gone.
        """
        try:
            if not self._meters:
                found = processes(self.pid, self.guest)
                self._meters = {role: self._meter(found[role]) for role in NUMBERS}
        except (OSError, KeyError):
            raise self.failure("a guest is gone") from None
        return {role: self._seconds(role) for role in NUMBERS}

    def _seconds(self, role: str) -> float:
        try:
            return self._meters[role].seconds()
        except OSError:
            raise self.failure("the guest is gone", role) from None

    def disturbance(self) -> dict[str, Disturbance]:
        """What else happened around each guest, by role, as :class:`hosts.lab.disturbance.Watch` counts it.

        Raises HostLost when a guest is gone.
        """
        try:
            if not self._watches:
                found = processes(self.pid, self.guest)
                self._watches = {
                    role: disturbance.Watch(
                        self._processor_threads(found[role]),
                        processor,
                        [found[other] for other, its in self.processors.items() if its == processor],
                    )
                    for role, processor in self.processors.items()
                }
            return disturbance.read(self._watches)
        except (OSError, KeyError):
            raise self.failure("a guest is gone") from None

    def alive(self) -> bool:
        """Whether both guests run."""
        return self._running().keys() == NUMBERS.keys()

    def _running(self) -> dict[str, int]:
        """The processes of the guests that run now, by role."""
        try:
            return processes(self.pid, self.guest) if self._process.poll() is None else {}
        except OSError:
            return {}

    def close(self) -> None:
        """End the lab and everything in it; a second call does nothing."""
        cast(IO[bytes], self._process.stdin).close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(CLOSE_SECONDS)
        end_namespaces(self._process)
        cast(IO[bytes], self._process.stdout).close()
        for file in (*self._files, *self._consoles.values(), self._errors):
            file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def failure(self, what: str, role: str | None = None) -> HostLost:
        """An error that quotes what the lab and its guests said last."""
        said = {"lab": self._errors, **self._consoles} if role is None else {role: self._consoles[role]}
        quoted = []
        for name, file in said.items():
            lines = [line for line in file.text().splitlines() if line.strip() and not _TRACE.search(line)]
            quoted += [f"    {name}: {line}" for line in lines[-12:]]
        return HostLost("\n".join([what, *quoted]), host=role or "the lab")

    def wait_until_ready(self, started: float, progress: Progress) -> None:
        """Wait for an SSH banner of each guest, ``boot_seconds`` at most. Raises HostLost."""
        # Until the lab says so its process is not in its own network yet, and a probe would ask this machine's.
        inside = cast(IO[bytes], self._process.stdout)
        if not select.select([inside], [], [], self.boot_seconds)[0] or not inside.readline():
            raise self.failure("it could not set up its namespaces")
        with selectors.DefaultSelector() as selector:
            probes = [self._probe(role) for role in NUMBERS]
            try:
                for role, probe in zip(NUMBERS, probes, strict=True):
                    selector.register(cast(IO[bytes], probe.stdout), selectors.EVENT_READ, role)
                deadline, all_started = (
                    time.monotonic() + seconds for seconds in (self.boot_seconds, self.start_seconds)
                )
                told = len(NUMBERS) + 1
                seen: dict[str, int] = {}
                while waiting := [str(key.data) for key in selector.get_map().values()]:
                    if len(waiting) < told:
                        told = len(waiting)
                        progress(f"booting {' and '.join(waiting)}", 1 - told / len(NUMBERS))
                    seen |= self._running()
                    late = time.monotonic() > all_started and seen.keys() != NUMBERS.keys()
                    # A guest ends when its kernel panics.
                    if late or self._process.poll() is not None or any(ended(pid) for pid in seen.values()):
                        raise self.failure("it ended while it booted")
                    if time.monotonic() > deadline:
                        raise self.failure(f"{' and '.join(waiting)} did not boot in {self.boot_seconds:.0f} s")
                    for key, _ in selector.select(0.1):
                        if not os.read(key.fd, 256).startswith(b"SSH-"):
                            raise self.failure(f"{key.data} did not answer by SSH")
                        selector.unregister(key.fileobj)
            finally:
                for probe in probes:
                    probe.kill()
                    probe.communicate()
        self.ready_seconds = time.monotonic() - started

    def _probe(self, role: str) -> subprocess.Popen[bytes]:
        # longer than anybody waits for it: which of the two ends first is then no matter of chance
        command = [*self._proxy(), MANAGEMENT[role], "22", str(self.boot_seconds + PROBE_MARGIN_SECONDS)]
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
        )

    def _proxy(self) -> Sequence[str]:
        user = [] if os.geteuid() == 0 else ["-U", "--preserve-credentials"]
        program = [sys.executable, "-I", "-S", str(PROXY), str(self.pid)]
        return ["nsenter", "-t", str(self.pid), *user, "-n", *program]

    def _host(self, role: str) -> Host:
        files = {file.name: file.path for file in self._files}
        return Host(
            address=MANAGEMENT[role],
            user="root",
            port=22,
            ssh_config=Path("none"),
            data_address=ip_address(DATA[role]),
            data_interface=self.data_interface,
            disk=self.disk,
            identity_file=files["id"],
            known_hosts=files["known_hosts"],
            # %h and %p are replaced as OpenSSH does, and nothing else may hold a percent sign.
            proxy_command=shlex.join(self._proxy()).replace("%", "%%") + " %h %p",
        )


def _user_namespace(more_ids: bool) -> list[str]:
    """What root does not need."""
    if os.geteuid() == 0:
        return []
    return ["--user", "--map-root-user", *(["--map-auto"] if more_ids else [])]


_Lab = TypeVar("_Lab", bound=Lab)


def booted(make: Callable[[dict[str, int]], _Lab], progress: Progress) -> _Lab:
    """Choose processors, make the lab on them and wait until both guests answer.

    Raises HostLost, with nothing left behind.
    """
    started = time.monotonic()
    pinned = processors.choose(len(NUMBERS))
    if len(set(pinned)) < len(pinned):
        progress("both guests share this machine's only processor", None)
    lab = make(dict(zip(NUMBERS, pinned, strict=True)))
    try:
        lab.wait_until_ready(started, progress)
    except BaseException:
        lab.close()
        raise
    return lab
