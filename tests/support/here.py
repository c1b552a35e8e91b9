"""This machine as a host: its agent over pipes, and all that is above SSH as it is."""

from __future__ import annotations

import subprocess
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hosts.onhost.agent.protocol import IN_USE
from hosts.remote import host as remote
from hosts.remote.agent import AgentError
from hosts.remote.host import RemoteHost
from tests.support.agent_process import PATIENCE, LocalAgent


class Here:
    """In the place of an SSH connection and of its channel."""

    def __init__(self, *_: object) -> None:
        self.agent = cast(LocalAgent, None)

    def start(self, _command: str) -> Here:
        """An agent that has not arrived yet."""
        self.agent = LocalAgent(late=True)
        return self

    def write(self, data: bytes) -> None:
        self.agent.write(data)

    def read_line(self, timeout: float) -> bytes:
        return self.agent.read_line(timeout)

    def errors(self) -> list[str]:
        return self.agent.errors().splitlines()

    def end_input(self) -> None:
        self.agent.end_input()

    def wait(self, timeout: float) -> int | None:
        """As of SSH: -1 where a signal ended it."""
        try:
            return max(-1, self.agent.process.wait(timeout))
        except subprocess.TimeoutExpired:
            return None

    def close(self) -> None:
        self.agent.close()


def here(monkeypatch: pytest.MonkeyPatch, name: str = "sender") -> tuple[RemoteHost, LocalAgent]:
    """This machine as a host, and its agent; waits while another uses it."""
    monkeypatch.setattr(remote, "Connection", Here)
    end = time.monotonic() + 3 * PATIENCE
    while True:
        try:
            host = RemoteHost(name, cast(Any, SimpleNamespace(become=None)))
        except AgentError as error:
            if not error.what.startswith(IN_USE) or time.monotonic() > end:
                raise
            time.sleep(0.2)
        else:
            return host, cast(Here, host._channel).agent
