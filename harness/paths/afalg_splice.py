"""``afalg-splice``: the paper's scheme with mainline calls: sendfile into AF_ALG, splice out of it to TCP."""

from __future__ import annotations

from typing import Any

from harness.bench import Bench
from harness.ceiling import Step
from harness.ciphers import Cipher
from harness.paths import Deployed, Observed, _datapath
from hosts.facts import Facts


def rule(seen: Observed, line: dict[str, Any]) -> str | None:
    """Nothing of the file was in user space; its padding, at most a block, comes from there."""
    if line["crossing_bytes"] >= min(seen.payload, 1024):
        return f"{line['crossing_bytes']} bytes crossed into user space"
    return None


class AfalgSplice:
    name = "afalg-splice"
    title = "Splice (sendfile, AF_ALG, splice)"
    clear = False
    builds: tuple[str, ...] = ()
    steps: tuple[Step, ...] | None = (Step("alg_sendfile"), Step("cipher"), Step("syscall"))

    def unsupported(self, cipher: Cipher | None, driver: str, sender: Facts, receiver: Facts) -> str | None:
        return _datapath.unsupported_alg(cipher, sender, receiver)

    def deploy(self, bench: Bench, cipher: Cipher | None, driver: str) -> Deployed:
        _datapath.load_modules(bench, cipher)
        return _datapath.serve(bench, self.name, cipher, driver, rule)


PATH = AfalgSplice()
