"""What the steps of data paths cost on these hosts: measured, untimed, right before a suite's blocks.

Each price has one way of being measured, and is only measured where a path of the suite has that step.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness import ceiling
from harness.bench import Bench, load
from harness.ceiling import Price
from harness.ciphers import CIPHERS
from harness.paths import _datapath, _nginx, _qat
from harness.setup import Setup
from hosts.changes import Scope
from hosts.errors import HarnessError
from hosts.remote import RemoteHost

COPIES = frozenset({"syscall", "read", "alg_send", "alg_sendfile", "tcp_copy"})
CIPHER = frozenset({"cipher", "kernel_cipher", "esp", "receiver_esp"})
SMALL, LARGE = 256, 16384
"""Bytes of the two records that a library's price is made of; a TLS record holds 2^14 at most (RFC 8446, 5.1)."""
SPEED_STEP_SECONDS = 0.01
"""The step of `openssl speed`'s clock: times(2), in ticks of sysconf(_SC_CLK_TCK)."""
HASH_SECONDS = 0.5
HASHES = {"sha1": "sha1_generic", "sha256": "sha256_generic"}
HASH_CALLS = 2
"""System calls of one digest through AF_ALG: send, recv."""


def measure(bench: Bench, setup: Setup, needed: set[str]) -> dict[str, Price]:
    """The prices that are needed, by name. Raises HarnessError when a host refuses."""
    found: dict[str, Price] = {}
    cipher = setup.cipher
    if needed & (COPIES | CIPHER) and cipher:
        if cipher.aead and needed & COPIES:
            null = CIPHERS["null"]
            _datapath.load_alg(bench, null)
            found |= _costs(bench, null.kernel, None)
        _datapath.load_alg(bench, cipher)
        found |= _costs(bench, cipher.kernel if setup.driver == "any" else setup.driver, cipher.key_bytes or None)
    for name, host, scope in (
        ("esp", bench.sender, bench.on_sender),
        ("receiver_esp", bench.receiver, bench.on_receiver),
    ):
        # the sender's cipher stands for the receiver's, which a driver of the sender's own does not
        same = host is bench.sender or setup.driver == "any"
        if name in needed and "kernel_cipher" in found and same:
            found[name] = found["kernel_cipher"] + _kernel_hash(host, scope, setup, found["syscall"])
    if "openssl" in needed:
        found["openssl"] = _openssl(bench, setup)
    if "openssl_qat" in needed and (price := _openssl_qat(bench, setup)):
        found["openssl_qat"] = price
    for name, host in (("gnutls", bench.sender), ("receiver_gnutls", bench.receiver)):
        if name in needed and (price := _gnutls(host, setup)):
            found[name] = price
    return {name: price for name, price in found.items() if name in needed}


def _costs(bench: Bench, cipher: str, key_bytes: int | None) -> dict[str, Price]:
    """What calls, copies and the cipher cost on the sender, by the program that serves."""
    argv = [_datapath.compiled(bench), "costs", "--cipher", cipher, "--seconds", "3"]
    if key_bytes:
        argv += ["--key-bytes", str(key_bytes)]
    return ceiling.prices(json.loads(line) for line in bench.sender.check(argv, timeout=60).splitlines())


def _kernel_hash(host: RemoteHost, scope: Scope, setup: Setup, syscall: Price) -> Price:
    """What the kernel's HMAC costs beside a cipher that is no AEAD: as AF_ALG has it, without the system calls."""
    if setup.cipher is None or setup.cipher.aead:
        return Price(0.0, 0.0)
    load(host, scope, "algif_hash", "hmac", HASHES[setup.integrity])
    told = host.call("hash_cost", 30.0, name=f"hmac({setup.integrity})", seconds=HASH_SECONDS)
    return hash_price(told, syscall)


def hash_price(told: Mapping[str, Mapping[str, float]], syscall: Price) -> Price:
    """The kernel's own part of a digest that was asked for from user space."""
    small, large = told["small"], told["large"]
    asked = ceiling.from_two((int(small["bytes"]), small["min_ns"]), (int(large["bytes"]), large["min_ns"]))
    return Price(max(0.0, asked.call_ns - HASH_CALLS * syscall.call_ns), asked.byte_ns)


def _gnutls(host: RemoteHost, setup: Setup) -> Price | None:
    if setup.cipher is None or setup.cipher.gnutls is None:
        return None
    mac = None if setup.cipher.aead else setup.integrity.upper()
    told = host.call("gnutls_cost", 30.0, cipher=setup.cipher.gnutls, mac=mac, size=LARGE, seconds=1.0)
    return ceiling.from_two((told["small"]["size"], told["small"]["ns"]), (told["large"]["size"], told["large"]["ns"]))


def _openssl(bench: Bench, setup: Setup) -> Price:
    """What OpenSSL costs for a TLS record on the sender, by its own `openssl speed`, in the servers' environment."""
    if setup.cipher is None or setup.cipher.evp is None:
        raise HarnessError("there is no cipher to ask OpenSSL for")
    if setup.cipher.aead:
        return _speed(bench, ["-evp", setup.cipher.evp])
    stitched = f"{setup.cipher.evp}-HMAC-{setup.integrity}".lower()
    try:
        return _speed(bench, ["-evp", stitched])
    except HarnessError:  # the processor has no instructions for it: OpenSSL then does one after the other
        return _speed(bench, ["-evp", setup.cipher.evp]) + _speed(bench, ["-hmac", setup.integrity])


def _openssl_qat(bench: Bench, setup: Setup) -> Price | None:
    """The same by qatengine; None where that is a card, which works beside the processor, or did not do it."""
    if setup.cipher is None or setup.cipher.evp is None:
        return None
    attached = _qat.attach(bench, "speed", setup.cipher.evp)
    if attached.proof:
        return None
    environment = _nginx.in_environment(attached.environment)
    price = _speed(bench, ["-engine", "qatengine", "-evp", setup.cipher.evp], environment)
    return price if bench.sender.observe(attached.counters)["values"][_qat.BYTES] else None


def _speed(bench: Bench, what: list[str], environment: Sequence[str] = ()) -> Price:
    variables = [*bench.in_environment(), *environment]
    small, large = (speed(bench.sender, variables, what, size).nanoseconds for size in (SMALL, LARGE))
    return ceiling.from_two((SMALL, small), (LARGE, large))


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

    Raises HarnessError when OpenSSL refuses or says something else than expected.
    """
    argv = [*environment, "openssl", "speed", "-mr", "-elapsed", "-seconds", "1", "-bytes", str(size), *what]
    done = host.run(argv, timeout=30)
    found = parse_speed(done.stderr) if done.ok else None  # the rate goes to stdout, what it was made of does not
    if found is None:
        said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise HarnessError(f"openssl speed {' '.join(what)} gave no result: {said}", host=host.name)
    return found


def parse_speed(text: str) -> Speed | None:
    """The machine-readable progress of `openssl speed -mr`; None where it has no result."""
    match = re.search(r"^\+R:(\d+):[^:\n]+:(\d+\.\d+)\s*$", text, re.MULTILINE)
    found = Speed(int(match[1]), float(match[2])) if match else None
    return found if found and found.operations and found.seconds else None
