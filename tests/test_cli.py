"""The command a person types: what is wrong with it is said once and plainly, and nothing half done is left."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness import paths, plan, profile, record

ROOT = Path(__file__).parent.parent
PATIENCE = 120.0

HOSTS = """
kind = "hosts"
[sender]
address = "127.0.0.1"
port = {port}
data_address = "127.0.0.1"
data_interface = "lo"
known_hosts = "{known}"
{more}
[receiver]
address = "127.0.0.1"
port = {port}
data_address = "127.0.0.1"
data_interface = "lo"
known_hosts = "{known}"
"""


@dataclass(frozen=True)
class Done:
    """A finished command."""

    status: int
    said: str
    results: Path

    def says_once(self, message: str) -> None:
        """It failed with this message, which stands there once, and with no traceback."""
        assert self.status != 0
        assert "Traceback" not in self.said
        assert "INTERNALERROR" not in self.said
        assert self.said.count(message) == 1, self.said


def command(results: Path, *options: str) -> Done:
    argv = [sys.executable, "-m", "pytest", "suites", "-p", "no:cacheprovider", "--results", str(results), *options]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)
    return Done(done.returncode, done.stdout + done.stderr, results)


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cli")


@pytest.fixture(scope="module")
def closed_port() -> Iterator[int]:
    """A port of this machine that nobody listens on, and nobody else gets meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield int(taken.getsockname()[1])


PROFILE = ("--profile", "gigabit-3des")


@pytest.fixture(scope="module")
def commands(room: Path, closed_port: int) -> Iterator[dict[str, Future[Done]]]:
    """All commands of this file, begun together: two at a time, as most of each is Python's start."""
    known = room / "known_hosts"
    known.touch()

    def testbed(name: str, text: str) -> tuple[str, ...]:
        (room / f"{name}.toml").write_text(text)
        return (*PROFILE, "--testbed", str(room / f"{name}.toml"))

    good = HOSTS.format(port=closed_port, known=known, more="")
    wanted: dict[str, tuple[str, ...]] = {
        "unknown profile": ("--profile", "nope"),
        "unknown testbed": (*PROFILE, "--testbed", "nope"),
        "no testbed file": (*PROFILE, "--testbed", str(room / "none.toml")),
        "two processes": (*PROFILE, "-n", "2"),
        "typo": testbed("typo", good.replace("data_address", "data_adress", 1)),
        "no toml": testbed("broken", "kind = "),
        "closed port": testbed("closed", good),
        "no known_hosts": testbed("unknown", HOSTS.format(port=closed_port, known=room / "none", more="")),
        "no identity": (
            *testbed("key", HOSTS.format(port=closed_port, known=known, more=f'identity_file = "{room}/no-key"')),
            *("-k", "large-files and ipsec and 10MB"),
        ),
        "collect": (*PROFILE, "--collect-only", "-q"),
        "quick": (*PROFILE, "--collect-only", "-q", "--quick", "-k", "splice or https"),
    }
    with ThreadPoolExecutor(2) as pool:
        begun = {name: pool.submit(command, room / f"results of {name}", *options) for name, options in wanted.items()}
        begun["no results"] = pool.submit(command, known / "results", *testbed("full", good))
        yield begun
        for future in begun.values():
            future.cancel()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("unknown profile", "no profile is called 'nope'\n  next: name one of: "),
        ("unknown testbed", "no testbed is called 'nope'\n  next: name one of: lab"),
        ("no testbed file", "none.toml: No such file or directory"),
        ("two processes", "a profile is measured by one process: leave out -n"),
        ("typo", "sender.data_adress: "),
        ("no toml", "broken.toml is not valid TOML: "),
    ],
)
def test_bad_input_ends_before_anything_begins(commands: dict[str, Future[Done]], name: str, message: str) -> None:
    done = commands[name].result()
    done.says_once(message)
    assert done.said.startswith("ERROR: ")
    assert not done.results.exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("closed port", "sender: cannot connect to 127.0.0.1 port {port}: Connection refused\n  next: check address"),
        (
            "no known_hosts",
            "sender: no known_hosts file at {room}/none, so nobody can tell that this is the right host",
        ),
        ("no identity", "sender: there is no identity file {room}/no-key"),
    ],
)
def test_a_host_that_cannot_be_used_ends_the_run_with_a_finished_record(
    commands: dict[str, Future[Done]], room: Path, closed_port: int, name: str, message: str
) -> None:
    done = commands[name].result()
    done.says_once(message.format(room=room, port=closed_port))
    runs = record.list_runs(done.results)
    assert len(runs) == 1
    run = record.read(runs[0])
    assert run.head.status == "failed"
    assert run.head.reason
    assert run.head.reason in message.format(room=room, port=closed_port)
    assert run.samples == []
    assert run.head.cells
    assert {cell.outcome for cell in run.head.cells} == {"failed"}
    assert not (done.results / "latest").is_symlink(), "latest is a complete run or none"


def test_results_that_cannot_be_written_are_told(commands: dict[str, Future[Done]]) -> None:
    commands["no results"].result().says_once("cannot write the record ")


def items(done: Done) -> list[str]:
    """The names of the collected items: what stands in brackets."""
    return re.findall(r"^suites/\w+\.py::\w+\[(\S+)\]$", done.said, re.MULTILINE)


def planned(wanted: profile.Profile) -> list[str]:
    """Names of the cells that a profile asks for, by suite file."""
    clear = frozenset(name for name, path in paths.discover().items() if path.clear)
    cells = plan.cells(wanted, clear)
    suites = {suite.name: suite.question for suite in wanted.suites}
    return [cell.id for question in sorted(set(suites.values())) for cell in cells if suites[cell.suite] == question]


def test_collecting_boots_nothing_and_names_items_after_cells(commands: dict[str, Future[Done]]) -> None:
    done = commands["collect"].result()
    assert done.status == 0
    found = items(done)
    assert found == planned(profile.load("gigabit-3des"))
    assert "large-files/https/3des/any/100MB" in found
    assert not done.results.exists()
    assert "boot" not in done.said


def test_quick_asks_for_less_and_a_word_selects_items(commands: dict[str, Future[Done]]) -> None:
    less, quick = planned(profile.load("gigabit-3des").quickened()), items(commands["quick"].result())
    assert quick == [name for name in less if "splice" in name or "https" in name]
    assert set(quick) < set(items(commands["collect"].result()))
    assert quick


def test_only_what_was_selected_stands_in_the_record(commands: dict[str, Future[Done]]) -> None:
    done = commands["no identity"].result()
    run = record.read(record.list_runs(done.results)[0])
    assert [cell.id for cell in run.head.cells] == ["large-files/ipsec/3des/any/10MB"]


def test_a_profile_need_not_ask_every_question() -> None:
    """``servers`` has no schemes: no empty item stands in for them."""
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "suites", "--profile", "servers", "--collect-only", "-q"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=Path(__file__).parent.parent,
    )
    assert run.returncode == 0, run.stdout
    assert "[servers/plain/none/any/100MB]" in run.stdout
    assert "NotSet" not in run.stdout
    assert "test_scheme" not in run.stdout
