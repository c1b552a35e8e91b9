"""A controller that is killed while a load goes on: both hosts come back as they were."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from harness import records
from hosts.lab.uml import UmlLab
from tests.support.lab import ESTABLISHED, shell, unchanged
from tests.support.machine import ROOT, soon

CONNECTIONS = 48
PROFILE = f"""\
description = "load without end, almost, over a link that is made slower and longer"
[[suites]]
name = "load"
question = "load"
cipher = "aes128gcm"
connection = "kept"
connections = [{CONNECTIONS}]
seconds = 60
link_rate = "100mbit"
rtt = "2ms"
baseline = "http"
paths = ["http", "ipsec"]
sizes = {{ "10kB" = {{ blocks = 20 }} }}
"""


def test_killed_in_mid_load(lab: UmlLab, hosts_file: Path, tmp_path: Path) -> None:
    results, profile = tmp_path / "results", tmp_path / "endless.toml"
    profile.write_text(PROFILE)

    def loaded() -> bool:
        """Whether the generator runs there, and its connections are on the other host."""
        there = shell(lab.testbed.receiver, "pgrep -c -f -- '--reuse [k]ept'")
        here = shell(lab.testbed.sender, ESTABLISHED)
        return there.strip() == "1" and int(here) >= CONNECTIONS

    with unchanged(lab.testbed):
        run = subprocess.Popen(
            [
                *(sys.executable, "-m", "pytest", "suites", "--profile", str(profile)),
                *("--testbed", str(hosts_file), "--results", str(results)),
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            assert soon(lambda: run.poll() is not None or loaded(), 200)
            assert run.poll() is None, run.communicate()[0]
            run.send_signal(signal.SIGKILL)
            run.communicate(timeout=60)
        finally:
            if run.poll() is None:  # whatever failed, it must not be on the hosts of the tests after this one
                os.killpg(run.pid, signal.SIGKILL)
                run.communicate(timeout=60)
    assert records.read(records.list_runs(results)[0]).head.status == "interrupted"
