"""Runs one command in a group of its own and sees that it ends.

``python keeper.py FOLDER LOCK SECONDS GRACE COMMAND…``

It is a process between a worker and the run, since a worker's thread cannot be cancelled, and a worker may be killed.
A byte on standard input is a word that the run is to end; the end of the input is the worker's own end, which the
kernel tells even of a worker that was killed. Then, and when its seconds are over, the command gets SIGTERM, puts its
hosts back and closes its record; after its grace its whole group is killed. ``FOLDER`` gets ``log`` and ``ended.json``.
Descriptor ``LOCK`` holds the testbed: it is open here, and in the command, until all of this is done. A command whose
keeper is killed gets SIGTERM from the kernel.

Needs the standard library alone, and none of the project: it is started often and is to be small.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

PR_SET_PDEATHSIG = 1
TOLD = b"s"
SHORT_GRACE = 20.0
"""Seconds that a run has to end where somebody waits for it."""


def main(argv: list[str]) -> int:
    """Keep one command; 0 once it has ended, however."""
    folder, lock, seconds, grace, command = Path(argv[0]), int(argv[1]), float(argv[2]), float(argv[3]), argv[4:]
    libc = ctypes.CDLL(None)
    with (folder / "log").open("ab") as log:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=[lock],
            preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM),  # noqa: PLW1509 - one thread
        )
    cause = _watch(child, seconds)
    if cause:
        child.terminate()
        _end(child, min(grace, SHORT_GRACE) if cause == "told" else grace)
    _kill(child)
    put(folder / "ended.json", child.wait(), cause, seconds)
    return 0


def _watch(child: subprocess.Popen[bytes], seconds: float) -> str | None:
    """Wait until the command ends by itself (None), or is to end: ``told``, ``worker`` or ``time``."""
    deadline = time.monotonic() + seconds
    ended = os.pidfd_open(child.pid)
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            return "time"
        ready = select.select([ended, 0], [], [], left)[0]
        if ended in ready:
            return None
        if ready:
            return "told" if os.read(0, 1) == TOLD else "worker"


def _end(child: subprocess.Popen[bytes], grace: float) -> None:
    deadline = time.monotonic() + grace
    ended = os.pidfd_open(child.pid)
    while (left := deadline - time.monotonic()) > 0 and not select.select([ended], [], [], left)[0]:
        pass


def _kill(child: subprocess.Popen[bytes]) -> None:
    """What is left of the command's group; the guardians on its hosts put these back."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def put(path: Path, status: int | None, cause: str | None, seconds: float) -> None:
    """Say how a run ended that had so many seconds. ``status``: None of one that never began."""
    reason = {
        "told": "the night was told to end",
        "worker": "its worker ended",
        "time": f"the {seconds / 60:.3g} minutes that it had were over",
    }
    content = {
        "status": status,
        "cause": cause,
        "reason": reason.get(cause or ""),
        "ended": datetime.now(UTC).isoformat(),
    }
    new = path.with_name(f".{path.name}")
    with new.open("w") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
