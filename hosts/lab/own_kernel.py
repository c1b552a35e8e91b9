"""A kernel of somebody's own for a lab's guests: recognised, found with its modules, and kept while it is used.

It is copied into the cache, so that who builds the next one meanwhile does not change what runs.

Source: Documentation/arch/x86/boot.rst, "The real-mode kernel header" (``HdrS``, ``kernel_version``).
"""

from __future__ import annotations

import hashlib
import re
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import platformdirs

from hosts.debian import cached
from hosts.errors import ConfigError, Refusal
from hosts.modules import Target
from hosts.progress import Progress
from hosts.testbed import AnyTestbed, GuestsTestbed, expanded, with_kernel

Boots = Literal["uml", "bzImage"]
ELF = b"\x7fELF"
MAGIC_AT, VERSION_AT, HEADER_AT = 0x202, 0x20E, 0x200
UML, BANNER = b"uml_dir=", re.compile(rb"Linux version (\S+) \(")
"""An option that only User Mode Linux has, and how every kernel names itself; it is not run to be asked, as the image's
libraries may be what it needs."""
INSTALLED = Path("/lib/modules")


@dataclass(frozen=True)
class OwnKernel:
    """A kernel: its file, its release (``uname -r``), what it boots in, the directory of its modules."""

    file: Path
    release: str
    boots: Boots
    modules: Path

    @property
    def key(self) -> str:
        """Another kernel or other modules, another key."""
        digest = hashlib.sha256(self.file.read_bytes())
        for path in sorted(self.modules.rglob("*")):
            if path.is_file() and not path.is_symlink():
                found = path.stat()
                digest.update(f"{path.relative_to(self.modules)} {found.st_size} {found.st_mtime_ns}\n".encode())
        return digest.hexdigest()[:12]

    def target(self, image: Path, make: str) -> Target:
        """What modules for it are built with, in ``image``, by the command ``make``. Raises Refusal."""
        tree = self.modules / "build"
        if not (tree / "Makefile").exists():
            raise Refusal(f"no module can be built for the kernel {self.file}: {tree} is not the tree that it is from")
        return Target(
            image=image, sources=tree.resolve(), make=make, key=self.key, package="the tree of", version=self.release
        )


def cache() -> Path:
    """Where this user's copies are: the last one of each kind, and what a lab runs on."""
    return platformdirs.user_cache_path("pathproof") / "own-kernels"


def put(spec: AnyTestbed, kernel: Path, modules: Path | None) -> AnyTestbed:
    """A testbed whose guests boot this kernel instead. Raises ConfigError where they cannot."""
    find(kernel, modules)
    changed = with_kernel(spec, kernel, modules)
    if isinstance(changed, GuestsTestbed):
        of(changed)
    return changed


def of(spec: GuestsTestbed) -> OwnKernel | None:
    """The kernel that a testbed names, which its guests must be able to boot. Raises ConfigError."""
    if spec.kernel is None:
        return None
    own = find(spec.kernel, spec.modules)
    if own.boots != spec.boots:
        kinds = {"uml": "a program of User Mode Linux", "bzImage": "a bzImage"}
        raise ConfigError(
            f"the guests of {spec.name} boot {kinds[spec.boots]}, and {own.file} is {kinds[own.boots]}",
            next_step="take --testbed auto",
        )
    return own


def find(file: Path, modules: Path | None = None) -> OwnKernel:
    """The kernel in ``file``. ``modules``: where they are installed, or None for the usual places.

    Raises ConfigError where it is none, or its modules are nowhere.
    """
    file, modules = expanded(file), expanded(modules) if modules else None
    boots, release = recognise(file)
    given = [modules] if modules else [file.parent, file.parent / "modules"]
    places = [place / inner for place in given for inner in (f"lib/modules/{release}", release, "")]
    if not modules and boots == "bzImage":
        places.append(INSTALLED / release)
    for place in places:
        if (place / "modules.dep").exists() and (place.name == release or modules):
            return OwnKernel(file, release, boots, place)
    raise ConfigError(
        f"the kernel {file} is {release}, and {' and '.join(map(str, given))} has no modules of it",
        next_step="in its tree: make INSTALL_MOD_PATH=DIRECTORY modules_install; then say --modules DIRECTORY",
    )


def recognise(file: Path) -> tuple[Boots, str]:
    """What a kernel boots in, and its release. Raises ConfigError where it is no kernel."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read the kernel {file}: {error.strerror}") from error
    if content[MAGIC_AT : MAGIC_AT + 4] == b"HdrS":
        (at,) = struct.unpack_from("<H", content, VERSION_AT)
        return "bzImage", content[HEADER_AT + at :][:64].decode(errors="replace").split(" ")[0]
    if content.startswith(ELF) and UML in content and (banner := BANNER.search(content)):
        return "uml", banner[1].decode()
    raise ConfigError(
        f"{file} is no kernel that a lab can boot",
        next_step="give a bzImage (arch/x86/boot/bzImage), or the program linux that ARCH=um builds",
    )


def keep(own: OwnKernel, program: str, modules: str, rest: Callable[[Path], None], progress: Progress) -> cached.Cached:
    """The kernel as ``program`` and its modules in ``modules``, in the cache. ``rest`` adds what it boots with.

    Raises Refusal.
    """

    def make(place: Path) -> None:
        progress(f"copying the kernel {own.file}", None)
        shutil.copyfile(own.file, place / program)
        (place / program).chmod(0o755)
        target = place / modules / own.release
        shutil.copytree(own.modules, target, ignore=lambda _dir, names: {"build", "source"} & set(names))
        rest(place)

    group = own.boots.lower()
    return cached.obtain(cache() / f"{group}-{own.key}", group, "kernel", make, progress)
