"""What a lab of QEMU guests is made of: its kernel's place in the cache, the initial RAM disk, the choice of KVM."""

from __future__ import annotations

import json
import lzma
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from hosts import testbed
from hosts.debian import archive, packages
from hosts.debian.cached import Cached
from hosts.debian.linux_source import NoSource
from hosts.errors import ConfigError, HarnessError
from hosts.lab import ready
from hosts.lab.accounting import VcpuMeter
from hosts.lab.kvm import probe
from hosts.lab.qemu import QemuTestbed, guest_kernel, initrd
from hosts.lab.qemu.guest_kernel import About, GuestKernel
from hosts.processes import SYSTEM_PATH
from hosts.progress import silent
from tests.unit.test_lab_ready import ALL, machine

DEPENDENCIES = """\
kernel/net/9p/9pnet.ko.xz: kernel/fs/netfs/netfs.ko.xz
kernel/net/9p/9pnet_virtio.ko.xz: kernel/net/9p/9pnet.ko.xz kernel/fs/netfs/netfs.ko.xz
kernel/fs/netfs/netfs.ko.xz:
kernel/crypto/crc32c-intel.ko:
"""


class Index:
    """What an archive says of packages."""

    def __init__(self, **depends: str) -> None:
        self.depends = {name.replace("_", "-"): said for name, said in depends.items()}

    def run(self, *command: str) -> str:
        assert command[:2] == ("apt-cache", "pkgnames")
        return "".join(f"{name}\n" for name in self.depends if name.startswith(command[2]))

    def show(self, name: str) -> dict[str, str]:
        found = [said for start, said in self.depends.items() if name.startswith(start)]
        return {"Depends": found[0]} if found else {}


def kernel(place: Path, content: bytes = b"kernel", said: bytes | None = None) -> About:
    """A kernel in the cache, whose description says that its content is ``said``."""
    place.mkdir(parents=True)
    (place / "vmlinuz").write_bytes(said or content)
    sha256 = archive.sha256(place / "vmlinuz")
    (place / "vmlinuz").write_bytes(content)
    about = About(kernel_release="6.12.1-amd64", version="6.12.1-1", vmlinuz_sha256=sha256, packages=())
    (place / "kernel.json").write_text(about.model_dump_json())
    return about


def test_the_lab_is_a_testbed_of_its_own_kind() -> None:
    spec = testbed.load("lab-qemu")
    assert isinstance(spec, QemuTestbed)
    assert spec.release == "trixie"


def test_a_wrong_word_is_named(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('kind = "qemu"\nrelease = "hamm"\n')
    with pytest.raises(ConfigError, match=r"release: .*'bookworm' or 'trixie'"):
        testbed.load(str(file))


def test_qemu_is_asked_for_only_where_it_is_needed(tmp_path: Path) -> None:
    here = machine(tmp_path, *ALL)
    assert ready.missing(here, build=True) == []
    assert ready.missing(here, build=False, qemu=True) == ["qemu-system-x86"]


def test_root_gets_qemu_installed_and_others_are_told_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed: list[str] = []
    monkeypatch.setattr(packages, "install", lambda names, _progress: installed.extend(names))
    here = machine(tmp_path, *ALL)
    ready.make_ready(build=False, qemu=True, machine=replace(here, uid=0))
    assert installed == ["qemu-system-x86"]
    with pytest.raises(HarnessError, match="as root: apt-get install qemu-system-x86"):
        ready.make_ready(build=False, qemu=True, machine=here)


def test_another_recipe_or_release_is_another_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = guest_kernel.recipe()
    keys = [
        recipe.key("trixie"),
        recipe.key("bookworm"),
        recipe.model_copy(update={"leave_out": ()}).key("trixie"),
        recipe.model_copy(update={"package": "linux-image-cloud-amd64"}).key("trixie"),
    ]
    monkeypatch.setattr(guest_kernel, "LAYOUT", guest_kernel.LAYOUT + 1)
    keys.append(recipe.key("trixie"))
    assert len(set(keys)) == len(keys)


def test_the_kernel_comes_with_its_headers_and_their_tools() -> None:
    index = Index(
        linux_image_amd64="linux-image-6.12.1+deb13-amd64 (= 6.12.1-1)",
        linux_headers_="linux-base, linux-headers-6.12.1+deb13-common (= 6.12.1-1), linux-image-6.12.1+deb13-amd64 "
        "(= 6.12.1-1) | linux-image-unsigned, linux-kbuild-6.12.1+deb13, gcc-14",
    )
    current = guest_kernel._current(index)  # type: ignore[arg-type]
    assert guest_kernel._packages(index, current) == (  # type: ignore[arg-type]
        "6.12.1+deb13-amd64",
        [
            "linux-image-6.12.1+deb13-amd64",
            "linux-headers-6.12.1+deb13-amd64",
            "linux-headers-6.12.1+deb13-common",
            "linux-kbuild-6.12.1+deb13",
        ],
    )


def test_a_newer_kernel_comes_in_several_packages() -> None:
    index = Index(
        linux_image_7="linux-binary-7.3.4+deb13-amd64 (= 7.3.4-1), linux-modules-7.3.4+deb13-amd64, dracut",
        linux_headers_="linux-kbuild-7.3.4+deb13",
    )
    assert guest_kernel._packages(index, "linux-image-7.3.4+deb13-amd64")[1] == [  # type: ignore[arg-type]
        "linux-image-7.3.4+deb13-amd64",
        "linux-binary-7.3.4+deb13-amd64",
        "linux-modules-7.3.4+deb13-amd64",
        "linux-headers-7.3.4+deb13-amd64",
        "linux-kbuild-7.3.4+deb13",
    ]


def test_the_newest_kernel_of_a_series_without_its_flavours() -> None:
    index = Index()
    names = [f"7.2.{rest}" for rest in ("9+deb13-amd64", "12+deb13-amd64", "12+deb13-rt-amd64", "12+deb13-amd64-dbg")]
    index.depends = {f"linux-image-{name}": "" for name in [*names, "7.20.1+deb13-amd64"]}
    assert guest_kernel._of_series(index, "7.2") == "linux-image-7.2.12+deb13-amd64"  # type: ignore[arg-type]
    with pytest.raises(NoSource, match=r"no kernel 7\.4"):
        guest_kernel._of_series(index, "7.4")  # type: ignore[arg-type]


def test_a_series_of_the_backports_stays_beside_the_release_s_own() -> None:
    assert guest_kernel.location("trixie").name.startswith("trixie-")
    assert guest_kernel.location("trixie", "7.3").name.startswith("7.3-trixie-")
    assert guest_kernel.recipe().key("trixie", "7.3") != guest_kernel.recipe().key("trixie")


def test_a_package_without_a_kernel_is_an_error() -> None:
    with pytest.raises(HarnessError, match="depends on no kernel but on nothing"):
        guest_kernel._current(Index())  # type: ignore[arg-type]


def test_what_is_not_what_was_fetched_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest_kernel, "cache", lambda: tmp_path / "kernels")
    place = guest_kernel.location("trixie")
    about = kernel(place)
    found = guest_kernel.obtain("trixie", tmp_path)
    assert (found.about, found.path) == (about, place)
    found.close()
    (place / "vmlinuz").write_bytes(b"something else")
    with pytest.raises(HarnessError, match="is not what was fetched") as caught:
        guest_kernel.obtain("trixie", tmp_path)
    assert f"rm -r {place}" in str(caught.value)
    (place / "kernel.json").unlink()
    with pytest.raises(HarnessError, match="is not what was fetched"):
        guest_kernel.obtain("trixie", tmp_path)


def test_what_modules_are_built_with_is_gathered_in_one_place(tmp_path: Path) -> None:
    tools, headers = tmp_path / "usr/lib/linux-kbuild-6.12", tmp_path / "usr/src/linux-headers-6.12-amd64"
    (tools / "scripts").mkdir(parents=True)
    headers.mkdir(parents=True)
    (headers / "scripts").symlink_to("../../lib/linux-kbuild-6.12/scripts")
    (headers.parent / "linux-kbuild-6.12").symlink_to("../lib/linux-kbuild-6.12")
    (headers / "Makefile").symlink_to("../linux-headers-6.12-common/Makefile")
    guest_kernel._gather_sources(tmp_path)
    assert (headers / "scripts").resolve() == headers.parent / "linux-kbuild-6.12/scripts"
    assert (headers / "Makefile").readlink() == Path("../linux-headers-6.12-common/Makefile")
    assert (tools / "scripts").is_dir()


def test_a_package_that_is_no_package_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "broken.deb").write_bytes(b"nothing of the kind")
    (tmp_path / "tree").mkdir()
    with pytest.raises(HarnessError, match=r"broken\.deb could not be unpacked"):
        guest_kernel._unpack(tmp_path / "broken.deb", tmp_path / "tree", ())


def test_modules_are_loaded_after_what_they_need() -> None:
    assert initrd.load_order(DEPENDENCIES, ["9pnet_virtio", "9pnet", "crc32c_intel", "built_in"]) == [
        "kernel/fs/netfs/netfs.ko.xz",
        "kernel/net/9p/9pnet.ko.xz",
        "kernel/net/9p/9pnet_virtio.ko.xz",
        "kernel/crypto/crc32c-intel.ko",
    ]


def test_modules_are_unpacked_and_missing_ones_told(tmp_path: Path) -> None:
    (tmp_path / "modules.dep").write_text("a.ko.xz: b.ko\nb.ko:\n")
    (tmp_path / "a.ko.xz").write_bytes(lzma.compress(b"first"))
    with pytest.raises(HarnessError, match="modules cannot be read"):
        initrd.modules(tmp_path, ["a"])
    (tmp_path / "b.ko").write_bytes(b"second")
    assert initrd.modules(tmp_path, ["a"]) == [b"second", b"first"]


def test_the_initial_disk_is_an_archive(tmp_path: Path) -> None:
    """Every entry begins where the one before it says that it ends, and the last one says that it is the last."""
    (tmp_path / "busybox").write_bytes(b"program")
    disk = initrd.make(tmp_path / "busybox", [b"module"], {"sender.key": b"secret"})
    found: dict[str, tuple[int, bytes]] = {}
    at = 0
    while at < len(disk):
        assert disk[at : at + 6] == b"070701"
        fields = [int(disk[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        mode, size, name = fields[1], fields[6], fields[11]
        start = at + -(-(110 + name) // 4) * 4
        found[disk[at + 110 : at + 110 + name - 1].decode()] = (mode, disk[start : start + size])
        at = start + -(-size // 4) * 4
    assert list(found)[-1] == "TRAILER!!!"
    assert found["bin/busybox"] == (0o100755, b"program")
    assert found["modules/00.ko"] == (0o100644, b"module")
    assert found["ours/sender.key"] == (0o100600, b"secret")
    assert found["init"][1] == initrd.INIT.read_bytes()


@pytest.fixture
def cached_kernel(tmp_path: Path) -> GuestKernel:
    about = kernel(tmp_path / "kernel")
    return GuestKernel(Cached(tmp_path / "kernel", -1), about)


def test_without_its_device_there_is_no_kvm(cached_kernel: GuestKernel, tmp_path: Path) -> None:
    why = probe.unusable(cached_kernel, silent, tmp_path / "none")
    assert why == f"{tmp_path / 'none'} is not there, or not this user's to use"


@pytest.mark.parametrize("found", ["it hung", ""])
def test_what_a_probe_found_holds_until_the_machine_or_the_kernel_is_another(
    cached_kernel: GuestKernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: str
) -> None:
    device, memory, tried = tmp_path / "kvm", tmp_path / "kvm.json", []

    def attempt(_kernel: GuestKernel) -> str:
        tried.append(found)
        return found

    device.touch()
    monkeypatch.setattr(probe, "_memory", lambda: memory)
    monkeypatch.setattr(probe, "_qemu_version", lambda: "7.2")
    monkeypatch.setattr(probe, "_try", attempt)
    for _ in range(2):
        assert probe.unusable(cached_kernel, silent, device) == (found or None)
    assert len(tried) == 1
    memory.write_text(json.dumps(json.loads(memory.read_text()) | {"boot": "an earlier one"}))
    assert probe.unusable(cached_kernel, silent, device) == (found or None)
    assert len(tried) == 2
    memory.write_text("half a li")
    assert probe.unusable(cached_kernel, silent, device) == (found or None)
    assert len(tried) == 3


@pytest.mark.parametrize(
    ("script", "found"),
    [
        (f"echo booting; echo {probe.ANSWER}", ""),
        (
            "echo what; echo 'it cannot be'; exit 1",
            "a guest that was booted to try it ended and said last: what; it cannot be",
        ),
        ("exec sleep 98.765", "a guest that was booted to try it did not come up in 1 s"),
    ],
)
def test_a_probe_comes_up_or_ends_or_hangs(
    cached_kernel: GuestKernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, found: str
) -> None:
    """A script stands in for QEMU: no machine does all three."""
    (cached_kernel.path / "busybox").write_bytes(b"program")
    program = tmp_path / "qemu-system-x86_64"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(probe, "SYSTEM_PATH", f"{tmp_path}:{SYSTEM_PATH}")
    monkeypatch.setattr(probe, "PROBE_SECONDS", 1.0)
    assert probe._try(cached_kernel) == found
    assert "98.765" not in subprocess.run(["ps", "axo", "args"], capture_output=True, text=True, check=True).stdout


def test_a_meter_of_processors_needs_a_process_that_has_some() -> None:
    with pytest.raises(ProcessLookupError, match="emulates no processor"):
        VcpuMeter(os.getpid())
    ended = subprocess.Popen(["true"])
    ended.wait()
    with pytest.raises(ProcessLookupError, match="is gone"):
        VcpuMeter(ended.pid)
