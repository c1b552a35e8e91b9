"""What the checks share: the device, its structures, user memory, a base that reads the kernel's log."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import fcntl
import mmap
import os
import random
import select
import subprocess
import unittest
from pathlib import Path
from typing import Any

from .. import checking
from ..checking import delayed

MODULE = os.environ.get("DEVCRYPTO_MODULE", "devcrypto.ko")
DELAYED = "cbc-aes-delayed"
DEADLINE_SECONDS = 120 * checking.PATIENCE
DEVICE = "/dev/crypto"
NEEDED = (
    *("des_generic", "cbc", "ecb", "ctr", "xts", "gcm", "ghash_generic", "authenc", "crypto_null", "cryptd"),
    *("hmac", "sha1_generic", "sha256_generic", "sha512_generic", "chacha_generic", "chacha20poly1305"),
)

AES_CBC, AES_CTR, AES_XTS, AES_ECB, AES_GCM, DES3_CBC, NULL = 11, 21, 22, 23, 50, 2, 16
SHA1, SHA256, SHA512, SHA1_HMAC, SHA256_HMAC = 14, 104, 106, 7, 18
ENCRYPT, DECRYPT = 0, 1
UPDATE, FINAL, WRITE_IV, NO_ZC, TLS, SRTP, RESET = (1 << bit for bit in range(7))
CIPHER, AEAD, HASH = range(3)
COPIED, MAPPED = range(2)
MAX_LEN, DEPTH, MAX_SESSIONS = 262140, 64, 4096

KEY = bytes(range(1, 65))
IV = bytes(range(100, 116))
PLAIN = random.Random(20051).randbytes(1 << 19)


class SessionOp(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_uint32) for name in ("cipher", "mac", "keylen")),
        ("key", ctypes.c_void_p),
        ("mackeylen", ctypes.c_uint32),
        ("mackey", ctypes.c_void_p),
        ("ses", ctypes.c_uint32),
    )


class Names(ctypes.Structure):
    _fields_ = (
        ("ses", ctypes.c_uint32),
        *((name, ctypes.c_char * 64) for name in ("cipher", "cipher_driver", "hash", "hash_driver")),
        ("alignmask", ctypes.c_uint16),
        ("flags", ctypes.c_uint32),
    )


class CryptOp(ctypes.Structure):
    _fields_ = (
        ("ses", ctypes.c_uint32),
        ("op", ctypes.c_uint16),
        ("flags", ctypes.c_uint16),
        ("len", ctypes.c_uint32),
        *((name, ctypes.c_void_p) for name in ("src", "dst", "mac", "iv")),
    )


class AuthOp(ctypes.Structure):
    _fields_ = (
        ("ses", ctypes.c_uint32),
        ("op", ctypes.c_uint16),
        ("flags", ctypes.c_uint16),
        ("len", ctypes.c_uint32),
        ("auth_len", ctypes.c_uint32),
        *((name, ctypes.c_void_p) for name in ("auth_src", "src", "dst", "tag")),
        ("tag_len", ctypes.c_uint32),
        ("iv", ctypes.c_void_p),
        ("iv_len", ctypes.c_uint32),
    )


class HashOp(ctypes.Structure):
    _fields_ = (("dst_ses", ctypes.c_uint32), ("src_ses", ctypes.c_uint32))


class KeyOp(ctypes.Structure):
    _fields_ = (("raw", ctypes.c_uint64 * 18),)


class Named(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char * 128),
        ("key", ctypes.c_uint64),
        *((name, ctypes.c_uint32) for name in ("keylen", "kind", "memory", "taglen", "ses", "pad")),
    )


class Info(ctypes.Structure):
    _fields_ = (
        ("driver", ctypes.c_char * 128),
        *((name, ctypes.c_uint32) for name in ("ses", "kind", "is_async", "memory")),
        *((name, ctypes.c_uint32) for name in ("blocksize", "ivsize", "taglen", "most")),
        *((name, ctypes.c_uint64) for name in ("requests", "later", "failed", "bytes")),
        *((name, ctypes.c_uint64) for name in ("copied_in", "copied_out", "mapped")),
    )


def number(direction: int, which: int, kind: type[ctypes._CData]) -> int:
    return direction << 30 | ctypes.sizeof(kind) << 16 | ord("c") << 8 | which


W, R, RW = 1, 2, 3
CRIOGET = number(RW, 101, ctypes.c_uint32)
CIOCGSESSION = number(RW, 102, SessionOp)
CIOCFSESSION = number(W, 103, ctypes.c_uint32)
CIOCCRYPT = number(RW, 104, CryptOp)
CIOCKEY = number(RW, 105, KeyOp)
CIOCASYMFEAT = number(R, 106, ctypes.c_uint32)
CIOCGSESSINFO = number(RW, 107, Names)
CIOCAUTHCRYPT = number(RW, 109, AuthOp)
CIOCASYNCCRYPT = number(W, 110, CryptOp)
CIOCASYNCFETCH = number(R, 111, CryptOp)
CIOCCPHASH = number(W, 112, HashOp)
DEVCRYPTO_SESSION = number(RW, 192, Named)
DEVCRYPTO_INFO = number(RW, 193, Info)


class Memory:
    """User memory that begins ``offset`` bytes after the beginning of a page."""

    def __init__(self, content: bytes | int, offset: int = 0) -> None:
        data = bytes(content) if isinstance(content, int) else content
        self.size = len(data)
        self._map = mmap.mmap(-1, offset + max(self.size, 1), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._map[offset : offset + self.size] = data
        self._offset = offset
        self.at = ctypes.addressof(ctypes.c_char.from_buffer(self._map)) + offset

    def __bytes__(self) -> bytes:
        return self._map[self._offset : self._offset + self.size]


class Device:
    """An open /dev/crypto; a context manager."""

    def __init__(self) -> None:
        self.fd = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)

    def ioctl(self, which: int, op: Any) -> None:
        fcntl.ioctl(self.fd, which, op)

    def session(self, cipher: int = 0, mac: int = 0, key: bytes = b"", mackey: bytes = b"") -> int:
        op = SessionOp(cipher, mac, len(key), address(key), len(mackey), address(mackey), 0)
        self.ioctl(CIOCGSESSION, op)
        assert op.ses, "session 0"
        return int(op.ses)

    def named(self, name: str, kind: int = CIPHER, key: bytes = b"", memory: int = COPIED, taglen: int = 0) -> int:
        op = Named(name.encode(), address(key) or 0, len(key), kind, memory, taglen, 0, 0)
        self.ioctl(DEVCRYPTO_SESSION, op)
        return int(op.ses)

    def end(self, session: int) -> None:
        self.ioctl(CIOCFSESSION, ctypes.c_uint32(session))

    def info(self, session: int) -> Info:
        info = Info(ses=session)
        self.ioctl(DEVCRYPTO_INFO, info)
        return info

    def crypt(
        self,
        session: int,
        data: bytes,
        iv: bytes = IV,
        *,
        op: int = ENCRYPT,
        offsets: tuple[int, int] | None = None,
        flags: int = 0,
    ) -> bytes:
        """A cipher's result; ``offsets`` in their pages of source and destination, in place without."""
        src = Memory(data, offsets[0] if offsets else 0)
        dst = Memory(len(data), offsets[1]) if offsets else src
        vector = Memory(iv)
        self.ioctl(CIOCCRYPT, CryptOp(session, op, flags, len(data), src.at, dst.at, None, vector.at))
        if offsets:
            assert bytes(src) == data, "the source was written"
        if not flags & WRITE_IV:
            assert bytes(vector) == iv, "the IV was written"
        return bytes(dst)

    def hash(self, session: int, data: bytes, size: int, flags: int = 0) -> bytes:
        src, mac = Memory(data), Memory(size)
        self.ioctl(CIOCCRYPT, CryptOp(session, ENCRYPT, flags, len(data), src.at, None, mac.at, None))
        return bytes(mac)

    def auth(
        self,
        session: int,
        data: bytes,
        auth: bytes,
        iv: bytes,
        *,
        op: int = ENCRYPT,
        offsets: tuple[int, int] | None = None,
        flags: int = 0,
        room: int = 64,
        tag_len: int = 0,
    ) -> bytes:
        """What CIOCAUTHCRYPT makes of ``data``."""
        src = Memory(data + bytes(room), offsets[0] if offsets else 0)
        dst = Memory(len(data) + room, offsets[1]) if offsets else src
        head, vector = Memory(auth), Memory(iv)
        call = AuthOp(
            *(session, op, flags, len(data), len(auth), head.at, src.at, dst.at),
            *(None, tag_len, vector.at, len(iv)),
        )
        self.ioctl(CIOCAUTHCRYPT, call)
        assert bytes(head) == auth, "the authenticated data was written"
        if offsets:
            assert bytes(src) == data + bytes(room), "the source was written"
            assert bytes(dst)[call.len :] == bytes(len(data) + room - call.len), "written past the end"
        return bytes(dst)[: call.len]

    def submit(self, session: int, src: Memory, iv: Memory, dst: Memory | None = None, flags: int = 0) -> None:
        call = CryptOp(session, ENCRYPT, flags, src.size, src.at, (dst or src).at, None, iv.at)
        self.ioctl(CIOCASYNCCRYPT, call)

    def fetch(self) -> CryptOp:
        """The answer that comes next."""
        assert select.select([self.fd], [], [], 20)[0], "no answer"
        call = CryptOp()
        self.ioctl(CIOCASYNCFETCH, call)
        return call


_kept: dict[bytes, ctypes.Array[ctypes.c_char]] = {}


def address(data: bytes) -> int | None:
    """Where a copy of ``data`` lies for good."""
    if data and data not in _kept:
        _kept[data] = ctypes.create_string_buffer(data, len(data))
    return ctypes.addressof(_kept[data]) if data else None


def load() -> None:
    checking.load(MODULE)
    assert Path(DEVICE).is_char_device(), f"no {DEVICE}"


def unload() -> None:
    checking.unload("devcrypto")
    assert not Path(DEVICE).exists(), f"{DEVICE} stayed"


class Case(unittest.TestCase):
    """Both modules are loaded before a class's checks, and the kernel has complained of nothing after them."""

    @classmethod
    def setUpClass(cls) -> None:
        faulthandler.dump_traceback_later(DEADLINE_SECONDS, exit=True)
        checking.begin()
        subprocess.run(["modprobe", "-a", *NEEDED], check=False, capture_output=True)
        loaded = Path("/proc/modules").read_text()
        if "devcrypto " not in loaded:
            load()
        if "delayed " not in loaded:
            checking.load_delayed()

    def setUp(self) -> None:
        delayed(hold=0, fail=0, backlog=0, most=0)
        self.addCleanup(delayed, hold=0)
        self.stack = contextlib.ExitStack()
        self.addCleanup(self.stack.close)
        self.device = self.stack.enter_context(Device())

    @classmethod
    def tearDownClass(cls) -> None:
        faulthandler.cancel_dump_traceback_later()
        if "cryptd " in Path("/proc/modules").read_text():
            checking.unload("cryptd")  # what it wraps it outranks, for whoever asks next, until it goes
        found = checking.complaints("dc_")
        assert not found, "\n  ".join(found[:30])
