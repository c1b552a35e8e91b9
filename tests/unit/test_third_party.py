"""A data path of another package: found, written into the record with its words, and spoken of in the report."""

from __future__ import annotations

import html
import os
import re
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness import paths, profile, records
from harness.api.parameters import Parameters
from harness.api.path import DataPath
from harness.api.steps import Steps
from harness.record import Head
from hosts.errors import ConfigError
from reports.findings import costs, headline
from reports.site import pages
from tests.support import third_party
from tests.support.record_maker import make_run, suite

ROOT = Path(__file__).parents[2]
HOST = """
[{role}]
address = "127.0.0.{number}"
port = {port}
data_address = "127.0.0.{number}"
data_interface = "lo"
known_hosts = "/dev/null"
"""


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Head:
    """What the command writes of a run of its profile on hosts where nobody listens."""
    room = tmp_path_factory.mktemp("third-party")
    asked = third_party.install(room / "packages")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port, roles = taken.getsockname()[1], ("sender", "receiver")
        hosts = "".join(HOST.format(role=role, number=number, port=port) for number, role in enumerate(roles, 1))
        (room / "hosts.toml").write_text(f'kind = "hosts"\n{hosts}')
        argv = [sys.executable, "-m", "pytest", "suites", "-v", "-p", "no:cacheprovider", "--profile", str(asked)]
        argv += ["--testbed", str(room / "hosts.toml"), "--results", str(room / "results")]
        environment = os.environ | {"PYTHONPATH": str(room / "packages")}
        done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    said = done.stdout + done.stderr
    assert "http-read can never run with 3des: it never resumes" in said, "its own reason, in the terminal"
    (run,) = records.list_runs(room / "results")
    return records.read_head(run)


def test_none_of_our_files_knows_it() -> None:
    files = [path for layer in ("harness", "hosts", "reports", "suites") for path in (ROOT / layer).rglob("*.*")]
    assert len(files) > 100
    assert not [path for path in files if path.is_file() and third_party.NAME.encode() in path.read_bytes()]


def test_its_cells_and_words_are_in_the_record(head: Head) -> None:
    assert [cell.id for cell in head.cells if cell.path == third_party.NAME] == [
        "elsewhere/http-read/none/any/1MB",
        "elsewhere-resumed/http-read/none/any/15B",
    ]
    said = head.paths[third_party.NAME]
    assert (said.label, said.baseline, said.order) == ("nginx without sendfile", "HTTP that reads and writes", 5)
    assert set(head.paths) == {"http", third_party.NAME}, "those of the run's cells"


def test_its_words_are_in_the_report(head: Head, tmp_path: Path) -> None:
    entry = suite("elsewhere", 7, None, third_party.NAME)
    entry.steps = {"nap": "a nap between two writes"}
    paths = (third_party.NAME, "so-crypt", "http")
    folder = make_run(tmp_path, suites=[(entry, paths, "3des")], paths=head.paths, prices={"nap_byte_ns": 0.5})
    run = records.read(folder)
    text = html.unescape(pages.render(run).html)
    assert "nginx without sendfile (baseline)" in text, "beside its name in the legend"
    assert "The scheme against HTTP that reads and writes" in text
    assert " times as fast as HTTP that reads and writes (" in headline.headline(run)
    assert "a nap between two writes" in text
    assert [price.name for price in costs.prices(run.head.suites)] == ["a nap between two writes"]


def test_its_place_in_the_order_decides_which_comparison_speaks_for_a_run(head: Head, tmp_path: Path) -> None:
    for order, due in ((5, third_party.NAME), (15, "so-crypt")):
        said = {third_party.NAME: replace(head.paths[third_party.NAME], order=order, subject="Reading (http-read)")}
        entry = suite("elsewhere", 7, None, "afalg-copy")
        paths = ("afalg-copy", "so-crypt", third_party.NAME)
        run = records.read(make_run(tmp_path / due, suites=[(entry, paths, "3des")], paths=said))
        chosen = headline.main_verdict(run.head)
        assert chosen and f"/{due}/" in chosen.candidate
        assert headline.headline(run).startswith("Reading (http-read) made ") == (due == third_party.NAME)


def test_the_path_in_the_documentation_is_one() -> None:
    code = re.search(r"```python\n(.*?)^```", (ROOT / "docs" / "adding.md").read_text(), re.DOTALL | re.MULTILINE)
    made: dict[str, Any] = {}
    exec(code[1] if code else "", made)  # noqa: S102
    path = made["PATH"]
    assert isinstance(path, DataPath)
    assert path.impossible(Parameters(None)) is None
    named = {name for source in path.prices for name in source.names}
    assert set() < (path.steps(Parameters(None)) or Steps()).names() <= named


def test_every_price_of_ours_is_in_the_documentation() -> None:
    text = (ROOT / "docs" / "adding.md").read_text()
    sources = {source for path in paths.discover().values() for source in path.prices}
    listed = [" | " + ", ".join(f"`{name}`" for name in source.names) + " |" for source in sources]
    assert listed and all(line in text for line in listed)


def test_a_profile_elsewhere_is_right_or_refused(tmp_path: Path) -> None:
    asked = third_party.install(tmp_path / "packages")
    assert profile.load(str(asked)).name == "elsewhere"
    with pytest.raises(ConfigError, match=r"no profile is called '.*missing\.toml'"):
        profile.load(str(asked.with_name("missing.toml")))
