"""Whole runs on the real lab: every path at a small size, records, hosts as they were, and sabotage."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from harness import records
from harness.api.bench import Bench
from harness.api.path import Deployed
from harness.cli import check
from harness.events import Event, Events, Note
from harness.measuring.opened import MASK, Wanted, open_testbed
from harness.profile import Profile
from harness.record import Cell
from harness.run import foreseen
from hosts.errors import HarnessError
from hosts.lab.uml import UmlLab, UmlParts
from hosts.onhost.agent.values import Change, ModuleChange
from hosts.remote.agent import Agent
from tests.support import runs
from tests.support.lab import compile_in_image, place_modules, shell, unchanged

ROOT = Path(__file__).parents[2]
ALL = ["http", "https", "ipsec", "ktls", "plain", "devcrypto-copy", "devcrypto-mapped", "afalg-copy", "afalg-splice"]


def small(*names: str, **more: Any) -> Profile:
    """A profile of one suite with 3DES."""
    return runs.profile_of(runs.suite(*names, cipher="3des", **more))


def cells_by_path(lab: UmlLab, lab_parts: UmlParts, results: Path, profile: Profile) -> dict[str, Cell]:
    """Run a profile on the lab's guests; its cells by path."""
    with open_testbed(lab.testbed, Events()) as opened:
        compile_in_image(opened, lab_parts)
        return runs.by_path(runs.run(opened, profile, results))


def alike(made: Iterable[Change], directory: str) -> set[tuple[str, str]]:
    """What changes are about, those of one kind and one thing once, modules by name; of the run's folder, only that."""
    found = set[tuple[str, str]]()
    for change in made:
        inside = getattr(change, "path", "").startswith(f"{directory}/")
        told = change.names if isinstance(change, ModuleChange) else [check.alike(change.what)]
        found |= {(change.kind, "" if inside and change.kind == "directory" else one) for one in told}
    return found


def test_every_path_is_measured_and_witnessed(
    lab: UmlLab, lab_parts: UmlParts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: dict[str, list[Change]] = {"sender": [], "receiver": []}
    apply = Agent.apply

    def noted(agent: Agent, change: Change) -> int:
        made[agent.name].append(change)
        return apply(agent, change)

    wanted = small(*ALL, link_rate="200mbit")  # which guests keep up with beside other tests
    with unchanged(lab.testbed), open_testbed(lab.testbed, Events()) as opened:
        compile_in_image(opened, lab_parts)
        place_modules(opened, lab_parts)
        planned = foreseen.plan([wanted], runs.PATHS, opened)
        assert not planned.failing
        monkeypatch.setattr(Agent, "apply", noted)
        cells = runs.by_path(runs.run(opened, wanted, tmp_path, explain=True))
        monkeypatch.undo()
        for host in (opened.sender, opened.receiver):
            was = alike(made[host.name], host.directory)
            due = alike((one.change for one in planned.of(host.name)), host.directory)
            assert was - due == set(), "changed, and not foreseen"
            assert due - was == set(), "foreseen, and not changed"
    assert {path: cell.outcome for path, cell in cells.items()} == {
        path: "unsupported" if path == "ktls" else "measured" for path in ALL
    }, [cell.reason for cell in cells.values()]
    assert "AEAD" in (cells["ktls"].reason or "")
    run = records.read(records.list_runs(tmp_path)[0])
    for path in ALL:
        samples = [s for s in run.samples if s.cell == cells[path].id]
        assert runs.counting(samples) == (0 if path == "ktls" else 2), path
        assert all(s.valid and s.sha256_ok and s.seconds and s.seconds > 0 for s in samples), path
        assert [s.warmup for s in sorted(samples, key=lambda s: s.block)][:1] in ([], [True])
        assert all(s.sender.cpu_seconds is not None and s.receiver.cpu_resolution_seconds for s in samples), path
        assert all(s.sender.counters["tcp_retransmitted_segments"] is not None for s in samples), path
        assert all(s.receiver.counters["ip_truncated_packets"] == 0 for s in samples), path
    by_path = {s.cell.split("/")[1]: s.witness for s in run.samples}
    assert by_path["https"]["suite"] == "TLS1.2 / ECDHE_RSA_3DES_EDE_CBC_SHA1"
    assert int(by_path["ipsec"]["sender_sa_bytes"] or 0) >= 1_000_000
    assert by_path["afalg-copy"]["driver"] == cells["afalg-copy"].driver_found
    assert "des3_ede-generic" in (cells["afalg-copy"].driver_found or "")
    assert int(by_path["afalg-copy"]["crossing_bytes"] or 0) >= 4_000_000
    assert int(by_path["afalg-splice"]["crossing_bytes"] or 0) < 100
    assert {by_path[path]["driver"] for path in ("afalg-copy", "devcrypto-copy", "devcrypto-mapped")} == {
        cells["devcrypto-copy"].driver_found
    }
    assert [facts.block for facts in run.blocks] == [0, 1, 2]
    for facts in run.blocks:
        assert facts.cells == [cell.id for path, cell in cells.items() if path != "ktls"]
        assert facts.window_seconds > sum(s.seconds or 0 for s in run.samples if s.block == facts.block)
        assert facts.sender.steal_ns is not None and facts.sender.switches, "the guests are hosts like others here"
    assert run.head.status == "complete"
    suite = run.head.suites[0]
    goodput = suite.link["goodput_bits_per_second"]
    assert goodput and 0.8 < goodput / 200e6 < 1.02
    assert {crossing.path for crossing in suite.crossings} == set(ALL) - {"ktls"}, run.head.notes
    steps = {"syscall", "read", "alg_send", "alg_sendfile", "cipher", "tcp_copy", "count"}
    steps |= {"devcrypto_copy", "devcrypto_map", "kernel_cipher"}
    steps |= {"esp", "receiver_esp", "esp_hash", "receiver_esp_hash", "gnutls", "receiver_tls"}
    assert {name.removesuffix("_byte_ns") for name in suite.prices if name.endswith("_byte_ns")} == steps
    assert all(suite.prices[f"{name}_byte_ns"] > 0 for name in suite.ciphering), suite.prices
    assert not run.head.notes


def test_a_cut_connection_ends_readable_and_puts_the_host_back(
    lab: UmlLab, lab_parts: UmlParts, tmp_path: Path
) -> None:
    def cut(bench: Bench, _deployed: dict[str, Deployed]) -> None:
        # end the very connection that the sender's agent hangs on
        shell(bench.sender.host, "kill -9 $(ps -o ppid= -p $(pgrep -o -f 'python3[.0-9]* -I /dev/shm'))")

    told: list[Event] = []
    with (
        unchanged(lab.testbed),
        pytest.raises(HarnessError, match="ended"),
        open_testbed(lab.testbed, Events([told.append])) as opened,
    ):
        compile_in_image(opened, lab_parts)
        runs.run(opened, small("http", "afalg-copy"), tmp_path, cut)
    notes = [event.text for event in told if isinstance(event, Note)]
    assert notes == ["the sender was put back: nothing was left to undo"], "its guardian was quicker"
    run = records.read(records.list_runs(tmp_path)[0])
    assert run.head.status == "failed"
    assert {cell.outcome for cell in run.head.cells} == {"failed"}
    assert all("ended" in (cell.reason or "") for cell in run.head.cells)


def _eventually(true: Callable[[], bool], show: Callable[[], object], tries: int = 60) -> None:
    for _ in range(tries):
        if true():
            return
        time.sleep(0.25)
    pytest.fail(f"still: {show()}")


def _pytest(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", "suites", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


MANY = """\
description = "small files without end, almost"
[[suites]]
name = "many"
question = "small-files"
cipher = "3des"
connection = "new"
requests = 100
link_rate = "unshaped"
baseline = "http"
paths = ["http", "ipsec"]
sizes = { "15B" = { blocks = 200 } }
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_in_the_middle_of_a_transfer(
    lab: UmlLab, hosts_file: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """On two hosts that stay: they come back as they were, and the record is readable.

    A sample of small files is a hundred transfers, so one is going on whenever the signal comes.
    """
    results, profile = tmp_path / "results", tmp_path / "many.toml"
    profile.write_text(MANY)
    with unchanged(lab.testbed):
        run = _pytest(*("--profile", str(profile), "--testbed", str(hosts_file), "--results", str(results)))
        try:
            _eventually(lambda: bool(list(results.glob("*/samples.jsonl"))) and _samples(results) > 1, lambda: "", 800)
            os.kill(run.pid, number)
            output, _ = run.communicate(timeout=60)
        finally:
            if run.poll() is None:  # whatever failed, it must not be on the hosts of the tests after this one
                os.killpg(run.pid, signal.SIGKILL)
                run.communicate(timeout=60)
    assert run.returncode != 0
    read = records.read(records.list_runs(results)[0])
    assert read.head.status == "interrupted", output
    assert read.samples
    if number is not signal.SIGKILL:
        assert "Traceback" not in output
        assert all(cell.reason for cell in read.head.cells if cell.outcome != "measured")


def _samples(results: Path) -> int:
    return sum(len(path.read_text().splitlines()) for path in results.glob("*/samples.jsonl"))


def test_the_command_line_run_on_two_named_hosts(lab: UmlLab, hosts_file: Path, tmp_path: Path) -> None:
    """Through pytest, on hosts from a file: verdicts, record, pytest-benchmark's JSON and the report."""
    results, table, slower = tmp_path / "results", tmp_path / "benchmark.json", tmp_path / "slower.toml"
    text = (ROOT / "suites" / "profiles" / "gigabit-3des.toml").read_text()
    slower.write_text(text.replace('link_rate = "1gbit"', 'link_rate = "200mbit"'))
    run = _pytest(
        *("--profile", str(slower), "--testbed", str(hosts_file), "--results", str(results), "--quick"),
        *("-v", "-k", "large-files and 1MB or so-crypt and 1MB or ktls", f"--benchmark-json={table}"),
    )
    output, _ = run.communicate(timeout=300)
    assert run.returncode == 0, output
    assert "http / ipsec, large-files 1MB: time x" in output
    assert "AEAD" in output
    page = Path(output.strip().splitlines()[-1].removeprefix("report: "))
    assert (ROOT / page).is_file() or page.is_file()
    read = records.read(results / "latest")
    for cell in read.head.cells:
        if runs.PATHS[cell.path].builds:  # this host's kernel has no headers: said, with what to install
            assert cell.outcome == "unsupported"
            assert "install linux-headers-" in (cell.reason or "")
        elif cell.path in ("ktls", "ktls-write"):
            assert cell.outcome == "unsupported"
        else:
            assert cell.outcome == "measured", cell.reason
    rows = {row["extra_info"]["cell"]: row["stats"] for row in json.loads(table.read_text())["benchmarks"]}
    for cell in read.head.cells:
        counted = [s.seconds for s in read.samples if s.cell == cell.id and s.valid and not s.warmup and s.seconds]
        if cell.outcome == "measured":
            assert rows[cell.id]["min"] == pytest.approx(min(counted), rel=1e-3)
            assert rows[cell.id]["rounds"] == len(counted)


def test_missing_programs_are_named_with_their_packages(lab: UmlLab, lab_parts: UmlParts, tmp_path: Path) -> None:
    """A host without nginx and lighttpd still runs what it can, and says what to install for the rest."""
    hide = "mount -t tmpfs none /usr/sbin && echo hidden"
    keep = "for p in ip tc modprobe insmod rmmod sshd lsmod; do cp -a /usr/sbin/$p /tmp/keep/; done"
    shell(lab.testbed.sender, f"mkdir /tmp/keep && {keep} && {hide} && cp -a /tmp/keep/. /usr/sbin/")
    try:
        outcomes = cells_by_path(lab, lab_parts, tmp_path, small("plain", "http", "https"))
    finally:
        shell(lab.testbed.sender, "umount /usr/sbin; rm -r /tmp/keep")
    assert outcomes["plain"].outcome == "measured", outcomes["plain"].reason
    assert outcomes["http"].outcome == "unsupported"
    assert "apt-get install nginx" in (outcomes["http"].reason or "")
    assert "lighttpd-mod-gnutls" in (outcomes["https"].reason or "")


def test_a_masked_bed_hides_instructions_from_servers_and_agents(lab: UmlLab, tmp_path: Path) -> None:
    seen: dict[str, str] = {}

    def look(bench: Bench, deployed: dict[str, Deployed]) -> None:
        # nginx writes its title over what it was started with, so its command is looked at instead
        seen["servers"] = "\n".join(bench.in_environment())
        for host in (bench.sender, bench.receiver):
            seen[host.name] = host.check(["env"])

    with open_testbed(lab.testbed, Events(), Wanted(masked=True)) as hosts:
        wanted = runs.profile_of(runs.suite("http", "https", cipher="aes128gcm"), instructions="masked")
        done = runs.run(hosts, wanted, tmp_path, look)
    assert {cell.outcome for cell in done.head.cells} == {"measured"}
    assert done.head.suites[0].instructions == "masked"
    for name, value in MASK.items():
        without = {place: text for place, text in seen.items() if f"{name}={value}" not in text.splitlines()}
        assert not without, f"{name} is not there"
