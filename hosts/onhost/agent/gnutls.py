"""GnuTLS by ctypes: which instructions it may use, and what its ciphers cost in this host's user space."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import statistics
import time
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from .values import Costs, Timed

SMALL = 256
LARGEST = 1 << 20
BATCH_NS = 400_000
TAG = 16


class _Datum(ctypes.Structure):
    """gnutls_datum_t."""

    _fields_ = (("data", ctypes.c_char_p), ("size", ctypes.c_uint))


@lru_cache(maxsize=1)
def load() -> Any:
    """The library. Raises OSError where it is missing."""
    library = ctypes.CDLL(ctypes.util.find_library("gnutls") or "libgnutls.so.30")
    size, pointer = ctypes.c_size_t, ctypes.c_void_p
    for name, arguments in {
        "gnutls_cipher_encrypt2": (pointer, pointer, size, pointer, size),
        "gnutls_aead_cipher_encrypt": (
            *(pointer, ctypes.c_char_p, size, ctypes.c_char_p, size),
            *(size, pointer, size, pointer, ctypes.POINTER(size)),
        ),
        "gnutls_hmac": (pointer, pointer, size),
        "gnutls_hmac_output": (pointer, pointer),
        "gnutls_cipher_deinit": (pointer,),
        "gnutls_aead_cipher_deinit": (pointer,),
        "gnutls_hmac_deinit": (pointer, pointer),
    }.items():
        getattr(library, name).argtypes = arguments
    library.gnutls_strerror.restype = ctypes.c_char_p
    return library


def environment(values: dict[str, str]) -> None:
    """Set environment variables of this process, and so of every command it starts from now on.

    What GnuTLS may use of the processor is decided when the library is loaded, by a constructor, and never again:
    so ValueError once libgnutls is in this process.

    Two variables are needed to take all acceleration from GnuTLS (GnuTLS manual, "Debugging and auditing"; Nettle's
    fat-x86_64.c): ``GNUTLS_CPUID_OVERRIDE=0x1`` disables GnuTLS's own assembly, but what it then falls back to, Nettle,
    looks at the processor by itself and uses AES, SHA and carry-less multiplication instructions. Nettle takes
    its features from ``NETTLE_FAT_OVERRIDE`` instead where that is set; ``vendor:other`` names none of them.
    """
    if "libgnutls" in Path("/proc/self/maps").read_text():
        raise ValueError("GnuTLS is loaded already: what it may use of the processor was decided then")
    os.environ.update(values)


def cost(cipher: str, mac: str | None, size: int, seconds: float) -> Costs:
    """What enciphering one record costs.

    A record's cipher (gnutls_cipher_encrypt2, or gnutls_aead_cipher_encrypt for an AEAD) and MAC (gnutls_hmac and
    gnutls_hmac_output, over a kept handle as in a session) are timed for records of 256 and of ``size`` bytes, each for
    about half of ``seconds``, in batches; the lower quartile of them counts.
    What Python adds to a call is the same for both sizes.

    Names are those of gnutls_cipher_get_id and
    gnutls_mac_get_id. Raises ValueError for what GnuTLS does not know or refuses, OSError where it is missing.
    """
    if not SMALL < size <= LARGEST:
        raise ValueError(f"a record of {size} bytes: more than {SMALL} are needed, {LARGEST} is the largest")
    if not 0 < seconds <= 60:
        raise ValueError(f"{seconds:g} seconds: more than 0 are needed, 60 are the most")
    with _Records(cipher, mac, size) as records:
        small, large = (Timed(n, _typical(partial(records.encipher, n), seconds / 2)) for n in (SMALL, size))
    return Costs(small, large)


def _typical(action: Callable[[], None], seconds: float) -> float:
    """The lower quartile of the times of one ``action`` in nanoseconds, of five batches at least.

    A busy machine interrupts most batches that are as long as a slow cipher's, but hardly three quarters of them.

    Batches, because reading the clock may itself be a system call (what that takes is taken off).
    """
    clock = min(_batch(action, 0) for _ in range(50))
    rounds = 1
    while min(_batch(action, rounds) for _ in range(3)) < BATCH_NS and rounds < 1 << 20:
        rounds *= 2  # the fastest of three: one that was interrupted does not tell how long a batch is
    end = time.monotonic() + seconds
    batches: list[int] = []
    while len(batches) < 5 or (time.monotonic() < end and len(batches) < 1 << 20):
        batches.append(_batch(action, rounds))
    return max(0.0, statistics.quantiles(batches, n=4)[0] - clock) / rounds


def _batch(action: Callable[[], None], rounds: int) -> int:
    started = time.perf_counter_ns()
    for _ in range(rounds):
        action()
    return time.perf_counter_ns() - started


class _Records:
    """A cipher and a MAC with random keys, as one direction of a TLS session has them."""

    def __init__(self, cipher: str, mac: str | None, size: int) -> None:
        self._gnutls = gnutls = load()
        number = gnutls.gnutls_cipher_get_id(cipher.encode())
        if number == 0:
            raise ValueError(f"GnuTLS here has no cipher {cipher}")
        self._text = ctypes.create_string_buffer(os.urandom(size), size)
        self._out = ctypes.create_string_buffer(size + TAG)
        self._nonce = os.urandom(gnutls.gnutls_cipher_get_iv_size(number))
        key = os.urandom(gnutls.gnutls_cipher_get_key_size(number))
        self._cipher, self._mac = ctypes.c_void_p(), ctypes.c_void_p()
        self._digest = ctypes.create_string_buffer(64)
        self._aead = gnutls.gnutls_cipher_get_tag_size(number) > 0
        if self._aead and mac:
            raise ValueError(f"{cipher} authenticates by itself: it takes no MAC")
        if not self._aead and size % gnutls.gnutls_cipher_get_block_size(number):
            raise ValueError(f"{size} bytes are no whole blocks of {cipher}")  # Nettle would abort the process
        secret, iv = _Datum(key, len(key)), _Datum(self._nonce, len(self._nonce))
        if self._aead:
            opened = gnutls.gnutls_aead_cipher_init(ctypes.byref(self._cipher), number, ctypes.byref(secret))
        else:
            opened = gnutls.gnutls_cipher_init(
                ctypes.byref(self._cipher), number, ctypes.byref(secret), ctypes.byref(iv)
            )
        self._check(opened, cipher)
        if mac:
            self._open_mac(mac)

    def _open_mac(self, mac: str) -> None:
        number = self._gnutls.gnutls_mac_get_id(mac.encode())
        try:
            if number == 0:
                raise ValueError(f"GnuTLS here has no MAC {mac}")
            key = os.urandom(self._gnutls.gnutls_hmac_get_len(number))
            self._check(self._gnutls.gnutls_hmac_init(ctypes.byref(self._mac), number, key, len(key)), mac)
        except ValueError:
            self.__exit__()
            raise

    def __enter__(self) -> _Records:
        return self

    def __exit__(self, *_: object) -> None:
        if self._aead:
            self._gnutls.gnutls_aead_cipher_deinit(self._cipher)
        else:
            self._gnutls.gnutls_cipher_deinit(self._cipher)
        if self._mac:
            self._gnutls.gnutls_hmac_deinit(self._mac, self._digest)

    def _check(self, status: int, what: str) -> None:
        if status < 0:
            raise ValueError(f"{what}: GnuTLS says: {self._gnutls.gnutls_strerror(status).decode()}")

    def encipher(self, size: int) -> None:
        """One record of ``size`` bytes."""
        if self._aead:
            room = ctypes.c_size_t(size + TAG)
            status = self._gnutls.gnutls_aead_cipher_encrypt(
                *(self._cipher, self._nonce, len(self._nonce), None, 0, TAG),
                *(self._text, size, self._out, ctypes.byref(room)),
            )
        else:
            status = self._gnutls.gnutls_cipher_encrypt2(self._cipher, self._text, size, self._out, size)
        if status == 0 and self._mac:
            status = self._gnutls.gnutls_hmac(self._mac, self._text, size)
            self._gnutls.gnutls_hmac_output(self._mac, self._digest)
        self._check(status, f"a record of {size} bytes")
