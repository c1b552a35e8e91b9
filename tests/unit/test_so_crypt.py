"""The module so_crypt: how it is built and, in the lab, whether it does what its header says."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from hosts import modules


@pytest.mark.parametrize(
    ("os_name", "step"),
    [
        ("Debian GNU/Linux 13 (trixie)", "apt-get install linux-headers-6.12.1-amd64"),
        ("Fedora Linux 42", "dnf install kernel-devel-6.12.1-amd64"),
        (None, "install the headers of the kernel 6.12.1-amd64 as is done on that system"),
    ],
)
def test_missing_headers_are_named(os_name: str | None, step: str) -> None:
    assert modules.no_headers("6.12.1-amd64", os_name, "sender").next_step == step


def test_the_header_serves_user_space_and_keeps_its_sizes(tmp_path: Path) -> None:
    """160 and 168 bytes, options 1 to 4 of level 21315: what programs were compiled with stays true."""
    source = tmp_path / "sizes.c"
    source.write_text(
        '#include "so_crypt.h"\n'
        '_Static_assert(sizeof(struct so_crypt_set) == 160, "set");\n'
        '_Static_assert(sizeof(struct so_crypt_info) == 168, "info");\n'
        '_Static_assert(SOL_SO_CRYPT == 21315 && SO_CRYPT_SET == 1 && SO_CRYPT_INFO == 2, "numbers");\n'
        '_Static_assert(SO_CRYPT_SET_RX == 3 && SO_CRYPT_INFO_RX == 4, "of what is received");\n'
        '_Static_assert(SO_CRYPT_PAD_NONE == 0 && SO_CRYPT_PAD_ZERO == 1 && SO_CRYPT_PAD_PKCS7 == 2, "pads");\n'
    )
    command = ["cc", "-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror", "-I", str(modules.SO_CRYPT)]
    done = subprocess.run(
        [*command, "-std=c11", "-fsyntax-only", str(source)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
