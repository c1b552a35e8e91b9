"""One table: a cipher's names in every place that names it, and its sizes.

Adding a cipher is adding a row. A name that a place does not have is None: a path that needs it can then never run
with that cipher, and says so with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from hosts.errors import ConfigError
from hosts.onhost.agent.evp import TAG as TAG_BYTES

TlsVersion = Literal["1.2", "1.3"]
Integrity = Literal["sha1", "sha256"]
AUTH_KEY_BYTES = {"sha1": 20, "sha256": 32}
AUTH_ICV_BITS = {"sha1": 96, "sha256": 128}
"""HMAC-SHA1-96 (RFC 2404) and HMAC-SHA-256-128 (RFC 4868) in ESP."""


@dataclass(frozen=True)
class CipherSuite:
    """A TLS cipher suite by all its names."""

    version: TlsVersion
    iana: str
    """As the registry spells it."""
    openssl: str | None
    """As OpenSSL spells it; None where OpenSSL 3 does not have it."""
    gnutls_priority: str
    """A GnuTLS priority string that leaves exactly this one."""
    libcurl: str
    """Version and cipher suite as libcurl reports them of GnuTLS."""
    tag_bits: int = 8 * TAG_BYTES
    """Of each record: an AEAD's tag, or the MAC, whole (RFC 5246)."""
    lighttpd: str | None = None
    """What a lighttpd with GnuTLS is told; None where it is not asked for it."""


@dataclass(frozen=True)
class Cipher:
    """A cipher by all its names, and its sizes."""

    name: str
    """As profiles and records spell it."""
    title: str
    """As a person calls it."""
    key_bytes: int
    iv_bytes: int
    block_bytes: int
    """1 where it takes any number of bytes."""
    kernel: str
    """Its name in the kernel crypto API."""
    kind: Literal["skcipher", "aead"]
    """Its type there."""
    kernel_modules: tuple[str, ...]
    """What it stands on there: newer kernels build cbc upon ecb, and would load that by themselves, past the
    journal."""
    processor_modules: tuple[str, ...] = ()
    """What some kernels have for the processor's own instructions, and load along."""
    evp: str | None = None
    """OpenSSL's name."""
    legacy: bool = False
    """Whether only OpenSSL's legacy provider has it."""
    gnutls: str | None = None
    """GnuTLS's name."""
    esp: str | None = None
    """As ``ip xfrm`` spells it."""
    salt_bytes: int = 0
    """What ESP's key has more (RFC 4106, RFC 7634)."""
    tls: Mapping[tuple[TlsVersion, Integrity], CipherSuite] = field(default_factory=dict)
    """Its cipher suites."""
    ktls: str | None = None
    """The kernel's constant in linux/tls.h."""

    @property
    def modules(self) -> tuple[str, ...]:
        """What is loaded for it, of these what a kernel has."""
        return (*self.kernel_modules, *self.processor_modules)

    @property
    def aead(self) -> bool:
        """Whether it protects integrity by itself."""
        return self.kind == "aead"

    @property
    def tag_bytes(self) -> int:
        """Of its tag, in TLS, in ESP and of kernel crypto alike; 0 where it is no AEAD."""
        return TAG_BYTES if self.aead else 0

    @property
    def skcipher(self) -> str | None:
        """Its name in the kernel crypto API where it is a plain cipher: what AF_ALG schemes and SO_CRYPT take."""
        return None if self.aead else self.kernel

    @property
    def padded(self) -> bool:
        """Whether payloads of this cipher carry PKCS#7 padding."""
        return self.block_bytes > 1

    def tls_versions(self) -> list[TlsVersion]:
        """The versions of TLS that have it, newest first."""
        return sorted({version for version, _ in self.tls}, reverse=True)


EXCHANGE = "+SIGN-ALL:+GROUP-SECP256R1:+GROUP-X25519:+COMP-NULL"


def _cbc(gnutls: str, iana: str, openssl: str | None, integrity: Integrity, lighttpd: str | None = None) -> CipherSuite:
    mac = {"sha1": "SHA1", "sha256": "SHA256"}[integrity]
    return CipherSuite(
        version="1.2",
        iana=f"TLS_ECDHE_RSA_WITH_{iana}_{mac.replace('SHA1', 'SHA')}",
        openssl=f"{openssl}-{mac.replace('SHA1', 'SHA')}" if openssl else None,
        gnutls_priority=f"NONE:+VERS-TLS1.2:+{gnutls}:+{mac}:+ECDHE-RSA:{EXCHANGE}",
        libcurl=f"TLS1.2 / ECDHE_RSA_{iana}_{mac}",
        tag_bits=8 * AUTH_KEY_BYTES[integrity],
        lighttpd=lighttpd,
    )


def _aead(gnutls: str, iana: str, openssl: str, digest: str) -> dict[tuple[TlsVersion, Integrity], CipherSuite]:
    """Its cipher suites in TLS 1.3 and 1.2. ``sha1`` stands for their own integrity: an AEAD knows no other."""
    short = iana if iana.startswith("CHACHA20") else f"{iana}_{digest}"
    return {
        ("1.3", "sha1"): CipherSuite(
            version="1.3",
            iana=f"TLS_{iana}_{digest}",
            openssl=f"TLS_{iana}_{digest}",
            gnutls_priority=f"NONE:+VERS-TLS1.3:+{gnutls}:+AEAD:{EXCHANGE}",
            libcurl=f"TLS1.3 / ECDHE_RSA_{short}",
        ),
        ("1.2", "sha1"): CipherSuite(
            version="1.2",
            iana=f"TLS_ECDHE_RSA_WITH_{iana}_{digest}",
            openssl=openssl,
            gnutls_priority=f"NONE:+VERS-TLS1.2:+{gnutls}:+AEAD:+ECDHE-RSA:{EXCHANGE}",
            libcurl=f"TLS1.2 / ECDHE_RSA_{short}",
        ),
    }


def _aes_cbc(bits: int, tls: dict[tuple[TlsVersion, Integrity], CipherSuite]) -> Cipher:
    return Cipher(
        name=f"aes{bits}cbc", title=f"AES-{bits}-CBC", key_bytes=bits // 8, iv_bytes=16, block_bytes=16,
        kernel="cbc(aes)", kind="skcipher", kernel_modules=("ecb", "cbc", "aes_generic"),
        processor_modules=("aesni_intel", "aes_ce_blk"), evp=f"AES-{bits}-CBC",
        gnutls=f"AES-{bits}-CBC", esp="cbc(aes)", tls=tls,
    )  # fmt: skip


def _aes_gcm(bits: int, digest: str) -> Cipher:
    return Cipher(
        name=f"aes{bits}gcm", title=f"AES-{bits}-GCM", key_bytes=bits // 8, iv_bytes=12, block_bytes=1,
        kernel="gcm(aes)", kind="aead",
        kernel_modules=("crypto_null", "ctr", "ghash_generic", "aes_generic", "gcm"),
        processor_modules=("ghash_clmulni_intel", "aesni_intel", "ghash_ce", "aes_ce_blk"), evp=f"AES-{bits}-GCM",
        gnutls=f"AES-{bits}-GCM", esp="rfc4106(gcm(aes))", salt_bytes=4,
        tls=_aead(f"AES-{bits}-GCM", f"AES_{bits}_GCM", f"ECDHE-RSA-AES{bits}-GCM-{digest}", digest),
        ktls=f"TLS_CIPHER_AES_GCM_{bits}",
    )  # fmt: skip


CIPHERS = {
    cipher.name: cipher
    for cipher in (
        Cipher(
            name="des",
            title="DES",
            key_bytes=8,
            iv_bytes=8,
            block_bytes=8,
            kernel="cbc(des)",
            kind="skcipher",
            kernel_modules=("ecb", "cbc", "des_generic"),
            evp="DES-CBC",
            legacy=True,
            gnutls="DES-CBC",
            esp="cbc(des)",
        ),
        Cipher(
            name="3des",
            title="3DES",
            key_bytes=24,
            iv_bytes=8,
            block_bytes=8,
            kernel="cbc(des3_ede)",
            kind="skcipher",
            kernel_modules=("ecb", "cbc", "des_generic"),
            processor_modules=("des3_ede_x86_64",),
            evp="DES-EDE3-CBC",
            gnutls="3DES-CBC",
            esp="cbc(des3_ede)",
            # OpenSSL 3 is built without its 3DES cipher suites by Debian and others; GnuTLS still has them
            tls={("1.2", "sha1"): _cbc("3DES-CBC", "3DES_EDE_CBC", None, "sha1", lighttpd="3DES")},
        ),
        _aes_cbc(
            128,
            {
                ("1.2", "sha1"): _cbc("AES-128-CBC", "AES_128_CBC", "ECDHE-RSA-AES128", "sha1"),
                ("1.2", "sha256"): _cbc("AES-128-CBC", "AES_128_CBC", "ECDHE-RSA-AES128", "sha256"),
            },
        ),
        _aes_cbc(256, {("1.2", "sha1"): _cbc("AES-256-CBC", "AES_256_CBC", "ECDHE-RSA-AES256", "sha1")}),
        _aes_gcm(128, "SHA256"),
        _aes_gcm(256, "SHA384"),
        Cipher(
            name="chacha20poly1305",
            title="ChaCha20-Poly1305",
            key_bytes=32,
            iv_bytes=12,
            block_bytes=1,
            kernel="rfc7539(chacha20,poly1305)",
            kind="aead",
            kernel_modules=("chacha_generic", "poly1305_generic", "chacha20poly1305"),
            processor_modules=("chacha_x86_64", "poly1305_x86_64", "chacha_neon", "poly1305_neon"),
            evp="ChaCha20-Poly1305",
            gnutls="CHACHA20-POLY1305",
            esp="rfc7539esp(chacha20,poly1305)",
            salt_bytes=4,
            tls=_aead("CHACHA20-POLY1305", "CHACHA20_POLY1305", "ECDHE-RSA-CHACHA20-POLY1305", "SHA256"),
            ktls="TLS_CIPHER_CHACHA20_POLY1305",
        ),
        Cipher(
            name="null",
            title="null cipher",
            key_bytes=0,
            iv_bytes=0,
            block_bytes=1,
            kernel="ecb(cipher_null)",
            kind="skcipher",
            kernel_modules=("ecb", "crypto_null"),
            esp="ecb(cipher_null)",
        ),
    )
}


def cipher(name: str) -> Cipher:
    """The cipher called ``name``. Raises ConfigError naming the known ones."""
    try:
        return CIPHERS[name]
    except KeyError:
        names = ", ".join(sorted(CIPHERS))
        raise ConfigError(f"no cipher is called {name!r}", next_step=f"name one of: {names}") from None


def lengths(cipher_suite: str | None) -> dict[str, int | None]:
    """``key_bits`` and ``tag_bits`` of a cipher suite by OpenSSL's or libcurl's name; None where it is not known."""
    for row in CIPHERS.values():
        for listed in row.tls.values():
            if cipher_suite and cipher_suite in (listed.openssl, listed.libcurl):
                return {"key_bits": 8 * row.key_bytes, "tag_bits": listed.tag_bits}
    return {"key_bits": None, "tag_bits": None}
