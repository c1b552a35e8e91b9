"""What the ciphers of the known answers are called elsewhere; written down here once more, independently."""

from __future__ import annotations

from typing import NamedTuple


class Names(NamedTuple):
    """OpenSSL's name, the kernel's, and the kernel modules that it stands on, in the order of loading."""

    evp: str | None
    kernel: str
    modules: tuple[str, ...]


NAMES = {
    "des": Names("DES-CBC", "cbc(des)", ("ecb", "cbc", "des_generic")),
    "3des": Names("DES-EDE3-CBC", "cbc(des3_ede)", ("ecb", "cbc", "des_generic")),
    "aes128cbc": Names("AES-128-CBC", "cbc(aes)", ("ecb", "cbc", "aes_generic")),
    "aes256cbc": Names("AES-256-CBC", "cbc(aes)", ("ecb", "cbc", "aes_generic")),
    "aes128gcm": Names("AES-128-GCM", "gcm(aes)", ("aes_generic", "ctr", "ghash_generic", "gcm")),
    "aes256gcm": Names("AES-256-GCM", "gcm(aes)", ("aes_generic", "ctr", "ghash_generic", "gcm")),
    "chacha20poly1305": Names(
        "ChaCha20-Poly1305",
        "rfc7539(chacha20,poly1305)",
        ("chacha_generic", "poly1305_generic", "chacha20poly1305"),
    ),
    "null": Names(None, "ecb(cipher_null)", ("ecb", "crypto_null")),
}
