"""OpenSSL's EVP by ctypes: cryptography in user space that shares no code with the kernel's.

A second opinion on what the kernel enciphered. Names are OpenSSL's (``openssl list -cipher-algorithms``); DES, which
OpenSSL 3 keeps in its legacy provider, is loaded from there into a library context of its own. OpenSSL 1.1.1 has no
providers, and other names for what tells of a cipher.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from functools import lru_cache
from typing import Any

CHUNK = 1 << 20
TAG = 16
AEAD_FLAG = 0x200000  # EVP_CIPH_FLAG_AEAD_CIPHER of openssl/evp.h
SET_IV_LENGTH, GET_TAG, SET_TAG = 0x9, 0x10, 0x11  # EVP_CTRL_AEAD_* of openssl/evp.h


class EvpError(ValueError):
    """OpenSSL refused; one sentence says why."""


class WrongTagError(EvpError):
    """The text or its additional data are not what was enciphered under this key."""


@lru_cache(maxsize=1)
def _load() -> Any:
    library = ctypes.CDLL(ctypes.util.find_library("crypto") or "libcrypto.so.3")
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    functions: list[tuple[str, Any, tuple[Any, ...]]] = [
        ("EVP_CIPHER_CTX_new", pointer, ()),
        ("EVP_CIPHER_CTX_free", None, (pointer,)),
        ("EVP_CIPHER_CTX_set_padding", number, (pointer, number)),
        ("EVP_CIPHER_CTX_ctrl", number, (pointer, number, number, pointer)),
        ("EVP_CipherInit_ex", number, (pointer, pointer, pointer, text, text, number)),
        ("EVP_CipherUpdate", number, (pointer, pointer, ctypes.POINTER(number), text, number)),
        ("EVP_CipherFinal_ex", number, (pointer, pointer, ctypes.POINTER(number))),
    ]
    if _fetches(library):
        functions += [
            ("OSSL_LIB_CTX_new", pointer, ()),
            ("OSSL_PROVIDER_load", pointer, (pointer, text)),
            ("EVP_CIPHER_fetch", pointer, (pointer, text, text)),
            ("EVP_CIPHER_free", None, (pointer,)),
        ]
    else:
        functions += [("EVP_get_cipherbyname", pointer, (text,))]
    for what, result in (("flags", ctypes.c_ulong), ("key_length", number), ("iv_length", number)):
        functions.append((_tells(library) + what, result, (pointer,)))
    for name, result, arguments in functions:
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def _fetches(library: Any) -> bool:
    """Whether ciphers come from providers: OpenSSL 3."""
    return hasattr(library, "EVP_CIPHER_fetch")


def _tells(library: Any) -> str:
    """How the functions begin that tell of a cipher."""
    return "EVP_CIPHER_get_" if _fetches(library) else "EVP_CIPHER_"


def _told(cipher: int, what: str) -> int:
    """A cipher's ``flags``, ``key_length`` or ``iv_length``."""
    crypto = _load()
    return int(getattr(crypto, _tells(crypto) + what)(cipher))


def _free(cipher: int) -> None:
    """Of a cipher that was fetched; those of OpenSSL 1.1.1 are constants."""
    if _fetches(_load()):
        _load().EVP_CIPHER_free(cipher)


@lru_cache(maxsize=1)
def _legacy() -> int | None:
    """A library context with the legacy provider; None where OpenSSL's package came without it."""
    crypto = _load()
    context = crypto.OSSL_LIB_CTX_new()
    both = [crypto.OSSL_PROVIDER_load(context, name) for name in (b"default", b"legacy")]
    return int(context) if all(both) else None


def _fetch(evp: str) -> int:
    """The cipher, to be freed. Raises EvpError where neither provider has it."""
    crypto = _load()
    if not _fetches(crypto):
        constant = crypto.EVP_get_cipherbyname(evp.encode())
        if not constant:
            raise EvpError(f"OpenSSL here has no {evp}")
        return int(constant)
    found = crypto.EVP_CIPHER_fetch(None, evp.encode(), None)
    if found:
        return int(found)
    legacy = _legacy()
    found = crypto.EVP_CIPHER_fetch(legacy, evp.encode(), None) if legacy else None
    if not found:
        raise EvpError(f"OpenSSL here has no {evp}" + ("" if legacy else ", and no legacy provider"))
    return int(found)


class Cipher:
    """One text under one key and IV, in pieces of up to CHUNK bytes; a context manager.

    ``padding``: PKCS#7 is put on, or checked and taken off. ``aad`` and ``tag`` (what deciphering is to find) are for
    AEADs. Raises EvpError where OpenSSL refuses.
    """

    def __init__(
        self, evp: str, key: bytes, iv: bytes, encrypt: bool, padding: bool, aad: bytes = b"", tag: bytes | None = None
    ) -> None:
        self._crypto = crypto = _load()
        self._evp, self._encrypt = evp, encrypt
        self._out = ctypes.create_string_buffer(CHUNK + 64)
        self._cipher = _fetch(evp)
        self._context = crypto.EVP_CIPHER_CTX_new()
        try:
            self.aead = bool(_told(self._cipher, "flags") & AEAD_FLAG)
            self._open(key, iv, padding, aad, tag)
        except EvpError:
            self.__exit__()
            raise

    def _open(self, key: bytes, iv: bytes, padding: bool, aad: bytes, tag: bytes | None) -> None:
        crypto, context = self._crypto, self._context
        wanted = _told(self._cipher, "key_length"), _told(self._cipher, "iv_length")
        # OpenSSL reads as much as it needs, however much there is
        if (len(key), len(iv)) != wanted and not (self.aead and len(key) == wanted[0] and iv):
            raise EvpError(
                f"{self._evp} takes a key of {wanted[0]} and an IV of {wanted[1]} bytes, not {len(key)} and {len(iv)}"
            )
        if aad and not self.aead:
            raise EvpError(f"{self._evp} does not authenticate additional data")
        if self.aead and not self._encrypt and tag is None:
            raise EvpError(f"{self._evp} needs a tag to decipher")
        opened = crypto.EVP_CipherInit_ex(context, self._cipher, None, None, None, int(self._encrypt)) == 1
        if opened and self.aead:
            opened = crypto.EVP_CIPHER_CTX_ctrl(context, SET_IV_LENGTH, len(iv), None) == 1
        if opened and self.aead and tag is not None:
            opened = crypto.EVP_CIPHER_CTX_ctrl(context, SET_TAG, len(tag), tag) == 1
        if not opened or crypto.EVP_CipherInit_ex(context, None, None, key, iv, -1) != 1:
            raise EvpError(f"OpenSSL did not take key and IV for {self._evp}")
        crypto.EVP_CIPHER_CTX_set_padding(context, int(padding))
        if aad and crypto.EVP_CipherUpdate(context, None, ctypes.byref(ctypes.c_int(0)), aad, len(aad)) != 1:
            raise EvpError(f"OpenSSL did not take the additional data for {self._evp}")

    def __enter__(self) -> Cipher:
        return self

    def __exit__(self, *_: object) -> None:
        self._crypto.EVP_CIPHER_CTX_free(self._context)
        _free(self._cipher)

    def update(self, data: bytes) -> bytes:
        """The next piece, up to CHUNK bytes."""
        if len(data) > CHUNK:
            raise EvpError(f"a piece of {len(data)} bytes, where {CHUNK} are the most")
        done = ctypes.c_int(0)
        if self._crypto.EVP_CipherUpdate(self._context, self._out, ctypes.byref(done), data, len(data)) != 1:
            raise EvpError(f"OpenSSL could not go on with {self._evp}")
        return ctypes.string_at(self._out, done.value)

    def final(self) -> bytes:
        """The last bytes. Deciphering raises WrongTagError, or EvpError for wrong padding or half a block."""
        done = ctypes.c_int(0)
        if self._crypto.EVP_CipherFinal_ex(self._context, self._out, ctypes.byref(done)) == 1:
            return ctypes.string_at(self._out, done.value)
        if self.aead:
            raise WrongTagError("the tag is wrong: another key, or damaged cipher text")
        raise EvpError(
            "no whole blocks" if self._encrypt else "the padding is wrong: another key, or damaged cipher text"
        )

    def tag(self) -> bytes:
        """An AEAD's tag, after ``final``."""
        room = ctypes.create_string_buffer(TAG)
        if self._crypto.EVP_CIPHER_CTX_ctrl(self._context, GET_TAG, TAG, room) != 1:
            raise EvpError(f"OpenSSL gave no tag for {self._evp}")
        return room.raw


def answer(evp: str, key: bytes, iv: bytes, text: bytes, aad: bytes = b"", encrypt: bool = True) -> bytes:
    """``text`` (up to CHUNK bytes) enciphered or deciphered in one go, without padding; an AEAD's tag at the end.

    As the kernel's AF_ALG does it. Raises EvpError, WrongTagError where a tag is not right.
    """
    tag = None
    if not encrypt and _is_aead(evp):
        if len(text) < TAG:
            raise EvpError(f"{len(text)} bytes are too few for a tag of {TAG}")
        text, tag = text[:-TAG], text[-TAG:]
    with Cipher(evp, key, iv, encrypt, padding=False, aad=aad, tag=tag) as cipher:
        out = cipher.update(text) + cipher.final()
        return out + cipher.tag() if cipher.aead and encrypt else out


def _is_aead(evp: str) -> bool:
    cipher = _fetch(evp)
    try:
        return bool(_told(cipher, "flags") & AEAD_FLAG)
    finally:
        _free(cipher)
