"""Runs on the real lab that somebody spoils: what happened is said, and is never a number."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness import records
from harness.api.bench import Bench
from harness.api.parameters import Parameters
from harness.api.path import Deployed
from harness.ciphers.table import CIPHERS
from harness.measuring.opened import OpenTestbed
from harness.profile import Profile
from harness.record import Cell
from tests.support import runs
from tests.support.lab import shell

SPOILED = 500_000
"""Bytes of the one file that a test spoils; all others of the testbed stay whole."""


def small(*names: str, size: str = "1MB") -> Profile:
    """A profile of one suite with 3DES."""
    return runs.profile_of(runs.suite(*names, cipher="3des", sizes={size: {"blocks": 2}}))


def cells_by_path(
    opened: OpenTestbed, results: Path, profile: Profile, sabotage: runs.Sabotage | None = None
) -> dict[str, Cell]:
    """Run a profile; its cells by path."""
    return runs.by_path(runs.run(opened, profile, results, sabotage))


def test_nothing_secret_is_in_the_record(opened: OpenTestbed, tmp_path: Path) -> None:
    seen: dict[str, str] = {}

    def look(bench: Bench, deployed: dict[str, Deployed]) -> None:
        decipher = deployed["afalg-copy"].decipher
        assert decipher is not None
        seen["key"] = decipher.key_hex
        seen["states"] = shell(bench.sender.host, "ip xfrm state list | grep -o '0x[0-9a-f]\\{32,\\}'")
        seen["journal"] = shell(bench.sender.host, "cat /dev/shm/pathproof-*/journal.jsonl")
        seen["arguments"] = shell(bench.sender.host, "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
        seen["modes"] = shell(bench.sender.host, "find /dev/shm -mindepth 1 -exec stat -c '%a %F %n' {} +")

    cells_by_path(opened, tmp_path, small("http", "https", "ipsec", "afalg-copy"), look)
    secrets = [seen["key"], *(line.removeprefix("0x") for line in seen["states"].split())]
    assert len(secrets) >= 5
    written = "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    for secret in secrets:
        assert secret not in written
        assert secret not in seen["journal"]
        assert secret not in seen["arguments"]
    assert "BEGIN" not in written
    assert all(line.split()[0] in ("600", "700") for line in seen["modes"].splitlines()), seen["modes"]


def _remove_sa(bench: Bench, _deployed: dict[str, Deployed]) -> None:
    bench.sender.check(["ip", "xfrm", "state", "deleteall"])


def _flip_byte(bench: Bench, _deployed: dict[str, Deployed]) -> None:
    script = f"printf X | dd of={bench.payload_directory}/{SPOILED}.bin bs=1 seek={SPOILED // 2} conv=notrunc"
    bench.sender.check(["sh", "-c", script])


def _wrong_key(bench: Bench, deployed: dict[str, Deployed]) -> None:
    right = deployed["afalg-copy"]
    assert right.decipher is not None
    deployed["afalg-copy"] = replace(
        right, decipher=replace(right.decipher, key_hex="00112233445566778899aabbccddeeff0011223344556677")
    )


def _offer_aes(bench: Bench, _deployed: dict[str, Deployed]) -> None:
    run = f"{bench.directory}/https"
    script = (
        f"sed -i s/3DES/AES128/ {run}/lighttpd.conf && kill $(pidof lighttpd) && sleep 0.5 && "
        f"lighttpd -f {run}/lighttpd.conf >/dev/null 2>&1"
    )
    bench.sender.check(["sh", "-c", script])


def _other_esp(bench: Bench, _deployed: dict[str, Deployed]) -> None:
    """The SAs go and others with the null cipher come in their place: traffic flows, 3DES does not."""
    for host in (bench.sender, bench.receiver):
        runs.renew_associations(host, lambda _: f"auth-trunc hmac(sha1) 0x{'11' * 20} 96 enc ecb(cipher_null) ''")


def _maps_instead(bench: Bench, deployed: dict[str, Deployed]) -> None:
    """Another server answers, which has /dev/crypto work on its own pages: the payload is the same."""
    other = runs.PATHS["devcrypto-mapped"].deploy(bench, Parameters(CIPHERS["3des"]))
    deployed["devcrypto-copy"] = replace(deployed["devcrypto-copy"], url=other.url, log=other.log, server=other.server)


@pytest.mark.parametrize(
    ("path", "sabotage", "outcome", "reason"),
    [
        ("ipsec", _remove_sa, "failed", "the sender's outgoing SA is not there"),
        (
            "ipsec",
            _other_esp,
            "invalid",
            r"has transport mode, ecb\(cipher_null\) .*; due is transport mode, cbc\(des3_ede\)",
        ),
        ("http", _flip_byte, "invalid", "SHA-256"),
        # of 256 wrong keys one gives padding that looks right: then the payload tells
        ("afalg-copy", _wrong_key, "invalid", "padding is wrong|SHA-256"),
        ("devcrypto-copy", _maps_instead, "invalid", "copied 0 bytes in and 0 out, and mapped 1000008"),
        ("https", _offer_aes, "failed", "libcurl"),
    ],
)
def test_sabotage_is_never_a_number(
    opened: OpenTestbed,
    tmp_path: Path,
    path: str,
    sabotage: Callable[[Bench, dict[str, Deployed]], None],
    outcome: str,
    reason: str,
) -> None:
    """The sabotaged cell says what happened; its neighbour is measured all the same."""
    neighbour = "http" if sabotage is not _flip_byte else None
    names = [path, neighbour] if neighbour and neighbour != path else [path]
    size = "500kB" if sabotage is _flip_byte else "1MB"
    cells = cells_by_path(opened, tmp_path, small(*names, size=size), sabotage)
    assert cells[path].outcome == outcome, cells[path].reason
    assert re.search(reason, cells[path].reason or "")
    if neighbour and neighbour != path:
        assert cells[neighbour].outcome == "measured", cells[neighbour].reason
    run = records.read(records.list_runs(tmp_path)[0])
    assert not any(s.valid for s in run.samples if s.cell == cells[path].id)
    assert not run.head.verdicts


def test_a_busy_port_is_named_and_spoils_nothing_else(opened: OpenTestbed, tmp_path: Path) -> None:
    script = "import socket, time; s = socket.create_server(('10.98.0.2', 18080)); time.sleep(60)"
    shell(opened.sender.host, f'python3 -c "{script}" >/dev/null 2>&1 & sleep 1')
    try:
        cells = cells_by_path(opened, tmp_path, small("http", "plain"))
    finally:
        shell(opened.sender.host, "pkill -f create_server")
    assert cells["http"].outcome == "failed"
    assert "port 18080 of 10.98.0.2 is in use" in (cells["http"].reason or "")
    assert cells["plain"].outcome == "measured"
