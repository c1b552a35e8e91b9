"""Published answers: for each cipher a key, an IV, a text, and what comes out, from the document that defines it.

A path or a driver that gives another answer is not that cipher, however fast it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Vector:
    """One known answer. Everything is hex; an AEAD's ``answer`` ends in its tag. ``cipher`` is the harness's name.

    ``kind`` is the kernel's: ``skcipher`` or ``aead``. There is no padding: texts are whole blocks.
    """

    cipher: str
    source: str
    kind: Literal["skcipher", "aead"]
    key: str
    iv: str
    aad: str
    text: str
    answer: str


def chained(text: str, answer: str, block_bytes: int) -> str:
    """The text that CBC with a zero IV enciphers to what ECB makes of ``text``, under the same key.

    CBC enciphers each block after XORing it with the previous block of cipher text: here that is done beforehand once
    more, so that it cancels.
    """
    plain, cipher = bytes.fromhex(text), bytes.fromhex(answer)
    previous = bytes(block_bytes) + cipher[:-block_bytes]
    return bytes(a ^ b for a, b in zip(plain, previous, strict=True)).hex()


SP800_67_KEY = "0123456789abcdef23456789abcdef01456789abcdef0123"
SP800_67_TEXT = "54686520717566636b2062726f776e20666f78206a756d70"
SP800_67_ANSWER = "a826fd8ce53b855fcce21c8112256fe668d5c05dd9b6b900"
"""Of ECB: the document has no example of CBC."""

_SP800_38A_TEXT = (
    "6bc1bee22e409f96e93d7e117393172a" "ae2d8a571e03ac9c9eb76fac45af8e51"
    "30c81c46a35ce411e5fbc1191a0a52ef" "f69f2445df4f9b17ad2b417be66c3710"
)  # fmt: skip
_GCM_TEXT = (
    "d9313225f88406e5a55909c5aff5269a" "86a7a9531534f7da2e4c303d8a318a72"
    "1c3c0c95956809532fcf0e2449a6b525" "b16aedf5aa0de657ba637b39"
)  # fmt: skip
_GCM_AAD = "feedfacedeadbeeffeedfacedeadbeefabaddad2"
_GCM_IV = "cafebabefacedbaddecaf888"

VECTORS = (
    Vector(
        cipher="des",
        source="FIPS 81 (1980), Appendix C (CBC)",
        kind="skcipher",
        key="0123456789abcdef",
        iv="1234567890abcdef",
        aad="",
        text="4e6f772069732074" "68652074696d6520" "666f7220616c6c20",
        answer="e5c7cdde872bf27c" "43e934008c389c0f" "683788499a7c05f6",
    ),
    Vector(
        cipher="3des",
        source="NIST SP 800-67 Rev. 1, Appendix B (ECB, turned into CBC with a zero IV)",
        kind="skcipher",
        key=SP800_67_KEY,
        iv="0000000000000000",
        aad="",
        text=chained(SP800_67_TEXT, SP800_67_ANSWER, 8),
        answer=SP800_67_ANSWER,
    ),
    Vector(
        cipher="aes128cbc",
        source="NIST SP 800-38A (2001), F.2.1",
        kind="skcipher",
        key="2b7e151628aed2a6abf7158809cf4f3c",
        iv="000102030405060708090a0b0c0d0e0f",
        aad="",
        text=_SP800_38A_TEXT,
        answer=(
            "7649abac8119b246cee98e9b12e9197d" "5086cb9b507219ee95db113a917678b2"
            "73bed6b8e3c1743b7116e69e22229516" "3ff1caa1681fac09120eca307586e1a7"
        ),
    ),
    Vector(
        cipher="aes256cbc",
        source="NIST SP 800-38A (2001), F.2.5",
        kind="skcipher",
        key="603deb1015ca71be2b73aef0857d7781" "1f352c073b6108d72d9810a30914dff4",
        iv="000102030405060708090a0b0c0d0e0f",
        aad="",
        text=_SP800_38A_TEXT,
        answer=(
            "f58c4c04d6e5f1ba779eabfb5f7bfbd6" "9cfc4e967edb808d679f777bc6702c7d"
            "39f23369a9d9bacfa530e26304231461" "b2eb05e2c39be9fcda6c19078c6a9d1b"
        ),
    ),
    Vector(
        cipher="aes128gcm",
        source="McGrew and Viega, The Galois/Counter Mode of Operation (2005), Test Case 4",
        kind="aead",
        key="feffe9928665731c6d6a8f9467308308",
        iv=_GCM_IV,
        aad=_GCM_AAD,
        text=_GCM_TEXT,
        answer=(
            "42831ec2217774244b7221b784d0d49c" "e3aa212f2c02a4e035c17e2329aca12e"
            "21d514b25466931c7d8f6a5aac84aa05" "1ba30b396a0aac973d58e091"
            "5bc94fbc3221a5db94fae95ae7121a47"
        ),
    ),
    Vector(
        cipher="aes256gcm",
        source="McGrew and Viega, The Galois/Counter Mode of Operation (2005), Test Case 16",
        kind="aead",
        key="feffe9928665731c6d6a8f9467308308" "feffe9928665731c6d6a8f9467308308",
        iv=_GCM_IV,
        aad=_GCM_AAD,
        text=_GCM_TEXT,
        answer=(
            "522dc1f099567d07f47f37a32a84427d" "643a8cdcbfe5c0c97598a2bd2555d1aa"
            "8cb08e48590dbb3da7b08b1056828838" "c5f61e6393ba7a0abcc9f662"
            "76fc6ece0f4e1768cddf8853bb2d551b"
        ),
    ),
    Vector(
        cipher="chacha20poly1305",
        source="RFC 8439 (2018), 2.8.2",
        kind="aead",
        key="808182838485868788898a8b8c8d8e8f" "909192939495969798999a9b9c9d9e9f",
        iv="070000004041424344454647",
        aad="50515253c0c1c2c3c4c5c6c7",
        text=(
            b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, "
            b"sunscreen would be it."
        ).hex(),
        answer=(
            "d31a8d34648e60db7b86afbc53ef7ec2" "a4aded51296e08fea9e2b5a736ee62d6"
            "3dbea45e8ca9671282fafb69da92728b" "1a71de0a9e060b2905d6a5b67ecd3b36"
            "92ddbd7f2d778b8c9803aee328091b58" "fab324e4fad675945585808b4831d7bc"
            "3ff4def08e4b7a9de576d26586cec64b" "6116"
            "1ae10b594f09e26a7e902ecbd0600691"
        ),
    ),
    Vector(
        cipher="null",
        source="the identity, by definition",
        kind="skcipher",
        key="",
        iv="",
        aad="",
        text="000102030405060708090a0b0c0d0e0f",
        answer="000102030405060708090a0b0c0d0e0f",
    ),
)  # fmt: skip
"""One for each cipher."""
