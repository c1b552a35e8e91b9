"""TLS in user space and in the kernel, on the lab: measured by the right witness, and never a number when sabotaged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.api.bench import Bench
from harness.api.path import Deployed
from harness.api.prices import LARGE
from harness.ciphers.table import CIPHERS
from harness.measuring.opened import MASK, OpenTestbed
from harness.servers.openssl import speed
from tests.support.lab import shell
from tests.support.runs import WITHOUT_KTLS, by_path, counting, profile_of, reconfigured, run, samples_of, suite

AEADS = [name for name, row in CIPHERS.items() if row.aead]
KERNEL = {"https": 0, "ktls-write": 1, "ktls": 1}
"""Connections that the kernel's TLS takes over, of one."""


@pytest.mark.parametrize("version", ["1.3", "1.2"])
@pytest.mark.parametrize("cipher", AEADS)
def test_every_aead_in_user_space_and_in_the_kernel(
    opened: OpenTestbed, tmp_path: Path, cipher: str, version: str
) -> None:
    """All three are measured; the server's log names the cipher suite, the kernel counts connections."""
    asked: list[str | None] = []

    def ask(bench: Bench, deployed: dict[str, Deployed]) -> None:
        how = deployed["https"]
        assert how.tls
        asked.append(bench.receiver.agent.agreed_cipher_suite(how.url("x"), how.tls))

    done = run(opened, profile_of(suite(*KERNEL, cipher=cipher, tls=version)), tmp_path, ask)
    table = {found.version: found for found in CIPHERS[cipher].tls.values()}[version]  # type: ignore[index]
    assert asked == [table.libcurl], "the table has libcurl's words for it"
    for path, cell in by_path(done).items():
        assert cell.outcome == "measured", cell.reason
        samples = samples_of(done, path)
        assert counting(samples) == 2
        for sample in samples:
            assert sample.valid
            assert sample.sha256_ok
            said = sample.witness
            assert (said["suite"], said["tls"]) == (table.openssl, version)
            assert (said["key_bits"], said["tag_bits"]) == (8 * CIPHERS[cipher].key_bytes, 128)
            assert said["kernel_tls"] == KERNEL[path]
            assert sample.handshake_seconds
    assert done.head.suites[0].tls == version
    assert {cell.driver_found for cell in done.head.cells} == {"OpenSSL", "the kernel's TLS"}


# sabotage


WITH_KTLS = reconfigured("https", "s/ssl_buffer_size/ssl_conf_command Options KTLS; ssl_buffer_size/")
OTHER_CIPHER_SUITE = reconfigured("https", "s/TLS_AES_128_GCM_SHA256/TLS_AES_256_GCM_SHA384/")
OTHER_VERSION = reconfigured("https", "s/TLSv1.3/TLSv1.2/")


def _other_cipher_suite_agreed(bench: Bench, deployed: dict[str, Deployed]) -> None:
    """Server and client both take another cipher suite: all goes well, only it is not the cell's."""
    OTHER_CIPHER_SUITE(bench, deployed)
    other = CIPHERS["aes256gcm"].tls["1.3", "sha1"].gnutls_priority
    right = deployed["https"]
    assert right.tls
    deployed["https"] = replace(right, tls=replace(right.tls, priority=other))


@pytest.mark.parametrize("path", ["https", "ktls"])
def test_a_shorter_key_that_both_ends_agree_on_is_never_a_number(
    opened: OpenTestbed, tmp_path: Path, path: str
) -> None:
    """AES-128-GCM where AES-256-GCM is asked for: payload and kernel TLS are as they should be, the key is not."""

    def act(bench: Bench, deployed: dict[str, Deployed]) -> None:
        reconfigured(path, "s/TLS_AES_256_GCM_SHA384/TLS_AES_128_GCM_SHA256/")(bench, deployed)
        right = deployed[path]
        assert right.tls
        shorter = CIPHERS["aes128gcm"].tls["1.3", "sha1"].gnutls_priority
        deployed[path] = replace(right, tls=replace(right.tls, priority=shorter))

    done = run(opened, profile_of(suite("http", path, cipher="aes256gcm", tls="1.3")), tmp_path, act)
    cell = by_path(done)[path]
    assert cell.outcome == "invalid", cell.reason
    assert cell.reason == "TLSv1.3 TLS_AES_128_GCM_SHA256 was spoken, not TLSv1.3 TLS_AES_256_GCM_SHA384"
    (sample,) = samples_of(done, path)
    assert sample.sha256_ok, "the payload itself came whole"
    assert (sample.witness["key_bits"], sample.witness["kernel_tls"] or 0) == (128, KERNEL[path])


MASKED = "/etc/modprobe.d/pathproof-test.conf"


def _tls_masked(bench: Bench, _deployed: dict[str, Deployed]) -> None:
    """The module goes, and the kernel cannot load it again: OpenSSL falls back without a word."""
    bench.sender.check(["sh", "-c", f"echo install tls /bin/false >{MASKED}; rmmod tls"])


@pytest.mark.parametrize(
    ("path", "sabotage", "outcome", "reason"),
    [
        ("ktls", WITHOUT_KTLS, "invalid", "the kernel's TLS took over 0 connections, not 1"),
        ("https", WITH_KTLS, "invalid", "the kernel's TLS took over 1 connections, not 0"),
        ("https", OTHER_CIPHER_SUITE, "failed", "libcurl"),
        ("https", OTHER_VERSION, "failed", "libcurl"),
        ("https", _other_cipher_suite_agreed, "invalid", "TLSv1.3 TLS_AES_256_GCM_SHA384 was spoken"),
        ("ktls", _tls_masked, "invalid", "nothing shows that the kernel's TLS was used"),
    ],
    ids=["without-ktls", "with-ktls", "other-cipher-suite", "other-version", "other-cipher-suite-agreed", "no-module"],
)
def test_sabotaged_tls_is_never_a_number(
    opened: OpenTestbed,
    tmp_path: Path,
    path: str,
    sabotage: Callable[[Bench, dict[str, Deployed]], None],
    outcome: str,
    reason: str,
) -> None:
    asked = suite("http", "ktls", "https", cipher="aes128gcm", tls="1.3")
    try:
        done = run(opened, profile_of(asked), tmp_path, sabotage)
    finally:
        shell(opened.sender.host, f"rm -f {MASKED}")
    cells = by_path(done)
    assert cells[path].outcome == outcome, cells[path].reason
    assert reason in (cells[path].reason or "")
    assert not any(sample.valid for sample in samples_of(done, path))
    assert cells["http"].outcome == "measured", cells["http"].reason
    assert cells[path].id not in {
        one for verdict in done.head.verdicts for one in (verdict.baseline, verdict.candidate)
    }


def test_a_module_that_cannot_be_loaded_is_a_reason(opened: OpenTestbed, tmp_path: Path) -> None:
    shell(opened.sender.host, f"echo install tls /bin/false >{MASKED}")
    try:
        done = run(opened, profile_of(suite("https", "ktls", cipher="aes128gcm")), tmp_path)
    finally:
        shell(opened.sender.host, f"rm -f {MASKED}")
    cells = by_path(done)
    assert cells["https"].outcome == "measured", cells["https"].reason
    assert cells["ktls"].outcome == "invalid", "what is disabled after the hosts were asked is found by trying"
    assert "nothing shows that the kernel's TLS was used" in (cells["ktls"].reason or "")


# instructions hidden from user space


def test_masked_instructions_make_user_space_slower(opened: OpenTestbed) -> None:
    """AES-GCM by OpenSSL of the sender and GnuTLS of the receiver: at least three times dearer than with them."""
    masked = ["env", *(f"{name}={value}" for name, value in MASK.items())]
    plain, hidden = (speed(opened.sender, env, ["-evp", "AES-128-GCM"], LARGE).nanoseconds for env in ([], masked))
    assert hidden > 3 * plain, "OpenSSL"
    cost = (
        "import sys; sys.path.insert(0, sys.argv[1]); from agent import gnutls; "
        "print(gnutls.cost('AES-128-GCM', None, 16384, 0.5).large.usual_ns)"
    )
    agent = f"{opened.receiver.directory}/agent.pyz"
    plain, hidden = (float(opened.receiver.check([*env, "python3", "-I", "-c", cost, agent])) for env in ([], masked))
    assert hidden > 3 * plain, "GnuTLS"
