"""Kernels that are built for labs: which source, which configuration, where they are in the cache."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from hosts import testbed
from hosts.debian import apt, archive, linux_source
from hosts.errors import ConfigError
from hosts.lab import built_kernel
from hosts.lab.__main__ import NOT_TO_BE_HAD, main
from hosts.lab.built_kernel import SERIES, Wanted
from hosts.lab.uml import UmlTestbed
from hosts.testbed import GuestsTestbed

LAB = Wanted("trixie", "6.12")


def madison(*texts: str) -> str:
    return "".join(
        f"linux-source-6.12 | {text} | http://mirror.example/debian trixie/main amd64 Packages\n" for text in texts
    )


def written(place: Path, text: str) -> GuestsTestbed:
    file = place / "mine.toml"
    file.write_text(text)
    spec = testbed.load(str(file))
    assert isinstance(spec, GuestsTestbed)
    return spec


def test_the_newest_source_is_last_by_its_numbers() -> None:
    found = linux_source.versions(madison("6.12.117-1", "6.12.9-1", "6.12.107-1", "6.12.107-12", "6.12.107-2"))
    assert [version.text for version in found] == [
        *("6.12.9-1", "6.12.107-1", "6.12.107-2", "6.12.107-12", "6.12.117-1"),
    ]
    assert linux_source.versions("") == []


def test_a_backported_source_is_newer_by_its_numbers_too() -> None:
    found = linux_source.versions(madison("7.2.12-1~bpo13+1", "7.2.9-1~bpo13+1"))
    assert [version.text for version in found] == ["7.2.9-1~bpo13+1", "7.2.12-1~bpo13+1"]


@pytest.mark.parametrize("release", SERIES)
def test_the_lab_has_a_kernel_for_every_release_that_a_testbed_may_name(release: str, tmp_path: Path) -> None:
    kernel = built_kernel.wanted(written(tmp_path, f'kind = "uml"\nrelease = "{release}"\n'), "um")
    assert kernel == Wanted(release, SERIES[release])
    assert kernel.location.name.startswith(f"{release}-")


def test_kernels_of_one_release_stay_beside_each_other_in_the_cache() -> None:
    """What is of a group, GROUP-KEY, takes the place of what was: so no group's name begins another's."""
    kernels = [
        *(LAB, Wanted("bookworm", "6.1"), Wanted("trixie", "7.2"), Wanted("trixie", "7.3")),
        *(replace(LAB, additions=names) for names in (("debug",), ("netdevsim",), ("debug", "netdevsim"))),
    ]
    names = [kernel.location.name for kernel in kernels]
    assert len(set(names)) == len(kernels)
    for kernel in kernels:
        assert [name for name in names if name.startswith(f"{kernel.group}-")] == [kernel.location.name]


def test_additions_are_asked_for_after_what_all_kernels_have() -> None:
    fragment = replace(LAB, additions=("netdevsim",)).fragment
    assert fragment.startswith(LAB.fragment)
    assert "CONFIG_NETDEVSIM=m" in fragment
    assert "CONFIG_NETDEVSIM" not in LAB.fragment
    assert "CONFIG_VIRTIO_PCI=y" in replace(LAB, machine="x86_64").fragment


def test_a_fragment_asks_for_each_option_once_and_says_nothing_else() -> None:
    for file in built_kernel.FRAGMENTS.glob("*.config"):
        lines = [line for line in file.read_text().splitlines() if not line.startswith("#")]
        assert all(re.fullmatch(r'CONFIG_[A-Z0-9_]+=([ymn]|\d+|"[^"]*")', line) for line in lines), file
        names = [line.partition("=")[0] for line in lines]
        assert len(set(names)) == len(names), file


@pytest.mark.parametrize("name", [path.stem for path in testbed.BUILTIN.glob("*.toml")])
def test_what_a_testbed_that_comes_along_asks_for_is_known(name: str) -> None:
    spec = testbed.load(name)
    if isinstance(spec, GuestsTestbed):
        machine: built_kernel.Machine = "um" if isinstance(spec, UmlTestbed) else "x86_64"
        assert built_kernel.wanted(spec, machine).release == spec.release


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            'additions = ["debgu"]',
            "a kernel with debgu, and there is no such addition\n.*debug, ipv6, lockdep, netdevsim",
        ),
        ('additions = ["qemu"]', "a kernel with qemu, and there is no such addition"),
        ('additions = ["lockdep"]', 'lockdep, which panics in User Mode Linux\n.*kind = "qemu"'),
        ('series = "7.3.4"', "series: String should match"),
        ('series = "7.3"\nkernel = "/linux"', "kernel names another one"),
    ],
)
def test_what_cannot_be_built_is_told(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        built_kernel.wanted(written(tmp_path, f'kind = "uml"\n{text}\n'), "um")
    assert re.search(said, str(caught.value)), caught.value


def test_a_kernel_of_somebody_s_own_takes_the_place_of_one_that_is_built(tmp_path: Path) -> None:
    own = testbed.with_kernel(testbed.load("lab-7-3"), tmp_path / "linux", None)
    assert isinstance(own, GuestsTestbed)
    assert (own.name, own.series, own.additions) == ("lab-7-3-kernel", None, ())


def test_backports_are_looked_at_on_the_mirror_of_the_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apt, "index_targets", lambda: "Debian|Debian|http://mirror.example/debian/\n")
    monkeypatch.setattr(apt, "config_dump", lambda: "")
    for backports, wanted in ((False, ["trixie"]), (True, ["trixie", "trixie-backports"])):
        made = archive.Archive("trixie", tmp_path / str(backports), "the source", backports=backports)
        lines = (made.directory / "sources.list").read_text().splitlines()
        assert [line.split()[3] for line in lines] == wanted


def test_a_source_that_nobody_has_is_another_status_than_a_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(apt, "index_targets", lambda: "Debian|Debian|http://mirror.example/debian/\n")
    monkeypatch.setattr(archive.Archive, "run", lambda *_command, **_more: "")
    with pytest.raises(linux_source.NoSource, match=r"trixie and its backports have no linux-source-9\.9"):
        linux_source.newest("trixie", "9.9", tmp_path / "apt", backports=True)

    def nobody(*_: object) -> None:
        raise linux_source.NoSource("trixie has no linux-source-9.9")

    monkeypatch.setattr("hosts.lab.__main__.kinds.of", lambda _spec: type("Kind", (), {"obtain": staticmethod(nobody)}))
    assert main(["image", "--testbed", "lab-7-3"]) == NOT_TO_BE_HAD
    assert "no linux-source-9.9" in capfd.readouterr().err
