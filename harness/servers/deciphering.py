"""What ways of receiving one stream of cipher text share: our modules on the receiver, and what they say of a transfer.

The stream comes from our own server under the run's key, padded as PKCS#7 has it. The client is that of
``servers.receiver``; it tells what the socket, or the session of /dev/crypto, says of the bytes that it deciphered.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from harness.api.bench import Bench, load
from harness.api.parameters import Parameters
from harness.api.path import Deployed, Observed, Witness
from harness.api.prices import LARGE, Asked, PriceSource
from harness.api.steps import CHUNK_BYTES, Price, Step
from harness.ciphers.interfaces import DEVCRYPTO
from harness.ciphers.table import CIPHERS
from harness.servers import cards, datapath, devcrypto, ipsec, ours, receiver, requirements, so_crypt
from hosts.errors import Refusal
from hosts.facts import Facts

By = Literal["recv", "splice", "devcrypto"]
"""Who takes the bytes: recvmsg or splice of a socket that deciphers; recvmsg, and an ioctl of /dev/crypto deciphers."""
MODULES: dict[By, str] = {"recv": so_crypt.MODULE, "splice": so_crypt.MODULE, "devcrypto": DEVCRYPTO.builds[0]}
CROSSINGS: dict[By, int] = {"recv": 2, "splice": 0, "devcrypto": 4}
"""How often each byte crosses between user and kernel memory."""


def unsupported(module: str, parameters: Parameters, sender: Facts, receiving: Facts) -> str | None:
    """Why the receiver cannot decipher this by a module of ours."""
    if reason := ours.lacking(module, receiving):
        return reason
    modules = parameters.cipher.kernel_modules if parameters.cipher else ()
    missing = requirements.missing(sender, receiving, receiver_programs=("cc", "modprobe"), receiver_modules=modules)
    return requirements.together(missing, requirements.not_approved(parameters, receiving))


def prepare(bench: Bench, by: By, parameters: Parameters) -> None:
    """Load the cipher and our module on the receiver. Raises HostLost, Refusal."""
    if parameters.cipher:
        load(bench.receiver, bench.on_receiver, *parameters.cipher.modules)
    ours.insert(bench, MODULES[by], "receiver")


def received(bench: Bench, by: By, parameters: Parameters, sent: Deployed) -> Deployed:
    """What a path streams, deciphered on the receiver. The witness of ``sent`` comes first.

    Raises HostLost, Refusal.
    """
    cipher = parameters.cipher
    if cipher is None or cipher.skcipher is None:
        raise Refusal("there is no stream of cipher text to receive")
    key = bench.carried.key(cipher)
    place = bench.receiver.put(f"{key.key}\n{key.iv}\n".encode(), f"{cipher.name}.key")
    command = [*receiver.command(bench, by, sent.url("")), "--cipher", cipher.skcipher, "--key", place]

    def verify(seen: Observed) -> Witness:
        said = sent.verify(seen)
        facts = said.facts | _facts(seen, parameters)
        reason = said.reason or wrong(by, parameters, seen)
        return Witness(facts, reason or unwatched(str(facts["deciphered_driver"]), bench.receiver_facts))

    # what arrives in the file is the payload itself
    buffer = CHUNK_BYTES if by == "devcrypto" else None
    return replace(sent, client=tuple(command), verify=verify, decipher=None, wire_bytes=int, buffer_bytes=buffer)


def _facts(seen: Observed, parameters: Parameters) -> dict[str, int | float | str | bool | None]:
    told: dict[str, Any] = (seen.client or {}).get("deciphered", {})
    return receiver.client_facts(seen, parameters) | {f"deciphered_{name}": value for name, value in told.items()}


def unwatched(driver: str, receiving: Facts) -> str | None:
    """Why what a driver did there does not count: a card may hand requests to software without a word. Pure."""
    if cards.proof(driver, receiving) is None:
        return None
    return f"{driver} deciphered, a card of the receiver, and what cards do there is not watched"


def wrong(by: By, parameters: Parameters, seen: Observed) -> str | None:
    """Why a transfer was not deciphered as is said; None where it was. Pure."""
    if reason := receiver.other_transfer(by, seen):
        return reason
    told: dict[str, Any] = (seen.client or {}).get("deciphered", {})
    due = datapath.padded(parameters.cipher, seen.payload)
    # /dev/crypto hands the padding back: taking it off is its caller's work
    out = due if by == "devcrypto" else seen.payload
    if not told.get("driver"):
        return "nothing shows who deciphered"
    if (told["bytes_in"], told["bytes_out"], told["pending"], told["failed"]) != (due, out, 0, 0):
        return (
            f"{told['driver']} took {told['bytes_in']} and gave {told['bytes_out']} bytes of {due}, kept "
            f"{told['pending']}, and {told['failed']} requests failed"
        )
    if not told["requests"]:
        return "no crypto request was made on the receiver"
    crossed, crossings = (seen.client or {})["crossing_bytes"], CROSSINGS[by]
    if not crossings * seen.payload <= crossed <= crossings * due + receiver.HEADS_BYTES:
        return f"{crossed} bytes crossed on the receiver, not {crossings} for each of {seen.payload}"
    return None


THERE = "datapath-receiver"
"""The program that tells prices, on the receiver."""


def steps(by: By, parameters: Parameters) -> tuple[Step, ...]:
    """What the receiver does beyond taking a file in clear. In place the null cipher does nothing."""
    idle = parameters.cipher is not None and parameters.cipher.name == devcrypto.IN_PLACE
    beyond = Step("receiver_devcrypto_copy") if by == "devcrypto" else Step("receiver_copy")
    return (beyond,) if idle else (beyond, Step("receiver_cipher"))


def esp_steps(parameters: Parameters) -> tuple[Step, ...]:
    """The same of packets by ESP: the cipher, and the HMAC beside one that is no AEAD."""
    packet, alone = ipsec.PACKET_BYTES, parameters.cipher is not None and parameters.cipher.aead
    cipher = Step("receiver_cipher", chunk=packet)
    return (cipher,) if alone else (cipher, Step("receiver_esp_hash", chunk=packet))


def _measure(asked: Asked) -> Mapping[str, Price]:
    """By the program that serves, run on the receiver."""
    bench, cipher = asked.bench, asked.cipher
    if reason := ours.lacking(devcrypto.MODULE, bench.receiver_facts):
        raise Refusal(f"the receiver's prices are measured by /dev/crypto, and {reason}", host=bench.receiver.name)
    load(bench.receiver, bench.on_receiver, *cipher.modules, *CIPHERS[devcrypto.IN_PLACE].modules)
    ours.insert(bench, devcrypto.MODULE, "receiver")
    chunk = LARGE if cipher.aead else CHUNK_BYTES
    argv = [bench.program(bench.receiver, THERE, datapath.program), "costs", "--chunk", str(chunk)]
    argv += ["--seconds", str(datapath.COST_SECONDS), "--interface", DEVCRYPTO.option, "--op", "decrypt"]
    argv += ["--cipher", cipher.kernel, *(["--key-bytes", str(cipher.key_bytes)] if cipher.key_bytes else [])]
    return there(datapath.parse_costs(json.loads(line) for line in bench.receiver.check(argv, timeout=60).splitlines()))


def there(found: Mapping[str, Price]) -> dict[str, Price]:
    """The receiver's prices, from those that the program tells of its host. Pure."""
    request = found["devcrypto_copy"]
    return {
        "receiver_cipher": found["kernel_cipher"],
        "receiver_devcrypto_copy": request,
        "receiver_copy": Price(0.0, request.byte_ns / 2),  # one of its two
    }


PRICES = PriceSource(
    {
        "receiver_cipher": "deciphering, called within the receiver's kernel",
        "receiver_devcrypto_copy": "a request to the receiver's /dev/crypto that copies, but for the cipher",
        "receiver_copy": "a copy within the receiver's kernel: half of what such a request's two take",
    },
    _measure,
    ciphering=frozenset({"receiver_cipher"}),
    receiver_builds=frozenset(DEVCRYPTO.builds),
)
