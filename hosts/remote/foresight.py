"""What would be changed on a host, told by the very code that changes it.

Whoever makes changes is given a host whose agent is a ``Foresight``. It passes on what only looks, asks the host what a
change would find, keeps the change in a list instead of making it, and supposes that commands succeed in silence. Where
an answer cannot be supposed it raises OnlyTrying: what comes after that can be told by trying only.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from hosts.errors import Refusal
from hosts.onhost.agent import protocol, values
from hosts.onhost.agent.protocol import Operation, Reply
from hosts.onhost.agent.values import Change, CommandChange, Result
from hosts.onhost.agent.wire import encode
from hosts.remote.agent import USUAL_SECONDS, Agent, AgentError
from hosts.remote.host import RemoteHost

LOOKS = (
    protocol.Ping,
    protocol.Read,
    protocol.Addresses,
    protocol.InterfaceTo,
    protocol.PortTaken,
    protocol.OfferedCipherSuites,
    protocol.CryptoFlags,
)
"""Operations that change nothing, and load no kernel module."""
LOOKED_AT = (
    values.DirectoryChange,
    values.FileChange,
    values.InsmodChange,
    values.ModuleChange,
    values.SettingChange,
)
"""Changes whose own look changes nothing, and loads no kernel module."""
SUPPOSED: dict[type[Operation[Any]], Any] = {
    protocol.Undo: [],
    protocol.Put: None,
    protocol.MakePayload: "0" * 64,
    protocol.SetEnvironment: None,
    protocol.WaitPort: None,
    protocol.Run: Result(0, "", ""),
}
"""What others would answer if all went well."""


class OnlyTrying(Refusal):
    """What comes next only trying can tell."""


@dataclass(frozen=True)
class Foreseen:
    """A change that would be made, the kernel modules that it loads, and why the host would refuse it."""

    change: Change
    loads: tuple[str, ...] = ()
    refused: str | None = None


class Foresight(Agent):
    """An agent that makes no change; ``changes`` has those that it was asked for."""

    def __init__(self, agent: Agent) -> None:
        super().__init__(agent.name, agent._transport)
        self.changes: list[Foreseen] = []
        self._agent = agent
        self._known: dict[str, Any] = {}

    def _ask(self, asked: Operation[Reply], deadline: float = USUAL_SECONDS) -> Reply:
        if isinstance(asked, protocol.Apply):
            self.changes.append(self._foresee(asked.change))
            if refused := self.changes[-1].refused:
                raise AgentError(refused, host=self.name)
            return cast(Reply, len(self.changes) - 1)
        if isinstance(asked, LOOKS) or (isinstance(asked, protocol.Run) and asked.looks):
            return cast(Reply, self._look(asked, deadline))
        if type(asked) in SUPPOSED:
            return cast(Reply, SUPPOSED[type(asked)])
        raise OnlyTrying(f"{type(asked).__name__} will be tried", host=self.name)

    def _look(self, asked: Operation[Any], deadline: float) -> Any:
        """Nothing changes meanwhile: what was asked before is known."""
        if isinstance(asked, protocol.Ping):
            self._agent.ping()
            self.heard = self._agent.heard
            return None
        key = f"{type(asked).__name__} {json.dumps(encode(asked))}"
        if key not in self._known:
            try:
                self._known[key] = self._agent._ask(asked, deadline)
            except AgentError as error:
                if isinstance(asked, protocol.OfferedCipherSuites):  # its library may be one that is to be installed
                    raise OnlyTrying(error.what, host=self.name) from error
                raise
        return self._known[key]

    def _foresee(self, change: Change) -> Foreseen:
        """A command's own look is made only where it may find something of somebody else's: others are after what this
        run would have made, and may stand on kernel modules that looking would load (``ip xfrm``). Nor is it made
        without its program: whether it is needed, and would be installed, is for others to say."""
        others = isinstance(change, CommandChange) and change.refuse and self._has(change.look[0])
        if not isinstance(change, LOOKED_AT) and not others:
            return Foreseen(change)
        if isinstance(change, values.SettingChange) and self._comes(change.path):
            return Foreseen(change)
        try:
            return Foreseen(change, tuple(self._look(protocol.Foresee(change), 60.0)))
        except AgentError as error:
            return Foreseen(change, refused=error.what)

    def _comes(self, path: str) -> bool:
        """Whether a setting that is not there may come with a kernel module that would have been loaded by then."""
        return self.read([path])[path] is None and any(one.loads for one in self.changes)

    def _has(self, program: str) -> bool:
        return self.run(["sh", "-c", 'command -v "$1"', "sh", program], USUAL_SECONDS, looks=True).ok


@contextmanager
def foresight(host: RemoteHost) -> Iterator[Foresight]:
    """Within it the host makes no change."""
    real = host.agent
    host.agent = instead = Foresight(real)
    try:
        yield instead
    finally:
        host.agent = real
