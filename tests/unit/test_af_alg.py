"""Why a kernel has no algorithm for AF_ALG, by what hosts tell: restriction, modprobe.d, FIPS mode, configuration."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from harness.api.parameters import Parameters
from harness.ciphers.interfaces import AF_ALG
from harness.ciphers.table import CIPHERS
from harness.measuring import asked as profiles
from harness.servers import datapath, interfaces, requirements, so_crypt
from hosts import capabilities, kernel_config
from hosts.crypto import afalg
from hosts.crypto.afalg import AfAlg
from hosts.errors import Refusal
from hosts.facts import Facts
from hosts.onhost.agent import afalg as asked
from hosts.onhost.agent import files
from hosts.onhost.agent.afalg import RESTRICT
from hosts.onhost.agent.values import Change
from hosts.remote.changes import Scope
from tests.support.made import programs_of_today

ROOT = "Name:\tpython3\nUid:\t0\t0\t0\t0\nCapInh:\t0000000000000000\nCapEff:\t000001ffffffffff\nSeccomp:\t0\n"
"""/proc/self/status of root, shortened."""
USER = ROOT.replace("000001ffffffffff", "0000000000000000")
NET_ADMIN = ROOT.replace("000001ffffffffff", "0000000000001000")
NO_MODULES = ROOT.replace("000001ffffffffff", "000001fffffeffff")
"""A host of namespaces: all but CAP_SYS_MODULE."""
FIRST = "         0          0 4294967295\n"
"""/proc/self/uid_map in the first user namespace."""
LATER = "         0       1000          1\n"
UBUNTU = "install algif_aead /bin/false\ninstall algif-skcipher /usr/bin/false\n"
"""What ``modprobe -c`` prints of an Ubuntu's /etc/modprobe.d."""
BLACKLIST = "blacklist algif_aead\nblacklist af-alg\nblacklist pcspkr\n"
TRIPLE, NULL, GCM = "cbc(des3_ede)", "ecb(cipher_null)", "gcm(aes)"


def seen(**more: Any) -> AfAlg:
    host: dict[str, Any] = {
        "release": "7.3.4-pathproof",
        "restrict": "1\n",
        "fips": "",
        "status": ROOT,
        "uid_map": FIRST,
        "there": frozenset({"af_alg"}),
        "configured": "",
    }
    return afalg.seen(**host | more)


@pytest.mark.parametrize(
    ("more", "allowed", "refused"),
    [
        # as tried on 7.3.4, by root and by a user without capabilities
        ({}, (TRIPLE, "cbc(des)", "cbc(aes)", "ctr(aes)", "xts(aes)"), (NULL, "cbc(des3_ede-generic)")),
        ({"status": NET_ADMIN}, (TRIPLE, "xts(aes)"), (NULL,)),
        ({"status": USER}, ("xts(aes)",), (TRIPLE, "cbc(aes)", NULL)),
        ({"uid_map": LATER}, ("xts(aes)",), (TRIPLE, "cbc(aes)", NULL)),
        ({"uid_map": ""}, (TRIPLE, "xts(aes)"), (NULL,)),
        ({"uid_map": "", "status": USER}, ("xts(aes)",), (TRIPLE, "cbc(aes)", NULL)),
        ({"restrict": "0\n"}, (TRIPLE, NULL, "cbc(des3_ede-generic)"), ()),
        ({"restrict": "2\n"}, (), (TRIPLE, "xts(aes)")),
        # the file comes with the module: before that a new kernel's default is all there is
        ({"restrict": "", "there": frozenset()}, (TRIPLE,), (NULL,)),
        ({"restrict": "", "there": frozenset(), "release": "6.12.117"}, (TRIPLE, NULL), ()),
        ({"restrict": "", "there": frozenset(), "release": "10.0-rc1"}, (TRIPLE,), (NULL,)),
        # a kernel that has it loaded and tells nothing has no such setting
        ({"restrict": ""}, (TRIPLE, NULL), ()),
    ],
)
def test_the_lists_are_those_of_the_kernel(more: Any, allowed: tuple[str, ...], refused: tuple[str, ...]) -> None:
    found = seen(**more)
    assert [name for name in allowed if found.why_not("skcipher", name)] == []
    assert [name for name in refused if not found.why_not("skcipher", name)] == []


def test_each_reason_is_told_as_what_it_is() -> None:
    assert seen().why_not("aead", GCM) == (
        f"AF_ALG is restricted: crypto.af_alg_restrict is 1, and {GCM} is not on its list; "
        'af_alg = "unrestricted" in the profile lifts that for a run'
    )
    default = seen(restrict="", there=frozenset()).why_not("aead", GCM)
    assert "crypto.af_alg_restrict is 1, as this kernel has it by default" in str(default)
    assert "switched off: crypto.af_alg_restrict is 2" in str(seen(restrict="2").why_not("hash", "sha1"))
    assert "only for who has CAP_NET_ADMIN or CAP_SYS_ADMIN" in str(seen(status=USER).why_not("skcipher", TRIPLE))
    listed = seen(restrict="0", there=frozenset(), configured=BLACKLIST)
    assert "af_alg is not to be loaded (modprobe.d there: blacklist af_alg)" in str(listed.why_not("hash", "sha1"))
    loaded = seen(restrict="0", configured=BLACKLIST)
    assert loaded.blacklisted == {"algif_aead"}, "what is loaded is there, whatever the file says"
    assert loaded.why_not("skcipher", TRIPLE) is None
    fips = seen(restrict="0", fips="1\n")
    assert fips.why_not("skcipher", "cbc(des)") == (
        "the kernel is in FIPS mode (/proc/sys/crypto/fips_enabled is 1), which has no cbc(des)"
    )
    assert fips.why_not("skcipher", TRIPLE) is None, "some kernels have it, some do not"
    assert "FIPS mode" in str(fips.explain(TRIPLE))
    assert seen(restrict="0", fips="0\n").explain(TRIPLE) is None


def test_what_a_profile_lifts_is_the_restriction_and_nothing_else() -> None:
    lifted = seen(fips="1", configured="blacklist algif_skcipher").lifted()
    assert lifted.why_not("skcipher", NULL) is None
    assert lifted.why_not("skcipher", "cbc(des)") is not None


# what a kernel was configured with

DEBIAN = """\
CONFIG_CRYPTO_USER=m
# CONFIG_CRYPTO_USER_API_SKCIPHER is not set
CONFIG_CRYPTO_USER_API_AEAD=m
CONFIG_TLS=y
# CONFIG_TLS_DEVICE is not set
CONFIG_CRYPTO_DES=m
"""
"""The lines of a /boot/config-… that are asked for."""


def test_a_configuration_says_why_a_module_is_missing() -> None:
    config = kernel_config.parse(DEBIAN)
    assert (
        kernel_config.why_lacking("algif_skcipher", config) == " (it is built without CONFIG_CRYPTO_USER_API_SKCIPHER)"
    )
    assert kernel_config.why_lacking("algif-hash", config) == " (it is built without CONFIG_CRYPTO_USER_API_HASH)"
    assert (
        kernel_config.why_lacking("des_generic", config)
        == " (it has CONFIG_CRYPTO_DES=m, but the module is not installed)"
    )
    assert kernel_config.why_lacking("so_crypt", config) == ""
    assert kernel_config.builtin(config) == {"tls"}
    assert kernel_config.parse("") == {}, "who does not keep it says nothing"
    assert kernel_config.why_lacking("algif_skcipher", {}) == ""


# what a run and a check say


def host(role: str = "sender", **more: Any) -> Facts:
    modules = {"algif_skcipher", "algif_aead", "af_alg", *(m for row in CIPHERS.values() for m in row.kernel_modules)}
    return Facts(role, "7.3.4", programs_of_today(), frozenset(modules), built={so_crypt.MODULE: "/x"}, **more)


def test_a_path_gives_the_true_reason_before_anything_is_deployed() -> None:
    restricted, receiver = host(af_alg=seen()), host("receiver")
    assert datapath.unsupported_alg(Parameters(CIPHERS["3des"]), restricted, receiver) is None
    null = datapath.unsupported_alg(Parameters(CIPHERS["null"]), restricted, receiver)
    assert str(null).startswith("on the sender AF_ALG is restricted: crypto.af_alg_restrict is 1, and ecb(cipher_null)")
    named = datapath.unsupported_alg(Parameters(CIPHERS["3des"], "cbc-des3_ede-asm"), restricted, receiver)
    assert "cbc-des3_ede-asm is not on its list" in str(named)
    assert so_crypt.unsupported(Parameters(CIPHERS["null"]), restricted, receiver) is None, "it asks nobody's list"
    freed = replace(restricted, af_alg=restricted.af_alg.lifted())
    assert datapath.unsupported_alg(Parameters(CIPHERS["null"]), freed, receiver) is None


class Restricted:
    """A host whose kernel has AF_ALG loaded and restricted."""

    name, data_interface = "sender", "eth1"

    def __init__(self, level: str) -> None:
        self.level, self.host = level, self
        self.applied: list[Change] = []

    def read(self, paths: list[str]) -> dict[str, str | None]:
        return {path: self.level if path == RESTRICT else "af_alg 32768 1 - Live 0x0\n" for path in paths}

    def apply(self, change: Change) -> None:
        self.applied.append(change)


@pytest.mark.parametrize(("level", "own", "changes"), [("1", True, 1), ("0", True, 0), ("0", False, 0)])
def test_a_restriction_is_lifted_where_there_is_one(level: str, own: bool, changes: int) -> None:
    scope = Restricted(level)
    about = host(af_alg=seen(), own_kernel=own)
    assert profiles.made(cast(Scope, scope), about, {}, unrestricted=True, near=False).af_alg.level == afalg.FREE
    assert len(scope.applied) == changes


@pytest.mark.parametrize("level", ["1", "2"])
def test_a_restriction_of_all_who_share_a_kernel_is_left_alone(level: str) -> None:
    """Of two hosts that are namespaces nobody would be left to put it back after kill -9."""
    scope = Restricted(level)
    with pytest.raises(Refusal, match=f"crypto.af_alg_restrict is {level} for all who share that host's kernel"):
        profiles.made(cast(Scope, scope), host(af_alg=seen(), own_kernel=False), {}, unrestricted=True, near=False)
    assert scope.applied == []


@pytest.mark.parametrize(
    ("status", "uid_map", "loads"),
    [(ROOT, FIRST, True), (ROOT, "", True), (ROOT, LATER, False), (USER, FIRST, False), (NO_MODULES, FIRST, False)],
)
def test_who_may_load_modules_is_read_where_it_counts(status: str, uid_map: str, loads: bool) -> None:
    assert capabilities.holds(status, uid_map, capabilities.SYS_MODULE) == loads


def test_kernel_crypto_binds_drivers_by_name_which_no_list_has() -> None:
    assert "no list has the names of drivers" in str(interfaces.why_not(AF_ALG, CIPHERS["3des"], host(af_alg=seen())))
    assert interfaces.why_not(AF_ALG, CIPHERS["3des"], host(af_alg=seen(restrict="0"))) is None


def test_a_missing_module_is_told_with_its_option() -> None:
    lacking = replace(host(), modules=frozenset(), config=kernel_config.parse(DEBIAN))
    said = requirements.missing(lacking, None, sender_modules=("algif_skcipher", "cbc"))
    assert said == (
        "the sender's kernel 7.3.4 has no module algif_skcipher (it is built without CONFIG_CRYPTO_USER_API_SKCIPHER), "
        "cbc (it is built without CONFIG_CRYPTO_CBC)"
    )


@pytest.mark.parametrize(
    ("number", "level", "fips", "said"),
    [
        (2, "1", None, "crypto.af_alg_restrict is 1, and it is not on that list, or it has none, or no algif_aead"),
        (2, None, "1", "FIPS mode does not let it be used, or it has none, or no algif_aead"),
        (2, "0", "0", "it has none, or no algif_aead"),
        (97, "2", None, "crypto.af_alg_restrict is 2, which switches AF_ALG off"),
        (97, None, None, "it has no AF_ALG"),
        (13, "1", None, "Permission denied"),
    ],
)
def test_the_kernels_number_is_explained_by_what_else_it_says(
    monkeypatch: pytest.MonkeyPatch, number: int, level: str | None, fips: str | None, said: str
) -> None:
    told = {asked.RESTRICT: level, asked.FIPS: fips}
    monkeypatch.setattr(files, "read", told.__getitem__)
    assert asked.refusal(OSError(number, "Permission denied"), "aead") == said
