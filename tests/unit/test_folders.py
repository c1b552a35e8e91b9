"""A test's folder says what it needs: its marks, and which of two processes runs it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.commands import PATIENCE, ROOT


def pytest_says(where: Path, *options: str) -> list[str]:
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    done = subprocess.run(
        argv, cwd=where, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def test_what_needs_neither_lab_nor_browser_is_in_unit() -> None:
    files = [
        f"tests/{name}" for name in ("lab/test_facts.py", "unit/test_facts.py", "guest", "browser/test_history.py")
    ]
    chosen = pytest_says(ROOT, "--collect-only", "-m", "not lab and not browser", *files)
    ids = [line for line in chosen if "::" in line]
    assert ids
    assert {line.partition("::")[0] for line in ids} == {"tests/unit/test_facts.py"}


def test_everything_of_lab_runs_in_one_process_and_the_rest_in_the_other(tmp_path: Path) -> None:
    body = """
import time
import pytest
@pytest.mark.parametrize("number", range(3))
def test_where(number, worker_id):
    time.sleep(0.2)
    with open("{log}", "a") as log:
        log.write("{folder} " + worker_id + "\\n")
"""
    log = tmp_path / "log"
    for name in ("lab/test_a", "lab/test_b", "lab/test_c", "guest/test_d", "unit/test_e", "unit/test_f"):
        file = tmp_path / "tests" / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(body.format(log=log, folder=file.parent.name))
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path / "tests")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n  lab\n  browser\n")
    pytest_says(tmp_path, "-n", "2", "--no-loadscope-reorder", "tests")
    ran = [line.split() for line in log.read_text().splitlines()]
    assert sorted(folder for folder, _ in ran) == ["guest"] * 3 + ["lab"] * 9 + ["unit"] * 6
    lab = {worker for folder, worker in ran if folder == "lab"}
    assert len(lab) == 1
    assert {worker for folder, worker in ran if folder == "guest"} == {"gw0", "gw1"} - lab
