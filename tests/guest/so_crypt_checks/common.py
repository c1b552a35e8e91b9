"""What the checks share: ciphers, connections over loopback, a base that reads the kernel's log."""

from __future__ import annotations

import contextlib
import faulthandler
import fcntl
import functools
import os
import random
import socket
import struct
import subprocess
import tempfile
import termios
import threading
import time
import unittest
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from .. import checking

MODULE = os.environ.get("SO_CRYPT_MODULE", "so_crypt.ko")
DEADLINE_SECONDS = 240 * checking.PATIENCE
TCP_ULP = 31
TCP_NOTSENT_LOWAT = 25
SOL_SO_CRYPT = 21315
SO_CRYPT_SET, SO_CRYPT_INFO, SO_CRYPT_SET_RX, SO_CRYPT_INFO_RX = 1, 2, 3, 4
PAD_NONE, PAD_ZERO, PAD_PKCS7 = 0, 1, 2
MSG_MORE, MSG_DONTWAIT, MSG_OOB = socket.MSG_MORE, socket.MSG_DONTWAIT, socket.MSG_OOB
INFO = struct.Struct("128sIIQQQQ")
SET = struct.Struct("64s64s16sIIII")


class Cipher(NamedTuple):
    kernel: str
    openssl: str | None  # None: the null cipher
    key: int
    iv: int
    block: int


CIPHERS = [
    Cipher("cbc(des3_ede)", "DES-EDE3-CBC", 24, 8, 8),
    Cipher("cbc(des)", "DES-CBC", 8, 8, 8),
    Cipher("cbc(aes)", "AES-128-CBC", 16, 16, 16),
    Cipher("cbc(aes)", "AES-256-CBC", 32, 16, 16),
    Cipher("ecb(aes)", "AES-128-ECB", 16, 0, 16),
    Cipher("ctr(aes)", "AES-256-CTR", 32, 16, 1),
    Cipher("ecb(cipher_null)", None, 0, 0, 1),
]
DES3, AES, CTR, NULL = CIPHERS[0], CIPHERS[2], CIPHERS[5], CIPHERS[6]
KEY = bytes(range(1, 65))
IV = bytes(range(100, 116))
PLAIN = random.Random(20051).randbytes(3 << 20)


def openssl(cipher: Cipher, data: bytes, *, decrypt: bool = False, iv: bytes = IV) -> bytes:
    """The reference: the whole of ``data`` at once, without padding."""
    if cipher.openssl is None or not data:
        return data
    return checking.openssl(cipher.openssl, KEY[: cipher.key], iv[: cipher.iv], data, decrypt=decrypt)


@functools.cache
def reference(cipher: Cipher) -> bytes:
    return openssl(cipher, PLAIN)


def pad(cipher: Cipher, data: bytes, how: int) -> bytes:
    rest = len(data) % cipher.block
    if cipher.block == 1:
        return data
    if how == PAD_PKCS7:
        return data + bytes([cipher.block - rest]) * (cipher.block - rest)
    if how == PAD_ZERO:
        return data + bytes(-len(data) % cipher.block)
    return data[: len(data) - rest]


def expected(cipher: Cipher, length: int, how: int) -> bytes:
    """Cipher text of PLAIN[:length]; only a padded last block is computed anew."""
    whole = length - length % cipher.block
    if how == PAD_NONE or cipher.block == 1 or (how == PAD_ZERO and whole == length):
        return reference(cipher)[:whole]
    if cipher.iv == 0 or whole < 4096:
        return openssl(cipher, pad(cipher, PLAIN[:length], how))
    last = pad(cipher, PLAIN[whole:length], how)
    chained = reference(cipher)[whole - cipher.block : whole]  # the next block's IV
    return reference(cipher)[:whole] + openssl(cipher, last, iv=chained)


def setting(
    cipher: Cipher = AES,
    *,
    alg: str | bytes | None = None,
    chunk: int = 0,
    how: int = PAD_PKCS7,
    keylen: int | None = None,
    ivlen: int | None = None,
) -> bytes:
    name = alg if alg is not None else cipher.kernel
    return SET.pack(
        name if isinstance(name, bytes) else name.encode(),
        KEY,
        IV,
        cipher.key if keylen is None else keylen,
        cipher.iv if ivlen is None else ivlen,
        chunk,
        how,
    )


class Info(NamedTuple):
    driver: str
    is_async: int
    blocksize: int
    bytes_in: int
    bytes_out: int
    requests: int
    pending: int


def info(sock: socket.socket, option: int = SO_CRYPT_INFO) -> Info:
    raw = INFO.unpack(sock.getsockopt(SOL_SO_CRYPT, option, INFO.size))
    return Info(raw[0].split(b"\0")[0].decode(), *raw[1:])


def info_rx(sock: socket.socket) -> Info:
    return info(sock, SO_CRYPT_INFO_RX)


def ulp(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, TCP_ULP, b"so_crypt\0")


@contextlib.contextmanager
def pair(family: int = socket.AF_INET, buffers: int = 0) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A TCP connection over loopback: (sender, receiver)."""
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        if buffers:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffers)
        listener.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        listener.listen(1)
        sender = socket.socket(family, socket.SOCK_STREAM)
        if buffers:
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffers)
        sender.connect(listener.getsockname())
        receiver, _ = listener.accept()
        receiver.settimeout(20)
        with sender, receiver:
            yield sender, receiver


@contextlib.contextmanager
def encrypted(
    cipher: Cipher = AES,
    *,
    alg: str | None = None,
    family: int = socket.AF_INET,
    buffers: int = 0,
    chunk: int = 0,
    how: int = PAD_PKCS7,
) -> Iterator[tuple[socket.socket, socket.socket]]:
    with pair(family, buffers) as (sender, receiver):
        ulp(sender)
        sender.setsockopt(SOL_SO_CRYPT, SO_CRYPT_SET, setting(cipher, alg=alg, chunk=chunk, how=how))
        yield sender, receiver


def receive(
    sock: socket.socket, cipher: Cipher = AES, *, alg: str | None = None, chunk: int = 0, how: int = PAD_PKCS7
) -> None:
    """What comes from now on is deciphered."""
    ulp(sock)
    sock.setsockopt(SOL_SO_CRYPT, SO_CRYPT_SET_RX, setting(cipher, alg=alg, chunk=chunk, how=how))


@contextlib.contextmanager
def deciphered(
    cipher: Cipher = AES,
    *,
    alg: str | None = None,
    family: int = socket.AF_INET,
    buffers: int = 0,
    chunk: int = 0,
    how: int = PAD_PKCS7,
) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connection whose receiver deciphers; its sender is an ordinary socket."""
    with pair(family, buffers) as (sender, receiver):
        let_wait(receiver)
        receive(receiver, cipher, alg=alg, chunk=chunk, how=how)
        yield sender, receiver


def let_wait(sock: socket.socket) -> None:
    """Its calls wait in the kernel, for 20 s: where Python has a timeout, it polls a socket that does not block."""
    sock.settimeout(None)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 20, 0))


def plain(cipher: Cipher, length: int, how: int) -> bytes:
    """What a receiver gets of PLAIN[:length]: padding that is the stream's own is not taken off."""
    return PLAIN[:length] if how == PAD_PKCS7 else pad(cipher, PLAIN[:length], how)


class Writer(threading.Thread):
    """Sends all of it, and closes."""

    def __init__(self, sock: socket.socket, data: bytes, pieces: Iterator[int] | None = None) -> None:
        super().__init__(daemon=True)
        self.sock, self.data, self.pieces = sock, data, pieces
        self.start()

    def run(self) -> None:
        at = 0
        with contextlib.suppress(OSError):
            while at < len(self.data):
                count = next(self.pieces, 1 << 18) if self.pieces else 1 << 18
                self.sock.sendall(self.data[at : at + count])
                at += count
            self.sock.shutdown(socket.SHUT_WR)


def driver(cipher: Cipher = AES) -> str:
    """What the kernel takes for a cipher where nobody names a driver: another name on another kernel."""
    with encrypted(cipher) as (sender, _receiver):
        return info(sender).driver


class Reader(threading.Thread):
    """Reads to the end of the stream."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(daemon=True)
        self.sock, self.data = sock, bytearray()
        self.error: OSError | None = None
        self.start()

    def run(self) -> None:
        try:
            while piece := self.sock.recv(1 << 18):
                self.data += piece
        except OSError as error:
            self.error = error

    def result(self) -> bytes:
        self.join(25)
        assert not self.is_alive(), "the receiver never saw the end of the stream"
        assert self.error is None, f"receiver: {self.error}"
        return bytes(self.data)


def read_all(sock: socket.socket) -> bytes:
    data = bytearray()
    while piece := sock.recv(1 << 18):
        data += piece
    return bytes(data)


FILE = tempfile.TemporaryFile(dir="/dev/shm")  # noqa: SIM115 - until the end
FILE.write(PLAIN)
FILE.flush()


def sendfile(sock: socket.socket, offset: int, count: int) -> int:
    """All of it, on a blocking socket."""
    done = 0
    while done < count:
        sent = os.sendfile(sock.fileno(), FILE.fileno(), offset + done, count - done)
        if not sent:
            break
        done += sent
    return done


def outq(sock: socket.socket) -> int:
    return int(struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, b"\0" * 4))[0])


def usable_ciphers() -> list[Cipher]:
    found = []
    for cipher in CIPHERS:
        with contextlib.suppress(RuntimeError):
            openssl(cipher, bytes(16))
            found.append(cipher)
    return found


def unload() -> None:
    checking.unload("so_crypt")


def load() -> None:
    checking.load(MODULE)


Mixture = Callable[[random.Random, Cipher, int], None]
"""A stream drawn at random, of a cipher, over a family of addresses."""


class Case(unittest.TestCase):
    """The module is loaded before a class's checks, and the kernel has complained of nothing after them."""

    @classmethod
    def setUpClass(cls) -> None:
        faulthandler.dump_traceback_later(DEADLINE_SECONDS, exit=True)
        checking.begin()
        warnings.simplefilter("ignore", DeprecationWarning)  # fork() and threads: the children do little
        needed = ["des_generic", "cbc", "ecb", "ctr", "crypto_null"]
        subprocess.run(["modprobe", "-a", *needed], check=False, capture_output=True)
        if "so_crypt " not in Path("/proc/modules").read_text():
            load()

    @classmethod
    def tearDownClass(cls) -> None:
        faulthandler.cancel_dump_traceback_later()
        found = checking.complaints("soc_")
        assert not found, "\n  ".join(found[:30])

    def mix(self, mixture: Mixture, seed: int) -> None:
        """Random streams of every cipher, for 14 s."""
        rng, until, count, ciphers = random.Random(seed), time.monotonic() + 14, 0, usable_ciphers()
        while count < 600 and time.monotonic() < until:
            mixture(rng, ciphers[count % len(ciphers)], socket.AF_INET)
            count += 1
        self.assertGreater(count, 20, f"only {count} in 14 s")

    def mix_over_ipv6(self, mixture: Mixture, seed: int, times: int) -> None:
        """The same over IPv6, beside IPv4."""
        try:
            with pair(socket.AF_INET6):
                pass
        except OSError as error:
            self.skipTest(f"the guest has no IPv6 ({error.strerror})")
        rng = random.Random(seed)
        for _ in range(times):
            mixture(rng, AES, socket.AF_INET6)
            mixture(rng, DES3, socket.AF_INET)
