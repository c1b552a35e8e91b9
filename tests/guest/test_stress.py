"""Both kernel modules at once and for long: ``tox -e guest-stress``."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hosts import modules
from hosts.lab.kinds import Parts
from hosts.remote.host import RemoteHost
from tests.support.guest_checks import run_together

HERE = Path(__file__).parent
ROUNDS = int(os.environ.get("GUEST_ROUNDS", "0"))
CHECKS = {
    HERE / "so_crypt_checks": ("streams", "ends", "waiting", "receiving"),
    HERE / "devcrypto_checks": ("answers", "asynchronous"),
}
"""None of them unloads a module, or measures memory that others use too."""


@pytest.mark.skipif(not ROUNDS, reason="takes long: tox -e guest-stress")
def test_both_modules_at_once(released: tuple[Parts, RemoteHost]) -> None:
    """Each check watches the kernel's log, so a complaint at any time fails the round."""
    parts, host = released
    sources = (modules.SO_CRYPT, modules.DEVCRYPTO, HERE / "kernel" / "delayed")
    places = [
        f"{source.name.upper()}_MODULE={host.put(modules.in_image(parts.target, source).content, f'{source.name}.ko')}"
        for source in sources
    ]
    for place in places:
        host.check(["insmod", place.partition("=")[2]])
    for _ in range(ROUNDS):
        run_together(host, CHECKS, *places, seconds=600)
    host.check(["rmmod", "delayed", "devcrypto", "so_crypt"])
