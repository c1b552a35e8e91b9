"""The kernel's ESP: what a packet costs on each host, with the HMAC that a cipher which is no AEAD has beside it."""

from __future__ import annotations

from harness.api.bench import Bench, load
from harness.api.parameters import Parameters
from harness.api.prices import Asked, PriceSource, price_of
from harness.api.steps import Price
from harness.ciphers.interfaces import DEVCRYPTO, INTERFACES
from harness.servers import ours, requirements
from hosts.errors import Refusal
from hosts.onhost.agent.values import Costs, CryptoInterface
from hosts.roles import Role

HASH_SECONDS = 0.2
HASHES = {"sha1": "sha1_generic", "sha256": "sha256_generic"}
HASH_CALLS: dict[CryptoInterface, int] = {"AF_ALG": 2, "/dev/crypto": 1}
"""System calls of one digest: send and recv, or an ioctl."""
SIDES: dict[str, Role] = {"esp": "sender", "receiver_esp": "receiver"}


def _measure(asked: Asked) -> dict[str, Price]:
    known, found = asked.known, dict[str, Price]()
    for name, role in SIDES.items():
        # the sender's cipher stands for the receiver's, which a driver of the sender's own does not
        same = role == "sender" or asked.parameters.driver == "any"
        if {name, f"{name}_hash"} & asked.needed and "kernel_cipher" in known and same:
            told = kernel_hash(asked.bench, role, asked.parameters, known["syscall"])
            # what the interface does for a request is in the price of a call, and nothing of it in ESP's
            hashed = found[f"{name}_hash"] = Price(0.0, told.byte_ns)
            found[name] = known["kernel_cipher"] if asked.cipher.aead else known["kernel_cipher"] + hashed
    return found


def _through(bench: Bench, role: Role) -> CryptoInterface:
    """/dev/crypto where our module is there, else AF_ALG."""
    facts = bench.facts if role == "sender" else bench.receiver_facts
    return "/dev/crypto" if ours.lacking(DEVCRYPTO.builds[0], facts) is None else "AF_ALG"


def _by(asked: Asked) -> dict[str, str]:
    through: dict[str, str] = {name: _through(asked.bench, role) for name, role in SIDES.items()}
    return through | {f"{name}_hash": interface for name, interface in through.items()}


def kernel_hash(bench: Bench, role: Role, parameters: Parameters, syscall: Price) -> Price:
    """What the kernel's HMAC costs a host, without the system calls that ask for it."""
    host, scope = (bench.sender, bench.on_sender) if role == "sender" else (bench.receiver, bench.on_receiver)
    interface = _through(bench, role)
    own = ("algif_hash",) if interface == "AF_ALG" else ()
    modules = (*own, "hmac", HASHES[parameters.integrity])
    if why := requirements.unasked(modules, bench.facts if role == "sender" else bench.receiver_facts):
        raise Refusal(f"the HMAC is not timed: {why}")
    load(host, scope, *modules)
    for module in INTERFACES[interface].builds:
        ours.insert(bench, module, role)
    told = host.agent.hash_cost(f"hmac({parameters.integrity})", HASH_SECONDS, interface)
    return hash_price(told, syscall, HASH_CALLS[interface])


def hash_price(told: Costs, syscall: Price, calls: int) -> Price:
    """The kernel's own part of a digest that was asked for from user space, in so many calls."""
    asked = price_of(told)
    return Price(asked.call_ns - calls * syscall.call_ns, asked.byte_ns)


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
    builds=frozenset(DEVCRYPTO.builds),
    receiver_builds=frozenset(DEVCRYPTO.builds),
    by=_by,
)
