"""Kernel modules that newer kernels have by another name, or as a part of another one. Pure."""

from __future__ import annotations

LATER = {
    "aes_generic": "aes",
    "chacha_generic": "chacha",
    "ghash_generic": "libgf128hash",
    "poly1305_generic": "libpoly1305",
    "sha1_generic": "sha1",
    "sha256_generic": "sha256",
    "sha3_generic": "sha3",
    "sha512_generic": "sha512",
}
"""Seen in 7.2 and 7.3, where the kernel's crypto API stands on its library; 6.12 has the first of each.

On a kernel with the older one, modprobe takes some of the newer names for aliases of every driver of that algorithm.
"""


def known_as(module: str) -> tuple[str, ...]:
    """A module's names, the older first, with underscores as the kernel has them."""
    name = module.replace("-", "_")
    return (name, LATER[name]) if name in LATER else (name,)
