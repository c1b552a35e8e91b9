"""Runs shell scripts in a guests' image, which stays as it is: the image's own tools make what its guests need."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, cast

from hosts.errors import Refusal
from hosts.processes import END_SECONDS, SYSTEM_PATH, end_namespaces

IN_IMAGE = Path(__file__).with_name("in-image")
STEP_SECONDS = 1800.0


def run(
    image: Path,
    work: Path,
    script: str,
    failed: str,
    *,
    sources: Path | None = None,
    line: Callable[[str], None] | None = None,
) -> str:
    """Output of a shell script run in ``image``, with ``work`` as /mnt, told to ``line`` as it comes.

    ``sources`` is /usr/src there, read-only. Ends after STEP_SECONDS at most, and with this process. Raises
    Refusal that begins with the words ``failed``.
    """
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    with tempfile.TemporaryFile("w+", errors="replace") as errors:
        process = subprocess.Popen(
            [
                # It ends with this process, killed in any way. (With the thread that started it, which waits for it.)
                *("setpriv", "--pdeathsig", "KILL"),
                *("unshare", *user, "--mount", "--pid", "--ipc", "--fork", "--kill-child"),
                *("/bin/sh", str(IN_IMAGE), str(image), str(work), str(sources or ""), "sh", "-ec", script),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            errors="replace",
            env={"PATH": SYSTEM_PATH, "LC_ALL": "C"},
            start_new_session=True,
        )
        timer = threading.Timer(STEP_SECONDS, end_namespaces, (process,))
        timer.daemon = True
        timer.start()
        said: list[str] = []
        try:
            with cast(IO[str], process.stdout) as out:
                for text in out:
                    said.append(text)
                    if line:
                        line(text)
            process.wait(END_SECONDS)
        finally:
            timer.cancel()
            end_namespaces(process)
        if process.returncode:
            errors.seek(0)
            last = (errors.read() or "".join(said)).strip().splitlines()[-12:]
            raise Refusal("\n".join([f"{failed}:", *(f"    {text}" for text in last)]), commands=[script])
    return "".join(said)
