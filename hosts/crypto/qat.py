"""OpenSSL's QAT engine on a host: what it lists, and what it really does.

The two differ. The engine lists AES-GCM wherever it is loaded and calls itself available; where it was built without a
cipher, or does not take the processor, it hands out OpenSSL's own function under its name, without a word.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from hosts.onhost.agent.values import Result

PROGRAM = ["openssl", "engine", "-c", "qatengine"]
PROBE = Path(__file__).parents[1] / "onhost" / "preload" / "ask_engine.py"
LISTED = {"AES-128-GCM": "id-aes128-GCM", "AES-256-GCM": "id-aes256-GCM"}
"""OpenSSL's names of a cipher: for `openssl speed`, and in the engine's list."""
AVX512F, VAES, VPCLMULQDQ = 1 << 16, 1 << (32 + 9), 1 << (32 + 10)
"""Bits of OPENSSL_ia32cap's second word: EBX and ECX of CPUID leaf 7 (OPENSSL_ia32cap(3), Intel SDM vol. 2A)."""

Doer = Literal["software", "card"]


class Asked(Protocol):
    """What looking needs of a host: ``RemoteHost`` has it."""

    python: str

    def run(self, argv: Sequence[str], timeout: float = 30.0, stdin: str | None = None) -> Result: ...


@dataclass(frozen=True)
class Engine:
    """The engine of one host."""

    version: str
    listed: frozenset[str] = frozenset()
    """The algorithms it offers, in OpenSSL's names."""
    library: str | None = None
    """Its file."""
    gcm: dict[str, Doer | None] = field(default_factory=dict)
    """Who does a cipher (OpenSSL's name); None where it is OpenSSL's own function after all."""
    takes_processor: bool = False
    """It found the processor fit for its software mode."""
    instructions: bool = False
    """The processor has the instructions of that mode."""
    hidden: bool = False
    """OPENSSL_ia32cap hides some of them from OpenSSL, which the engine does not heed."""
    device: bool = False
    """It found a card."""
    answered: bool = False
    """It takes the processor only when it is answered for it (see ``look``)."""
    countable: bool = False
    """It calls its encryption by a name that can be watched."""
    why_not: str | None = None
    """Why nothing of this could be found out."""

    def shown(self) -> dict[str, Any]:
        """As plain data for the record."""
        return asdict(self) | {"listed": sorted(self.listed)}


def look(host: Asked, version: str | None, *, emulated: bool) -> Engine | None:
    """Ask a host's engine; None where there is none.

    ``emulated``: a User Mode Linux guest. There, and only there, an engine that refuses a processor which has the
    instructions (it takes no maker but Intel) is asked what it would do if it took it.
    """
    if version is None:
        return None
    listed = frozenset(re.findall(r"[^\s,\[\]]+", _brackets(host.run(PROGRAM).stdout)))
    engine = _asked(host, version, listed, [])
    if emulated and engine.instructions and not engine.takes_processor and engine.why_not is None:
        return _asked(host, version, listed, ["answer"])
    return engine


def _brackets(text: str) -> str:
    """The engine's list: ` [RSA, id-aes256-GCM, ...]`, on a line of its own."""
    match = re.search(r"^\s+\[(.*,.*)\]\s*$", text, re.MULTILINE)
    return match[1] if match else ""


def _asked(host: Asked, version: str, listed: frozenset[str], arguments: list[str]) -> Engine:
    done = host.run([host.python, "-I", "-", *arguments], stdin=PROBE.read_text())
    try:
        answer = json.loads(done.stdout.splitlines()[-1]) if done.ok else None
    except (ValueError, IndexError):
        answer = None
    if not isinstance(answer, dict):
        last_line = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        return Engine(version, listed, why_not=f"asked what it does, it said: {last_line}")
    words = re.search(r"=0x[0-9a-f]+:0x([0-9a-f]+)", answer["processor"])
    leaf = int(words[1], 16) if words else 0
    return Engine(
        version=version,
        listed=listed,
        library=answer["library"],
        gcm={name: who if who in ("software", "card") else None for name, who in answer["gcm"].items()},
        takes_processor=answer["takes_processor"],
        instructions=all(leaf & bit for bit in (AVX512F, VAES, VPCLMULQDQ)),
        hidden=" env:" in answer["processor"],
        device=answer["device"],
        answered=bool(arguments),
        countable=answer["countable"],
    )


def why_not(engine: Engine, cipher: str) -> str | None:
    """Why this engine does not encrypt with an AES-GCM cipher, by OpenSSL's name, or None. Pure."""
    name = f"qatengine {engine.version}"
    if engine.why_not:
        return f"{name} cannot be used: {engine.why_not}"
    if LISTED.get(cipher) not in engine.listed:
        return f"{name} lists no {LISTED.get(cipher, cipher)}"
    who = engine.gcm.get(cipher)
    if who == "card":
        return None
    if engine.hidden:
        return f"instructions are hidden from user space here, and {name} would use them all the same"
    if who == "software":
        return None if engine.countable else f"{name} has no name by which its encryption could be counted"
    refused = f"{name} lists {LISTED[cipher]}, but hands out OpenSSL's own function under that name"
    return f"{refused}: {_refusal(engine)}"


def _refusal(engine: Engine) -> str:
    """Why neither of the engine's two ways leads to a cipher that it lists."""
    if engine.takes_processor or engine.answered:
        return "it was built without it"
    card = "the card that it found gets no GCM from it" if engine.device else "it found no card"
    if engine.instructions:
        return f"its software mode takes Intel's processors only, and {card}"
    return f"the processor has no AVX-512 with VAES and VPCLMULQDQ for its software mode, and {card}"
