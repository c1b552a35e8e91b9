"""A data path of another package on the lab: measured, priced, and spoken of, with no file of ours touched."""

from __future__ import annotations

import html
import os
import subprocess
import sys
from pathlib import Path

from harness import records
from hosts.lab.uml import UmlLab
from tests.support import third_party
from tests.support.lab import unchanged

ROOT = Path(__file__).parents[2]


def test_a_path_of_another_package_is_measured_and_spoken_of(lab: UmlLab, hosts_file: Path, tmp_path: Path) -> None:
    asked, results = third_party.install(tmp_path / "packages"), tmp_path / "results"
    argv = [sys.executable, "-m", "pytest", "suites", "-v", "-p", "no:cacheprovider", "--profile", str(asked)]
    argv += ["--testbed", str(hosts_file), "--results", str(results)]
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "packages")}
    with unchanged(lab.testbed):
        done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "elsewhere-resumed: http-read can never run with 3des: it never resumes" in done.stdout + done.stderr
    assert "http-read" in next(line for line in done.stdout.splitlines() if ": time x" in line), "its verdict"
    (path,) = records.list_runs(results)
    run = records.read(path)
    suite = run.head.suites[0]
    cells = {cell.id: cell.outcome for cell in run.head.cells if cell.path == third_party.NAME}
    assert cells == {
        "elsewhere/http-read/none/any/1MB": "measured",
        "elsewhere-resumed/http-read/none/any/15B": "unsupported",
    }
    assert {"read_byte_ns", "nap_byte_ns", "tcp_copy_byte_ns"} <= suite.prices.keys()
    crossing = next(crossing for crossing in suite.crossings if crossing.path == third_party.NAME)
    assert crossing.crossing_bytes > 10**6 and "sendfile" not in crossing.calls
    page = html.unescape((results / "site" / path.name / "index.html").read_text())
    for words in (
        "nginx without sendfile",
        "sing HTTP that reads and writes (http-read) ",
        "a nap between two writes",
    ):
        assert words in page, words
