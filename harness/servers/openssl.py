"""OpenSSL in user space: what its ciphers cost on the sender, by its own ``openssl speed``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from harness.api.parameters import Parameters
from harness.api.prices import LARGE, SMALL, Asked, PriceSource
from harness.api.steps import Price, from_two
from hosts.errors import Refusal
from hosts.remote.host import RemoteHost

SPEED_STEP_SECONDS = 0.01
"""The step of `openssl speed`'s clock: times(2), in ticks of sysconf(_SC_CLK_TCK)."""


@dataclass(frozen=True)
class Speed:
    """What `openssl speed` did: so many operations, in the seconds that it counted in steps of SPEED_STEP_SECONDS."""

    operations: int
    seconds: float

    @property
    def nanoseconds(self) -> float:
        """Of one operation."""
        return self.seconds / self.operations * 1e9


def speed(host: RemoteHost, environment: list[str], what: list[str], size: int) -> Speed:
    """`openssl speed` for one second on buffers of ``size`` bytes.

    Raises Refusal when OpenSSL refuses or says something else than expected.
    """
    argv = [*environment, "openssl", "speed", "-mr", "-elapsed", "-seconds", "1", "-bytes", str(size), *what]
    done = host.run(argv, timeout=30)
    found = parse_speed(done.stderr) if done.ok else None  # the rate goes to stdout, what it was made of does not
    if found is None:
        said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise Refusal(f"openssl speed {' '.join(what)} gave no result: {said}", host=host.name)
    return found


def parse_speed(text: str) -> Speed | None:
    """The machine-readable progress of `openssl speed -mr`; None where it has no result."""
    match = re.search(r"^\+R:(\d+):[^:\n]+:(\d+\.\d+)\s*$", text, re.MULTILINE)
    found = Speed(int(match[1]), float(match[2])) if match else None
    return found if found and found.operations and found.seconds else None


def price(host: RemoteHost, environment: list[str], what: list[str]) -> Price:
    """What `openssl speed` with these arguments costs there for a TLS record."""
    small, large = (speed(host, environment, what, size).nanoseconds for size in (SMALL, LARGE))
    return from_two((SMALL, small), (LARGE, large))


def of_record(host: RemoteHost, environment: list[str], parameters: Parameters, *, deciphered: bool = False) -> Price:
    """What a TLS record with this cipher and integrity costs OpenSSL there. Raises Refusal.

    ``deciphered``: an AEAD's, as TLS has it, with its IV, additional data and tag; of another cipher the price of
    enciphering stands for it.
    """
    cipher, integrity = parameters.cipher, parameters.integrity
    if cipher is None or cipher.evp is None:
        raise Refusal(f"OpenSSL has no {parameters.title}")
    if cipher.aead:
        return price(host, environment, ["-evp", cipher.evp, *(["-aead", "-decrypt"] if deciphered else [])])
    try:
        return price(host, environment, ["-evp", f"{cipher.evp}-HMAC-{integrity}".lower()])
    except Refusal:  # the processor has no instructions for it: OpenSSL then does one after the other
        return price(host, environment, ["-evp", cipher.evp]) + price(host, environment, ["-hmac", integrity])


def _measure(asked: Asked) -> dict[str, Price]:
    return {"openssl": of_record(asked.bench.sender, asked.bench.in_environment(), asked.parameters)}


def _received(asked: Asked) -> dict[str, Price]:
    host, environment = asked.bench.receiver, asked.bench.in_environment()
    return {"receiver_openssl": of_record(host, environment, asked.parameters, deciphered=True)}


RECEIVED = PriceSource({"receiver_openssl": "a TLS record deciphered by the receiver's OpenSSL"}, _received)
PRICES = PriceSource({"openssl": "a TLS record by OpenSSL"}, _measure, ciphering=frozenset({"openssl"}))
