"""The agent on this machine without SSH: started with the very command that a host gets, spoken to in JSON lines."""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hosts.agent.kinds import start_time
from hosts.agent.main import LOCK
from hosts.remote import agent_command, agent_zip

PATIENCE = 20.0
"""Seconds after which a test gives up on something that should long have happened."""


class LocalAgent:
    """A started agent. ``first`` is its first line, None when it ended without one."""

    def __init__(self, lease: float = 60.0, data: bytes | None = None, send: bytes | None = None) -> None:
        whole = agent_zip() if data is None else data
        command = agent_command(whole, lease)
        self.directory = Path("/dev/shm") / f"pathproof-{command[-2]}"
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed in close)
        self._buffer = b""
        self._ids = 0
        self.process = subprocess.Popen(
            [sys.executable, *command[1:]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,
        )
        assert self.process.stdin and self.process.stdout
        self._in, self._out = self.process.stdin, self.process.stdout
        self._in.write(whole if send is None else send)
        self._in.flush()
        if send is not None:
            self._in.close()
        self.first = self.line()

    def __enter__(self) -> LocalAgent:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def guardian(self) -> int:
        """The number of the process that was started."""
        return self.process.pid

    @property
    def worker(self) -> int:
        """The number of the process that answers."""
        assert self.first is not None
        return int(self.first["ready"]["pid"])

    def recovered(self, other: LocalAgent) -> list[str]:
        """What it says that it put back for ``other``."""
        assert self.first is not None
        start = f"{other.directory.name}: "
        return [line.removeprefix(start) for line in self.first["recovered"] if line.startswith(start)]

    def line(self) -> dict[str, Any] | None:
        """The next line it says; None at its end. Fails when nothing comes."""
        end = time.monotonic() + PATIENCE
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([self._out], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"the agent said nothing for {PATIENCE:g} s"
            piece = os.read(self._out.fileno(), 1 << 20)
            if not piece:
                return None
            self._buffer += piece
        line, _, self._buffer = self._buffer.partition(b"\n")
        said = json.loads(line)
        assert isinstance(said, dict)
        return said

    def send(self, data: bytes) -> None:
        """Raw bytes to its standard input."""
        self._in.write(data)
        self._in.flush()

    def ask(self, op: str, /, **args: Any) -> dict[str, Any]:
        """One request; its whole answer, which may be an error."""
        self._ids += 1
        self.send(json.dumps({"id": self._ids, "op": op, "args": args}).encode() + b"\n")
        reply = self.line()
        assert reply is not None, f"the agent ended: {self.errors()}"
        assert reply["id"] == self._ids
        return reply

    def call(self, op: str, /, **args: Any) -> Any:
        """One request that must succeed; its result."""
        reply = self.ask(op, **args)
        assert "error" not in reply, reply
        return reply["result"]

    def refusal(self, op: str, /, **args: Any) -> str:
        """One request that must be refused; the reason."""
        reply = self.ask(op, **args)
        assert "result" not in reply, reply
        return str(reply["error"])

    def journal(self) -> str:
        """The journal as it is on disk."""
        return (self.directory / "journal.jsonl").read_text()

    def errors(self) -> str:
        """What it wrote to standard error."""
        return os.pread(self._errors.fileno(), 1 << 20, 0).decode()

    def end_input(self) -> None:
        """Close the channel, as a lost controller does."""
        try:
            self._in.close()
        except BrokenPipeError:
            pass

    def ended(self) -> int:
        """Its exit status, once it has ended by itself."""
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        """End it the ordinary way; by force where that fails, so that no test leaves one behind."""
        self.end_input()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(PATIENCE)
            raise
        finally:
            self._out.close()
            self._errors.close()


def start(lease: float = 60.0) -> LocalAgent:
    """An agent that answers; waits while another uses this machine."""
    end = time.monotonic() + 3 * PATIENCE
    while time.monotonic() < end:
        agent = LocalAgent(lease)
        if agent.first is not None and "ready" in agent.first:
            return agent
        said = agent.errors()
        agent.close()
        assert agent.first is not None, f"the agent ended at once: {said}"
        time.sleep(0.2)
    raise AssertionError("another run was using this machine all the time")


@contextmanager
def alone() -> Iterator[None]:
    """Keeps other tests of this kind away meanwhile, by a lock that leaves no file behind; waits for the host's."""
    with _locked("/sys/fs", held=True), _locked(LOCK, held=False):
        yield


@contextmanager
def _locked(directory: str, held: bool) -> Iterator[None]:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        end = time.monotonic() + 6 * PATIENCE
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                assert time.monotonic() < end, f"the lock of {directory} was never free"
                time.sleep(0.1)
        if not held:
            fcntl.flock(fd, fcntl.LOCK_UN)
        yield
    finally:
        os.close(fd)


class Watched:
    """A process that a test made somebody start: this very one, not a later one of its number."""

    def __init__(self, pid: int) -> None:
        self.pid, self.start = pid, start_time(pid)
        assert self.start is not None, f"process {pid} is not there"

    @classmethod
    def of(cls, file: Path) -> Watched:
        """The one that wrote its number, and a newline, into ``file``."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if file.exists() and file.read_text().endswith("\n"):
                return cls(int(file.read_text()))
            time.sleep(0.01)
        raise AssertionError(f"nobody wrote to {file}")

    @property
    def alive(self) -> bool:
        """Whether it runs (one that ended and was not collected does not)."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return False
        return int(fields[19]) == self.start and fields[0] not in "ZX"

    def gone(self) -> bool:
        """Whether it ends within a while."""
        end = time.monotonic() + PATIENCE
        while self.alive and time.monotonic() < end:
            time.sleep(0.01)
        return not self.alive

    def kill(self, number: int) -> None:
        """Signal it, if it is still the same."""
        fd = os.pidfd_open(self.pid)
        try:
            if self.alive:
                signal.pidfd_send_signal(fd, number)
        finally:
            os.close(fd)
