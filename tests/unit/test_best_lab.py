"""``auto``: which lab is taken, and why not a better one; and which a kernel of one's own needs."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from harness import paths, profile, receiving
from harness.run import settling
from hosts import testbed
from hosts.errors import ConfigError, Refusal
from hosts.facts import Facts
from hosts.lab import best, kvm, own_kernel
from hosts.lab.kvm import KvmTestbed, probe
from hosts.testbed import AutoTestbed, LabTestbed
from tests.unit.test_abilities import able

AUTO = cast(AutoTestbed, testbed.load("auto"))
KVM = cast(KvmTestbed, testbed.load("lab-kvm"))
PATHS = receiving.beside(paths.discover())


@pytest.fixture
def works(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which a guest that is tried comes up under KVM."""
    monkeypatch.setattr(kvm, "why_not", lambda _spec, _progress: None)


def test_it_is_the_default_of_every_profile_that_needs_no_special_lab() -> None:
    beds = {path.stem: profile.load(path.stem).testbeds for path in profile.PROFILES.glob("*.toml")}
    assert {name for name, named in beds.items() if named != ("auto",)} == {
        *("card-aes128cbc", "fair-aes128gcm", "kernels-3des", "load-processors")
    }


def test_where_a_guest_comes_up_it_is_taken(works: None) -> None:
    choice = best.choose(AUTO)
    assert (choice.spec.name, choice.spec.kind) == ("lab-kvm", "kvm")
    assert "came up" in choice.why


def test_where_none_does_the_run_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kvm, "why_not", lambda _spec, _progress: "it hung")
    choice = best.choose(AUTO, lacks=lambda _: pytest.fail("nobody asks what a lab lacks that is not there"))
    assert (choice.spec.name, choice.spec.kind) == ("lab", "uml")
    assert choice.why == "the lab is lab (User Mode Linux), not lab-kvm, which is faster: it hung"


def test_a_lab_that_lacks_a_path_of_the_question_is_not_better(works: None) -> None:
    choice = best.choose(AUTO, lacks=lambda spec: f"so-crypt cannot run on {spec.name}")
    assert choice.spec.name == "lab"
    assert choice.why.endswith("which is faster: so-crypt cannot run on lab-kvm")


def test_nothing_is_installed_or_fetched_to_find_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(kvm, "obtain", lambda *_: pytest.fail("not without the device or QEMU"))
    monkeypatch.setattr(probe, "inaccessible", lambda: "/dev/kvm is not there")
    assert kvm.why_not(KVM) == "/dev/kvm is not there"
    monkeypatch.setattr(probe, "inaccessible", lambda: None)
    monkeypatch.setattr(kvm, "SYSTEM_PATH", str(tmp_path))
    assert kvm.why_not(KVM) == "QEMU is not installed (apt-get install qemu-system-x86)"


def lacking(sender: Facts, name: str = "gigabit-3des") -> str | None:
    return settling.lacking(profile.load(name), PATHS, sender, able("receiver"))


def test_what_a_lab_lacks_is_told_of_the_question_only() -> None:
    built = {"so_crypt": "/x.ko", "devcrypto": "/y.ko"}
    whole = able("sender", built=built)
    assert lacking(whole) is None
    assert lacking(replace(whole, modules=whole.modules - {"esp4"})) is None, "IPsec is not asked about"
    assert lacking(replace(whole, modules=whole.modules - {"algif_skcipher"})) is None, "nor AF_ALG"
    for path, module in (("so-crypt", "so_crypt"), ("devcrypto-copy", "devcrypto")):
        left = {name: place for name, place in built.items() if name != module}
        said = lacking(replace(whole, built=left, not_built={module: "no headers"}))
        assert said == f"{path} cannot run there: the kernel module {module} is not there: no headers"


# kernels of one's own


def bzimage(place: Path, release: str = "7.3.4-mine") -> Path:
    """As much of a kernel as tells what it is."""
    head = bytearray(0x1000)
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", head, 0x20E, 0x600)
    head[0x800:] = f"{release} (me@here) #1 SMP".encode() + b"\0"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(head)
    return place


def modules(place: Path, release: str = "7.3.4-mine") -> Path:
    (place / release).mkdir(parents=True)
    (place / release / "modules.dep").write_text("kernel/net/tls.ko:\n")
    return place


def test_a_kernel_says_what_it_boots_in_and_its_release(tmp_path: Path) -> None:
    assert own_kernel.recognise(bzimage(tmp_path / "bzImage")) == ("bzImage", "7.3.4-mine")
    banner = b"Linux version 6.12.9-mine (me@here) (gcc 14)"
    (tmp_path / "linux").write_bytes(b"\x7fELF" + bytes(99) + b"uml_dir=<directory>\0" + banner)
    assert own_kernel.recognise(tmp_path / "linux") == ("uml", "6.12.9-mine")
    (tmp_path / "vmlinux").write_bytes(b"\x7fELF" + bytes(99) + banner)
    with pytest.raises(ConfigError, match="is no kernel that a lab can boot") as caught:
        own_kernel.recognise(tmp_path / "vmlinux")
    assert "bzImage" in str(caught.value.next_step)


def test_what_is_no_file_or_no_kernel_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the kernel .*none: No such file"):
        own_kernel.recognise(tmp_path / "none")
    with pytest.raises(ConfigError, match="is no kernel"):
        own_kernel.recognise(Path("/bin/true"))


@pytest.mark.parametrize("inner", ["", "modules", "lib/modules"])
def test_modules_are_found_beside_the_kernel(tmp_path: Path, inner: str) -> None:
    file, place = bzimage(tmp_path / "bzImage"), modules(tmp_path / inner)
    assert own_kernel.find(file).modules == place / "7.3.4-mine"


@pytest.mark.parametrize("inner", ["", "lib/modules", "lib/modules/7.3.4-mine"])
def test_modules_are_found_where_they_are_said_to_be(tmp_path: Path, inner: str) -> None:
    file, place = bzimage(tmp_path / "boot/bzImage"), modules(tmp_path / "there/lib/modules")
    said = tmp_path / "there" / inner
    assert own_kernel.find(file, said).modules == place / "7.3.4-mine"


def test_a_kernel_without_its_modules_is_told_with_how_to_have_them(tmp_path: Path) -> None:
    file = bzimage(tmp_path / "boot/bzImage")
    modules(tmp_path / "boot", "7.3.3-other")
    with pytest.raises(ConfigError, match=r"is 7\.3\.4-mine, and .*boot and .*boot/modules has no modules") as caught:
        own_kernel.find(file)
    assert "modules_install" in str(caught.value.next_step)


def test_another_kernel_or_other_modules_have_another_key(tmp_path: Path) -> None:
    found = own_kernel.find(bzimage(tmp_path / "bzImage"), modules(tmp_path / "there"))
    first = found.key
    assert found.key == first
    (found.modules / "tls.ko").write_bytes(b"new")
    second = found.key
    bzimage(found.file, "7.3.4-mine+")
    assert len({first, second, found.key}) == 3


def test_modules_of_ours_are_built_in_the_kernel_s_tree_where_it_is_there(tmp_path: Path) -> None:
    found = own_kernel.find(bzimage(tmp_path / "bzImage"), modules(tmp_path / "there"))
    with pytest.raises(Refusal, match="no module can be built for the kernel"):
        found.target(tmp_path, "make")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/Makefile").touch()
    (found.modules / "build").symlink_to(tmp_path / "tree")
    assert found.target(tmp_path, "make").sources == tmp_path / "tree"


def test_a_lab_is_asked_for_a_kernel_that_it_boots(tmp_path: Path) -> None:
    file = bzimage(tmp_path / "bzImage")
    modules(tmp_path)
    spec = testbed.with_kernel(testbed.load("lab"), file, None)
    assert isinstance(spec, testbed.GuestsTestbed)
    assert spec.name == "lab-kernel", "its nights are another series"
    with pytest.raises(
        ConfigError, match=r"the guests of lab-kernel boot a program of User Mode Linux, and .* a bzImage"
    ):
        own_kernel.of(spec)
    assert own_kernel.of(cast(testbed.GuestsTestbed, own_kernel.put(testbed.load("lab-qemu"), file, None))) is not None
    with pytest.raises(ConfigError, match="lab-netns boots no kernel of yours"):
        testbed.with_kernel(testbed.load("lab-netns"), file, None)


@pytest.mark.parametrize(("reason", "name"), [("it hung", "lab-qemu"), (None, "lab-kvm")])
def test_a_bzimage_is_booted_in_the_best_lab_that_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str | None, name: str
) -> None:
    monkeypatch.setattr(kvm, "why_not", lambda _spec, _progress: reason)
    file = bzimage(tmp_path / "bzImage")
    modules(tmp_path)
    auto = testbed.with_kernel(AUTO, file, None)
    spec = best.settled(auto, print)
    assert isinstance(spec, LabTestbed)
    assert spec.name == f"{name}-kernel"
    assert isinstance(spec, testbed.GuestsTestbed)
    assert spec.kernel == file
