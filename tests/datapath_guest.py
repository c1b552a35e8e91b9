#!/usr/bin/env python3
"""Check every AF_ALG (and, with --so-crypt, every so_crypt) mode of the datapath program on the host where this runs.

Standard library and the `openssl` program only, so that it can be copied to a lab's guest:

    datapath_guest.py DATAPATH [--so-crypt] [--modprobe] [--big BYTES] [--strace]

Cipher text is compared with OpenSSL's, the JSON accounting with the model (traditional: four crossings and three
copies per byte; the schemes: none), and with --strace the counted calls with those that strace saw. What raw must not
let pass (a wrong tag, answers that differ, none at all) is made by strace too: it tampers with memory and results.
Exits 1 with a message on the first mismatch.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import http.client
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SIZES = (0, 1, 7, 8, 15, 16, 17, 65535, 65536, 65537, 131072, 1_000_000)
MODULES = ("algif_skcipher", "des_generic", "aes_generic", "cbc", "ecb", "crypto_null")
AEAD_MODULES = ("algif_aead", "gcm", "ccm", "chacha20poly1305", "authenc")
DEADLINE = 60.0


@dataclass(frozen=True)
class Cipher:
    name: str
    openssl: str
    key_bytes: int
    iv_bytes: int
    block: int


CIPHERS = (
    Cipher("cbc(des3_ede)", "des-ede3-cbc", 24, 8, 8),
    Cipher("cbc(aes)", "aes-128-cbc", 16, 16, 16),
    Cipher("cbc(aes)", "aes-256-cbc", 32, 16, 16),
    Cipher("ecb(cipher_null)", "", 0, 0, 1),
)


class MismatchError(Exception):
    """What came back is not what should have."""


def expect(what: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise MismatchError(f"{what}: found {found!r}, wanted {wanted!r}")


class Server:
    """One datapath server on the loopback interface; its JSON lines are read as they come."""

    def __init__(self, command: list[str], root: Path, cipher: Cipher | None, *options: str) -> None:
        argv = [*command, "serve", "--address", "127.0.0.1", "--port", "0", "--root", str(root), *options]
        if cipher:
            argv += ["--cipher", cipher.name]
        self.key = os.urandom(cipher.key_bytes) if cipher else b""
        self.iv = os.urandom(cipher.iv_bytes) if cipher else b""
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        if self.process.stdin is None or self.process.stdout is None:
            raise MismatchError("no pipes")
        self.process.stdin.write(f"{self.key.hex()}\n{self.iv.hex()}\n".encode())
        self.process.stdin.close()
        self.out = self.process.stdout.fileno()
        self.pending = b""
        self.hello = self.event()
        expect("first event", self.hello["event"], "listening")
        self.port = int(self.hello["port"])

    def event(self, timeout: float = DEADLINE) -> dict[str, Any]:
        end = time.monotonic() + timeout
        while b"\n" not in self.pending:
            if not select.select([self.out], [], [], max(0.0, end - time.monotonic()))[0]:
                raise MismatchError(f"no JSON line within {timeout} s")
            piece = os.read(self.out, 65536)
            if not piece:
                raise MismatchError(f"server ended, status {self.process.wait(DEADLINE)}")
            self.pending += piece
        line, self.pending = self.pending.split(b"\n", 1)
        loaded: dict[str, Any] = json.loads(line)
        return loaded

    def get(self, path: str) -> tuple[http.client.HTTPResponse, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response, response.read()
        finally:
            connection.close()

    def end(self) -> dict[str, Any]:
        self.process.send_signal(signal.SIGTERM)
        summary = self.event()
        expect("last event", summary["event"], "summary")
        expect("exit status", self.process.wait(DEADLINE), 0)
        return summary

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(DEADLINE)


@contextlib.contextmanager
def server(command: list[str], root: Path, cipher: Cipher | None, *options: str) -> Iterator[Server]:
    running = Server(command, root, cipher, *options)
    try:
        yield running
    finally:
        running.kill()


def reference(path: Path, cipher: Cipher, key: bytes, iv: bytes) -> str:
    """Digest of what OpenSSL makes of the file."""
    if not cipher.openssl:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    argv = ["openssl", "enc", f"-{cipher.openssl}", "-K", key.hex(), "-iv", iv.hex(), "-in", str(path)]
    made = subprocess.run(argv, check=True, capture_output=True, timeout=DEADLINE)
    return hashlib.sha256(made.stdout).hexdigest()


def check_accounting(mode: str, size: int, padded: int, chunk: int, event: dict[str, Any], copies: bool) -> None:
    pieces = max(1, -(-size // chunk)) if padded else 0
    pad = padded - size
    crossing = {
        "afalg-copy": size + 3 * padded,
        "afalg-splice": pad,
        "so-crypt": pad,
        "so-crypt-send": size + padded,
    }[mode]
    copied = {
        "afalg-copy": size + 2 * padded,
        "afalg-splice": pad + (size if copies else 0),
        "so-crypt": pad,
        "so-crypt-send": size + padded,
    }[mode]
    expect(f"{mode} {size}: crossing bytes", event["crossing_bytes"], crossing)
    expect(f"{mode} {size}: copied bytes", event["copied_bytes"], copied)
    calls = event["calls"]
    if mode == "afalg-copy":
        expect(f"{mode} {size}: sendmsg calls", calls["sendmsg"], pieces)
        expect(f"{mode} {size}: read calls", calls["read"], pieces if size else 0)
        expect(f"{mode} {size}: requests", event["requests"], pieces)


def check_mode(command: list[str], root: Path, mode: str, cipher: Cipher, chunk: int, sizes: list[int]) -> None:
    with server(command, root, cipher, "--mode", mode, "--chunk", str(chunk)) as running:
        copies = running.hello.get("splice") == "copy"
        total = 0
        for size in sizes:
            what = f"{mode} {cipher.openssl or cipher.name} {size} bytes, chunk {chunk}"
            response, body = running.get(f"/{size}")
            event = running.event()
            padded = (size // cipher.block + 1) * cipher.block if cipher.block > 1 else size
            expect(f"{what}: error", event.get("error"), None)
            expect(f"{what}: status", response.status, 200)
            expect(f"{what}: length", len(body), padded)
            expect(f"{what}: X-Plain-Length", response.headers["X-Plain-Length"], str(size))
            expect(f"{what}: X-Padding", response.headers["X-Padding"], "pkcs7" if cipher.block > 1 else "none")
            wanted = reference(root / str(size), cipher, running.key, running.iv)
            expect(f"{what}: cipher text", hashlib.sha256(body).hexdigest(), wanted)
            expect(f"{what}: bytes", event["bytes"], padded)
            expect(f"{what}: plain_bytes", event["plain_bytes"], size)
            check_accounting(mode, size, padded, chunk, event, copies)
            total += padded
        summary = running.end()
        expect(f"{mode}: total bytes", summary["bytes"], total)
        expect(f"{mode}: failed", summary["failed"], 0)
    print(f"ok: {mode} {cipher.openssl or cipher.name} chunk {chunk} driver {running.hello['driver']}", flush=True)


def check_by_driver(command: list[str], root: Path, mode: str) -> None:
    """A driver asked for by its own name is the one that is bound."""
    probe = subprocess.run(
        [command[-1], "probe", "--cipher", "cbc(aes)"], capture_output=True, timeout=DEADLINE, check=True
    )
    driver = json.loads(probe.stdout.splitlines()[1])["driver"]
    with server(command, root, Cipher(driver, "aes-128-cbc", 16, 16, 16), "--mode", mode) as running:
        expect("driver bound", running.hello["driver"], driver)
        _, body = running.get("/17")
        wanted = reference(root / "17", CIPHERS[1], running.key, running.iv)
        expect("cipher text by driver name", hashlib.sha256(body).hexdigest(), wanted)
        expect("driver used", running.event()["driver"], driver)
        running.end()


def check_failure(command: list[str], root: Path, mode: str) -> None:
    """A client that stops reading is reported and cut off; a file that shrinks is; both leave the server whole."""
    big = root / "shrinks"
    with server(command, root, CIPHERS[1], "--mode", mode, "--watchdog", "1") as running:
        for cause in ("shorter", "watchdog"):
            big.write_bytes(bytes(40_000_000))
            with socket.create_connection(("127.0.0.1", running.port), timeout=DEADLINE) as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
                client.sendall(b"GET /shrinks HTTP/1.1\r\nHost: x\r\n\r\n")
                client.recv(1000)
                if cause == "shorter":
                    time.sleep(0.3)
                    os.truncate(big, 20_000_001)
                    got = drain(client)
                    if got >= 40_000_000:
                        raise MismatchError("a file that shrank was sent whole")
                event = running.event(20)
            if cause not in event.get("error", ""):
                raise MismatchError(f"{mode}: error {event.get('error')!r} does not name {cause!r}")
        big.unlink()
        _, body = running.get("/65537")
        wanted = reference(root / "65537", CIPHERS[1], running.key, running.iv)
        expect(f"{mode}: cipher text after failures", hashlib.sha256(body).hexdigest(), wanted)
        expect(f"{mode}: error", running.event().get("error"), None)
        expect(f"{mode}: failed", running.end()["failed"], 2)
    print(f"ok: {mode} after a shrinking file and a stalled client", flush=True)


def drain(client: socket.socket) -> int:
    got = 0
    with contextlib.suppress(ConnectionError):
        while piece := client.recv(1 << 20):
            got += len(piece)
    return got


def check_usage(command: list[str], root: Path, modes: list[str]) -> None:
    """Refused with one clear line and the right status."""
    base = [command[-1], "serve", "--address", "127.0.0.1", "--port", "0", "--root", str(root)]
    aes = ["--mode", "afalg-copy", "--cipher", "cbc(aes)"]
    good = b"00" * 16 + b"\n" + b"00" * 16 + b"\n"
    cases = (
        (aes, b"00" * 15 + b"\n" + b"00" * 16 + b"\n", 2, "key is 15 bytes"),
        (aes, b"00" * 16 + b"\n" + b"00" * 8 + b"\n", 2, "IV is 8 bytes"),
        (aes, b"xx\n\n", 2, "not hexadecimal"),
        (aes, b"", 2, "IV is 0 bytes"),
        ([*aes, "--chunk", "1000"], good, 2, "no multiple"),
        ([*aes, "--chunk", "262144"], good, 2, "131072"),
        (["--mode", "afalg-copy", "--cipher", "cbc(nonsense)"], good, 1, "no such algorithm"),
        (["--mode", "afalg-copy"], good, 2, "--cipher is needed"),
        *((["--mode", mode, "--cipher", "gcm(aes)"], good, 2, "is an AEAD") for mode in modes),
    )
    for options, stdin, status, text in cases:
        done = subprocess.run([*base, *options], input=stdin, capture_output=True, timeout=DEADLINE, check=False)
        message = done.stderr.decode()
        expect(f"status of {options}: {message}", done.returncode, status)
        if text not in message or message.count("\n") != 1:
            raise MismatchError(f"{options}: message {message!r} lacks {text!r}")
    print("ok: refusals", flush=True)


BODY_CALLS = ("read", "sendmsg", "recvfrom", "sendto", "sendfile", "splice", "setsockopt", "accept4", "close")
OUR_NAMES = {"recvfrom": "recv", "sendto": "send", "accept4": "accept"}


def check_strace(command: list[str], root: Path, mode: str, cipher: Cipher) -> None:
    """The counted calls of one body are exactly those that strace sees between its head and its JSON line."""
    with tempfile.NamedTemporaryFile("r") as log:
        traced = ["strace", "-qq", "-o", log.name, "-e", f"trace=write,{','.join(BODY_CALLS)}", *command]
        with server(traced, root, cipher, "--mode", mode) as running:
            running.get("/1000000")
            event = running.event()
            subprocess.run(["pkill", "-TERM", "-P", str(running.process.pid)], check=False, timeout=DEADLINE)
            running.event()
            running.process.wait(DEADLINE)
        text = Path(log.name).read_text()
    body = text[text.index('"HTTP/1.1 200') :]
    body = body[body.index("\n") + 1 : body.index('write(1, "{\\"event\\":\\"request')]
    for name in BODY_CALLS:
        seen = len(re.findall(rf"^{name}\(", body, re.M))
        expect(f"strace {mode}: {name}", event["calls"][OUR_NAMES.get(name, name)], seen)
    per_byte = event["crossing_bytes"] / event["bytes"]
    print(f"ok: strace agrees for {mode}: {event['calls']}, {per_byte:.4f} crossings per byte", flush=True)


@dataclass(frozen=True)
class Kind:
    """What a cipher is to the commands that measure: its AF_ALG type, the key sizes it takes, AAD that fits."""

    name: str
    type: str
    keys: tuple[int, ...]
    aad: int = 0
    optional: bool = False  # the lab's own kernel does without


KINDS = (
    Kind("cbc(aes)", "skcipher", (16, 24, 32)),
    Kind("cbc(des3_ede)", "skcipher", (24,)),
    Kind("ecb(cipher_null)", "skcipher", (0,)),
    Kind("gcm(aes)", "aead", (16, 24, 32), 13),
    Kind("rfc4106(gcm(aes))", "aead", (20, 28, 36), 16),
    Kind("rfc7539(chacha20,poly1305)", "aead", (32,), 5),
    Kind("ccm(aes)", "aead", (16, 24, 32), 64, optional=True),
    Kind("authenc(hmac(sha1),cbc(aes))", "aead", (16, 24, 32), 8),
)
BOTH = ("encrypt", "decrypt")
RAW = ("raw", "--seconds", "0.02", "--size")


def answer(*argv: str) -> list[dict[str, Any]]:
    """The JSON lines of a command that must end well."""
    done = subprocess.run(argv, capture_output=True, timeout=DEADLINE, check=False)
    expect(f"{' '.join(argv)}: {done.stderr.decode()}: status", done.returncode, 0)
    return [json.loads(line) for line in done.stdout.splitlines()]


def refusal(status: int, text: str, *argv: str) -> None:
    """A command that must end with one line on standard error and no figure."""
    done = subprocess.run(argv, capture_output=True, timeout=DEADLINE, check=False)
    said = done.stderr.decode().splitlines(keepends=True)
    message = "".join(line for line in said if not line.startswith("strace: "))  # it tells of threads that it held up
    expect(f"status of {' '.join(argv)}: {message}", done.returncode, status)
    if text not in message or message.count("\n") != 1 or b'"raw"' in done.stdout:
        raise MismatchError(f"{argv}: message {message!r} lacks {text!r}, or output {done.stdout!r} has a result")


def check_raw(
    program: str, kind: Kind, *options: str, depth: int = 1, size: int = 4096, ops: tuple[str, ...] = ("decrypt",)
) -> dict[str, Any]:
    """To decrypt it has to encrypt once, too. The figures agree with each other. The JSON of the last one."""
    found = {}
    for op in ops:
        argv = [program, *RAW, str(size), "--op", op, "--cipher", kind.name, "--aad", str(kind.aad), *options]
        found = answer(*argv, "--depth", str(depth))[0]
        what = " ".join(argv)
        told = {"type": kind.type, "op": op, "size": size, "aad": kind.aad, "depth": depth, "consistent": True}
        for field, wanted in told.items():
            expect(f"{what}: {field}", found[field], wanted)
        expect(f"{what}: operations", found["operations"], found["batch"] * found["batches"])
        expect(f"{what}: bytes", found["bytes"], found["operations"] * size)
        expect(f"{what}: batch", found["batch"], 16 * depth if depth > 1 else 1)
        for rate, of in (("operations_per_second", "operations"), ("bytes_per_second", "bytes")):
            expect(f"{what}: {rate}", abs(found[rate] * found["seconds"] / found[of] - 1) < 1e-6, True)
        mean = found["seconds"] * 1e9 / found["operations"]
        expect(f"{what}: fastest batch", 0 < found["min_ns_per_operation"] <= mean * (1 + 1e-6), True)
    return found


def check_kinds(program: str) -> None:
    """Every key size of every cipher; without one the largest; sizes that do not exist are refused."""
    for kind in KINDS:
        probed = answer(program, "probe", "--cipher", kind.name, "--aad", str(kind.aad))[1]
        if kind.optional and "no such algorithm" in probed.get("reason", ""):
            print(f"not in this kernel: {kind.name}", flush=True)
            continue
        expect(f"probe {kind.name}: {probed.get('reason')}", probed["available"], True)
        sizes = [probed[field] for field in ("type", "min_key_bytes", "max_key_bytes", "key_bytes")]
        expect(f"probe {kind.name}: type and key sizes", sizes, [kind.type, kind.keys[0], kind.keys[-1], kind.keys[-1]])
        expect(f"{kind.name}: largest key", check_raw(program, kind, ops=BOTH)["key_bytes"], kind.keys[-1])
        for size in kind.keys:
            found = check_raw(program, kind, "--key-bytes", str(size))
            expect(f"{kind.name}: key bytes", found["key_bytes"], size)
        synchronous = check_raw(program, kind, depth=3)
        expect(f"{kind.name}: sleeps with a synchronous driver", synchronous["sleeps_per_operation"] < 0.01, True)
        for size in {kind.keys[0] - 1, kind.keys[0] + 1, kind.keys[-1] + 1} - {-1}:
            argv = [program, *RAW, "4096", "--op", "encrypt", "--cipher", kind.name, "--aad", str(kind.aad)]
            refusal(2, f"--key-bytes {size}: ", *argv, "--key-bytes", str(size))
        print(f"ok: raw and probe, {kind.name}, driver {found['driver']}, keys of {kind.keys}", flush=True)
    check_raw(program, KINDS[3], size=1)
    check_raw(program, KINDS[3], depth=64, size=131072)


def check_costs(program: str) -> None:
    prices = {"clock", "syscall", "read", "tcp_send", "tcp_sendfile", "alg_send", "alg_sendfile", "alg_recv"}
    for cipher, key, aad, chunk in (
        ("cbc(aes)", 16, 0, 65536),
        ("ecb(cipher_null)", 0, 0, 65536),
        ("gcm(aes)", 16, 5, 16384),
    ):
        argv = [program, "costs", "--cipher", cipher, "--key-bytes", str(key), "--aad", str(aad), "--seconds", "1"]
        head, *lines = answer(*argv)
        expect(f"costs {cipher}: head", (head["key_bytes"], head["aad"], head["chunk"]), (key, aad, chunk))
        expect(f"costs {cipher}: key sizes", {line["key_bytes"] for line in lines}, {key})
        expect(f"costs {cipher}: prices", {line["what"] for line in lines}, prices)
        recv = next(line for line in lines if line["what"] == "alg_recv")
        expect(f"costs {cipher}: sizes", (recv["small"]["bytes"], recv["large"]["bytes"]), (1024, chunk))
    print("ok: costs", flush=True)


def check_measuring_refusals(program: str) -> None:
    def raw(status: int, text: str, cipher: str, size: str, *options: str) -> None:
        refusal(status, text, program, *RAW, size, "--op", "decrypt", "--cipher", cipher, *options)

    raw(2, "no multiple", "cbc(aes)", "4095")
    raw(2, "is no AEAD", "cbc(aes)", "4096", "--aad", "8")
    raw(2, "--batch 7", "cbc(aes)", "4096", "--depth", "8", "--batch", "7")
    raw(1, "Invalid argument", "rfc4106(gcm(aes))", "4096", "--aad", "15")  # the kernel wants 16 or 20 there
    raw(1, "no such algorithm", "gcm(nonsense)", "4096")
    refusal(2, "is no AEAD", program, "costs", "--cipher", "cbc(aes)", "--aad", "8")
    for command in ("costs", "probe"):
        for size in ("15", "17"):
            refusal(2, f"--key-bytes {size}: ", program, command, "--cipher", "gcm(aes)", "--key-bytes", size)
    print("ok: refusals of raw and costs", flush=True)


def check_depth(program: str) -> None:
    """With an asynchronous driver requests are under way together, and their threads sleep; on every kernel."""
    subprocess.run(["modprobe", "cryptd"], check=True, timeout=DEADLINE)
    try:
        for kind in (KINDS[0], KINDS[3]):
            driver = answer(program, "probe", "--cipher", kind.name)[1]["driver"]
            wrapped = Kind(f"cryptd({driver})", kind.type, kind.keys, kind.aad)
            probed = answer(program, "probe", "--cipher", wrapped.name, "--aad", str(kind.aad))[1]
            expect(f"{wrapped.name}: {probed.get('reason')}", probed.get("async"), True)
            check_raw(program, wrapped)
            found = check_raw(program, wrapped, depth=16, size=65536, ops=BOTH)
            expect(f"{wrapped.name}: {found['under_way']} under way together", 2 <= found["under_way"] <= 16, True)
            sleeps = found["sleeps_per_operation"]
            expect(f"{wrapped.name}: {sleeps} sleeps of a request's thread", 0.5 < sleeps < 4, True)
            print(f"ok: {wrapped.name}, 16 at once, {found['under_way']} seen under way together", flush=True)
    finally:  # it outranks what it wraps: cbc(aes) would be cryptd's from now on
        subprocess.run(["modprobe", "-r", "cryptd"], check=True, timeout=DEADLINE)


def check_cipher_text(program: str) -> None:
    """strace sees key, IV and answer of raw: OpenSSL makes the same of the same. GCM is CTR that starts at block 2."""
    for name, aad, key_bytes, openssl, iv_bytes, count in (
        ("cbc(aes)", 0, 16, "aes-128-cbc", 16, ""),
        ("cbc(aes)", 0, 32, "aes-256-cbc", 16, ""),
        ("gcm(aes)", 13, 16, "aes-128-ctr", 12, "00000002"),
    ):
        argv = [program, *RAW, "32", "--op", "encrypt", "--cipher", name, "--key-bytes", str(key_bytes)]
        traced = ["strace", "-qq", "-xx", "-s", "256", "-e", "trace=getrandom,setsockopt,recvfrom", *argv]
        traced += ["--aad", str(aad)]
        done = subprocess.run(traced, capture_output=True, text=True, timeout=DEADLINE, check=True)
        seen = done.stderr.replace("\\x", "")
        key = re.findall(r'ALG_SET_KEY, "(\w*)", \d+\) = 0', seen)[-1]
        iv = re.findall(r'getrandom\("(\w*)", 64, 0\) = 64', seen)[-1][: 2 * iv_bytes]
        told = re.findall(r'recvfrom\(\d+, "(\w*)"', seen)[0]
        made = ["openssl", "enc", f"-{openssl}", "-K", key, "-iv", iv + count, "-nopad"]
        wanted = subprocess.run(made, input=b"U" * 32, check=True, capture_output=True, timeout=DEADLINE).stdout
        expect(f"raw {name}: size of the answer", len(told) // 2, 32 + (aad + 16 if aad else 0))
        expect(f"raw {name}, {key_bytes} bytes: cipher text", told[2 * aad : 2 * aad + 64], wanted.hex())
    print("ok: raw's cipher text is OpenSSL's", flush=True)


TAMPER = "poke_exit=@arg2=000102030405060708"


def check_faults(program: str) -> None:
    """What goes wrong is an error and never a figure; strace makes it go wrong."""

    def faults(text: str, made: dict[str, str], cipher: str, op: str, *options: str) -> None:
        traced = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={','.join(made)}"]
        traced += [word for call, fault in made.items() for word in ("-e", f"inject={call}:{fault}")]
        refusal(1, text, *traced, program, *RAW, "4096", "--cipher", cipher, "--op", op, *options)

    def faulty(text: str, call: str, fault: str, cipher: str, op: str, *options: str) -> None:
        faults(text, {call: fault}, cipher, op, *options)

    deep = ("--depth", "4")
    faulty("the tag is wrong", "recvfrom", f"{TAMPER}:when=1", "gcm(aes)", "decrypt")
    faulty("the tag is wrong", "recvfrom", f"{TAMPER}:when=1", "gcm(aes)", "decrypt", *deep)
    faulty("results differ", "recvfrom", f"{TAMPER}:when=2+", "cbc(aes)", "encrypt")
    faulty("results differ", "recvfrom", f"{TAMPER}:when=1", "cbc(aes)", "decrypt", *deep)
    faulty("no answer in time", "recvfrom", "error=EINTR:when=3", "cbc(aes)", "encrypt")
    faulty("answer: Input/output error", "recvfrom", "error=EIO:when=3", "cbc(aes)", "encrypt", *deep)
    faulty("send: Resource temporarily", "sendmsg", "error=EAGAIN:when=2", "cbc(aes)", "encrypt", *deep)
    faulty("thread 1: Resource temporarily", "clone,?clone3", "error=EAGAIN", "cbc(aes)", "encrypt", *deep)
    # nobody is answered for three seconds, and the wait of sixty is over at once
    stalled = {"ppoll": "retval=0", "recvfrom": "delay_enter=3000000"}
    faults("none was answered within 60 s", stalled, "cbc(aes)", "encrypt", *deep)
    print("ok: faults of raw", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("datapath")
    parser.add_argument("--so-crypt", action="store_true", help="the module is loaded: check its modes too")
    parser.add_argument("--modprobe", action="store_true", help="load the cipher modules first")
    parser.add_argument("--big", type=int, default=0, help="one more file size to check, such as 10000000")
    parser.add_argument("--strace", action="store_true", help="hold the counters against strace")
    options = parser.parse_args()
    if options.modprobe:
        for module in (*MODULES, *AEAD_MODULES):
            subprocess.run(["modprobe", "-q", module], check=False, timeout=DEADLINE)
    command = [options.datapath]
    sizes = [*SIZES, *([options.big] if options.big else [])]
    modes = ["afalg-copy", "afalg-splice", *(["so-crypt", "so-crypt-send"] if options.so_crypt else [])]
    root = Path(tempfile.mkdtemp(prefix="datapath-"))
    try:
        for size in sizes:
            (root / str(size)).write_bytes(os.urandom(size))
        check_usage(command, root, modes)
        for mode in modes:
            for cipher in CIPHERS:
                check_mode(command, root, mode, cipher, 65536, sizes)
            check_mode(command, root, mode, CIPHERS[0], 4096, sizes)
            check_mode(command, root, mode, CIPHERS[1], 131072, sizes)
            check_by_driver(command, root, mode)
            check_failure(command, root, mode)
            if options.strace:
                check_strace(command, root, mode, CIPHERS[0])
        check_kinds(options.datapath)
        check_costs(options.datapath)
        check_measuring_refusals(options.datapath)
        if options.modprobe:
            check_depth(options.datapath)
        if options.strace:
            check_cipher_text(options.datapath)
            check_faults(options.datapath)
    except (MismatchError, OSError, subprocess.SubprocessError) as error:
        print(f"MISMATCH: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(root, ignore_errors=True)
    print("all well")
    return 0


if __name__ == "__main__":
    sys.exit(main())
