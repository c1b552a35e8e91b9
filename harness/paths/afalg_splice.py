"""``afalg-splice``: the paper's scheme with mainline calls: sendfile into AF_ALG, splice out of it to TCP."""

from __future__ import annotations

from typing import Any

from harness.bench import Bench
from harness.ceiling import Step, Steps
from harness.paths import Deployed, Observed, _datapath
from harness.setup import Setup
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
    buffers: tuple[int, ...] = (4096, 16384)

    def impossible(self, setup: Setup) -> str | None:
        return _datapath.no_skcipher(setup)

    def unsupported(self, setup: Setup, sender: Facts, receiver: Facts) -> str | None:
        return _datapath.unsupported_alg(setup, sender, receiver)

    def deploy(self, bench: Bench, setup: Setup) -> Deployed:
        _datapath.load_alg(bench, setup.cipher)
        return _datapath.serve(bench, self.name, setup, rule)

    def steps(self, setup: Setup) -> Steps | None:
        return Steps(sender=(Step("alg_sendfile"), Step("cipher"), Step("syscall")))


PATH = AfalgSplice()
