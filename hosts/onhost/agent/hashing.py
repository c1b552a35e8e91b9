"""What the kernel's hash costs, by AF_ALG (linux/Documentation/crypto/userspace-if.rst) or by /dev/crypto."""

from __future__ import annotations

import os
import socket
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from . import afalg, devcrypto
from .values import Costs, CryptoInterface, Timed

SMALL, LARGE = 256, 16384
KEY_BYTES = 32
FEWEST, MOST = 20, 200_000
LONGEST_SECONDS = 20.0


Digest = Callable[[bytes], object]


def cost(interface: CryptoInterface, name: str, seconds: float) -> Costs:
    """What a digest takes of 256 and of 16384 random bytes by the kernel's ``name``: the lower quartile.

    Both take turns for ``seconds``, 20 times at least. A keyed hash (``hmac(sha1)``) gets a random key. The
    system calls (two of AF_ALG, one of /dev/crypto) and what Python adds are the same for both sizes, so that they are
    in what is left at no bytes. Raises ValueError where the kernel has no such hash, or refuses.
    """
    if not 0 < seconds <= LONGEST_SECONDS:
        raise ValueError(f"{seconds:g} seconds: more than 0 are needed, {LONGEST_SECONDS:g} are the most")
    key = os.urandom(KEY_BYTES) if "(" in name else b""
    try:
        with _by_af_alg(name, key) if interface == "AF_ALG" else devcrypto.hashing(name, key) as digest:
            return Costs(*_typical(digest, (SMALL, LARGE), seconds))
    except OSError as error:
        raise ValueError(f"{name}: the kernel says: {error.strerror}") from error


@contextmanager
def _by_af_alg(name: str, key: bytes) -> Iterator[Digest]:
    with socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET) as bound:
        try:
            bound.bind(("hash", name))
        except OSError as error:
            raise ValueError(f"the kernel gives no hash {name}: {afalg.refusal(error, 'hash')}") from error
        if key:
            bound.setsockopt(socket.SOL_ALG, socket.ALG_SET_KEY, key)
        with bound.accept()[0] as asked:

            def digest(text: bytes) -> bytes:
                asked.send(text)
                return asked.recv(128)

            yield digest


def _typical(digest: Digest, sizes: Sequence[int], seconds: float) -> list[Timed]:
    """In turn, so that whatever slows the host down for a while slows all sizes."""
    texts, clock = {size: os.urandom(size) for size in sizes}, time.perf_counter_ns
    taken: dict[int, list[int]] = {size: [] for size in sizes}
    end = time.monotonic() + seconds
    for turn in range(MOST):
        if turn >= FEWEST and time.monotonic() >= end:
            break
        for size, text in texts.items():
            started = clock()
            digest(text)
            taken[size].append(clock() - started)
    return [Timed(size, float(statistics.quantiles(times, n=4)[0])) for size, times in taken.items()]
