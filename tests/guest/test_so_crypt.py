"""The module so_crypt in guests of the lab: whether it does what its header says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.servers import datapath
from hosts import modules
from hosts.lab.kinds import Parts
from hosts.programs import in_image
from hosts.remote.host import RemoteHost
from tests.support.guest_checks import put_modules, run_checks

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def places(released: tuple[Parts, RemoteHost]) -> list[str]:
    """The module, and drivers that answer later, built for the guest's kernel; where they are there."""
    return put_modules(*released, (modules.SO_CRYPT, HERE / "kernel" / "delayed"))


@pytest.mark.parametrize(
    "checks", ["streams", "settings", "waiting", "ends", "held", "together", "receiving", "readers", "faults"]
)
def test_the_module_in_a_guest(released: tuple[Parts, RemoteHost], places: list[str], checks: str) -> None:
    if checks == "faults" and not released[1].run(["test", "-e", "/proc/self/fail-nth"]).ok:
        pytest.skip("this kernel cannot make allocations fail: a kernel for debugging can")
    run_checks(released[1], HERE / "so_crypt_checks", checks, *places, seconds=280)


def test_the_server_on_a_kernel_short_of_memory(released: tuple[Parts, RemoteHost], places: list[str]) -> None:
    parts, host = released
    place = host.put(in_image(parts.image_path, datapath.program()), "datapath", 0o700)
    run_checks(host, HERE / "datapath_checks", "pressed", f"DATAPATH={place}", *places, seconds=60)


def test_building_again_comes_from_the_cache(released: tuple[Parts, RemoteHost]) -> None:
    parts, _host = released
    first = modules.in_image(parts.target)
    said: list[str] = []
    again = modules.in_image(parts.target, progress=lambda what, _done: said.append(what))
    assert (again, said) == (first, [])


def test_the_build_leaves_the_image_alone(released: tuple[Parts, RemoteHost]) -> None:
    parts, _host = released
    place = parts.target.image
    assert not list((place / "mnt").iterdir())
    assert str(place) not in Path(f"/proc/{os.getpid()}/mounts").read_text()


def test_headers_that_are_missing_on_a_host(released: tuple[Parts, RemoteHost]) -> None:
    """A guest whose kernel was built has no headers of it: the same answer as a host without them."""
    _parts, host = released
    if host.run(["sh", "-c", "test -e /lib/modules/$(uname -r)/build/Makefile"]).ok:
        pytest.skip("this guest has Debian's kernel, and its headers")
    with pytest.raises(modules.NoHeaders) as caught:
        modules.on_host(host, "Debian GNU/Linux")
    assert f"linux-headers-{host.check(['uname', '-r']).strip()}" in str(caught.value)
