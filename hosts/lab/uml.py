"""Boots a lab: two User Mode Linux guests in namespaces of their own, handed out as ordinary hosts."""

from __future__ import annotations

import os
import select
import selectors
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import IO, cast

from hosts.errors import HarnessError
from hosts.lab import image, keys, processors, ready
from hosts.lab.accounting import CpuMeter
from hosts.lab.processes import SYSTEM_PATH, arguments, children, end_namespaces
from hosts.progress import Progress, silent
from hosts.testbed import Host, HostsTestbed, UmlTestbed

LAB_INIT = Path(__file__).resolve().parent / "lab-init"
PROXY = LAB_INIT.with_name("proxy.py")
NUMBERS = {"sender": 2, "receiver": 3}
MANAGEMENT = {role: f"10.97.0.{number}" for role, number in NUMBERS.items()}
DATA = {role: f"10.98.0.{number}" for role, number in NUMBERS.items()}
START_SECONDS = 3.0
BOOT_SECONDS = 60.0
CLOSE_SECONDS = 10.0


class UmlLab:
    """A running lab. Closing it, or the end of this process however it comes, ends all of it.

    ``testbed`` names both guests as ordinary hosts, ``processors`` where each runs, and ``ready_seconds`` how long
    it took, with the image built, until both answered by SSH.
    """

    def __init__(self, spec: UmlTestbed, guests: image.Image, pinned: dict[str, int], kernel: Path | None) -> None:
        self.processors = pinned
        self.ready_seconds = 0.0
        self._image = guests
        self._keys = keys.make(MANAGEMENT)
        self._consoles = {role: keys.MemoryFile(f"{role}.console") for role in NUMBERS}
        self._errors = keys.MemoryFile("lab")
        self._meters: dict[str, CpuMeter] = {}
        files = [*self._keys, *self._consoles.values()]
        self._process = subprocess.Popen(
            [
                *("unshare", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"])),
                *("--net", "--mount", "--ipc", "--uts", "--pid", "--fork", "--kill-child"),
                *("/bin/sh", str(LAB_INIT), str(guests.path), str(spec.memory_mb)),
                *(str(pinned[role]) for role in NUMBERS),
                str(kernel or ""),
                *(f"{file.name}={file.fd}" for file in files),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors.fd,
            # The image's lock goes along: it is in use until the lab's last process is gone.
            pass_fds=[guests.fd, *(file.fd for file in files)],
            env={"PATH": SYSTEM_PATH, "LC_ALL": "C"},
            # Ctrl-C is for the controller: the guests stay until it has put them back as they were.
            start_new_session=True,
        )
        self.testbed = HostsTestbed(
            kind="hosts",
            name=spec.name,
            sender=self._host("sender"),
            receiver=self._host("receiver"),
            shape=True,
        )

    @property
    def pid(self) -> int:
        """The lab's first process on this machine; it is in the lab's network namespace."""
        return self._process.pid

    @property
    def cpu_resolution_seconds(self) -> float:
        """How fine the difference between the last two :meth:`cpu_seconds` is, for the coarser guest."""
        return max((meter.resolution_seconds for meter in self._meters.values()), default=0.01)

    def cpu_seconds(self, role: str) -> float:
        """CPU time, in seconds, that the guest has used since it booted, as this machine accounts for it.

        Raises HarnessError when the guest is gone.
        """
        try:
            if role not in self._meters:
                self._meters[role] = CpuMeter(self._guest(role))
            return self._meters[role].seconds()
        except OSError:
            raise self.failure("the guest is gone", role) from None

    def alive(self) -> bool:
        """Whether both guests run."""
        try:
            return self._process.poll() is None and all(self._guest(role) for role in NUMBERS)
        except OSError:
            return False

    def close(self) -> None:
        """End the lab and everything in it; a second call does nothing."""
        cast(IO[bytes], self._process.stdin).close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(CLOSE_SECONDS)
        end_namespaces(self._process)
        cast(IO[bytes], self._process.stdout).close()
        for file in (*self._keys, *self._consoles.values(), self._errors):
            file.close()
        self._image.close()

    def __enter__(self) -> UmlLab:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def failure(self, what: str, role: str | None = None) -> HarnessError:
        """An error that quotes what the lab and its guests said last."""
        said = {"lab": self._errors, **self._consoles} if role is None else {role: self._consoles[role]}
        quoted = []
        for name, file in said.items():
            # A kernel that panics says first what happened, then where it was: addresses that tell nobody anything.
            lines = [line for line in file.text().splitlines() if line.strip() and "[<" not in line]
            quoted += [f"    {name}: {line}" for line in lines[-12:]]
        return HarnessError("\n".join([what, *quoted]), host=role or "the lab")

    def wait_until_ready(self, started: float, progress: Progress) -> None:
        """Wait for an SSH banner of each guest, BOOT_SECONDS at most. Raises HarnessError."""
        # Until the lab says so its process is not in its own network yet, and a probe would ask this machine's.
        inside = cast(IO[bytes], self._process.stdout)
        if not select.select([inside], [], [], BOOT_SECONDS)[0] or not inside.readline():
            raise self.failure("it could not set up its namespaces")
        with selectors.DefaultSelector() as selector:
            probes = [self._probe(role) for role in NUMBERS]
            try:
                for role, probe in zip(NUMBERS, probes, strict=True):
                    selector.register(cast(IO[bytes], probe.stdout), selectors.EVENT_READ, role)
                now = time.monotonic()
                deadline, all_started = now + BOOT_SECONDS, now + START_SECONDS
                told = len(NUMBERS) + 1
                while waiting := [str(key.data) for key in selector.get_map().values()]:
                    if len(waiting) < told:
                        told = len(waiting)
                        progress(f"booting {' and '.join(waiting)}", 1 - told / len(NUMBERS))
                    if self._process.poll() is not None or (time.monotonic() > all_started and not self.alive()):
                        raise self.failure("it ended while it booted")
                    if time.monotonic() > deadline:
                        raise self.failure(f"{' and '.join(waiting)} did not boot in {BOOT_SECONDS:.0f} s")
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
        command = [*self._proxy(), MANAGEMENT[role], "22", str(BOOT_SECONDS)]
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _proxy(self) -> Sequence[str]:
        user = [] if os.geteuid() == 0 else ["-U", "--preserve-credentials"]
        program = [sys.executable, "-I", "-S", str(PROXY), str(self.pid)]
        return ["nsenter", "-t", str(self.pid), *user, "-n", *program]

    def _host(self, role: str) -> Host:
        files = {file.name: file.path for file in self._keys}
        return Host(
            address=MANAGEMENT[role],
            data_address=ip_address(DATA[role]),
            data_interface="vec1",
            identity_file=files["id"],
            known_hosts=files["known_hosts"],
            # OpenSSH and paramiko replace %h and %p, and nothing else may hold a percent sign.
            proxy_command=shlex.join(self._proxy()).replace("%", "%%") + " %h %p",
        )

    def _guest(self, role: str) -> int:
        """The process that is the guest. Raises ProcessLookupError when there is none."""
        for init in children(self.pid):
            for child in children(init):
                if f"umid={role}" in arguments(child):
                    return child
        raise ProcessLookupError(f"the {role} is gone")


def obtain_image(spec: UmlTestbed, progress: Progress = silent) -> image.Image:
    """Make the machine ready and have the guests' image, built now if there is none. Raises HarnessError."""
    ready.make_ready(build=not image.location(spec.suite).is_dir(), progress=progress)
    return image.obtain(spec.suite, progress)


def boot(spec: UmlTestbed, progress: Progress = silent, kernel: Path | None = None) -> UmlLab:
    """Make the machine ready, build the image if needed, boot both guests and wait until they answer.

    ``kernel``: a directory with another kernel than the image's, ``linux``, and its ``modules``. Raises HarnessError,
    with nothing left behind, when any of this fails.
    """
    ready.check_memory(len(NUMBERS), spec.memory_mb)
    guests = obtain_image(spec, progress)
    started = time.monotonic()
    pinned = processors.choose(len(NUMBERS))
    if len(set(pinned)) < len(pinned):
        progress("both guests share this machine's only processor", None)
    try:
        lab = UmlLab(spec, guests, dict(zip(NUMBERS, pinned, strict=True)), kernel)
    except BaseException:
        guests.close()
        raise
    try:
        lab.wait_until_ready(started, progress)
    except BaseException:
        lab.close()
        raise
    return lab
