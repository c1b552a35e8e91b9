"""What the agent does when asked: one method for each operation, arguments and results plain JSON."""

from __future__ import annotations

import base64
import binascii
import errno
import hashlib
import os
import random
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

from . import afalg, crypto_user, gnutls, hashing
from . import evp as openssl
from . import fetch as receiver
from .counters import cpu, observe
from .journal import Journal
from .kinds import ChangeError, start_time, write_atomically
from .small import Receiver
from .trace import Trace

OUTPUT_LIMIT = 1 << 20


class Operations:
    """The operations, over the run's directory on tmpfs (mode 0700)."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.journal = Journal(directory)
        self._trace: Trace | None = None
        self._small = Receiver()

    def hello(self) -> dict[str, Any]:
        """Who and where this agent is."""
        return {"directory": str(self.directory), "pid": os.getpid(), "uid": os.getuid()}

    def ping(self) -> None:
        """Renew the lease."""

    def run(self, argv: list[str], timeout: float, stdin: str | None = None, cwd: str | None = None) -> dict[str, Any]:
        """Run a command in a process group of its own, with a deadline in seconds."""
        started = time.monotonic()
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=cwd or self.directory,
                start_new_session=True,
            )
        except OSError as error:
            return {"status": 127, "stdout": "", "stderr": f"{argv[0]}: {error.strerror}", "seconds": 0.0}
        timed_out = False
        try:
            out, err = process.communicate((stdin or "").encode(), timeout=timeout)
        except subprocess.TimeoutExpired:
            timed_out = True
            os.killpg(process.pid, signal.SIGKILL)
            out, err = _rest(process)
        return {
            "status": None if timed_out else process.returncode,
            "stdout": out[-OUTPUT_LIMIT:].decode(errors="replace"),
            "stderr": err[-OUTPUT_LIMIT:].decode(errors="replace"),
            "seconds": time.monotonic() - started,
        }

    def read(self, paths: list[str]) -> dict[str, str | None]:
        """Files' contents; None for one that is not there or not readable."""
        found: dict[str, str | None] = {}
        for path in paths:
            try:
                found[path] = Path(path).read_text(errors="replace")[:OUTPUT_LIMIT]
            except OSError:
                found[path] = None
        return found

    def put(self, path: str, content: str, mode: int, sha256: str) -> None:
        """Write a file in the run's directory: temporary name, final mode, hash checked, then renamed."""
        try:
            data = base64.b64decode(content, validate=True)
        except binascii.Error as error:
            raise ChangeError(f"{path}: damaged on the way: {error}") from error
        if hashlib.sha256(data).hexdigest() != sha256:
            raise ChangeError(f"{path}: damaged on the way: another SHA-256")
        write_atomically(self.directory / path, data, mode)

    def payload(self, path: str, size: int, seed: int) -> str:
        """Make a file of ``size`` random bytes from ``seed`` in the run's directory; returns its SHA-256."""
        source = random.Random(seed)  # test data, not keys
        hashed = hashlib.sha256()
        with (self.directory / path).open("wb") as file:
            while size:
                piece = source.randbytes(min(size, receiver.CHUNK))
                hashed.update(piece)
                file.write(piece)
                size -= len(piece)
        return hashed.hexdigest()

    def crypto_flags(self) -> dict[str, int] | None:
        """Flags of the kernel's crypto drivers by name; None where the crypto_user netlink is not served now."""
        return crypto_user.flags()

    def apply(self, change: dict[str, Any]) -> int:
        """Make one journalled change; its number."""
        return self.journal.apply(change)

    def undo(self, numbers: list[int]) -> list[str]:
        """Undo these changes, newest first; what could not be undone."""
        return self.journal.undo(numbers)

    def port_taken(self, address: str, port: int) -> bool:
        """Whether somebody has this port of this host: what answers there later must be the server we start."""
        try:
            socket.create_server((address, port), family=_family(address)).close()
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return True
        return False

    def wait_port(self, address: str, port: int, number: int, timeout: float) -> str | None:
        """Wait until the process of change ``number`` lets a connection in; else why not, in a line."""
        undo = self.journal.entries[number]["undo"]
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if self._ended(undo):
                return "it ended at once"
            try:
                socket.create_connection((address, port), timeout=1).close()
            except OSError:
                time.sleep(0.01)
            else:
                return None
        return f"nothing listened on {address} port {port} after {timeout:g} s"

    def running(self, number: int) -> bool:
        """Whether the process of change ``number`` still runs."""
        return not self._ended(self.journal.entries[number]["undo"])

    @staticmethod
    def _ended(undo: dict[str, Any]) -> bool:
        try:
            ended, _ = os.waitpid(undo["group"], os.WNOHANG)
        except ChildProcessError:
            return bool(start_time(undo["group"]) != undo["start"])
        return ended != 0

    def observe(self, counters: dict[str, dict[str, Any]]) -> dict[str, Any]:
        """Counters and busy time, read now, without a round trip each (see counters.observe)."""
        return observe(counters, self.read, self.run)

    def lines(self, path: str, offset: int, count: int, timeout: float) -> list[str]:
        """The whole lines of a log from ``offset`` on, waiting up to ``timeout`` seconds for ``count`` of them."""
        end = time.monotonic() + timeout
        while True:
            with Path(path).open("rb") as file:
                file.seek(offset)
                whole = file.read(OUTPUT_LIMIT).split(b"\n")[:-1]
            if len(whole) >= count or time.monotonic() > end:
                return [line.decode(errors="replace") for line in whole]
            time.sleep(0.005)

    def address(self, address: str, interface: str) -> bool:
        """Whether this host has the address on the interface."""
        shown: str = self.run(["ip", "-o", "address", "show", "dev", interface], 10)["stdout"]
        return f" {address}/" in shown

    def give(self, address: str, port: int, size: int, timeout: float) -> None:
        """Let one connection in and send ``size`` bytes down it."""
        with socket.create_server((address, port), family=_family(address)) as server:
            server.settimeout(timeout)
            connection, _ = server.accept()
            with connection:
                connection.settimeout(timeout)
                connection.sendall(bytes(size))

    def pull(self, address: str, port: int, size: int, timeout: float) -> float:
        """Take ``size`` bytes from such a giver; seconds from the start of connect to the last byte."""
        end, got, room = time.monotonic() + timeout, 0, bytearray(receiver.CHUNK)
        while True:
            start = time.perf_counter()
            try:
                connection = socket.create_connection((address, port), timeout=timeout)
                break
            except ConnectionRefusedError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.01)
        with connection:
            while got < size:
                count = connection.recv_into(room)
                if not count:
                    raise ConnectionError(f"the link's test ended after {got} of {size} bytes")
                got += count
        return time.perf_counter() - start

    def hash_cost(self, name: str, seconds: float) -> dict[str, Any]:
        """What the kernel's hash costs for one digest, of few bytes and of many (see hashing.cost)."""
        return hashing.cost(name, seconds)

    def fetch(self, url: str, out: str, timeout: float, tls: dict[str, Any] | None = None) -> dict[str, Any]:
        """One transfer, timed here; with this host's own busy time around it."""
        before = cpu()
        got = receiver.fetch(url, str(self.directory / out), timeout, tls)
        after = cpu()
        return got | {"cpu_before": before, "cpu_after": after}

    def prime(self, url: str, timeout: float, size: int, sha256: str, tls: dict[str, Any]) -> str | None:
        """Make the TLS session that the next ``fetch_many`` of this file, ``resumed``, begins with; else why not."""
        return self._small.prime(url, timeout, size, sha256, tls)

    def fetch_many(
        self,
        url: str,
        count: int,
        timeout: float,
        size: int,
        sha256: str,
        tls: dict[str, Any] | None = None,
        connection: str = "new",
    ) -> dict[str, Any]:
        """Consecutive transfers of one small file, timed here (see small.Receiver)."""
        return self._small.fetch(url, count, timeout, size, sha256, tls, connection)

    def offered(self, priority: str) -> list[str]:
        """The TLS suites that a GnuTLS priority string leaves."""
        return receiver.offered(priority)

    def suite(self, url: str, tls: dict[str, Any]) -> str | None:
        """TLS version and suite that the server agrees on with this client."""
        return receiver.suite(url, tls)

    def digest(self, path: str, count: int, cipher: dict[str, str] | None = None) -> dict[str, Any]:
        """SHA-256 of a payload, deciphered where needed."""
        try:
            return receiver.digest(str(self.directory / path), count, cipher)
        except (receiver.PayloadError, OSError) as error:
            return {"sha256": None, "error": str(error)}

    def trace_start(self, number: int, timeout: float) -> None:
        """Attach strace to the processes of change ``number``; returns when it is attached and they are at rest."""
        if self._trace:
            raise ChangeError("a trace is running already")
        group = self.journal.entries[number]["undo"].get("group")
        if group is None:
            raise ChangeError(f"change {number} started no process")
        self._trace = Trace(group, self.directory, timeout)

    def trace_stop(self) -> dict[str, Any]:
        """End the trace: how often each system call was made, and bytes read, written and moved by them."""
        if not self._trace:
            raise ChangeError("no trace is running")
        trace, self._trace = self._trace, None
        return trace.stop()

    def environment(self, values: dict[str, str]) -> None:
        """Set environment variables of the agent and of what it starts, before GnuTLS is loaded."""
        gnutls.environment(values)

    def gnutls_cost(self, cipher: str, mac: str | None, size: int, seconds: float) -> dict[str, Any]:
        """What enciphering a record costs in user space: nanoseconds for each call and for each byte."""
        return gnutls.cost(cipher, mac, size, seconds)

    def alg_answer(self, kind: str, name: str, key: str, iv: str, text: str, aad: str, encrypt: bool) -> dict[str, str]:
        """What the kernel's cipher makes of a text, by AF_ALG. All in hex."""
        unhex = bytes.fromhex
        return {"answer": afalg.answer(kind, name, unhex(key), unhex(iv), unhex(text), unhex(aad), encrypt).hex()}

    def evp_answer(
        self, evp: str, key: str, iv: str, text: str, aad: str | None = None, encrypt: bool = True
    ) -> dict[str, str]:
        """What OpenSSL's cipher makes of a text, in user space. All in hex."""
        unhex = bytes.fromhex
        return {"answer": openssl.answer(evp, unhex(key), unhex(iv), unhex(text), unhex(aad or ""), encrypt).hex()}

    def alg_verify(
        self, kind: str, name: str, evp: str | None, key_bytes: int, iv_bytes: int, size: int, aad_bytes: int
    ) -> str | None:
        """Whether the kernel's cipher and OpenSSL's agree about random bytes; None, or what differs."""
        return afalg.verify(kind, name, evp, key_bytes, iv_bytes, size, aad_bytes)


def _rest(process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
    """What a killed command had written. One that left its group may hold the pipes: it is not waited for."""
    try:
        return process.communicate(timeout=1.0)
    except subprocess.TimeoutExpired as left:
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe:
                pipe.close()
        return left.output or b"", left.stderr or b""


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET
