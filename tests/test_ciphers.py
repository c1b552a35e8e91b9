"""The table of ciphers: its rows are consistent, and the libraries of this machine agree with it."""

from __future__ import annotations

import ctypes
import ctypes.util
import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.bench import new_key
from harness.ciphers import CIPHERS, Cipher, cipher
from harness.paths import _datapath
from hosts.agent import fetch
from hosts.errors import ConfigError

rows = pytest.mark.parametrize("row", CIPHERS.values(), ids=CIPHERS)
enciphering = pytest.mark.parametrize("row", [row for row in CIPHERS.values() if row.evp], ids=lambda row: row.name)
tls = pytest.mark.parametrize("row", [row for row in CIPHERS.values() if row.tls_suite], ids=lambda row: row.name)


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
    assert (row.xfrm_enc is None) == (row.xfrm_auth is None) == (row.xfrm_auth_key_bytes == 0)
    assert len({field is None for field in (row.gnutls_priority, row.gnutls_cipher_string, row.tls_suite)}) == 1
    assert row.iv_bytes in (0, row.block_bytes)
    assert row.padded == (row.block_bytes > 1)
    assert (row.evp is None) == (row.key_bytes == 0), "what enciphers can be checked"


@rows
def test_every_key_is_new_and_not_shown(row: Cipher) -> None:
    key, other = new_key(row), new_key(row)
    assert (len(key.key), len(key.iv)) == (2 * row.key_bytes, 2 * row.iv_bytes)
    assert row.key_bytes == 0 or key.key != other.key
    assert row.key_bytes == 0 or key.key not in repr(key)


@tls
def test_libcurl_and_the_registry_mean_the_same_suite(row: Cipher) -> None:
    assert row.tls_suite
    assert row.iana
    version, suite = row.tls_suite.split(" / ")
    assert version == "TLS1.2"
    exchange, _, rest = suite.removeprefix("ECDHE_").partition("_")
    assert row.iana == f"TLS_ECDHE_{exchange}_WITH_{rest.removesuffix('1')}"


@tls
def test_gnutls_counts_exactly_one_suite(row: Cipher) -> None:
    if not ctypes.util.find_library("gnutls"):
        pytest.skip("GnuTLS is not on this machine")
    assert row.gnutls_priority
    offered = fetch.offered(row.gnutls_priority)
    assert len(offered) == 1
    with pytest.raises(ValueError, match="does not understand"):
        fetch.offered(row.gnutls_priority + ":+NO-SUCH-THING")


@enciphering
def test_openssl_has_the_same_sizes(row: Cipher) -> None:
    library = ctypes.CDLL(ctypes.util.find_library("crypto") or "libcrypto.so.3")
    library.EVP_CIPHER_fetch.restype = ctypes.c_void_p
    fetched = ctypes.c_void_p(library.EVP_CIPHER_fetch(None, str(row.evp).encode(), None))
    assert fetched.value, f"OpenSSL here has no {row.evp}"
    sizes = [library[f"EVP_CIPHER_get_{size}"](fetched) for size in ("key_length", "iv_length", "block_size")]
    assert sizes == [row.key_bytes, row.iv_bytes, row.block_bytes]


def encipher(row: Cipher, key: str, iv: str, plain: bytes) -> bytes:
    """With the openssl program, which knows nothing of this harness."""
    argv = ["openssl", "enc", "-e", f"-{row.evp}".lower(), "-K", key, "-iv", iv]
    return subprocess.run(argv, input=plain, capture_output=True, check=True).stdout


@enciphering
@pytest.mark.parametrize("size", [0, 1, 15, 16, 4096, fetch.CHUNK + 5, 3 * fetch.CHUNK])
def test_a_payload_is_deciphered_and_checked(tmp_path: Path, row: Cipher, size: int) -> None:
    if not shutil.which("openssl"):
        pytest.skip("the openssl program is not on this machine")
    made, plain = new_key(row), bytes(range(251)) * (size // 251 + 1)
    plain = plain[:size]
    sent = encipher(row, made.key, made.iv, plain)
    assert len(sent) == _datapath.padded(row, size)
    file = tmp_path / "payload"
    file.write_bytes(sent + b"what an earlier, longer transfer left")
    how = {"evp": str(row.evp), "key": made.key, "iv": made.iv}
    for _ in range(2):  # the second time it is known
        assert fetch.digest(str(file), len(sent), how)["sha256"] == hashlib.sha256(plain).hexdigest()
    assert fetch.digest(str(file), len(sent))["sha256"] == hashlib.sha256(sent).hexdigest()


@enciphering
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
            found = fetch.digest(str(file), count, {"evp": str(row.evp), "key": key, "iv": iv})["sha256"]
        except fetch.PayloadError as error:
            found = str(error)
        assert found != right
    assert fetch.digest(str(file), len(sent), {"evp": str(row.evp), "key": made.key, "iv": made.iv})["sha256"] == right


def test_a_cipher_that_openssl_does_not_have_is_named(tmp_path: Path) -> None:
    (tmp_path / "payload").write_bytes(b"x" * 16)
    with pytest.raises(fetch.PayloadError, match="OpenSSL here has no ROT13"):
        fetch.digest(str(tmp_path / "payload"), 16, {"evp": "ROT13", "key": "", "iv": ""})


@rows
@given(size=st.integers(0, 10**9))
def test_padding_fills_up_to_whole_blocks_and_adds_at_least_a_byte(row: Cipher, size: int) -> None:
    wire = _datapath.padded(row, size)
    if row.padded:
        assert wire % row.block_bytes == 0
        assert 1 <= wire - size <= row.block_bytes
    else:
        assert wire == size
    assert _datapath.padded(None, size) == size
