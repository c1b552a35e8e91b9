"""The one command by which packages are installed, and what is due after it."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from hosts import provision


def ended(*each: int) -> Sequence[Sequence[str]]:
    """Commands with these statuses."""
    return [("sh", "-c", 'exit "$0"', str(status)) for status in each]


@pytest.mark.parametrize(
    ("command", "after", "due"),
    [(0, (), 0), (0, (0, 0), 0), (100, (0, 0), 100), (0, (3, 0), 3), (0, (0, 4), 4), (100, (3, 4), 100)],
)
def test_the_first_status_that_is_not_0_is_that_of_all(command: int, after: tuple[int, ...], due: int) -> None:
    (first,) = ended(command)
    script = provision._in_one(first, ended(*after))
    assert subprocess.run(["sh", "-c", script], check=False).returncode == due


def test_what_is_due_after_it_is_done_where_it_failed_and_is_not_among_its_last_words(tmp_path: Path) -> None:
    marked = tmp_path / "a name of 'two'"
    failing = ["sh", "-c", 'echo "E: no room"; exit 100']
    script = provision._in_one(failing, [*ended(1), ["sh", "-c", 'echo marked; : >"$0"', str(marked)]])
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (100, "E: no room\n")
    assert marked.exists()
