"""The agent on this machine and programs of ours in C, for all files of tests that use them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from harness.load import generator
from harness.servers import datapath, receiver
from hosts.programs import Program
from tests.support.agent_process import LocalAgent, alone, start

BUILDS = {"plain": (), "sanitized": ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover")}
"""How a program is compiled besides: as it is deployed, or so that it ends at a mistake."""


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


def our_server() -> Program:
    """Without so_crypt's header, as where that module is not."""
    made = datapath.program()
    return replace(made, sources={name: text for name, text in made.sources.items() if name != "so_crypt.h"})


PROGRAMS: dict[str, Callable[[], Program]] = {
    "datapath": our_server, "load": generator.program, "receive": receiver.program,
}  # fmt: skip


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """A program of ours, by its name and its build, compiled once; skips where it cannot be."""

    @cache
    def compile_(name: str, build: str) -> Path:
        if shutil.which("cc") is None:
            pytest.skip("no C compiler (cc) on this machine")
        folder = tmp_path_factory.mktemp(name)
        if build == "sanitized":
            probe = ["cc", *BUILDS[build], "-x", "c", "-", "-o", str(folder / "probe")]
            done = subprocess.run(
                probe, input=b"int main(void){return 0;}", capture_output=True, check=False, timeout=60
            )
            if done.returncode or subprocess.run([str(folder / "probe")], check=False, timeout=60).returncode:
                pytest.skip("this compiler has no working address sanitizer")
        made = PROGRAMS[name]()
        for file, content in made.sources.items():
            (folder / file).write_bytes(content)
        command = [*made.build(name), *BUILDS[build]]
        done = subprocess.run(command, cwd=folder, capture_output=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr.decode()
        return folder / name

    return compile_
