"""Packages on a host whose manager is made of a few scripts: what is due after an installation, and what is removed."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from hosts import managers, provision
from hosts.errors import Refusal
from hosts.onhost.agent import commands
from hosts.provision import Removed
from hosts.remote.host import RemoteHost
from tests.support.agent_process import PATIENCE
from tests.support.here import here


def ended(*each: int) -> Sequence[Sequence[str]]:
    """Commands with these statuses."""
    return [("sh", "-c", 'exit "$0"', str(status)) for status in each]


@pytest.mark.parametrize(
    ("command", "after", "due"),
    [(0, (), 0), (0, (0, 0), 0), (100, (0, 0), 100), (0, (3, 0), 3), (0, (0, 4), 4), (100, (3, 4), 100)],
)
def test_the_first_status_that_is_not_0_is_that_of_all(command: int, after: tuple[int, ...], due: int) -> None:
    (first,) = ended(command)
    script = provision._in_one(first, ended(*after))
    assert subprocess.run(["sh", "-c", script], check=False).returncode == due


def test_what_is_due_after_it_is_done_where_it_failed_and_is_not_among_its_last_words(tmp_path: Path) -> None:
    marked = tmp_path / "a name of 'two'"
    failing = ["sh", "-c", 'echo "E: no room"; exit 100']
    script = provision._in_one(failing, [*ended(1), ["sh", "-c", 'echo marked; : >"$0"', str(marked)]])
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (100, "E: no room\n")
    assert marked.exists()


# what is removed, and what is remembered when that cannot be told

TRANSACTIONS = Path(__file__).parents[1] / "data" / "transactions"
APT = {
    "dpkg": "echo amd64",
    "dpkg-query": "test -e removed || echo 'ii |site|1-1'",
    "apt-mark": "echo bash",
    "apt-get": 'case "$*" in *--simulate*) echo "Purg site [1-1]" ;; *) touch removed ;; esac',
}
DNF = {
    "rpm": "test -e removed || echo 'site|1-1'",
    "dnf": f"""case "$*" in
*repoquery*) echo bash ;;
*--assumeno*) cat {TRANSACTIONS}/dnf-remove-leaf.txt; exit 1 ;;
*) touch removed ;;
esac""",
}


@dataclass(frozen=True)
class Made:
    """A host, and the room where its manager's scripts and what it remembers are."""

    host: RemoteHost
    room: Path

    @property
    def place(self) -> Path:
        return self.room / "state" / "packages.json"

    @property
    def removed(self) -> bool:
        """Whether its manager was told to remove something."""
        return (self.room / "removed").exists()


@pytest.fixture
def made(machine: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Made]]:
    """This machine with a package manager of these scripts, and ``site`` of ours."""
    opened: list[RemoteHost] = []

    def make(name: str, programs: dict[str, str]) -> Made:
        for program, text in programs.items():
            (tmp_path / program).write_text(f"#!/bin/sh\ncd {tmp_path}\n{text}\n")
            (tmp_path / program).chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        host, _ = here(monkeypatch)
        opened.append(host)
        host.uid = 0  # the scripts are anybody's
        there = Made(host, tmp_path)
        monkeypatch.setattr(provision, "PLACE", str(there.place))
        there.place.parent.mkdir()
        there.place.write_text(json.dumps({"manager": name, "packages": {"site": "1-1"}, "settings": []}))
        return there

    yield make
    for host in opened:
        host.close()


@pytest.mark.parametrize(("name", "programs"), [("apt", APT), ("dnf", DNF)])
def test_what_is_ours_is_removed_and_forgotten(made: Callable[..., Made], name: str, programs: dict[str, str]) -> None:
    there = made(name, programs)
    assert provision.deprovision(there.host) == Removed(("site",), {})
    assert there.removed
    assert not there.place.parent.exists()


@pytest.mark.parametrize(
    ("name", "programs", "program", "text", "said"),
    [
        ("apt", APT, "dpkg", "exit 1", "its packages cannot be listed: sh ended with status 1"),
        ("apt", APT, "dpkg-query", "echo 'broken status file' >&2; exit 2", "ended with status 2: broken status file"),
        ("apt", APT, "apt-mark", "exit 100", "its packages cannot be listed: apt-mark ended with status 100"),
        ("apt", APT, "apt-get", "echo 'E: no lock'; exit 100", "apt does not say what removing site would do: no lock"),
        ("apt", APT, "apt-get", "kill -SEGV $$", "apt does not say what removing site would do: nothing of site"),
        ("dnf", DNF, "rpm", "exit 1", "its packages cannot be listed: rpm ended with status 1"),
        ("dnf", DNF, "dnf", "exit 1", "its packages cannot be listed: dnf ended with status 1"),
    ],
)
def test_where_the_manager_does_not_tell_nothing_is_removed_or_forgotten(
    made: Callable[..., Made], name: str, programs: dict[str, str], program: str, text: str, said: str
) -> None:
    there = made(name, programs | {program: text})
    before = there.place.read_text()
    with pytest.raises(Refusal) as caught:
        provision.deprovision(there.host)
    assert said in caught.value.what
    assert not there.removed
    assert there.place.read_text() == before


# an installation that the host's power did not outlast

INSTALLING = APT | {
    "dpkg": 'case "$1" in --print-architecture) echo amd64 ;; esac',
    "dpkg-query": "test ! -e there || test -e removed || echo 'ii |site|1-1'",
    "apt-mark": """case "$1" in
showmanual) test ! -e there || test -e marked || echo site ;;
auto) touch marked; echo "$@" >>marks ;;
esac""",
    "apt-get": """case "$*" in
*--simulate*purge*) echo "Purg site [1-1]" ;;
*--simulate*) echo "Inst site (1-1 x)" ;;
*purge*) touch removed ;;
*) touch there; {cut} ;;
esac""",
}


def unsettled(there: Made) -> list[str]:
    found = json.loads(there.place.read_text())["unsettled"]
    assert isinstance(found, list)
    return found


@pytest.mark.parametrize("cut", [False, True])
def test_what_is_due_after_an_installation_that_was_cut_is_done_later(
    made: Callable[..., Made], monkeypatch: pytest.MonkeyPatch, cut: bool
) -> None:
    apt = INSTALLING["apt-get"].replace("{cut}", "kill -KILL $PPID" if cut else "true")
    there = made("apt", INSTALLING | {"apt-get": apt})
    monkeypatch.setattr(provision, "POLICY", str(there.room / "policy-rc.d"))
    there.place.unlink()
    if cut:
        with pytest.raises(Refusal, match="installing site failed"):
            provision.provision(there.host, managers.APT, ["site"])
        assert unsettled(there) == ["site"]
        assert not (there.room / "marks").exists()
        end = time.monotonic() + PATIENCE
        while commands.unfinished(Path(there.host.directory)):
            assert time.monotonic() < end, "apt-get never ends"
        provision.settle(there.host)
    else:
        assert provision.provision(there.host, managers.APT, ["site"]).installed == {"site": "1-1"}
    assert unsettled(there) == []
    provision.settle(there.host)
    assert (there.room / "marks").read_text() == "auto site\n", "once"
    assert provision.deprovision(there.host) == Removed(("site",), {})


def test_what_is_due_is_remembered_until_it_is_done(made: Callable[..., Made]) -> None:
    there = made("apt", APT | {"apt-mark": "test -e may && touch marked"})
    there.place.write_text(json.dumps({"manager": "apt", "packages": {"site": "1-1"}, "unsettled": ["site", "gone"]}))
    with pytest.raises(Refusal, match="finishing the installation of site failed"):
        provision.settle(there.host)
    assert unsettled(there) == ["site", "gone"]
    (there.room / "may").touch()
    provision.settle(there.host)
    assert unsettled(there) == []
