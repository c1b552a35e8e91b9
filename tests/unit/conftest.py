"""The agent on this machine, for all files of tests that speak to one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.agent_process import LocalAgent, alone, start


@pytest.fixture(scope="module")
def machine() -> Iterator[None]:
    """One file of tests of agents at a time on a machine, as one agent at a time."""
    with alone():
        yield


@pytest.fixture
def agent(machine: None) -> Iterator[LocalAgent]:
    """An agent that answers."""
    with start() as started:
        yield started
