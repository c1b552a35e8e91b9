"""Installs Debian packages on this machine, as root, with progress."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterable, Sequence

from hosts.errors import Refusal
from hosts.progress import Progress

TIMEOUT_SECONDS = 900.0
LOCK_SECONDS = 120


def install(packages: Sequence[str], progress: Progress, apt_get: str = "apt-get") -> None:
    """Install ``packages``, updating apt's lists first if it does not know them. Raises Refusal."""
    what = f"installing {' '.join(packages)}"
    command = [apt_get, "install", "--yes", "--no-install-recommends", *packages]
    progress(what, 0.0)
    status, said = _run(command, what, progress)
    if status != 0:
        # Most often the lists are missing (a container's image) or older than the mirror.
        progress("updating the list of packages", None)
        updated, last = _run([apt_get, "update"], "updating the list of packages", progress)
        if updated == 0:
            status, said = _run(command, what, progress)
        else:
            said = [*said, *last]
    if status != 0:
        raise Refusal(
            f"the lab needs {' '.join(packages)}, and installing failed; apt-get said last:\n"
            + "\n".join(f"    {line}" for line in said[-8:]),
            commands=[" ".join(command)],
            next_step=f"get them installed, then start again: {' '.join(command)}",
        )


def _run(command: Sequence[str], what: str, progress: Progress) -> tuple[int, list[str]]:
    """Run apt-get; its status and the lines it said."""
    reader, writer = os.pipe()
    options = ["-o", f"APT::Status-Fd={writer}", "-o", f"DPkg::Lock::Timeout={LOCK_SECONDS}", "-q"]
    try:
        process = subprocess.Popen(
            [command[0], *options, *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            pass_fds=[writer],
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"},
        )
    except OSError as error:
        os.close(reader)
        return 127, [f"{command[0]}: {error.strerror}"]
    finally:
        os.close(writer)
    with os.fdopen(reader, errors="replace") as status:
        teller = threading.Thread(target=follow, args=(status, what, progress), daemon=True)
        teller.start()
        try:
            output, _ = process.communicate(timeout=TIMEOUT_SECONDS)
        except BaseException:
            process.terminate()  # not kill: dpkg must not be left in the middle of a package
            process.wait()
            raise
        teller.join(timeout=5)
    return process.returncode, output.splitlines()


def follow(lines: Iterable[str], what: str, progress: Progress) -> None:
    """Turn apt's status lines (``dlstatus:`` and ``pmstatus:``, in percent) into progress: half for each."""
    for line in lines:
        kind, _, rest = line.partition(":")
        fields = rest.split(":")
        if kind in ("dlstatus", "pmstatus") and len(fields) > 1:
            try:
                share = float(fields[1]) / 200
            except ValueError:
                continue
            progress(what, share if kind == "dlstatus" else 0.5 + share)
