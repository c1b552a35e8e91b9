"""Commands on this host, each in a process group of its own and with a deadline."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
from pathlib import Path

from .errors import LIMIT_BYTES, ChangeError
from .values import Result

UNFINISHED = "unfinished"


def run(argv: list[str], timeout: float, cwd: Path, stdin: str | None = None) -> Result:
    """Run a command for at most ``timeout`` seconds.

    Raises ChangeError where it wrote more than LIMIT_BYTES: nobody is to take a part of it for the whole.
    """
    try:
        process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=cwd, start_new_session=True
        )
    except OSError as error:
        return Result(127, "", f"{argv[0]}: {error.strerror}")
    status: int | None = None
    try:
        out, err = process.communicate((stdin or "").encode(), timeout=timeout)
        status = process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = _rest(process)
    if max(len(out), len(err)) > LIMIT_BYTES:
        raise ChangeError(f"{argv[0]} wrote {max(len(out), len(err))} bytes, where {LIMIT_BYTES} are the most")
    return Result(status, out.decode(errors="replace"), err.decode(errors="replace"))


def finish(argv: list[str], environment: dict[str, str], timeout: float, directory: Path) -> Result:
    """Run a command that nobody ends in its middle; status None where it still runs after ``timeout`` seconds.

    What it writes goes into a file, which outlives this process, and whose lock it and its children hold: by that
    ``unfinished`` knows that it still runs. Raises ChangeError where another one does.
    """
    path = directory / UNFINISHED
    if unfinished(directory):
        raise ChangeError("another command that must not be ended still runs here")
    with path.open("w+b") as output:
        fcntl.flock(output, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                env={**os.environ, **environment},
                umask=0o022,  # the agent's own would make what a package's scripts write root's alone
                start_new_session=True,
            )
        except OSError as error:
            return Result(127, "", f"{argv[0]}: {error.strerror}")
    try:
        status: int | None = process.wait(timeout)
    except subprocess.TimeoutExpired:
        status = None
    return Result(status, path.read_bytes()[-LIMIT_BYTES:].decode(errors="replace"), "")


def unfinished(directory: Path) -> bool:
    """Whether a command that must not be ended still runs."""
    try:
        with (directory / UNFINISHED).open("rb") as output:
            fcntl.flock(output, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _rest(process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
    """What a killed command had written. One that left its group may hold the pipes: it is not waited for."""
    try:
        return process.communicate(timeout=1.0)
    except subprocess.TimeoutExpired as left:
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe:
                pipe.close()
        return left.output or b"", left.stderr or b""
