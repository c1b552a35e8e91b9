"""A host as the harness sees it: its agent, called from here. Every call has a deadline."""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import json
import secrets
import shlex
import threading
import time
import zipfile
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hosts.errors import HarnessError
from hosts.ssh import Channel, Connection, SshError
from hosts.testbed import Host

AGENT = Path(__file__).parent / "agent"
LEASE_SECONDS = 45.0
PING_SECONDS = 10.0
STARTING_SECONDS = 120.0
"""A Python on an emulated processor that others use too takes its time to start."""


class AgentError(HarnessError):
    """The agent refused or failed an operation; the message is the host's own."""


@dataclass(frozen=True)
class Result:
    """A finished command. ``status`` is None when its deadline ended it."""

    argv: tuple[str, ...]
    status: int | None
    stdout: str
    stderr: str
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether it ended by itself with status 0."""
        return self.status == 0


class RemoteHost:
    """One host with its agent; a context manager. ``close`` returns when the host is as it was before.

    ``directory`` is the run's own folder on the host: tmpfs, mode 0700, removed with the agent.
    """

    def __init__(self, name: str, host: Host, lease: float = LEASE_SECONDS) -> None:
        self.name = name
        self.host = host
        self.history: deque[str] = deque(maxlen=5)
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self._last = time.monotonic()
        self._stop = threading.Event()
        self._connection = Connection(name, host)
        try:
            self._channel = self._start(lease)
            hello = self._receive(STARTING_SECONDS)
            if "fatal" in hello:
                raise AgentError(str(hello["fatal"]), host=name, next_step="wait until it ends, or end it there")
            self.directory = str(hello["ready"]["directory"])
            self.uid = int(hello["ready"]["uid"])
            self.recovered: list[str] = hello["recovered"]
        except BaseException:
            self._connection.close()
            raise
        self._pinger = threading.Thread(target=self._ping, name=f"lease-{name}", daemon=True)
        self._pinger.start()

    def __enter__(self) -> RemoteHost:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self, lease: float) -> Channel:
        data = agent_zip()
        channel = self._connection.start(shlex.join(agent_command(data, lease)))
        channel.write(data)
        return channel

    def call(self, op: str, deadline: float = 30.0, /, **args: Any) -> Any:
        """Have the agent do ``op`` within ``deadline`` seconds; its result.

        Raises AgentError (refused) or SshError (gone, or too late).
        """
        with self._lock:
            number = next(self._ids)
            self._channel.write((json.dumps({"id": number, "op": op, "args": args}) + "\n").encode())
            reply = self._receive(deadline)
            self._last = time.monotonic()
        if reply.get("id") != number:
            raise AgentError(f"the agent answered request {reply.get('id')} instead of {number}", host=self.name)
        if "error" in reply:
            raise AgentError(str(reply["error"]), host=self.name, commands=tuple(self.history))
        return reply["result"]

    def _receive(self, timeout: float) -> dict[str, Any]:
        line = self._channel.read_line(timeout)
        try:
            reply = json.loads(line)
        except ValueError as error:
            said = line[:200].decode(errors="replace")
            raise AgentError(f"the agent did not speak JSON but said: {said}", host=self.name) from error
        return dict(reply)

    def _ping(self) -> None:
        """Renew the lease while nothing else is said; a host that is being measured hears at most this."""
        while not self._stop.wait(1.0):
            if time.monotonic() - self._last > PING_SECONDS:
                try:
                    self.call("ping", 15.0)
                except HarnessError:
                    return  # the next real call meets the same end and reports it

    def run(
        self, argv: Sequence[str], timeout: float = 60.0, stdin: str | None = None, cwd: str | None = None
    ) -> Result:
        """Run a command there with a deadline; never raises for its exit status. ``stdin`` is never shown."""
        self.history.append(shlex.join(argv))
        done = self.call("run", timeout + 15, argv=list(argv), timeout=timeout, stdin=stdin, cwd=cwd)
        return Result(tuple(argv), done["status"], done["stdout"], done["stderr"], done["seconds"])

    def check(
        self, argv: Sequence[str], timeout: float = 60.0, stdin: str | None = None, cwd: str | None = None
    ) -> str:
        """Run a command that must succeed; its output. Raises AgentError with what it said."""
        done = self.run(argv, timeout, stdin, cwd)
        if not done.ok:
            how = "took too long" if done.status is None else f"ended with status {done.status}"
            said = (done.stderr.strip() or done.stdout.strip())[-600:]
            raise AgentError(f"{argv[0]} {how}: {said}", host=self.name, commands=tuple(self.history))
        return done.stdout

    def read(self, paths: Sequence[str]) -> dict[str, str | None]:
        """Contents of files; None for what is not there."""
        return dict(self.call("read", paths=list(paths)))

    def put(self, data: bytes, path: str, mode: int = 0o600) -> str:
        """Write a file in the run's directory, atomically; its whole path there."""
        self.call(
            "put",
            path=path,
            content=base64.b64encode(data).decode(),
            mode=mode,
            sha256=hashlib.sha256(data).hexdigest(),
        )
        return f"{self.directory}/{path}"

    def observe(self, counters: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """Counters and busy time, read in one go."""
        return dict(self.call("observe", counters={k: dict(v) for k, v in counters.items()}))

    def close(self) -> None:
        """End the agent and wait until it has put the host back. Raises AgentError naming what it could not."""
        if self._stop.is_set():
            return
        self._stop.set()
        try:
            self._channel.end_input()
            status = self._channel.wait(30.0)
            problems = [line for line in self._channel.errors() if line.startswith("not undone: ")]
        except SshError:
            status, problems = 0, []
        finally:
            self._connection.close()
        if problems:
            raise AgentError("; ".join(problems), host=self.name, next_step="put this back by hand")
        if status is None:
            raise AgentError(
                "the agent did not say within 30 s that the host is as it was",
                host=self.name,
                next_step="its guardian goes on by itself; look for /dev/shm/pathproof-* there",
            )


def agent_command(data: bytes, lease: float) -> list[str]:
    """What starts the agent on a host; ``data``, its zip file, is to come on standard input."""
    bootstrap = (AGENT / "bootstrap.py").read_text()
    return [
        *("python3", "-I", "-c", bootstrap, str(len(data)), hashlib.sha256(data).hexdigest()),
        *(secrets.token_hex(8), f"{lease:g}"),
    ]


def agent_zip() -> bytes:
    """The agent as a zip file that Python can run; the same source gives the same bytes."""
    main = "import sys\nfrom pathlib import Path\nfrom agent.main import main\n" + (
        "sys.exit(main(Path(sys.argv[1]), float(sys.argv[2])))\n"
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(AGENT.glob("*.py")):
            if path.name != "bootstrap.py":
                archive.writestr(zipfile.ZipInfo(f"agent/{path.name}"), path.read_bytes())
        archive.writestr(zipfile.ZipInfo("__main__.py"), main)
    return buffer.getvalue()
