"""Runs mmdebstrap: a Debian release, signatures checked, into a directory, with progress."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO, cast

from hosts.debian import apt
from hosts.errors import Refusal
from hosts.processes import SYSTEM_PATH, end_namespaces
from hosts.progress import Progress

OPTIONS = ("--mode=root", "--variant=minbase")
TIMEOUT_SECONDS = 1800.0
LINE = 160

# How far a build is when mmdebstrap says these words.
STAGES = {
    "running apt-get update": 0.02,
    "downloading packages": 0.08,
    "extracting archives": 0.25,
    "installing essential packages": 0.30,
    "installing remaining packages": 0.40,
    "cleaning package lists": 0.93,
    "creating tarball": 0.94,
    "success": 1.0,
}

# A build's processes and mounts are in namespaces of their own, and it dies with the controller: killed in any way,
# it leaves none behind. (The signal comes when the thread that started the build ends; it waits for the build.)
_NAMESPACES = (
    "setpriv",
    "--pdeathsig",
    "KILL",
    "unshare",
    "--mount",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
)
# An ordinary user's build works in memory: files of other owners that a killed one left would be out of that
# user's reach.
_IN_MEMORY = ("sh", "-c", 'mount -t tmpfs -o mode=1777 lab /tmp && exec "$@"', "sh", "env", "TMPDIR=/tmp")


def unpack(
    release: str, packages: Iterable[str], leave_out: Iterable[str], directory: Path, progress: Progress
) -> None:
    """Fill the empty ``directory`` with ``release``.

    As root the files keep their owners; otherwise all belong to the user, who needs subordinate ids for it.
    Raises Refusal with the last lines of output when that fails; the caller removes the directory.
    """
    root = os.geteuid() == 0
    sources = apt.sources(release, apt.index_targets())
    builder = [
        "mmdebstrap",
        *OPTIONS,
        f"--keyring={apt.KEYRING}",
        f"--include={','.join(packages)}",
        *(f"--aptopt={option}" for option in apt.options(apt.config_dump())),
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in leave_out),
        # The mirror and proxies are this machine's business, not the guests'.
        '--customize-hook=rm -f "$1/etc/apt/apt.conf.d/99mmdebstrap" "$1/etc/apt/sources.list"',
        f"--format={'directory' if root else 'tar'}",
        release,
        str(directory) if root else "-",
        *(["-"] if sources else []),
    ]
    if root:
        command = [*_NAMESPACES, *builder]
    else:
        command = [*_NAMESPACES, "--map-root-user", "--map-auto", *_IN_MEMORY, *builder]
    with _started(command, unpack_into=None if root else directory) as process:
        stdin, stderr = cast(TextIO, process.stdin), cast(TextIO, process.stderr)
        try:
            stdin.write(sources)
            stdin.close()
        except BrokenPipeError:
            pass  # it failed already; its output says why
        last = follow(stderr, release, progress)
        if process.wait() == 0:
            return
    raise Refusal(
        f"cannot build the {release} image: mmdebstrap ended with status {process.returncode}; it said last:\n"
        + "\n".join(f"    {line}" for line in last),
        commands=[f"mmdebstrap … {release}"],
        next_step=_advice(last),
    )


def follow(lines: Iterable[str], release: str, progress: Progress) -> list[str]:
    """Turn mmdebstrap's messages into progress until they end; the last lines, without anybody's password."""
    last: deque[str] = deque(maxlen=12)
    progress(f"building the {release} image", 0.0)
    for raw in lines:
        line = re.sub(r"//[^/\s@]*@", "//", raw.strip())[:LINE]
        if not line:
            continue
        if not line.startswith("["):  # a progress bar
            last.append(line)
        for words, done in STAGES.items():
            if line.startswith(f"I: {words}"):
                progress(f"building the {release} image: {line[3:].split('...')[0]}", done)
    return list(last)


def _advice(last: list[str]) -> str:
    text = "\n".join(last).lower()
    if "no space left" in text or "enough free space" in text:
        return "make room (building an image takes 1 GB) and start again"
    if "could not resolve" in text or "failed to fetch" in text or "could not connect" in text:
        return "see that this machine reaches its package mirror (apt-get update), and start again"
    return "start again; the lines above say what to look at"


@contextmanager
def _started(command: list[str], unpack_into: Path | None) -> Iterator[subprocess.Popen[str]]:
    """The builder, and for an ordinary user the tar that unpacks its output; neither runs afterwards."""
    build = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE if unpack_into else subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env={
            **os.environ,
            "PATH": f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}",
            "LC_ALL": "C",
            "DEBIAN_FRONTEND": "noninteractive",
        },
        umask=0o022,
        start_new_session=True,
    )
    tar = None
    timer = threading.Timer(TIMEOUT_SECONDS, end_namespaces, (build,))
    timer.daemon = True
    timer.start()
    try:
        if unpack_into:
            # Devices are not an ordinary user's to make, and the lab mounts its own anyway.
            tar = subprocess.Popen(
                ["tar", "-x", "-C", str(unpack_into), "--no-same-owner", "--exclude=./dev/*"],
                stdin=build.stdout,
                stderr=subprocess.DEVNULL,  # as many complaints as files; its status says enough
                umask=0o022,
                start_new_session=True,
            )
        yield build
        if tar and tar.wait(timeout=60) != 0:
            raise Refusal(
                f"the image could not be unpacked: tar ended with status {tar.returncode}",
                next_step=f"see that {unpack_into} has room",
            )
    finally:
        timer.cancel()
        end_namespaces(build)
        for pipe in (build.stdin, build.stdout, build.stderr):
            if pipe:
                with suppress(OSError):
                    pipe.close()
        if tar and tar.poll() is None:
            tar.kill()
            tar.wait()
