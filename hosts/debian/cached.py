"""Directories in the user's cache that are made once and then only read: the guests' images and kernels.

Each is called ``GROUP-KEY``; its key is a digest of everything that shapes it. It is made under another name and
renamed when it is whole, so that a build which was interrupted, killed or ran out of disk is never mistaken for one.
Its users hold a shared lock on it; one that nobody uses and no recipe asks for is removed.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hosts.errors import Refusal
from hosts.progress import Progress

BUILDING = ".building"
WAIT_SECONDS = 2400.0


class Cached:
    """A whole directory in use: as long as this is open, nobody removes it."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self.fd = fd

    def close(self) -> None:
        """Let go of it; a second call does nothing."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Cached:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def obtain(path: Path, group: str, noun: str, make: Callable[[Path], None], progress: Progress) -> Cached:
    """The directory ``path``, made now if there is none; others of its ``group`` are removed unless in use.

    ``make`` fills an empty directory. ``noun`` is what a person calls it. Raises Refusal, and what ``make``
    raises: then nothing is left of the attempt.
    """
    try:
        found = _open(path)
        if found:
            return found
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _only_builder(path.parent, group, noun, progress):
            for leftover in path.parent.glob(f"{group}-*{BUILDING}"):
                remove(leftover)
            found = _open(path)
            if not found:
                _make(path, make)
                found = _open(path)
            _remove_superseded(path, group)
    except OSError as error:
        raise Refusal(f"cannot keep {noun}s in {path.parent}: {error.strerror or error}") from error
    if not found:
        raise Refusal(f"the {noun} {path} disappeared as soon as it was built")
    return found


def check_room(directory: Path, needed_bytes: int, what: str) -> None:
    """Raises Refusal where fewer than ``needed_bytes`` are free; ``what`` says what takes them."""
    free = shutil.disk_usage(directory).free
    if free < needed_bytes:
        raise Refusal(
            f"{what} takes {needed_bytes / 1e9:g} GB, and {directory} has {free / 1e9:.1f} GB left",
            next_step="make room there, or set XDG_CACHE_HOME to a place with room",
        )


def _open(path: Path) -> Cached | None:
    """What is at ``path``, locked against removal; None when there is nothing."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return None
    fcntl.flock(fd, fcntl.LOCK_SH)
    # It may have been removed between the two calls.
    if path.exists() and path.stat().st_ino == os.fstat(fd).st_ino:
        return Cached(path, fd)
    os.close(fd)
    return None


def _make(path: Path, make: Callable[[Path], None]) -> None:
    tree = path.with_name(path.name + BUILDING)
    tree.mkdir(mode=0o755)
    try:
        make(tree)
        # Its directory is what others look at: readable by the guests' unprivileged users too.
        tree.chmod(0o755)
        tree.rename(path)
    finally:
        remove(tree)


def _remove_superseded(current: Path, group: str) -> None:
    for path in current.parent.glob(f"{group}-*"):
        if path == current or not path.is_dir():
            continue
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            # Not while a lab runs on it: that lab's end is early enough for the next build to find it.
            with suppress(BlockingIOError):
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove(path)
        finally:
            os.close(fd)


def remove(tree: Path) -> None:
    """Remove a tree, whole or not; one that is gone is no error. Raises OSError when some of it remains."""
    for _ in range(2):
        shutil.rmtree(tree, ignore_errors=True)
        if not tree.exists():
            return
        # Directories that an owner may not write in: an ordinary user's image can have some.
        for directory, _names, _files in os.walk(tree):
            with suppress(OSError):
                Path(directory).chmod(0o700)
    raise OSError(f"cannot remove {tree}")


@contextmanager
def _only_builder(directory: Path, group: str, noun: str, progress: Progress) -> Iterator[None]:
    """Hold the group's build lock; waits while another process builds (WAIT_SECONDS at most)."""
    lock = directory / f".{group}.lock"
    fd = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise Refusal(
                        f"another process is still building the {group} {noun} after {WAIT_SECONDS:.0f} s",
                        next_step=f"find it with: fuser -v {lock}",
                    ) from None
                progress(f"waiting for another process that builds the {noun} of {group}", None)
                time.sleep(0.5)
            else:
                break
        yield
    finally:
        os.close(fd)
