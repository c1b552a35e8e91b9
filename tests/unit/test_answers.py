"""Known answers: published ones, OpenSSL's, and what is said where something cannot be asked."""

from __future__ import annotations

import ctypes.util
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.ciphers import vectors
from harness.ciphers.vectors import VECTORS, Vector
from hosts.onhost.agent import afalg, devcrypto, evp, gnutls, kernel_ciphers
from tests.support.agent_process import LocalAgent
from tests.support.known_ciphers import NAMES

unhex = bytes.fromhex
every = pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.cipher)
enciphering = pytest.mark.parametrize("vector", [v for v in VECTORS if v.key], ids=lambda vector: vector.cipher)
authenticating = pytest.mark.parametrize("vector", [v for v in VECTORS if v.kind == "aead"], ids=lambda v: v.cipher)


def openssl(vector: Vector, encrypt: bool = True) -> str:
    name = NAMES[vector.cipher].evp
    assert name
    text = vector.text if encrypt else vector.answer
    try:
        return evp.answer(name, unhex(vector.key), unhex(vector.iv), unhex(text), unhex(vector.aad), encrypt).hex()
    except evp.EvpError as error:
        if "no legacy provider" in str(error):
            pytest.skip(str(error))
        raise


# the table


def test_there_is_one_answer_for_each_cipher() -> None:
    assert sorted(vector.cipher for vector in VECTORS) == sorted(NAMES)


@every
def test_a_vector_is_whole(vector: Vector) -> None:
    for text in (vector.key, vector.iv, vector.aad, vector.text, vector.answer):
        assert unhex(text).hex() == text
    tag = evp.TAG if vector.kind == "aead" else 0
    assert len(unhex(vector.answer)) == len(unhex(vector.text)) + tag
    assert bool(vector.aad) == (vector.kind == "aead")


@enciphering
def test_openssl_gives_the_published_answer(vector: Vector) -> None:
    assert openssl(vector) == vector.answer
    assert openssl(vector, encrypt=False) == vector.text


@enciphering
def test_one_bit_makes_another_answer(vector: Vector) -> None:
    """So that the test above can fail: nothing of a vector is without effect."""
    for field in ("key", "iv", "text") + (("aad",) if vector.aad else ()):
        flipped = bytearray(unhex(getattr(vector, field)))
        flipped[-1] ^= 0x80  # not the lowest bit: in a DES key that is parity
        changed: dict[str, Any] = {field: flipped.hex()}
        assert openssl(replace(vector, **changed)) != vector.answer


def test_the_published_answer_of_3des_is_that_of_ecb() -> None:
    key, text = unhex(vectors.SP800_67_KEY), unhex(vectors.SP800_67_TEXT)
    assert evp.answer("DES-EDE3", key, b"", text).hex() == vectors.SP800_67_ANSWER
    assert text.decode() == "The qufck brown fox jump"


@given(key=st.binary(min_size=16, max_size=16), text=st.binary(min_size=16, max_size=160))
def test_ecb_turned_into_cbc(key: bytes, text: bytes) -> None:
    text = text[: len(text) // 16 * 16]
    answer = evp.answer("AES-128-ECB", key, b"", text)
    chained = unhex(vectors.chained(text.hex(), answer.hex(), 16))
    assert evp.answer("AES-128-CBC", key, bytes(16), chained) == answer


@authenticating
def test_a_wrong_tag_is_an_error_that_says_so(vector: Vector) -> None:
    for damaged in (vector.answer[:-2] + "00", "00" + vector.answer[2:]):
        with pytest.raises(evp.WrongTagError, match="the tag is wrong"):
            openssl(replace(vector, answer=damaged), encrypt=False)
    with pytest.raises(evp.WrongTagError, match="the tag is wrong"):
        openssl(replace(vector, aad="00"), encrypt=False)
    with pytest.raises(evp.EvpError, match="2 bytes are too few for a tag of 16"):
        openssl(replace(vector, answer="0000"), encrypt=False)


# OpenSSL's EVP


@given(text=st.binary(max_size=100), key=st.binary(min_size=16, max_size=16), cuts=st.lists(st.integers(1, 40)))
def test_pieces_are_enciphered_as_the_whole(text: bytes, key: bytes, cuts: list[int]) -> None:
    with evp.Cipher("AES-128-CBC", key, bytes(16), encrypt=True, padding=True) as whole:
        expected = whole.update(text) + whole.final()
    got, rest = b"", text
    with evp.Cipher("AES-128-CBC", key, bytes(16), encrypt=True, padding=True) as pieces:
        for cut in cuts:
            got += pieces.update(rest[:cut])
            rest = rest[cut:]
        got += pieces.update(rest) + pieces.final()
    assert got == expected
    with evp.Cipher("AES-128-CBC", key, bytes(16), encrypt=False, padding=True) as back:
        assert back.update(got) + back.final() == text


@pytest.mark.parametrize("name", ["AES-128-GCM", "ChaCha20-Poly1305", "AES-128-CBC"])
def test_the_largest_text(name: str) -> None:
    text, iv = os.urandom(128 * 1024), os.urandom(16 if "CBC" in name else 12)
    key = os.urandom(32 if "20" in name else 16)
    answer = evp.answer(name, key, iv, text)
    assert answer[: len(text)] != text
    assert evp.answer(name, key, iv, answer, encrypt=False) == text


REFUSED_BY_OPENSSL: dict[str, Callable[[], object]] = {
    "OpenSSL here has no ROT13": lambda: evp.answer("ROT13", b"", b"", b""),
    "a key of 16 and an IV of 16 bytes, not 15 and 16": lambda: evp.answer("AES-128-CBC", bytes(15), bytes(16), b""),
    "a key of 16 and an IV of 12 bytes, not 16 and 0": lambda: evp.answer("AES-128-GCM", bytes(16), b"", b""),
    "no whole blocks": lambda: evp.answer("AES-128-CBC", bytes(16), bytes(16), b"x"),
    "does not authenticate": lambda: evp.answer("AES-128-CBC", bytes(16), bytes(16), b"", b"aad"),
    "1048576 are the most": lambda: evp.answer("AES-128-CBC", bytes(16), bytes(16), bytes(evp.CHUNK + 1)),
    "needs a tag": lambda: evp.Cipher("AES-128-GCM", bytes(16), bytes(12), encrypt=False, padding=False),
}


@pytest.mark.parametrize("said", REFUSED_BY_OPENSSL)
def test_what_openssl_refuses_is_said(said: str) -> None:
    with pytest.raises(evp.EvpError, match=re.escape(said)):
        REFUSED_BY_OPENSSL[said]()


def test_openssl_without_its_legacy_provider_says_so(tmp_path: Path) -> None:
    code = "from hosts.onhost.agent import evp; evp.answer('DES-CBC', bytes(8), bytes(8), bytes(8))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"OPENSSL_MODULES": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.splitlines()[-1].endswith("EvpError: OpenSSL here has no DES-CBC, and no legacy provider")


# the kernel's, where nothing of the kernel's is needed


@given(st.binary(min_size=1, max_size=40), st.data())
def test_the_first_byte_that_differs_is_named(one: bytes, data: st.DataObject) -> None:
    assert kernel_ciphers.difference(one, one) is None
    place = data.draw(st.integers(0, len(one) - 1))
    other = bytearray(one)
    other[place] ^= data.draw(st.integers(1, 255))
    tail = bytes(data.draw(st.binary(min_size=len(one) - place - 1, max_size=len(one) - place - 1)))
    said = kernel_ciphers.difference(bytes(other[: place + 1]) + tail, one)
    assert said == f"byte {place} of {len(one)} is {other[place]:#04x}, not {one[place]:#04x}"
    assert kernel_ciphers.difference(one[:place], one) == f"{place} bytes instead of {len(one)}"


BLOCK = bytes(16)
REFUSED_BY_THE_KERNEL: dict[str, Callable[[], object]] = {
    "hash is neither skcipher nor aead": lambda: afalg.answer("hash", "sha1", b"", b"", b"x"),
    "a skcipher does not authenticate": lambda: afalg.answer("skcipher", "cbc(aes)", BLOCK, BLOCK, BLOCK, b"aad"),
    "cbc(aes): no text": lambda: afalg.answer("skcipher", "cbc(aes)", BLOCK, BLOCK, b""),
    "131072 and 4096 are the most": lambda: afalg.answer("skcipher", "cbc(aes)", BLOCK, BLOCK, bytes(1 << 18)),
    "the kernel gives no skcipher rot13(aes): ": lambda: afalg.answer("skcipher", "rot13(aes)", b"", b"", b"x"),
}


@pytest.mark.parametrize("said", REFUSED_BY_THE_KERNEL)
def test_what_cannot_be_asked_of_a_kernel_is_said(said: str) -> None:
    with pytest.raises(afalg.AlgError, match=re.escape(said)):
        REFUSED_BY_THE_KERNEL[said]()


def test_a_python_or_a_kernel_without_af_alg_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "AF_ALG")
    with pytest.raises(afalg.AlgError, match=r"the kernel gives no skcipher cbc\(aes\): this Python has no AF_ALG"):
        afalg.answer("skcipher", "cbc(aes)", bytes(16), bytes(16), bytes(16))


@pytest.mark.skipif(Path("/dev/crypto").exists(), reason="this machine has /dev/crypto")
def test_a_kernel_without_the_module_says_so() -> None:
    said = r"/dev/crypto gives no skcipher cbc\(aes\): it is not there"
    with pytest.raises(afalg.AlgError, match=said):
        kernel_ciphers.answer("/dev/crypto", "skcipher", "cbc(aes)", bytes(16), bytes(16), bytes(16))
    with pytest.raises(afalg.AlgError, match="no text"):
        devcrypto.answer("skcipher", "cbc(aes)", bytes(16), bytes(16), b"")


def test_the_module_s_structures_are_as_its_header_has_them() -> None:
    """Sizes and numbers that the header says; tests/unit/test_devcrypto.py compares the header with the compiler's."""
    sizes = {devcrypto.Session: 160, devcrypto.Crypt: 48, devcrypto.Authenticated: 72}
    assert {kind: ctypes.sizeof(kind) for kind in sizes} == sizes


# GnuTLS


gnutls_here = pytest.mark.skipif(not ctypes.util.find_library("gnutls"), reason="GnuTLS is not on this machine")


@gnutls_here
@pytest.mark.parametrize(
    ("cipher", "mac"),
    [
        *(("3DES-CBC", "SHA1"), ("AES-128-CBC", "SHA1"), ("AES-256-CBC", "SHA256"), ("AES-128-CBC", None)),
        *(("AES-128-GCM", None), ("CHACHA20-POLY1305", None)),
    ],
)
def test_what_a_record_costs(cipher: str, mac: str | None) -> None:
    cost = gnutls.cost(cipher, mac, 16384, 0.05)
    assert (cost.small.size_bytes, cost.large.size_bytes) == (256, 16384)
    assert 0 < cost.small.usual_ns < cost.large.usual_ns


@gnutls_here
@pytest.mark.parametrize(
    ("said", "cipher", "mac", "size", "seconds"),
    [
        ("GnuTLS here has no cipher ROT13", "ROT13", None, 16384, 0.1),
        ("GnuTLS here has no MAC CRC", "AES-128-CBC", "CRC", 16384, 0.1),
        ("16380 bytes are no whole blocks of AES-128-CBC", "AES-128-CBC", None, 16380, 0.1),
        ("AES-128-GCM authenticates by itself", "AES-128-GCM", "SHA1", 16384, 0.1),
        ("a record of 256 bytes", "AES-128-CBC", None, 256, 0.1),
        ("0 seconds", "AES-128-CBC", None, 16384, 0.0),
    ],
)
def test_what_gnutls_cannot_time_is_said(said: str, cipher: str, mac: str | None, size: int, seconds: float) -> None:
    with pytest.raises(ValueError, match=said):
        gnutls.cost(cipher, mac, size, seconds)


@gnutls_here
def test_instructions_are_masked_before_gnutls_is_loaded_and_not_after(agent: LocalAgent) -> None:
    """Both libraries tell on standard error, when they are loaded, what they will use."""
    talk = {"NETTLE_FAT_VERBOSE": "1", "GNUTLS_DEBUG_LEVEL": "3"}
    mask = {"GNUTLS_CPUID_OVERRIDE": "0x1", "NETTLE_FAT_OVERRIDE": "vendor:other"}
    agent.client.set_environment(talk | mask)
    done = agent.client.run(["sh", "-c", "echo $GNUTLS_CPUID_OVERRIDE"], timeout=10.0)
    assert done.stdout == "0x1\n", "what it starts inherits it"
    assert agent.errors() == ""
    agent.client.gnutls_cost("AES-128-CBC", "SHA1", 16384, 0.02)
    said = agent.errors()
    assert "Enabled GnuTLS" in said
    assert " was detected" not in said
    assert not re.search(r"^libnettle: using ", said, re.MULTILINE)
    assert "GnuTLS is loaded already" in agent.refusal(agent.client.set_environment, mask)


@gnutls_here
def test_what_is_masked_was_in_use(agent: LocalAgent) -> None:
    if "aes" not in Path("/proc/cpuinfo").read_text().split():
        pytest.skip("this processor has no AES instructions")
    agent.client.set_environment({"NETTLE_FAT_VERBOSE": "1", "GNUTLS_DEBUG_LEVEL": "3"})
    agent.client.gnutls_cost("AES-128-CBC", "SHA1", 16384, 0.02)
    assert re.search(r"AES.* was detected", agent.errors())


def test_answers_by_the_agent_are_hex(agent: LocalAgent) -> None:
    said = agent.refusal(agent.client.alg_answer, "skcipher", "rot13", "", "", "00", "", encrypt=True)
    assert "the kernel gives no skcipher rot13" in said
    agent.client.ping()
