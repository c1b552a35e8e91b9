"""An opened testbed: booted where it is a lab, connected, its agents running, its facts known."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial

from harness.api.bench import Bench, Carried, Payload
from harness.api.prices import Known
from harness.api.steps import Price
from harness.events import Events, Note
from harness.measuring import asked, between, disturbance, provided, quieting
from harness.measuring.disturbance import Surroundings
from harness.measuring.provided import Lacking
from hosts import facts, modules, packages
from hosts.disturbance import Disturbance
from hosts.errors import HostLost, Refusal, raise_together
from hosts.lab import kinds, processors
from hosts.lab.kinds import Parts
from hosts.modules import Module
from hosts.remote import changes, restore, route
from hosts.remote.changes import Scope
from hosts.remote.host import RemoteHost
from hosts.roles import ROLES
from hosts.testbed import HostsTestbed, LabTestbed, Settled

Fresh = Callable[[], AbstractContextManager["OpenTestbed"]]
"""Opens the next testbed; the one before is closed by then."""
MASK = {"OPENSSL_ia32cap": "0:0:0:0:0", "GNUTLS_CPUID_OVERRIDE": "0x1", "NETTLE_FAT_OVERRIDE": "vendor:other"}
"""What hides AES and vector instructions from OpenSSL (OPENSSL_ia32cap(3)), from GnuTLS and from the Nettle beneath it
on x86: see ``hosts/onhost/agent/gnutls.py``."""


@dataclass(frozen=True)
class CpuMeter:
    """Busy time of both hosts (by role, in seconds) from outside them: finer than a guest's own 10 ms ticks.

    ``resolution`` is that of the difference between the last two readings, and ``elsewhere`` the share of it that may
    be neither host's or the other's; None where each host's time is its own for certain.
    """

    read: Callable[[], Mapping[str, float]]
    resolution: Callable[[], float]
    elsewhere: Callable[[], float | None] = lambda: None


@dataclass
class OpenTestbed:
    """Both hosts, ready."""

    sender: RemoteHost
    receiver: RemoteHost
    sender_facts: facts.Facts
    receiver_facts: facts.Facts
    may_shape: bool
    """Whether the harness may put a rate on the link."""
    meter: CpuMeter | None
    """None where only the hosts' own accounting exists."""
    surroundings: Surroundings
    """What else happens on both hosts; see ``harness/measuring/disturbance.py``."""
    measuring: Callable[[], AbstractContextManager[None]]
    """Entered while samples are taken: holds the processors of a lab's guests, so that nobody else measures there."""
    payloads: dict[int, Payload]
    """The sender's files by bytes, as far as they were made."""
    shared: dict[str, str]
    """What paths made once for these hosts, by name."""
    environment: dict[str, str]
    """What servers in user space are started with."""
    links: dict[int | str | None, dict[str, float | None]] = field(default_factory=dict)
    """What the link was measured to be at its rates (bit/s; None as it is), and under conditions, by their words."""
    carried: Carried = field(default_factory=Carried)
    """What outlives it, for the next one of its kind."""
    priced: dict[Known, Price] = field(default_factory=dict)
    """What steps were measured to cost since these hosts were booted or reached."""

    @property
    def payload_directory(self) -> str:
        """Where the sender's files are."""
        return f"{self.sender.directory}/payloads"

    def bench(self, suite: str, stack: ExitStack) -> Bench:
        """A bench for one suite, whose changes are undone when ``stack`` is left."""
        on_sender, on_receiver = stack.enter_context(changes.scopes(self.sender, self.receiver))
        bench = Bench(
            sender=self.sender,
            receiver=self.receiver,
            on_sender=on_sender,
            on_receiver=on_receiver,
            folder=suite,
            payload_directory=self.payload_directory,
            ports=[],
            shared=self.shared,
            facts=self.sender_facts,
            receiver_facts=self.receiver_facts,
            environment=self.environment,
            carried=self.carried,
        )
        bench.on_sender.apply(changes.directory(bench.directory))
        return bench

    def payload(self, size: int, seed: int) -> Payload:
        """The sender's file of ``size`` bytes, made when first asked for."""
        if size not in self.payloads:
            if not self.payloads:
                self.sender.check(["mkdir", "-m", "700", self.payload_directory])
            name = f"{size}.bin"
            hashed = self.sender.agent.make_payload(f"payloads/{name}", size, seed + size)
            self.payloads[size] = Payload(name, size, hashed)
        return self.payloads[size]


@dataclass(frozen=True)
class Wanted:
    """What a run wants of its testbed."""

    builds: frozenset[str] = frozenset()
    """Kernel modules of ours to build for the sender; one that cannot be is a fact with its reason."""
    receiver_builds: frozenset[str] = frozenset()
    """The same for the receiver."""
    masked: bool = False
    """User space on both hosts is to believe that its processor has no AES and no vector instructions."""
    run: str = ""
    """Its name, which others are told who want a host meanwhile."""
    offloads: Mapping[str, bool] = field(default_factory=dict)
    """Those that both data interfaces are to have."""
    unrestricted: bool = False
    """Whether AF_ALG's restriction is lifted on both hosts."""
    near: bool = False
    """Whether programs on both hosts keep to the processors beside their network cards."""
    lacking: Lacking = lambda _sender, _receiver: {}
    """Which programs they would have to have, should what is missing be installed there."""


@contextmanager
def open_testbed(spec: Settled, events: Events, wanted: Wanted | None = None) -> Iterator[OpenTestbed]:
    """Boot or connect; on leaving, hosts are as they were and a lab is gone. Raises HarnessError."""
    with testbeds(spec, events, wanted) as fresh, fresh() as opened:
        yield opened


@contextmanager
def testbeds(spec: Settled, events: Events, wanted: Wanted | None = None) -> Iterator[Fresh]:
    """Testbeds of one kind, one after the other, each as ``open_testbed`` gives it: a lab boots anew for every one.

    Hosts stay connected: what is deployed on them is what is new. Raises HarnessError.
    """
    places = _Places(wanted or Wanted())
    with ExitStack() as stack:
        if isinstance(spec, LabTestbed):
            parts = stack.enter_context(kinds.of(spec).obtain(spec, events.progress))
            places.carried = Carried(image=parts.image_path)
            names = places.wanted.builds | places.wanted.receiver_builds
            places.modules = _for_lab(parts, names, events, places.not_built)
            yield lambda: _booted(parts, places, events)
        else:
            opened = stack.enter_context(_opened(spec, places, events))
            yield lambda: nullcontext(opened)


@dataclass
class _Places:
    """What testbeds that are opened one after the other have in common."""

    wanted: Wanted
    modules: dict[str, Module] = field(default_factory=dict)
    """Those that were built here, by name."""
    not_built: dict[str, str] = field(default_factory=dict)
    facts: tuple[facts.Facts, facts.Facts] | None = None
    """Of a lab's first boot: another one has the same kernel and image, which nobody can change meanwhile."""
    carried: Carried = field(default_factory=Carried)


@contextmanager
def _booted(parts: Parts, places: _Places, events: Events) -> Iterator[OpenTestbed]:
    with parts.boot(events.progress) as lab:
        meter = CpuMeter(lab.cpu_seconds, lambda: lab.cpu_resolution_seconds, lambda: lab.cpu_elsewhere)
        pinned = list(lab.processors.values())
        if len(set(pinned)) < 2 and places.facts is None:
            events(Note("both guests share one processor: times say little"))
        with _opened(lab.testbed, places, events, meter, lab.disturbance, pinned) as opened:
            yield opened


@contextmanager
def _opened(
    hosts: HostsTestbed,
    places: _Places,
    events: Events,
    meter: CpuMeter | None = None,
    surroundings: Surroundings | None = None,
    pinned: Sequence[int] = (),
) -> Iterator[OpenTestbed]:
    with ExitStack() as stack:
        events.progress("connecting to sender and receiver")
        sender, receiver = stack.enter_context(_connected(hosts, places.wanted.run, events))
        for host in (sender, receiver):
            for line in host.recovered:
                events(Note(f"{host.name}: an earlier run had left changes: {line}"))
            for line in host.remaining:
                events(Note(f"{host.name}: an earlier run had left changes, which are not undone: {line}"))
            if places.wanted.masked:
                host.agent.set_environment(MASK)
        if places.facts is None:
            events.progress("asking both hosts what they can do")
            between.require(sender, receiver)
            with ThreadPoolExecutor(2) as pool:
                first, second = pool.map(facts.gather, (sender, receiver), ROLES)
            known = first, second
            if hosts.provision:
                known = provided.provided((sender, receiver), known, places.wanted.lacking, events)
            places.facts = allowed(hosts, known[0]), allowed(hosts, known[1])
            if hosts.quiet:
                events.progress("making both hosts quiet")
                places.facts = _quiet(stack, (sender, receiver), places.facts)
            for about in places.facts:
                said = quieting.sentence(about.role, about.shown["not_quiet"])
                if said and not pinned:  # of a lab its machine's facts tell it
                    events(Note(said))
        sender_facts, receiver_facts = _asked(stack, (sender, receiver), places.facts, places.wanted)
        opened = OpenTestbed(
            sender=sender,
            receiver=receiver,
            sender_facts=sender_facts,
            receiver_facts=receiver_facts,
            may_shape=hosts.shape,
            meter=meter,
            surroundings=surroundings or partial(_surroundings, (sender, receiver), places.facts),
            measuring=lambda: processors.measuring(pinned, events.progress) if pinned else nullcontext(),
            payloads={},
            shared={},
            environment=dict(MASK) if places.wanted.masked else {},
            carried=places.carried,
        )
        _place_modules(sender, places.facts[0], places.wanted.builds, places, events)
        _place_modules(receiver, places.facts[1], places.wanted.receiver_builds, places, events)
        try:
            yield opened
        except HostLost as error:
            lost = next((host for host in (sender, receiver) if host.name == error.host and not pinned), None)
            if lost:
                events.progress(f"looking what became of the {lost.name}")
                events(Note(restore.after_loss(lost.name, lost.host, lost.hello.boot)))
            raise


def _surroundings(
    hosts: tuple[RemoteHost, RemoteHost], known: tuple[facts.Facts, facts.Facts]
) -> dict[str, Disturbance]:
    """What sender and receiver say happened on them, by role. Raises HostLost."""
    each = zip(ROLES, hosts, known, strict=True)
    return {role: disturbance.of_host(host, about.shown["processors"], about.quotas) for role, host, about in each}


def allowed(hosts: HostsTestbed, about: facts.Facts) -> facts.Facts:
    """Its facts, by what the testbed file allows. Raises Refusal where it asks for what may cut the connection, or for
    what the host has no program for."""
    if hosts.shape and about.missing(("tc",)):
        raise Refusal(
            "shape = true, but there is no tc, which puts a rate on an interface",
            host=about.role,
            next_step=f"{packages.advice(['tc'], about.shown.get('os'))}, or shape = false",
        )
    if hosts.shared_interface:
        return replace(about, shared=None)
    if hosts.shape and about.shared:
        raise Refusal(
            f"shape = true, but {about.shared}: a rate there would be put on that too",
            host=about.role,
            next_step="name another data_interface, or shape = false; or shared_interface = true if that is meant",
        )
    return about


def _quiet(
    stack: ExitStack,
    hosts: tuple[RemoteHost, RemoteHost],
    known: tuple[facts.Facts, facts.Facts],
) -> tuple[facts.Facts, facts.Facts]:
    """Both hosts' facts once they are quiet, until ``stack`` is left."""
    first, second = (
        quieting.made(stack.enter_context(Scope(host)), about) for host, about in zip(hosts, known, strict=True)
    )
    return first, second


def _asked(
    stack: ExitStack,
    hosts: tuple[RemoteHost, RemoteHost],
    known: tuple[facts.Facts, facts.Facts],
    wanted: Wanted,
) -> tuple[facts.Facts, facts.Facts]:
    """Both hosts' facts once they are as the profile asks, until ``stack`` is left."""
    if not wanted.offloads and not wanted.unrestricted and not wanted.near:
        return known
    on_sender, on_receiver = stack.enter_context(changes.scopes(*hosts))
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(
            lambda scope, about: asked.made(scope, about, wanted.offloads, wanted.unrestricted, wanted.near),
            (on_sender, on_receiver),
            known,
        )
    return first, second


@contextmanager
def _connected(hosts: HostsTestbed, run: str, events: Events) -> Iterator[tuple[RemoteHost, RemoteHost]]:
    """Both hosts at once, and closed at once; one that answered is closed too if the other did not."""
    route.require_two(hosts)
    # a password may be asked for, and Ctrl-C ends that in this thread only
    here = bool(hosts.sender.become or hosts.receiver.become)
    wanted: list[Future[RemoteHost]] = []
    ended_by = None
    with ThreadPoolExecutor(2) as pool:
        try:
            for role in ROLES:
                reach = partial(RemoteHost, role, getattr(hosts, role), run=run)
                wanted.append(_done(reach) if here else pool.submit(reach))
            wait(wanted)
            sender, receiver = (future.result() for future in wanted)
            yield sender, receiver
        except BaseException as error:
            ended_by = error
            raise
        finally:
            _closed(pool, [future.result() for future in wanted if future.exception() is None], events, ended_by)


def _done(action: Callable[[], RemoteHost]) -> Future[RemoteHost]:
    done = Future[RemoteHost]()
    done.set_result(action())
    return done


def _closed(
    pool: ThreadPoolExecutor, hosts: Sequence[RemoteHost], events: Events, ended_by: BaseException | None = None
) -> None:
    """Close hosts at once, because of an error or without one, and tell what was left to others there.

    Raises HarnessError for all that could not be put back; a host that is lost already stays the first thing told.
    """
    closed = [pool.submit(host.close, ended_by) for host in hosts]
    wait(closed)
    for host in hosts:
        if host.left:
            events(Note(f"{host.name}: left to others, who changed or use it by now: {host.left}"))
    problems = [problem for each in closed if (problem := each.exception())]
    if problems and isinstance(ended_by, HostLost):
        problems.append(ended_by)
    raise_together(problems)


def _for_lab(parts: Parts, names: Iterable[str], events: Events, not_built: dict[str, str]) -> dict[str, Module]:
    """Our modules for the kernel that the lab is going to boot, from the cache or built now; reasons for the others."""
    built = {}
    for name in sorted(names):
        try:
            built[name] = modules.in_image(parts.target, modules.MODULES / name, events.progress)
        except Refusal as error:
            not_built[name] = _in_a_line(error)
    return built


def _place_modules(host: RemoteHost, about: facts.Facts, names: Iterable[str], places: _Places, events: Events) -> None:
    """Our modules onto a host: sent over where they were built here, else built there with its kernel's headers."""
    for name in sorted(names):
        events.progress(f"bringing the kernel module {name} to the {host.name}")
        here = places.modules.get(name)
        why = places.not_built.get(name) or about.not_built.get(name)
        if here:
            about.built[name] = host.put(here.content, f"{name}.ko")
        elif not why:
            try:
                about.built[name] = modules.on_host(host, about.shown.get("os"), modules.MODULES / name)
            except Refusal as error:
                why = _in_a_line(error)
        if why:
            about.not_built[name] = why
        about.shown[name] = why or (
            f"built from {here.package} {here.version}" if here else "built with the host's kernel headers"
        )


def _in_a_line(error: Refusal) -> str:
    return "; ".join(part for part in (error.what, error.next_step) if part)
