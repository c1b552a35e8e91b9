"""One lab for all tests that need hosts, and ways to look at its guests from outside the harness."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from harness.bed import SO_CRYPT, Bed, opened
from harness.bench import load
from harness.ciphers import CIPHERS
from harness.events import Events
from harness.paths import _datapath, ipsec
from hosts import testbed
from hosts.changes import Scope
from hosts.errors import HarnessError
from hosts.kernel import build
from hosts.lab import qemu, uml
from hosts.ssh import Connection, SshError
from hosts.testbed import Host, HostsTestbed

BESIDE_A_LAB = frozenset({"test_guests_lab.py", "test_so_crypt.py"})
"""Their guests are their own, one at a time, and they time nothing."""


class OneLab(LoadScopeScheduling):  # type: ignore[misc]
    """Two processes side by side: one takes all files that need a lab of two hosts, in their order, the other the rest.

    Labs share the machine's processors, and some tests look for what was left behind anywhere on it. (xdist's own
    groups, ``--dist loadgroup``, have no effect with pytest 9.2.)
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "lab" if _needs_lab(self.config.rootpath / file) else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> OneLab:
    return OneLab(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs a lab takes longest and begins, then what needs guests."""
    items.sort(key=lambda item: (not _needs_lab(item.path), item.path.name not in BESIDE_A_LAB))


@cache
def _needs_lab(file: Path) -> bool:
    return file.name not in BESIDE_A_LAB and "mark.lab" in file.read_text(encoding="utf-8")


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


@pytest.fixture(scope="session")
def lab() -> Iterator[uml.UmlLab]:
    """The embedded lab, booted once."""
    spec = testbed.load("lab")
    assert isinstance(spec, testbed.UmlTestbed)
    try:
        booted = uml.boot(spec)
    except HarnessError as error:
        pytest.skip(f"the lab does not boot here: {error}")
    with booted:
        yield booted


@pytest.fixture(scope="session")
def datapath(tmp_path_factory: pytest.TempPathFactory) -> bytes | None:
    """The program ``datapath`` for any guest, so that not every bed compiles it; None where it cannot be made here."""
    program = tmp_path_factory.mktemp("datapath") / "datapath"
    sources = [str(path) for path in sorted((_datapath.HOSTS / "datapath").glob("*.c"))]
    header = _datapath.HOSTS / "kernel" / "so_crypt"
    command = [*_datapath.COMPILE, str(program), "-static", f"-I{header}", *sources]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=120)
    except (OSError, subprocess.SubprocessError):
        return None
    return program.read_bytes()


@contextlib.contextmanager
def connected(testbed: HostsTestbed, program: bytes | None) -> Iterator[Bed]:
    """An open bed on hosts that are as they were afterwards."""
    with unchanged(testbed), opened(testbed, Events()) as bed:
        if program:
            bed.shared[_datapath.SHARED] = bed.sender.put(program, "datapath", 0o700)
        yield bed


@contextlib.contextmanager
def unchanged(testbed: HostsTestbed) -> Iterator[None]:
    """Both hosts are afterwards as they were before."""
    hosts = (testbed.sender, testbed.receiver)
    with ThreadPoolExecutor(2) as pool:
        before = list(pool.map(state, hosts))
    yield
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(eventually_as_before, hosts, before))


@pytest.fixture(scope="module")
def bed(lab: uml.UmlLab, datapath: bytes | None) -> Iterator[Bed]:
    """The lab's guests, connected for all tests of a file."""
    with connected(lab.testbed, datapath) as hosts:
        yield hosts


@pytest.fixture(scope="module")
def esp_modules(bed: Bed) -> Iterator[None]:
    """What ESP stands on is loaded for all tests of a file: each would load and unload some twenty modules else."""
    modules = [*ipsec.RANDOM, *ipsec.MODULES, *(name for row in CIPHERS.values() for name in row.kernel_modules)]
    with Scope(bed.sender) as here, Scope(bed.receiver) as there:
        for host, scope in ((bed.sender, here), (bed.receiver, there)):
            load(host, scope, *dict.fromkeys(modules), sticky=ipsec.RANDOM)
        yield


@pytest.fixture(scope="module")
def qemu_lab() -> Iterator[qemu.QemuLab]:
    """The embedded lab of QEMU guests, booted once for a file: emulating two processors would slow down all others."""
    from tests.test_lab_boot import inhabitants, namespace_of, soon

    spec = testbed.load("lab-qemu")
    assert isinstance(spec, testbed.QemuTestbed)
    try:
        booted = qemu.boot(spec)
    except HarnessError as error:
        pytest.skip(f"the lab of QEMU guests does not boot here: {error}")
    with booted:
        inside = namespace_of(booted.pid)
        yield booted
    assert soon(lambda: inhabitants(inside) == []), inhabitants(inside)


@pytest.fixture(scope="session")
def own_lab() -> Iterator[tuple[uml.UmlLab, build.Module]]:
    """A lab whose kernel modules of ours fit, and so_crypt for it."""
    spec = testbed.load("lab")
    assert isinstance(spec, testbed.UmlTestbed)
    try:
        with contextlib.closing(uml.obtain_image(spec)) as guests:
            module = build.for_uml(spec.suite, guests.path)
        booted = uml.boot(spec, kernel=module.kernel)
    except HarnessError as error:
        pytest.skip(f"a lab for modules of ours cannot be had here: {error}")
    with booted:
        yield booted, module


@pytest.fixture(scope="module")
def own_bed(own_lab: tuple[uml.UmlLab, build.Module], datapath: bytes | None) -> Iterator[Bed]:
    """Its guests, connected for all tests of a file, with so_crypt on the sender."""
    booted, module = own_lab
    with connected(booted.testbed, datapath) as hosts:
        hosts.sender_facts.built[SO_CRYPT] = hosts.sender.put(module.path.read_bytes(), build.MODULE)
        yield hosts


@pytest.fixture
def hosts_file(lab: uml.UmlLab, tmp_path: Path) -> Path:
    """The lab's guests named in a testbed file, as a user names two hosts."""
    path = tmp_path / "two-hosts.toml"
    path.write_text(testbed_toml(lab.testbed))
    return path


def testbed_toml(bed: HostsTestbed) -> str:
    """A testbed as the file that says it."""
    lines = ['kind = "hosts"', "shape = true"]
    for role in ("sender", "receiver"):
        host: Host = getattr(bed, role)
        lines.append(f"[{role}]")
        for name, value in host.model_dump(mode="json", exclude_none=True).items():
            lines.append(f"{name} = {value}" if isinstance(value, int) else f"{name} = '{value}'")
    return "\n".join(lines) + "\n"


def shell(host: Host, command: str) -> str:
    """Output of a shell command on a host, over a connection of its own."""
    with Connection("test", host) as connection:
        channel = connection.start(command)
        lines: list[str] = []
        with contextlib.suppress(SshError):
            lines.extend(channel.read_line(30.0).decode(errors="replace") for _ in range(10_000))
        return "\n".join(lines)


STATE = (
    "echo policies; ip xfrm policy list; echo states; ip xfrm state list nokeys; echo qdiscs; tc qdisc show; "
    "echo modules; cut -d' ' -f1 /proc/modules | sort; echo shm; ls -A /dev/shm; echo files; "
    "ls -A /run /tmp /root; echo addresses; ip -o address; echo processes; "
    "for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline | grep . ; done; true"
)


def state(host: Host) -> list[str]:
    """What a run could leave behind on a host: IPsec, queueing, modules, files, addresses, processes."""
    lines = shell(host, STATE).splitlines()
    # the shell that looks, its connection, and modules the kernel itself never lets go of
    passing = re.compile(
        r"sshd-session|^sshd: |sh -c echo policies|^tr |^sleep |ls -A|^bash -c|valid_lft|^sort|^cut|^grep"
    )
    staying = set(ipsec.RANDOM)
    return [line for line in lines if not passing.search(line) and line not in staying]


def eventually_as_before(host: Host, before: list[str]) -> None:
    """The guardian works by itself: give it a while."""
    now: list[str] = []
    for _ in range(20):
        now = state(host)
        if now == before:
            return
        time.sleep(0.5)
    assert now == before
