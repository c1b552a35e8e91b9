"""A host as the harness sees it: its agent, called from here. Every call has a deadline."""

from __future__ import annotations

import base64
import getpass
import hashlib
import io
import os
import secrets
import shlex
import socket
import threading
import time
import zipfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from hosts.errors import HarnessError, HostLost
from hosts.onhost.agent.protocol import LEFT, NOT_UNDONE
from hosts.onhost.agent.values import Result
from hosts.remote import sudo
from hosts.remote.agent import Agent, AgentError
from hosts.remote.ssh import Channel, Connection
from hosts.testbed import Host

AGENT = Path(__file__).parents[1] / "onhost" / "agent"
LEASE_SECONDS = 45.0
PING_SECONDS = 10.0
CLOSING_SECONDS = 30.0
STARTING_SECONDS = 120.0
"""A Python on an emulated processor that others use too takes its time to start."""


class RemoteHost:
    """One host with its agent; a context manager. ``close`` returns when the host is as it was before.

    ``agent`` does what is asked; what is asked most is here too. ``directory`` is the run's own folder on the host
    (tmpfs, mode 0700, removed with the agent), ``uid`` the user there, ``recovered`` what earlier runs had left there
    and this one put back, ``remaining`` what of it this one did not, ``python`` the Python there that its agent runs
    under, ``hello`` all that it said first, ``left`` what it left to others at its end, who changed or use it; empty
    where nothing.
    ``run``: what others are told who want the host meanwhile. ``looks``: the agent refuses every change, and
    ``recovered`` was not put back.
    """

    def __init__(
        self, name: str, host: Host, lease: float = LEASE_SECONDS, run: str = "", *, looks: bool = False
    ) -> None:
        self.name = name
        self.host = host
        self._run = run
        self.left = ""
        self._stop = threading.Event()
        self._connection = Connection(name, host)
        try:
            self._channel = self._start(lease, looks)
            self.agent = Agent(name, self._channel)
            self.hello = hello = self.agent.hello(STARTING_SECONDS)
        except BaseException:
            self._connection.close()
            raise
        self.directory, self.uid = hello.directory, hello.uid
        self.recovered, self.remaining = hello.recovered, hello.remaining
        self.python, self.python_version = hello.python, hello.python_version
        self._pinger = threading.Thread(target=self._ping, name=f"lease-{name}", daemon=True)
        self._pinger.start()

    def __enter__(self) -> RemoteHost:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _tb: object) -> None:
        self.close(error)

    def _start(self, lease: float, looks: bool) -> Channel:
        data = agent_zip()
        become, first = sudo.prefix(self._connection) if self.host.become else ([], b"")
        command = in_any_shell(agent_command(data, lease, self._run, looks))
        channel = self._connection.start(shlex.join([*become, *command]))
        channel.write(first + data)
        return channel

    def _ping(self) -> None:
        """Renew the lease while nothing else is said; a host that is being measured hears at most this."""
        while not self._stop.wait(1.0):
            if time.monotonic() - self.agent.heard > PING_SECONDS:
                try:
                    self.agent.ping()
                except HarnessError:
                    return  # the next real call meets the same end and reports it

    def run(
        self, argv: Sequence[str], timeout: float = 60.0, stdin: str | None = None, cwd: str | None = None
    ) -> Result:
        """Run a command there with a deadline; never raises for its exit status. ``stdin`` is never shown."""
        return self.agent.run(argv, timeout, stdin, cwd)

    def look(self, argv: Sequence[str], timeout: float = 60.0) -> Result:
        """Run a command there that changes nothing; never raises for its exit status. A check may run it, too."""
        return self.agent.run(argv, timeout, looks=True)

    def check(
        self, argv: Sequence[str], timeout: float = 60.0, stdin: str | None = None, cwd: str | None = None
    ) -> str:
        """Run a command that must succeed; its output. Raises AgentError with what it said."""
        done = self.run(argv, timeout, stdin, cwd)
        if not done.ok:
            how = "took too long" if done.status is None else f"ended with status {done.status}"
            said = (done.stderr.strip() or done.stdout.strip())[-600:]
            raise AgentError(f"{argv[0]} {how}: {said}", host=self.name, commands=tuple(self.agent.commands))
        return done.stdout

    def read(self, paths: Sequence[str]) -> dict[str, str | None]:
        """Contents of files; None for what is not there."""
        return self.agent.read(paths)

    def put(self, data: bytes, path: str, mode: int = 0o600) -> str:
        """Write a file in the run's directory, atomically; its whole path there."""
        self.agent.put(path, base64.b64encode(data).decode(), mode, hashlib.sha256(data).hexdigest())
        return f"{self.directory}/{path}"

    def close(self, error: BaseException | None = None) -> None:
        """End the agent and wait until it has put the host back.

        Raises AgentError naming what it could not, or where it does not say that it did: unless ``error``, because of
        which it is closed, says already that this host is lost.
        """
        if self._stop.is_set():
            return
        self._stop.set()
        with closing(self._connection):
            try:
                self._channel.end_input()
                status = self._channel.wait(CLOSING_SECONDS)
                how = f"still at it after {CLOSING_SECONDS:g} s" if status is None else f"ended with status {status}"
            except HostLost as lost:
                status, how = None, lost.what
            said = self._channel.errors()
        self.left = "; ".join(line.removeprefix(LEFT) for line in said if line.startswith(LEFT))
        if problems := [line for line in said if line.startswith(NOT_UNDONE)]:
            raise AgentError("; ".join(problems), host=self.name, next_step="put this back by hand")
        if status != 0 and not (isinstance(error, HostLost) and error.host == self.name):
            raise AgentError(
                f"the agent did not say that it put the host back: {how}",
                host=self.name,
                next_step="python -m harness restore puts back what is left there, and tells",
            )


def agent_command(data: bytes, lease: float, run: str = "", looks: bool = False) -> list[str]:
    """What starts the agent on a host; ``data``, its zip file, is to come on standard input.

    Whose it is and what for, ``run``, stands in its arguments, where others find it who want the host.
    """
    shell, bootstrap = ((AGENT / name).read_text() for name in ("find-python", "bootstrap.py"))
    return [
        *("sh", "-c", shell, bootstrap, str(len(data)), hashlib.sha256(data).hexdigest()),
        *(secrets.token_hex(8), f"{lease:g}", f"{_user()} at {socket.gethostname()}", run),
        *(["look"] if looks else []),
    ]


def in_any_shell(command: Sequence[str]) -> list[str]:
    """The same command, in words that every login shell leaves as they are once they are quoted.

    csh takes no line breaks between quotes and looks for ``!`` there, fish for some backslashes.
    """
    text = base64.b64encode(f"exec {shlex.join(command)}".encode()).decode()
    return ["sh", "-c", 'eval "$(echo "$0" | base64 -d)"', text]


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have a number only
        return f"user {os.getuid()}"


def agent_zip() -> bytes:
    """The agent as a zip file that Python can run; the same source gives the same bytes."""
    main = "import sys\nfrom pathlib import Path\nfrom agent.main import main\n" + (
        "sys.exit(main(Path(sys.argv[1]), float(sys.argv[2]), 'look' in sys.argv[3:]))\n"
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(AGENT.glob("*.py")):
            if path.name != "bootstrap.py":
                archive.writestr(zipfile.ZipInfo(f"agent/{path.name}"), path.read_bytes())
        archive.writestr(zipfile.ZipInfo("__main__.py"), main)
    return buffer.getvalue()
