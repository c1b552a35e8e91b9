"""The command a person types: what is wrong with it is said once and plainly, and nothing half done is left."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness import paths, plan, profile, receiving, records
from hosts import testbed
from hosts.errors import ConfigError
from tests.support.commands import HOSTS, PATIENCE, ROOT, Done, command, typed


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cli")


PROFILE = ("--profile", "gigabit-3des")


@pytest.fixture(scope="module")
def commands(room: Path, closed_port: int) -> Iterator[dict[str, Future[Done]]]:
    """All commands of this file, begun together: two at a time, as most of each is Python's start."""
    known = room / "known_hosts"
    known.touch()

    def hosts(name: str, text: str) -> tuple[str, ...]:
        (room / f"{name}.toml").write_text(text)
        return (*PROFILE, "--testbed", str(room / f"{name}.toml"))

    good = HOSTS.format(port=closed_port, known=known, more="")
    wanted: dict[str, tuple[str, ...]] = {
        "unknown profile": ("--profile", "nope"),
        "unknown testbed": (*PROFILE, "--testbed", "nope"),
        "two processes": (*PROFILE, "-n", "2"),
        "benchmarks only": (*PROFILE, "--benchmark-only"),
        "closed port": hosts("closed", good),
        "no known_hosts": hosts("unknown", HOSTS.format(port=closed_port, known=room / "none", more="")),
        "no identity": (
            *hosts("key", HOSTS.format(port=closed_port, known=known, more=f'identity_file = "{room}/no-key"')),
            *("-k", "large-files and ipsec and 10MB"),
        ),
        "collect": (*PROFILE, "--collect-only", "-q"),
        "cells": (*PROFILE, "--collect-only", "-q", "--cells", "schemes/*/100MB", "--cells", "large-files/http/*"),
        "no such cell": (*PROFILE, "--cells", "schemes/nope/*"),
        "itself": (*PROFILE, "--collect-only", "-q", "--aa", "--quick"),
        "quick": (*PROFILE, "--collect-only", "-q", "--quick", "-k", "splice or https"),
    }
    with ThreadPoolExecutor(2) as pool:
        begun = {name: pool.submit(command, room / f"results of {name}", *options) for name, options in wanted.items()}
        begun["no results"] = pool.submit(command, known / "results", *hosts("full", good))
        yield begun
        for future in begun.values():
            future.cancel()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("unknown profile", "no profile is called 'nope'\n  next: name one of: "),
        ("unknown testbed", "no testbed is called 'nope'\n  next: name one of: auto, lab"),
        ("two processes", "a profile is measured by one process: leave out -n"),
        ("benchmarks only", "a profile has nothing but benchmarks: leave out --benchmark-only"),
        ("no such cell", "--cells schemes/nope/*: gigabit-3des has no such cell"),
    ],
)
def test_bad_input_ends_before_anything_begins(commands: dict[str, Future[Done]], name: str, message: str) -> None:
    done = commands[name].result()
    done.says_once(message)
    assert done.status == pytest.ExitCode.USAGE_ERROR
    assert done.said.startswith("ERROR: ")
    assert not done.results.exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "none.toml: No such file or directory"),
        (HOSTS.replace("data_address", "data_adress", 1), "sender.data_adress: "),
        ("kind = ", "none.toml is not valid TOML: "),
    ],
)
def test_a_testbed_file_that_is_none_is_an_error_as_an_unknown_testbed_is(
    tmp_path: Path, text: str | None, message: str
) -> None:
    """Which the command tells as it does that one."""
    file = tmp_path / "none.toml"
    if text is not None:
        file.write_text(text.format(port=22, known="/known_hosts", more=""))
    with pytest.raises(ConfigError, match=re.escape(message)):
        testbed.load(str(file))
    with pytest.raises(ConfigError):
        testbed.load("nope")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "closed port",
            "sender: cannot connect to 127.0.0.1 port {port}: Connection refused\n  next: see whether this can",
        ),
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
    runs = records.list_runs(done.results)
    assert len(runs) == 1
    run = records.read(runs[0])
    assert run.head.status == "failed"
    assert run.head.reason
    assert run.head.reason in message.format(room=room, port=closed_port)
    assert run.samples == []
    assert run.head.cells
    assert {cell.outcome for cell in run.head.cells} == {"failed"}
    assert not (done.results / "latest").is_symlink(), "latest is a complete run or none"


def test_however_often_a_run_is_interrupted_it_ends_once_and_says_so(room: Path) -> None:
    """While the hosts are connected to: what listens there never answers."""
    known, results = room / "known_hosts", room / "results of interrupts"
    known.touch()
    with ExitStack() as stack:
        silent = [stack.enter_context(socket.create_server(("127.0.0.1", 0)))]
        port = silent[0].getsockname()[1]
        silent.append(stack.enter_context(socket.create_server(("127.0.0.2", port))))
        file = room / "silent.toml"
        file.write_text(HOSTS.format(port=port, known=known, more=""))
        argv = [sys.executable, "-m", "pytest", "suites", "-p", "no:cacheprovider", "--results", str(results)]
        argv += [*PROFILE, "--testbed", str(file)]
        said_so = "the run is ending: the hosts are being put back"
        output = stack.enter_context((room / "said of interrupts").open("w+"))
        process = stack.enter_context(subprocess.Popen(argv, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT))
        for server in tuple(silent):
            server.settimeout(PATIENCE)
            silent.append(stack.enter_context(server.accept()[0]))
        end = time.monotonic() + PATIENCE
        # Signals that come before the last one was seen are one signal, so they are sent until it told of two.
        while Path(output.name).read_text().count(said_so) < 2 and process.poll() is None:
            assert time.monotonic() < end
            process.send_signal(signal.SIGINT)
            time.sleep(0.2)
        for each in silent:  # nobody need wait until connecting is given up
            each.close()
        process.wait(PATIENCE)
        said = Path(output.name).read_text()
    assert process.returncode == 2, said
    assert "Traceback" not in said and "INTERNALERROR" not in said
    assert said.count(said_so) >= 2
    (path,) = records.list_runs(results)
    head = records.read_head(path)
    assert (head.status, head.reason) == ("interrupted", "stopped by SIGINT")


def test_results_that_cannot_be_written_are_told(commands: dict[str, Future[Done]]) -> None:
    commands["no results"].result().says_once("cannot write the record ")


def items(done: Done) -> list[str]:
    """The names of the collected items: what stands in brackets."""
    return re.findall(r"^suites/\w+\.py::\w+\[(\S+)\]$", done.said, re.MULTILINE)


def planned(wanted: profile.Profile) -> list[str]:
    """Names of the cells that a profile asks for: those of its question alone first, then by suite file."""
    clear = frozenset(name for name, path in receiving.beside(paths.discover()).items() if path.clear)
    cells = plan.cells(wanted, clear)
    suites = {suite.name: suite.question for suite in wanted.suites}
    by_file = [cell for question in sorted(set(suites.values())) for cell in cells if suites[cell.suite] == question]
    last = {cell: place for place, stage in enumerate(plan.stages(wanted, cells)) for cell in stage.cells}
    return [cell.id for cell in sorted(by_file, key=lambda cell: last[cell])]


def test_collecting_boots_nothing_and_names_items_after_cells(commands: dict[str, Future[Done]]) -> None:
    done = commands["collect"].result()
    assert done.status == 0
    found = items(done)
    assert found == planned(profile.load("gigabit-3des"))
    assert "large-files/https/3des/any/100MB" in found
    assert {name.split("/")[1] for name in found[:3]} == {"so-crypt"}, "the question first"
    assert not done.results.exists()
    assert "boot" not in done.said


def test_quick_asks_for_less_and_a_word_selects_items(commands: dict[str, Future[Done]]) -> None:
    less, quick = planned(profile.load("gigabit-3des").quickened()), items(commands["quick"].result())
    assert quick == [name for name in less if "splice" in name or "https" in name]
    assert set(quick) < set(items(commands["collect"].result()))
    assert quick


def test_against_itself_no_cell_is_asked_for_first(commands: dict[str, Future[Done]]) -> None:
    itself = profile.load("gigabit-3des").quickened().against_itself()
    found = items(commands["itself"].result())
    assert found == planned(itself)
    assert len(found) == 2 * len({name.replace("/again/", "/any/") for name in found})
    assert {name.split("/")[0] for name in found} == {suite.name for suite in itself.suites}


def test_only_what_was_selected_stands_in_the_record(commands: dict[str, Future[Done]]) -> None:
    done = commands["no identity"].result()
    run = records.read(records.list_runs(done.results)[0])
    assert [cell.id for cell in run.head.cells] == ["large-files/ipsec/3des/any/10MB"]


def test_a_profile_need_not_ask_every_question() -> None:
    """``servers`` has no schemes: no empty item stands in for them."""
    run = typed("pytest", "suites", "--profile", "servers", "--collect-only", "-q")
    assert run.returncode == 0, run.stdout
    assert "[servers/plain/none/any/100MB]" in run.stdout
    assert "NotSet" not in run.stdout
    assert "test_scheme" not in run.stdout


def test_cells_are_selected_by_patterns_of_their_ids(commands: dict[str, Future[Done]]) -> None:
    found = items(commands["cells"].result())
    everything = planned(profile.load("gigabit-3des"))
    schemes = [name for name in everything if name.startswith("schemes/") and name.endswith("/100MB")]
    assert schemes
    assert found == [name for name in everything if name in schemes or name.startswith("large-files/http/")]


BROKEN = """
from harness.run.session import Session

def opened(session):
    raise ZeroDivisionError("of the harness itself")

Session._open = opened
"""


def test_an_error_of_the_harness_itself_is_told_once_and_ends_the_run(room: Path) -> None:
    (room / "broken_session.py").write_text(BROKEN)
    done = command(room / "broken", *PROFILE, "-p", "broken_session", PYTHONPATH=str(room))
    assert done.status == pytest.ExitCode.TESTS_FAILED
    assert done.said.count("Traceback") <= 1
    assert done.said.count("ZeroDivisionError: of the harness itself") <= 2, "the error and pytest's summary"
    assert "1 failed" in done.said


FAILING = """
from datetime import UTC, datetime
from harness import record, records
from harness.run.session import Session
from harness.run.suite import Outcomes

def result(session, cell):
    if session.writer is None:
        head = record.Head(
            run_id="cut", profile=record.ProfileEntry(name="p", content={}, sha256="0" * 64),
            testbed=record.TestbedEntry(name="lab", kind="uml"), started=datetime.now(UTC), status="running",
            harness="test",
        )
        session.writer = records.Writer(session.results, head)
    plan = session.cells[cell]
    session._run_stages += [stage.name for stage in session.stages if plan in stage.cells]
    outcomes = session._outcomes.setdefault(plan.suite, Outcomes(session.writer))
    outcomes.add(plan)
    outcomes.give_up([plan], "failed", "on purpose")
    return outcomes.cells[cell], []

Session.result = result
"""


@pytest.mark.parametrize(
    ("cells", "status", "reason"),
    [("*", "interrupted", "stopping after 1 failures"), ("schemes/plain/none/any/100MB", "complete", None)],
)
def test_a_run_that_x_cuts_short_is_not_complete(room: Path, cells: str, status: str, reason: str | None) -> None:
    (room / "failing_session.py").write_text(FAILING)
    results = room / f"cut {status}"
    done = command(results, *PROFILE, "-x", "--cells", cells, "-p", "failing_session", PYTHONPATH=str(room))
    assert done.status == pytest.ExitCode.TESTS_FAILED
    head = records.read_head(results / "cut")
    assert (head.status, head.reason) == (status, reason)
    assert (results / "latest").is_symlink() == (status == "complete")


REPLAYED = """
from harness import records
from harness.run.session import Session
from harness.run.suite import Outcomes
from tests.support import real

REAL = records.read(real.DATA)

def result(session, cell):
    if session.writer is None:
        new = {"run_id": "again", "status": "running", "cells": [], "verdicts": [], "finished": None}
        session.writer = records.Writer(session.results, REAL.head.model_copy(update=new))
        session.events.subscribers.append(session._keep_notes)
    plan = session.cells[cell]
    outcomes = session._outcomes.setdefault(plan.suite, Outcomes(session.writer))
    if not outcomes.cells:
        for row in REAL.head.cells:
            if row.suite == plan.suite and row.id in session.wanted:
                outcomes.cells[row.id] = row
                session.writer.head.cells.append(row)
                for sample in REAL.samples:
                    if sample.cell == row.id:
                        outcomes.keep(sample)
        session.writer.head.verdicts += [v for v in REAL.head.verdicts if v.candidate in outcomes.cells]
    return outcomes.cells[cell], [sample for sample in REAL.samples if sample.cell == cell]

Session.result = result
"""


@pytest.mark.parametrize("verbose", [False, True])
def test_a_run_ends_with_its_answer_in_ten_lines_and_tells_all_where_asked(room: Path, verbose: bool) -> None:
    """A run whose samples were taken before: tables and all verdicts with -v only."""
    (room / "replayed_session.py").write_text(REPLAYED)
    taken = ("schemes/afalg-*/10MB", "schemes/so-crypt/*/10MB", "schemes/plain/*/10MB", "large-files/ktls/*")
    cells = ("--quick", *(word for cell in taken for word in ("--cells", cell)))
    results = room / f"replayed {verbose}"
    path = f"{room}{os.pathsep}{ROOT}"
    options = (*PROFILE, *cells, *(["-v"] if verbose else []), "-p", "replayed_session")
    done = command(results, *options, PYTHONPATH=path)
    assert done.status == 0, done.said
    lines = done.said.rstrip().splitlines()
    assert lines[-1] == f"report: {results}/site/again/index.html"
    assert lines[-2].startswith(f"record: {results}/again (complete, ") and lines[-2].endswith(" notes)")
    last = lines[len(lines) - lines[::-1].index("") :]
    assert len(last) <= 10 and "SO_CRYPT" in last[0]
    for all_of_it in (
        "benchmark 'schemes, 10MB'",
        "SKIPPED",
        "afalg-copy / so-crypt, schemes 10MB: time",
        "note:",
    ):
        assert (all_of_it in done.said) == verbose, all_of_it
    if not verbose:
        assert len(lines) < 25, "a newcomer can read it all"


def test_a_terminal_without_the_characters_shows_replacements(room: Path) -> None:
    program = "from hosts.progress import any_terminal; any_terminal(); print('time \u00d71.03')"
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, check=True)
    assert done.stdout == b"time ?1.03\n"


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_toml_is_utf_8_in_every_locale_and_may_begin_with_a_mark(tmp_path: Path, mark: str) -> None:
    """Some editors write a byte order mark."""
    text = (profile.PROFILES / "servers.toml").read_text(encoding="utf-8")
    text, count = re.subn(r'^description = "', 'description = "\u00fc', text, flags=re.MULTILINE)
    assert count == 1
    (tmp_path / "servers.toml").write_text(mark + text, encoding="utf-8")
    hosts = HOSTS.format(port=22, known="/known_hosts", more='user = "j\u00fcrgen"')
    (tmp_path / "two.toml").write_text(mark + hosts, encoding="utf-8")
    program = (
        "import sys; from pathlib import Path; from harness import profile; from hosts import testbed; "
        "print(ascii(profile.load('servers', Path(sys.argv[1])).description[0])); "
        "print(ascii(testbed.load(sys.argv[1] + '/two.toml').sender.user))"
    )
    environment = os.environ | {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-X", "utf8=0", "-c", program, str(tmp_path)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == [r"'\xfc'", r"'j\xfcrgen'"], done.stderr
