"""``afalg-copy``: the traditional scheme (Figures 2 and 7) by what Linux has of its own: read, AF_ALG, recv, send.

Every byte crosses between user and kernel four times. Three of the crossings copy: AF_ALG's recv has the cipher
write into the user's own pages.
"""

from __future__ import annotations

from typing import Any

from harness.api.bench import Bench
from harness.api.parameters import Parameters
from harness.api.path import DataPath, Deployed, Observed
from harness.api.steps import Step, Steps, Way
from harness.api.words import Words
from harness.servers import datapath


def rule(seen: Observed, line: dict[str, Any]) -> str | None:
    """The data really made the detour: four crossings for each byte."""
    if line["crossing_bytes"] < 4 * seen.payload:
        return f"only {line['crossing_bytes']} bytes crossed, of the traditional scheme's 4 x {seen.payload}"
    return None


class AfalgCopy(DataPath):
    name = "afalg-copy"
    words = Words(
        label="the traditional scheme: AF_ALG with copies",
        subject="Enciphering by AF_ALG with copies (afalg-copy)",
        short="AF_ALG with copies",
        baseline="the traditional scheme by AF_ALG",
        order=80,
        model="traditional",
    )
    streams = True
    buffers = (4096, 16384)
    prices = (datapath.PRICES,)
    impossible = staticmethod(datapath.no_skcipher)
    unsupported = staticmethod(datapath.unsupported_alg)

    def deploy(self, bench: Bench, parameters: Parameters) -> Deployed:
        datapath.load_alg(bench, parameters.cipher)
        return datapath.serve(bench, self.name, parameters, rule)

    def steps(self, parameters: Parameters) -> Steps | None:
        return Steps(sender=(Step("read"), Step("alg_send"), Step("cipher"), Step("tcp_copy")), way=Way("send"))


PATH = AfalgCopy()
