"""HTTP over ESP transport mode (xfrm), by nginx: by the kernel, or by a network card. What its paths share.

Clear text is impossible: on both hosts a policy *requires* ESP for exactly this server's port, in and out. Without
a matching SA nothing is sent, and what arrives in clear is dropped. The witness is the SAs themselves: algorithms, key
and tag lengths before and after a sample, that they are the same SAs, and their own byte counters.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, get_args, get_type_hints

from harness.api.bench import Bench, load
from harness.api.parameters import Parameters
from harness.api.path import Deployed, Observed, Witness
from harness.ciphers.drivers import esp_algorithm
from harness.ciphers.table import AUTH_ICV_BITS, AUTH_KEY_BYTES
from harness.servers import cards, esp, nginx, nic, request_log, requirements
from hosts.errors import Refusal
from hosts.facts import Facts
from hosts.onhost.agent import xfrm
from hosts.onhost.agent.values import AssociationCounter, Counter
from hosts.onhost.agent.xfrm import Algorithm
from hosts.remote import changes
from hosts.remote.changes import Scope
from hosts.remote.host import RemoteHost
from hosts.roles import Role

# ESP draws its IVs from the kernel's default random generator, which is never let go once it was woken
DRAWN_BY = ("hmac", "sha512_generic", "jitterentropy_rng", "drbg")
RANDOM = (*DRAWN_BY, "sha3_generic")  # which newer kernels' jitterentropy_rng takes
MODULES = (
    "xfrm_user",
    "authenc",
    "cbc",
    "ecb",
    "sha1_generic",
    "sha256_generic",
    "crypto_null",
    "echainiv",
    "seqiv",
)
OF_VERSION = {4: ("esp4", "xfrm4_mode_transport"), 6: ("esp6", "xfrm6_mode_transport")}
"""By the version of IP: ESP itself, and its mode, which kernels before 5.2 have as a module."""
OFFLOADS = {4: "esp4_offload", 6: "esp6_offload"}
"""What hands ESP to a card, by the version of IP. With it loaded, the kernel cuts what its own SAs send into packets
late, too: whether it is there is in each cell's links."""
PACKET_BYTES = 1400
"""About what a packet holds of the file at an MTU of 1500: TCP, ESP header, IV, padding and ICV take the rest."""

Kind = Literal["crypto", "packet"]
"""Of offload: a card enciphers packets that the kernel makes, or it makes them, too."""
WINDOW = "replay-window 64"
"""What is done against packets that come twice."""
FIELDS = get_args(get_type_hints(AssociationCounter)["field"])
WAYS = {"sa_out": "outgoing", "sa_in": "incoming"}
"""A host's two SAs, by the beginning of their counters' names."""


def protection(parameters: Parameters) -> tuple[Algorithm, ...]:
    """What an SA is to have: an AEAD, or a cipher and its MAC. Raises Refusal where ESP has it not."""
    cipher = parameters.cipher
    if cipher is None or cipher.esp is None:
        raise Refusal(f"ESP has no {parameters.title}")
    key_bits = 8 * (cipher.key_bytes + cipher.salt_bytes)
    if cipher.aead:
        return (Algorithm(cipher.esp, key_bits, 8 * cipher.tag_bytes),)
    mac = parameters.integrity
    return Algorithm(cipher.esp, key_bits), Algorithm(f"hmac({mac})", 8 * AUTH_KEY_BYTES[mac], AUTH_ICV_BITS[mac])


@dataclass(frozen=True)
class Association:
    """One direction: an SA. ``spi`` and ``reqid`` are random, so that nobody else's is met."""

    source: str
    target: str
    spi: str
    reqid: int

    def add(self, parameters: Parameters) -> str:
        """What ``ip -batch`` adds it by, with new keys; so it goes by standard input only."""
        due = protection(parameters)
        words = []
        for algorithm in due:
            kind = "enc" if algorithm.icv_bits is None else "aead" if len(due) == 1 else "auth-trunc"
            key = f"0x{secrets.token_hex(algorithm.key_bits // 8)}" if algorithm.key_bits else "''"
            words += [kind, algorithm.name, key, *([str(algorithm.icv_bits)] if algorithm.icv_bits else [])]
        return (
            f"xfrm state add src {self.source} dst {self.target} proto esp spi {self.spi} reqid {self.reqid} "
            f"mode transport {' '.join(words)}"
        )

    def look(self) -> list[str]:
        """A command that shows it without its keys, or fails to find it."""
        return ["ip", "-s", "xfrm", "state", "list", "nokeys"]

    def present(self) -> str:
        """What that command's output holds while the SA is there."""
        return rf"proto esp spi {self.spi}\b"

    def counters(self, way: str) -> dict[str, Counter]:
        """What is read of it before and after a sample; it is the same SA if when it was added did not change."""
        return {f"{way}_{field}": AssociationCounter(self.target, int(self.spi, 16), field) for field in FIELDS}

    def remove(self) -> list[str]:
        """The command that takes it away."""
        return f"ip xfrm state delete src {self.source} dst {self.target} proto esp spi {self.spi}".split()


def _associate(scope: Scope, association: Association, add: str) -> None:
    scope.apply(
        changes.command(
            f"SA {association.spi}",
            look=association.look(),
            present=association.present(),
            apply=["ip", "-batch", "-"],
            stdin=f"{add}\n",
            undo=association.remove(),
        )
    )


def _policy(scope: Scope, association: Association, ports: str, direction: str, offload: Sequence[str] = ()) -> None:
    selector = f"src {association.source} dst {association.target} proto tcp {ports}".split()
    template = f"tmpl src {association.source} dst {association.target} proto esp reqid {association.reqid}"
    rule = [*selector, "dir", direction]
    scope.apply(
        changes.command(
            f"IPsec policy {' '.join(rule)}",
            look=["ip", "xfrm", "policy", "list"],
            present=rf"dir {direction} [\s\S]*?reqid {association.reqid} ",
            apply=[
                *("ip", "xfrm", "policy", "add", *rule, *offload),
                *(*template.split(), "mode", "transport", "level", "required"),
            ],
            undo=["ip", "xfrm", "policy", "delete", *rule],
        )
    )


def _no_fallback(bench: Bench, association: Association, due: str) -> None:
    """Raises Refusal where the kernel made an SA without the card's part: it does so in silence where the driver has
    none, or does not want this one (net/xfrm/xfrm_device.c, xfrm_dev_state_add)."""
    counter = association.counters("sa")["sa_offload"]
    found = bench.sender.agent.observe({"offload": counter}).states["offload"]
    if found != due:
        raise Refusal(
            f"the kernel fell back to software: the sender's SA has {found}, where {due} was asked for",
            host=bench.sender.name,
            next_step="take a cipher that the card has, or leave this path out",
        )


def impossible(parameters: Parameters) -> str | None:
    """Why ESP cannot protect a transfer like this at all."""
    if parameters.cipher is None or parameters.cipher.esp is None:
        return f"ESP has no {parameters.title}"
    return None


def impossible_by_card(parameters: Parameters) -> str | None:
    """The same where a network card is to do it."""
    if parameters.driver != "any":
        return f"a network card enciphers by itself: no driver of the kernel's, as {parameters.driver}, is asked"
    return impossible(parameters)


def unsupported(parameters: Parameters, sender: Facts, receiver: Facts) -> str | None:
    """Why these hosts cannot speak ESP with this cipher, by a driver that can be proven."""
    steering = () if parameters.driver == "any" else ("crypto_user",)
    needed = ("xfrm_user", OF_VERSION[sender.ip_version][0])
    missing = requirements.missing(
        sender,
        receiver,
        sender_programs=("nginx", "ip", "modprobe"),
        sender_modules=(*needed, *steering),
        receiver_programs=("ip", "modprobe"),
        receiver_modules=needed,
    )
    shared = [f"on the {host.role} {host.shared}" for host in (sender, receiver) if host.shared]
    kept = f"{'; '.join(shared)}: its policies are left alone (docs/hosts.md)" if shared else None
    unproven = cards.unproven(parameters.driver, sender) if steering else None
    refused = requirements.not_approved(parameters, sender, receiver)
    unasked = requirements.unasked(_asked_for(parameters), sender, receiver)
    return requirements.together(missing, kept, refused, unasked) or unproven


def _asked_for(parameters: Parameters) -> tuple[str, ...]:
    """The modules that the kernel loads for a first SA where they are not there."""
    cipher = parameters.cipher
    if cipher is None:
        return ()
    beside = () if cipher.aead else ("authenc", "hmac", esp.HASHES[parameters.integrity])
    drawn = ("seqiv" if cipher.aead else "echainiv", *DRAWN_BY) if cipher.iv_bytes else ()
    return tuple(dict.fromkeys((*cipher.kernel_modules, *beside, *drawn)))


def unsupported_by_card(parameters: Parameters, sender: Facts, receiver: Facts) -> str | None:
    """The same where the sender's network card is to do it, which must count what it does."""
    missing = requirements.missing(sender, receiver, sender_modules=(OFFLOADS[sender.ip_version],))
    card = nic.without(nic.ESP, sender) or nic.uncounted(sender)
    return requirements.together(unsupported(parameters, sender, receiver), missing, card)


@dataclass(frozen=True)
class Pair:
    """The SAs of a port of the sender: ``out`` of what it sends, ``back`` of what it gets."""

    out: Association
    back: Association

    def counters(self, role: Role) -> dict[str, Counter]:
        """What a host reads of both before and after a sample."""
        sent, taken = (self.out, self.back) if role == "sender" else (self.back, self.out)
        return sent.counters("sa_out") | taken.counters("sa_in")


def make_ready(bench: Bench, parameters: Parameters, offload: Kind | None = None) -> None:
    """ESP and the cipher in both kernels, and its driver in front. Raises Refusal, HostLost."""
    cipher, version = parameters.cipher, bench.address.version
    if cipher is None:
        raise Refusal("ESP needs a cipher")
    if why := requirements.unasked(_asked_for(parameters), bench.facts, bench.receiver_facts):
        raise Refusal(why)  # a rehearsal's null cipher, of which no path was asked

    def loaded(scope: Scope, host: RemoteHost) -> None:
        load(host, scope, *RANDOM, sticky=True)
        mine = scope is bench.on_sender
        extra = (OFFLOADS[version],) if offload and mine else ()
        load(host, scope, *OF_VERSION[version], *MODULES, *cipher.modules, *extra)
        if mine and parameters.driver != "any":
            # ESP takes the driver of the highest priority when an SA is made
            cards.steer(bench, parameters.driver, (esp_algorithm(cipher, parameters.integrity), cipher.kernel))

    bench.on_both(loaded)


def protect(bench: Bench, port: int, parameters: Parameters, offload: Kind | None = None) -> Pair:
    """Policies and SAs of a port of the sender, on both hosts; ``offload`` as in ``deploy``.

    Raises Refusal, HostLost.
    """
    reqid = secrets.randbelow(2**30) + 2**16
    here, there = str(bench.address), str(bench.peer)
    out = Association(here, there, f"0x{secrets.token_hex(4)}", reqid)
    back = Association(there, here, f"0x{secrets.token_hex(4)}", reqid + 1)
    secret = {way: way.add(parameters) for way in (out, back)}
    whole = ["packet"] if offload == "packet" else []
    # of what the sender sends, and there alone: all else is as without a card
    asked = ["offload", *whole, "dev", bench.sender.host.data_interface] if offload else []
    # a card's SA has a direction, and one that only sends may have no window (kernels from 6.10)
    given = " ".join([secret[out], *asked, "dir", "out"]) if offload else f"{secret[out]} {WINDOW}"

    def associate(scope: Scope, _host: RemoteHost) -> None:
        mine = scope is bench.on_sender
        directions = ("out", "in") if mine else ("in", "out")
        # policies first: from here on this port speaks ESP or not at all
        _policy(scope, out, f"sport {port}", directions[0], asked if mine and whole else ())
        _policy(scope, back, f"dport {port}", directions[1])
        _associate(scope, out, given if mine else f"{secret[out]} {WINDOW}")
        _associate(scope, back, f"{secret[back]} {WINDOW}")

    bench.on_both(associate)
    return Pair(out, back)


def deploy(bench: Bench, name: str, parameters: Parameters, offload: Kind | None = None) -> Deployed:
    """Policies and SAs on both hosts, and nginx behind them. ``offload``: what the sender's network card does of the
    packets that it sends: it enciphers, or does all that ESP does; None: nothing, the kernel does it.

    Raises Refusal, also where the kernel would fall back to software.
    """
    port = bench.port()
    make_ready(bench, parameters, offload)
    pair = protect(bench, port, parameters, offload)
    served = nginx.serve(bench, name, port, load=parameters)
    done = xfrm.offload(offload, bench.sender.host.data_interface, "out") if offload else None
    if done:
        _no_fallback(bench, pair.out, done)
    base = bench.base_url("http", port)
    deployed = Deployed(
        url=lambda payload: f"{base}/{payload}",
        log=nginx.access_log(bench, name),
        server=served.number,
        verify=partial(verify, parameters, done),
        sender_counters=pair.counters("sender"),
        receiver_counters=pair.counters("receiver"),
        calls=frozenset({"sendfile"}),
        crossing_limit=nginx.HEADS_BYTES,
        driver_found=None if parameters.driver == "any" else parameters.driver,
    )
    if offload:
        counted = nic.by_esp(deployed, bench.facts)
        return replace(counted, during=nic.switched(nic.ESP, True, bench.facts), driver_found=bench.facts.card.driver)
    if parameters.driver == "any":
        return deployed
    # each packet is a request
    return cards.watched(
        deployed, parameters.driver, bench.facts, lambda seen, _said: seen.sender["sa_out_packets"] or 0
    )


def verify(parameters: Parameters, offload: str | None, seen: Observed) -> Witness:
    """Both hosts' SAs had the named protection throughout and carried at least the payload; the server sent it.

    ``offload``: what a card does for the SA by which the sender sends, in words; None: nothing, as for all others.
    """
    said, told = request_log.check(seen), carried(parameters, offload, seen, seen.payload * seen.requests)
    return Witness(said.facts | told.facts, told.reason or said.reason)


def carried(parameters: Parameters, offload: str | None, seen: Observed, payload: int) -> Witness:
    """The same of the SAs alone, which must have carried so many bytes."""
    sent, arrived = seen.sender["sa_out_bytes"], seen.receiver["sa_in_bytes"]
    facts: dict[str, int | float | str | bool | None] = {
        "sender_sa_bytes": sent,
        "receiver_sa_bytes": arrived,
        "sender_sa_packets": seen.sender["sa_out_packets"],
        "sender_sa": seen.sender_states["sa_out_protection"],
        "receiver_sa": seen.receiver_states["sa_in_protection"],
    }
    due = protection(parameters)
    for host, risen, states in (
        ("sender", seen.sender, seen.sender_states),
        ("receiver", seen.receiver, seen.receiver_states),
    ):
        for way, word in WAYS.items():
            done = offload if offload and (host, way) == ("sender", "sa_out") else xfrm.NO_OFFLOAD
            if reason := _unproven(f"the {host}'s {word} SA", way, risen, states, (xfrm.protection(due), done)):
                return Witness(facts, reason)
    facts |= {"key_bits": 8 * parameters.cipher.key_bytes if parameters.cipher else 0, "tag_bits": due[-1].icv_bits}
    if stopped := _stopped(seen):
        return Witness(facts, stopped)
    for host, count in (("sender", sent), ("receiver", arrived)):
        if (count or 0) < payload:
            return Witness(facts, f"the {host}'s SA carried {count} bytes of a payload of {payload}")
    return Witness(facts)


def _stopped(seen: Observed) -> str | None:
    """Which host's packets do not arrive at all, by both ends of each SA; None where some do."""
    ways = (
        ("receiver", seen.receiver["sa_out_bytes"], "sender", seen.sender["sa_in_bytes"]),
        ("sender", seen.sender["sa_out_bytes"], "receiver", seen.receiver["sa_in_bytes"]),
    )
    for sending, sent, taking, taken in ways:
        if sent and taken == 0:
            return (
                f"the {sending}'s SA sent {sent} bytes, the {taking}'s took none: "
                "ESP (IP protocol 50) does not get through, as where a firewall on the way drops it"
            )
    return None


def _unproven(
    what: str, way: str, risen: dict[str, int | None], states: dict[str, str | None], due: tuple[str, str]
) -> str | None:
    """Why an SA is not the one that was made here, with its protection and its offload, before a sample and after it;
    or None."""
    for field, wanted in zip(xfrm.WORDS, due, strict=True):
        found = states[f"{way}_{field}"]
        if found is None:
            return f"{what} is not there"
        if found != wanted:
            return f"{what} has {found}; due is {wanted}"
    if risen[f"{way}_added"] != 0 or risen[f"{way}_bytes"] is None:
        return f"{what} was exchanged for another during the sample"
    return None
