"""What the kernel's hash costs, asked through AF_ALG (linux/Documentation/crypto/userspace-if.rst)."""

from __future__ import annotations

import os
import socket
import statistics
import time

from . import afalg
from .values import Costs, Timed

SMALL, LARGE = 256, 16384
KEY_BYTES = 32
FEWEST, MOST = 20, 200_000
LONGEST_SECONDS = 20.0


def cost(name: str, seconds: float) -> Costs:
    """What a digest takes of 256 and of 16384 random bytes by the kernel's ``name``: the lower quartile.

    Each is tried for half of ``seconds``, 20 times at least. A keyed hash (``hmac(sha1)``) gets a random key. The two
    system calls and what Python adds are the same for both sizes, so that they are in what is left at no bytes.
    Raises ValueError where the kernel has no such
    hash, or refuses.
    """
    if not 0 < seconds <= LONGEST_SECONDS:
        raise ValueError(f"{seconds:g} seconds: more than 0 are needed, {LONGEST_SECONDS:g} are the most")
    with socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET) as bound:
        try:
            bound.bind(("hash", name))
        except OSError as error:
            raise ValueError(f"the kernel gives no hash {name}: {afalg.refusal(error, 'hash')}") from error
        try:
            if "(" in name:
                bound.setsockopt(socket.SOL_ALG, socket.ALG_SET_KEY, os.urandom(KEY_BYTES))
            with bound.accept()[0] as asked:
                return Costs(_typical(asked, SMALL, seconds / 2), _typical(asked, LARGE, seconds / 2))
        except OSError as error:
            raise ValueError(f"{name}: the kernel says: {error.strerror}") from error


def _typical(asked: socket.socket, size: int, seconds: float) -> Timed:
    text, clock = os.urandom(size), time.perf_counter_ns
    taken: list[int] = []
    end = time.monotonic() + seconds
    while len(taken) < FEWEST or (len(taken) < MOST and time.monotonic() < end):
        started = clock()
        asked.send(text)
        asked.recv(128)
        taken.append(clock() - started)
    return Timed(size, float(statistics.quantiles(taken, n=4)[0]))
