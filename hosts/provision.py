"""Packages that a host lacks: installed by its own manager without starting anything, remembered there, and taken away.

What was installed outlives a run and a boot: it is remembered in ``PLACE`` on the host, written before the transaction,
so that ``deprovision`` removes just that from any machine.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace

from hosts import managers
from hosts.errors import Refusal
from hosts.managers import Installed, Manager, Transaction
from hosts.remote import changes
from hosts.remote.changes import Scope
from hosts.remote.host import RemoteHost

PLACE = "/var/lib/pathproof/packages.json"
POLICY = "/usr/sbin/policy-rc.d"
"""What Debian asks before a package's service is started (invoke-rc.d(8)): 101 forbids it."""
DENIED = 101
POLICY_TEXT = """\
#!/bin/sh
# Made by pathproof: what it installs does not start. It removes this file afterwards; without it, this forbids nothing.
[ -e {directory} ] || exit 0
exit 101
"""
OURS = POLICY_TEXT.partition("{")[0]
SECONDS = 1500.0
SIMULATED_SECONDS = 120.0
WRITE = 'umask 022 && mkdir -p "${1%/*}" && printf "%s\\n" "$2" >"$1.new" && sync "$1.new" && mv "$1.new" "$1"'
FORGET = 'rm -f "$1" && { rmdir "${1%/*}" 2>/dev/null || true; }'
DISABLE = """\
[ -d /run/systemd/system ] || exit 0
find_units='s,^\\(/usr\\)*/lib/systemd/system/\\([^/]*\\.\\(service\\|socket\\|timer\\)\\)$,\\2,p'
dpkg -L "$@" 2>/dev/null | sed -n "$find_units" | sort -u |
while read -r unit; do
    case $unit in *@.*) ;; *) systemctl is-enabled --quiet "$unit" && systemctl disable --quiet "$unit" ;; esac
done
true
"""
"""A package's services would start with the next boot: Debian enables them."""


@dataclass(frozen=True)
class Remembered:
    """What ``PLACE`` says: versions of packages by name; those of them that had settings there before; and those of an
    installation after which ``_settling`` is still due."""

    manager: str | None = None
    packages: dict[str, str] = field(default_factory=dict)
    settings: list[str] = field(default_factory=list)
    unsettled: list[str] = field(default_factory=list)

    @property
    def by(self) -> Manager | None:
        """The package manager; None where nothing is remembered."""
        return next((one for one in (managers.APT, managers.DNF) if one.name == self.manager), None)


@dataclass(frozen=True)
class Provided:
    """What ``provision`` installed, versions by name, and what the host's sources of packages do not have."""

    installed: dict[str, str] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Removed:
    """What ``deprovision`` removed, and what it left, with those for whom it stays (nobody: somebody asked for it)."""

    packages: tuple[str, ...]
    kept: dict[str, tuple[str, ...]]


def manager(host: RemoteHost, os_name: str | None) -> Manager:
    """The host's package manager. Raises Refusal where it cannot be used."""
    found = managers.of(os_name)
    if found is None:
        raise Refusal(
            f"packages can be installed by apt and dnf only, and this is {os_name or 'an unknown system'}",
            host=host.name,
            next_step="install them by hand, and leave out --provision",
        )
    return found


def foreseen(host: RemoteHost, by: Manager, packages: Sequence[str]) -> Transaction:
    """What installing these packages would do, by what the host knows of packages now. Changes nothing."""
    return _simulated(host, by, by.simulate, packages)


def provision(host: RemoteHost, by: Manager, packages: Sequence[str]) -> Provided:
    """Install those of these packages that are missing and can be had, with what they need.

    Raises Refusal where one of them is half installed, where that would upgrade or remove anything, or fails.
    """
    before = installed(host, by)
    if halves := before.unfinished.intersection(packages):
        raise Refusal(
            f"{', '.join(sorted(halves))} is there, but not wholly installed",
            host=host.name,
            next_step="python -m harness deprovision removes what was installed by --provision; "
            "on Debian, dpkg --configure -a goes on with the rest",
        )
    wanted = [name for name in packages if name not in before.versions]
    if not wanted:
        return Provided()
    _root(host, "install")
    due = foreseen(host, by, wanted)
    if due.error or due.unknown:
        _made(host, by, by.refresh, f"{by.name} could not learn which packages there are")
        due = foreseen(host, by, wanted)
    unknown = due.unknown
    if unknown:
        wanted = [name for name in wanted if name not in unknown]
        due = foreseen(host, by, wanted) if wanted else Transaction()
    if why := due.error or due.refused or (f"it does not know {' '.join(due.unknown)}" if due.unknown else None):
        raise Refusal(
            f"{' '.join(wanted)} cannot be installed by {by.name}: {why}",
            host=host.name,
            commands=[" ".join((*by.simulate, *wanted))],
            next_step="bring the host to where that would only add packages, or install them by hand",
        )
    if not due.installs:
        return Provided({}, unknown)
    known = _remembered(host)
    settings = sorted({*known.settings, *(before.settings & due.installs.keys())})
    # all of them are marked: one may have been asked for by another's name, which it provides
    unsettled = sorted({*known.unsettled, *due.installs})
    known = Remembered(by.name, known.packages | due.installs, settings, unsettled)
    scope = Scope(host)
    if by is managers.APT:
        _nothing_starts(host, scope)
    host.check(_remembering(known))
    after = [*_settling(by, unsettled), _remembering(replace(known, unsettled=[]))]
    _made(host, by, (*by.install, *wanted), f"installing {' '.join(wanted)} failed", after)
    scope.undo()  # not where it failed: it may still be at work, which the host's guardian waits for
    now = installed(host, by).versions
    if absent := sorted(due.installs.keys() - now.keys()):
        raise Refusal(
            f"{by.name} was quiet, but {', '.join(absent)} is not installed",
            host=host.name,
            next_step="python -m harness deprovision removes what is",
        )
    return Provided({name: now[name] for name in due.installs}, unknown)


def deprovision(host: RemoteHost) -> Removed:
    """Remove what ``provision`` installed, but for what others need by now or somebody asked for; forget all of it.

    Raises Refusal where more than that would go, or it fails, or the manager does not tell; then nothing is forgotten.
    """
    settle(host)
    known = _remembered(host)
    by = known.by
    if by is None:
        return Removed((), {})
    _root(host, "remove")
    there = installed(host, by).some
    ours = [name for name in known.packages if name in there]
    kept = _kept(host, by, ours) if ours else {}
    going = [name for name in ours if name not in kept]
    if going:
        due = _if_removed(host, by, going)
        if more := sorted({*due.removes} - {*going} | {*due.installs} | {*due.upgrades}):
            raise Refusal(
                f"removing {' '.join(going)} would also change {', '.join(more)}",
                host=host.name,
                next_step=f"see what {' '.join((*by.simulate_removal, *going))} says there",
            )
        _made(host, by, (*_removal(by, known.settings, going), *going), f"removing {' '.join(going)} failed")
        if left := sorted({*going} & installed(host, by).some):
            raise Refusal(f"{by.name} was quiet, but {', '.join(left)} is still installed", host=host.name)
    host.check(["sh", "-c", FORGET, "sh", PLACE])
    return Removed(tuple(going), kept)


def settle(host: RemoteHost) -> None:
    """Do what is due after an installation, should the host have lost its power before that. Raises Refusal."""
    known = _remembered(host)
    if known.by is None or not known.unsettled:
        return
    _root(host, "install")
    there = installed(host, known.by).some
    if names := [name for name in known.unsettled if name in there]:
        first, *others = _settling(known.by, names)
        _made(host, known.by, first, f"finishing the installation of {' '.join(names)} failed", others)
    host.check(_remembering(replace(known, unsettled=[])))


def installed(host: RemoteHost, by: Manager) -> Installed:
    """The host's packages. Raises Refusal where they cannot be listed."""
    return by.parse_installed(_listed(host, by.installed))


def _listed(host: RemoteHost, command: Sequence[str]) -> str:
    """What a list of packages says. Raises Refusal where it fails: nobody is to take that for none."""
    done = host.look(command, SIMULATED_SECONDS)
    if not done.ok:
        how = "took too long" if done.status is None else f"ended with status {done.status}"
        raise Refusal(
            f"its packages cannot be listed: {command[0]} {how}: {managers.last_words(done.stderr)}",
            host=host.name,
            commands=[shlex.join(command)],
            next_step="mend the host's packages",
        )
    return done.stdout


def _kept(host: RemoteHost, by: Manager, ours: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Those of ours that stay. Each is looked at by itself only where others would go with all of them."""
    asked = set(_listed(host, by.wanted).split()) & set(ours)
    together = _if_removed(host, by, ours)
    if not asked and {*together.removes} <= {*ours} and not together.installs:
        return {}
    removals = {}
    for name in ours:
        alone = _if_removed(host, by, [name])
        # what would be installed in its place is for somebody who needs it
        removals[name] = frozenset((*alone.removes, *alone.installs, *alone.upgrades))
    return managers.kept(removals, asked)


def _removal(by: Manager, settings: Sequence[str], going: Sequence[str]) -> Sequence[str]:
    """Settings of ours go with the packages; where there were some before, all stay."""
    theirs = by is managers.APT and set(settings) & set(going)
    return tuple("remove" if word == "purge" else word for word in by.remove) if theirs else by.remove


def _if_removed(host: RemoteHost, by: Manager, packages: Sequence[str]) -> Transaction:
    """What removing these packages would do. Raises Refusal where that is not told of each."""
    due = _simulated(host, by, by.simulate_removal, packages)
    untold = sorted({*packages} - {*due.removes})
    if due.error or untold:
        raise Refusal(
            f"{by.name} does not say what removing {' '.join(packages)} would do: "
            + (due.error or f"nothing of {', '.join(untold)}"),
            host=host.name,
            next_step=f"see what {' '.join((*by.simulate_removal, *packages))} says there",
        )
    return due


def _simulated(host: RemoteHost, by: Manager, command: Sequence[str], packages: Sequence[str]) -> Transaction:
    done = host.look(["env", "LC_ALL=C", *command, *packages], SIMULATED_SECONDS)
    return by.parse(f"{done.stdout}\n{done.stderr}")


def _made(
    host: RemoteHost, by: Manager, command: Sequence[str], failed: str, after: Sequence[Sequence[str]] = ()
) -> None:
    """Run the manager, which nobody ends in its middle, and then ``after``. Raises Refusal with its last words."""
    done = host.agent.finish(["sh", "-c", _in_one(command, after)], by.environment, SECONDS)
    if done.ok:
        return
    how = "it is still running" if done.status is None else f"it ended with status {done.status}"
    raise Refusal(
        f"{failed}: {how}: {managers.last_words(done.stdout)}",
        host=host.name,
        commands=[" ".join(command)],
        next_step="see what it says there; python -m harness deprovision removes what it installed",
    )


def _settling(by: Manager, names: Sequence[str]) -> Sequence[Sequence[str]]:
    """What is due after an installation of these packages: they are marked as there for others only, and their units
    are disabled."""
    units = [("sh", "-c", DISABLE, "sh", *names)] if by is managers.APT else []
    return [(*by.unwanted, *names), *units]


def _in_one(command: Sequence[str], after: Sequence[Sequence[str]]) -> str:
    """A script of a command and of what is due after it, whatever came of it; its status is the first that is not 0.

    In one, so that all of it outlives this program.
    """
    lines = [f"{shlex.join(one)} >/dev/null || status=$((status ? status : $?))" for one in after]
    return "\n".join([shlex.join(command), "status=$?", *lines, "exit $status"])


def _nothing_starts(host: RemoteHost, scope: Scope) -> None:
    """Forbid the start of services until ``scope`` undoes it. One that forbids it already is left as it is."""
    if host.run(["test", "-e", POLICY]).ok:
        if host.run([POLICY, "pathproof", "start"]).status == DENIED:
            return
        if not (host.read([POLICY])[POLICY] or "").startswith(OURS):
            raise Refusal(
                f"{POLICY} is there and lets services start",
                host=host.name,
                next_step="move it aside while packages are installed, or install them by hand",
            )
        host.check(["rm", POLICY])  # of a run that lost its host: it forbids nothing any more
    scope.apply(changes.file(POLICY, POLICY_TEXT.format(directory=host.directory), 0o755))


def _root(host: RemoteHost, verb: str) -> None:
    if host.uid != 0:
        raise Refusal(f"only root may {verb} packages", host=host.name, next_step="reach the host as root")


def _remembered(host: RemoteHost) -> Remembered:
    """What was installed there by us. Raises Refusal where the file cannot be understood."""
    text = host.read([PLACE])[PLACE]
    if text is None:
        return Remembered()
    try:
        return Remembered(**json.loads(text))
    except (ValueError, TypeError) as error:
        raise Refusal(
            f"{PLACE}, which says what was installed there, cannot be read: {error}",
            host=host.name,
            next_step="mend it, or remove the packages by hand and then the file",
        ) from error


def _remembering(known: Remembered) -> Sequence[str]:
    """The command that writes it into ``PLACE``."""
    return ("sh", "-c", WRITE, "sh", PLACE, json.dumps(asdict(known), indent=1))
