"""Commands as a person types them, run from this repository's root; and a testbed that nobody answers for."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[2]
PATIENCE = 200.0

HOSTS = """
kind = "hosts"
[sender]
address = "127.0.0.1"
port = {port}
data_address = "127.0.0.1"
data_interface = "lo"
known_hosts = "{known}"
{more}
[receiver]
address = "127.0.0.2"
port = {port}
data_address = "127.0.0.2"
data_interface = "lo"
known_hosts = "{known}"
"""


@dataclass(frozen=True)
class Done:
    """A finished command."""

    status: int
    said: str
    results: Path

    def says_once(self, message: str) -> None:
        """It failed with this message, which stands there once, and with no traceback."""
        assert self.status != 0
        assert "Traceback" not in self.said
        assert "INTERNALERROR" not in self.said
        assert self.said.count(message) == 1, self.said


FORKED = multiprocessing.get_context("forkserver")
"""Most of a command is Python's start: each is a process that is forked from one that has imported this already."""
FORKED.set_forkserver_preload(["pytest", "harness.run.session", "reports"])


def command(results: Path, *options: str, **environment: str) -> Done:
    """A run of a profile with these options; ``environment`` is added to this process's."""
    done = typed("pytest", "suites", "-p", "no:cacheprovider", "--results", str(results), *options, **environment)
    return Done(done.returncode, done.stdout + done.stderr, results)


def abilities(*options: str) -> subprocess.CompletedProcess[str]:
    return typed("harness", "abilities", *options)


def harness(*words: str) -> subprocess.CompletedProcess[str]:
    """``python -m harness`` with these words."""
    return typed("harness", *words)


def typed(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """``python -m`` with these words, in a process of its own."""
    with TemporaryDirectory() as place:
        out, err = Path(place, "out"), Path(place, "err")
        process = FORKED.Process(target=_be, args=(words, os.environ | environment, out, err))
        process.start()
        process.join(PATIENCE)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(words, PATIENCE, out.read_text(), err.read_text())
        return subprocess.CompletedProcess(words, process.exitcode, out.read_text(), err.read_text())


def _be(words: Sequence[str], environment: Mapping[str, str], out: Path, err: Path) -> None:
    """Become a command: what ``python -m`` does, with the output in files."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(ROOT)
    for path, number in ((out, 1), (err, 2)):
        with path.open("wb") as file:
            os.dup2(file.fileno(), number)
    sys.path[:0] = [str(ROOT), *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    sys.argv = list(words)
    runpy.run_module(words[0], run_name="__main__", alter_sys=True)
