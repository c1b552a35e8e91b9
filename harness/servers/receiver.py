"""Our own client on the receiver (``hosts/onhost/receiver``): compiled, started, and what proves how it received.

It fetches in ways that differ by nothing but who takes the bytes from the socket. Where the kernel's TLS is to
decipher, the library makes the handshake only, and the witness is threefold: the kernel's counters of connections
(Documentation/networking/tls.rst), the socket's own word about itself, and that the library read nothing afterwards.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import hosts
from harness.api.bench import Bench, load
from harness.api.parameters import Parameters
from harness.api.path import Deployed, Observed, Witness
from harness.api.steps import Taking
from harness.servers import requirements
from hosts.errors import Refusal
from hosts.facts import Facts
from hosts.onhost.agent.values import Counter, FileCounter
from hosts.programs import Program

ONHOST = Path(hosts.__file__).parent / "onhost"
NAME = "receive"
COMPILE = ("cc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-Wl,--no-as-needed", "-ldl")
SHARED = ("load/answer.*", "load/tls.*", "load/openssl.c", "datapath/util.*")
"""Sources of other programs of ours that it is made of, too."""
HEADS_BYTES = 4096
"""More than a request and an answer's head take, with what one look at the head may hold of the file."""
KERNEL_TLS_13 = (3, 2)
"""The first OpenSSL that hands the kernel its keys for receiving of TLS 1.3; of TLS 1.2 any from 3.0 does."""
COUNTERS: dict[str, Counter] = {
    name: FileCounter("/proc/net/tls_stat", rf"^{field}\s+(\d+)")
    for name, field in (
        ("tls_rx_software", "TlsRxSw"),
        ("tls_rx_device", "TlsRxDevice"),
        ("tls_decrypt_errors", "TlsDecryptError"),
        ("tls_padding_violations", "TlsRxNoPadViolation"),
    )
}
"""Connections whose receiving the kernel took over, and those that it handed to a network card; records that did not
decipher; records with padding where none was to be, which kernels before 6.0 do not count."""
CALLS = "receiver_calls_"
"""What begins the names of facts that count one of the client's calls."""
WHATEVER_IS_THERE = Taking()
By = Literal["library", "recv", "splice"]
"""Who takes the bytes from the socket: the TLS library, or the kernel's calls."""


def program() -> Program:
    """What it is made of."""
    headers = [ONHOST / "modules" / name / f"{name}.h" for name in ("so_crypt", "devcrypto")]
    shared = [file for name in SHARED for file in sorted(ONHOST.glob(name))]
    files = [*sorted((ONHOST / "receiver").glob("*.[ch]")), *shared, *headers]
    return Program(NAME, COMPILE, {file.name: file.read_bytes() for file in files})


def no_openssl(parameters: Parameters) -> str | None:
    """Why OpenSSL cannot make the handshake, on any host."""
    if reason := requirements.no_cipher_suite(parameters):
        return reason
    if parameters.cipher_suite and parameters.cipher_suite.openssl is None:
        return f"our client speaks TLS by OpenSSL, which has no {parameters.title}"
    return None


def no_kernel_tls(parameters: Parameters) -> str | None:
    """Why no kernel's TLS can decipher this."""
    if parameters.cipher is None or parameters.cipher.ktls is None:
        return f"the kernel's TLS has no {parameters.title}: linux/tls.h lists AEAD ciphers only"
    return no_openssl(parameters)


def missing(sender: Facts, receiver: Facts) -> str | None:
    """Why the client cannot be there."""
    return requirements.missing(sender, receiver, receiver_programs=("cc",))


def no_library(sender: Facts, receiver: Facts) -> str | None:
    """Why there is no OpenSSL for it."""
    return requirements.missing(sender, receiver, receiver_programs=("cc", "openssl"))


def no_receiving_kernel(parameters: Parameters, sender: Facts, receiver: Facts) -> str | None:
    """Why the receiver's kernel cannot decipher TLS, or OpenSSL there not hand it the keys."""
    lacking = requirements.missing(
        sender, receiver, receiver_programs=("cc", "openssl", "modprobe"), receiver_modules=("tls",)
    )
    version = receiver.programs.get("openssl") or ""
    found, older = _version(version), None
    if found and found < (3, 0):
        older = f"the receiver's {version} has no kernel TLS: 3.0 is needed"
    elif found and parameters.tls == "1.3" and found < KERNEL_TLS_13:
        needed = ".".join(map(str, KERNEL_TLS_13))
        older = (
            f"the receiver's {version} does not hand the kernel its keys for receiving of TLS 1.3: {needed} is needed"
        )
    elif "KTLS" in receiver.openssl_disabled:
        older = f"the receiver's {version} is built without kernel TLS"
    unasked = requirements.unasked(parameters.cipher.kernel_modules if parameters.cipher else (), receiver)
    return requirements.together(lacking, older, requirements.not_approved(parameters, receiver), unasked)


def _version(said: str) -> tuple[int, ...]:
    found = re.search(r"(\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else ()


def command(bench: Bench, by: str, url: str, taken: Taking = WHATEVER_IS_THERE) -> list[str]:
    """Our client's, for a server whose answers are at ``url``: compiled once a run. ``taken``: of a rehearsal, how.

    Raises Refusal.
    """
    port = url.rstrip("/").rpartition(":")[2]
    program_there = bench.program(bench.receiver, NAME, program)
    more = [*(["--sync"] if bench.disk else []), *(["--at-most", str(taken.at_most)] if taken.at_most else [])]
    more += ["--chunks"] if taken.chunks else []
    return [program_there, "--way", by, "--address", str(bench.address), "--port", port, *more]


def received(bench: Bench, by: By, parameters: Parameters, sent: Deployed) -> Deployed:
    """What a path sends, received by our client: with TLS where ``sent`` speaks it, as it comes where not.

    The witness of ``sent`` comes first. Raises Refusal.
    """
    in_kernel = sent.tls is not None and by != "library"
    if in_kernel and parameters.cipher:
        load(bench.receiver, bench.on_receiver, "tls", *parameters.cipher.modules)
    words = command(bench, by, sent.url(""))
    if sent.tls:
        if sent.tls.openssl is None:
            raise Refusal("our client speaks TLS by OpenSSL, which has not the path's cipher suite")
        words += ["--tls", "openssl", "--ca", sent.tls.ca, "--tls-version", sent.tls.version]
        words += ["--suite", sent.tls.openssl]

    def verify(seen: Observed) -> Witness:
        said = sent.verify(seen)
        facts = said.facts | _facts(seen, parameters)
        return Witness(facts, said.reason or wrong(by, in_kernel, parameters, sent, seen))

    return replace(
        sent, client=tuple(words), verify=verify, buffer_bytes=None, receiver_counters=sent.receiver_counters | COUNTERS
    )


def client_facts(seen: Observed, parameters: Parameters) -> dict[str, int | float | str | bool | None]:
    """What our client tells of any transfer, for the record."""
    told = seen.client or {}
    return {
        "sent_by": parameters.sent_by,
        "received_by": told.get("way"),
        "receiver_crossing_bytes": told.get("crossing_bytes"),
        "receiver_voluntary_switches": told.get("voluntary_switches"),
        "receiver_calls": sum(told.get("calls", {}).values()) if told else None,
        **{f"{CALLS}{name}": count for name, count in told.get("calls", {}).items()},
    }


def _facts(seen: Observed, parameters: Parameters) -> dict[str, int | float | str | bool | None]:
    return client_facts(seen, parameters) | {
        "kernel_tls_received": seen.receiver["tls_rx_software"],
        "decrypt_errors": seen.receiver["tls_decrypt_errors"],
    }


def other_transfer(by: str, seen: Observed) -> str | None:
    """Why what the client tells is not of this transfer, received so; None where it is. Pure."""
    told = seen.client
    if told is None:
        return "the client told nothing of the transfer"
    if (told["way"], told["bytes"]) != (by, seen.payload):
        return f"the client received {told['bytes']} bytes by {told['way']}, not {seen.payload} by {by}"
    return None


def wrong(by: By, in_kernel: bool, parameters: Parameters, sent: Deployed, seen: Observed) -> str | None:
    """Why a transfer was not received as is said; None where it was. Pure."""
    if reason := other_transfer(by, seen):
        return reason
    told = seen.client or {}
    if sent.tls:
        due = f"TLSv{sent.tls.version} {sent.tls.openssl}"
        if (spoken := f"{told.get('version')} {told.get('suite')}") != due:
            return f"the client spoke {spoken}, not {due}"
    hands = _not_taken_over(seen) or _not_said(parameters, told) if in_kernel else _taken_over(seen, told)
    return hands or _crossed(by, seen, told)


def _taken_over(seen: Observed, told: dict[str, Any]) -> str | None:
    """Whether the kernel's TLS had a part in it, where none is due."""
    taken = (seen.receiver["tls_rx_software"] or 0) + (seen.receiver["tls_rx_device"] or 0)
    if taken:
        return f"the kernel's TLS took over receiving of {taken} connections, not of none"
    says = told.get("kernel_cipher")
    return f"the socket says that the kernel deciphers {says}" if says else None


def _not_taken_over(seen: Observed) -> str | None:
    """Why the kernel's counters do not show that it deciphered every record of each connection, by itself."""
    software, card = seen.receiver["tls_rx_software"], seen.receiver["tls_rx_device"]
    if software is None:
        return "nothing shows that the kernel deciphered: its counters of connections could not be read"
    if card:
        return f"a network card deciphered {card} connections (TlsRxDevice), not the kernel"
    if software != seen.requests:
        return f"the kernel's TLS took over receiving of {software} connections, not {seen.requests}"
    if errors := seen.receiver["tls_decrypt_errors"]:
        return f"{errors} records did not decipher (TlsDecryptError)"
    if padded := seen.receiver["tls_padding_violations"]:
        return f"{padded} records were padded where none was to be (TlsRxNoPadViolation)"
    return None


def _not_said(parameters: Parameters, told: dict[str, Any]) -> str | None:
    """Why the socket's own word, and the library's, do not say the same."""
    says = f"{told.get('kernel_version')} {told.get('kernel_cipher')}"
    due = f"{parameters.tls} {parameters.cipher.ktls if parameters.cipher else None}"
    if says != due:
        return f"the socket says that the kernel deciphers {says}, not {due}"
    if told["library_bytes"]:
        return f"the TLS library read {told['library_bytes']} bytes after the handshake"
    return None


def _crossed(by: By, seen: Observed, told: dict[str, Any]) -> str | None:
    """Whether as much crossed between user and kernel memory as such a way takes."""
    crossed = told["crossing_bytes"]
    if by == "splice" and crossed > HEADS_BYTES:
        return f"{crossed} bytes crossed on the receiver, where heads need at most {HEADS_BYTES}"
    if by != "splice" and crossed < 2 * seen.payload:
        return f"{crossed} bytes crossed on the receiver, where reading and writing takes {2 * seen.payload} at least"
    return None
