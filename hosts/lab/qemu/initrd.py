"""The initial RAM disk of QEMU guests: busybox, the few modules that reach the root file system, and files of ours.

It is made for each boot, in memory, because it also carries the guests' keys.
"""

from __future__ import annotations

import lzma
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from hosts.errors import Refusal

INIT = Path(__file__).with_name("initrd-init")
DIRECTORIES = ("bin", "dev", "lower", "lower/image", "lower/kernel", "modules", "ours", "proc", "root", "rw")


def make(busybox: Path, modules: Iterable[bytes], ours: Mapping[str, bytes]) -> bytes:
    """The archive. ``modules`` are loaded in this order; ``ours`` are files that become /mnt/NAME in the guest."""
    parts = [_entry(name, stat.S_IFDIR | 0o755) for name in DIRECTORIES]
    parts.append(_entry("bin/busybox", stat.S_IFREG | 0o755, busybox.read_bytes()))
    parts.append(_entry("init", stat.S_IFREG | 0o755, INIT.read_bytes()))
    for number, content in enumerate(modules):
        parts.append(_entry(f"modules/{number:02}.ko", stat.S_IFREG | 0o644, content))
    for name, content in ours.items():
        parts.append(_entry(f"ours/{name}", stat.S_IFREG | 0o600, content))
    parts.append(_entry("TRAILER!!!", 0))
    return b"".join(parts)


def load_order(dependencies: str, names: Iterable[str]) -> list[str]:
    """The files to load for these modules, each after what it needs, from a modules.dep.

    A module that is not listed is one that the kernel has built in.
    """
    needs = {}
    for line in dependencies.splitlines():
        file, _, rest = line.partition(":")
        needs[file] = rest.split()
    files = {file.rpartition("/")[2].partition(".")[0].replace("-", "_"): file for file in needs}
    order: dict[str, None] = {}
    for name in names:
        found = files.get(name.replace("-", "_"))
        if found:
            # modules.dep lists all that is needed, the first to be loaded last.
            order |= dict.fromkeys([*reversed(needs[found]), found])
    return list(order)


def modules(directory: Path, names: Iterable[str]) -> list[bytes]:
    """The contents of these modules and of what they need, in the order to load them. Raises Refusal."""
    try:
        order = load_order((directory / "modules.dep").read_text(), names)
        found = [(directory / file).read_bytes() for file in order]
        return [
            lzma.decompress(data) if file.endswith(".xz") else data for file, data in zip(order, found, strict=True)
        ]
    except (OSError, lzma.LZMAError) as error:
        raise Refusal(f"the kernel's modules cannot be read: {error}", next_step=f"rm -r {directory}") from error


def _entry(name: str, mode: int, content: bytes = b"") -> bytes:
    """One file of a "newc" archive: a header of hexadecimal numbers, name and content padded to four bytes."""
    path = name.encode() + b"\0"
    numbers = (0, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(path), 0)
    head = b"070701" + b"".join(b"%08x" % number for number in numbers) + path
    return _padded(head) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
