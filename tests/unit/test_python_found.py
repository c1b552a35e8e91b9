"""Which of a host's Pythons becomes the agent, and what is said where none can."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hosts.remote.agent import AgentError
from hosts.remote.host import agent_command, in_any_shell
from tests.support.agent_process import LocalAgent, alone

OWN = f"{sys.version_info[0]}.{sys.version_info[1]}"
TOOLS = ("sh", "env", "head")
REAL = f'exec {sys.executable} "$@"'
OLD = "printf {}; exit 1"
"""What one too old says to the question."""
NOWHERE = "echo 'no such version is installed' >&2; exit 127"
INCOMPLETE = f'exec {sys.executable} -c "import sys; sys.modules[\'ctypes\'] = None; exec(sys.argv[-1])" "$4"'


def path_with(directory: Path, pythons: dict[str, str]) -> str:
    """A PATH on which these programs are found, each a shell script, and the tools that every host has."""
    for name in TOOLS:
        (directory / name).symlink_to(str(shutil.which(name)))
    for name, text in pythons.items():
        (directory / name).write_text(f"#!/bin/sh\n{text}\n")
        (directory / name).chmod(0o755)
    return str(directory)


def begun(directory: Path, pythons: dict[str, str], size: int = 300_000) -> subprocess.CompletedProcess[bytes]:
    """What comes of the command that a host gets, with a program that tells its Python in the agent's place."""
    command = agent_command(bytes(size), 5.0, "a test")
    command[3] = "import sys; print(sys.argv[4], sys.argv[6], flush=True)"
    environment = {"PATH": path_with(directory, pythons)}
    return subprocess.run(command, input=bytes(size), capture_output=True, env=environment, timeout=60, check=True)


@pytest.mark.parametrize(
    ("pythons", "said"),
    [
        ({}, "no python3 is there, 3.9 is needed"),
        ({"python3": NOWHERE}, "no python3 is there, 3.9 is needed"),
        ({"python3": OLD.format("3.6")}, "python3 there is 3.6, 3.9 is needed"),
        ({"python3": OLD.format("3.8"), "python3.11": NOWHERE}, "python3 there is 3.8, 3.9 is needed"),
        ({"python3": INCOMPLETE}, f"python3 there is {OWN} without its module ctypes, 3.9 is needed"),
    ],
)
def test_a_host_without_a_python_that_is_new_enough_is_told_what_it_has(
    tmp_path: Path, pythons: dict[str, str], said: str
) -> None:
    done = begun(tmp_path, pythons)
    told = json.loads(done.stdout)
    assert told["fatal"] == said
    assert "python3.9 or newer" in told["next_step"]
    assert done.stderr == b""


@pytest.mark.parametrize(
    ("pythons", "taken"),
    [
        ({"python3": REAL}, "python3"),
        ({"python3": OLD.format("3.6"), "python3.9": REAL}, "python3.9"),
        ({"python3": REAL, "python3.9": REAL, "python3.12": REAL}, "python3.12"),
        ({"python3": REAL, "python3.9": REAL, "python3.12": NOWHERE}, "python3.9"),
        ({"python3.10": REAL}, "python3.10"),
    ],
)
def test_the_newest_that_works_becomes_the_agent(tmp_path: Path, pythons: dict[str, str], taken: str) -> None:
    told = {name: f"echo {name} >>{tmp_path}/asked; {text}" for name, text in pythons.items()}
    assert begun(tmp_path, told).stdout == b"5 a test\n", "with what the agent is to be told"
    assert (tmp_path / "asked").read_text().split()[-1] == taken


def test_a_controller_hears_it_as_a_refusal_and_nothing_is_left(tmp_path: Path) -> None:
    path = path_with(tmp_path, {"python3": OLD.format("3.8")})
    with LocalAgent(python=None, environment={"PATH": path}, hear=False) as agent:
        with pytest.raises(AgentError) as caught:
            agent.client.hello(20.0)
        assert not agent.directory.exists()
    assert caught.value.what == "python3 there is 3.8, 3.9 is needed"
    assert caught.value.next_step == "install python3.9 or newer; beside another python3 is enough"


@pytest.mark.parametrize("shell", ["sh", "bash", "zsh", "fish", "csh", "tcsh"])
def test_any_login_shell_starts_it(shell: str) -> None:
    """sshd gives the user's shell a line; what csh makes of a quoted text of several lines is not that text."""
    if not shutil.which(shell):
        pytest.skip(f"this machine has no {shell}")
    odd = "two words, !history, a 'quote', a \\ and \\' \n$HOME `id` \"done\""
    line = shlex.join(in_any_shell(["printf", "%s|", odd, "", "é"]))
    done = subprocess.run([shell, "-c", line], capture_output=True, timeout=60, check=True)
    assert done.stdout.decode() == f"{odd}||é|"


def test_an_agent_says_which_python_it_runs_under() -> None:
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    with alone(), LocalAgent(python=None, environment=environment) as agent:
        assert agent.first is not None
        told = agent.first["ready"]
        assert tuple(map(int, told["python_version"].split("."))) >= (3, 9)
        assert Path(told["python"]).exists()
