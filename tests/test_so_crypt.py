"""The module so_crypt: how it is built and, in the lab, whether it does what its header says."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hosts.errors import HarnessError
from hosts.kernel import build, likeness, linux_source
from hosts.lab import image, uml
from hosts.remote import RemoteHost
from hosts.testbed import UmlTestbed

GUEST_CHECKS = Path(__file__).with_name("so_crypt_guest.py")

ONE = """
tls.ko:     file format elf64-x86-64

0000000000000000 <tls_init>:
   0:\tpush   %rbp
   1:\tmov    0x2a8(%rdi),%rax
   8:\tmov    $0x539,%esi
   d:\tjmp    1f <tls_init+0x1f>

0000000000000020 <tls_get>:
  20:\tmov    0x10(%rdi),%rax
"""


def madison(*texts: str) -> str:
    return "".join(f"linux-source-6.12 | {text} | http://mirror/debian trixie/main amd64 Packages\n" for text in texts)


@pytest.mark.parametrize(
    ("release", "expected"),
    [("6.12.107", "6.12.107-1"), ("6.12.101", "6.12.107-1"), ("6.12.200", "6.12.117-1"), ("6.12.112", "6.12.117-1")],
)
def test_the_nearest_source_is_taken_and_the_newer_of_two(release: str, expected: str) -> None:
    found = linux_source.versions(madison("6.12.117-1", "6.12.107-1"))
    version = linux_source.nearest(found, release)
    assert version is not None
    assert version.text == expected


def test_no_source_is_no_version() -> None:
    assert linux_source.nearest(linux_source.versions(""), "6.12.1") is None


def test_a_release_names_its_series_and_point_release() -> None:
    assert (linux_source.series("6.12.101"), linux_source.point("6.12.101")) == ("6.12", 101)
    assert (linux_source.series("7.2"), linux_source.point("7.2")) == ("7.2", 0)
    with pytest.raises(HarnessError, match="not the release"):
        linux_source.series("linux")


def test_the_same_code_with_other_line_numbers_is_alike() -> None:
    theirs, ours = likeness.functions(ONE), likeness.functions(ONE.replace("$0x539", "$0x51e"))
    found = likeness.compare(theirs, ours)
    assert (found.alike, found.changed, found.contradicting) == (2, 0, ())


def test_the_same_code_with_another_offset_is_another_structure() -> None:
    found = likeness.compare(likeness.functions(ONE), likeness.functions(ONE.replace("0x2a8(", "0x2b0(")))
    assert found.contradicting == ("tls_init",)
    assert not found.good


def test_a_function_that_was_rewritten_tells_nothing() -> None:
    ours = ONE.replace("push   %rbp", "push   %rbx").replace("0x2a8(", "0x2b0(")
    found = likeness.compare(likeness.functions(ONE), likeness.functions(ours))
    assert (found.alike, found.changed, found.contradicting) == (1, 1, ())


def test_few_comparisons_prove_nothing() -> None:
    assert not likeness.Likeness(likeness.MINIMUM_ALIKE - 1, 0, ()).good
    assert likeness.Likeness(likeness.MINIMUM_ALIKE, 3, ()).good


def test_an_image_without_a_kernel_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="no User Mode Linux kernel"):
        build.uml_release(tmp_path)


@pytest.mark.parametrize(
    ("os_name", "step"),
    [
        ("Debian GNU/Linux 13 (trixie)", "apt-get install linux-headers-6.12.1-amd64"),
        ("Fedora Linux 42", "dnf install kernel-devel-6.12.1-amd64"),
        (None, "apt-get install linux-headers-6.12.1-amd64"),
    ],
)
def test_missing_headers_are_named(os_name: str | None, step: str) -> None:
    assert build.no_headers("6.12.1-amd64", os_name, "sender").next_step == step


def test_the_header_serves_user_space_and_keeps_its_sizes(tmp_path: Path) -> None:
    """160 and 168 bytes, options 1 and 2 of level 21315: what programs were compiled with stays true."""
    source = tmp_path / "sizes.c"
    source.write_text(
        '#include "so_crypt.h"\n'
        '_Static_assert(sizeof(struct so_crypt_set) == 160, "set");\n'
        '_Static_assert(sizeof(struct so_crypt_info) == 168, "info");\n'
        '_Static_assert(SOL_SO_CRYPT == 21315 && SO_CRYPT_SET == 1 && SO_CRYPT_INFO == 2, "numbers");\n'
        '_Static_assert(SO_CRYPT_PAD_NONE == 0 && SO_CRYPT_PAD_ZERO == 1 && SO_CRYPT_PAD_PKCS7 == 2, "pads");\n'
    )
    command = ["cc", "-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror", "-I", str(build.SOURCE)]
    done = subprocess.run(
        [*command, "-std=c11", "-fsyntax-only", str(source)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_what_dkms_and_the_module_say_of_their_version_agrees() -> None:
    dkms = re.search(r'PACKAGE_VERSION="([^"]+)"', (build.SOURCE / "dkms.conf").read_text())
    module = re.search(r'MODULE_VERSION\("([^"]+)"\)', (build.SOURCE / "so_crypt.c").read_text())
    assert dkms is not None
    assert module is not None
    assert dkms[1] == module[1]


# ------------------------------------------------------------------------------------------ in the lab


@pytest.fixture(scope="module", params=["trixie", "bookworm"])
def guest(request: pytest.FixtureRequest) -> Iterator[tuple[str, RemoteHost]]:
    """A guest of each suite: kernels 6.12 and 6.1."""
    spec = UmlTestbed(kind="uml", name=f"lab-{request.param}", suite=request.param)
    try:
        guests = uml.obtain_image(spec)
    except HarnessError as error:
        pytest.skip(f"the {request.param} lab cannot be had here: {error}")
    with contextlib.closing(guests):
        kernel = build.for_uml(spec.suite, guests.path).kernel
    lab = uml.boot(spec, kernel=kernel)
    with lab, RemoteHost("sender", lab.testbed.sender) as host:
        yield spec.suite, host


@pytest.mark.lab
def test_the_module_in_a_guest(guest: tuple[str, RemoteHost]) -> None:
    """Built for the guest's kernel, loaded, and put through every check in so_crypt_guest.py."""
    suite, host = guest
    module = build.for_uml(suite, image.location(suite))
    assert module.exact or module.alike >= likeness.MINIMUM_ALIKE
    assert host.check(["uname", "-r"]).strip() == module.release
    ko = host.put(module.path.read_bytes(), "so_crypt.ko")
    script = host.put(GUEST_CHECKS.read_bytes(), GUEST_CHECKS.name)
    done = host.run(["python3", script, ko], timeout=280)
    assert done.ok, done.stdout[-4000:] + done.stderr[-2000:]
    assert " 0 failed" in done.stdout


@pytest.mark.lab
def test_building_again_comes_from_the_cache(guest: tuple[str, RemoteHost]) -> None:
    suite, _host = guest
    first = build.for_uml(suite, image.location(suite))
    before = first.path.stat().st_mtime_ns
    said: list[str] = []
    again = build.for_uml(suite, image.location(suite), lambda what, _done: said.append(what))
    assert (again, again.path.stat().st_mtime_ns, said) == (first, before, [])


@pytest.mark.lab
def test_the_build_leaves_the_image_alone(guest: tuple[str, RemoteHost]) -> None:
    suite, _host = guest
    place = image.location(suite)
    assert not list((place / "mnt").iterdir())
    assert str(place) not in Path(f"/proc/{os.getpid()}/mounts").read_text()


@pytest.mark.lab
def test_headers_that_are_missing_on_a_host(guest: tuple[str, RemoteHost]) -> None:
    """A guest has no headers of its kernel: the same answer as a host without them."""
    _suite, host = guest
    with pytest.raises(build.NoHeaders) as caught:
        build.on_host(host, "Debian GNU/Linux")
    assert f"linux-headers-{host.check(['uname', '-r']).strip()}" in str(caught.value)
