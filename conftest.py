"""Wires pytest to the harness: options, items named after cells, one session, the report at the end."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import profile, summary
from harness.console import Reporter
from harness.events import Events
from harness.record import Writer
from harness.session import Session
from hosts import testbed
from hosts.errors import HarnessError
from suites.replay import replay

stopped: list[BaseException] = []
SESSION = pytest.StashKey[Session]()
EVENTS = pytest.StashKey[Events]()
STOPPED = pytest.StashKey[BaseException]()
FINISHED = pytest.StashKey[Writer]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("pathproof", "secure data paths")
    group.addoption("--profile", help="what to measure: a file's name in suites/profiles")
    group.addoption("--testbed", help="where: lab, or a TOML file that names two hosts (default: the profile's)")
    group.addoption("--results", default="results", type=Path, help="where records and reports go")
    group.addoption("--aa", action="store_true", help="every path against itself: what such a run finds is wrong")
    group.addoption("--quick", action="store_true", help="fewer blocks and a smaller largest file")


def pytest_configure(config: pytest.Config) -> None:
    name = config.getoption("--profile")
    if not name:
        return
    if config.getoption("numprocesses", None):
        raise pytest.UsageError("a profile is measured by one process: leave out -n")
    try:
        wanted = profile.load(name)
        wanted = wanted.quickened() if config.getoption("--quick") else wanted
        wanted = wanted.against_itself() if config.getoption("--aa") else wanted
        events = Events()
        config.stash[EVENTS] = events
        config.stash[SESSION] = Session(
            wanted,
            testbed.load(config.getoption("--testbed") or wanted.testbeds[0]),
            config.getoption("--results"),
            events,
        )
    except HarnessError as error:
        raise pytest.UsageError(str(error)) from None
    signal.signal(signal.SIGTERM, _stop)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _stop)


def _stop(number: int, _frame: object) -> None:
    """Remembered before it is raised: a run that was told to stop is not complete, whoever catches this."""
    error = KeyboardInterrupt(f"stopped by {signal.Signals(number).name}")
    stopped.append(error)
    raise error


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Without a profile there is nothing in suites to ask."""
    return True if collection_path.name == "suites" and SESSION not in config.stash else None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    question = getattr(metafunc.module, "QUESTION", None)
    if question and "cell" in metafunc.fixturenames:
        session = metafunc.config.stash[SESSION]
        suites = {suite.name for suite in session.profile.suites if suite.question == question}
        ids = [cell.id for cell in session.cells.values() if cell.suite in suites]
        metafunc.parametrize("cell", ids, ids=ids)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A profile need not ask every question: pytest leaves an empty item for one without cells."""
    if SESSION in config.stash:
        known = config.stash[SESSION].cells
        items[:] = [
            item
            for item in items
            if not isinstance(item, pytest.Function)
            or "cell" not in item.fixturenames
            or item.callspec.params["cell"] in known
        ]


def pytest_collection_finish(session: pytest.Session) -> None:
    if SESSION in session.config.stash:
        items = [item for item in session.items if isinstance(item, pytest.Function)]
        session.config.stash[SESSION].select(
            str(item.callspec.params["cell"]) for item in items if "cell" in item.fixturenames
        )


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Measure a cell, with those it is compared with, and show it to pytest."""

    def show(cell: str) -> None:
        config = request.config
        try:
            with Talking(config):
                result = config.stash[SESSION].result(cell)
        except HarnessError as error:
            config.stash[STOPPED] = error
            pytest.exit(str(error), returncode=pytest.ExitCode.INTERNAL_ERROR)
        except Exception as error:
            config.stash[STOPPED] = error
            raise
        replay(*result, lambda: request.getfixturevalue("benchmark"))

    return show


class Talking:
    """While the harness works, its progress goes to the real terminal."""

    def __init__(self, config: pytest.Config) -> None:
        capture = config.pluginmanager.getplugin("capturemanager")
        self._open = capture.global_and_fixture_disabled()
        self._events = config.stash[EVENTS]

    def __enter__(self) -> None:
        self._open.__enter__()
        self._reporter = Reporter()
        self._reporter.__enter__()
        self._events.subscribers.append(self._reporter)

    def __exit__(self, *error: object) -> None:
        self._events.subscribers.remove(self._reporter)
        self._reporter.__exit__(None, None, None)
        self._open.__exit__(*error)


def pytest_keyboard_interrupt(excinfo: pytest.ExceptionInfo[BaseException]) -> None:
    """Also called for pytest.exit; what stopped the run is remembered for its record."""
    stopped.append(excinfo.value)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    config = session.config
    if SESSION not in config.stash:
        return
    error = config.stash.get(STOPPED, None) or (stopped[0] if stopped else None)
    with Talking(config):
        try:
            config.stash[SESSION].close(error)
        except HarnessError as problem:
            print(problem)
            session.exitstatus = pytest.ExitCode.INTERNAL_ERROR


def pytest_unconfigure(config: pytest.Config) -> None:
    """The last lines of a run: verdicts, what was not measured, where the report is."""
    session = config.stash.get(SESSION, None)
    if session is None or session.finished is None:
        return
    writer = session.finished
    print()
    for line in summary.lines(writer.head, session.samples):
        print(line)
    print(f"record: {writer.path} ({writer.head.status})")
    try:
        import reports  # plotting libraries take a second to load: only once there is something to show

        page = reports.run_page(writer.results, writer.head.run_id)
    except HarnessError as error:
        print(f"no report: {error}")
    else:
        print(f"report: {page}")
