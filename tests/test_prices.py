"""Prices: what programs say is read rightly, and each price is measured by the one way it has."""

from __future__ import annotations

import re
import shutil
import subprocess
from contextlib import ExitStack
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import prices
from harness.bed import Bed
from harness.bench import load
from harness.ceiling import Price
from harness.ciphers import CIPHERS
from harness.explain import CIPHERING
from harness.setup import Setup
from hosts.changes import Scope
from hosts.errors import HarnessError
from hosts.remote import AgentError, RemoteHost, Result
from tests.campaigns import PATHS

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
    ("text", "speed"),
    [
        (EVP, prices.Speed(386041, 1.0)),
        (HMAC.replace("1.000000", "0.990000"), prices.Speed(1529871, 0.99)),
        (EVP.replace("386041", "0"), None),
        (EVP.replace("1.000000", "0.000000"), None),
        (EVP.replace("+R:", "+G:"), None),
        (EVP.replace("1.000000", "inf"), None),
        ("", None),
        ("speed: Unknown algorithm rot13\n", None),
    ],
)
def test_openssl_speed_is_read_as_operations_and_seconds(text: str, speed: prices.Speed | None) -> None:
    assert prices.parse_speed(text) == speed


@given(st.text())
def test_other_text_is_no_result(text: str) -> None:
    if not re.search(r"^\+R:", text, re.MULTILINE):
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
    found = prices.speed(HERE, [], [*legacy, "-evp", str(row.evp)], 1024)
    assert 10 < found.nanoseconds < 1e7, "of one operation on 1 KiB"
    assert round(found.seconds / prices.SPEED_STEP_SECONDS, 6).is_integer()


@needs_openssl
def test_openssl_that_refuses_is_quoted() -> None:
    with pytest.raises(HarnessError, match=r"openssl speed -evp rot13 gave no result: .*rot13"):
        prices.speed(HERE, [], ["-evp", "rot13"], 1024)


@needs_openssl
def test_openssl_speed_takes_the_environment() -> None:
    """More than the command itself is run: what hides instructions reaches it."""
    with pytest.raises(HarnessError, match="gave no result"):
        prices.speed(HERE, ["env", "OPENSSL_MODULES=/nowhere"], ["-provider", "legacy", "-evp", "DES-CBC"], 1024)


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


# on the lab


@pytest.mark.lab
@pytest.mark.parametrize(("name", "digest"), [("hmac(sha1)", 20), ("hmac(sha256)", 32), ("sha256", 32)])
def test_the_kernel_s_hash_is_timed_for_few_bytes_and_many(bed: Bed, name: str, digest: int) -> None:
    with Scope(bed.sender) as scope:
        load(bed.sender, scope, "algif_hash", "hmac", "sha1_generic", "sha256_generic")
        told = bed.sender.call("hash_cost", name=name, seconds=0.2)
    small, large = told["small"], told["large"]
    assert (small["bytes"], large["bytes"]) == (256, 16384)
    assert small["digest_bytes"] == large["digest_bytes"] == digest
    assert 0 < small["min_ns"] < large["min_ns"]
    assert min(small["repetitions"], large["repetitions"]) >= 20


@pytest.mark.lab
def test_a_hash_that_the_kernel_does_not_have_is_named(bed: Bed) -> None:
    with Scope(bed.sender) as scope:
        load(bed.sender, scope, "algif_hash")
        with pytest.raises(AgentError, match=r"the kernel gives no hash hmac\(rot13\)"):
            bed.sender.call("hash_cost", name="hmac(rot13)", seconds=0.2)
        with pytest.raises(AgentError, match="0 seconds"):
            bed.sender.call("hash_cost", name="sha256", seconds=0)


@pytest.mark.lab
@pytest.mark.parametrize(
    "setup",
    [Setup(CIPHERS["aes128gcm"], tls="1.3"), Setup(CIPHERS["aes128cbc"], integrity="sha256"), Setup(CIPHERS["3des"])],
    ids=lambda setup: setup.cipher.name,
)
def test_every_step_of_every_path_that_is_possible_has_its_price(bed: Bed, setup: Setup) -> None:
    # the QAT engine's price is that of its own encryption: there is none where it hands out OpenSSL's
    mine = [path for name, path in PATHS.items() if name != "https-qat" and not path.clear]
    steps = [path.steps(setup) for path in mine if not path.impossible(setup)]
    needed = {name for found in steps if found for name in found.names()}
    with ExitStack() as stack:
        known = prices.measure(bed.bench("prices", stack), setup, needed)
    assert set(known) == needed
    assert all(price.call_ns >= 0 for price in known.values())
    assert all(price.byte_ns > 0 for name, price in known.items() if name in CIPHERING)
    if setup.cipher and not setup.cipher.aead:
        assert known["esp"].byte_ns > known["kernel_cipher"].byte_ns, "the cipher and its hash"
