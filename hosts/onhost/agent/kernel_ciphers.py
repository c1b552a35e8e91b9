"""The kernel's ciphers by either interface, compared with OpenSSL's: known answers, not speed."""

from __future__ import annotations

import os

from . import afalg, devcrypto, evp
from .afalg import WrongTagError
from .values import CryptoInterface

ANSWERS = {"AF_ALG": afalg.answer, "/dev/crypto": devcrypto.answer}
"""What asks each of them."""


def answer(
    interface: CryptoInterface,
    kind: str,
    name: str,
    key: bytes,
    iv: bytes,
    text: bytes,
    aad: bytes = b"",
    encrypt: bool = True,
) -> bytes:
    """What the kernel's ``name`` makes of a text, as ``afalg.answer`` has it. Raises AlgError, WrongTagError."""
    return ANSWERS[interface](kind, name, key, iv, text, aad, encrypt)


def verify(
    interface: CryptoInterface,
    kind: str,
    name: str,
    evp_name: str | None,
    key_bytes: int,
    iv_bytes: int,
    size: int,
    aad_bytes: int,
) -> str | None:
    """Whether the kernel's ``name`` and OpenSSL agree about ``size`` random bytes; None, or what differs first.

    Asked through ``interface``. Random key, IV and text; enciphered by both and compared, tag included; what the kernel
    enciphered is deciphered by the kernel and compared with the text. Without ``evp_name`` (the null cipher) the answer
    must be the text itself.
    Raises AlgError or EvpError where one of them cannot be asked.
    """
    key, iv, aad, text = (os.urandom(count) for count in (key_bytes, iv_bytes, aad_bytes, size))
    enciphered = answer(interface, kind, name, key, iv, text, aad)
    expected = evp.answer(evp_name, key, iv, text, aad) if evp_name else text
    other = f"OpenSSL's {evp_name}" if evp_name else "the text"
    wrong = difference(enciphered, expected)
    if wrong:
        return f"{name} enciphers {size} bytes differently from {other}: {wrong}"
    try:
        back = answer(interface, kind, name, key, iv, enciphered, aad, encrypt=False)
    except WrongTagError:
        return f"{name} does not accept its own tag over {size} bytes"
    wrong = difference(back, text)
    return f"{name} does not decipher {size} bytes to what it enciphered: {wrong}" if wrong else None


def difference(one: bytes, other: bytes) -> str | None:
    """Where two answers differ first (bytes are counted from 0); None where they do not."""
    if one == other:
        return None
    for place, (a, b) in enumerate(zip(one, other)):  # noqa: B905 (of unequal length: the shorter one counts)
        if a != b:
            return f"byte {place} of {len(other)} is {a:#04x}, not {b:#04x}"
    return f"{len(one)} bytes instead of {len(other)}"
