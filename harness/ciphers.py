"""One table: a cipher's names in every place that names it, and its sizes.

Adding a cipher is adding a row. A name that a place does not have is None: a path that needs it is then
``unsupported`` for that cipher, with the reason built from the field's description.
"""

from __future__ import annotations

from dataclasses import dataclass

from hosts.errors import ConfigError


@dataclass(frozen=True)
class Cipher:
    """A cipher by all its names.

    ``skcipher``: kernel crypto API (AF_ALG, SO_CRYPT); ``kernel_modules`` what it stands on there (newer kernels build
    cbc upon ecb, and would load that by themselves, past the journal). ``xfrm_enc``/``xfrm_auth``: ESP algorithms as
    ``ip xfrm`` spells them, with key sizes in bytes. ``gnutls_priority``: a GnuTLS priority string that leaves
    exactly one TLS suite; ``tls_suite`` is version and suite as libcurl reports them of GnuTLS, ``iana`` as the IANA
    registry spells it. ``ktls``: the kernel's constant in linux/tls.h. ``evp``: OpenSSL's name, used to check payloads.
    """

    name: str
    title: str
    key_bytes: int
    iv_bytes: int
    block_bytes: int
    skcipher: str | None = None
    kernel_modules: tuple[str, ...] = ()
    evp: str | None = None
    xfrm_enc: str | None = None
    xfrm_auth: str | None = None
    xfrm_auth_key_bytes: int = 0
    gnutls_priority: str | None = None
    gnutls_cipher_string: str | None = None
    tls_suite: str | None = None
    iana: str | None = None
    ktls: str | None = None

    @property
    def padded(self) -> bool:
        """Whether payloads of this cipher carry PKCS#7 padding."""
        return self.block_bytes > 1


def _tls12(cipher: str, mac: str) -> str:
    return f"NONE:+VERS-TLS1.2:+{cipher}:+{mac}:+ECDHE-RSA:+SIGN-ALL:+GROUP-SECP256R1:+GROUP-X25519:+COMP-NULL"


CIPHERS = {
    cipher.name: cipher
    for cipher in (
        Cipher(
            name="3des",
            title="3DES-EDE-CBC",
            key_bytes=24,
            iv_bytes=8,
            block_bytes=8,
            skcipher="cbc(des3_ede)",
            kernel_modules=("ecb", "cbc", "des_generic"),
            evp="DES-EDE3-CBC",
            xfrm_enc="cbc(des3_ede)",
            xfrm_auth="hmac(sha1)",
            xfrm_auth_key_bytes=20,
            gnutls_priority=_tls12("3DES-CBC", "SHA1"),
            gnutls_cipher_string="3DES",
            tls_suite="TLS1.2 / ECDHE_RSA_3DES_EDE_CBC_SHA1",
            iana="TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
        ),
        Cipher(
            name="aes128cbc",
            title="AES-128-CBC",
            key_bytes=16,
            iv_bytes=16,
            block_bytes=16,
            skcipher="cbc(aes)",
            kernel_modules=("ecb", "cbc", "aes_generic"),
            evp="AES-128-CBC",
            xfrm_enc="cbc(aes)",
            xfrm_auth="hmac(sha1)",
            xfrm_auth_key_bytes=20,
            gnutls_priority=_tls12("AES-128-CBC", "SHA1"),
            gnutls_cipher_string="AES128",
            tls_suite="TLS1.2 / ECDHE_RSA_AES_128_CBC_SHA1",
            iana="TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
        ),
        Cipher(
            name="null",
            title="null cipher",
            key_bytes=0,
            iv_bytes=0,
            block_bytes=1,
            skcipher="ecb(cipher_null)",
            kernel_modules=("ecb", "crypto_null"),
            xfrm_enc="ecb(cipher_null)",
            xfrm_auth="hmac(sha1)",
            xfrm_auth_key_bytes=20,
        ),
    )
}


def cipher(name: str) -> Cipher:
    """The cipher called ``name``. Raises ConfigError naming the known ones."""
    try:
        return CIPHERS[name]
    except KeyError:
        known = ", ".join(sorted(CIPHERS))
        raise ConfigError(f"no cipher is called {name!r}", next_step=f"name one of: {known}") from None
