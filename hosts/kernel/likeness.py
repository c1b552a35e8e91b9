"""Whether a source tree has the structures of a kernel that was built from another point release.

The kernel's own structures are in none of its files (Debian's User Mode Linux has no BTF, and modules carry
reduced debug information), but they are in its modules' machine code, as offsets. So some of those modules are
compiled again from the tree at hand and compared with the kernel's own, function by function: where the
instructions are the same, the offsets must be too. Where they differ the function itself was changed, and tells
nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

# Modules that use what so_crypt uses, and the objects they are made of: sockets, TCP, struct proto, upper layer
# protocols; ciphers, requests, scatter lists; packets and page fragments.
WITNESSES = {
    "net/tls/tls": ("net/tls/tls_main.o", "net/tls/tls_sw.o"),
    "net/ipv4/tcp_bbr": ("net/ipv4/tcp_bbr.o",),
    "crypto/algif_skcipher": ("crypto/algif_skcipher.o",),
    "net/ipv4/esp4": ("net/ipv4/esp4.o",),
}
MINIMUM_ALIKE = 40

_FUNCTION = re.compile(r"^[0-9a-f]+ <(?P<name>[^>]+)>:$")
_INSTRUCTION = re.compile(r"^\s*[0-9a-f]+:\s+(?P<text>\S.*)$")
_OFFSET = re.compile(r"(-?0x[0-9a-f]+)\((%[^)]*)\)")
_IMMEDIATE = re.compile(r"\$-?0x[0-9a-f]+")
_TARGET = re.compile(r"\b[0-9a-f]+ <[^>]*>")


@dataclass(frozen=True)
class Function:
    """What a function does, without its offsets, and the offsets it does it at."""

    shape: tuple[str, ...]
    offsets: tuple[str, ...]


@dataclass(frozen=True)
class Likeness:
    """How many functions are the same, and which have other offsets in the same instructions."""

    alike: int
    changed: int
    contradicting: tuple[str, ...]

    @property
    def good(self) -> bool:
        """Whether the structures are the same as far as that can be seen."""
        return not self.contradicting and self.alike >= MINIMUM_ALIKE

    def good_or_none(self) -> int | None:
        """How many functions are the same, or None where that is no proof."""
        return self.alike if self.good else None


def functions(disassembly: str) -> dict[str, Function]:
    """The functions of ``objdump -d --no-show-raw-insn``; names that occur twice are left out."""
    found: dict[str, Function] = {}
    twice: set[str] = set()
    name, shape, offsets = "", list[str](), list[str]()

    def close() -> None:
        if name in found:
            twice.add(name)
        if name:
            found[name] = Function(tuple(shape), tuple(offsets))

    for line in disassembly.splitlines():
        if start := _FUNCTION.match(line):
            close()
            name, shape, offsets = start["name"], [], []
        elif instruction := _INSTRUCTION.match(line):
            text = _TARGET.sub("TARGET", instruction["text"])
            offsets += [found_offset for found_offset, _register in _OFFSET.findall(text)]
            # Immediate numbers are line numbers in warnings and addresses yet to be filled in (and, alas, sizes).
            shape.append(_IMMEDIATE.sub("$", _OFFSET.sub(r"(\2)", text)))
    close()
    return {key: value for key, value in found.items() if key not in twice}


def compare(theirs: Mapping[str, Function], ours: Mapping[str, Function]) -> Likeness:
    """Compare a kernel's functions with those compiled from the tree at hand."""
    alike, changed, contradicting = 0, 0, []
    for name in sorted(theirs.keys() & ours.keys()):
        if theirs[name].shape != ours[name].shape:
            changed += 1
        elif theirs[name].offsets != ours[name].offsets:
            contradicting.append(name)
        elif theirs[name].offsets:
            alike += 1
    return Likeness(alike, changed, tuple(contradicting))
