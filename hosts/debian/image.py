"""The guests' image: a Debian release unpacked in the user's cache, built once for each recipe."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import tomllib
from pathlib import Path

import platformdirs
from pydantic import BaseModel, ConfigDict

from hosts.debian import cached, mmdebstrap
from hosts.errors import Refusal
from hosts.progress import Progress, silent

RECIPE = Path(__file__).parent / "recipe.toml"
NEEDED_BYTES = 1_000_000_000

Image = cached.Cached


class Recipe(BaseModel):
    """What an image is made of; see recipe.toml. ``packages_of``: more packages, of one release only."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    packages: tuple[str, ...]
    leave_out: tuple[str, ...]
    must_have: tuple[str, ...]
    packages_of: dict[str, tuple[str, ...]] = {}

    def all_packages(self, release: str) -> tuple[str, ...]:
        """What the image of ``release`` holds."""
        return (*self.packages, *self.packages_of.get(release, ()))

    def key(self, release: str) -> str:
        """A digest of all that shapes the image of ``release``: another recipe, builder or owner, another key.

        Root's images keep Debian's owners of files, an ordinary user's belong to that user.
        """
        shape = self.model_dump(exclude={"packages_of"}) | {"packages": self.all_packages(release)}
        content = [release, shape, mmdebstrap.OPTIONS, platform.machine(), os.geteuid()]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]


def recipe() -> Recipe:
    """The recipe that comes with this version."""
    return Recipe.model_validate(tomllib.loads(RECIPE.read_text()))


def cache() -> Path:
    """Where this user's images are."""
    return platformdirs.user_cache_path("pathproof") / "images"


def location(release: str) -> Path:
    """Where the image of ``release`` is, or will be."""
    return cache() / f"{release}-{recipe().key(release)}"


def obtain(release: str, progress: Progress = silent) -> Image:
    """The image of ``release``, built now if there is none; superseded ones are removed.

    Raises Refusal when it cannot be built: then nothing is left of the attempt.
    """
    return cached.obtain(location(release), release, "image", lambda tree: _build(tree, release, progress), progress)


def _build(tree: Path, release: str, progress: Progress) -> None:
    cached.check_room(tree.parent, NEEDED_BYTES, "building an image")
    mmdebstrap.unpack(release, recipe().all_packages(release), recipe().leave_out, tree, progress)
    lacking = [name for name in recipe().must_have if not (tree / name).exists()]
    if lacking:
        raise Refusal(f"the image of {release} was built but lacks {', '.join(lacking)}")
