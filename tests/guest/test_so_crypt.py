"""The module so_crypt in guests of the lab: whether it does what its header says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hosts import modules
from hosts.lab.kinds import Parts
from hosts.remote.host import RemoteHost
from tests.support.guest_checks import run_checks

CHECKS = Path(__file__).with_name("so_crypt_checks")


@pytest.fixture(scope="module")
def module(released: tuple[Parts, RemoteHost]) -> str:
    """The module built for the guest's kernel; its place there."""
    parts, host = released
    built = modules.in_image(parts.target)
    assert host.check(["uname", "-r"]).strip().startswith(built.version.partition("-")[0])
    return host.put(built.content, "so_crypt.ko")


@pytest.mark.parametrize("checks", ["streams", "settings", "waiting", "ends", "together"])
def test_the_module_in_a_guest(released: tuple[Parts, RemoteHost], module: str, checks: str) -> None:
    run_checks(released[1], CHECKS, checks, f"SO_CRYPT_MODULE={module}", seconds=280)


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
    """A guest has no headers of its kernel: the same answer as a host without them."""
    _parts, host = released
    with pytest.raises(modules.NoHeaders) as caught:
        modules.on_host(host, "Debian GNU/Linux")
    assert f"linux-headers-{host.check(['uname', '-r']).strip()}" in str(caught.value)
