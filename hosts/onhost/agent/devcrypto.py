"""The kernel's cryptography asked through /dev/crypto, which our module devcrypto makes: known answers, and its hashes.

``hosts/onhost/modules/devcrypto/devcrypto.h`` is the reference for structures, numbers and errors. The kernel loads
modules that a name needs by itself, past the journal: load them first. A request ends when its driver answers, or with
the process.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .afalg import TAG, AlgError, WrongTagError, check

DEVICE = "/dev/crypto"
ENCRYPT, DECRYPT = 0, 1
KINDS = {"skcipher": 0, "aead": 1, "hash": 2}
"""By the kind's name in the kernel."""
COPIED = 0
LONGEST_DIGEST = 64


class Session(ctypes.Structure):
    """struct devcrypto_session"""

    _fields_ = (
        ("name", ctypes.c_char * 128),
        ("key", ctypes.c_uint64),
        *((name, ctypes.c_uint32) for name in ("keylen", "kind", "memory", "taglen", "ses", "pad")),
    )


class Crypt(ctypes.Structure):
    """struct crypt_op"""

    _fields_ = (
        ("ses", ctypes.c_uint32),
        ("op", ctypes.c_uint16),
        ("flags", ctypes.c_uint16),
        ("len", ctypes.c_uint32),
        *((name, ctypes.c_void_p) for name in ("src", "dst", "mac", "iv")),
    )


class Authenticated(ctypes.Structure):
    """struct crypt_auth_op"""

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


def _number(which: int, kind: type[ctypes.Structure]) -> int:
    """Of an ioctl that reads and writes a structure."""
    return 3 << 30 | ctypes.sizeof(kind) << 16 | ord("c") << 8 | which


CIOCCRYPT, CIOCAUTHCRYPT = _number(104, Crypt), _number(109, Authenticated)
DEVCRYPTO_SESSION = _number(192, Session)


def answer(kind: str, name: str, key: bytes, iv: bytes, text: bytes, aad: bytes = b"", encrypt: bool = True) -> bytes:
    """``text`` (up to 128 KiB) enciphered or deciphered by the kernel's ``name`` (an algorithm or a driver).

    As ``afalg.answer``: without padding, an AEAD's tag of 16 bytes at the end. Raises AlgError, WrongTagError.
    """
    check(kind, name, text, aad)
    operation, source = ENCRYPT if encrypt else DECRYPT, _buffer(text)
    result, head, vector = _buffer(bytes(len(text) + TAG)), _buffer(aad), _buffer(iv)
    with _session(kind, name, key) as (device, session):
        try:
            if kind == "skcipher":
                places = _at(source), _at(result), None, _at(vector) if iv else None
                fcntl.ioctl(device, CIOCCRYPT, Crypt(session, operation, 0, len(text), *places))
                return bytes(result)[: len(text)]
            whole = Authenticated(
                *(session, operation, 0, len(text), len(aad), _at(head), _at(source), _at(result)),
                *(None, 0, _at(vector), len(iv)),
            )
            fcntl.ioctl(device, CIOCAUTHCRYPT, whole)
            return bytes(result)[: whole.len]
        except OSError as error:
            if error.errno == errno.EBADMSG:
                raise WrongTagError(f"{name}: the tag is wrong: another key, or damaged cipher text") from error
            raise AlgError(
                f"{name}, key {len(key)}, IV {len(iv)}, text {len(text)} bytes: {DEVICE} says: {error.strerror}"
            ) from error


@contextmanager
def hashing(name: str, key: bytes) -> Iterator[Callable[[bytes], bytes]]:
    """The kernel's hash ``name``: a call that digests what it is given, of at most 64 bytes. Raises AlgError."""
    with _session("hash", name, key) as (device, session):
        digest = _buffer(bytes(LONGEST_DIGEST))

        def call(text: bytes) -> bytes:
            source = _buffer(text)
            fcntl.ioctl(device, CIOCCRYPT, Crypt(session, ENCRYPT, 0, len(text), _at(source), None, _at(digest), None))
            return bytes(digest)

        yield call


@contextmanager
def _session(kind: str, name: str, key: bytes) -> Iterator[tuple[int, int]]:
    """The opened device and a session's number there, which goes with it."""
    try:
        device = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        why = "it is not there" if error.errno == errno.ENOENT else error.strerror
        raise AlgError(f"{DEVICE} gives no {kind} {name}: {why}") from error
    try:
        secret = _buffer(key)
        tag = TAG if kind == "aead" else 0
        asked = Session(name.encode(), _at(secret) if key else 0, len(key), KINDS[kind], COPIED, tag, 0, 0)
        try:
            fcntl.ioctl(device, DEVCRYPTO_SESSION, asked)
        except OSError as error:
            why = "the kernel has none" if error.errno == errno.ENOENT else error.strerror
            raise AlgError(f"{DEVICE} gives no {kind} {name}: {why}") from error
        finally:
            ctypes.memset(secret, 0, len(secret))
        yield device, int(asked.ses)
    finally:
        os.close(device)


def _buffer(content: bytes) -> ctypes.Array[ctypes.c_char]:
    """A copy of it in memory of its own, one byte at least."""
    return ctypes.create_string_buffer(content, max(1, len(content)))


def _at(buffer: Any) -> int:
    return ctypes.addressof(buffer)
