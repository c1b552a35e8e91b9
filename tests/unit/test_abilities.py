"""What a testbed can do, told before anything is measured: the command, and what it says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness import paths, profile, receiving
from harness.ciphers.table import CIPHERS
from harness.cli import abilities
from harness.run.answers import KERNEL_CRYPTO, Answer
from harness.run.answers import answers as answers_of
from hosts.crypto.accelerators import Device, Proof, Seen
from hosts.crypto.proc_crypto import Driver
from hosts.facts import Facts
from hosts.onhost.agent.values import FileCounter
from tests.support import commands
from tests.support.commands import HOSTS
from tests.support.made import programs_of_today

SOFT = Driver("cbc(aes)", "cbc-aes-aesni", "aesni_intel", "skcipher", 400, False, True, False, 16, 16, 32, 16, 1, False)
CARD = replace(SOFT, driver="virtio_crypto_aes_cbc", module="virtio_crypto", priority=150, asynchronous=True)
UNTESTED = replace(SOFT, algorithm="rsa", driver="virtio-crypto-rsa", passed=False, asynchronous=None)
UNKNOWN = replace(SOFT, driver="cbc-aes-new", priority=5, kernel_driver_only=True, internal=True)


def able(role: str, **changed: object) -> Facts:
    """A host that has everything."""
    programs = programs_of_today()
    ciphers = [module for cipher in CIPHERS.values() for module in cipher.kernel_modules]
    modules = ["algif_skcipher", "algif_aead", "tls", "xfrm_user", "esp4", *ciphers]
    facts = Facts(role=role, kernel="6.12", programs=programs, modules=frozenset(modules))
    return replace(facts, **changed)  # type: ignore[arg-type]


def answers(sender: Facts, built: bool = False, name: str = "gigabit-3des") -> dict[tuple[str, str], Answer]:
    asked = profile.load(name), receiving.beside(paths.discover())
    found = answers_of(*asked, sender, able("receiver"), built=built, shapes=True)
    return {(answer.suite, answer.path): answer for answer in found}


def test_every_path_of_every_suite_is_answered() -> None:
    for name in sorted(path.stem for path in profile.PROFILES.glob("*.toml")):
        wanted = profile.load(name)
        found = answers(able("sender"), name=name)
        assert set(found) == {
            (suite.name, path)
            for suite in wanted.suites
            for path in (
                [f"{KERNEL_CRYPTO} by {interface}" for interface in suite.interfaces]
                if isinstance(suite, profile.CryptoSuite)
                else suite.paths
            )
        }


def test_a_host_with_everything_runs_all_but_what_no_host_can() -> None:
    found = answers(able("sender", built={"so_crypt": "/x.ko", "devcrypto": "/y.ko"}), built=True)
    cannot = {name for name, answer in found.items() if str(answer) != "can run"}
    assert {path for _, path in cannot} == {"ktls", "ktls-write", "https"}
    assert [suite for suite, path in cannot if path == "https"] == ["small-files-resumed"], "lighttpd does not log it"
    assert str(found["large-files", "ktls"]).startswith("cannot run: the kernel's TLS has no 3DES")
    assert found["large-files", "http"].cipher == "none"


def test_a_module_that_nobody_tried_to_build_is_neither_there_nor_a_reason() -> None:
    found = answers(able("sender"))
    assert str(found["schemes", "so-crypt"]).startswith("can run once so_crypt is built")
    tried = answers(able("sender", not_built={"so_crypt": "no headers"}), built=True)
    assert str(tried["schemes", "so-crypt"]) == "cannot run: the kernel module so_crypt is not there: no headers"


def test_what_is_missing_is_said_path_by_path() -> None:
    programs = able("sender").programs | {"nginx": None}
    found = answers(able("sender", programs=programs, modules=frozenset({"xfrm_user", "esp4"})))
    assert "the sender has no nginx" in str(found["large-files", "http"])
    assert "has no module algif_skcipher" in str(found["schemes", "afalg-copy"])
    assert str(found["large-files", "https"]) == "can run"
    assert "has no module ecb, cbc, des_generic" in str(found["schemes", "so-crypt"]), "built or not"


def test_a_profile_is_told_suite_by_suite() -> None:
    wanted = profile.load("gigabit-3des")
    found = answers_of(
        wanted, receiving.beside(paths.discover()), able("sender"), able("receiver"), built=False, shapes=True
    )
    lines = abilities.of_profile(wanted, found)
    later = sum(bool(answer.unbuilt) for answer in found)
    now = sum(str(answer) == "can run" for answer in found)
    assert 0 < now < len(found) - later
    assert lines[0] == f"profile gigabit-3des: {now} of {len(found)} paths can run, {later} more once built"
    assert "  suite schemes: 3DES, driver any" in lines
    assert len(lines) == 1 + len(wanted.suites) + len(found)


def test_an_unknown_path_is_an_answer() -> None:
    wanted = profile.load("servers")
    found = answers_of(wanted, {}, able("sender"), able("receiver"), built=False, shapes=True)
    assert {str(answer) for answer in found} == {
        "cannot run: no data path is called http here",
        "cannot run: no data path is called plain here",
    }


def test_a_host_is_described() -> None:
    device = Device("virtio-crypto", "virtio", "virtio4", "20", "virtio_crypto")
    other = Device("qat", "pci", "0000:6b:01.0", "8086:4941", None, True, {"state": "up"}, {"queries_sent": 7})
    proofs = {
        "qat": Proof({}, None, "no debugfs"),
        "virtio-crypto": Proof({"virtio-crypto interrupts 33": FileCounter("/x", r"(\d+)")}, "interrupts"),
    }
    facts = able(
        "sender",
        drivers=(CARD, SOFT, UNTESTED, UNKNOWN),
        accelerators=Seen((device, other), proofs),
        programs={"nginx": "nginx/1.26", "tc": None},
        shown={"os": "Debian"},
    )
    assert abilities.of_host(facts, 0) == [
        "sender: Debian, kernel 6.12, root",
        "  programs:",
        "    nginx  nginx/1.26",
        "    tc     missing",
        "  crypto drivers now (* is what the kernel takes for the algorithm's name; modules bring more):",
        "    *  cbc(aes)  cbc-aes-aesni          priority 400  module aesni_intel    synchronous",
        "       cbc(aes)  virtio_crypto_aes_cbc  priority 150  module virtio_crypto  asynchronous, "
        "card: virtio crypto device",
        "       cbc(aes)  cbc-aes-new            priority 5    module aesni_intel    synchronous, internal, "
        "hardware of a kind not in the table",
        "       rsa       virtio-crypto-rsa      priority 400  module aesni_intel    self-test not passed, "
        "card: virtio crypto device",
        "  crypto cards:",
        "    virtio4 virtio crypto device (20), driver virtio_crypto",
        "    0000:6b:01.0 Intel QuickAssist (8086:4941), no driver bound to it, virtual function, state up, "
        "heartbeat queries_sent 7",
        "    Intel QuickAssist: nothing proves its use: no debugfs",
        "    virtio crypto device: its use is proved by virtio-crypto interrupts 33",
    ]
    assert "user 1000: no IPsec" in abilities.of_host(facts, 1000)[0]
    assert abilities.of_host(able("sender"), 0)[-1] == "  crypto cards: none found"


# ------------------------------------------------------------------------------------- the command


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--testbed", "nope"), "no testbed is called 'nope'\n  next: name one of: auto, lab"),
        (("--testbed", "none.toml"), "cannot read the testbed none.toml: No such file or directory"),
        (("--profile", "nope"), "no profile is called 'nope'\n  next: name one of: "),
        (("--what",), "unrecognized arguments: --what"),
    ],
)
def test_bad_input_is_told_once_with_status_2(options: tuple[str, ...], message: str) -> None:
    done = commands.abilities(*options)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.count(message) == 1, done.stderr
    assert "Traceback" not in done.stderr


def test_a_host_that_cannot_be_reached_is_told_once_with_status_1(tmp_path: Path, closed_port: int) -> None:
    known = tmp_path / "known_hosts"
    known.touch()
    opened = tmp_path / "opened.toml"
    opened.write_text(HOSTS.format(port=closed_port, known=known, more=""))
    done = commands.abilities("--testbed", str(opened))
    assert done.returncode == 1
    assert done.stderr.count(f"sender: cannot connect to 127.0.0.1 port {closed_port}: Connection refused") == 1
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
