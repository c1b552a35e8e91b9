"""One sample of kernel crypto: a timed batch of operations by a driver, its answers checked; or of `openssl speed`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from harness.api.bench import Bench
from harness.ciphers import interfaces
from harness.ciphers.interfaces import Interface
from harness.ciphers.table import CIPHERS, Cipher
from harness.measuring import looking
from harness.plan import CellPlan
from harness.run.suite import GivenUp
from harness.samples import Sample
from harness.servers import cards, datapath, openssl
from hosts.crypto import accelerators
from hosts.remote.agent import AgentError

MIN_SLEEPS = 0.01
"""Sleeps of a request's thread: seen were 0 where drivers answer before they return, 0.1 to 1 where they queue."""


def take(bench: Bench, cell: CellPlan, driver: str, seconds: float, block: int, index: int, warmup: bool) -> Sample:
    """Operations for ``seconds``, then a check of the driver's answer for a buffer of this size.

    Raises GivenUp for wrong answers that end the batch, and for a depth at which nothing is queued.
    """
    cipher, size, depth, interface = CIPHERS[cell.cipher], cell.buffer or 0, cell.depth or 1, _interface(cell)
    card = cards.proof(driver, bench.facts)
    counters = card.counters if card else {}
    before = bench.sender.agent.observe(counters).values if card else {}
    try:
        told = timed(bench, cell, driver, seconds)
    except AgentError as error:
        if wrong := _wrong_answer(bench, interface, cipher, driver, size):
            raise GivenUp("invalid", wrong) from error  # it stopped because its results differed
        raise
    if depth > 1 and (unqueued := not_queued(told)):
        raise GivenUp("unsupported", unqueued)
    risen = looking.delta(before, bench.sender.agent.observe(counters).values) if card else {}
    wrong = _wrong_answer(bench, interface, cipher, driver, size)
    facts = {name: told[name] for name in ("interface", "operations", "driver", "key_bytes", "depth", "consistent")}
    facts |= {name: told[name] for name in ("memory", "later_per_operation") if name in told}
    if depth > 1:
        facts |= {name: told[name] for name in ("submission", "under_way", "sleeps_per_operation")}
    facts |= datapath.lengths(told)
    reason = wrong or (f"the driver was {told['driver']}, not {driver}" if told["driver"] != driver else None)
    if told["interface"] != interface.name:
        reason = f"it was asked by {told['interface']}, not by {interface.name}"
    reason = reason or datapath.other_length(cipher, told)
    if card:
        facts[f"card_{card.counts}"] = accelerators.rise(risen, card)
        reason = reason or accelerators.unproven(risen, card, cards.due(card, told["operations"]))
    return Sample(
        cell=cell.id,
        block=block,
        index=index,
        warmup=warmup,
        seconds=told["seconds"] / told["operations"],
        bytes=size,
        sha256_ok=wrong is None,
        witness=facts,
        valid=reason is None,
        reason=reason,
    )


def reference(bench: Bench, cell: CellPlan, block: int, index: int, warmup: bool) -> Sample:
    """One second of `openssl speed` with the same cipher and buffer, in user space."""
    cipher, size = CIPHERS[cell.cipher], cell.buffer or 0
    legacy = ["-provider", "legacy", "-provider", "default"] if cipher.legacy else []
    told = openssl.speed(bench.sender, bench.in_environment(), [*legacy, "-evp", cipher.evp or ""], size)
    return Sample(
        cell=cell.id,
        block=block,
        index=index,
        warmup=warmup,
        seconds=told.seconds / told.operations,
        bytes=size,
        witness={
            "program": bench.facts.programs.get("openssl"),
            "operations": told.operations,
            "clock_step_seconds": openssl.SPEED_STEP_SECONDS,
        },
        valid=True,
    )


def timed(bench: Bench, cell: CellPlan, driver: str, seconds: float) -> dict[str, Any]:
    """What ``datapath raw`` says of one run. Raises AgentError when it ends without an answer."""
    argv = [datapath.compiled(bench), "raw", *named(_interface(cell), CIPHERS[cell.cipher], driver)]
    argv += ["--op", str(interfaces.operation(cell.path)), "--size", str(cell.buffer or 0)]
    argv += ["--seconds", str(seconds), "--depth", str(cell.depth or 1)]
    told: dict[str, Any] = json.loads(bench.sender.check(argv, timeout=90))
    return told


def named(interface: Interface, cipher: Cipher, driver: str) -> list[str]:
    """A cipher by one of its drivers, asked by an interface, as our server's commands take it."""
    key = ["--key-bytes", str(cipher.key_bytes)] if cipher.key_bytes else []
    return ["--interface", interface.option, "--cipher", driver, *key]


def _interface(cell: CellPlan) -> Interface:
    if cell.interface is None:
        raise ValueError(f"{cell.id} is no operation of the kernel's crypto")
    return cell.interface


def not_queued(told: Mapping[str, Any]) -> str | None:
    """Why what ``datapath raw`` says of a depth above 1 shows no requests that the driver had together; or None. Pure.

    A driver may call itself asynchronous and yet answer before it returns (AES-NI, wherever it may use the vector
    registers). Threads then share the processors between them, but none of them ever sleeps for its answer. /dev/crypto
    counts the answers that came later than the call returned, by threads or without. And a driver's worker that
    overtakes its caller, on one processor, answers each request later and before the next one comes.
    """
    driver = told["driver"]
    what, sleeps = "sleeps", told["sleeps_per_operation"]
    if "later_per_operation" in told:
        what, sleeps = "later answers", told["later_per_operation"]
    if sleeps < MIN_SLEEPS:
        return (
            f"{driver} calls itself asynchronous, but answered before it returned ({sleeps:.2g} {what} a request), "
            "so nothing was queued and this depth is no other measurement"
        )
    if told["under_way"] < 2:
        return f"{driver} was never seen with a second request under way, so this depth is no other measurement"
    return None


def _wrong_answer(bench: Bench, interface: Interface, cipher: Cipher, driver: str, size: int) -> str | None:
    """How a driver's answer for a buffer of this size differs from OpenSSL's, or does not decipher back; or None."""
    sizes = cipher.key_bytes, cipher.iv_bytes, size, 0
    return bench.sender.agent.alg_verify(cipher.kind, driver, cipher.evp, *sizes, interface=interface.name)
