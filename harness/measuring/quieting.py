"""A host made quiet for a run, where its testbed says so; and told what of it was not, where it does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hosts import quiet
from hosts.errors import Refusal
from hosts.facts import Facts
from hosts.remote.changes import Scope


def made(scope: Scope, about: Facts) -> Facts:
    """The facts of a host after its settings were changed, which is undone with ``scope``; what it did not take is
    among what is not quiet. Servers, and whoever receives, run on one processor from now on.

    Raises HostLost.
    """
    host, refused = scope.host, list[str]()
    for change in quiet.settings(about.quietness):
        try:
            scope.apply(change)
        except Refusal as error:
            refused.append(error.what)
    placed = quiet.places(about.quietness)
    if placed:
        host.agent.set_processors([placed.servers])
    now = quiet.look(host)
    told = [*quiet.loud(now, [placed.servers] if placed else []), *refused]
    usable = (placed.servers,) if placed else about.usable
    return replace(
        about,
        quietness=now,
        usable=usable,
        shown=about.shown | {"quiet": True, "governor": now.governor, "speed": now.shown(), "not_quiet": told},
    )


def sentence(role: str, not_quiet: Sequence[str]) -> str | None:
    """What of a host was not quiet, in a line; None where all was."""
    return f"the {role} was not quiet: {', '.join(not_quiet)}" if not_quiet else None
