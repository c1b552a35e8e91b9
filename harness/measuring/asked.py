"""What a profile asks of its hosts: offloads, AF_ALG without its restriction, the processors near the network card.
Journalled and undone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from harness.api.bench import load
from hosts import offloads
from hosts.crypto import afalg
from hosts.errors import Refusal
from hosts.facts import Facts
from hosts.offloads import Offload
from hosts.onhost.agent.afalg import RESTRICT
from hosts.remote import changes
from hosts.remote.changes import Scope


def made(scope: Scope, about: Facts, wanted: Mapping[str, bool], unrestricted: bool, near: bool) -> Facts:
    """The facts of a host once its data interface has these offloads and, where that is wanted, AF_ALG is free and all
    that is started there keeps to the processors that are ``near`` the card.

    Undone with ``scope``. Raises Refusal where an offload or such processors cannot be had, or a change is refused;
    HostLost.
    """
    found = _offloads(scope, _freed(scope, about) if unrestricted else about, wanted)
    if not near:
        return found
    places = beside_card(found)
    scope.host.agent.set_processors(places)  # of what this run's agent starts, and so gone with it
    return replace(found, usable=tuple(places))


def beside_card(about: Facts) -> list[int]:
    """The processors for servers that are on the NUMA node of the data interface's card. Raises Refusal. Pure."""
    near = about.quietness.near
    places = [number for number in about.usable if number in near]
    if places:
        return places
    told = f"those are {near}" if near else "its driver does not tell them (local_cpulist)"
    raise Refusal(
        f'the profile asks for numa = "card", and servers may run on none of the processors beside the card: {told}',
        host=about.role,
        next_step="leave numa out of the profile",
    )


def _offloads(scope: Scope, about: Facts, wanted: Mapping[str, bool]) -> Facts:
    interface, switched = scope.host.host.data_interface, dict[str, Offload]()
    for name, on in wanted.items():
        if name in about.offloads and about.offloads[name].on == on:
            continue
        reason = offloads.why_not(name, on, about.offloads, interface)
        if reason is None and about.shared:
            reason = f"{about.shared}: its offloads are left alone (docs/hosts.md)"
        if reason:
            raise Refusal(
                f"the profile asks for {name} {'on' if on else 'off'}, but {reason}",
                host=scope.host.name,
                next_step="leave that offload out of the profile, or name an interface that has it",
            )
        scope.apply(offloads.switch(name, on, interface))
        switched[name] = Offload(on, False)
    return replace(about, offloads=about.offloads | switched, shown=about.shown | _shown(about, switched))


def _shown(about: Facts, switched: Mapping[str, Offload]) -> dict[str, Any]:
    """What readers are shown of the data interface once these offloads were switched. Pure."""
    if not switched:
        return {}
    link = about.shown["link"]
    on = {*link["offloads_on"], *(name for name, now in switched.items() if now.on)}
    return {"link": link | {"offloads_on": sorted(name for name in on if name not in switched or switched[name].on)}}


def _freed(scope: Scope, about: Facts) -> Facts:
    """AF_ALG loaded, so that its setting is there, and the setting 0 where it is another."""
    if about.lacking(("af_alg",)) or about.refused(("af_alg",)):
        return about  # there is nothing to free: paths say why
    load(scope.host, scope, "af_alg")
    now = (scope.host.read([RESTRICT])[RESTRICT] or "").strip()
    # nothing was loaded where changes are only foreseen
    level = now or ("" if about.af_alg.told else str(about.af_alg.level))
    if level not in ("", str(afalg.FREE)):
        if not about.own_kernel:
            raise Refusal(
                f"the profile asks for AF_ALG without its restriction, but crypto.af_alg_restrict is {level} for all "
                "who share that host's kernel",
                host=scope.host.name,
                next_step="leave af_alg out of the profile, or take hosts or a lab with kernels of their own",
            )
        scope.apply(changes.setting(f"crypto.af_alg_restrict {afalg.FREE}", RESTRICT, str(afalg.FREE)))
    return replace(about, af_alg=about.af_alg.lifted())
