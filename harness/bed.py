"""An opened testbed: booted where it is a lab, connected, its agents running, its facts known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial

from harness.bench import Bench, Payload
from harness.events import Events, Note
from hosts import changes, facts
from hosts.changes import Scope
from hosts.errors import HarnessError
from hosts.kernel import build as kernel
from hosts.kernel import packaged
from hosts.lab import processors, qemu, uml
from hosts.lab.guests import Lab
from hosts.remote import RemoteHost
from hosts.ssh import SshError
from hosts.testbed import AnyTestbed, HostsTestbed, LabTestbed, QemuTestbed, UmlTestbed

SO_CRYPT = "so_crypt"
MASK = {"OPENSSL_ia32cap": "0:0:0:0:0", "GNUTLS_CPUID_OVERRIDE": "0x1", "NETTLE_FAT_OVERRIDE": "vendor:other"}
"""What hides AES and vector instructions from OpenSSL (OPENSSL_ia32cap(3)), from GnuTLS and from the Nettle beneath it
on x86: see ``hosts/agent/gnutls.py``."""


@dataclass(frozen=True)
class CpuMeter:
    """Busy time of a host (by role, in seconds) from outside it: finer than a guest's own 10 ms ticks.

    ``resolution`` is that of the difference between the last two readings.
    """

    read: Callable[[str], float]
    resolution: Callable[[], float]


@dataclass
class Bed:
    """Both hosts, ready. ``meter`` is None where only the hosts' own accounting exists."""

    sender: RemoteHost
    receiver: RemoteHost
    sender_facts: facts.Facts
    receiver_facts: facts.Facts
    may_shape: bool
    meter: CpuMeter | None
    measuring: Callable[[], AbstractContextManager[None]]
    payloads: dict[int, Payload]
    shared: dict[str, str]
    environment: dict[str, str]

    @property
    def payload_directory(self) -> str:
        """Where the sender's files are."""
        return f"{self.sender.directory}/payloads"

    def bench(self, suite: str, stack: ExitStack) -> Bench:
        """A bench for one suite, whose changes are undone when ``stack`` is left."""
        bench = Bench(
            sender=self.sender,
            receiver=self.receiver,
            on_sender=stack.enter_context(Scope(self.sender)),
            on_receiver=stack.enter_context(Scope(self.receiver)),
            folder=suite,
            payload_directory=self.payload_directory,
            ports=[],
            shared=self.shared,
            facts=self.sender_facts,
            environment=self.environment,
        )
        bench.on_sender.apply(changes.directory(bench.directory))
        return bench

    def payload(self, size: int, seed: int) -> Payload:
        """The sender's file of ``size`` bytes, made when first asked for."""
        if size not in self.payloads:
            if not self.payloads:
                self.sender.check(["mkdir", "-m", "700", self.payload_directory])
            name = f"{size}.bin"
            hashed = self.sender.call("payload", 120.0, path=f"payloads/{name}", size=size, seed=seed + size)
            self.payloads[size] = Payload(name, size, str(hashed))
        return self.payloads[size]


@contextmanager
def opened(
    spec: AnyTestbed, events: Events, builds: frozenset[str] = frozenset(), masked: bool = False
) -> Iterator[Bed]:
    """Boot or connect; on leaving, hosts are as they were and a lab is gone. Raises HarnessError.

    ``builds``: kernel modules of ours to build for the sender; one that cannot be is a fact with its reason.
    ``masked``: user space on both hosts is to believe that its processor has no AES and no vector instructions.
    """
    with ExitStack() as stack:
        meter: CpuMeter | None = None
        module: kernel.Module | None = None
        not_built: dict[str, str] = {}
        pinned: list[int] = []
        if not isinstance(spec, HostsTestbed):
            if builds:
                module = _for_lab(spec, events, not_built)
            lab = stack.enter_context(_booted(spec, events, module))
            hosts = lab.testbed
            meter = CpuMeter(lab.cpu_seconds, lambda: lab.cpu_resolution_seconds)
            pinned = list(lab.processors.values())
            if len(set(pinned)) < 2:
                events(Note("both guests share one processor: times say little"))
        else:
            hosts = spec
        events.progress("connecting to sender and receiver")
        sender, receiver = _connected(hosts, stack)
        for host in (sender, receiver):
            for line in host.recovered:
                events(Note(f"{host.name}: an earlier run had left changes: {line}"))
            if masked:
                host.call("environment", values=MASK)
        events.progress("asking both hosts what they can do")
        with ThreadPoolExecutor(2) as pool:
            sender_facts, receiver_facts = pool.map(facts.gather, (sender, receiver), ("sender", "receiver"))
        bed = Bed(
            sender=sender,
            receiver=receiver,
            sender_facts=sender_facts,
            receiver_facts=receiver_facts,
            may_shape=hosts.shape,
            meter=meter,
            measuring=lambda: processors.measuring(pinned, events.progress) if pinned else nullcontext(),
            payloads={},
            shared={},
            environment=dict(MASK) if masked else {},
        )
        _require(bed)
        if builds:
            _place_module(bed, module, not_built, events)
        yield bed


def _connected(hosts: HostsTestbed, stack: ExitStack) -> tuple[RemoteHost, RemoteHost]:
    """Both hosts at once, closed when ``stack`` is left; one that answered is closed too if the other did not."""
    with ThreadPoolExecutor(2) as pool:
        wanted = [pool.submit(RemoteHost, role, getattr(hosts, role)) for role in ("sender", "receiver")]
        try:
            wait(wanted)
        finally:
            for one in wanted:
                if one.exception() is None:  # waits for it
                    stack.enter_context(one.result())
    sender, receiver = (one.result() for one in wanted)
    return sender, receiver


def _booted(spec: LabTestbed, events: Events, module: kernel.Module | None) -> Lab:
    if isinstance(spec, QemuTestbed):
        return qemu.boot(spec, events.progress)
    return uml.boot(spec, events.progress, module.kernel if module else None)


def _for_lab(spec: LabTestbed, events: Events, not_built: dict[str, str]) -> kernel.Module | None:
    """SO_CRYPT for the kernel that the lab is going to boot, from the cache or built now; None with the reason."""
    with ExitStack() as used:
        if isinstance(spec, UmlTestbed):
            image = used.enter_context(closing(uml.obtain_image(spec, events.progress)))
            build = partial(kernel.for_uml, spec.suite, image.path)
        else:
            image, packages = qemu.obtain(spec, events.progress)
            used.callback(image.close)
            used.callback(packages.close)
            build = partial(packaged.module, image.path, packages)
        try:
            return build(events.progress)
        except HarnessError as error:
            not_built[SO_CRYPT] = _in_a_line(error)
            return None


def _place_module(bed: Bed, module: kernel.Module | None, not_built: dict[str, str], events: Events) -> None:
    """SO_CRYPT onto the sender: sent over where it was built here, else built there with the kernel's headers."""
    about = bed.sender_facts
    events.progress("bringing the kernel module so_crypt to the sender")
    if module:
        about.built[SO_CRYPT] = bed.sender.put(module.path.read_bytes(), kernel.MODULE)
    elif not not_built:
        try:
            about.built[SO_CRYPT] = kernel.on_host(bed.sender, about.shown.get("os"))
        except SshError:
            raise
        except HarnessError as error:
            not_built[SO_CRYPT] = _in_a_line(error)
    about.not_built.update(not_built)
    about.shown["so_crypt"] = not_built.get(SO_CRYPT) or (
        f"built from {module.package} {module.version}" if module else "built with the host's kernel headers"
    )


def _in_a_line(error: HarnessError) -> str:
    return "; ".join(part for part in (error.what, error.next_step) if part)


def _require(bed: Bed) -> None:
    """What no path can do without."""
    for facts_, host in ((bed.sender_facts, bed.sender), (bed.receiver_facts, bed.receiver)):
        if host.call("address", address=str(host.host.data_address), interface=host.host.data_interface):
            continue
        raise HarnessError(
            f"{host.host.data_address} is not an address of {host.host.data_interface}",
            host=facts_.role,
            next_step="check data_address and data_interface in the testbed file",
        )
