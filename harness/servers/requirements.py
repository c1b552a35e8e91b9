"""The reasons why a path cannot run on a host, in one wording."""

from __future__ import annotations

import re

from harness.api.parameters import Group, Parameters
from hosts import kernel_config, packages
from hosts.facts import Facts
from hosts.onhost.agent import curl

OLDEST = {"nginx": (1, 18), "openssl": (1, 1, 1), "libcurl": (7, 61)}
"""The first versions that are known to do what is asked of them."""
GROUP_SINCE: dict[Group, tuple[int, ...]] = {"x25519": (3, 0), "secp256r1": (3, 0), "x25519mlkem768": (3, 5)}
"""The first versions of OpenSSL that have a group, and tell it."""
OLDEST_KERNEL = (4, 18)


def one_cipher_suite(parameters: Parameters, receiver: Facts) -> str | None:
    """Why the receiver's libcurl cannot be made to offer exactly the one cipher suite, or None."""
    client, asked = receiver.programs.get("libcurl"), parameters.cipher_suite
    if parameters.sent_by:
        return None  # a way of receiving has a client of its own
    if client is None or asked is None:
        return None  # that it is missing is said elsewhere
    version = client.split()[0]
    if not curl.chooses_cipher_suites(client):
        needed = ".".join(map(str, curl.CHOOSES_CIPHER_SUITES))
        return (
            f"the receiver's {version} cannot be told which TLS cipher suite to offer: with GnuTLS {needed} is needed, "
            "with OpenSSL any (libcurl4 on Debian, libcurl elsewhere)"
        )
    if asked.openssl is None and not curl.by_gnutls(client):
        return f"the receiver's {version} is linked with OpenSSL, which has no {parameters.title}: GnuTLS's is needed"
    return None


def no_cipher_suite(parameters: Parameters) -> str | None:
    """Why TLS cannot protect a transfer like this at all."""
    if parameters.cipher_suite:
        return None
    beside = "" if parameters.cipher is None or parameters.cipher.aead else f" and HMAC-{parameters.integrity.upper()}"
    return f"TLS {parameters.tls} has no cipher suite with {parameters.title}{beside} that a server offers today"


def no_group(group: Group, sender: Facts, receiver: Facts) -> str | None:
    """Why one of the hosts has not this group for a key exchange, or cannot say that it has; None where both have."""
    needed = GROUP_SINCE[group]
    reasons = [no_programs(("openssl",), sender, receiver)]
    for facts in (sender, receiver):
        version = facts.programs.get("openssl")
        if version and _numbers(version) < needed:
            reasons.append(
                f"the {facts.role}'s {version} has not {group} as one group that is asked for: "
                f"{'.'.join(map(str, needed))} is needed"
            )
    return together(*reasons)


def missing(
    sender: Facts,
    receiver: Facts | None,
    *,
    sender_programs: tuple[str, ...] = (),
    sender_modules: tuple[str, ...] = (),
    receiver_programs: tuple[str, ...] = (),
    receiver_modules: tuple[str, ...] = (),
) -> str | None:
    """What is missing for a path, with the command that would install it; None when nothing is.

    ``receiver`` is None where it takes no part.
    """
    reasons = []
    for facts, programs, modules in (
        (sender, sender_programs, sender_modules),
        (receiver, ("libcurl", *receiver_programs), receiver_modules),
    ):
        if facts is None:
            continue
        if why := no_programs(programs, facts):
            reasons.append(why)
        reasons += _too_old(facts, programs)
        if lacking := facts.lacking(modules):
            named = ", ".join(f"{name}{kernel_config.why_lacking(name, facts.config)}" for name in lacking)
            reasons.append(f"the {facts.role}'s kernel {facts.kernel} has no module {named}")
        if refused := facts.refused(modules):
            reasons.append(f"the {facts.role}'s kernel module {', '.join(refused)}")
        if "cc" in programs and not facts.executable:
            reasons.append(
                f"no program of ours can be run on the {facts.role}: every tmpfs there is mounted noexec "
                "(mount one with exec, as /tmp or /dev/shm)"
            )
    return "; ".join(reasons) or None


def unasked(modules: tuple[str, ...], *hosts: Facts) -> str | None:
    """Which of these modules kernels would load by themselves for hosts that may load none; None where they would not.

    They would stay: nobody there could unload them.
    """
    return together(
        *(
            f"the {facts.role} may load no kernel module, and the kernel that it shares would load {', '.join(names)} "
            "by itself and keep them (load them before, where that kernel's modules are)"
            for facts in hosts
            if facts.modular and not facts.own_kernel and (names := facts.lacking(modules))
        )
    )


def no_algorithm(facts: Facts, kind: str, name: str) -> str | None:
    """Why AF_ALG gives no algorithm, or driver, of this name there; None where it does as far as is known.

    ``kind``: ``skcipher``, ``aead`` or ``hash``.
    """
    reason = facts.af_alg.why_not(kind, name)
    return f"on the {facts.role} {reason}" if reason else None


def not_approved(parameters: Parameters, *hosts: Facts) -> str | None:
    """Why the kernels of these hosts have not this cipher for anybody; None where nothing is known against it."""
    name = parameters.cipher.kernel if parameters.cipher else ""
    reasons = [f"on the {facts.role} {reason}" for facts in hosts if (reason := facts.af_alg.not_approved(name))]
    return together(*reasons)


def no_programs(programs: tuple[str, ...], *hosts: Facts) -> str | None:
    """Which of these programs hosts lack, with the command that installs them, or have and do not work; None: none."""
    reasons = []
    for facts in hosts:
        absent = [name for name in facts.missing(programs) if name not in facts.broken]
        if absent:
            how = packages.advice(absent, facts.shown.get("os"))
            reasons.append(f"the {facts.role} has no {', '.join(absent)} ({how})")
        reasons += [
            f"the {facts.role}'s {name} does not work: {said}"
            for name, said in facts.broken.items()
            if name in programs
        ]
    return together(*reasons)


def _too_old(facts: Facts, programs: tuple[str, ...]) -> list[str]:
    """What is there in a version that is too old, each with the one that is needed."""
    found = [(facts.programs[name], OLDEST[name]) for name in programs if name in OLDEST and facts.programs.get(name)]
    found.append((f"kernel {facts.kernel}", OLDEST_KERNEL))
    return [
        f"the {facts.role}'s {version.split(' zlib')[0]} is too old: {'.'.join(map(str, needed))} is needed"
        for version, needed in found
        if version and (numbers := _numbers(version)) and numbers < needed
    ]


def _numbers(version: str) -> tuple[int, ...]:
    """The first number with dots in it: (1, 1, 1) of ``OpenSSL 1.1.1k``."""
    found = re.search(r"\d+(\.\d+)+", version)
    return tuple(map(int, found[0].split("."))) if found else ()


def together(*reasons: str | None) -> str | None:
    """All reasons that there are, in one; None where there is none."""
    return "; ".join(reason for reason in reasons if reason) or None
