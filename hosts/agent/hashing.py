"""What the kernel's hash costs, asked through AF_ALG (linux/Documentation/crypto/userspace-if.rst)."""

from __future__ import annotations

import os
import socket
import time
from typing import Any

SMALL, LARGE = 256, 16384
KEY_BYTES = 32
FEWEST, MOST = 20, 200_000
LONGEST_SECONDS = 20.0


def cost(name: str, seconds: float) -> dict[str, Any]:
    """The fastest digest of 256 and of 16384 random bytes by the kernel's ``name``, in nanoseconds.

    Each is tried for half of ``seconds``, 20 times at least. A keyed hash (``hmac(sha1)``) gets a random key. The two
    system calls and what Python adds are the same for both sizes, so that they are in what is left at no bytes.
    ``small`` and ``large``: bytes, min_ns, repetitions, digest_bytes. Raises ValueError where the kernel has no such
    hash, or refuses.
    """
    if not 0 < seconds <= LONGEST_SECONDS:
        raise ValueError(f"{seconds:g} seconds: more than 0 are needed, {LONGEST_SECONDS:g} are the most")
    with socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET) as bound:
        try:
            bound.bind(("hash", name))
        except OSError as error:
            raise ValueError(f"the kernel gives no hash {name}: {error.strerror}") from error
        try:
            if "(" in name:
                bound.setsockopt(socket.SOL_ALG, socket.ALG_SET_KEY, os.urandom(KEY_BYTES))
            with bound.accept()[0] as asked:
                return {
                    "small": _fastest(asked, SMALL, seconds / 2),
                    "large": _fastest(asked, LARGE, seconds / 2),
                }
        except OSError as error:
            raise ValueError(f"{name}: the kernel says: {error.strerror}") from error


def _fastest(asked: socket.socket, size: int, seconds: float) -> dict[str, int]:
    text, clock = os.urandom(size), time.perf_counter_ns
    best, count, digest = 0, 0, b""
    end = time.monotonic() + seconds
    while count < FEWEST or (count < MOST and time.monotonic() < end):
        started = clock()
        asked.send(text)
        digest = asked.recv(128)
        taken = clock() - started
        best = taken if count == 0 else min(best, taken)
        count += 1
    return {"bytes": size, "min_ns": best, "repetitions": count, "digest_bytes": len(digest)}
