"""Prices: what programs say is read rightly, and each price is measured by the one way it has."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.api.parameters import Parameters
from harness.api.prices import Asked, Known, PriceSource
from harness.api.steps import Price, Steps
from harness.ciphers.table import CIPHERS
from harness.costs import prices
from harness.servers import datapath, esp, openssl
from hosts.errors import HarnessError
from hosts.facts import Facts
from hosts.onhost.agent.values import Costs, Result, Timed
from hosts.remote.host import RemoteHost
from tests.support.runs import PATHS

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
        (EVP, openssl.Speed(386041, 1.0)),
        (HMAC.replace("1.000000", "0.990000"), openssl.Speed(1529871, 0.99)),
        (EVP.replace("386041", "0"), None),
        (EVP.replace("1.000000", "0.000000"), None),
        (EVP.replace("+R:", "+G:"), None),
        (EVP.replace("1.000000", "inf"), None),
        ("", None),
        ("speed: Unknown algorithm rot13\n", None),
    ],
)
def test_openssl_speed_is_read_as_operations_and_seconds(text: str, speed: openssl.Speed | None) -> None:
    assert openssl.parse_speed(text) == speed


@given(st.text())
def test_other_text_is_no_result(text: str) -> None:
    if not re.search(r"^\+R:", text, re.MULTILINE):
        assert openssl.parse_speed(text) is None


class Here:
    """This machine, where a host is asked to run a command."""

    name = "here"

    def run(self, argv: list[str], timeout: float) -> Result:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False)
        return Result(done.returncode, done.stdout, done.stderr)


HERE = cast(RemoteHost, Here())
needs_openssl = pytest.mark.skipif(not shutil.which("openssl"), reason="the openssl program is not on this machine")


@needs_openssl
@pytest.mark.parametrize("cipher", ["des", "3des", "aes128gcm"])
def test_openssl_speed_of_this_machine_is_understood(cipher: str) -> None:
    row = CIPHERS[cipher]
    legacy = ["-provider", "legacy", "-provider", "default"] if row.legacy else []
    found = openssl.speed(HERE, [], [*legacy, "-evp", str(row.evp)], 1024)
    assert 10 < found.nanoseconds < 1e7, "of one operation on 1 KiB"
    assert round(found.seconds / openssl.SPEED_STEP_SECONDS, 6).is_integer()


@needs_openssl
def test_openssl_that_refuses_is_quoted() -> None:
    with pytest.raises(HarnessError, match=r"openssl speed -evp rot13 gave no result: .*rot13"):
        openssl.speed(HERE, [], ["-evp", "rot13"], 1024)


@needs_openssl
def test_openssl_speed_takes_the_environment() -> None:
    """More than the command itself is run: what hides instructions reaches it."""
    with pytest.raises(HarnessError, match="gave no result"):
        openssl.speed(HERE, ["env", "OPENSSL_MODULES=/nowhere"], ["-provider", "legacy", "-evp", "DES-CBC"], 1024)


@given(st.floats(0, 1e5), st.floats(0, 100), st.floats(0, 1e4), st.sampled_from(sorted(esp.HASH_CALLS.values())))
def test_a_digest_s_system_calls_are_not_the_kernel_s_own(call: float, byte: float, syscall: float, calls: int) -> None:
    asked = Costs(*(Timed(size, calls * syscall + call + byte * size) for size in (256, 16384)))
    found = esp.hash_price(asked, Price(syscall, 0.0), calls)
    assert found.call_ns == pytest.approx(call, rel=1e-6, abs=1e-2)
    assert found.byte_ns == pytest.approx(byte, rel=1e-6, abs=1e-6)
    assert esp.hash_price(asked, Price(1e9, 0.0), calls).call_ns < 0, "what came out is kept, though nothing costs that"


@pytest.mark.parametrize(("cipher", "hashes"), [("aes128gcm", 0), ("3des", 1)])
def test_an_aead_has_no_hash_beside_it(monkeypatch: pytest.MonkeyPatch, cipher: str, hashes: int) -> None:
    """Its rehearsal has one all the same, which is taken away again."""
    monkeypatch.setattr(esp, "kernel_hash", lambda *_: Price(5.0, 2.0))
    known = {"kernel_cipher": Price(100.0, 10.0), "syscall": Price(1.0, 0.0)}
    bench = cast(Any, SimpleNamespace(sender=1, receiver=2, on_sender=3, on_receiver=4))
    found = esp.PRICES.measure(Asked(bench, Parameters(CIPHERS[cipher]), {"esp", "receiver_esp"}, known))
    due = Price(100.0, 10.0 + hashes * 2.0)
    assert (found["esp"], found["receiver_esp"]) == (due, due)
    assert (found["esp_hash"], found["receiver_esp_hash"]) == (Price(0.0, 2.0), Price(0.0, 2.0))


BARE = Facts("sender", "6.12.1", {}, frozenset())
BUILT = replace(BARE, built={"devcrypto": "devcrypto.ko"})


@pytest.mark.parametrize(
    ("sender", "needed", "through"),
    [
        (BUILT, "read tcp_copy syscall count", ""),
        (BUILT, "kernel_cipher read", "/dev/crypto"),
        (BUILT, "devcrypto_copy kernel_cipher", "/dev/crypto"),
        (BUILT, "alg_send cipher", "AF_ALG"),
        (BUILT, "alg_send cipher kernel_cipher", "/dev/crypto AF_ALG"),
        (BARE, "kernel_cipher", "AF_ALG"),
        (BARE, "alg_sendfile kernel_cipher", "AF_ALG"),
        (BARE, "read", ""),
    ],
)
def test_an_interface_is_asked_only_for_prices_that_need_it(sender: Facts, needed: str, through: str) -> None:
    """AF_ALG's own are AF_ALG's, and the cipher's is the module's where that is there."""
    assert [one.name for one in datapath.asked_through(set(needed.split()), sender)] == through.split()


def test_a_price_says_by_which_interface_it_was_measured() -> None:
    for sender, by in ((BUILT, "/dev/crypto"), (BARE, "AF_ALG")):
        bench = cast(Any, SimpleNamespace(facts=sender, receiver_facts=BARE))
        asked = Asked(bench, Parameters(CIPHERS["3des"]), {"kernel_cipher", "read"}, {})
        called = datapath.PRICES.called(asked)
        assert called["kernel_cipher"] == f"the cipher, called within the kernel (by {by})"
        assert called["read"] == "read from the page cache"
        assert esp.PRICES.called(asked)["receiver_esp_hash"].endswith("(by AF_ALG)")


def test_what_was_measured_on_these_hosts_is_not_measured_again() -> None:
    asked: list[set[str]] = []
    known: dict[Known, Price] = {}
    one, nobody = source("a b", asked=asked), cast(Any, None)
    first = prices.measure(nobody, Parameters(CIPHERS["3des"]), [one], {"a"}, known)
    assert prices.measure(nobody, Parameters(CIPHERS["3des"], tls="1.3"), [one], {"a"}, known) == first
    assert asked == [{"a"}], "whatever is asked of TLS, a cipher costs the same"
    prices.measure(nobody, Parameters(CIPHERS["null"]), [one], {"a"}, known)
    prices.measure(nobody, Parameters(CIPHERS["3des"], driver="card"), [one], {"a"}, known)
    prices.measure(nobody, Parameters(CIPHERS["3des"], integrity="sha256"), [one], {"a"}, known)
    assert len(asked) == 4, "another cipher, driver or hash has its own price"


# which prices are measured, and in which order


def source(names: str, stands_on: str = "", asked: list[set[str]] | None = None) -> PriceSource:
    """A source whose prices are 1 ns more than all that it is shown together; what it is asked for is noted."""

    def measure(question: Asked) -> dict[str, Price]:
        if asked is not None:
            asked.append(set(question.needed))
        return dict.fromkeys(names.split(), Price(1.0 + sum(price.call_ns for price in question.known.values()), 0.0))

    return PriceSource(dict.fromkeys(names.split(), ""), measure, stands_on=frozenset(stands_on.split()))


def test_a_price_is_measured_after_those_that_it_stands_on() -> None:
    asked: list[set[str]] = []
    last, first = source("total", "part", asked), source("part other", asked=asked)
    known = prices.measure(cast(Any, None), Parameters(None), [last, first, last], {"total"})
    assert asked == [{"part"}, {"total"}], "only what is needed, and each source once"
    assert known == {"total": Price(3.0, 0.0)}, "1, and both prices below it"


def test_a_source_that_nothing_needs_is_not_asked() -> None:
    asked: list[set[str]] = []
    known = prices.measure(cast(Any, None), Parameters(None), [source("a"), source("b", "a", asked)], {"a"})
    assert (known, asked) == ({"a": Price(1.0, 0.0)}, [])


@pytest.mark.parametrize("name", PATHS)
def test_a_path_names_the_sources_of_its_steps(name: str) -> None:
    sources = PATHS[name].prices
    shown = {price: said for one in sources for price, said in one.names.items()}
    needed = {price for one in sources for price in one.stands_on}
    for cipher in CIPHERS.values():
        parameters = Parameters(None if PATHS[name].clear else cipher, tls=(cipher.tls_versions() or ["1.2"])[0])
        if not PATHS[name].impossible(parameters):
            needed |= (PATHS[name].steps(parameters) or Steps()).names()
    assert needed <= shown.keys() and all(shown.values())
    assert all(one.ciphering <= one.names.keys() for one in sources)
