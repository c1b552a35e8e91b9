"""``afalg-copy``: the paper's traditional scheme (Figures 2 and 7): read, AF_ALG, recv, send.

Every byte crosses between user and kernel four times. Three of the crossings copy: AF_ALG's recv has the cipher
write into the user's own pages.
"""

from __future__ import annotations

from typing import Any

from harness.bench import Bench
from harness.ceiling import Step
from harness.ciphers import Cipher
from harness.paths import Deployed, Observed, _datapath
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
    steps: tuple[Step, ...] | None = (Step("read"), Step("alg_send"), Step("cipher"), Step("tcp_copy"))

    def unsupported(self, cipher: Cipher | None, driver: str, sender: Facts, receiver: Facts) -> str | None:
        return _datapath.unsupported_alg(cipher, sender, receiver)

    def deploy(self, bench: Bench, cipher: Cipher | None, driver: str) -> Deployed:
        _datapath.load_modules(bench, cipher)
        return _datapath.serve(bench, self.name, cipher, driver, rule)


PATH = AfalgCopy()
