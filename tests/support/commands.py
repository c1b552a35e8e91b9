"""Commands as a person types them, run from this repository's root; and a testbed that nobody answers for."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

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


def command(results: Path, *options: str, **environment: str) -> Done:
    """A run of a profile with these options; ``environment`` is added to this process's."""
    argv = [sys.executable, "-m", "pytest", "suites", "-p", "no:cacheprovider", "--results", str(results), *options]
    done = subprocess.run(
        argv,
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return Done(done.returncode, done.stdout + done.stderr, results)


def abilities(*options: str) -> subprocess.CompletedProcess[str]:
    return harness("abilities", *options)


def harness(*words: str) -> subprocess.CompletedProcess[str]:
    """``python -m harness`` with these words."""
    argv = [sys.executable, "-m", "harness", *words]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)
