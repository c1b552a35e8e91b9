"""Checks of the so_crypt kernel module, run as root inside a throw-away guest: ``so_crypt_guest.py so_crypt.ko``.

Needs python3 and OpenSSL's libcrypto, nothing else. Everything happens on the guest's loopback. Prints a line per
check and ends with a status other than 0 if one failed. It takes about a minute and stops by itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import functools
import mmap
import os
import random
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

TCP_ULP = 31
TCP_NOTSENT_LOWAT = 25
SOL_SO_CRYPT = 21315
SO_CRYPT_SET, SO_CRYPT_INFO = 1, 2
PAD_NONE, PAD_ZERO, PAD_PKCS7 = 0, 1, 2
MSG_MORE, MSG_DONTWAIT, MSG_OOB = socket.MSG_MORE, socket.MSG_DONTWAIT, socket.MSG_OOB
INFO = struct.Struct("128sIIQQQQ")
SET = struct.Struct("64s64s16sIIII")
DEADLINE_SECONDS = 240

crypto = ctypes.CDLL("libcrypto.so.3")
for _name in ("EVP_CIPHER_CTX_new", "EVP_get_cipherbyname", "OSSL_PROVIDER_load"):
    getattr(crypto, _name).restype = ctypes.c_void_p
for _provider in (b"default", b"legacy"):
    crypto.OSSL_PROVIDER_load(None, _provider)


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


def openssl(cipher: Cipher, data: bytes, *, decrypt: bool = False) -> bytes:
    """The reference: the whole of ``data`` at once, without padding."""
    if cipher.openssl is None or not data:
        return data
    algorithm = crypto.EVP_get_cipherbyname(cipher.openssl.encode())
    context = ctypes.c_void_p(crypto.EVP_CIPHER_CTX_new())
    out, length = ctypes.create_string_buffer(len(data) + 32), ctypes.c_int()
    ok = algorithm and crypto.EVP_CipherInit_ex(
        context, ctypes.c_void_p(algorithm), None, KEY[: cipher.key], IV[: cipher.iv] or None, int(not decrypt)
    )
    crypto.EVP_CIPHER_CTX_set_padding(context, 0)
    ok = ok and crypto.EVP_CipherUpdate(context, out, ctypes.byref(length), data, len(data))
    crypto.EVP_CIPHER_CTX_free(context)
    if not ok or length.value != len(data):
        raise RuntimeError(f"OpenSSL cannot do {cipher.openssl}")
    return out.raw[: length.value]


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
    global IV  # noqa: PLW0603 - the chaining value is the previous cipher block
    saved, IV = IV, reference(cipher)[whole - cipher.block : whole].ljust(16, b"\0")
    try:
        return reference(cipher)[:whole] + openssl(cipher, last)
    finally:
        IV = saved


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


def info(sock: socket.socket) -> Info:
    raw = INFO.unpack(sock.getsockopt(SOL_SO_CRYPT, SO_CRYPT_INFO, INFO.size))
    return Info(raw[0].split(b"\0")[0].decode(), *raw[1:])


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
    cipher: Cipher = AES, *, family: int = socket.AF_INET, buffers: int = 0, chunk: int = 0, how: int = PAD_PKCS7
) -> Iterator[tuple[socket.socket, socket.socket]]:
    with pair(family, buffers) as (sender, receiver):
        ulp(sender)
        sender.setsockopt(SOL_SO_CRYPT, SO_CRYPT_SET, setting(cipher, chunk=chunk, how=how))
        yield sender, receiver


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


def same(got: bytes, want: bytes, what: str) -> None:
    if got == want:
        return
    at = next((i for i, (a, b) in enumerate(zip(got, want, strict=False)) if a != b), min(len(got), len(want)))
    raise AssertionError(f"{what}: {len(got)} bytes, wanted {len(want)}, first difference at {at}")


def refused(code: int, call: Callable[[], object], what: str) -> None:
    try:
        call()
    except OSError as error:
        assert error.errno == code, f"{what}: {errno.errorcode.get(error.errno or 0)}, not {errno.errorcode[code]}"
        return
    raise AssertionError(f"{what}: accepted, not {errno.errorcode[code]}")


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


# ------------------------------------------------------------------------------------------------ checks

CHECKS: list[Callable[[], str | None]] = []


def check(function: Callable[[], str | None]) -> Callable[[], str | None]:
    CHECKS.append(function)
    return function


def usable_ciphers() -> list[Cipher]:
    found = []
    for cipher in CIPHERS:
        with contextlib.suppress(RuntimeError):
            openssl(cipher, bytes(16))
            found.append(cipher)
    return found


@check
def sizes_and_ciphers() -> str:
    """Every cipher, size and padding, by send() and by sendfile()."""
    sizes = [0, 1, 7, 8, 9, 15, 16, 17, 31, 63, 64, 65, 1000, 4095, 4096, 4097, 65535, 65536, 65537, 131071, 200001]
    count = 0
    for cipher in usable_ciphers():
        for size in sizes:
            for by_file in (False, True):
                how = (count // 2) % 3
                with encrypted(cipher, how=how) as (sender, receiver):
                    reader = Reader(receiver)
                    if by_file:
                        assert sendfile(sender, 0, size) == size
                    else:
                        sender.sendall(PLAIN[:size])
                    assert info(sender).bytes_in == size
                    sender.shutdown(socket.SHUT_WR)
                    what = f"{cipher.openssl} {size} {'sendfile' if by_file else 'send'} pad {how}"
                    same(reader.result(), expected(cipher, size, how), what)
                    count += 1
    names = " ".join(cipher.openssl or "null" for cipher in usable_ciphers())
    return f"{count} transfers: {names}"


@check
def large() -> str:
    for cipher in usable_ciphers():
        for by_file in (False, True):
            with encrypted(cipher) as (sender, receiver):
                reader = Reader(receiver)
                if by_file:
                    sendfile(sender, 0, len(PLAIN))
                else:
                    sender.sendall(PLAIN)
                figures = info(sender)
                assert figures.bytes_in == len(PLAIN) == figures.bytes_out + figures.pending
                assert len(PLAIN) // 65536 <= figures.requests <= len(PLAIN) // 30000, figures
                sender.close()
                same(reader.result(), expected(cipher, len(PLAIN), PAD_PKCS7), str(cipher))
    return f"{len(PLAIN)} bytes"


def one_mixture(rng: random.Random, cipher: Cipher, family: int) -> None:  # noqa: PLR0912, PLR0915 - a table of kinds
    chunk = rng.choice([0, 0, 16, 17, 100, 1000, 4096, 5000, 32768, 65536, 131072])
    how = rng.randrange(3)
    limit = rng.choice([100, 5000, 300000]) if chunk == 0 or chunk > 1000 else 20000
    buffers = rng.choice([0, 0, 8192, 50000])
    log: list[str] = []
    with encrypted(cipher, family=family, chunk=chunk, how=how, buffers=buffers) as (sender, receiver):
        reader = Reader(receiver)
        at = 0
        pipe_read, pipe_write = os.pipe()
        for _ in range(rng.randrange(1, 14)):
            count = min(rng.choice([1, 3, 16, 100, 4096, 4097, 20000, 65536, limit]), limit - at, len(PLAIN) - at)
            kind = rng.choice(["send", "more", "nowait", "file", "iov", "splice", "empty", "eof", "morefile"])
            log.append(f"{kind} {count}")
            if kind == "empty":
                sender.send(b"")
            elif kind == "nowait":
                sent = 0
                while sent < count:
                    try:
                        sent += sender.send(PLAIN[at + sent : at + count], MSG_DONTWAIT)
                    except BlockingIOError:
                        select.select([], [sender], [], 5)
                at += count
            elif kind == "file":
                at += sendfile(sender, at, count)
            elif kind == "morefile":
                sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
                at += sendfile(sender, at, count)
                sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
            elif kind == "eof":
                with tempfile.TemporaryFile(dir="/dev/shm") as short:
                    short.write(PLAIN[at : at + count])
                    short.flush()
                    done = 0
                    while done < count:
                        done += os.sendfile(sender.fileno(), short.fileno(), done, count - done + 5000)
                at += count
            elif kind == "splice":
                count = min(count, 65536)
                done = os.splice(FILE.fileno(), pipe_write, count, offset_src=at)
                while done:
                    moved = os.splice(pipe_read, sender.fileno(), done, flags=rng.choice([0, 0, 4]))
                    at, done = at + moved, done - moved
            elif kind == "iov":
                cuts = sorted(rng.randrange(count + 1) for _ in range(4))
                pieces = [PLAIN[at + a : at + b] for a, b in zip([0, *cuts], [*cuts, count], strict=True)]
                at += sender.sendmsg(pieces, (), rng.choice([0, MSG_MORE]))
            else:
                sender.sendall(PLAIN[at : at + count], MSG_MORE if kind == "more" else 0)
                at += count
        os.close(pipe_read)
        os.close(pipe_write)
        figures = info(sender)
        assert figures.bytes_in == at, (figures, at, log)
        if rng.random() < 0.5:
            sender.shutdown(socket.SHUT_WR)
        else:
            sender.close()
        what = f"{cipher.openssl} chunk {chunk} pad {how} buffers {buffers}: {log}"
        same(reader.result(), expected(cipher, at, how), what)


@check
def mixtures() -> str:
    """Random sequences of send, sendfile, splice, MSG_MORE, non-blocking, gather and empty calls of odd lengths."""
    rng, until, count, ciphers = random.Random(7), time.monotonic() + 14, 0, usable_ciphers()
    while count < 600 and time.monotonic() < until:
        one_mixture(rng, ciphers[count % len(ciphers)], socket.AF_INET)
        count += 1
    assert count > 20, f"only {count} in 14 s"
    return f"{count} sequences"


@check
def ipv6() -> str:
    try:
        with pair(socket.AF_INET6):
            pass
    except OSError as error:
        return f"SKIPPED: the guest has no IPv6 ({error.strerror})"
    rng = random.Random(8)
    for _ in range(30):
        one_mixture(rng, AES, socket.AF_INET6)
        one_mixture(rng, DES3, socket.AF_INET)
    return "30 sequences"


@check
def bad_arguments() -> str:
    for what, code, args in [
        ("empty name", errno.EINVAL, setting(alg="")),
        ("unterminated name", errno.EINVAL, setting(alg=b"a" * 64)),
        ("unknown name", errno.ENOENT, setting(alg="cbc(nothing)")),
        ("a hash", errno.ENOENT, setting(alg="sha256")),
        ("key length 5", errno.EINVAL, setting(keylen=5)),
        ("key length 65", errno.EINVAL, setting(keylen=65)),
        ("key length 2^32-1", errno.EINVAL, setting(keylen=0xFFFFFFFF)),
        ("no key", errno.ENOKEY, setting(keylen=0)),
        ("IV too short", errno.EINVAL, setting(ivlen=15)),
        ("IV too long", errno.EINVAL, setting(ivlen=17)),
        ("no IV", errno.EINVAL, setting(ivlen=0)),
        ("IV for null", errno.EINVAL, setting(NULL, ivlen=16)),
        ("key for null", errno.EINVAL, setting(NULL, keylen=16)),
        ("chunk below a block", errno.EINVAL, setting(chunk=15)),
        ("chunk too big", errno.EINVAL, setting(chunk=131073)),
        ("chunk 2^32-1", errno.EINVAL, setting(chunk=0xFFFFFFFF)),
        ("pad 3", errno.EINVAL, setting(how=3)),
        ("xts", errno.EOPNOTSUPP, setting(alg="xts(aes)", keylen=32)),
        ("short structure", errno.EINVAL, setting()[:-1]),
        ("long structure", errno.EINVAL, setting() + b"\0"),
        ("nothing", errno.EINVAL, b""),
    ]:
        with pair() as (sender, receiver):
            ulp(sender)
            if what == "xts" and "xts" not in crypto_names():
                continue
            refused(code, functools.partial(sender.setsockopt, SOL_SO_CRYPT, SO_CRYPT_SET, args), what)
            sender.send(b"still clear")  # and a refusal leaves the socket as it was
            assert receiver.recv(100) == b"still clear"
            sender.setsockopt(SOL_SO_CRYPT, SO_CRYPT_SET, setting())
            again = functools.partial(sender.setsockopt, SOL_SO_CRYPT, SO_CRYPT_SET, setting())
            refused(errno.EBUSY, again, "twice")
    with pair() as (sender, _receiver):
        refused(errno.ENOPROTOOPT, lambda: sender.setsockopt(SOL_SO_CRYPT, SO_CRYPT_SET, setting()), "no ULP")
        ulp(sender)
        refused(errno.ENOPROTOOPT, lambda: sender.setsockopt(SOL_SO_CRYPT, 3, setting()), "option 3")
        refused(errno.ENOPROTOOPT, lambda: sender.getsockopt(SOL_SO_CRYPT, 1, 200), "get of SET")
        refused(errno.ENOPROTOOPT, lambda: sender.setsockopt(SOL_SO_CRYPT, 2, setting()), "set of INFO")
        refused(errno.EINVAL, lambda: sender.getsockopt(SOL_SO_CRYPT, SO_CRYPT_INFO, 167), "short INFO")
        assert len(sender.getsockopt(SOL_SO_CRYPT, SO_CRYPT_INFO, 1000)) == INFO.size
        assert info(sender) == ("", 0, 0, 0, 0, 0, 0)
        assert sender.getsockopt(socket.IPPROTO_TCP, TCP_ULP, 16).rstrip(b"\0") == b"so_crypt"
        libc = ctypes.CDLL(None, use_errno=True)
        bad = ctypes.c_void_p(8)
        assert libc.setsockopt(sender.fileno(), SOL_SO_CRYPT, SO_CRYPT_SET, bad, 160) == -1
        assert ctypes.get_errno() == errno.EFAULT
        length = ctypes.c_int(168)
        assert libc.getsockopt(sender.fileno(), SOL_SO_CRYPT, SO_CRYPT_INFO, bad, ctypes.byref(length)) == -1
        assert ctypes.get_errno() == errno.EFAULT
        sender.setsockopt(SOL_SO_CRYPT, SO_CRYPT_SET, setting())
        for flag in (MSG_OOB, 0x4000000, 0x20000000):
            refused(errno.EOPNOTSUPP, functools.partial(sender.send, b"x", flag), f"flag {flag:#x}")
        refused(errno.EOPNOTSUPP, lambda: sender.sendmsg([b"x"], [(1, 2, b"1234")]), "ancillary data")
        assert libc.send(sender.fileno(), bad, 100, 0) == -1
        assert ctypes.get_errno() == errno.EFAULT
        sent = libc.send(sender.fileno(), PLAIN[:64], 64, 0)
        assert sent == 64
        same(_receiver.recv(100), reference(AES)[:64], "after a bad address")
    return "33 refusals"


@functools.cache
def crypto_names() -> str:
    with contextlib.suppress(OSError):
        subprocess.run(["modprobe", "xts"], check=False, capture_output=True)
    return Path("/proc/crypto").read_text()


@check
def sockets_it_is_not_for() -> None:
    with socket.socket() as sock:
        refused(errno.ENOTCONN, lambda: ulp(sock), "unconnected")
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        refused(errno.ENOTCONN, lambda: ulp(sock), "listening")
    with pair() as (sender, receiver):
        ulp(sender)
        refused(errno.EEXIST, lambda: ulp(sender), "twice")
        sender.shutdown(socket.SHUT_WR)
        refused(errno.ENOTCONN, lambda: sender.setsockopt(SOL_SO_CRYPT, SO_CRYPT_SET, setting()), "after shutdown")
        assert receiver.recv(1) == b""
    with pair() as (sender, receiver):
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        receiver.close()
        hung_up = select.poll()
        hung_up.register(sender, select.POLLHUP)
        assert hung_up.poll(5000), "no reset arrived"
        refused(errno.ENOTCONN, lambda: ulp(sender), "reset")
    with encrypted() as (sender, receiver):
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.connect(sender.fileno(), struct.pack("H14x", 0), 16) == -1
        assert ctypes.get_errno() == errno.EOPNOTSUPP
        sender.send(PLAIN[:16])
        same(receiver.recv(100), reference(AES)[:16], "after connect(AF_UNSPEC)")


@check
def clear_text_first() -> str:
    """What was sent before SO_CRYPT_SET stays clear, also what TCP has not sent yet."""
    for size in (20, 3000, 60000):
        with pair(buffers=200000) as (sender, receiver):
            if size == 3000:
                sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
            sender.send(PLAIN[:size], MSG_MORE)
            ulp(sender)
            sender.send(b"clear too", MSG_MORE)
            assert sendfile(sender, 0, 10) == 10
            sender.setsockopt(SOL_SO_CRYPT, SO_CRYPT_SET, setting(DES3))
            reader = Reader(receiver)
            sendfile(sender, 0, 100001)
            sender.close()
            same(reader.result(), PLAIN[:size] + b"clear too" + PLAIN[:10] + expected(DES3, 100001, 2), f"{size}")
    with pair(buffers=4096) as (sender, receiver):
        ulp(sender)
        thread = threading.Thread(target=sender.sendall, args=(PLAIN[:500000],), daemon=True)
        thread.start()
        time.sleep(0.2)
        refused(errno.EBUSY, lambda: sender.setsockopt(SOL_SO_CRYPT, SO_CRYPT_SET, setting()), "during a clear send")
        got = bytearray()
        while len(got) < 500000:
            got += receiver.recv(100000)
        thread.join(5)
        sender.setsockopt(SOL_SO_CRYPT, SO_CRYPT_SET, setting())
        sender.send(PLAIN[:32])
        same(receiver.recv(100), reference(AES)[:32], "then encrypted")
    return "header before body; EBUSY while clear text is being sent"


@check
def drivers() -> str:
    found = []
    for name in ("cbc(aes-generic)", "cbc-aes-lib", "cbc-des3_ede-asm", "cbc(des3_ede-generic)", "ecb-cipher_null"):
        cipher = {"a": AES, "d": DES3, "c": NULL}[name.replace("cbc", "").strip("(-e")[0]]
        with pair() as (sender, receiver):
            ulp(sender)
            try:
                sender.setsockopt(SOL_SO_CRYPT, SO_CRYPT_SET, setting(cipher, alg=name))
            except FileNotFoundError:
                continue
            figures = info(sender)
            assert figures.driver == name, figures
            assert figures.blocksize == cipher.block, figures
            reader = Reader(receiver)
            sendfile(sender, 0, 70000)
            sender.close()
            same(reader.result(), expected(cipher, 70000, PAD_PKCS7), name)
            found.append(name)
    assert len(found) >= 2, found
    return " ".join(found)


@check
def asynchronous_driver() -> str:
    """cryptd makes an asynchronous driver of a synchronous one."""
    subprocess.run(["modprobe", "cryptd"], check=False, capture_output=True)
    cipher = AES
    with pair() as (sender, _receiver):
        ulp(sender)
        try:
            sender.setsockopt(SOL_SO_CRYPT, SO_CRYPT_SET, setting(alg="cryptd(cbc(aes-generic))"))
        except OSError as error:
            return f"SKIPPED: no cryptd here ({error.strerror})"
        assert info(sender).is_async == 1, info(sender)
    for size in (1, 16, 65536, 1000001):
        with pair() as (sender, receiver):
            ulp(sender)
            sender.setsockopt(SOL_SO_CRYPT, SO_CRYPT_SET, setting(alg="cryptd(cbc(aes-generic))"))
            reader = Reader(receiver)
            sendfile(sender, 0, size // 2)
            sender.sendall(PLAIN[size // 2 : size])
            sender.shutdown(socket.SHUT_WR)
            same(reader.result(), expected(cipher, size, PAD_PKCS7), f"cryptd {size}")
    return "cryptd(cbc(aes-generic))"


@check
def prompt() -> str:
    """Nothing that could be sent is held back, and nothing waits for TCP's 200 ms cork timer."""
    slowest = 0.0
    for cipher, size, want in [
        (AES, 65541, 65536),
        (AES, 33, 32),
        (CTR, 1, 1),
        (CTR, 65541, 65541),
        (NULL, 5, 5),
        (AES, 131077, 131072),
    ]:
        for by_file in (False, True):
            with encrypted(cipher) as (sender, receiver):
                sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                started = time.monotonic()
                if by_file:
                    sendfile(sender, 0, size)
                else:
                    sender.sendall(PLAIN[:size])
                got = bytearray()
                while len(got) < want:
                    got += receiver.recv(200000)
                slowest = max(slowest, time.monotonic() - started)
                same(bytes(got), reference(cipher)[:want], f"{cipher.openssl} {size}")
                assert info(sender).pending == size - want
    with encrypted(CTR) as (sender, receiver):  # byte by byte
        got = bytearray()
        for i in range(100):
            sender.send(PLAIN[i : i + 1])
            got += receiver.recv(10)
            assert len(got) == i + 1
        same(bytes(got), reference(CTR)[:100], "byte by byte")
    with encrypted(AES) as (sender, receiver):  # MSG_MORE is held back, an empty send() sends it
        sender.send(PLAIN[:4096], MSG_MORE)
        assert info(sender).pending == 4096
        assert not select.select([receiver], [], [], 0.3)[0], "MSG_MORE was not held back"
        sender.send(b"")
        same(receiver.recv(10000), reference(AES)[:4096], "empty send")
    with encrypted(AES) as (sender, receiver), tempfile.TemporaryFile(dir="/dev/shm") as short:
        short.write(PLAIN[:100])
        short.flush()
        started = time.monotonic()
        assert os.sendfile(sender.fileno(), short.fileno(), 0, 5000) == 100
        same(receiver.recv(10000), reference(AES)[:96], "sendfile past the end of the file")
        slowest = max(slowest, time.monotonic() - started)
    assert slowest < 0.15, f"{slowest:.3f} s"
    return f"slowest {slowest * 1000:.0f} ms"


@check
def padding_none() -> None:
    """The partial block is dropped at the end, and pending tells how much that was."""
    with encrypted(AES, how=PAD_NONE) as (sender, receiver):
        sender.send(PLAIN[:100])
        sender.shutdown(socket.SHUT_WR)
        same(read_all(receiver), reference(AES)[:96], "PAD_NONE")
        figures = info(sender)
        assert (figures.bytes_in, figures.bytes_out, figures.pending) == (100, 96, 4), figures


@check
def half_close() -> None:
    for cipher in (AES, CTR, DES3):
        with encrypted(cipher) as (sender, receiver):
            receiver.shutdown(socket.SHUT_WR)  # sender in CLOSE_WAIT
            assert sender.recv(10) == b""
            sender.send(PLAIN[:999])
            sender.shutdown(socket.SHUT_RD)
            sender.send(PLAIN[999:1001])
            sender.shutdown(socket.SHUT_WR)
            with contextlib.suppress(OSError):
                sender.shutdown(socket.SHUT_WR)
            refused(errno.EPIPE, functools.partial(sender.send, b"x"), "send after shutdown")
            same(read_all(receiver), expected(cipher, 1001, PAD_PKCS7), "half close")
    with encrypted(AES) as (sender, receiver):
        sender.send(PLAIN[:100])
        sender.shutdown(socket.SHUT_WR)
        receiver.send(b"the answer is clear")
        assert sender.recv(100) == b"the answer is clear"
        same(read_all(receiver), expected(AES, 100, PAD_PKCS7), "request and answer")


@check
def back_pressure() -> str:
    """A peer that does not read stops the sender, whatever the sizes; the queue goes over by a chunk at most."""
    worst = 0
    for cipher, step, chunk in [(AES, 4093, 0), (AES, 65537, 0), (AES, 17, 0), (CTR, 1001, 0), (AES, 70001, 131072)]:
        with encrypted(cipher, chunk=chunk, buffers=30000) as (sender, receiver):
            sender.setblocking(False)
            at = 0
            while at < 2 << 20:
                try:
                    at += sender.send(PLAIN[at : at + step])
                except BlockingIOError:
                    break
            assert at < 1 << 20, f"{at} bytes taken with nobody reading"
            limit = sender.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
            worst = max(worst, outq(sender) - limit)
            assert outq(sender) <= limit + (chunk or 65536) + 4096, (outq(sender), limit)
            assert not select.select([], [sender], [], 0)[1], "poll says there is room"
            assert limit == sender.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
            reader = Reader(receiver)
            goal = at + 300000
            while at < goal:
                assert select.select([], [sender], [], 5)[1], "poll never said there is room again"
                with contextlib.suppress(BlockingIOError):
                    at += sender.send(PLAIN[at : min(at + step, goal)])
            sender.close()
            same(reader.result(), expected(cipher, at, PAD_PKCS7), f"step {step}")
    return f"at most {max(worst, 0)} bytes over the limit"


@check
def edge_triggered() -> None:
    """epoll with EPOLLET, and a non-blocking sendfile."""
    with encrypted(AES, buffers=20000) as (sender, receiver), select.epoll() as poller:
        sender.setblocking(False)
        poller.register(sender, select.EPOLLOUT | select.EPOLLET)
        reader = Reader(receiver)
        at, goal = 0, 2000001
        while at < goal:
            assert poller.poll(5), f"no event at {at}"
            while at < goal:
                try:
                    at += os.sendfile(sender.fileno(), FILE.fileno(), at, goal - at)
                except BlockingIOError:
                    break
        sender.close()
        same(reader.result(), expected(AES, goal, PAD_PKCS7), "edge triggered")


@check
def low_water() -> None:
    """TCP_NOTSENT_LOWAT below a chunk: no blocking of a non-blocking sender, nothing lost."""
    with encrypted(AES, buffers=100000) as (sender, receiver):
        sender.setsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, 4096)
        sender.setblocking(False)
        started, at = time.monotonic(), 0
        while at < 1000000:
            try:
                at += sender.send(PLAIN[at : at + 300000])
            except BlockingIOError:
                break
        assert time.monotonic() - started < 2
        assert sender.getsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT) == 4096
        reader = Reader(receiver)
        sender.setblocking(True)
        sender.sendall(PLAIN[at:1000000])
        sender.close()
        same(reader.result(), expected(AES, 1000000, PAD_PKCS7), "low water")


@check
def timeouts() -> None:
    with encrypted(AES, buffers=20000) as (sender, receiver):
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 0, 200000))
        libc = ctypes.CDLL(None, use_errno=True)
        at, started = 0, time.monotonic()
        while (sent := libc.send(sender.fileno(), PLAIN[at:], 300000, 0)) > 0:
            at += sent
        assert ctypes.get_errno() == errno.EAGAIN
        assert 0.1 < time.monotonic() - started < 3
        reader = Reader(receiver)
        sender.close()
        same(reader.result(), expected(AES, at, PAD_PKCS7), "SO_SNDTIMEO")


@check
def signals() -> str:
    """A blocked call returns what it took, or EINTR; the stream goes on afterwards."""
    libc, hits = ctypes.CDLL(None, use_errno=True), []
    signal.signal(signal.SIGALRM, lambda *_: hits.append(1))
    signal.siginterrupt(signal.SIGALRM, True)
    with encrypted(AES, buffers=20000) as (sender, receiver):
        at = 0
        for _ in range(3):
            signal.setitimer(signal.ITIMER_REAL, 0.15)
            sent = libc.send(sender.fileno(), PLAIN[at : at + 500001], 500001, 0)
            if sent < 0:
                assert ctypes.get_errno() == errno.EINTR, os.strerror(ctypes.get_errno())
                break
            at += sent
        assert sent < 0, "never EINTR"
        signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)  # a storm of them
        reader = Reader(receiver)
        deadline = time.monotonic() + 20
        while at < 2 << 20 and time.monotonic() < deadline:
            sent = libc.sendfile(sender.fileno(), FILE.fileno(), ctypes.byref(ctypes.c_long(at)), (2 << 20) - at)
            if sent > 0:
                at += sent
            else:
                assert ctypes.get_errno() == errno.EINTR
        signal.setitimer(signal.ITIMER_REAL, 0)
        sender.close()
        same(reader.result(), expected(AES, at, PAD_PKCS7), "signals")
    return f"{len(hits)} signals"


@check
def killed_while_blocked() -> str:
    slowest = 0.0
    for by_file in (False, True):
        with pair(buffers=20000) as (sender, receiver):
            pid = os.fork()
            if not pid:
                with contextlib.suppress(BaseException):
                    receiver.close()
                    ulp(sender)
                    sender.setsockopt(SOL_SO_CRYPT, SO_CRYPT_SET, setting(how=PAD_ZERO))
                    if by_file:
                        sendfile(sender, 0, len(PLAIN))
                    else:
                        sender.sendall(PLAIN)
                os._exit(0)
            sender.close()
            time.sleep(0.4)
            started = time.monotonic()
            os.kill(pid, signal.SIGKILL)
            while not os.waitpid(pid, os.WNOHANG)[0]:
                assert time.monotonic() - started < 5, "it does not die"
                time.sleep(0.01)
            slowest = max(slowest, time.monotonic() - started)
            got = read_all(receiver)
            assert got, "nothing arrived"
            assert got == reference(AES)[: len(got)], "what arrived is not a beginning of the stream"
    return f"gone after {slowest * 1000:.0f} ms"


@check
def peer_closes_early() -> None:
    for by_file in (False, True):
        with encrypted(AES, buffers=20000) as (sender, receiver):
            threading.Timer(0.2, receiver.close).start()
            try:
                for _ in range(20):
                    if by_file:
                        sendfile(sender, 0, len(PLAIN))
                    else:
                        sender.sendall(PLAIN)
                raise AssertionError("never failed")
            except OSError as error:
                assert error.errno in (errno.EPIPE, errno.ECONNRESET), error
            refused(errno.EPIPE, functools.partial(sender.send, b"x"), "afterwards")
            info(sender)
    with encrypted(AES) as (sender, receiver):  # SIGPIPE, unless it is not wanted
        hits: list[int] = []
        previous = signal.signal(signal.SIGPIPE, lambda *_: hits.append(1))
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        receiver.close()
        refused(errno.ECONNRESET, lambda: sender.send(b"x" * 100, socket.MSG_NOSIGNAL), "first")
        refused(errno.EPIPE, lambda: sender.send(b"x" * 100, socket.MSG_NOSIGNAL), "second")
        time.sleep(0.01)
        assert not hits
        refused(errno.EPIPE, lambda: sender.send(b"x" * 100, 0), "third")
        time.sleep(0.01)
        assert hits == [1], hits
        signal.signal(signal.SIGPIPE, previous)


@check
def shutdown_under_a_blocked_sender() -> None:
    for _ in range(5):
        with encrypted(AES, buffers=20000) as (sender, receiver):
            result: list[object] = []

            def work(sock: socket.socket = sender, out: list[object] = result) -> None:
                try:
                    sock.sendall(PLAIN)
                    out.append("all")
                except OSError as error:
                    out.append(error.errno)

            thread = threading.Thread(target=work, daemon=True)
            thread.start()
            time.sleep(0.1)
            started = time.monotonic()
            sender.shutdown(socket.SHUT_WR)
            thread.join(5)
            assert result == [errno.EPIPE], result
            assert time.monotonic() - started < 2
            got = read_all(receiver)
            whole = len(got) - 16
            assert got[:whole] == reference(AES)[:whole]


@check
def threads_on_one_socket() -> str:
    """Calls do not mix: every message arrives whole."""
    size, per_thread, threads = 70000, 15, 4
    for nonblocking in (False, True):
        with encrypted(CTR, buffers=60000) as (sender, receiver):

            def work(number: int, sock: socket.socket = sender, wait: bool = not nonblocking) -> None:
                for i in range(per_thread):
                    length = size if wait else 1000
                    message = struct.pack("II", number, i) + bytes([number]) * (length - 8)
                    if wait:
                        assert sock.send(message) == length
                        info(sock)
                    else:
                        while True:
                            try:
                                assert sock.send(message, MSG_DONTWAIT) == length
                                break
                            except BlockingIOError:
                                select.select([], [sock], [], 5)

            reader = Reader(receiver)
            workers = [threading.Thread(target=work, args=(n,), daemon=True) for n in range(1, threads + 1)]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join(20)
                assert not worker.is_alive()
            sender.close()
            plain = openssl(CTR, reader.result(), decrypt=True)
            length = 1000 if nonblocking else size
            assert len(plain) == threads * per_thread * length, len(plain)
            seen: dict[int, int] = {}
            for at in range(0, len(plain), length):
                number, i = struct.unpack_from("II", plain, at)
                assert plain[at + 8 : at + length] == bytes([number]) * (length - 8), "messages are mixed"
                assert seen.get(number, 0) == i
                seen[number] = i + 1
    return f"{threads} threads, {per_thread} messages each"


@check
def many_sockets() -> str:
    count = 150
    with contextlib.ExitStack() as stack:
        pairs = [stack.enter_context(encrypted(AES if i % 2 else DES3)) for i in range(count)]
        for step in range(4):
            for i, (sender, _) in enumerate(pairs):
                at = step * 3001
                if i % 3:
                    sender.send(PLAIN[at : at + 3001], MSG_MORE if i % 5 == 0 else 0)
                else:
                    sendfile(sender, at, 3001)
        for i, (sender, receiver) in enumerate(pairs):
            sender.close()
            same(read_all(receiver), expected(AES if i % 2 else DES3, 12004, PAD_PKCS7), f"socket {i}")
    return f"{count} at once"


@check
def file_changes_meanwhile() -> str:
    """Pages that change while they are sent: old or new bytes arrive, and the stream stays in step."""
    size = 1 << 20
    with tempfile.TemporaryFile(dir="/dev/shm") as file:
        file.truncate(size)
        view = mmap.mmap(file.fileno(), size)
        stop = threading.Event()

        def scribble() -> None:
            value = 0
            while not stop.is_set():
                value = (value + 1) % 256
                view[:] = bytes([value]) * size

        thread = threading.Thread(target=scribble, daemon=True)
        thread.start()
        with encrypted(AES) as (sender, receiver):
            reader = Reader(receiver)
            for _ in range(5):
                done = 0
                while done < size:
                    done += os.sendfile(sender.fileno(), file.fileno(), done, size - done)
            stop.set()
            thread.join()
            view[:] = PLAIN[:size]
            done = 0
            while done < size:
                done += os.sendfile(sender.fileno(), file.fileno(), done, size - done)
            file.truncate(10)  # pages that are still referenced go away
            sender.close()
            plain = openssl(AES, reader.result(), decrypt=True)
            assert len(plain) == 6 * size + 16
            same(plain[5 * size : 6 * size], PLAIN[:size], "afterwards")
    return "5 MiB scribbled over"


@check
def memory_pressure() -> str:
    """TCP out of memory: slow, but complete, also when nobody calls again; and no call hangs for good."""
    knob = Path("/proc/sys/net/ipv4/tcp_mem")
    saved = knob.read_text()
    with encrypted(AES, how=PAD_ZERO) as (sender, receiver), encrypted(AES) as (sender2, receiver2):
        try:
            sender.setblocking(False)
            knob.write_text("1 2 3")
            at = 0
            for _ in range(200):
                try:
                    at += sender.send(PLAIN[at : at + 65536])
                except BlockingIOError:
                    break
            reader2 = Reader(receiver2)
            sender2.sendall(PLAIN[:300001])
            figures = info(sender)
            left = figures.bytes_in - figures.bytes_out - figures.pending
            reader = Reader(receiver)
            time.sleep(0.5)
        finally:
            knob.write_text(saved)
        time.sleep(0.5)
        figures = info(sender)
        assert figures.bytes_in == figures.bytes_out + figures.pending, figures
        sender.close()
        same(reader.result(), expected(AES, at, PAD_ZERO), "pressure")
        sender2.close()
        same(reader2.result(), expected(AES, 300001, PAD_PKCS7), "pressure, blocking")
    with encrypted(AES) as (sender, receiver):  # at the end of the stream
        try:
            knob.write_text("1 2 3")
            sender.setblocking(False)
            reader = Reader(receiver)
            sent = sender.send(PLAIN[:100001])
            started = time.monotonic()
            sender.close()
            assert time.monotonic() - started < 5
        finally:
            knob.write_text(saved)
        reader.join(25)
        if reader.error is None:
            same(bytes(reader.data), expected(AES, sent, PAD_PKCS7), "close under pressure")
        else:
            assert isinstance(reader.error, ConnectionResetError), reader.error
    return f"{left} bytes of cipher text were waiting in the module"


@check
def close_with_unread_data() -> None:
    with encrypted(AES) as (sender, receiver):
        receiver.send(b"never read")
        time.sleep(0.05)
        sender.send(PLAIN[:1000])
        sender.close()
        reader = Reader(receiver)
        reader.join(5)
        assert not reader.is_alive()


@check
def no_unloading_in_use() -> str:
    with encrypted(AES) as (sender, _receiver):
        result = subprocess.run(["rmmod", "so_crypt"], capture_output=True, text=True, check=False)
        assert result.returncode, "it was unloaded in use"
        sender.send(PLAIN[:100])
    with pair() as (sender, _receiver):
        ulp(sender)
        result = subprocess.run(["rmmod", "so_crypt"], capture_output=True, text=True, check=False)
        assert result.returncode, "it was unloaded in use, before SO_CRYPT_SET"
    for _ in range(3):
        unload()
        load()
        with encrypted(AES) as (sender, receiver):
            sender.send(PLAIN[:32])
            same(receiver.recv(100), reference(AES)[:32], "after loading again")
    return result.stderr.strip()


def memory_kb() -> tuple[int, int, int]:
    """Used, slab (kB) and TCP's pages, when things have settled."""
    time.sleep(0.5)
    Path("/proc/sys/vm/drop_caches").write_text("3")
    time.sleep(0.3)
    fields = {line.split(":")[0]: int(line.split()[1]) for line in Path("/proc/meminfo").read_text().splitlines()}
    tcp = next(line for line in Path("/proc/net/sockstat").read_text().splitlines() if line.startswith("TCP:"))
    used = fields["MemTotal"] - fields["MemFree"] - fields["Cached"] - fields["Buffers"]
    return used, fields["Slab"], int(tcp.split()[-1])


def some_transfers(count: int, rng: random.Random) -> None:
    for i in range(count):
        with encrypted(NULL if i % 2 else AES, how=rng.randrange(3)) as (sender, receiver):
            size = rng.randrange(1, 400000)
            sender.setblocking(i % 4 != 0)
            with contextlib.suppress(BlockingIOError):
                if i % 3:
                    os.sendfile(sender.fileno(), FILE.fileno(), 0, size)
                else:
                    sender.send(PLAIN[:size], MSG_MORE)
            reader = Reader(receiver) if i % 5 else None
            sender.close()
            if reader:
                reader.result()


def in_child(function: Callable[[], object]) -> None:
    """In a process of its own, so that Python's memory does not count."""
    pid = os.fork()
    if not pid:
        status = 1
        with contextlib.suppress(BaseException):
            function()
            status = 0
        os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0, "transfers failed in the child"


@check
def memory_stays_flat() -> str:
    in_child(lambda: some_transfers(150, random.Random(9)))
    # What leaks grows every time; what the kernel merely keeps for a while (free lists, page tables) does not.
    for attempt in range(3):
        before = memory_kb()
        in_child(lambda: some_transfers(500, random.Random(10)))
        grown = [b - a for a, b in zip(before, memory_kb(), strict=True)]
        said = f"used {grown[0]:+} kB, slab {grown[1]:+} kB, TCP's pages {grown[2]:+}"
        # each processor may keep 256 pages of TCP's in reserve
        if grown[0] < 3000 and grown[1] < 2000 and grown[2] < 300:
            return f"500 transfers: {said}, in round {attempt + 1}"
    raise AssertionError(f"it grows in every round of 500 transfers, in the last one: {said}")


# ------------------------------------------------------------------------------------------------ running


def unload() -> None:
    for _ in range(100):
        result = subprocess.run(["rmmod", "so_crypt"], capture_output=True, text=True, check=False)
        if not result.returncode:
            return
        time.sleep(0.1)
    raise AssertionError(f"rmmod: {result.stderr.strip()}")


def load() -> None:
    subprocess.run(["insmod", MODULE], check=True, capture_output=True)


def kernel_log() -> list[str]:
    lines = []
    fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    try:
        while True:
            try:
                lines.append(os.read(fd, 8192).decode(errors="replace").split(";", 1)[-1].splitlines()[0])
            except BrokenPipeError:
                continue
            except BlockingIOError:
                return lines
    finally:
        os.close(fd)


def kernel_log_is_clean() -> str:
    bad = ("BUG", "WARNING", "Oops", "Call Trace", "possible", "general prot", "refcount", "hung", "KASAN")
    lines = kernel_log()
    found = [line for line in lines if any(word in line for word in bad)]
    with contextlib.suppress(OSError):  # only a kernel for debugging has it
        scan = Path("/sys/kernel/debug/kmemleak")
        for _ in range(2):
            scan.write_text("scan")
            time.sleep(1)
        found += [f"leaked: {line}" for line in scan.read_text().splitlines() if "soc_" in line]
    with contextlib.suppress(OSError):  # and lockdep, which gives up at the first complaint
        if re.search(r"debug_locks:\s+0", Path("/proc/lockdep_stats").read_text()):
            found.append("lockdep has given up")
    assert not found, "\n  ".join(found[:30])
    return f"{len(lines)} lines"


def main() -> int:
    only = sys.argv[2:]
    needed = ["des_generic", "cbc", "ecb", "ctr", "crypto_null"]
    subprocess.run(["modprobe", "-a", *needed], check=False, capture_output=True)
    if "so_crypt " not in Path("/proc/modules").read_text():
        load()
    warnings.simplefilter("ignore", DeprecationWarning)  # fork() and threads: the children do little
    failed = passed = 0
    started = time.monotonic()
    watchdog = threading.Timer(DEADLINE_SECONDS, lambda: (print("FAILED: out of time", flush=True), os._exit(3)))
    watchdog.daemon = True
    watchdog.start()
    for function in [*CHECKS, kernel_log_is_clean]:
        if only and function.__name__ not in only:
            continue
        began = time.monotonic()
        try:
            said = function() or ""
            passed += 1
            word = "ok"
        except Exception as error:
            failed += 1
            word = "FAILED"
            line = traceback.extract_tb(error.__traceback__)[-1].lineno
            said = f"{type(error).__name__}: {error} (line {line})"
        name = function.__name__.replace("_", " ")
        print(f"{word:6} {name}: {said}  [{time.monotonic() - began:.1f} s]", flush=True)
    print(f"{passed} passed, {failed} failed in {time.monotonic() - started:.0f} s on {os.uname().release}", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    MODULE = sys.argv[1]
    sys.exit(main())
