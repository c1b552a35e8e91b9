"""The workflows are what GitHub would accept, as actionlint knows it."""

from __future__ import annotations

import subprocess
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
ACTIONLINT = Path(sysconfig.get_path("scripts"), "actionlint")


def test_actionlint_has_nothing_to_say() -> None:
    assert len(WORKFLOWS) >= 2
    done = _checked(*WORKFLOWS)
    assert done.returncode == 0, done.stdout + done.stderr


def test_actionlint_finds_what_is_wrong(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yml"
    wrong.write_text(WORKFLOWS[0].read_text().replace("runs-on: ubuntu-latest", "runs-on: ${{ steps.none.name }}"))
    assert _checked(wrong).returncode == 1


def _checked(*files: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([ACTIONLINT, *files], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
