"""Clients of ours that fetch instead of libcurl: programs that wait on their standard input between two transfers.

They are started ahead and stay, as libcurl does in this process, so that no start-up is in any number.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from .counters import cpu
from .values import Fetched

START_SECONDS = 20.0
"""On an emulated processor."""
END_SECONDS = 2.0
MOST_WORDS = 400


class ClientError(Exception):
    """A client that ended or told nothing; one sentence says why."""


class Client:
    """One process. Raises ClientError where it cannot be started."""

    def __init__(self, command: list[str]) -> None:
        pipe = subprocess.PIPE
        try:
            self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True)
        except OSError as error:
            raise ClientError(f"{command[0]}: {error.strerror}") from error
        self._said = b""
        self.line(START_SECONDS)  # that it is ready

    def ask(self, text: str) -> None:
        """Give it a line. Raises ClientError."""
        try:
            os.write(self._process.stdin.fileno(), f"{text}\n".encode())  # type: ignore[union-attr]
        except OSError as error:
            raise ClientError(self.end() or f"it takes no more: {error.strerror}") from error

    def line(self, timeout: float) -> str:
        """Its next line, which is JSON. Raises ClientError where none comes within ``timeout`` seconds."""
        out, end = self._process.stdout.fileno(), time.monotonic() + timeout  # type: ignore[union-attr]
        while b"\n" not in self._said:
            left = end - time.monotonic()
            if left <= 0 or not select.select([out], [], [], left)[0]:
                self.end()
                raise ClientError(f"it told nothing for {timeout:g} s")
            piece = os.read(out, 1 << 16)
            if not piece:
                raise ClientError(self.end() or "it ended without a word")
            self._said += piece
        line, _, self._said = self._said.partition(b"\n")
        return line.decode()

    def end(self) -> str:
        """End it; its last words."""
        process = self._process
        if process.stdin:
            process.stdin.close()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        words = b""
        for pipe in (process.stderr, process.stdout):
            if pipe and not pipe.closed:
                words = words or pipe.read()
                pipe.close()
        return words.decode(errors="replace").strip()[:MOST_WORDS]


class Clients:
    """Those that run, by their commands."""

    def __init__(self) -> None:
        self._running: dict[tuple[str, ...], Client] = {}

    def have(self, commands: list[list[str]]) -> None:
        """Have these ready and no others. Why one cannot be is told when it is to fetch."""
        wanted = {tuple(command) for command in commands}
        for command in self._running.keys() - wanted:
            self._running.pop(command).end()
        for command in wanted - self._running.keys():
            try:
                self._running[command] = Client(list(command))
            except ClientError:
                continue

    def fetch(self, command: list[str], path: str, file: Path, size: int, timeout: float) -> Fetched:
        """One transfer into a file that is there, with this host's own busy time around it.

        A client that fails ends, and the next transfer has another.
        """
        key = tuple(command)
        before = cpu()
        told: str | None = None
        error: str | None = None
        try:
            client = self._running.get(key) or Client(command)
            self._running[key] = client
            before = cpu()
            client.ask(f"{path} {size} {file}")
            told = client.line(timeout)
        except ClientError as why:
            self._running.pop(key, None)
            error = str(why)
        after = cpu()
        line: dict[str, Any] = json.loads(told) if told else {}
        handshake = line.get("handshake_ns")
        return Fetched(
            error=error,
            seconds=line.get("ns", 0) / 1e9,
            received_bytes=line.get("bytes", 0),
            cpu_before=before,
            cpu_after=after,
            handshake_seconds=None if handshake is None else handshake / 1e9,
            latencies_us=None,
            connections=None,
            sha256_ok=None,
            told=told,
        )
