"""OpenSSL's QAT engine under a program on the sender: configured, preloaded with what counts it, and counted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import hosts
from harness.api.bench import Bench
from harness.api.prices import Asked, PriceSource
from harness.api.steps import Price
from harness.servers import openssl
from hosts.crypto import accelerators
from hosts.crypto.accelerators import Proof
from hosts.errors import Refusal
from hosts.facts import Facts
from hosts.onhost.agent.values import Counter, NumberCounter

PRELOAD = Path(hosts.__file__).parent / "onhost" / "preload"
COMPILE = ["cc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o"]
CALLS, BYTES = "qat_calls", "qat_bytes"
COUNTS = bytes(16)
"""The counting file: calls and bytes, as ``count_gcm.c`` keeps them."""

CONFIGURATION = """\
config_diagnostics = 1
openssl_conf = openssl

[openssl]
engines = engines

[engines]
qatengine = qatengine

[qatengine]
engine_id = qatengine
default_algorithms = CIPHERS
"""
"""Ciphers only: a TLS 1.3 handshake fails with all of the engine's methods (2.0 with OpenSSL 3.5: "bad ecpoint")."""


@dataclass(frozen=True)
class Attached:
    """``environment`` that a program needs to take the engine, ``counters`` of its work, and what ``does`` it.

    ``proof``: a card's counters, where a card does it.
    """

    environment: dict[str, str]
    counters: dict[str, Counter]
    does: str
    proof: Proof | None = None


def card(sender: Facts) -> Proof | None:
    """What would prove that a QAT card worked; None where the sender has none."""
    return sender.accelerators.proofs.get("qat")


def attach(bench: Bench, name: str, cipher: str) -> Attached:
    """Get the engine ready for a program called ``name``, for an AES-GCM ``cipher`` (OpenSSL's name).

    Raises Refusal where the sender's engine does not do it.
    """
    engine = bench.facts.qat
    who = engine.gcm.get(cipher) if engine else None
    if engine is None or engine.library is None or who is None:
        raise Refusal(f"the sender has no qatengine that does {cipher}", host=bench.sender.name)
    place = f"{bench.folder}/{name}"
    environment = {"OPENSSL_CONF": bench.sender.put(CONFIGURATION.encode(), f"{place}-openssl.cnf")}
    if who == "card":
        proof = card(bench.facts)
        if proof is None:
            raise Refusal("there is no QAT card whose counters could be read", host=bench.sender.name)
        return Attached(environment, proof.counters, f"qatengine {engine.version}, a card", proof)
    counting = bench.sender.put(COUNTS, f"{place}-engine.count")
    libraries = [_compiled(bench, "count_gcm")]
    does = f"qatengine {engine.version}, ipsec-mb"
    if engine.answered:
        libraries.append(_compiled(bench, "answer_processor"))
        does += ", not an Intel processor"
    environment |= {"LD_PRELOAD": ":".join(libraries), "PATHPROOF_ENGINE": engine.library, "PATHPROOF_COUNT": counting}
    return Attached(environment, {CALLS: NumberCounter(counting, 0), BYTES: NumberCounter(counting, 8)}, does)


def unproven(attached: Attached, risen: dict[str, int | None], due_bytes: int, due_requests: int) -> str | None:
    """Why counters do not prove that the engine encrypted so much, or None. Pure."""
    if attached.proof:
        return accelerators.unproven(risen, attached.proof, due_requests)
    done = risen.get(BYTES)
    if done is None:
        return "what qatengine encrypts was not counted"
    if done < due_bytes:
        return f"qatengine encrypted {done} bytes of the payload of {due_bytes}: OpenSSL itself did the rest"
    return None


def facts(attached: Attached, risen: dict[str, int | None]) -> dict[str, int | float | str | bool | None]:
    """What was counted, for the record. Pure."""
    if attached.proof:
        return {f"card_{attached.proof.counts}": accelerators.rise(risen, attached.proof)}
    return {name: risen.get(name) for name in (CALLS, BYTES)}


def _measure(asked: Asked) -> dict[str, Price]:
    """Nothing where the engine is a card, which works beside the processor, or did not do it."""
    if asked.cipher.evp is None:
        return {}
    attached = attach(asked.bench, "speed", asked.cipher.evp)
    if attached.proof:
        return {}
    variables = asked.bench.in_environment(attached.environment)
    price = openssl.price(asked.bench.sender, variables, ["-engine", "qatengine", "-evp", asked.cipher.evp])
    return {"openssl_qat": price} if asked.bench.sender.agent.observe(attached.counters).values[BYTES] else {}


PRICES = PriceSource(
    {"openssl_qat": "a TLS record by OpenSSL's QAT engine"}, _measure, ciphering=frozenset({"openssl_qat"})
)


def _compiled(bench: Bench, name: str) -> str:
    """A library on the sender that programs are started with, compiled there once a run; its path."""
    if name not in bench.shared:
        library = f"{bench.sender.directory}/{name}.so"
        source = bench.sender.put((PRELOAD / f"{name}.c").read_bytes(), f"{name}.c")
        bench.sender.check([*COMPILE, library, source, "-ldl"], timeout=60)
        bench.shared[name] = library
    return bench.shared[name]
