"""The guests' image: a Debian suite unpacked in the user's cache, built once for each recipe.

An image is a directory ``SUITE-KEY`` whose key is a digest of everything that shapes it. It is built under
another name and renamed when it is whole, so that a build which was interrupted, killed or ran out of disk is
never mistaken for one. Who uses an image holds a shared lock on its directory; what nobody uses and no recipe
asks for is removed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shutil
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import platformdirs
from pydantic import BaseModel, ConfigDict

from hosts.errors import HarnessError
from hosts.lab import mmdebstrap
from hosts.progress import Progress, silent

RECIPE = Path(__file__).parent / "recipe.toml"
BUILDING = ".building"
WAIT_SECONDS = 2400.0
NEEDED_BYTES = 1_000_000_000


class Recipe(BaseModel):
    """What an image is made of; see recipe.toml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    packages: tuple[str, ...]
    leave_out: tuple[str, ...]
    must_have: tuple[str, ...]

    def key(self, suite: str) -> str:
        """A digest of all that shapes the image of ``suite``: another recipe, builder or owner, another key.

        Root's images keep Debian's owners of files, an ordinary user's belong to that user.
        """
        content = [suite, self.model_dump(), mmdebstrap.OPTIONS, platform.machine(), os.geteuid()]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]


class Image:
    """A whole image in use: as long as this is open, nobody removes it."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self.fd = fd

    def close(self) -> None:
        """Let go of the image; a second call does nothing."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


def recipe() -> Recipe:
    """The recipe that comes with this version."""
    return Recipe.model_validate(tomllib.loads(RECIPE.read_text()))


def cache() -> Path:
    """Where this user's images are."""
    return platformdirs.user_cache_path("pathproof") / "images"


def location(suite: str) -> Path:
    """Where the image of ``suite`` is, or will be."""
    return cache() / f"{suite}-{recipe().key(suite)}"


def obtain(suite: str, progress: Progress = silent) -> Image:
    """The image of ``suite``, built now if there is none; superseded ones are removed.

    Raises HarnessError when it cannot be built: then nothing is left of the attempt.
    """
    path = location(suite)
    try:
        image = _open(path)
        if image:
            return image
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _only_builder(path.parent, suite, progress):
            for leftover in path.parent.glob(f"{suite}-*{BUILDING}"):
                remove(leftover)
            image = _open(path)
            if not image:
                _build(path, suite, progress)
                image = _open(path)
            _remove_superseded(path, suite)
    except OSError as error:
        raise HarnessError(f"cannot keep images in {path.parent}: {error.strerror or error}") from error
    if not image:
        raise HarnessError(f"the image {path} disappeared as soon as it was built")
    return image


def _open(path: Path) -> Image | None:
    """The image at ``path``, locked against removal; None when there is none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return None
    fcntl.flock(fd, fcntl.LOCK_SH)
    # It may have been removed between the two calls.
    if path.exists() and path.stat().st_ino == os.fstat(fd).st_ino:
        return Image(path, fd)
    os.close(fd)
    return None


def _build(path: Path, suite: str, progress: Progress) -> None:
    free = shutil.disk_usage(path.parent).free
    if free < NEEDED_BYTES:
        raise HarnessError(
            f"building an image takes {NEEDED_BYTES / 1e9:.0f} GB, and {path.parent} has {free / 1e9:.1f} GB left",
            next_step="make room there, or set XDG_CACHE_HOME to a place with room",
        )
    tree = path.with_name(path.name + BUILDING)
    tree.mkdir(mode=0o755)
    try:
        mmdebstrap.unpack(suite, recipe().packages, recipe().leave_out, tree, progress)
        lacking = [name for name in recipe().must_have if not (tree / name).exists()]
        if lacking:
            raise HarnessError(f"the image of {suite} was built but lacks {', '.join(lacking)}")
        # Its directory is what others look at: readable by the guests' unprivileged users too.
        tree.chmod(0o755)
        tree.rename(path)
    finally:
        remove(tree)


def _remove_superseded(current: Path, suite: str) -> None:
    for path in current.parent.glob(f"{suite}-*"):
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
def _only_builder(directory: Path, suite: str, progress: Progress) -> Iterator[None]:
    """Hold the suite's build lock; waits while another process builds (WAIT_SECONDS at most)."""
    fd = os.open(directory / f".{suite}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise HarnessError(
                        f"another process is still building the {suite} image after {WAIT_SECONDS:.0f} s",
                        next_step=f"find it with: fuser -v {directory / f'.{suite}.lock'}",
                    ) from None
                progress(f"waiting for another process that builds the image of {suite}", None)
                time.sleep(0.5)
            else:
                break
        yield
    finally:
        os.close(fd)
