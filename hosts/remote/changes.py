"""Every alteration of a host: looked up, journalled on the host, applied, verified, undone in reverse order.

A change is plain data; the agent carries it out (``hosts/onhost/agent/kinds.py``) and keeps its journal. A ``Scope``
undoes what was applied through it when it is left, however it is left; should this program die first, the guardian
on the host undoes the same entries.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from hosts.errors import ConfigError, HarnessError, HostLost, Refusal, raise_together
from hosts.onhost.agent.crypto_user import HIGHEST_PRIORITY
from hosts.onhost.agent.values import (
    Change,
    CommandChange,
    DirectoryChange,
    FileChange,
    InsmodChange,
    ModuleChange,
    PriorityChange,
    ProcessChange,
    SettingChange,
)
from hosts.remote.agent import AgentError
from hosts.remote.host import RemoteHost


def directory(path: str, mode: int = 0o700) -> DirectoryChange:
    """Make a directory; undone: removed with what is in it. Refused where it exists."""
    return DirectoryChange(f"directory {path}", path, mode)


def file(path: str, content: str, mode: int = 0o600) -> FileChange:
    """Make a file outside the run's directory; undone: removed. Refused where there is one."""
    return FileChange(f"file {path}", path, content, mode)


def modules(*names: str, sticky: bool = False) -> ModuleChange:
    """Load kernel modules; undone: unloaded with what they brought in, if that was not there before.

    ``sticky``: the kernel may not let go of them any more (drbg and what it stands on); that is then no error."""
    return ModuleChange(f"kernel module{'s' * (len(names) > 1)} {' '.join(names)}", list(names), sticky)


def insmod(name: str, path: str) -> InsmodChange:
    """Load a kernel module from a file; undone: unloaded."""
    return InsmodChange(f"kernel module {name} from {path}", name, path)


def priority(driver: str, value: int) -> PriorityChange:
    """Give a crypto driver another priority, so that the kernel takes it, or not, for its algorithm's name;
    undone: the old one. Needs ``modules("crypto_user")`` before it."""
    if not 0 <= value <= HIGHEST_PRIORITY:
        raise ConfigError(f"a crypto driver's priority is a number from 0 to {HIGHEST_PRIORITY}, not {value}")
    return PriorityChange(f"priority {value} of the crypto driver {driver}", driver, value)


def command(
    what: str,
    *,
    look: Sequence[str],
    present: str,
    apply: Sequence[str],
    undo: Sequence[str],
    refuse: str | None = None,
    stdin: str | None = None,
) -> CommandChange:
    """A change made by a command. ``present`` is a regular expression that ``look``'s output matches when the
    change is in force, ``refuse`` one that it matches when something of somebody else is in its place.
    ``stdin`` may be secret: it is neither journalled nor shown."""
    return CommandChange(what, list(look), present, refuse, list(apply), list(undo), stdin)


def process(what: str, argv: Sequence[str], stdout: str, stderr: str, stdin: str | None = None) -> ProcessChange:
    """Start a server; undone: its process group ended. ``stdin`` may be secret."""
    return ProcessChange(what, list(argv), stdout, stderr, stdin)


def setting(what: str, path: str, value: str) -> SettingChange:
    """Give a file of /sys or /proc another value; undone: the old one."""
    return SettingChange(what, path, value)


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
        self.undo(error)

    def undo(self, error: BaseException | None = None) -> None:
        """Undo all of it. Raises HarnessError for what stays, unless ``error``, because of which it is undone, says
        more."""
        numbers, self._numbers = self._numbers, []
        if not numbers:
            return
        try:
            problems = self.host.agent.undo(numbers)
        except HarnessError as problem:  # a lost host's guardian undoes these
            if error is None or (isinstance(problem, HostLost) and isinstance(error, Refusal)):
                raise
            return
        if problems and error is None:
            raise AgentError(
                "could not be undone: " + "; ".join(problems),
                host=self.host.name,
                next_step="put this back by hand; the journal keeps trying when the run ends",
            )

    def apply(self, change: Change) -> int:
        """Make a change; its number in the host's journal. Raises AgentError naming the change."""
        try:
            number = self.host.agent.apply(change)
        except AgentError as error:
            raise AgentError(f"{change.what}: {error.what}", host=self.host.name) from error
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
        if self.host.agent.port_taken(address, port):
            raise AgentError(
                f"{what} cannot start: port {port} of {address} is in use",
                host=self.host.name,
                next_step=f"find out by whom (ss -ltnp 'sport = :{port}') and end it, or wait",
            )
        stdout, stderr = f"{self.host.directory}/{log}.out", f"{self.host.directory}/{log}.err"
        number = self.apply(process(what, argv, stdout, stderr, stdin))
        why = self.host.agent.wait_port(address, port, number, timeout)
        if why:
            said = self.host.read([stderr])[stderr] or ""
            raise AgentError(
                f"{what} did not start: {why}: {said.strip()[-600:] or 'it said nothing'}",
                host=self.host.name,
                commands=[" ".join(argv)],
            )
        return Served(number, stdout)


@contextmanager
def scopes(*hosts: RemoteHost) -> Iterator[tuple[Scope, ...]]:
    """A scope for each host; when this is left, however, all hosts undo at the same time. Raises HarnessError, one that
    says what stays on each of them."""
    ours, ended_by = tuple(Scope(host) for host in hosts), None
    try:
        yield ours
    except BaseException as error:
        ended_by = error
        raise
    finally:
        with ThreadPoolExecutor(len(ours)) as pool:
            undone = [pool.submit(scope.undo, ended_by) for scope in ours]
        raise_together(each.exception() for each in undone)
