"""What a run needs and its hosts lack, installed there before anything else is done."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from harness.events import Events, Note
from hosts import facts, packages, provision
from hosts.facts import Facts
from hosts.provision import Provided
from hosts.remote.host import RemoteHost

Lacking = Callable[[Facts, Facts], Mapping[str, Collection[str]]]
"""Programs that sender and receiver lack, by role."""


def provided(
    hosts: tuple[RemoteHost, RemoteHost], known: tuple[Facts, Facts], lacking: Lacking, events: Events
) -> tuple[Facts, Facts]:
    """Both hosts' facts once what they lack is installed, host by host. Raises Refusal, HostLost."""
    lacks = lacking(*known)
    now = []
    for host, about in zip(hosts, known, strict=True):
        provision.settle(host)
        os_name = about.shown.get("os")
        wanted = packages.names(lacks.get(about.role, ()), about.kernel, os_name)
        done = Provided()
        if wanted:
            events.progress(f"installing on the {about.role}: {' '.join(wanted)}")
            done = provision.provision(host, provision.manager(host, os_name), wanted)
        said = ", ".join(f"{name} {version}" for name, version in done.installed.items())
        events(Note(f"{about.role}: " + (f"installed {said}" if said else "nothing had to be installed")))
        if done.unknown:
            events(Note(f"{about.role}: its sources of packages do not have {', '.join(done.unknown)}"))
        now.append(facts.gather(host, about.role) if done.installed else about)
    return now[0], now[1]
