"""Every alteration of a host: looked up, journalled on the host, applied, verified, undone in reverse order.

A change is plain data; the agent carries it out (``hosts/agent/kinds.py``) and keeps its journal. A ``Scope``
undoes what was applied through it when it is left, however it is left; should this program die first, the guardian
on the host undoes the same entries.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hosts.crypto import HIGHEST_PRIORITY
from hosts.errors import ConfigError, HarnessError
from hosts.remote import AgentError, RemoteHost

Change = dict[str, Any]


def file(path: str, content: bytes, mode: int = 0o600) -> Change:
    """Write a file; undone: the old file, or none."""
    return {
        "kind": "file",
        "what": f"file {path}",
        "path": path,
        "content_base64": base64.b64encode(content).decode(),
        "mode": mode,
    }


def directory(path: str, mode: int = 0o700) -> Change:
    """Make a directory; undone: removed with what is in it. Refused where it exists."""
    return {"kind": "directory", "what": f"directory {path}", "path": path, "mode": mode}


def setting(path: str, value: str) -> Change:
    """Write a value in /proc/sys or /sys; undone: the old value."""
    return {"kind": "setting", "what": f"{path} = {value}", "path": path, "value": value}


def module(name: str, *, sticky: bool = False) -> Change:
    """Load a kernel module; undone: unloaded with what it brought in, if it was not there before.

    ``sticky``: the kernel may not let go of it any more (drbg and what it stands on); that is then no error."""
    return {"kind": "module", "what": f"kernel module {name}", "name": name, "sticky": sticky}


def insmod(name: str, path: str) -> Change:
    """Load a kernel module from a file; undone: unloaded."""
    return {"kind": "insmod", "what": f"kernel module {name} from {path}", "name": name, "path": path}


def priority(driver: str, value: int) -> Change:
    """Give a crypto driver another priority, so that the kernel takes it, or not, for its algorithm's name; undone:
    the old one. Needs ``module("crypto_user")`` before it. ``hosts.crypto.priority_to_win`` tells the value."""
    if not 0 <= value <= HIGHEST_PRIORITY:
        raise ConfigError(f"a crypto driver's priority is a number from 0 to {HIGHEST_PRIORITY}, not {value}")
    return {
        "kind": "priority",
        "what": f"priority {value} of the crypto driver {driver}",
        "driver": driver,
        "value": value,
    }


def command(
    what: str,
    *,
    look: Sequence[str],
    present: str,
    apply: Sequence[str],
    undo: Sequence[str],
    refuse: str | None = None,
    stdin: str | None = None,
) -> Change:
    """A change made by a command. ``present`` is a regular expression that ``look``'s output matches when the
    change is in force, ``refuse`` one that it matches when something of somebody else is in its place.
    ``stdin`` may be secret: it is neither journalled nor shown."""
    return {
        "kind": "command",
        "what": what,
        "look": list(look),
        "present": present,
        "refuse": refuse,
        "apply": list(apply),
        "undo": list(undo),
        "stdin": stdin,
    }


def process(what: str, argv: Sequence[str], stdout: str, stderr: str, stdin: str | None = None) -> Change:
    """Start a server; undone: its process group ended. ``stdin`` may be secret."""
    return {
        "kind": "process",
        "what": what,
        "argv": list(argv),
        "stdout": stdout,
        "stderr": stderr,
        "stdin": stdin,
    }


@dataclass(frozen=True)
class Served:
    """A server that runs: its change's number in the host's journal, and the path of its standard output."""

    number: int
    stdout: str


class Scope:
    """Changes of one host that are undone together, newest first, when the scope is left."""

    def __init__(self, host: RemoteHost) -> None:
        self.host = host
        self._numbers: list[int] = []

    def __enter__(self) -> Scope:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _tb: object) -> None:
        numbers, self._numbers = self._numbers, []
        if not numbers:
            return
        try:
            problems = self.host.call("undo", 120.0, numbers=numbers)
        except HarnessError:
            if error is None:
                raise
            return  # the host is out of reach: its guardian undoes these
        if problems and error is None:
            raise AgentError(
                "could not be undone: " + "; ".join(problems),
                host=self.host.name,
                next_step="put this back by hand; the journal keeps trying when the run ends",
            )

    def apply(self, change: Change) -> int:
        """Make a change; its number in the host's journal. Raises AgentError naming the change."""
        try:
            number = int(self.host.call("apply", 60.0, change=change))
        except AgentError as error:
            raise AgentError(f"{change['what']}: {error.what}", host=self.host.name) from error
        self._numbers.append(number)
        return number

    def serve(
        self,
        what: str,
        argv: Sequence[str],
        address: str,
        port: int,
        log: str,
        stdin: str | None = None,
        timeout: float = 20.0,
    ) -> Served:
        """Start a server and wait until it lets a connection in.

        Raises AgentError with the server's own last words when it does not come up.
        """
        if self.host.call("port_taken", address=address, port=port):
            raise AgentError(
                f"{what} cannot start: port {port} of {address} is in use",
                host=self.host.name,
                next_step=f"find out by whom (ss -ltnp 'sport = :{port}') and end it, or wait",
            )
        stdout, stderr = f"{self.host.directory}/{log}.out", f"{self.host.directory}/{log}.err"
        number = self.apply(process(what, argv, stdout, stderr, stdin))
        why = self.host.call("wait_port", timeout + 10, address=address, port=port, number=number, timeout=timeout)
        if why:
            said = self.host.read([stderr])[stderr] or ""
            raise AgentError(
                f"{what} did not start: {why}: {said.strip()[-600:] or 'it said nothing'}",
                host=self.host.name,
                commands=[" ".join(argv)],
            )
        return Served(number, stdout)
