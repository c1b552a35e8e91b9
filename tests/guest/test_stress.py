"""Both kernel modules at once and for long, and programs that know nothing of them: ``tox -e guest-stress``."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hosts import modules
from hosts.lab.kinds import Parts
from hosts.remote.host import RemoteHost
from tests.support import foreign
from tests.support.guest_checks import put_modules, run_checks, run_together

HERE = Path(__file__).parent
ROUNDS = int(os.environ.get("GUEST_ROUNDS", "0"))
CHECKS = {
    HERE / "so_crypt_checks": ("streams", "ends", "waiting", "receiving"),
    HERE / "devcrypto_checks": ("answers asynchronous",),
}
"""At the same time, those of one text one after the other. None unloads a module, sets parameters of drivers, or
measures memory, that others use at the same time."""
KILLED = {HERE / "so_crypt_checks": ("killed.Killed",), HERE / "devcrypto_checks": ("killed",)}
DELAYED = HERE / "kernel" / "delayed"

pytestmark = pytest.mark.skipif(not ROUNDS, reason="takes long: tox -e guest-stress")


@contextlib.contextmanager
def loaded(parts: Parts, host: RemoteHost) -> Iterator[list[str]]:
    """Both modules, and drivers that answer later; where they are. Each must go again, once nobody uses it."""
    places = put_modules(parts, host, (modules.SO_CRYPT, modules.DEVCRYPTO, DELAYED))
    for place in places:
        host.check(["insmod", place.partition("=")[2]])
    unload = ["rmmod", "delayed", "devcrypto", "so_crypt"]
    try:
        yield places
    except BaseException:
        host.run(unload)  # the next test begins without them, if it can
        raise
    host.check(unload)


def test_both_modules_at_once(released: tuple[Parts, RemoteHost]) -> None:
    """Each check watches the kernel's log, so a complaint at any time fails the round."""
    parts, host = released
    with loaded(parts, host) as places:
        for _ in range(ROUNDS):
            run_together(host, CHECKS, *places, seconds=600)


def test_killed_under_load(released: tuple[Parts, RemoteHost]) -> None:
    """Programs of others and of /dev/crypto, killed for two minutes while stress-ng runs; then nothing of them is left,
    and of 10,000 connections no memory."""
    parts, host = released
    programs = foreign.placed(parts, host)
    with loaded(parts, host) as places:
        print(run_together(host, KILLED, programs, *places, seconds=400))
        print(run_checks(host, HERE / "so_crypt_checks", "killed.Many", programs, *places, seconds=400))


@pytest.mark.parametrize("checks", ["foreign", "preloaded"])
def test_programs_of_others(released: tuple[Parts, RemoteHost], checks: str) -> None:
    """They read, set and speak SO_CRYPT: on a descriptor that they are handed, by socat's options, by a preload."""
    parts, host = released
    places = put_modules(parts, host, (modules.SO_CRYPT,))
    run_checks(host, HERE / "so_crypt_checks", checks, foreign.placed(parts, host), *places, seconds=280)
