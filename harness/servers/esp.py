"""The kernel's ESP: what a packet costs on each host, with the HMAC that a cipher which is no AEAD has beside it."""

from __future__ import annotations

from harness.api.bench import load
from harness.api.parameters import Parameters
from harness.api.prices import Asked, PriceSource, price_of
from harness.api.steps import Price
from hosts.onhost.agent.values import Costs
from hosts.remote.changes import Scope
from hosts.remote.host import RemoteHost

HASH_SECONDS = 0.2
HASHES = {"sha1": "sha1_generic", "sha256": "sha256_generic"}
HASH_CALLS = 2
"""System calls of one digest through AF_ALG: send, recv."""


def _measure(asked: Asked) -> dict[str, Price]:
    bench, known, found = asked.bench, asked.known, dict[str, Price]()
    sides = {"esp": (bench.sender, bench.on_sender), "receiver_esp": (bench.receiver, bench.on_receiver)}
    for name, (host, scope) in sides.items():
        # the sender's cipher stands for the receiver's, which a driver of the sender's own does not
        same = host is bench.sender or asked.parameters.driver == "any"
        if name in asked.needed and "kernel_cipher" in known and same:
            told = kernel_hash(host, scope, asked.parameters, known["syscall"])
            # what AF_ALG does for a request is in the price of a call, and nothing of it in ESP's
            hashed = found[f"{name}_hash"] = Price(0.0, told.byte_ns)
            found[name] = known["kernel_cipher"] if asked.cipher.aead else known["kernel_cipher"] + hashed
    return found


def kernel_hash(host: RemoteHost, scope: Scope, parameters: Parameters, syscall: Price) -> Price:
    """What the kernel's HMAC costs: as AF_ALG has it, without the system calls."""
    load(host, scope, "algif_hash", "hmac", HASHES[parameters.integrity])
    told = host.agent.hash_cost(f"hmac({parameters.integrity})", HASH_SECONDS)
    return hash_price(told, syscall)


def hash_price(told: Costs, syscall: Price) -> Price:
    """The kernel's own part of a digest that was asked for from user space."""
    asked = price_of(told)
    return Price(max(0.0, asked.call_ns - HASH_CALLS * syscall.call_ns), asked.byte_ns)


PRICES = PriceSource(
    {
        "esp": "a packet by ESP: cipher and integrity",
        "receiver_esp": "a packet by the receiver's ESP",
        "esp_hash": "the integrity alone of a packet by ESP",
        "receiver_esp_hash": "the same of the receiver's ESP",
    },
    _measure,
    ciphering=frozenset({"esp"}),
    stands_on=frozenset({"kernel_cipher", "syscall"}),
)
