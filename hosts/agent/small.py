"""Many small files, one after the other, in this one process: each timed by libcurl, each checked.

Bodies stay in memory: they are small, and a file would only add to what is timed.
"""

from __future__ import annotations

import hashlib
import time
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from . import fetch
from .counters import cpu

CONNECTIONS = ("new", "resumed", "kept")
LARGEST = 16 << 20
MOST = 100_000


@dataclass(frozen=True)
class Got:
    """One GET. ``payload`` says what is wrong with its body, ``failure`` what kept it from coming at all."""

    failure: str | None
    payload: str | None = None
    connections: int = 0
    latency_us: float = 0.0
    handshake_us: float | None = None


class Receiver:
    """Takes batches, and keeps a session between ``prime`` and the batch that it is for."""

    def __init__(self) -> None:
        self._primed: Batch | None = None

    def prime(self, url: str, timeout: float, size: int, sha256: str, tls: dict[str, Any]) -> str | None:
        """One full handshake, and one GET, ahead of a ``resumed`` batch of the same file; what went wrong, or None.

        It is as dear as many resumed ones: asked for by itself, it can be kept out of both hosts' busy time.
        """
        self._forget()
        self._primed = Batch(url, size, sha256, tls, "resumed")
        return self._primed.prime(timeout)

    def fetch(
        self, url: str, count: int, timeout: float, size: int, sha256: str, tls: dict[str, Any] | None, connection: str
    ) -> dict[str, Any]:
        """A batch: see Batch.run."""
        asked = (url, size, sha256, tls, connection)
        if self._primed and self._primed.asked == asked:
            batch, self._primed = self._primed, None
        else:
            self._forget()
            batch = Batch(*asked)
        with closing(batch):
            return batch.run(count, timeout)

    def _forget(self) -> None:
        if self._primed:
            self._primed.close()
        self._primed = None


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

    def __init__(self, url: str, size: int, sha256: str, tls: dict[str, Any] | None, connection: str) -> None:
        if connection not in CONNECTIONS:
            raise ValueError(f"connection is one of {', '.join(CONNECTIONS)}, not {connection}")
        if connection == "resumed" and not tls:
            raise ValueError("without TLS there is no session to resume")
        if not 0 <= size <= LARGEST:
            raise ValueError(f"a body of {size} bytes: {LARGEST} are the most")
        import pycurl

        self.asked = (url, size, sha256, tls, connection)
        self._size, self._sha256, self._tls, self._connection = size, sha256, tls, connection
        self._body = bytearray(size)
        self._got, self._primed = 0, False
        self._curl = curl = fetch.handle(url, 1.0, tls)
        curl.setopt(pycurl.FRESH_CONNECT, int(connection != "kept"))
        curl.setopt(pycurl.FORBID_REUSE, int(connection != "kept"))
        curl.setopt(pycurl.SSL_SESSIONID_CACHE, int(connection == "resumed"))
        curl.setopt(pycurl.WRITEFUNCTION, self._take)

    def close(self) -> None:
        """Close the handle, and with it a kept connection."""
        self._curl.close()

    def prime(self, timeout: float) -> str | None:
        """One GET that does not count, so that the next has a session to resume; what went wrong, or None."""
        got = self._get(timeout)
        wrong = got.failure or got.payload
        self._primed = wrong is None
        return wrong

    def run(self, count: int, timeout: float) -> dict[str, Any]:
        """``count`` GETs within ``timeout`` seconds; the first failure ends them.

        Returns ``error`` (None when all went well), ``requests`` that went well, ``seconds`` (wall time of all, with
        the checks between them), ``latencies_us`` of each of these requests (from the start of connect, for ``kept``
        from when the connection is there, to the last byte), ``handshakes_us`` (TLS alone, one for each connection;
        None without TLS), ``connections`` opened, ``bytes`` of all bodies, and ``sha256_ok``: True when all ``count``
        bodies were right, False when one was wrong, None when too few came. ``cpu_before`` and ``cpu_after`` are this
        host's busy time around all that.

        ``warmups``, GETs before that, is 1 where a ``resumed`` batch had not been primed, and had to prime itself.
        """
        if not 1 <= count <= MOST:
            raise ValueError(f"{count} requests: at least 1, at most {MOST}")
        end = time.perf_counter() + timeout
        warmups, error = 0, None
        if self._connection == "resumed" and not self._primed:
            warmups, error = 1, self.prime(timeout)
        done: list[Got] = []
        wrong, received, connections = False, 0, 0
        before, started = cpu(), time.perf_counter()
        while len(done) < count and not error:
            left = end - time.perf_counter()
            if left <= 0:
                error = f"{len(done)} of {count} requests took {timeout:g} s"
                break
            got = self._get(left)
            received += self._got
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
        handshakes = [got.handshake_us for got in done if got.handshake_us is not None]
        return {
            "error": error,
            "requests": len(done),
            "warmups": warmups,
            "seconds": seconds,
            "latencies_us": [got.latency_us for got in done],
            "handshakes_us": handshakes if self._tls else None,
            "connections": connections,
            "bytes": received,
            "sha256_ok": False if wrong else True if len(done) == count else None,
            "cpu_before": before,
            "cpu_after": after,
        }

    def _take(self, piece: bytes) -> int:
        """Libcurl's write callback. Taking less than it was given ends the transfer."""
        end = self._got + len(piece)
        if end <= self._size:
            self._body[self._got : end] = piece
        self._got = end
        return len(piece) if end <= self._size else 0

    def _get(self, timeout: float) -> Got:
        """One GET, then, when its clock has stopped, the check of its body."""
        import pycurl

        curl = self._curl
        self._got = 0
        curl.setopt(pycurl.TIMEOUT_MS, max(1, int(timeout * 1000)))
        try:
            curl.perform()
        except pycurl.error as failure:
            if self._got > self._size:
                return Got(None, f"payload: more than {self._size} bytes")
            return Got(f"libcurl {failure.args[0]}: {failure.args[1] or curl.errstr()}")
        opened = int(curl.getinfo(pycurl.NUM_CONNECTS))
        looked_up, connected = curl.getinfo(pycurl.NAMELOOKUP_TIME), curl.getinfo(pycurl.CONNECT_TIME)
        secured = curl.getinfo(pycurl.APPCONNECT_TIME)
        # not PRETRANSFER_TIME: libcurl takes it when it has sent the request
        start = max(looked_up, connected, secured) if self._connection == "kept" else looked_up
        return Got(
            failure=None,
            payload=self._wrong(),
            connections=opened,
            latency_us=_microseconds(curl.getinfo(pycurl.TOTAL_TIME) - start),
            handshake_us=_microseconds(secured - connected) if opened and secured else None,
        )

    def _wrong(self) -> str | None:
        if self._got != self._size:
            return f"payload: {self._got} bytes, not {self._size}"
        if hashlib.sha256(self._body).hexdigest() != self._sha256:
            return "payload: its SHA-256 is not the one of the source"
        return None


def _microseconds(seconds: float) -> float:
    """What libcurl counts in, though it answers in seconds."""
    return float(round(seconds * 1e6))
