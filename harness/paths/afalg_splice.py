"""``afalg-splice``: the paper's scheme with mainline calls: sendfile into AF_ALG, splice out of it to TCP."""

from __future__ import annotations

from typing import Any

from harness.api.bench import Bench
from harness.api.parameters import Parameters
from harness.api.path import DataPath, Deployed, Observed
from harness.api.steps import Step, Steps, Way
from harness.api.words import Words
from harness.servers import datapath


def rule(seen: Observed, line: dict[str, Any]) -> str | None:
    """Nothing of the file was in user space; its padding, at most a block, comes from there."""
    if line["crossing_bytes"] >= min(seen.payload, 1024):
        return f"{line['crossing_bytes']} bytes crossed into user space"
    return None


class AfalgSplice(DataPath):
    name = "afalg-splice"
    words = Words(
        label="the scheme with mainline calls: AF_ALG with splice",
        subject="Taking the data off user space (afalg-splice)",
        short="AF_ALG with splice",
        order=20,
        model="scheme",
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
        return Steps(sender=(Step("alg_sendfile"), Step("cipher"), Step("syscall")), way=Way("chunks"))


PATH = AfalgSplice()
