"""The kernel's cryptography asked through AF_ALG: known answers, not speed.

linux/Documentation/crypto/userspace-if.rst. Binding lets the kernel load modules it needs by itself, past the journal:
load them first. Nothing here waits for ever: every call is made with MSG_DONTWAIT, which AF_ALG heeds where it would
wait for room or for data, not for the cipher.
"""

from __future__ import annotations

import errno
import socket
from contextlib import ExitStack
from typing import Any

from . import evp, files

TAG = evp.TAG
RESTRICT, FIPS = "/proc/sys/crypto/af_alg_restrict", "/proc/sys/crypto/fips_enabled"
LARGEST, LARGEST_AAD = 128 * 1024, 4096
"""Bytes that a socket's buffer has room for at once (net.core.wmem_default is about 208 KiB)."""


class AlgError(ValueError):
    """The kernel refused; one sentence says why."""


class WrongTagError(AlgError):
    """The text or its additional data are not what was enciphered under this key."""


def check(kind: str, name: str, text: bytes, aad: bytes) -> None:
    """Raises AlgError for what no interface is asked."""
    if kind not in ("skcipher", "aead"):
        raise AlgError(f"{kind} is neither skcipher nor aead")
    if aad and kind != "aead":
        raise AlgError(f"{name}: a skcipher does not authenticate additional data")
    if not text and kind == "skcipher":
        raise AlgError(f"{name}: no text")
    if len(text) > LARGEST + TAG or len(aad) > LARGEST_AAD:
        raise AlgError(f"{len(text)} bytes and {len(aad)} more, where {LARGEST} and {LARGEST_AAD} are the most")


def answer(kind: str, name: str, key: bytes, iv: bytes, text: bytes, aad: bytes = b"", encrypt: bool = True) -> bytes:
    """``text`` (up to 128 KiB) enciphered or deciphered by the kernel's ``name`` (an algorithm or a driver).

    Without padding; an AEAD's tag of 16 bytes stands at the end of the enciphered text. ``kind`` is ``skcipher`` or
    ``aead``. Raises AlgError, WrongTagError where a tag is not right.
    """
    check(kind, name, text, aad)
    if not hasattr(socket, "AF_ALG"):
        raise AlgError(f"the kernel gives no {kind} {name}: this Python has no AF_ALG")
    with ExitStack() as stack:
        try:
            bound = stack.enter_context(socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET))
            bound.bind((kind, name))
        except OSError as error:
            raise AlgError(f"the kernel gives no {kind} {name}: {refusal(error, kind)}") from error
        try:
            if key:
                bound.setsockopt(socket.SOL_ALG, socket.ALG_SET_KEY, key)
            if kind == "aead":
                bound.setsockopt(socket.SOL_ALG, socket.ALG_SET_AEAD_AUTHSIZE, None, TAG)
            asked = stack.enter_context(bound.accept()[0])
            return _exchange(asked, kind, iv, text, aad, encrypt)
        except OSError as error:
            if error.errno == errno.EBADMSG:
                raise WrongTagError(f"{name}: the tag is wrong: another key, or damaged cipher text") from error
            raise AlgError(
                f"{name}, key {len(key)}, IV {len(iv)}, text {len(text)} bytes: the kernel says: {error.strerror}"
            ) from error


def refusal(error: OSError, kind: str) -> str:
    """Why AF_ALG gave no socket, or would not bind it, by the kernel's number and what else the kernel says."""
    level, fips = ((files.read(path) or "").strip() for path in (RESTRICT, FIPS))
    if error.errno == errno.EAFNOSUPPORT:
        return "crypto.af_alg_restrict is 2, which switches AF_ALG off" if level == "2" else "it has no AF_ALG"
    if error.errno != errno.ENOENT:
        return str(error.strerror)
    reasons = ["crypto.af_alg_restrict is 1, and it is not on that list"] if level == "1" else []
    reasons += ["FIPS mode does not let it be used"] if fips == "1" else []
    return ", or ".join([*reasons, f"it has none, or no algif_{kind}"])


def _exchange(asked: socket.socket, kind: str, iv: bytes, text: bytes, aad: bytes, encrypt: bool) -> bytes:
    """One request: all of it in, then all of it out. An AEAD's additional data comes back in front: taken off."""
    wanted = len(text)
    how: dict[str, Any] = {"op": socket.ALG_OP_ENCRYPT if encrypt else socket.ALG_OP_DECRYPT}
    if iv:
        how["iv"] = iv
    if kind == "aead":
        wanted += len(aad) + (TAG if encrypt else -TAG)
        how["assoclen"] = len(aad)
        if wanted < len(aad):
            raise AlgError(f"{len(text)} bytes are too few for a tag of {TAG}")
    sent = asked.sendmsg_afalg([aad + text], flags=socket.MSG_DONTWAIT, **how)
    if sent != len(aad) + len(text):
        raise AlgError(f"the kernel took {sent} of {len(aad) + len(text)} bytes at once")
    got = asked.recv(max(1, wanted), socket.MSG_DONTWAIT)  # a tag over nothing is checked when something is asked for
    while len(got) < wanted:
        piece = asked.recv(wanted - len(got), socket.MSG_DONTWAIT)
        if not piece:
            raise AlgError(f"the kernel gave {len(got)} of {wanted} bytes")
        got += piece
    return got[len(aad) :]
