"""Labs say all about themselves in one place, and testbed files name them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

import hosts.lab
from hosts import testbed
from hosts.errors import ConfigError
from hosts.lab import kinds, own_kernel, running
from hosts.lab.guests import LAB_INIT
from hosts.testbed import AutoTestbed, GuestsTestbed, LabTestbed

ROOT = Path(__file__).parents[2]


def written(place: Path, text: str) -> str:
    file = place / "mine.toml"
    file.write_text(text)
    return str(file)


@pytest.mark.parametrize("name", kinds.known())
def test_a_kind_of_lab_says_all_about_itself(name: str, tmp_path: Path) -> None:
    spec = testbed.load(written(tmp_path, f'kind = "{name}"\n'))
    lab = kinds.known()[name]
    assert type(spec) is lab.model
    assert kinds.of(spec) is lab
    known = [kinds.by_word(word) for word in lab.words]
    assert {(by_word.guest, by_word.in_image) for by_word in known} == {(lab.guest, lab.in_image)}
    assert "{role}" in lab.guest
    assert lab.label
    assert lab.caveat.startswith("both hosts ")
    if isinstance(spec, GuestsTestbed):
        assert spec.boots in get_args(own_kernel.Boots)


def test_the_lab_that_the_docs_add_boots_a_kernel_of_somebodys_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = (ROOT / "docs/adding.md").read_text().partition('```python\n"""The lab of')[2].partition("```")[0]
    room = tmp_path / "labs" / "rehearsal"
    room.mkdir(parents=True)
    (room / "__init__.py").write_text(f'"""The lab of{block}')
    monkeypatch.setattr(hosts.lab, "__path__", [*hosts.lab.__path__, str(room.parent)])
    kinds.known.cache_clear()
    try:
        spec = testbed.load(written(tmp_path, 'kind = "rehearsal"\n'))
        assert isinstance(spec, GuestsTestbed)
        assert kinds.of(spec).label == "rehearsal"
        kernel = tmp_path / "linux"
        kernel.write_bytes(own_kernel.ELF + own_kernel.UML + b"Linux version 7.2 (")
        (tmp_path / "7.2").mkdir()
        (tmp_path / "7.2" / "modules.dep").touch()
        changed = own_kernel.put(spec, kernel, None)
        assert isinstance(changed, GuestsTestbed)
        assert changed.kernel == kernel
    finally:
        kinds.known.cache_clear()
        sys.modules.pop("hosts.lab.rehearsal", None)


@pytest.mark.parametrize(("file", "modules"), [("~nosuchuser/linux", None), ("linux", Path("~nosuchuser/modules"))])
def test_a_kernel_in_nobodys_home_is_one_sentence(file: str, modules: Path | None) -> None:
    with pytest.raises(ConfigError, match=r"~nosuchuser/.* begins with a home directory, and there is none"):
        own_kernel.find(Path(file), modules)


def test_every_testbed_that_comes_along_is_of_a_known_kind() -> None:
    specs = [testbed.load(path.stem) for path in testbed.BUILTIN.glob("*.toml")]
    assert {type(spec) for spec in specs} <= {AutoTestbed, *(lab.model for lab in kinds.known().values())}
    assert len(specs) > 2


def test_a_running_lab_of_a_kind_that_is_not_known_here_hides_no_other() -> None:
    words = [str(LAB_INIT), "martian", "/start", "/cache/trixie-1", "512", "0", "1", "/kernel"]
    code = "print('here', flush=True); input()"
    command = ["unshare", "-c", code, *words]
    with subprocess.Popen(command, executable=sys.executable, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        with pytest.raises(ConfigError, match="no lab has guests called 'martian'"):
            running._lab(process.pid)
        assert process.pid not in [lab.pid for lab in running.find()]
        process.kill()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('kind = "vmware"\n', "no testbed is of the kind 'vmware' .known: .*hosts"),
        ('kind = ["hosts"]\n', r"no testbed is of the kind \['hosts'\] .known: .*hosts"),
        ("", "kind: it is missing"),
    ],
)
def test_an_unknown_kind_is_one_sentence(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        testbed.load(written(tmp_path, text))


def test_a_file_of_an_earlier_version_names_its_debian_release_as_its_suite(tmp_path: Path) -> None:
    spec = testbed.load(written(tmp_path, 'kind = "uml"\nsuite = "bookworm"\n'))
    assert isinstance(spec, LabTestbed)
    assert spec.release == "bookworm"
