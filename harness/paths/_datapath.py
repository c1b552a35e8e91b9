"""``datapath``, our own small file server, for the paths that no common server takes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import hosts
from harness import ceiling
from harness.bench import Bench, Key, load, new_key
from harness.ciphers import Cipher
from harness.paths import Deployed, Observed, Witness, _card, _need
from harness.setup import Setup
from hosts.errors import HarnessError
from hosts.facts import Facts

HOSTS = Path(hosts.__file__).parent
SHARED = "datapath"
COMPILE = ["cc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread", "-o"]


def compiled(bench: Bench) -> str:
    """The program on the sender, compiled there once a run; its path."""
    if SHARED not in bench.shared:
        directory = f"{bench.sender.directory}/source"
        bench.sender.check(["mkdir", "-m", "700", directory])
        sources = [*sorted((HOSTS / "datapath").glob("*.[ch]")), *(HOSTS / "kernel" / "so_crypt").glob("so_crypt.h")]
        for source in sources:
            bench.sender.put(source.read_bytes(), f"source/{source.name}")
        program = f"{bench.sender.directory}/datapath"
        names = [source.name for source in sources if source.suffix == ".c"]
        bench.sender.check([*COMPILE, program, *names], timeout=400, cwd=directory)
        bench.shared[SHARED] = program
    return bench.shared[SHARED]


def padded(cipher: Cipher | None, size: int) -> int:
    """Bytes on the wire for a payload: PKCS#7 adds 1 to one block's worth, a block size of 1 nothing."""
    if cipher is None or not cipher.padded:
        return size
    return size // cipher.block_bytes * cipher.block_bytes + cipher.block_bytes


def no_skcipher(setup: Setup) -> str | None:
    """Why the schemes that stream a file through one cipher request after another cannot use this cipher."""
    if setup.cipher and setup.cipher.skcipher:
        return None
    if setup.cipher and setup.cipher.aead:
        return f"{setup.title} is an AEAD, which needs records with tags of their own: this scheme only streams"
    return f"the kernel crypto API has no skcipher for {setup.title}"


def unsupported_alg(setup: Setup, sender: Facts, receiver: Facts) -> str | None:
    """Why AF_ALG with this cipher cannot run on the sender."""
    modules = setup.cipher.kernel_modules if setup.cipher else ()
    return _need.missing(
        sender, receiver, sender_programs=("cc", "modprobe"), sender_modules=("algif_skcipher", *modules)
    )


def serve(bench: Bench, name: str, setup: Setup, rule: Callable[[Observed, dict[str, int]], str | None]) -> Deployed:
    """Start it in the mode called like the path. ``rule`` says what of a request's counts speaks against that path."""
    program, port, cipher, driver = compiled(bench), bench.port(), setup.cipher, setup.driver
    chunk = setup.buffer_bytes or ceiling.CHUNK_BYTES
    place = name if setup.buffer_bytes is None else f"{name}-{chunk}"
    argv = [program, "serve", "--mode", name, "--address", str(bench.address), "--port", str(port)]
    argv += ["--root", bench.payload_directory, "--chunk", str(chunk)]
    key: Key | None = None
    if cipher:
        key = new_key(cipher)
        algorithm = cipher.skcipher if driver == "any" else driver
        argv += ["--cipher", str(algorithm)]
    stdin = f"{key.key}\n{key.iv}\n" if key else None
    served = bench.on_sender.serve(
        f"datapath for {name}", argv, str(bench.address), port, f"{bench.folder}/{place}", stdin
    )
    log = served.stdout
    said = bench.sender.call("lines", path=log, offset=0, count=1, timeout=5.0)
    if not said:
        raise HarnessError("datapath did not say what it bound", host=bench.sender.name, commands=[" ".join(argv)])
    listening = json.loads(said[0])
    found = str(listening.get("driver"))
    if driver != "any" and found != driver:
        raise HarnessError(f"driver {driver} was asked for and {found} was bound", host=bench.sender.name)
    base = bench.base_url("http", port)

    def judge(seen: Observed) -> Witness:
        requests = [line for line in seen.log if line.get("event") == "request"]
        if len(requests) != 1:
            return Witness({"server_requests": len(requests)}, f"the server logged {len(requests)} requests, not one")
        line = requests[0]
        facts = {
            "server_bytes": line["bytes"],
            "crypto_requests": line["requests"],
            "driver": line.get("driver"),
            "crossing_bytes": line["crossing_bytes"],
            "copied_bytes": line["copied_bytes"],
        }
        if "splice" in listening:
            facts["splice"] = listening["splice"]  # kernels differ: by reference, or with a copy inside the kernel
        facts |= {f"calls_{call}": count for call, count in line["calls"].items() if count}
        if line.get("error"):
            return Witness(facts, f"the server says: {line['error']}")
        if line["bytes"] != padded(cipher, seen.payload):
            return Witness(facts, f"the server sent {line['bytes']} bytes, not {padded(cipher, seen.payload)}")
        if cipher and line.get("driver") != found:
            return Witness(facts, f"the driver was {line.get('driver')}, not {found}")
        if cipher and not line["requests"]:
            return Witness(facts, "no crypto request was made")
        return Witness(facts, rule(seen, line))

    decipher = None
    if cipher and cipher.evp and key:
        decipher = {"evp": cipher.evp, "key": key.key, "iv": key.iv}
    deployed = Deployed(
        url=lambda payload: f"{base}/{payload}",
        log=log,
        server=served.number,
        judge=judge,
        decipher=decipher,
        driver_found=found if cipher else None,
        counts=True,
        buffer_bytes=chunk,
    )
    return _card.watched(deployed, found, bench.facts, lambda _seen, said: int(said.facts.get("crypto_requests") or 0))


def load_alg(bench: Bench, cipher: Cipher | None) -> None:
    """AF_ALG and a cipher on the sender, as journalled changes: the kernel would else load them by itself.

    Both kinds of AF_ALG, because a name is tried as one, then as the other.
    """
    modules = cipher.modules if cipher else ()
    load(bench.sender, bench.on_sender, "algif_skcipher", "algif_aead", *modules)
