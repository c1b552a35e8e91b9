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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec

import pytest

from hosts.errors import HostLost
from hosts.onhost.agent import processes
from hosts.onhost.agent.main import LOCK
from hosts.processes import children
from hosts.remote.agent import Agent, AgentError
from hosts.remote.host import agent_command, agent_zip

P = ParamSpec("P")

PATIENCE = 20.0
"""Seconds after which a test gives up on something that should long have happened."""


class LocalAgent:
    """A started agent and its ``client``. ``first`` is its first line, None when it ended without one.

    ``python`` is what runs it; None: the one that is found, as on a host. ``environment``: instead of this process's
    own; ``under``: a command that starts it. Its first line is left to others unless ``hear``. ``send``: what arrives
    of ``data`` before its input ends. ``late``: nothing of it has arrived yet.
    """

    def __init__(
        self,
        lease: float = 60.0,
        data: bytes | None = None,
        send: bytes | None = None,
        python: str | None = sys.executable,
        environment: Mapping[str, str] | None = None,
        under: Sequence[str] = (),
        looks: bool = False,
        hear: bool = True,
        late: bool = False,
    ) -> None:
        whole = agent_zip() if data is None else data
        command = agent_command(whole, lease, "a test", looks)
        self.directory = Path("/dev/shm") / f"pathproof-{command[6]}"
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed in close)
        self._buffer = b""
        self.process = subprocess.Popen(
            [*under, *(command if python is None else [python, "-I", "-c", *command[3:]])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
            start_new_session=True,
        )
        assert self.process.stdin and self.process.stdout
        self._in, self._out = self.process.stdin, self.process.stdout
        self.write(b"" if late else whole if send is None else send)
        if send is not None:
            self._in.close()
        self.first = self._line() if hear and not late else None
        self.client = Agent("local", self)
        self.worker = children(self.guardian)[0] if self.first and "ready" in self.first and not under else 0
        """The number of the process that answers."""

    def __enter__(self) -> LocalAgent:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def guardian(self) -> int:
        """The number of the process that was started."""
        return self.process.pid

    def recovered(self, other: LocalAgent) -> list[str]:
        """What it says that it put back for ``other``."""
        return self._of(other, "recovered")

    def remaining(self, other: LocalAgent) -> list[str]:
        """What ``other`` left and, as it says, it did not put back."""
        return self._of(other, "remaining")

    def _of(self, other: LocalAgent, key: str) -> list[str]:
        assert self.first is not None
        start = f"{other.directory.name}: "
        return [line.removeprefix(start) for line in self.first["ready"][key] if line.startswith(start)]

    def write(self, data: bytes) -> None:
        """Raw bytes to its standard input."""
        self._in.write(data)
        self._in.flush()

    def read_line(self, timeout: float = PATIENCE) -> bytes:
        """The next line it says. Raises HostLost at its end; fails when nothing comes."""
        end = time.monotonic() + timeout
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([self._out], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"the agent said nothing for {timeout:g} s"
            piece = os.read(self._out.fileno(), 1 << 20)
            if not piece:
                raise HostLost(f"the agent ended: {self.errors()}")
            self._buffer += piece
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _line(self) -> dict[str, Any] | None:
        """The next line it says; None at its end."""
        try:
            return dict(json.loads(self.read_line()))
        except HostLost:
            return None

    def raw(self, op: str, args: Any) -> dict[str, Any]:
        """A request as no client of ours makes it; the whole answer."""
        self.write(json.dumps({"id": 0, "op": op, "args": args}).encode() + b"\n")
        said = self._line()
        assert said is not None, f"the agent ended: {self.errors()}"
        return said

    def refusal(self, operation: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> str:
        """One request that must be refused; the reason."""
        with pytest.raises(AgentError) as caught:
            operation(*args, **kwargs)
        return caught.value.what

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


def start(lease: float = 60.0, python: str = sys.executable, under: Sequence[str] = ()) -> LocalAgent:
    """An agent that answers; waits while another uses this machine. ``under``: a command that starts it."""
    end = time.monotonic() + 3 * PATIENCE
    while time.monotonic() < end:
        agent = LocalAgent(lease, python=python, under=under)
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
        self.pid, self.start = pid, processes.start_ticks(pid)
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
        now = processes.look(self.pid)
        return now is not None and now.start_ticks == self.start and not now.ended

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
