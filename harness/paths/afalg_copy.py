"""``afalg-copy``: the paper's traditional scheme (Figures 2 and 7): read, AF_ALG, recv, send.

Every byte crosses between user and kernel four times. Three of the crossings copy: AF_ALG's recv has the cipher
write into the user's own pages.
"""

from __future__ import annotations

from typing import Any

from harness.bench import Bench
from harness.ceiling import Step, Steps
from harness.paths import Deployed, Observed, _datapath
from harness.setup import Setup
from hosts.facts import Facts


def rule(seen: Observed, line: dict[str, Any]) -> str | None:
    """The data really made the detour: four crossings for each byte."""
    if line["crossing_bytes"] < 4 * seen.payload:
        return f"only {line['crossing_bytes']} bytes crossed, of the traditional scheme's 4 x {seen.payload}"
    return None


class AfalgCopy:
    name = "afalg-copy"
    title = "Traditional (read, AF_ALG, send)"
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
        return Steps(sender=(Step("read"), Step("alg_send"), Step("cipher"), Step("tcp_copy")))


PATH = AfalgCopy()
