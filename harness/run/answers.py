"""Pure: which paths of a profile two hosts can run, why not the others, and which programs would change that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from harness.api.path import DataPath
from harness.ciphers.interfaces import INTERFACES, Interface
from harness.ciphers.table import CIPHERS
from harness.profile import CryptoSuite, Profile
from harness.run import feasible
from harness.servers import interfaces
from hosts import modules, packages
from hosts.facts import Facts

KERNEL_CRYPTO = "kernel crypto"
ALWAYS_OF_USE = ("strace",)
"""Without these a sender's transfers are measured, with less of their proof."""
SHAPES = ("tc",)
NEWEST = "99.0"
"""The version that a program is supposed to have once it is installed."""


@dataclass(frozen=True)
class Answer:
    """Whether one path of a suite can run on two hosts; ``reason`` says why not.

    ``unbuilt`` are kernel modules of ours that it needs and that nobody tried to build: it can run once they are there.
    """

    suite: str
    path: str
    cipher: str
    driver: str
    reason: str | None
    unbuilt: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.reason is not None:
            return f"cannot run: {self.reason}"
        if self.unbuilt:
            return f"can run once {', '.join(self.unbuilt)} is built, which a run does first (--build tries it now)"
        return "can run"


def answers(
    profile: Profile, paths: Mapping[str, DataPath], sender: Facts, receiver: Facts, *, built: bool, shapes: bool
) -> list[Answer]:
    """An answer for each path of each suite. ``built``: modules of ours were built for the sender, or tried to be;
    ``shapes``: the testbed lets its link be changed.
    """
    sender, receiver = as_asked(profile, sender), as_asked(profile, receiver)
    found = []
    for suite in profile.suites:
        if isinstance(suite, CryptoSuite):
            found += [
                _kernel_crypto(suite, INTERFACES[interface], cipher, sender, built)
                for interface in suite.interfaces
                for cipher in suite.ciphers
            ]
            continue
        for name in suite.paths:
            path = paths.get(name)
            if path is None:
                found.append(
                    Answer(suite.name, name, suite.cipher, suite.driver, f"no data path is called {name} here")
                )
                continue
            unbuilt, unbuilt_there = ((), ()) if built else (path.builds, path.receiver_builds)
            supposed, supposed_there = _with_modules(sender, unbuilt), _with_modules(receiver, unbuilt_there)
            cipher, driver = ("none", "any") if path.clear else (suite.cipher, suite.driver)
            fewest = min(suite.workers, default=None)
            asked = feasible.parameters(path, suite, supposed, fewest)
            kept = feasible.link_kept(suite, shapes)
            reason = kept or feasible.why_not(path, asked, supposed, supposed_there)
            named = tuple(dict.fromkeys([*unbuilt, *unbuilt_there]))
            found.append(Answer(suite.name, name, cipher, driver, reason, named))
    return found


def as_asked(profile: Profile, facts: Facts) -> Facts:
    """The same host once what a profile asks of it is done."""
    return replace(facts, af_alg=facts.af_alg.lifted()) if profile.af_alg == "unrestricted" else facts


def _kernel_crypto(suite: CryptoSuite, interface: Interface, cipher: str, sender: Facts, built: bool) -> Answer:
    unbuilt = () if built else interface.builds
    reason = interfaces.why_not(interface, CIPHERS[cipher], _with_modules(sender, unbuilt))
    return Answer(suite.name, f"{KERNEL_CRYPTO} by {interface.name}", cipher, ", ".join(suite.drivers), reason, unbuilt)


def _with_modules(sender: Facts, names: Iterable[str]) -> Facts:
    """The same host with these modules of ours."""
    return replace(sender, built=sender.built | dict.fromkeys(names, ""))


def lacking(
    profiles: Iterable[Profile],
    paths: Mapping[str, DataPath],
    sender: Facts,
    receiver: Facts,
    *,
    shapes: bool,
    builds: bool,
) -> dict[str, frozenset[str]]:
    """Programs that hosts lack, by role, in the names of ``facts.PROGRAMS``.

    What would have to be installed for as much of the profiles as these hosts' kernels allow.

    A program is needed where supposing that it is there changes an answer, so that a path's own words decide.
    ``shapes``: the link may be put to a rate; ``builds``: modules of ours are built on the hosts themselves.
    """
    wanted = list(profiles)
    found: dict[str, set[str]] = {"sender": set(), "receiver": set()}
    if any(not isinstance(suite, CryptoSuite) for profile in wanted for suite in profile.suites):
        found["sender"] |= set(ALWAYS_OF_USE)
        if shapes:
            found["sender"] |= set(SHAPES)
            found["receiver"] |= set(SHAPES)
    if any(isinstance(suite, CryptoSuite) and suite.reference_buffers for one in wanted for suite in one.suites):
        found["sender"].add("openssl")
    if builds and any(built(one, paths) for one in wanted):
        found["sender"] |= set(modules.BUILT_WITH)
    if builds and any(built_there(one, paths) for one in wanted):
        found["receiver"] |= set(modules.BUILT_WITH)
    for role, facts in (("sender", sender), ("receiver", receiver)):
        found[role] = {name for name in found[role] if not facts.programs.get(name)}
    while more := {role: _more(wanted, paths, sender, receiver, found, role) for role in found}:
        if not any(more.values()):
            break
        for role, names in more.items():
            found[role] |= names
    return {role: frozenset(names) for role, names in found.items()}


def supposed(facts: Facts, programs: Iterable[str]) -> Facts:
    """The same host with these programs."""
    versions: dict[str, str | None] = {name: f"{name}/{NEWEST}" for name in programs}
    if "libcurl" in versions:
        package = packages.names(["libcurl"], facts.kernel, facts.shown.get("os"))[0]
        versions["libcurl"] = f"libcurl/{NEWEST} {'GnuTLS' if 'gnutls' in package else 'OpenSSL'}/{NEWEST}"
    return replace(facts, programs=facts.programs | versions)


def _more(
    profiles: list[Profile],
    paths: Mapping[str, DataPath],
    sender: Facts,
    receiver: Facts,
    found: Mapping[str, set[str]],
    role: str,
) -> set[str]:
    """Programs of one host that change an answer beyond those that were found."""
    both = {"sender": supposed(sender, found["sender"]), "receiver": supposed(receiver, found["receiver"])}
    before = _reasons(profiles, paths, **both)
    absent = [name for name, version in both[role].programs.items() if not version]
    return {
        name for name in absent if _reasons(profiles, paths, **{**both, role: supposed(both[role], [name])}) != before
    }


def _reasons(
    profiles: Iterable[Profile], paths: Mapping[str, DataPath], sender: Facts, receiver: Facts
) -> list[str | None]:
    asked = (answers(profile, paths, sender, receiver, built=False, shapes=True) for profile in profiles)
    return [one.reason for each in asked for one in each]


def built(profile: Profile, paths: Mapping[str, DataPath]) -> frozenset[str]:
    """Kernel modules of ours that its cells need."""
    by_paths = {module for name in _paths(profile) if name in paths for module in paths[name].builds}
    asked = {name for suite in profile.suites if isinstance(suite, CryptoSuite) for name in suite.interfaces}
    return frozenset(by_paths | {module for name in asked for module in INTERFACES[name].builds})


def _paths(profile: Profile) -> list[str]:
    suites = [suite for suite in profile.suites if not isinstance(suite, CryptoSuite)]
    return [name for suite in suites for name in (*suite.paths, suite.sent_by) if name]


def built_there(profile: Profile, paths: Mapping[str, DataPath]) -> frozenset[str]:
    """The same that the receiver needs."""
    return frozenset(module for name in _paths(profile) if name in paths for module in paths[name].receiver_builds)
