"""Prices: what programs say is read rightly, and each price is measured by the one way it has."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import prices
from harness.ceiling import Price
from harness.ciphers import CIPHERS
from harness.setup import Setup
from hosts.errors import HarnessError
from hosts.remote import RemoteHost, Result

EVP = """+DT:AES-128-GCM:1:16384
+R:386041:AES-128-GCM:1.000000
+H:16384
+F:24:AES-128-GCM:6324895744.00
"""
HMAC = """+DT:hmac(sha1):1:256
+R:1529871:hmac(sha1):1.000000
+H:256
+F:6:hmac(sha1):391646976.00
"""


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        (EVP, 6324895744.0),
        (HMAC, 391646976.0),
        (EVP.replace("6324895744.00", "0.00"), None),
        (EVP.replace("+F:", "+G:"), None),
        (EVP.replace("6324895744.00", "inf"), None),
        ("", None),
        ("speed: Unknown algorithm rot13\n", None),
    ],
)
def test_openssl_speed_is_read_as_bytes_per_second(text: str, rate: float | None) -> None:
    assert prices.parse_speed(text) == rate


@given(st.text())
def test_other_text_is_no_rate(text: str) -> None:
    if not re.search(r"^\+F:", text, re.MULTILINE):
        assert prices.parse_speed(text) is None


class Here:
    """This machine, where a host is asked to run a command."""

    name = "here"

    def run(self, argv: list[str], timeout: float) -> Result:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False)
        return Result(tuple(argv), done.returncode, done.stdout, done.stderr, 0.0)


HERE = cast(RemoteHost, Here())
needs_openssl = pytest.mark.skipif(not shutil.which("openssl"), reason="the openssl program is not on this machine")


@needs_openssl
@pytest.mark.parametrize("cipher", ["des", "3des", "aes128gcm"])
def test_openssl_speed_of_this_machine_is_understood(cipher: str) -> None:
    row = CIPHERS[cipher]
    legacy = ["-provider", "legacy", "-provider", "default"] if row.legacy else []
    took = prices.speed_ns(HERE, [], [*legacy, "-evp", str(row.evp)], 1024)
    assert 10 < took < 1e7, "nanoseconds of one operation on 1 KiB"


@needs_openssl
def test_openssl_that_refuses_is_quoted() -> None:
    with pytest.raises(HarnessError, match=r"openssl speed -evp rot13 gave no result: .*rot13"):
        prices.speed_ns(HERE, [], ["-evp", "rot13"], 1024)


@needs_openssl
def test_openssl_speed_takes_the_environment() -> None:
    """More than the command itself is run: what hides instructions reaches it."""
    with pytest.raises(HarnessError, match="gave no result"):
        prices.speed_ns(HERE, ["env", "OPENSSL_MODULES=/nowhere"], ["-provider", "legacy", "-evp", "DES-CBC"], 1024)


@given(st.floats(0, 1e5), st.floats(0, 100), st.floats(0, 1e4))
def test_a_digest_s_system_calls_are_not_the_kernel_s_own(call: float, byte: float, syscall: float) -> None:
    asked = {
        name: {"bytes": size, "min_ns": 2 * syscall + call + byte * size}
        for name, size in (("small", 256), ("large", 16384))
    }
    found = prices.hash_price(asked, Price(syscall, 0.0))
    assert found.call_ns == pytest.approx(call, rel=1e-6, abs=1e-2)
    assert found.byte_ns == pytest.approx(byte, rel=1e-6, abs=1e-6)
    assert prices.hash_price(asked, Price(1e9, 0.0)).call_ns == 0.0


def test_an_aead_has_no_hash_beside_it() -> None:
    nobody: Any = None
    assert prices._kernel_hash(nobody, nobody, Setup(CIPHERS["aes128gcm"]), Price(1.0, 0.0)) == Price(0.0, 0.0)
