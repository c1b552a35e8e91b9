"""Pure: how apt and dnf are asked, and what they answer: installed packages, transactions before they are made."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from hosts.packages import family

LOCK_SECONDS = 120
SAID = 6
"""Lines of a manager's last words that are shown."""


@dataclass(frozen=True)
class Transaction:
    """What a package manager would do."""

    installs: dict[str, str] = field(default_factory=dict)
    """Versions by name."""
    upgrades: tuple[str, ...] = ()
    """Or downgrades, or installs anew: what is there would be another."""
    removes: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    """What else it would do."""
    unknown: tuple[str, ...] = ()
    """What the host's sources of packages do not have; nothing is done then."""
    error: str | None = None
    """Why else it would do nothing."""

    @property
    def refused(self) -> str | None:
        """Why it is not made: it would change what somebody else installed."""
        told = {"upgrade": self.upgrades, "remove": self.removes, "also be": self.others}
        return "; ".join(f"it would {verb} {', '.join(names)}" for verb, names in told.items() if names) or None


@dataclass(frozen=True)
class Manager:
    """A package manager: commands that names of packages are added to, and how its words are read."""

    name: str
    simulate: tuple[str, ...]
    """Says what ``install`` would do and changes nothing, by what the host knows of packages now."""
    install: tuple[str, ...]
    simulate_removal: tuple[str, ...]
    remove: tuple[str, ...]
    refresh: tuple[str, ...]
    """Learns which packages there are."""
    installed: tuple[str, ...]
    """Lists them; read by ``parse_installed``."""
    wanted: tuple[str, ...]
    """Lists those that a person asked for, a name a line."""
    unwanted: tuple[str, ...]
    """Marks packages as there for others only."""
    parse: Callable[[str], Transaction]
    parse_installed: Callable[[str], Installed]
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Installed:
    """The packages of a host: versions by name; those that were removed and left their settings; those in between."""

    versions: dict[str, str]
    settings: frozenset[str] = frozenset()
    unfinished: frozenset[str] = frozenset()
    """Neither there nor gone: their manager ended in its middle, or a script of theirs failed."""

    @property
    def some(self) -> frozenset[str]:
        """Those of which something is there besides settings."""
        return self.unfinished | self.versions.keys()


def of(os_name: str | None) -> Manager | None:
    """The package manager of a distribution, by its name in /etc/os-release; None where none is known."""
    found = family(os_name)
    return {"apt-get install": APT, "dnf install": DNF}.get(found.command) if found else None


def kept(removals: Mapping[str, frozenset[str]], wanted: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Which of our packages stay, and for whom. Pure.

    ``removals``: what else would go with each of ours, itself among them; ``wanted``: those of ours that somebody asked
    for since. A package stays where one that is not ours, or that stays, would go with it.
    """
    asked = set(wanted)
    staying: dict[str, tuple[str, ...]] = {name: () for name in removals if name in asked}
    while True:
        more = {
            name: tuple(sorted(needed))
            for name, going in removals.items()
            if name not in staying and (needed := {one for one in going if one not in removals or one in staying})
        }
        if not more:
            return staying
        staying |= more


APT_UNKNOWN = (
    r"Unable to locate package (\S+)|Package '(\S+)' has no installation candidate"
    r"|Couldn't find any package by (?:glob|regex) '(\S+)'"
)


def parse_apt(text: str) -> Transaction:
    """Of ``apt-get -s``: lines ``Inst NAME [OLD] (NEW …)``, ``Remv NAME [OLD]``, ``Purg NAME [OLD]``."""
    errors = re.findall(r"^E: (.*)$", text, re.MULTILINE)
    named = [(line, re.fullmatch(APT_UNKNOWN, line)) for line in errors]
    found = re.findall(r"^Inst (\S+)(?: \[([^\]]*)\])? \((\S+)", text, re.MULTILINE)
    return Transaction(
        installs={name: version for name, old, version in found if not old},
        upgrades=tuple(name for name, old, _ in found if old),
        removes=tuple(dict.fromkeys(re.findall(r"^(?:Remv|Purg) (\S+)", text, re.MULTILINE))),
        unknown=tuple(dict.fromkeys(match[match.lastindex or 0] for _, match in named if match)),
        error="; ".join(line for line, match in named if not match) or None,
    )


def parse_dpkg(text: str) -> Installed:
    """Of ``installed`` of apt: this machine's architecture, then a line ``STATUS|NAME|VERSION`` for each package.

    The second letter of a status (dpkg-query(1)) is ``n`` not installed, ``c`` settings only, ``i`` installed; others
    are in between.
    """
    native, _, rest = text.partition("\n")
    rows = [line.split("|") for line in rest.splitlines() if line.count("|") == 2]
    named = [(status, name.removesuffix(f":{native}"), version) for status, name, version in rows]
    return Installed(
        versions={name: version for status, name, version in named if status[1:2] == "i"},
        settings=frozenset(name for status, name, _ in named if status[1:2] == "c"),
        unfinished=frozenset(name for status, name, _ in named if status[1:2] not in "nci"),
    )


DNF_SECTIONS = {
    "Installing": "installs",
    "Upgrading": "upgrades",
    "Downgrading": "upgrades",
    "Reinstalling": "upgrades",
    "Removing": "removes",
    "Skipping": "skipped",
}
"""What the sections of its table are about, by the first words of their titles."""


def parse_dnf(text: str) -> Transaction:
    """Of ``dnf --assumeno``: a table with a section for each kind of change. Long rows go on in the next line.

    A package that takes another's place is listed as installed, with a line ``replacing NAME.ARCH VERSION`` under it.
    """
    errors = re.findall(r"^(?:Error: (?!Unable to find a match)| Problem(?: \d+)?: )(.+)$", text, re.MULTILINE)
    replaced = re.findall(r"^\s+replacing\s+(\S+?)(?:\.\w+)?\s", text, re.MULTILINE)
    found: dict[str, dict[str, str]] = {kind: {} for kind in DNF_SECTIONS.values()}
    others = []
    if table := re.search(r"\n=+\n(\w[^\n]*:\n.*)\n\nTransaction Summary", text, re.DOTALL):
        for title, rows in _sections(table[1]):
            kind = next((kind for word, kind in DNF_SECTIONS.items() if title.startswith(word)), None)
            if kind is None:  # Enabling module streams, say
                others.append(" ".join([title.lower(), *rows.split()]))
            else:
                found[kind] |= {row[0]: row[2] for row in _rows(rows)}
    return Transaction(
        installs=found["installs"],
        upgrades=tuple(found["upgrades"]),
        removes=(*found["removes"], *replaced),
        others=tuple(others),
        unknown=tuple(re.findall(r"^No match for argument: (\S+)$", text, re.MULTILINE)),
        error="; ".join(errors) or None,
    )


def _sections(table: str) -> Iterator[tuple[str, str]]:
    """Titles, and what stands below each."""
    parts = re.split(r"^(\S.*):$\n", f"{table}\n", flags=re.MULTILINE)
    return zip(parts[1::2], parts[2::2], strict=True)


def _rows(text: str) -> Iterator[list[str]]:
    """Rows of name, architecture, version, repository and size (a number and mostly its unit)."""
    lines = [line for line in text.splitlines() if not re.match(r"\s+replacing\s", line)]
    words = re.sub(r"\s(\d+(?:\.\d+)?) ([kKMGi]+B?|B)(?=\s|$)", r" \1\2", "\n".join(lines)).split()
    return (words[n : n + 5] for n in range(0, len(words) - 4, 5))


def parse_rpm(text: str) -> Installed:
    """Of ``installed`` of dnf: a line ``NAME|VERSION`` for each package."""
    return Installed(dict(line.split("|", 1) for line in text.splitlines() if "|" in line))


def last_words(text: str) -> str:
    """What a manager said last, in one line; of an error of dpkg from the line before it, which has the reason."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = next((n - 1 for n, line in enumerate(lines) if line.startswith("dpkg: error")), len(lines))
    start = max(0, min(told, len(lines) - SAID))
    return " / ".join(lines[start : start + SAID])


_APT = ("apt-get", "-q", "--yes", "-o", f"DPkg::Lock::Timeout={LOCK_SECONDS}")
_DPKG = r"dpkg --print-architecture && dpkg-query -W -f '${db:Status-Abbrev}|${binary:Package}|${Version}\n'"
APT = Manager(
    name="apt",
    simulate=("apt-get", "-q", "--simulate", "--no-install-recommends", "install"),
    install=(*_APT, "--no-install-recommends", "--no-remove", "-o", "Dpkg::Options::=--force-confold", "install"),
    simulate_removal=("apt-get", "-q", "--simulate", "purge"),
    remove=(*_APT, "purge"),
    refresh=(*_APT, "update"),
    installed=("sh", "-c", _DPKG),
    wanted=("apt-mark", "showmanual"),
    unwanted=("apt-mark", "auto"),
    parse=parse_apt,
    parse_installed=parse_dpkg,
    # needrestart(1) would restart services, apt-listchanges(1) ask
    environment={
        "DEBIAN_FRONTEND": "noninteractive",
        "NEEDRESTART_SUSPEND": "1",
        "APT_LISTCHANGES_FRONTEND": "none",
        "LC_ALL": "C",
    },
)
_DNF = ("dnf", "--setopt=install_weak_deps=False")
_ALONE = "--setopt=clean_requirements_on_remove=False"
_MARK = 'dnf mark remove "$@" || dnf mark dependency "$@"'  # the second is dnf 5's
DNF = Manager(
    name="dnf",
    simulate=(*_DNF, "--assumeno", "install"),
    install=(*_DNF, "--assumeyes", "install"),
    simulate_removal=("dnf", "--assumeno", _ALONE, "remove"),
    remove=("dnf", "--assumeyes", _ALONE, "remove"),
    refresh=("dnf", "makecache"),
    installed=("rpm", "-qa", "--qf", r"%{NAME}|%{VERSION}-%{RELEASE}\n"),
    wanted=("dnf", "repoquery", "--userinstalled", "--qf", "%{name}"),
    unwanted=("sh", "-c", _MARK, "sh"),
    parse=parse_dnf,
    parse_installed=parse_rpm,
    environment={"LC_ALL": "C"},
)
