"""The module devcrypto's header: the interface that programs for /dev/crypto were compiled with, and our own."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from hosts import modules

# as compiled programs have them on a 64-bit machine
USUAL = {
    "CRIOGET": 0xC0046365,
    "CIOCGSESSION": 0xC0306366,
    "CIOCFSESSION": 0x40046367,
    "CIOCCRYPT": 0xC0306368,
    "CIOCKEY": 0xC0906369,
    "CIOCASYMFEAT": 0x8004636A,
    "CIOCGSESSINFO": 0xC10C636B,
    "CIOCAUTHCRYPT": 0xC048636D,
    "CIOCASYNCCRYPT": 0x4030636E,
    "CIOCASYNCFETCH": 0x8030636F,
    "CIOCCPHASH": 0x40086370,
    "CRYPTO_3DES_CBC": 2,
    "CRYPTO_AES_CBC": 11,
    "CRYPTO_NULL": 16,
    "CRYPTO_AES_GCM": 50,
    "CRYPTO_RIPEMD160": 102,
    "CRYPTO_SHA2_256": 104,
    "CRYPTO_SHA2_224_HMAC": 107,
    "COP_FLAG_AEAD_SRTP_TYPE": 32,
    "COP_FLAG_RESET": 64,
}
OURS = {"DEVCRYPTO_SESSION": 0xC0A063C0, "DEVCRYPTO_INFO": 0xC0D863C1, "DEVCRYPTO_MAX_LEN": 262140}
OFFSETS = {
    ("session_op", "key"): 16,
    ("session_op", "mackey"): 32,
    ("session_op", "ses"): 40,
    ("session_info_op", "alignmask"): 260,
    ("crypt_op", "src"): 16,
    ("crypt_op", "iv"): 40,
    ("crypt_auth_op", "auth_src"): 16,
    ("crypt_auth_op", "tag"): 40,
    ("crypt_auth_op", "iv"): 56,
    ("devcrypto_session", "key"): 128,
    ("devcrypto_session", "ses"): 152,
    ("devcrypto_info", "most"): 156,
    ("devcrypto_info", "requests"): 160,
}


def compiled(source: Path) -> str:
    """What the compiler says of a program that includes the header."""
    command = ["cc", "-std=c11", "-Wall", "-Wextra", "-pedantic", "-Werror", "-fsyntax-only"]
    done = subprocess.run(
        [*command, "-I", str(modules.DEVCRYPTO), str(source)], capture_output=True, text=True, check=False
    )
    return done.stderr


def test_the_header_keeps_its_numbers_and_layouts(tmp_path: Path) -> None:
    source = tmp_path / "sizes.c"
    lines = ["#include <stddef.h>", '#include "devcrypto.h"']
    lines += [f'_Static_assert({name} == {value}, "{name}");' for name, value in {**USUAL, **OURS}.items()]
    lines += [
        f'_Static_assert(offsetof(struct {kind}, {member}) == {at}, "{kind}.{member}");'
        for (kind, member), at in OFFSETS.items()
    ]
    source.write_text("\n".join(lines) + "\n")
    assert compiled(source) == ""


def test_our_part_comes_after_the_usual_header_too(tmp_path: Path) -> None:
    source = tmp_path / "both.c"
    source.write_text(
        "#define L_CRYPTODEV_H\n"
        '#include "devcrypto.h"\n'
        "#ifdef CIOCGSESSION\n#error defined twice\n#endif\n"
        '_Static_assert(DEVCRYPTO_INFO == 0xC0D863C1, "info");\n'
    )
    assert compiled(source) == ""


@pytest.mark.parametrize("name", ["so_crypt", "devcrypto"])
def test_what_dkms_and_a_module_say_of_their_version_agrees(name: str) -> None:
    source = modules.MODULES / name
    dkms = re.search(r'PACKAGE_VERSION="([^"]+)"', (source / "dkms.conf").read_text())
    found = [re.search(r'MODULE_VERSION\("([^"]+)"\)', path.read_text()) for path in source.glob("*.c")]
    assert dkms is not None
    assert [match[1] for match in found if match] == [dkms[1]]


def test_missing_headers_say_for_which_module() -> None:
    assert "devcrypto cannot be built" in str(modules.no_headers("6.12.1-amd64", None, "sender", "devcrypto"))
