"""Many small files, one after the other, in this one process: each timed by libcurl, each checked.

Bodies stay in memory: they are small, and a file would only add to what is timed.
"""

from __future__ import annotations

import hashlib
import time
from contextlib import closing
from dataclasses import dataclass

from . import curl
from .counters import cpu
from .curl import Handle
from .protocol import FetchMany, Prime
from .room import Room
from .values import Connection, Fetched, Tls

LARGEST = 16 << 20
MOST = 100_000


@dataclass(frozen=True)
class Got:
    """One GET. ``payload`` says what is wrong with its body, ``failure`` what kept it from coming at all."""

    failure: str | None
    payload: str | None = None
    connections: int = 0
    latency_us: float = 0.0


class SmallFiles:
    """Takes batches, and keeps sessions between ``prime`` and the batches that they are for."""

    def __init__(self) -> None:
        self._primed: dict[object, Batch] = {}

    def prime(self, asked: Prime) -> str | None:
        """One full handshake, and one GET, ahead of a ``resumed`` batch of the same file; what went wrong, or None.

        It is as dear as many resumed ones: asked for by itself, it can be kept out of both hosts' busy time.
        """
        batch = Batch(asked.url, asked.size_bytes, asked.sha256, asked.tls, "resumed")
        if batch.asked in self._primed:
            self._primed[batch.asked].close()
        self._primed[batch.asked] = batch
        return batch.prime(asked.timeout_seconds)

    def fetch(self, asked: FetchMany) -> Fetched:
        """A batch: see Batch.run."""
        what = (asked.url, asked.size_bytes, asked.sha256, asked.tls, asked.connection)
        with closing(self._primed.pop(what) if what in self._primed else Batch(*what)) as batch:
            return batch.run(asked.count, asked.timeout_seconds)


class Batch:
    """Consecutive GETs of one file of ``size`` bytes with one libcurl handle, which is set up as for large files.

    ``connection`` is what each GET begins with:

    - ``new``: a new TCP connection and, with ``tls``, a full handshake (libcurl keeps no session);
    - ``resumed``: a new TCP connection, the TLS session of the one before it offered again. libcurl does not tell
      whether the server took it up: the server's log must (nginx: ``$ssl_session_reused``). libcurl 7.88 switches
      GnuTLS's session tickets off, so that it resumes nothing over TLS 1.3, and over TLS 1.2 only what the server
      keeps in a session cache; libcurl 8.14 resumes both;
    - ``kept``: the one connection that the first opened.

    Raises ValueError for what makes no sense.
    """

    def __init__(self, url: str, size: int, sha256: str, tls: Tls | None, connection: Connection) -> None:
        if connection == "resumed" and not tls:
            raise ValueError("without TLS there is no session to resume")
        if not 0 <= size <= LARGEST:
            raise ValueError(f"a body of {size} bytes: {LARGEST} are the most")
        self.asked = (url, size, sha256, tls, connection)
        self._size, self._sha256, self._connection = size, sha256, connection
        self._primed = False
        self._body = Room(bytearray(size + 1))  # one more would be seen
        self._handle = Handle(url, 1.0, tls, self._body)
        self._handle.set(curl.FRESH_CONNECT, int(connection != "kept"))
        self._handle.set(curl.FORBID_REUSE, int(connection != "kept"))
        self._handle.set(curl.SSL_SESSIONID_CACHE, int(connection == "resumed"))

    def close(self) -> None:
        """Close the handle, and with it a kept connection."""
        self._handle.close()
        self._body.close()

    def prime(self, timeout: float) -> str | None:
        """One GET that does not count, so that the next has a session to resume; what went wrong, or None."""
        got = self._get(timeout)
        wrong = got.failure or got.payload
        self._primed = wrong is None
        return wrong

    def run(self, count: int, timeout: float) -> Fetched:
        """``count`` GETs within ``timeout`` seconds; the first failure ends them.

        ``seconds`` is wall time of all, with the checks between them; ``latencies_us`` are from the start of connect,
        for ``kept`` from when the connection is there, to the last byte. A ``resumed`` batch that was not primed primes
        itself, outside all of these.
        """
        if not 1 <= count <= MOST:
            raise ValueError(f"{count} requests: at least 1, at most {MOST}")
        end = time.perf_counter() + timeout
        error = self.prime(timeout) if self._connection == "resumed" and not self._primed else None
        done: list[Got] = []
        wrong, received, connections = False, 0, 0
        before, started = cpu(), time.perf_counter()
        while len(done) < count and not error:
            left = end - time.perf_counter()
            if left <= 0:
                error = f"{len(done)} of {count} requests took {timeout:g} s"
                break
            got = self._get(left)
            received += self._body.filled
            connections += got.connections
            wrong = got.payload is not None
            opens = 0 if self._connection == "kept" and done else 1
            why = got.failure or got.payload
            if not why and got.connections != opens:
                why = f"it opened {got.connections} connections, not {opens}"
            if why:
                error = f"request {len(done) + 1}: {why}"
            else:
                done.append(got)
        seconds, after = time.perf_counter() - started, cpu()
        return Fetched(
            error=error,
            seconds=seconds,
            received_bytes=received,
            cpu_before=before,
            cpu_after=after,
            handshake_seconds=None,
            latencies_us=[got.latency_us for got in done],
            connections=connections,
            sha256_ok=False if wrong else True if len(done) == count else None,
        )

    def _get(self, timeout: float) -> Got:
        """One GET, then, when its clock has stopped, the check of its body."""
        handle = self._handle
        self._body.empty()
        handle.set(curl.TIMEOUT_MS, max(1, int(timeout * 1000)))
        if failure := handle.perform():
            return Got(None, f"payload: more than {self._size} bytes") if self._body.overrun else Got(failure)
        start = handle.told(curl.NAMELOOKUP_TIME)
        if self._connection == "kept":
            # not PRETRANSFER_TIME: libcurl takes it when it has sent the request
            start = max(start, handle.told(curl.CONNECT_TIME), handle.told(curl.APPCONNECT_TIME))
        return Got(
            failure=None,
            payload=self._wrong(),
            connections=handle.told(curl.NUM_CONNECTS),
            latency_us=float(handle.told(curl.TOTAL_TIME) - start),
        )

    def _wrong(self) -> str | None:
        count = self._body.filled
        if count != self._size:
            return f"payload: {count} bytes, not {self._size}"
        if hashlib.sha256(memoryview(self._body.memory)[:count]).hexdigest() != self._sha256:
            return "payload: its SHA-256 is not the one of the source"
        return None
