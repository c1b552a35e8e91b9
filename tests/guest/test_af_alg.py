"""AF_ALG as a guest's kernel really restricts it: foretold before it is loaded, lifted, put back.

On the lab's usual kernel there is nothing to lift; ``--guests lab-7-3`` has a kernel that restricts it.
"""

from __future__ import annotations

import pytest

from harness.measuring import asked
from hosts.facts import Facts
from hosts.lab.kinds import Parts
from hosts.onhost.agent.afalg import RESTRICT
from hosts.remote.agent import AgentError
from hosts.remote.changes import Scope
from hosts.remote.foresight import foresight
from hosts.remote.host import RemoteHost

KEY, IV, TEXT = "00" * 24, "00" * 8, "ab" * 16
MODULES = ("des_generic", "cbc", "ecb", "crypto_null", "algif_skcipher")
TRIED = {"cbc(des3_ede)": (KEY, IV), "ecb(cipher_null)": ("", ""), "cbc(des3_ede-generic)": (KEY, IV)}


def denied(host: RemoteHost) -> dict[str, str]:
    """What AF_ALG does not give, and why, by trying."""
    found = {}
    for name, (key, iv) in TRIED.items():
        try:
            host.agent.alg_answer("skcipher", name, key, iv, TEXT, "", True)
        except AgentError as error:
            found[name] = error.what
    return found


def foretold(about: Facts) -> set[str]:
    return {name for name in TRIED if about.af_alg.why_not("skcipher", name)}


def level(host: RemoteHost) -> str | None:
    return (host.read([RESTRICT])[RESTRICT] or "").strip() or None


def test_what_a_kernel_restricts_is_foretold_lifted_and_put_back(
    released: tuple[Parts, RemoteHost], about: Facts
) -> None:
    _, host = released
    restricts = tuple(map(int, about.kernel.split(".")[:2])) >= (7, 3)
    assert host.run(["modprobe", "--all", *MODULES]).ok
    try:
        assert set(denied(host)) == foretold(about) == (set(TRIED) - {"cbc(des3_ede)"} if restricts else set())
        assert all("crypto.af_alg_restrict is 1" in why for why in denied(host).values())
        before = level(host)
        assert before == ("1" if restricts else None)
        with foresight(host) as seen, Scope(host) as scope:
            asked.made(scope, about, {}, unrestricted=True, near=False)
        assert [one.change.what for one in seen.changes] == (["crypto.af_alg_restrict 0"] if restricts else [])
        assert level(host) == before
        with Scope(host) as scope:
            free = asked.made(scope, about, {}, unrestricted=True, near=False)
            assert denied(host) == {}
            assert foretold(free) == set()
            assert level(host) == ("0" if restricts else None)
        assert level(host) == before
        assert set(denied(host)) == foretold(about)
    finally:
        host.run(["modprobe", "--remove", "--all", "algif_skcipher", "af_alg"])


@pytest.mark.parametrize("module", ["algif_hash", "cbc"])
def test_what_the_kernel_was_configured_with_is_known(about: Facts, module: str) -> None:
    if not about.config:
        pytest.skip("this guest does not keep its kernel's configuration")
    assert about.config["CRYPTO_USER_API_SKCIPHER"] == "m"
    assert about.lacking((module,)) == []
