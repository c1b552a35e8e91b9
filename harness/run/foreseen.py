"""The changes that profiles would make on two hosts, foreseen by the code that makes them: see ``hosts/remote``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial

from harness.api.bench import Bench, Carried
from harness.api.parameters import Parameters
from harness.api.path import DataPath
from harness.api.prices import Asked
from harness.api.steps import Price
from harness.ciphers.interfaces import INTERFACES
from harness.ciphers.table import CIPHERS
from harness.costs.explanation import Explanation
from harness.events import Events
from harness.measuring import asked, conditions, disk, link, quieting, steering
from harness.measuring.opened import OpenTestbed
from harness.profile import CryptoSuite, Profile, TransferSuite
from harness.run import answers, feasible
from harness.servers import datapath, interfaces
from hosts.errors import Refusal
from hosts.facts import Facts
from hosts.remote.agent import AgentError
from hosts.remote.changes import Scope
from hosts.remote.foresight import Foreseen, OnlyTrying, foresight
from hosts.remote.host import RemoteHost


@dataclass
class Plan:
    """What would be changed on both hosts, in order, and what would fail or cannot be told."""

    sender: list[Foreseen] = field(default_factory=list)
    receiver: list[Foreseen] = field(default_factory=list)
    failing: dict[str, str] = field(default_factory=dict)
    """Why what a suite needs would be refused, by what it is."""

    def of(self, role: str) -> list[Foreseen]:
        """The changes of a host, by its role."""
        return self.sender if role == "sender" else self.receiver


def plan(profiles: Iterable[Profile], paths: Mapping[str, DataPath], opened: OpenTestbed, quiet: bool = False) -> Plan:
    """Deploy what can run of every suite on hosts that make no change, made quiet where asked. Raises HostLost."""
    told = Plan()
    # what is supposed to have been made there is nobody else's
    opened = replace(opened, shared=dict(opened.shared), payloads={}, carried=Carried(), priced={})
    with foresight(opened.sender) as sender, foresight(opened.receiver) as receiver:
        for profile in profiles:
            for host, about in ((opened.sender, opened.sender_facts), (opened.receiver, opened.receiver_facts)):
                if quiet:
                    _attempt(told, f"a quiet {about.role}", partial(_quieted, host, about))
                _attempt(told, f"what {profile.name} asks of the {about.role}", partial(_asked, host, about, profile))
            as_asked = replace(
                opened,
                sender_facts=answers.as_asked(profile, opened.sender_facts),
                receiver_facts=answers.as_asked(profile, opened.receiver_facts),
            )
            for suite in profile.suites:
                _attempt(told, suite.name, partial(_suite, profile, suite, paths, as_asked, told))
        told.sender, told.receiver = sender.changes, receiver.changes
    return told


def _quieted(host: RemoteHost, about: Facts) -> None:
    with Scope(host) as scope:
        quieting.made(scope, about)


def _asked(host: RemoteHost, about: Facts, profile: Profile) -> None:
    with Scope(host) as scope:
        asked.made(scope, about, profile.offloads, profile.af_alg == "unrestricted", profile.numa == "card")


def _attempt(told: Plan, what: str, action: Callable[[], object]) -> None:
    """Do it as far as it goes. What only trying can tell is no failure."""
    try:
        action()
    except OnlyTrying:
        return
    except Refusal as error:
        told.failing.setdefault(what, error.what)
    except (ValueError, LookupError, TypeError):
        return  # an answer that was supposed did not fit


def _suite(
    profile: Profile,
    suite: TransferSuite | CryptoSuite,
    paths: Mapping[str, DataPath],
    opened: OpenTestbed,
    told: Plan,
) -> None:
    with ExitStack() as stack:
        bench = opened.bench(suite.name, stack)
        if isinstance(suite, TransferSuite):
            _transfers(profile, suite, paths, opened, bench, told)
            return
        for interface in (INTERFACES[name] for name in suite.interfaces):
            for name in suite.ciphers:
                if interfaces.why_not(interface, CIPHERS[name], bench.facts) is None:
                    ready = partial(datapath.make_ready, bench, interface, CIPHERS[name])
                    _attempt(told, f"{suite.name}: {name} by {interface.name}", ready)


def _transfers(
    profile: Profile,
    suite: TransferSuite,
    paths: Mapping[str, DataPath],
    opened: OpenTestbed,
    bench: Bench,
    told: Plan,
) -> None:
    """As ``transfers.Transfers`` prepares a round: the link, every path, prices, rehearsals."""
    if feasible.link_kept(suite, opened.may_shape):
        return
    if suite.link_rate is not None and opened.may_shape:
        link.shape(bench, suite.link_rate)
    if far := conditions.asked(suite):
        conditions.make(bench, far, suite.link_rate)
    if suite.files == "disk" and disk.missing(opened.sender_facts, opened.receiver_facts) is None:
        bench = disk.prepare(bench)
    if suite.receive_on:
        steering.make(bench, suite.receive_on)
    explanation = Explanation(profile, suite, dict(paths), Events())
    fitting = [number for number in suite.workers if number <= len(opened.sender_facts.usable)]
    most = max(fitting or suite.workers, default=None)
    for name in suite.paths:
        path = paths[name]
        asked = feasible.parameters(path, suite, opened.sender_facts, most)
        if feasible.why_not(path, asked, opened.sender_facts, opened.receiver_facts):
            continue
        _attempt(told, f"{suite.name}: {name}", partial(_deployed, bench, path, asked))
        steps = path.steps(asked)
        if steps is None or suite.requests > 1 or suite.connections or suite.files == "disk":
            continue
        names = {name for source in path.prices for name in (*source.names, *source.stands_on)}
        known = dict.fromkeys({*names, *steps.names(), datapath.COUNT}, Price(0.0, 1.0))
        parameters = replace(suite.parameters, driver=asked.driver)
        for source in path.prices:
            for price in source.names:  # one by one: what is behind an answer of the first would not be seen
                mine = Asked(bench, parameters, frozenset({price}), known)
                _explain(told, f"{suite.name}: prices of {name}", partial(source.measure, mine))
        if suite.driver == "any" and not explanation.clear(name, steps):
            stage = partial(explanation.stage, bench, name, steps, known, None)
            _explain(told, f"{suite.name}: rehearsal of {name}", stage)


def _deployed(bench: Bench, path: DataPath, asked: Parameters) -> None:
    """A path, and what each of its transfers changes."""
    for change in path.deploy(bench, asked).during:
        bench.on_sender.apply(change)


def _explain(told: Plan, what: str, action: Callable[[], object]) -> None:
    """What takes a program's words apart has nothing of them here: only what the host refuses would fail."""

    def refused() -> None:
        try:
            action()
        except AgentError:
            raise
        except Refusal:
            return

    _attempt(told, what, refused)
