"""The ciphers' kernel modules on each kernel, whatever they are called there: ``--guests lab-bookworm,lab,lab-7-3``."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.api.bench import load
from harness.ciphers.table import CIPHERS, Cipher
from harness.servers.esp import HASHES
from hosts.facts import Facts
from hosts.lab.kinds import Parts
from hosts.remote.changes import Scope
from hosts.remote.host import RemoteHost
from hosts.renamed import known_as


def loaded(host: RemoteHost) -> set[str]:
    return {line.split()[0] for line in (host.read(["/proc/modules"])["/proc/modules"] or "").splitlines()}


@pytest.mark.parametrize("cipher", CIPHERS.values(), ids=CIPHERS)
def test_all_that_a_cipher_stands_on_is_found_loaded_and_let_go(
    released: tuple[Parts, RemoteHost], about: Facts, cipher: Cipher
) -> None:
    _, host = released
    before = loaded(host)
    needed = (*cipher.kernel_modules, *HASHES.values())
    assert about.lacking(needed) == []
    path = f"/lib/modules/{about.kernel}/modules.builtin"
    built_in = {Path(line).name.partition(".")[0] for line in (host.read([path])[path] or "").split()}
    built_in = {name.replace("-", "_") for name in built_in}
    with Scope(host) as scope:
        load(host, scope, *needed)
        there = loaded(host) | built_in
        assert [module for module in needed if there.isdisjoint(known_as(module))] == []
        assert "aes_ti" not in there, "a driver that nobody named"
    assert loaded(host) <= before


def test_a_module_that_nobody_has_is_lacking(about: Facts) -> None:
    assert about.lacking(("aes_generic", "no_such_cipher")) == ["no_such_cipher"]
