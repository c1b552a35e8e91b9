"""What the checks share: the program, its server on the loopback interface, and OpenSSL's cipher text."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import http.client
import json
import os
import select
import signal
import subprocess
import time
import unittest
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import checking

PROGRAM = os.environ.get("DATAPATH", "./datapath")
SIZES = (0, 1, 7, 8, 15, 16, 17, 65535, 65536, 65537, 131072, 1_000_000)
MODULES = ("algif_skcipher", "des_generic", "aes_generic", "cbc", "ecb", "crypto_null")
AEAD_MODULES = ("algif_aead", "gcm", "ccm", "chacha20poly1305", "authenc")
DEADLINE = 60.0
RAW = ("raw", "--seconds", "0.02", "--size")


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


def expect(what: str, found: object, wanted: object) -> None:
    """For what is no method of a check."""
    assert found == wanted, f"{what}: found {found!r}, wanted {wanted!r}"


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
            raise AssertionError("no pipes")
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
                raise AssertionError(f"no JSON line within {timeout} s")
            piece = os.read(self.out, 65536)
            if not piece:
                raise AssertionError(f"server ended, status {self.process.wait(DEADLINE)}")
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


@functools.cache
def reference(path: Path, cipher: Cipher, key: bytes, iv: bytes) -> str:
    """Digest of what OpenSSL makes of a file, which stays as it is."""
    data = path.read_bytes()
    if cipher.openssl:
        pad = cipher.block - len(data) % cipher.block
        data = checking.openssl(cipher.openssl, key, iv, data + bytes([pad]) * pad)
    return hashlib.sha256(data).hexdigest()


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
        raise AssertionError(f"{argv}: message {message!r} lacks {text!r}, or output {done.stdout!r} has a result")


class Case(unittest.TestCase):
    """The modules of the kernel that ciphers stand on are loaded before a class's checks."""

    @classmethod
    def setUpClass(cls) -> None:
        for module in (*MODULES, *AEAD_MODULES):
            subprocess.run(["modprobe", "-q", module], check=False, timeout=DEADLINE)
