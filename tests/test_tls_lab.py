"""TLS in user space and in the kernel, on the lab: measured by the right witness, and never a number when sabotaged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.bed import MASK, Bed
from harness.bench import Bench
from harness.ciphers import CIPHERS
from harness.paths import Deployed
from harness.prices import LARGE, speed
from tests.campaigns import by_path, profile_of, run, samples_of, suite
from tests.conftest import shell

pytestmark = pytest.mark.lab
AEADS = [name for name, row in CIPHERS.items() if row.aead]
KERNEL = {"https": 0, "ktls-write": 1, "ktls": 1}
"""Connections that the kernel's TLS takes over, of one."""


@pytest.mark.parametrize("version", ["1.3", "1.2"])
@pytest.mark.parametrize("cipher", AEADS)
def test_every_aead_in_user_space_and_in_the_kernel(bed: Bed, tmp_path: Path, cipher: str, version: str) -> None:
    """All three are measured; the server's log names the suite, the kernel says how many connections it took over."""
    asked: list[str] = []

    def ask(bench: Bench, deployed: dict[str, Deployed]) -> None:
        how = deployed["https"]
        asked.append(bench.receiver.call("suite", url=how.url("x"), tls=how.tls))

    done = run(bed, profile_of(suite(*KERNEL, cipher=cipher, tls=version)), tmp_path, ask)
    table = {found.version: found for found in CIPHERS[cipher].tls.values()}[version]  # type: ignore[index]
    assert asked == [table.libcurl], "the table has libcurl's words for it"
    for path, cell in by_path(done).items():
        assert cell.outcome == "measured", cell.reason
        samples = samples_of(done, path)
        assert len(samples) == 3
        for sample in samples:
            assert sample.valid
            assert sample.sha256_ok
            said = sample.witness
            assert (said["suite"], said["tls"]) == (table.openssl, version)
            assert said["kernel_tls"] == KERNEL[path]
            assert sample.handshake_seconds
    assert done.head.suites[0].tls == version
    assert {cell.driver_found for cell in done.head.cells} == {"OpenSSL", "the kernel's TLS"}


# sabotage


def reconfigured(path: str, edit: str) -> Callable[[Bench, dict[str, Deployed]], None]:
    """nginx for a path reads a configuration that was edited by sed behind the harness's back."""

    def act(bench: Bench, _deployed: dict[str, Deployed]) -> None:
        run = f"{bench.directory}/{path}"
        script = (
            f"old=$(pgrep -P $(cat {run}/nginx.pid)); cp {run}/nginx.conf {run}/before; "
            f"sed -i '{edit}' {run}/nginx.conf; cmp -s {run}/nginx.conf {run}/before && exit 9; "
            f"kill -HUP $(cat {run}/nginx.pid); "
            "for i in $(seq 100); do kill -0 $old 2>/dev/null || exit 0; sleep 0.1; done; exit 8"
        )
        bench.sender.check(["sh", "-c", script])

    return act


WITHOUT_KTLS = reconfigured("ktls", "/Options KTLS/d")
WITH_KTLS = reconfigured("https", "s/ssl_buffer_size/ssl_conf_command Options KTLS; ssl_buffer_size/")
OTHER_SUITE = reconfigured("https", "s/TLS_AES_128_GCM_SHA256/TLS_AES_256_GCM_SHA384/")
OTHER_VERSION = reconfigured("https", "s/TLSv1.3/TLSv1.2/")


def _other_suite_agreed(bench: Bench, deployed: dict[str, Deployed]) -> None:
    """Server and client both take another suite: all goes well, only it is not the cell's."""
    OTHER_SUITE(bench, deployed)
    other = CIPHERS["aes256gcm"].tls["1.3", "sha1"].gnutls_priority
    right = deployed["https"]
    assert right.tls
    deployed["https"] = replace(right, tls=right.tls | {"priority": other})


MASKED = "/etc/modprobe.d/pathproof-test.conf"


def _tls_masked(bench: Bench, _deployed: dict[str, Deployed]) -> None:
    """The module goes, and the kernel cannot load it again: OpenSSL falls back without a word."""
    bench.sender.check(["sh", "-c", f"echo install tls /bin/false >{MASKED}; rmmod tls"])


@pytest.mark.parametrize(
    ("path", "sabotage", "outcome", "reason"),
    [
        ("ktls", WITHOUT_KTLS, "invalid", "the kernel's TLS took over 0 connections, not 1"),
        ("https", WITH_KTLS, "invalid", "the kernel's TLS took over 1 connections, not 0"),
        ("https", OTHER_SUITE, "failed", "libcurl"),
        ("https", OTHER_VERSION, "failed", "libcurl"),
        ("https", _other_suite_agreed, "invalid", "TLSv1.3 TLS_AES_256_GCM_SHA384 was spoken"),
        ("ktls", _tls_masked, "invalid", "the kernel's TLS took over None connections, not 1"),
    ],
    ids=["without-ktls", "with-ktls", "other-suite", "other-version", "other-suite-agreed", "no-module"],
)
def test_sabotaged_tls_is_never_a_number(
    bed: Bed,
    tmp_path: Path,
    path: str,
    sabotage: Callable[[Bench, dict[str, Deployed]], None],
    outcome: str,
    reason: str,
) -> None:
    asked = suite("http", "ktls", "https", cipher="aes128gcm", tls="1.3")
    try:
        done = run(bed, profile_of(asked), tmp_path, sabotage)
    finally:
        shell(bed.sender.host, f"rm -f {MASKED}")
    cells = by_path(done)
    assert cells[path].outcome == outcome, cells[path].reason
    assert reason in (cells[path].reason or "")
    assert not any(sample.valid for sample in samples_of(done, path))
    assert cells["http"].outcome == "measured", cells["http"].reason
    assert cells[path].id not in {
        one for verdict in done.head.verdicts for one in (verdict.baseline, verdict.candidate)
    }


def test_a_module_that_cannot_be_loaded_is_a_reason(bed: Bed, tmp_path: Path) -> None:
    shell(bed.sender.host, f"echo install tls /bin/false >{MASKED}")
    try:
        done = run(bed, profile_of(suite("https", "ktls", cipher="aes128gcm")), tmp_path)
    finally:
        shell(bed.sender.host, f"rm -f {MASKED}")
    cells = by_path(done)
    assert cells["https"].outcome == "measured", cells["https"].reason
    assert cells["ktls"].outcome == "failed"
    assert "not deployed: kernel module tls" in (cells["ktls"].reason or "")


# instructions hidden from user space


def test_masked_instructions_make_user_space_slower(bed: Bed) -> None:
    """AES-GCM by OpenSSL of the sender and GnuTLS of the receiver: at least three times dearer than with them."""
    masked = ["env", *(f"{name}={value}" for name, value in MASK.items())]
    plain, hidden = (speed(bed.sender, env, ["-evp", "AES-128-GCM"], LARGE).nanoseconds for env in ([], masked))
    assert hidden > 3 * plain, "OpenSSL"
    cost = (
        "import sys; sys.path.insert(0, sys.argv[1]); from agent import gnutls; "
        "print(gnutls.cost('AES-128-GCM', None, 16384, 0.5)['ns_per_byte'])"
    )
    agent = f"{bed.receiver.directory}/agent.pyz"
    plain, hidden = (float(bed.receiver.check([*env, "python3", "-I", "-c", cost, agent])) for env in ([], masked))
    assert hidden > 3 * plain, "GnuTLS"
