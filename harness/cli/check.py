"""What a person must know before anything is measured on two hosts, or changed there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from harness.api.path import DataPath
from harness.cli.abilities import INDENT, table
from harness.events import Events
from harness.measuring import between, reached, way
from harness.measuring.opened import allowed
from harness.measuring.reached import Reached
from harness.measuring.way import Found
from harness.plan import at_size
from harness.profile import Profile, TransferSuite
from harness.run import answers, foreseen
from harness.run.answers import KERNEL_CRYPTO, Answer
from harness.run.foreseen import Plan
from hosts import modules, packages, provision
from hosts.errors import ConfigError, Refusal
from hosts.facts import Facts
from hosts.onhost.agent.values import CommandChange, DirectoryChange, InsmodChange, ModuleChange, ProcessChange
from hosts.remote import route
from hosts.remote.foresight import Foreseen
from hosts.remote.host import RemoteHost
from hosts.roles import ROLES
from hosts.testbed import Host, Settled

SPARE_BYTES = 50_000_000
"""What servers, logs and our own program take beside the files."""
MARKS = {True: "ok", False: "NO", None: "will be tried"}


@dataclass
class Checked:
    """What a check found: ``lines`` to read, and what to do ``next``; nothing to do where all is well."""

    lines: list[str] = field(default_factory=list)
    next: list[str] = field(default_factory=list)


def check(spec: Settled, profiles: Sequence[Profile], paths: Mapping[str, DataPath], events: Events) -> Checked:
    """Look at both hosts; nothing is changed there. Raises HarnessError where a lab cannot be had."""
    told = Checked()
    with reached.reached(spec, events) as found:
        for role in ROLES:
            told.lines += _host(found, role, told)
        if found.lost:
            return told
        events.progress("trying the way between them")
        told.lines += ["", "the way between the data interfaces:", *_found(_between(found, profiles, paths), told)]
        lacks = answers.lacking(
            profiles,
            paths,
            found.facts["sender"],
            found.facts["receiver"],
            shapes=found.testbed.shape,
            builds=not found.lab,
        )
        told.lines += ["", *_packages(found, lacks, found.testbed.provision, told)]
        provided = found.testbed.provision
        now = _as_run(found, {}, paths, Checked() if provided else told)
        then = _as_run(found, lacks, paths, told if provided else Checked())
        for profile in profiles:
            at_once = answers.answers(profile, paths, *now, built=True, shapes=found.testbed.shape)
            later = answers.answers(profile, paths, *then, built=True, shapes=found.testbed.shape)
            told.lines += ["", *of_profile(profile, at_once, later)]
        events.progress("asking what a run would change")
        plan = foreseen.plan(profiles, paths, found.opened(*(then if provided else now)), found.testbed.quiet)
        told.lines += ["", *_plan(found, plan, told)]
    return told


def _host(found: Reached, role: str, told: Checked) -> list[str]:
    """Who it is and how it is reached, or why it is not."""
    place = getattr(found.testbed, role)
    if role in found.lost:
        error = found.lost[role]
        told.next.append(f"{role}: {error.next_step or 'see why it cannot be used'}")
        return [f"{role}: NOT REACHED by {_by(role, place)}: {error.what}"]
    host, facts = found.hosts[role], found.facts[role]
    who = "root" if host.uid == 0 else f"user {host.uid}, not root: no IPsec, kernel modules or shaping"
    lines = [
        f"{role}: reached by {_by(role, place)} as {who}",
        f"{INDENT}{facts.shown.get('os') or 'unknown system'}, kernel {facts.kernel}, Python {host.python_version}",
    ]
    lines += [f"{INDENT}left by an earlier run, and put back when the next one begins: {one}" for one in host.recovered]
    lines += [f"{INDENT}left by an earlier run, and not put back by the next one: {one}" for one in host.remaining]
    return lines


def _by(role: str, place: Host) -> str:
    """The way to a host, as its testbed file and the SSH configuration have it."""
    try:
        way_there = route.resolve(role, place)
    except ConfigError:
        return route.typed(place)
    through = " and ".join(way_there.jumps) or way_there.proxy
    return f"{route.typed(place)} ({way_there}{f' through {through}' if through else ''})"


def _between(found: Reached, profiles: Sequence[Profile], paths: Mapping[str, DataPath]) -> list[Found]:
    sender, receiver = found.hosts["sender"], found.hosts["receiver"]
    lines = [_placed(sender, receiver), *way.try_ports(sender, receiver)]
    suites = [suite for one in profiles for suite in one.suites if isinstance(suite, TransferSuite)]
    esp = any(paths[name].speaks_esp for suite in suites for name in suite.paths if name in paths)
    lines += way.clocks({role: found.facts[role].shown["clock"] for role in ROLES})
    if esp:
        try:
            lines += way.try_esp(sender, receiver)
        except Refusal as error:
            lines.append(Found(f"ESP (IP protocol {way.ESP})", None, error.what))
    lines.append(way.mtus({role: found.facts[role].shown["link"]["mtu"] for role in ROLES}))
    for host, needed in zip((sender, receiver), room_needed(profiles), strict=True):
        lines.append(way.room(host, needed))
    return lines


def _placed(sender: RemoteHost, receiver: RemoteHost) -> Found:
    what = "addresses and routes"
    try:
        between.placed(sender, receiver)
    except Refusal as error:
        return Found(what, False, f"{error.host}: {error.what}", error.next_step)
    return Found(what, True, "as the testbed file names them")


def room_needed(profiles: Iterable[Profile]) -> tuple[int, int]:
    """Bytes of files that sender and receiver hold at once in these profiles. Pure.

    The sender keeps a file of each size, the receiver those of a block.
    """
    sending = receiving = 0
    for profile in profiles:
        suites = [suite for suite in profile.suites if isinstance(suite, TransferSuite)]
        sending = max(sending, sum({size for suite in suites for size in suite.sizes}))
        for suite in suites:
            blocks = [size * len(at_size(suite, size, frozenset())) for size in suite.sizes if suite.requests == 1]
            receiving = max(receiving, *blocks, 0)
    return sending + SPARE_BYTES, receiving + SPARE_BYTES


def _found(rows: Iterable[Found], told: Checked) -> list[str]:
    some = list(rows)
    told.next += [row.next_step for row in some if row.good is False and row.next_step]
    return table([[row.what, MARKS[row.good], row.said] for row in some])


def _packages(found: Reached, lacks: Mapping[str, frozenset[str]], provision_: bool, told: Checked) -> list[str]:
    """What is missing, and what installing it would do, by host."""
    if not any(lacks.values()):
        return ["packages: none is missing"]
    lines = [f"packages that {'would be installed' if provision_ else 'are missing; --provision installs them'}:"]
    for role in ROLES:
        facts = found.facts[role]
        wanted = packages.names(lacks[role], facts.kernel, facts.shown.get("os"))
        lines.append(f"{INDENT}{role}: {' '.join(wanted) if wanted else 'none'}")
        if wanted:
            lines.append(f"{INDENT * 2}{_transaction(found.hosts[role], facts, wanted, told)}")
    if not provision_:
        told.next.append("install the missing packages, or give --provision")
    return lines


def _transaction(host: RemoteHost, facts: Facts, wanted: Sequence[str], told: Checked) -> str:
    """What the host's package manager would do, as far as it knows now."""
    try:
        by = provision.manager(host, facts.shown.get("os"))
        due = provision.foreseen(host, by, wanted)
    except Refusal as error:
        return error.what
    if due.error or due.unknown:
        why = due.error or f"not {', '.join(due.unknown)}"
        return f"{by.name} does not know all of them now ({why}); --provision refreshes its lists first"
    if due.refused:
        told.next.append(f"{host.name}: {due.refused} to install {' '.join(wanted)}, which --provision refuses to do")
        return f"{by.name} cannot just add them: {due.refused}"
    return f"{by.name} would add {' '.join(f'{name} {version}' for name, version in due.installs.items())}"


def _supposed(found: Reached, role: str, programs: Iterable[str], paths: Mapping[str, DataPath]) -> Facts:
    """A host as a run would have it: with what would be installed, and our modules where they can be built."""
    facts = answers.supposed(found.facts[role], programs)
    sends = role == "sender"
    ours = {name for path in paths.values() for name in (path.builds if sends else path.receiver_builds)}
    if not found.lab and (absent := facts.missing(modules.BUILT_WITH)):
        why = f"it is built on the {role}, which has no {', '.join(absent)}"
        return replace(facts, not_built=facts.not_built | dict.fromkeys(ours, why))
    return replace(facts, built=facts.built | {name: f"{found.hosts[role].directory}/{name}.ko" for name in ours})


def _as_run(
    found: Reached, installed: Mapping[str, Iterable[str]], paths: Mapping[str, DataPath], told: Checked
) -> list[Facts]:
    """Both hosts as a run would have them, with what is installed by then."""
    return [_allowed(found, _supposed(found, role, installed.get(role, ()), paths), told) for role in ROLES]


def _allowed(found: Reached, about: Facts, told: Checked) -> Facts:
    """A host's facts by what the testbed file allows; what it asks for and a run would refuse is told."""
    try:
        return allowed(found.testbed, about)
    except Refusal as error:
        told.lines += ["", f"a run would be refused: the {about.role}: {error.what}"]
        told.next.append(error.next_step or error.what)
        return about


def of_profile(profile: Profile, now: Sequence[Answer], then: Sequence[Answer]) -> list[str]:
    """How much of a profile can run, now and with what is missing installed; why the rest cannot even then. Pure."""
    possible, later = (sum(answer.reason is None for answer in found) for found in (now, then))
    more = f" now, {later} once the missing packages are installed" if later > possible else ""
    stopped: dict[str, list[str]] = {}
    for answer in then:
        if answer.reason is not None:
            how = answer.path.removeprefix(KERNEL_CRYPTO)
            what = answer.path if how == answer.path else f"{answer.cipher}{how}"
            stopped.setdefault(answer.reason, []).append(f"{answer.suite}/{what}")
    lines = [f"profile {profile.name}: {possible} of {len(now)} paths can run{more}", *_of_question(profile, then)]
    return lines + [f"{INDENT}not {', '.join(names)}: {reason}" for reason, names in stopped.items()]


def _of_question(profile: Profile, then: Sequence[Answer]) -> list[str]:
    """Whether what a profile is about can be answered at all."""
    asked = profile.question
    if asked is None:
        return []
    paths = (asked.candidate, asked.baseline)
    missing = {one.path: one.reason for one in then if one.suite in asked.suites and one.path in paths and one.reason}
    said = " and ".join(f"{path} cannot run" for path in missing)
    how = f"CANNOT be answered there: {said}" if missing else "can be answered"
    return [f"{INDENT}its question, {asked.candidate} against {asked.baseline}, {how}"]


def _plan(found: Reached, plan: Plan, told: Checked) -> list[str]:
    """The changes of both hosts, as a diff has them."""
    lines = ["a run would change this, and undo it in reverse order:"]
    for role in ROLES:
        directory = found.hosts[role].directory
        lines += [f"{INDENT}{role}:", f"{INDENT * 2}+ {directory.rpartition('-')[0]}-…, where all its files are"]
        lines += [f"{INDENT * 2}{line}" for line in changed(plan.of(role), directory)]
    for why in dict.fromkeys(plan.failing.values()):
        what = ", ".join(name for name, its in plan.failing.items() if its == why)
        told.next.append(f"{what} would fail: {why}")
    return lines


def changed(foreseen: Iterable[Foreseen], directory: str) -> list[str]:
    """Changes as the lines of a diff, the like of each once; none within the run's ``directory``. Pure."""
    loads: dict[str, bool] = {}
    lines: dict[str, None] = {}
    for one in foreseen:
        change = one.change
        if one.refused:
            lines[f"! {change.what}: refused: {one.refused}"] = None
        elif isinstance(change, ModuleChange):
            loads |= dict.fromkeys(one.loads, change.sticky)
        elif isinstance(change, InsmodChange):
            lines[f"+ kernel module of ours: {change.name}"] = None
        elif isinstance(change, ProcessChange):
            lines[f"+ process: {change.what}"] = None
        elif isinstance(change, CommandChange) and change.stdin is None:
            lines[f"+ {alike(shlex.join(change.apply))}"] = None
        elif not (isinstance(change, DirectoryChange) and change.path.startswith(f"{directory}/")):
            lines[f"+ {alike(change.what)}"] = None
    passing = [name for name, stays in loads.items() if not stays]
    staying = [name for name, stays in loads.items() if stays]
    loaded = [f"+ kernel modules: {' '.join(passing)}"] if passing else []
    loaded += [f"+ kernel modules that the kernel may keep until it is booted: {' '.join(staying)}"] if staying else []
    return [*loaded, *lines]


def alike(text: str) -> str:
    """Without what differs from one time to another: ports, and numbers that are drawn anew."""
    return re.sub(r"\b([sd]port|reqid|SA) (0x[0-9a-f]+|\d+)", r"\1 …", text)


def status(told: Checked) -> int:
    """The exit status: 0 where nothing is left to do."""
    return 1 if told.next else 0


def lines(told: Checked, run: str) -> list[str]:
    """All of it, what to do last. ``run``: the command that measures."""
    last = [f"{INDENT}- {step}" for step in dict.fromkeys(told.next)]
    if not last:
        return [*told.lines, "", f"nothing is in the way; next: {run}"]
    return [*told.lines, "", "next:", *last, f"then check again, or measure what can run: {run}"]
