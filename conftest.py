"""Wires pytest to the harness: options, items named after cells, one session, the report at the end."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from harness import profile
from harness.cli import closing, summary
from harness.cli.console import Reporter
from harness.events import Event, Events, Sampling
from harness.records import Writer
from harness.run.session import Session
from hosts import testbed
from hosts.errors import HarnessError
from hosts.lab import own_kernel
from hosts.progress import any_terminal
from suites.replay import replay

stopped: list[BaseException] = []
SESSION = pytest.StashKey[Session]()
EVENTS = pytest.StashKey[Events]()
REPORTER = pytest.StashKey[Reporter]()
STOPPED = pytest.StashKey[BaseException]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("pathproof", "secure data paths")
    group.addoption("--profile", help="what to measure: a file's name in suites/profiles, or a TOML file elsewhere")
    group.addoption("--testbed", help="a testbed's name (auto, lab, …) or a TOML file (default: the profile's)")
    group.addoption("--provision", action="store_true", help="install what the profile needs and the hosts lack")
    group.addoption("--kernel", type=Path, help="boot this kernel in the lab: a bzImage, or User Mode Linux's program")
    group.addoption("--modules", type=Path, help="where that kernel's modules are installed (default: beside it)")
    group.addoption("--results", default="results", type=Path, help="where records and reports go")
    group.addoption(
        "--cells", action="append", metavar="PATTERN", help="only cells whose id matches, as 'schemes/*/100MB' does"
    )
    group.addoption("--aa", action="store_true", help="every path against itself: what such a run finds is wrong")
    group.addoption("--quick", action="store_true", help="fewer blocks and a smaller largest file")
    group.addoption("--run-id", help="what the record is called, for who looks after it: no report is made here")


@pytest.hookimpl(tryfirst=True)  # before pytest-benchmark looks whether it is to be quiet
def pytest_configure(config: pytest.Config) -> None:
    name = config.getoption("--profile")
    if not name:
        return
    if not _verbose(config):  # cells and their reasons are told once, at the end
        config.option.benchmark_quiet = config.option.no_header = True
        config.option.reportchars = ""
    if config.getoption("numprocesses", None):
        raise pytest.UsageError("a profile is measured by one process: leave out -n")
    if config.getoption("benchmark_only"):
        raise pytest.UsageError("a profile has nothing but benchmarks: leave out --benchmark-only")
    any_terminal()
    try:
        wanted = profile.load(name)
        wanted = wanted.quickened() if config.getoption("--quick") else wanted
        wanted = wanted.against_itself() if config.getoption("--aa") else wanted
        bed = testbed.load(config.getoption("--testbed") or wanted.testbeds[0], config.getoption("--provision"))
        kernel, modules = config.getoption("--kernel"), config.getoption("--modules")
        if modules and not kernel:
            raise pytest.UsageError("--modules says where the modules of --kernel PATH are: name that too")
        bed = own_kernel.put(bed, kernel, modules) if kernel else bed
        events = Events([_unless_stopped])
        config.stash[EVENTS] = events
        config.stash[REPORTER] = Reporter(everything=_verbose(config), newline=lambda: _end_the_line(config))
        config.stash[SESSION] = Session(
            wanted,
            bed,
            config.getoption("--results"),
            events,
            run_id=config.getoption("--run-id"),
        )
    except HarnessError as error:
        raise pytest.UsageError(str(error)) from None
    for pattern in config.getoption("--cells") or ():
        if not any(fnmatchcase(cell, pattern) for cell in config.stash[SESSION].cells):
            raise pytest.UsageError(f"--cells {pattern}: {name} has no such cell; --collect-only lists them")
    _handle(_stop)


def _handle(handler: Callable[[int, object], None]) -> None:
    """What asks a run to stop goes to ``handler``."""
    signal.signal(signal.SIGTERM, handler)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, handler)


def _stop(number: int, _frame: object) -> None:
    """Remembered before it is raised: a run that was told to stop is not complete, whoever catches this."""
    _handle(_be_patient)
    error = KeyboardInterrupt(f"stopped by {signal.Signals(number).name}")
    stopped.append(error)
    raise error


def _be_patient(_number: int, _frame: object) -> None:
    """The run is ending already, and to interrupt that would leave the hosts to put themselves back."""
    os.write(2, b"the run is ending: the hosts are being put back and the record is closed\n")


def _unless_stopped(event: Event) -> None:
    """Nothing more is sampled once the run was told to stop, should somebody have caught that."""
    if stopped and isinstance(event, Sampling):
        raise stopped[0]


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
    """Only the cells that --cells names; and pytest leaves an empty item for a question that a profile does not ask."""
    if SESSION not in config.stash:
        return
    patterns = config.getoption("--cells") or ["*"]
    known = config.stash[SESSION].cells
    chosen = {cell for cell in known if any(fnmatchcase(cell, pattern) for pattern in patterns)}
    left_out = [item for item in items if (cell := _cell(item)) in known and cell not in chosen]
    items[:] = [item for item in items if (cell := _cell(item)) is None or cell in chosen]
    config.stash[SESSION].select(chosen)
    stages = config.stash[SESSION].stages  # what is measured first is asked for first, when all of it is there
    last = {cell.id: place for place, stage in enumerate(stages) for cell in stage.cells}
    items.sort(key=lambda item: last.get(_cell(item) or "", len(stages)))
    config.hook.pytest_deselected(items=left_out)


def _cell(item: pytest.Item) -> str | None:
    """The id of the cell that an item measures; empty for an empty item, None for one that measures none."""
    if not isinstance(item, pytest.Function) or "cell" not in item.fixturenames:
        return None
    cell = item.callspec.params["cell"]
    return cell if isinstance(cell, str) else ""


def pytest_collection_finish(session: pytest.Session) -> None:
    if SESSION in session.config.stash:
        session.config.stash[SESSION].select(cell for item in session.items if (cell := _cell(item)))


def _end_the_line(config: pytest.Config) -> None:
    """pytest's line of results so far, before something else is said."""
    if terminal := config.pluginmanager.get_plugin("terminalreporter"):
        terminal.ensure_newline()
        terminal.flush()


def _verbose(config: pytest.Config) -> bool:
    """Whether -v was given: then a run says everything it knows, else its answer."""
    return config.get_verbosity() > 0


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
            request.session.shouldfail = f"an error of the harness itself: {type(error).__name__}"
            raise
        replay(*result, lambda: request.getfixturevalue("benchmark"))

    return show


class Talking:
    """While the harness works, its progress goes to the real terminal."""

    def __init__(self, config: pytest.Config) -> None:
        capture = config.pluginmanager.getplugin("capturemanager")
        self._open = capture.global_and_fixture_disabled()
        self._events, self._reporter = config.stash[EVENTS], config.stash[REPORTER]

    def __enter__(self) -> None:
        self._open.__enter__()
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
    _handle(_be_patient)
    error = config.stash.get(STOPPED, None) or (stopped[0] if stopped else None) or _cut_short(session)
    with Talking(config):
        try:
            config.stash[SESSION].close(error)
        except HarnessError as problem:
            print(problem)
            session.exitstatus = pytest.ExitCode.INTERNAL_ERROR


def _cut_short(session: pytest.Session) -> BaseException | None:
    """What -x and --maxfail leave out was not measured, and a record without it is not complete."""
    reason = session.shouldfail or session.shouldstop
    return KeyboardInterrupt(reason) if reason and session.config.stash[SESSION].unreached else None


def pytest_unconfigure(config: pytest.Config) -> None:
    """The last lines of a run: its answer, and where the report is; with -v everything before that."""
    session = config.stash.get(SESSION, None)
    if session is None or session.finished is None:
        return
    writer = session.finished
    notes = f", {len(writer.head.notes)} notes" if writer.head.notes else ""
    where = [f"record: {writer.path} ({writer.head.status}{notes})"]
    if not config.getoption("--run-id"):
        where.append(_page(writer))
    if _verbose(config):
        print(*summary.lines(writer.head, session.samples), sep="\n")
    print("", *closing.lines(writer.head, session.samples, where), sep="\n")


def _page(writer: Writer) -> str:
    """Where the run's report is, or why there is none."""
    try:
        import reports  # plotting libraries take a second to load: only once there is something to show

        return f"report: {reports.run_page(writer.results, writer.head.run_id)}"
    except HarnessError as error:
        return f"no report: {' '.join(str(error).split())}"
