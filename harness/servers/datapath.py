"""``datapath``, our own small file server, for the paths that no common server takes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from functools import partial
from pathlib import Path
from typing import Any

import hosts
from harness.api import steps
from harness.api.bench import Bench, Key, load
from harness.api.parameters import Parameters
from harness.api.path import Deployed, Observed, Witness
from harness.api.prices import LARGE, Asked, PriceSource
from harness.api.steps import Price
from harness.ciphers.interfaces import AF_ALG, DEVCRYPTO, Interface
from harness.ciphers.table import CIPHERS, Cipher
from harness.servers import cards, ours, requirements
from hosts.errors import Refusal
from hosts.facts import Facts
from hosts.onhost.agent.values import Decipher, LogTail
from hosts.programs import Program

ONHOST = Path(hosts.__file__).parent / "onhost"
SHARED = "datapath"
DEARER = "dearer_ns"
"""What a request's line has where the server was told to be dearer than its path: never in a deployment of ours."""
COMPILE = ("cc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread")


def program() -> Program:
    """What it is made of: its sources, and how our modules are spoken to."""
    headers = [ONHOST / "modules" / name / f"{name}.h" for name in ("so_crypt", "devcrypto")]
    files = [*sorted((ONHOST / "datapath").glob("*.[ch]")), *headers]
    return Program(SHARED, COMPILE, {file.name: file.read_bytes() for file in files})


def compiled(bench: Bench) -> str:
    """The program on the sender, compiled once a run, for a lab once for its image; its path.

    Raises Refusal where it cannot be compiled.
    """
    return bench.program(bench.sender, SHARED, program)


def padded(cipher: Cipher | None, size: int) -> int:
    """Bytes on the wire for a payload: PKCS#7 adds 1 to one block's worth, a block size of 1 nothing."""
    if cipher is None or not cipher.padded:
        return size
    return size // cipher.block_bytes * cipher.block_bytes + cipher.block_bytes


def lengths(told: Mapping[str, Any]) -> dict[str, int]:
    """``key_bits`` and ``tag_bits`` of what the program says it enciphered with."""
    return {"key_bits": 8 * told["key_bytes"], "tag_bits": 8 * told.get("tag_bytes", 0)}


def other_length(cipher: Cipher, told: Mapping[str, Any]) -> str | None:
    """Why what the program enciphered with is not this cipher by its lengths, or None."""
    found, due = lengths(told), {"key_bits": 8 * cipher.key_bytes, "tag_bits": 8 * cipher.tag_bytes}
    wrong = [name for name in due if found[name] != due[name]]
    return "; ".join(f"the {name[:3]} had {found[name]} bits, not {due[name]}" for name in wrong) or None


def no_skcipher(parameters: Parameters) -> str | None:
    """Why the schemes that stream a file through one cipher request after another cannot use this cipher."""
    if parameters.cipher and parameters.cipher.skcipher:
        return None
    if parameters.cipher and parameters.cipher.aead:
        return f"{parameters.title} is an AEAD, which needs records with tags of their own: this scheme only streams"
    return f"the kernel crypto API has no skcipher for {parameters.title}"


def unsupported_alg(parameters: Parameters, sender: Facts, receiver: Facts) -> str | None:
    """Why AF_ALG with this cipher cannot run on the sender."""
    cipher = parameters.cipher
    modules = cipher.kernel_modules if cipher else ()
    missing = requirements.missing(
        sender, receiver, sender_programs=("cc", "modprobe"), sender_modules=("algif_skcipher", *modules)
    )
    name = str(cipher.skcipher if cipher and parameters.driver == "any" else parameters.driver)
    return requirements.together(missing, requirements.no_algorithm(sender, "skcipher", name) if cipher else None)


def serve(
    bench: Bench, name: str, parameters: Parameters, rule: Callable[[Observed, dict[str, int]], str | None]
) -> Deployed:
    """Start it in the mode called like the path. ``rule`` says what of a request's counts speaks against that path."""
    program, port, cipher, driver = compiled(bench), bench.port(), parameters.cipher, parameters.driver
    chunk = parameters.buffer_bytes or steps.CHUNK_BYTES
    place = name if parameters.buffer_bytes is None else f"{name}-{chunk}"
    argv = [program, "serve", "--mode", name, "--address", str(bench.address), "--port", str(port)]
    argv += ["--root", bench.payload_directory, "--chunk", str(chunk)]
    if parameters.at_once:
        argv += ["--connections", str(max(2, parameters.at_once))]  # 1 would be another way of serving
    if parameters.workers:
        argv += ["--workers", str(parameters.workers)]
    key: Key | None = None
    if cipher:
        key = bench.carried.key(cipher)
        algorithm = cipher.skcipher if driver == "any" else driver
        argv += ["--cipher", str(algorithm)]
    stdin = f"{key.key}\n{key.iv}\n" if key else None
    served = bench.on_sender.serve(
        f"datapath for {name}", argv, str(bench.address), port, f"{bench.folder}/{place}", stdin
    )
    log = served.stdout
    said = bench.sender.agent.lines([LogTail(log, 0, 1)], timeout=5.0)[0]
    if not said:
        raise Refusal("datapath did not say what it bound", host=bench.sender.name, commands=[" ".join(argv)])
    listening = json.loads(said[0])
    found, algorithm = str(listening.get("driver")), listening.get("algorithm")
    if driver != "any" and found != driver:
        raise Refusal(f"driver {driver} was asked for and {found} was bound", host=bench.sender.name)
    if cipher and algorithm != cipher.skcipher:
        raise Refusal(f"{found} is a driver of {algorithm}, not of {cipher.skcipher}", host=bench.sender.name)
    base = bench.base_url("http", port)

    def verify(seen: Observed) -> Witness:
        requests = [line for line in seen.log if line.get("event") == "request"]
        if len(requests) != seen.requests:
            due = "one" if seen.requests == 1 else str(seen.requests)
            return Witness({"server_requests": len(requests)}, f"the server logged {len(requests)} requests, not {due}")
        facts = _summed(requests) | ({"algorithm": algorithm, **lengths(requests[0])} if cipher else {})
        if seen.load:
            facts |= {"server_requests": len(requests), "connections": seen.connections}
            if seen.connections != seen.connections_due:
                return Witness(facts, f"{seen.connections} connections were made, not {seen.connections_due}")
        if "splice" in listening:
            facts["splice"] = listening["splice"]  # kernels differ: by reference, or with a copy inside the kernel
        # of many requests most have the very same line
        reasons = (wrong(seen, line) for line in {id(line): line for line in requests}.values())
        return Witness(facts, next(filter(None, reasons), None))

    def wrong(seen: Observed, line: dict[str, Any]) -> str | None:
        if line.get("error") or DEARER in line:
            said = f"says: {line['error']}" if line.get("error") else f"spent {line[DEARER]} ns on purpose"
            return f"the server {said}"
        if line["bytes"] != padded(cipher, seen.payload):
            return f"the server sent {line['bytes']} bytes, not {padded(cipher, seen.payload)}"
        if cipher and line.get("driver") != found:
            return f"the driver was {line.get('driver')}, not {found}"
        if cipher and (why := other_length(cipher, line) if line["requests"] else "no crypto request was made"):
            return why
        return rule(seen, line)

    decipher = None
    if cipher and cipher.evp and key:
        decipher = Decipher(cipher.evp, key.key, key.iv)
    deployed = Deployed(
        url=lambda payload: f"{base}/{payload}",
        log=log,
        server=served.number,
        verify=verify,
        decipher=decipher,
        wire_bytes=partial(padded, cipher),
        driver_found=found if cipher else None,
        counts=True,
        buffer_bytes=chunk,
    )
    return cards.watched(deployed, found, bench.facts, lambda _seen, said: int(said.facts.get("crypto_requests") or 0))


def load_alg(bench: Bench, cipher: Cipher | None) -> None:
    """AF_ALG and a cipher on the sender, as journalled changes: the kernel would else load them by itself.

    Both kinds of AF_ALG, because a name is tried as one, then as the other; not what is not to be loaded there. Raises
    Refusal where it would do so all the same.
    """
    needed = (f"algif_{cipher.kind}", *cipher.kernel_modules) if cipher else ("algif_skcipher",)
    if why := requirements.unasked(needed, bench.facts):
        raise Refusal(f"AF_ALG is not asked: {why}")
    modules = cipher.modules if cipher else ()
    kinds = [name for name in ("algif_skcipher", "algif_aead") if name not in bench.facts.af_alg.blacklisted]
    load(bench.sender, bench.on_sender, *kinds, *modules)


def make_ready(bench: Bench, interface: Interface, cipher: Cipher) -> None:
    """An interface and a cipher on the sender, as journalled changes. Raises Refusal, HostLost."""
    if interface is AF_ALG:
        load_alg(bench, cipher)
        return
    load(bench.sender, bench.on_sender, *cipher.modules)
    for module in interface.builds:
        ours.insert(bench, module)


def _summed(requests: list[dict[str, Any]]) -> dict[str, int | float | str | bool | None]:
    """What requests of one server took together; their driver is that of the first."""
    facts: dict[str, int | float | str | bool | None] = {
        "server_bytes": sum(line["bytes"] for line in requests),
        "crypto_requests": sum(line["requests"] for line in requests),
        "driver": requests[0].get("driver"),
        "crossing_bytes": sum(line["crossing_bytes"] for line in requests),
        "copied_bytes": sum(line["copied_bytes"] for line in requests),
    }
    calls: Counter[str] = Counter()
    for line in requests:
        calls.update(line["calls"])
    return facts | {f"calls_{call}": count for call, count in calls.items() if count}


COST_SECONDS = 0.3
COUNT = "count"
"""What counting costs, of a rehearsal's work: each count a byte, each time a look at the clock. Taken in turn with the
cipher, so that their ratio holds however fast the host is just then."""


OF_AF_ALG = frozenset({"alg_send", "alg_sendfile", "cipher"})
OF_DEVCRYPTO = frozenset({"devcrypto_copy", "devcrypto_map"})
"""Prices of the interfaces' own."""
OF_EITHER = frozenset({"kernel_cipher"})
"""What is measured through /dev/crypto where our module is there, else through AF_ALG."""


def asked_through(needed: AbstractSet[str], sender: Facts) -> list[Interface]:
    """The interfaces that these prices are measured through. Pure."""
    there = ours.lacking(DEVCRYPTO.builds[0], sender) is None
    through = {
        DEVCRYPTO: bool(needed & OF_DEVCRYPTO) or (there and bool(needed & OF_EITHER)),
        AF_ALG: bool(needed & OF_AF_ALG) or (not there and bool(needed & OF_EITHER)),
    }
    return [interface for interface, wanted in through.items() if wanted]


def _by(asked: Asked) -> dict[str, str]:
    through = asked_through(asked.needed & OF_EITHER, asked.bench.facts)
    return dict.fromkeys(asked.needed & OF_EITHER, through[0].name) if through else {}


def _measure(asked: Asked) -> dict[str, Price]:
    """By the program that serves."""
    bench, cipher, driver = asked.bench, asked.parameters.cipher, asked.parameters.driver
    # the larger of two calls: as large as paths make them, since the caches are part of the price
    chunk = LARGE if cipher and cipher.aead else steps.CHUNK_BYTES
    argv = [compiled(bench), "costs", "--chunk", str(chunk), "--seconds", str(COST_SECONDS)]
    for interface in asked_through(asked.needed, bench.facts):
        make_ready(bench, interface, asked.cipher)
        if interface is DEVCRYPTO:  # what a request costs without a cipher
            load(bench.sender, bench.on_sender, *CIPHERS["null"].modules)
        argv += ["--interface", interface.option]
    if cipher and "--interface" in argv:
        argv += ["--cipher", str(cipher.kernel if driver == "any" else driver)]
        argv += ["--key-bytes", str(cipher.key_bytes)] if cipher.key_bytes else []
    return parse_costs(json.loads(line) for line in bench.sender.check(argv, timeout=60).splitlines())


def parse_costs(lines: Iterable[Mapping[str, Any]]) -> dict[str, Price]:
    """Prices from the lines of ``datapath costs``.

    From the median of each measurement: whatever else a machine does adds to transfers, too. No call is cheaper than
    the cheapest one. ``tcp_copy`` is what sending from user memory costs beyond sendfile, ``cipher`` is AF_ALG's
    recv. ``kernel_cipher``, what the kernel pays for a request of its own, is a request to /dev/crypto on mapped memory
    less the same by a null cipher in place; of AF_ALG its recv without the system call. Steps that the program was not
    asked for are absent. Raises ValueError when clock or system call are missing.
    """
    told = {line["what"]: line for line in lines if line.get("event") == "cost"}
    try:
        clock = told["clock"]["once"]["median_ns"]
        call = told["syscall"]["once"]["median_ns"] - clock
        found = {"syscall": Price(call, 0.0)}
        for what, name in (
            ("read", "read"),
            ("alg_send", "alg_send"),
            ("alg_sendfile", "alg_sendfile"),
            ("alg_recv", "cipher"),
            ("devcrypto_copy", "devcrypto_copy"),
            ("devcrypto_map", "devcrypto_map"),
            ("tcp_send", "tcp_send"),
            ("tcp_sendfile", "tcp_sendfile"),
            ("count", COUNT),
        ):
            if what not in told:
                continue
            small, large = told[what]["small"], told[what]["large"]
            price = steps.from_two(*((each["bytes"], each["median_ns"] - clock) for each in (small, large)))
            found[name] = Price(max(call, price.call_ns), price.byte_ns)
    except KeyError as error:
        raise ValueError(f"datapath costs told nothing of {error}") from error
    if "tcp_send" in found and "tcp_sendfile" in found:
        sending, mapped = found.pop("tcp_send"), found.pop("tcp_sendfile")
        found["tcp_copy"] = Price(sending.call_ns, sending.byte_ns - mapped.byte_ns)
    if COUNT in found:
        found[COUNT] = Price(clock, found[COUNT].byte_ns)  # what work costs beyond what it says that it took
    if "devcrypto_cipher" in told:
        found["kernel_cipher"] = _beyond(told["devcrypto_cipher"], told["devcrypto_map"])
    elif "cipher" in found:
        found["kernel_cipher"] = Price(found["cipher"].call_ns - call, found["cipher"].byte_ns)
    return found


def _beyond(whole: Mapping[str, Any], less: Mapping[str, Any]) -> Price:
    """What a call costs beyond another one of as many bytes."""
    return steps.from_two(
        *((whole[size]["bytes"], whole[size]["median_ns"] - less[size]["median_ns"]) for size in ("small", "large"))
    )


PRICES = PriceSource(
    {
        "syscall": "the cheapest system call",
        "read": "read from the page cache",
        "alg_send": "send to AF_ALG",
        "alg_sendfile": "sendfile to AF_ALG",
        "cipher": "recv from AF_ALG: the cipher",
        "devcrypto_copy": "a request to /dev/crypto that copies, but for the cipher",
        "devcrypto_map": "a request to /dev/crypto on mapped memory, but for the cipher",
        "tcp_copy": "send to TCP, beyond sendfile",
        "kernel_cipher": "the cipher, called within the kernel",
        COUNT: "counting, a rehearsal's work",
    },
    _measure,
    ciphering=frozenset({"cipher", "kernel_cipher"}),
    builds=frozenset(DEVCRYPTO.builds),
    by=_by,
)
