"""The table of ciphers: its rows are consistent, and the libraries of this machine agree with it."""

from __future__ import annotations

import ctypes
import ctypes.util
import hashlib
import re
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.api.bench import new_key
from harness.ciphers.table import CIPHERS, Cipher, CipherSuite, cipher, lengths
from harness.servers import datapath
from hosts.errors import ConfigError
from hosts.onhost.agent import cipher_suites as offers
from hosts.onhost.agent import fetch
from hosts.onhost.agent.values import Decipher

rows = pytest.mark.parametrize("row", CIPHERS.values(), ids=CIPHERS)
streaming = pytest.mark.parametrize(
    "row", [row for row in CIPHERS.values() if row.evp and not row.aead], ids=lambda row: row.name
)
CIPHER_SUITES = {listed.iana: (row, listed) for row in CIPHERS.values() for listed in row.tls.values()}
cipher_suites = pytest.mark.parametrize(("row", "cipher_suite"), CIPHER_SUITES.values(), ids=CIPHER_SUITES)

NUMBERS = {
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA": 0xC012,
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": 0xC013,
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": 0xC014,
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256": 0xC027,
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": 0xC02F,
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": 0xC030,
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": 0xCCA8,
    "TLS_AES_128_GCM_SHA256": 0x1301,
    "TLS_AES_256_GCM_SHA384": 0x1302,
    "TLS_CHACHA20_POLY1305_SHA256": 0x1303,
}
"""RFC 8422, RFC 5289, RFC 7905, RFC 8446: what goes over the wire for a cipher suite."""


@rows
def test_a_row_is_found_by_its_name(row: Cipher) -> None:
    assert CIPHERS[row.name] is row
    assert cipher(row.name) is row


def test_an_unknown_cipher_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigError) as caught:
        cipher("rot13")
    assert caught.value.what == "no cipher is called 'rot13'"
    assert all(name in str(caught.value.next_step) for name in CIPHERS)


@rows
def test_names_that_belong_together_are_all_there_or_none(row: Cipher) -> None:
    assert row.padded == (row.block_bytes > 1)
    assert (row.evp is None) == (row.key_bytes == 0), "what enciphers can be checked"
    assert (row.skcipher is None) == row.aead
    assert row.aead == (row.salt_bytes > 0), "ESP's key of an AEAD has a salt"
    assert row.kernel_modules
    if row.aead:
        assert (row.iv_bytes, row.block_bytes) == (12, 1)
        assert row.esp
        assert row.esp.startswith("rfc")
        assert row.tls_versions() == ["1.3", "1.2"]
    else:
        assert row.iv_bytes in (0, row.block_bytes)
        assert row.esp == row.kernel
        assert row.ktls is None, "linux/tls.h has AEADs only"
        assert row.tls_versions() in ([], ["1.2"]), "TLS 1.3 has AEADs only"


@rows
def test_a_cipher_suite_stands_where_its_version_and_integrity_say(row: Cipher) -> None:
    for (version, integrity), cipher_suite in row.tls.items():
        assert cipher_suite.version == version
        if not row.aead:
            assert cipher_suite.iana.endswith({"sha1": "_SHA", "sha256": "_SHA256"}[integrity])


def test_kernel_tls_has_the_constants_of_its_header(tmp_path: Path) -> None:
    header = Path("/usr/include/linux/tls.h")
    if not header.exists():
        pytest.skip("linux/tls.h is not on this machine")
    text = header.read_text()
    known = {row.name: row.ktls for row in CIPHERS.values() if row.ktls}
    assert set(known) == {"aes128gcm", "aes256gcm", "chacha20poly1305"}
    for name in known.values():
        assert re.search(rf"^#define {name}\s", text, re.MULTILINE)


@rows
def test_every_key_is_new_and_not_shown(row: Cipher) -> None:
    key, other = new_key(row), new_key(row)
    assert (len(key.key), len(key.iv)) == (2 * row.key_bytes, 2 * row.iv_bytes)
    assert row.key_bytes == 0 or key.key != other.key
    assert row.key_bytes == 0 or key.key not in repr(key)


class _GnuTls:
    """GnuTLS by itself: which cipher suites a priority string leaves, by the numbers that go over the wire."""

    def __init__(self) -> None:
        name = ctypes.util.find_library("gnutls")
        if not name:
            pytest.skip("GnuTLS is not on this machine")
        self._library = ctypes.CDLL(name)
        self._library.gnutls_cipher_suite_info.restype = ctypes.c_char_p

    def numbers(self, priority: str) -> list[int]:
        cache, index = ctypes.c_void_p(), ctypes.c_uint()
        assert self._library.gnutls_priority_init(ctypes.byref(cache), priority.encode(), None) == 0
        found = []
        for place in range(500):
            if self._library.gnutls_priority_get_cipher_suite_index(cache, place, ctypes.byref(index)) == 0:
                number = (ctypes.c_ubyte * 2)()
                self._library.gnutls_cipher_suite_info(index, number, None, None, None, None)
                found.append(number[0] << 8 | number[1])
        self._library.gnutls_priority_deinit(cache)
        return found


@cipher_suites
def test_gnutls_counts_this_cipher_suite_alone_for_its_priority_string(row: Cipher, cipher_suite: CipherSuite) -> None:
    assert _GnuTls().numbers(cipher_suite.gnutls_priority) == [NUMBERS[cipher_suite.iana]]
    assert len(offers._by_gnutls(cipher_suite.gnutls_priority)) == 1
    with pytest.raises(ValueError, match="does not understand"):
        offers._by_gnutls(cipher_suite.gnutls_priority + ":+NO-SUCH-THING")


def test_a_priority_string_that_leaves_more_is_counted_so() -> None:
    cipher_suite = CIPHERS["aes128gcm"].tls["1.2", "sha1"]
    assert len(_GnuTls().numbers(cipher_suite.gnutls_priority + ":+AES-256-GCM")) == 2
    assert len(offers._by_gnutls(cipher_suite.gnutls_priority + ":+AES-256-GCM")) == 2


@cipher_suites
def test_openssl_means_the_same_cipher_suite(row: Cipher, cipher_suite: CipherSuite) -> None:
    """By the number that goes over the wire; 3DES is lighttpd's and GnuTLS's."""
    if cipher_suite.openssl is None:
        assert cipher_suite.lighttpd
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if cipher_suite.version == "1.2":
        context.set_ciphers(f"{cipher_suite.openssl}:@SECLEVEL=0")
    mine = next(cipher for cipher in context.get_ciphers() if cipher["name"] == cipher_suite.openssl)
    tag = 128 if mine["aead"] else {"sha1": 160, "sha256": 256}[str(mine["digest"])]
    assert lengths(cipher_suite.openssl) == {"key_bits": mine["alg_bits"], "tag_bits": tag}
    found = {cipher["name"]: cipher["id"] & 0xFFFF for cipher in context.get_ciphers()}
    assert found[cipher_suite.openssl] == NUMBERS[cipher_suite.iana]
    if cipher_suite.version == "1.2":
        assert [name for name, number in found.items() if number >> 8 != 0x13] == [cipher_suite.openssl]


@cipher_suites
def test_a_cipher_suite_s_lengths_are_found_by_either_name(row: Cipher, cipher_suite: CipherSuite) -> None:
    assert lengths(cipher_suite.libcurl) == {"key_bits": 8 * row.key_bytes, "tag_bits": cipher_suite.tag_bits}
    for unknown in (None, "", cipher_suite.iana + "_X", cipher_suite.libcurl[:-1]):
        assert lengths(unknown) == {"key_bits": None, "tag_bits": None}


@cipher_suites
def test_libcurl_names_version_and_cipher_suite(row: Cipher, cipher_suite: CipherSuite) -> None:
    """GnuTLS's words for exchange, cipher and MAC; it says SHA1 where the registry says SHA."""
    version, name = cipher_suite.libcurl.split(" / ")
    assert version == f"TLS{cipher_suite.version}"
    assert name.startswith("ECDHE_RSA_")
    words = cipher_suite.iana.removeprefix("TLS_").removeprefix("ECDHE_RSA_WITH_")
    said = name.removeprefix("ECDHE_RSA_")
    assert words.startswith(said) or said == words + "1"


@rows
def test_openssl_has_the_same_sizes(row: Cipher) -> None:
    if not row.evp:
        return
    library = ctypes.CDLL(ctypes.util.find_library("crypto") or "libcrypto.so.3")
    for name in ("EVP_CIPHER_fetch", "OSSL_PROVIDER_load", "OSSL_LIB_CTX_new"):
        getattr(library, name).restype = ctypes.c_void_p
    library.OSSL_PROVIDER_load.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    library.EVP_CIPHER_fetch.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p]
    context = library.OSSL_LIB_CTX_new()
    assert library.OSSL_PROVIDER_load(context, b"default")
    usual = library.EVP_CIPHER_fetch(context, row.evp.encode(), None)
    assert bool(usual) == (not row.legacy), "legacy: what the default provider has not"
    if row.legacy and not library.OSSL_PROVIDER_load(context, b"legacy"):
        pytest.skip("OpenSSL's legacy provider is not on this machine")
    fetched = ctypes.c_void_p(usual or library.EVP_CIPHER_fetch(context, row.evp.encode(), None))
    assert fetched.value, f"OpenSSL here has no {row.evp}"
    sizes = [library[f"EVP_CIPHER_get_{size}"](fetched) for size in ("key_length", "iv_length", "block_size")]
    assert sizes == [row.key_bytes, row.iv_bytes, row.block_bytes]


def encipher(row: Cipher, key: str, iv: str, plain: bytes) -> bytes:
    """With the openssl program, which knows nothing of this harness."""
    legacy = ["-provider", "legacy", "-provider", "default"] if row.legacy else []
    argv = ["openssl", "enc", "-e", f"-{row.evp}".lower(), "-K", key, "-iv", iv, *legacy]
    return subprocess.run(argv, input=plain, capture_output=True, check=True).stdout


@streaming
@pytest.mark.parametrize("size", [0, 1, 15, 16, 4096, fetch.PIECE + 5, 3 * fetch.PIECE])
def test_a_payload_is_deciphered_and_checked(tmp_path: Path, row: Cipher, size: int) -> None:
    if not shutil.which("openssl"):
        pytest.skip("the openssl program is not on this machine")
    made, plain = new_key(row), bytes(range(251)) * (size // 251 + 1)
    plain = plain[:size]
    sent = encipher(row, made.key, made.iv, plain)
    assert len(sent) == datapath.padded(row, size)
    file = tmp_path / "payload"
    file.write_bytes(sent + b"what an earlier, longer transfer left")
    how = Decipher(str(row.evp), made.key, made.iv)
    assert fetch.digest(file, len(sent), how) == hashlib.sha256(plain).hexdigest()
    assert fetch.digest(file, len(sent)) == hashlib.sha256(sent).hexdigest()


@streaming
def test_a_payload_under_another_key_or_cut_off_is_never_right(tmp_path: Path, row: Cipher) -> None:
    if not shutil.which("openssl"):
        pytest.skip("the openssl program is not on this machine")
    made, other, plain = new_key(row), new_key(row), b"payload" * 1000
    sent = encipher(row, made.key, made.iv, plain)
    file = tmp_path / "payload"
    file.write_bytes(sent)
    right = hashlib.sha256(plain).hexdigest()
    for key, iv, count in (
        (other.key, made.iv, len(sent)),
        (made.key, other.iv, len(sent)),
        (made.key, made.iv, len(sent) - row.block_bytes),
        (made.key, made.iv, len(sent) - 1),
        (made.key, made.iv, len(sent) + 1),
    ):
        try:
            found = fetch.digest(file, count, Decipher(str(row.evp), key, iv))
        except fetch.PayloadError as error:
            found = str(error)
        assert found != right
    assert fetch.digest(file, len(sent), Decipher(str(row.evp), made.key, made.iv)) == right


def test_a_cipher_that_openssl_does_not_have_is_named(tmp_path: Path) -> None:
    (tmp_path / "payload").write_bytes(b"x" * 16)
    with pytest.raises(fetch.PayloadError, match="OpenSSL here has no ROT13"):
        fetch.digest(tmp_path / "payload", 16, Decipher("ROT13", "", ""))


@rows
@given(size=st.integers(0, 10**9))
def test_padding_fills_up_to_whole_blocks_and_adds_at_least_a_byte(row: Cipher, size: int) -> None:
    wire = datapath.padded(row, size)
    if row.padded:
        assert wire % row.block_bytes == 0
        assert 1 <= wire - size <= row.block_bytes
    else:
        assert wire == size
    assert datapath.padded(None, size) == size
