"""Programs of others that are not in the guests' image, from Debian's archive; and what makes their sockets ours."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import platformdirs
import pytest

from hosts import modules
from hosts.debian import cached
from hosts.debian.archive import Archive
from hosts.errors import Refusal
from hosts.lab.kinds import Parts
from hosts.programs import Program, in_image
from hosts.progress import silent
from hosts.remote.host import RemoteHost

PROGRAMS = {
    "socat": "usr/bin/socat*",
    "pv": "usr/bin/pv",
    "netcat-openbsd": "bin/nc.openbsd",
    "stress-ng": "usr/bin/stress-ng",
}
"""Their files by package; the image has the libraries that they need, but for those of stress-ng:"""
LIBRARIES = ("libegl1", "libglvnd0", "libgles2", "libgbm1", "libdrm2", "libjpeg62-turbo", "libjudydebian1")
"""packages of which all libraries are taken."""
PRELOAD = Path(__file__).parents[1] / "guest" / "preload" / "so_crypt.c"


def programs(release: str) -> dict[str, bytes]:
    """The programs of a Debian release by name, fetched once for a cache. Raises Refusal where they cannot be."""
    key = hashlib.sha256(json.dumps([release, PROGRAMS, LIBRARIES]).encode()).hexdigest()[:12]
    place = platformdirs.user_cache_path("pathproof") / "foreign" / f"{release}-{key}"
    with cached.obtain(place, release, "program", lambda made: _fetch(release, made), silent) as held:
        return {path.name: path.read_bytes() for path in held.path.iterdir()}


def _fetch(release: str, place: Path) -> None:
    """Fill ``place``."""
    archive = Archive(release, place / "archive", "programs of others")
    archive.run("apt-get", "update")
    for package in PROGRAMS:
        unpack(package, archive.download(package, silent), place)
    for package in LIBRARIES:
        unpack_libraries(package, archive.download(package, silent), place)
    shutil.rmtree(place / "archive")


def unpack_libraries(package: str, file: Path, place: Path) -> None:
    """Those of a package, into ``place``, by the names that programs ask for."""
    unpacked = _unpacked(package, file, place)
    for path in unpacked.glob("usr/lib/*/lib*.so.*"):
        if path.is_symlink():
            shutil.copy(path, place / path.name)
    shutil.rmtree(unpacked)


def _unpacked(package: str, file: Path, place: Path) -> Path:
    unpacked = place / f"{package}.unpacked"
    unpacked.mkdir()
    subprocess.run(["dpkg-deb", "-x", file, unpacked], check=True)
    return unpacked


def unpack(package: str, file: Path, place: Path) -> None:
    """Its program, into ``place``."""
    unpacked = _unpacked(package, file, place)
    pattern = PROGRAMS[package]
    found = [path for path in (*unpacked.glob(pattern), *unpacked.glob(f"usr/{pattern}")) if not path.is_symlink()]
    min(found, key=lambda path: len(path.name)).rename(place / package.partition("-")[0])
    shutil.rmtree(unpacked)


def placed(parts: Parts, host: RemoteHost) -> str:
    """Put all of them onto a guest; the environment that tells checks where they are. Skips without an archive."""
    release = host.check(["sh", "-c", ". /etc/os-release && echo $VERSION_CODENAME"]).strip()
    try:
        found = programs(release)
    except Refusal as error:
        pytest.skip(f"no programs of others: {error}")
    found["so_crypt_preload"] = in_image(parts.image_path, preload())
    host.check(["mkdir", "-p", f"{host.directory}/foreign"])
    for name, content in found.items():
        host.put(gzip.compress(content), f"foreign/{name}.gz")  # stress-ng has 14 MB
    host.check(["sh", "-c", 'cd "$1" && gzip -df *.gz && chmod 755 *', "sh", f"{host.directory}/foreign"], timeout=60)
    return f"FOREIGN={host.directory}/foreign"


def preload() -> Program:
    """The library that makes every TCP connection of a program one of so_crypt."""
    command = ("cc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC")
    sources = {PRELOAD.name: PRELOAD.read_bytes(), "so_crypt.h": (modules.SO_CRYPT / "so_crypt.h").read_bytes()}
    return Program("so_crypt_preload", command, sources)
