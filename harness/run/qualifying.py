"""Whether a driver may be measured: it binds, gives the published answers (``ciphers/vectors.py``), and queues requests
where depths above 1 are asked for. Many drivers are fast and wrong, or fall back silently.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.api.bench import Bench
from harness.ciphers import vectors
from harness.ciphers.interfaces import Interface
from harness.ciphers.table import Cipher
from harness.record import Outcome
from harness.run import operations
from harness.servers import datapath
from hosts.crypto import proc_crypto
from hosts.errors import Refusal
from hosts.remote.agent import AgentError

TRIAL = 4
"""The depth of the trial before anything is sampled."""
TYPES = {"skcipher": ("skcipher", "lskcipher"), "aead": ("aead",)}
"""Types in /proc/crypto that either interface's two kinds of cipher may be."""


@dataclass(frozen=True)
class Refused:
    """Why something is not measured, and as what its cells end."""

    outcome: Outcome
    reason: str


@dataclass(frozen=True)
class Qualified:
    """``driver``: what the kernel bound; None where it bound nothing. ``refused``: why no cell of it is measured.
    ``shallow``: why no cell of a depth above 1 is."""

    driver: str | None
    refused: Refused | None = None
    shallow: Refused | None = None


def qualify(
    bench: Bench,
    interface: Interface,
    cipher: Cipher,
    name: str,
    trial: Callable[[str], Mapping[str, Any]] | None,
) -> Qualified:
    """Try the driver behind a name by one interface. ``trial``: runs a driver at the depth TRIAL, where depths are
    asked for.

    Raises Refusal when the host cannot say what it bound.
    """
    lines = bench.sender.check(
        [datapath.compiled(bench), "probe", *operations.named(interface, cipher, name)], timeout=60
    )
    told = next(line for line in map(json.loads, lines.splitlines()) if line["event"] == "cipher")
    if not told["available"]:
        return Qualified(None, Refused("unsupported", f"{name}: {told['reason']}"))
    driver = str(told["driver"])
    if wrong := known_answers(bench, interface, cipher, driver):
        return Qualified(driver, Refused("invalid", wrong))
    return Qualified(driver, shallow=_shallow(driver, bool(told["async"]), trial) if trial else None)


def _shallow(driver: str, asynchronous: bool, trial: Callable[[str], Mapping[str, Any]]) -> Refused | None:
    """/proc/crypto says whether a driver queues requests, and where it says yes, the trial."""
    if not asynchronous:
        return Refused("unsupported", synchronous(driver))
    try:
        told = trial(driver)
    except AgentError as error:
        return Refused("failed", error.what)
    reason = operations.not_queued(told)
    return Refused("unsupported", reason) if reason else None


def synchronous(driver: str) -> str:
    """Why depths of a driver that /proc/crypto does not call asynchronous are not measured."""
    return (
        f"{driver} is not asynchronous: it answers each request before it returns, so nothing is ever queued and this "
        "depth is no other measurement"
    )


def offered(bench: Bench, cipher: Cipher) -> list[str]:
    """Drivers that /proc/crypto offers for a cipher, that passed their self-test and may be asked from user space."""
    text = bench.sender.read(["/proc/crypto"])["/proc/crypto"] or ""
    return [
        driver.driver
        for driver in proc_crypto.parse(text)
        if driver.algorithm == cipher.kernel
        and driver.type in TYPES[cipher.kind]
        and driver.passed
        and not driver.internal
    ]


def known_answers(bench: Bench, interface: Interface, cipher: Cipher, driver: str) -> str | None:
    """What a driver answers wrongly of the published vectors, both ways, by this interface; None when nothing."""
    for vector in (vector for vector in vectors.VECTORS if vector.cipher == cipher.name):
        for encrypt, text, due in ((True, vector.text, vector.answer), (False, vector.answer, vector.text)):
            try:
                told = bench.sender.agent.alg_answer(
                    vector.kind, driver, vector.key, vector.iv, text, vector.aad, encrypt, interface.name
                )
            except Refusal as error:
                return f"{driver} could not answer {vector.source}: {error.what}"
            if told != due:
                way = "encrypting" if encrypt else "decrypting"
                return f"{driver} gives a wrong result {way} the known answer of {vector.source}"
    return None
