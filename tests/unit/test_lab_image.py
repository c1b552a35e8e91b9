"""The guests' image: its key, its cache, and builds that fail, are interrupted or meet each other."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from hosts.debian import cached, image, mmdebstrap
from hosts.errors import HarnessError
from hosts.progress import Progress, silent

LINGERING = "sleep 987.654"
LAST_WORDS = "E: write error: No space left on device"


def fill(tree: Path) -> None:
    """What a whole image has at least."""
    for name in image.recipe().must_have:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).touch()


class Builder:
    """Stands in for mmdebstrap: counts its builds and does what a test wants."""

    def __init__(self) -> None:
        self.builds = 0
        self.error: BaseException | None = None
        self.seconds = 0.0

    def unpack(
        self, _release: str, _packages: Iterable[str], _leave_out: Iterable[str], tree: Path, _progress: Progress
    ) -> None:
        self.builds += 1
        time.sleep(self.seconds)
        (tree / "usr").mkdir()
        if self.error:
            raise self.error
        fill(tree)


@pytest.fixture
def builder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Builder:
    fake = Builder()
    monkeypatch.setattr(mmdebstrap, "unpack", fake.unpack)
    monkeypatch.setattr(image, "cache", lambda: tmp_path / "images")
    monkeypatch.setattr(image, "NEEDED_BYTES", 0)
    return fake


def names() -> list[str]:
    return sorted(path.name for path in image.cache().iterdir() if not path.name.startswith("."))


def test_is_built_once_and_found_again(builder: Builder) -> None:
    for _ in range(2):
        found = image.obtain("trixie")
        assert (found.path / "usr/sbin/sshd").exists()
        found.close()
    assert builder.builds == 1
    assert names() == [image.location("trixie").name]


def test_another_recipe_release_or_builder_has_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = image.recipe()
    keys = [
        recipe.key("trixie"),
        recipe.key("bookworm"),
        recipe.model_copy(update={"packages": (*recipe.packages, "gdb")}).key("trixie"),
        recipe.model_copy(update={"leave_out": ()}).key("trixie"),
    ]
    monkeypatch.setattr(mmdebstrap, "OPTIONS", ("--variant=apt",))
    keys.append(recipe.key("trixie"))
    assert len(set(keys)) == len(keys)
    monkeypatch.undo()
    assert recipe.key("trixie") == keys[0]


def test_what_only_one_release_has_shapes_no_other_release_s_image() -> None:
    recipe = image.recipe()
    assert "qatengine" in recipe.all_packages("trixie")
    assert recipe.all_packages("bookworm") == recipe.packages, "Debian 12 has no such package"
    more = recipe.model_copy(update={"packages_of": {"trixie": ("qatengine", "gdb")}})
    assert more.key("trixie") != recipe.key("trixie")
    assert more.key("bookworm") == recipe.key("bookworm")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), HarnessError("no network")])
def test_a_build_that_ends_early_leaves_nothing(builder: Builder, error: BaseException) -> None:
    builder.error = error
    with pytest.raises(type(error)):
        image.obtain("trixie")
    assert names() == []


def test_a_killed_build_is_not_used_and_goes_with_the_next(builder: Builder) -> None:
    path = image.location("trixie")
    killed = path.with_name(path.name + cached.BUILDING)
    (killed / "usr").mkdir(parents=True)
    image.obtain("trixie").close()
    assert builder.builds == 1
    assert names() == [path.name]


def test_a_tree_that_lacks_something_is_no_image(builder: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mmdebstrap, "unpack", lambda *_args: None)
    with pytest.raises(HarnessError, match="lacks usr/sbin/sshd"):
        image.obtain("trixie")
    assert names() == []


def test_two_builders_make_one_image(builder: Builder) -> None:
    builder.seconds = 0.3
    told: list[str] = []
    found: list[image.Image] = []

    def obtain() -> None:
        found.append(image.obtain("trixie", lambda what, _done: told.append(what)))

    threads = [threading.Thread(target=obtain) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert [each.path for each in found] == [image.location("trixie")] * 2
    assert builder.builds == 1
    assert any("another process" in what for what in told)
    for each in found:
        each.close()


def test_superseded_images_go_unless_in_use_or_of_another_release(builder: Builder) -> None:
    for name in ("trixie-old", "trixie-used", "bookworm-other"):
        fill(image.cache() / name)
    used = os.open(image.cache() / "trixie-used", os.O_RDONLY)
    fcntl.flock(used, fcntl.LOCK_SH)
    image.obtain("trixie").close()
    os.close(used)
    assert names() == sorted(["bookworm-other", "trixie-used", image.location("trixie").name])


def test_an_image_in_use_is_locked(builder: Builder) -> None:
    found = image.obtain("trixie")
    fd = os.open(found.path, os.O_RDONLY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    found.close()
    found.close()
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(fd)


def test_a_full_disk_is_told_before_anything_starts(builder: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "NEEDED_BYTES", 10**18)
    with pytest.raises(HarnessError, match="GB left") as caught:
        image.obtain("trixie")
    assert "make room" in str(caught.value)
    assert builder.builds == 0


def test_a_cache_that_cannot_be_written_is_one_sentence(
    builder: Builder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(image, "cache", lambda: tmp_path / "file" / "images")
    with pytest.raises(HarnessError, match="cannot keep images"):
        image.obtain("trixie")


def test_progress_follows_the_builders_words_without_passwords() -> None:
    told: list[tuple[str, float | None]] = []
    lines = [
        "I: running apt-get update...",
        "",
        "Get:1 https://me:secret@mirror.example/debian",
        "I: success in 20 seconds",
    ]
    last = mmdebstrap.follow(lines, "trixie", lambda what, done: told.append((what, done)))
    assert told == [
        ("building the trixie image", 0.0),
        ("building the trixie image: running apt-get update", 0.02),
        ("building the trixie image: success in 20 seconds", 1.0),
    ]
    assert "Get:1 https://mirror.example/debian" in last


@pytest.fixture
def fake_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """Makes a script the mmdebstrap that is found; it runs in namespaces of its own, as the real one does."""
    if os.geteuid() != 0:
        pytest.skip("starts the builder as root does")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(image, "cache", lambda: tmp_path / "images")
    fake = tmp_path / "mmdebstrap"

    def write(script: str) -> None:
        fake.write_text(f"#!/bin/sh\necho 'I: extracting archives...' >&2\n{script}\n")
        fake.chmod(0o755)

    yield write
    assert LINGERING not in subprocess.run(["ps", "axo", "args"], capture_output=True, text=True, check=True).stdout


def test_a_builder_that_fails_is_quoted(fake_program: Callable[[str], None]) -> None:
    fake_program(f'echo "{LAST_WORDS}" >&2; exit 25')
    with pytest.raises(HarnessError) as caught:
        image.obtain("trixie", silent)
    assert LAST_WORDS in str(caught.value)
    assert "make room" in str(caught.value)
    assert names() == []


def test_a_build_interrupted_by_ctrl_c_leaves_nothing(fake_program: Callable[[str], None]) -> None:
    fake_program(f"exec {LINGERING}")

    def interrupt(_what: str, done: float | None) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        image.obtain("trixie", interrupt)
    assert names() == []


def test_a_build_dies_with_its_controller(fake_program: Callable[[str], None]) -> None:
    fake_program(f"exec {LINGERING}")
    reader, writer = os.pipe()

    def tell(_what: str, done: float | None) -> None:
        if done:
            os.write(writer, b"building")

    controller = os.fork()
    if controller == 0:
        image.obtain("trixie", tell)
        os._exit(0)
    assert os.read(reader, 100) == b"building"
    os.kill(controller, signal.SIGKILL)
    os.waitpid(controller, 0)
    os.close(writer)
    os.close(reader)
    time.sleep(0.5)
    assert names() == [image.location("trixie").name + cached.BUILDING]
