"""Making a machine ready for the lab: what is missing is installed, or named in one sentence."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from hosts.debian import apt, packages
from hosts.errors import HarnessError
from hosts.lab import ready

NOBODY_KNOWN = 54321


def message_as_user(action: Callable[[], None]) -> str:
    """What HarnessError ``action`` raises in a process of an ordinary user whom this machine does not know."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        said = "nothing"
        try:
            os.setgroups([])
            os.setresgid(NOBODY_KNOWN, NOBODY_KNOWN, NOBODY_KNOWN)
            os.setresuid(NOBODY_KNOWN, NOBODY_KNOWN, NOBODY_KNOWN)
            action()
        except HarnessError as error:
            said = str(error)
        except BaseException as error:
            said = repr(error)
        finally:
            os.write(writer, said.encode())
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        said = answer.read()
    os.waitpid(child, 0)
    return said


def machine(tmp_path: Path, *programs: str, uid: int = NOBODY_KNOWN) -> ready.Machine:
    """A machine with these programs and everything else that a lab needs."""
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    for name in programs:
        (bin_ / name).touch()
        (bin_ / name).chmod(0o755)
    tun, keyring, table = tmp_path / "tun", tmp_path / "keyring", tmp_path / "sub"
    for file in (tun, keyring):
        file.touch()
    tun.chmod(0o666)
    table.write_text(f"{NOBODY_KNOWN}:100000:65536\n")
    return ready.Machine(uid, str(bin_), tun, table, table, keyring)


ALL = [*ready.BOOT, *ready.BUILD, *ready.UNPRIVILEGED_IDS]


def test_a_machine_with_everything_lacks_nothing(tmp_path: Path) -> None:
    assert ready.missing(machine(tmp_path, *ALL), build=True) == []


@pytest.mark.parametrize("program", ALL)
def test_each_missing_program_is_named_by_its_package(tmp_path: Path, program: str) -> None:
    here = machine(tmp_path, *(name for name in ALL if name != program))
    package = (ready.BOOT | ready.BUILD | ready.UNPRIVILEGED_IDS)[program]
    with pytest.raises(HarnessError, match=f"needs {package}, which this machine lacks") as caught:
        ready.make_ready(build=True, machine=here)
    assert f"as root: apt-get install {package}" in str(caught.value)


def test_only_what_is_needed_is_asked_for(tmp_path: Path) -> None:
    assert ready.missing(machine(tmp_path), build=False) == ["iproute2", "mount", "util-linux"]
    root = ready.Machine(0, "", keyring=tmp_path / "none")
    assert ready.missing(root, build=True) == [
        "debian-archive-keyring",
        "iproute2",
        "mmdebstrap",
        "mount",
        "util-linux",
    ]


def test_root_installs_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed: list[str] = []
    monkeypatch.setattr(packages, "install", lambda names, _progress: installed.extend(names))
    ready.make_ready(build=True, machine=machine(tmp_path, *ready.BOOT, uid=0))
    assert installed == ["mmdebstrap"]


def test_a_machine_without_tun_is_told_so(tmp_path: Path) -> None:
    here = machine(tmp_path)
    here.tun.unlink()
    with pytest.raises(HarnessError, match="modprobe tun"):
        ready.check_tun(here)


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes an ordinary user, which only root can")
def test_an_ordinary_user_is_told_what_is_missing() -> None:
    with tempfile.TemporaryDirectory() as open_to_all:
        Path(open_to_all).chmod(0o755)
        here = machine(Path(open_to_all), *ALL)
        here.tun.chmod(0o600)
        said = message_as_user(lambda: ready.check_tun(here))
    assert f"needs {here.tun}, which user {NOBODY_KNOWN} may not read and write" in said
    assert f"next: as root: chmod 0666 {here.tun}" in said


def test_a_user_without_subordinate_ids_is_told_so(tmp_path: Path) -> None:
    here = machine(tmp_path, *ALL)
    ready.check_subordinate_ids(here)
    here.subuid.write_text("somebody:100000:65536\n")
    with pytest.raises(HarnessError, match="has none for user 54321") as caught:
        ready.check_subordinate_ids(here)
    assert "usermod --add-subuids" in str(caught.value)


def test_a_machine_without_user_namespaces_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "unshare"
    fake.write_text("#!/bin/sh\necho 'unshare failed: Operation not permitted' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(HarnessError, match=r"does not allow .*Operation not permitted"):
        ready.check_user_namespaces()


def test_guests_that_are_too_big_are_refused() -> None:
    ready.check_memory(2, 256)
    with pytest.raises(HarnessError, match="smaller memory_mb"):
        ready.check_memory(2, 10**7)


FAKE_APT_GET = """#!/bin/sh
echo "$@" >>"{log}"
for word; do case $word in APT::Status-Fd=*) fd=${{word#*=}} ;; esac; done
case "$*" in
    *update*) touch "{lists}" ;;
    *) [ -e "{lists}" ] || {{ echo "E: Unable to locate package ip"; exit 100; }}
       printf 'dlstatus:1:50.0:Retrieving\\npmstatus:ip:100.0:Installed\\n' >"/proc/self/fd/$fd" ;;
esac
"""


def test_packages_are_installed_with_progress_after_an_update(tmp_path: Path) -> None:
    log, lists, apt_get = tmp_path / "log", tmp_path / "lists", tmp_path / "apt-get"
    apt_get.write_text(FAKE_APT_GET.format(log=log, lists=lists))
    apt_get.chmod(0o755)
    told: list[tuple[str, float | None]] = []
    packages.install(["ip"], lambda what, done: told.append((what, done)), str(apt_get))
    assert ("installing ip", 0.25) in told
    assert told[-1] == ("installing ip", 1.0)
    assert [line.split()[-1] for line in log.read_text().splitlines()] == ["ip", "update", "ip"]


def test_an_installation_that_fails_is_quoted(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="No such file") as caught:
        packages.install(["ip"], lambda _what, _done: None, str(tmp_path / "none"))
    assert "next: get them installed" in str(caught.value)


def test_the_mirror_is_the_machines_own() -> None:
    targets = "Other|Debian|http://other.example/\nDebian|Debian-Security|http://security.example/\nDebian|Debian|http://mirror.example/debian/\n"
    assert (
        apt.sources("trixie", targets) == f"deb [signed-by={apt.KEYRING}] http://mirror.example/debian/ trixie main\n"
    )
    assert apt.sources("trixie", "Ubuntu|Ubuntu|http://mirror.example/ubuntu/\n") == ""
    assert apt.sources("trixie", "") == ""


def test_proxies_and_a_frozen_mirror_are_passed_on_and_trust_is_not() -> None:
    dump = (
        'Acquire "";\nAcquire::Check-Valid-Until "false";\nAcquire::http::Proxy "http://proxy.example:3128";\n'
        'Acquire::https::Proxy::mirror "DIRECT";\nAcquire::http::Proxy::x "";\n'
        'Acquire::AllowInsecureRepositories "1";\nAPT::Get::AllowUnauthenticated "1";\n'
    )
    assert apt.options(dump) == [
        'Acquire::Check-Valid-Until "false"',
        'Acquire::http::Proxy "http://proxy.example:3128"',
        'Acquire::https::Proxy::mirror "DIRECT"',
    ]
