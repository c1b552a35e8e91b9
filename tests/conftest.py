"""One lab for all tests that need hosts, and ways to look at its guests from outside the harness."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from harness.api.bench import load
from harness.ciphers.table import CIPHERS
from harness.measuring.opened import OpenTestbed
from harness.servers import ipsec
from hosts import testbed
from hosts.lab import uml
from hosts.remote.changes import Scope
from tests.support.lab import obtained

# No test asserts a time: machines differ and are shared.
settings.register_profile("shared", deadline=None, max_examples=40)
settings.register_profile("thorough", deadline=None, max_examples=1000)
settings.load_profile("shared")

MARKS = {
    "lab": ("lab",), "guest": ("lab",), "unit": (), "browser": ("browser",), "userland": ("lab",), "qemu": ("lab",),
}  # fmt: skip
"""The marks of a test by its folder, in the order in which the folders are begun: what takes longest first."""
WAY = 10
"""The nice value of tests beside the lab's."""


class OneLab(LoadScopeScheduling):  # type: ignore[misc]
    """Two processes side by side: one takes all of tests/lab, in its order, the other the rest, file by file.

    Labs share the machine's processors, and some tests look for what was left behind anywhere on it; the guests of
    tests/guest come one at a time, and time nothing. (xdist's own groups, ``--dist loadgroup``, have no effect with
    pytest 9.2: they rename the items, and it does not read the name.)
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "lab" if Path(file).parent.name == "lab" else file


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--guests", metavar="TESTBED,…", help="whose guests kernel modules are tried on (default: lab)")


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> OneLab:
    return OneLab(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test's folder says what it needs."""
    folders = list(MARKS)
    items.sort(key=lambda item: folders.index(item.path.parent.name))
    for item in items:
        for name in MARKS[item.path.parent.name]:
            item.add_marker(name)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Of two processes, the one beside the lab's gives way to it: the lab is what a run of all tests waits for."""
    if hasattr(item.config, "workerinput") and item.path.parent.name != "lab":
        give_way()


@cache
def give_way() -> None:
    """Take what others leave of the processors, once for this process and all that it starts.

    Where processes of a session are scheduled together (sched(7), "The autogroup feature"), only a session's own nice
    value counts, so it gets one of its own.
    """
    with contextlib.suppress(OSError):
        os.nice(WAY)
        os.setsid()
        Path("/proc/self/autogroup").write_text(str(WAY))


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """A shell ignores Ctrl-C for what it runs in the background, and programs started here would inherit that."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def alone() -> None:
    """A pytest that a test starts is no part of this one: in a process of several, its benchmarks would be off."""
    for name in [name for name in os.environ if name.startswith("PYTEST_XDIST_")]:
        del os.environ[name]


@pytest.fixture(scope="module")
def closed_port() -> Iterator[int]:
    """A port of this machine that nobody listens on, and nobody else gets meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield int(taken.getsockname()[1])


@pytest.fixture(scope="session")
def lab_parts() -> Iterator[uml.UmlParts]:
    """What the embedded lab is booted from; skips where it cannot be had."""
    spec = testbed.load("lab")
    assert isinstance(spec, uml.UmlTestbed)
    with obtained(uml.obtain(spec)) as parts:
        yield parts


@pytest.fixture(scope="session")
def lab(lab_parts: uml.UmlParts) -> Iterator[uml.UmlLab]:
    """The embedded lab, booted once."""
    with lab_parts.boot() as booted:
        yield booted


@pytest.fixture(scope="module")
def esp_modules(opened: OpenTestbed) -> Iterator[None]:
    """What ESP stands on is loaded for all tests of a file: each would load and unload some twenty modules else."""
    modules = [*ipsec.OF_VERSION[4], *ipsec.MODULES, *(name for row in CIPHERS.values() for name in row.kernel_modules)]
    with Scope(opened.sender) as here, Scope(opened.receiver) as there:
        for host, scope in ((opened.sender, here), (opened.receiver, there)):
            load(host, scope, *ipsec.RANDOM, sticky=True)
            load(host, scope, *dict.fromkeys(modules))
        yield


@pytest.fixture
def hosts_file(lab: uml.UmlLab, tmp_path: Path) -> Path:
    """The lab's guests named in a testbed file, as a user names two hosts."""
    path = tmp_path / "two-hosts.toml"
    path.write_text(testbed.as_toml(lab.testbed))
    return path
