"""``so-crypt``: the paper's scheme itself: sendfile on a socket that encrypts (Figure 3)."""

from __future__ import annotations

from harness.api.bench import Bench
from harness.api.parameters import Parameters
from harness.api.path import DataPath, Deployed
from harness.api.steps import Step, Steps, Way
from harness.api.words import Words
from harness.servers import datapath, so_crypt


class SoCrypt(DataPath):
    name = "so-crypt"
    words = Words(
        label="the scheme itself: sendfile on a SO_CRYPT socket",
        subject="Taking the data off user space (so-crypt)",
        short="SO_CRYPT",
        order=10,
        model="scheme",
    )
    streams = True
    builds = (so_crypt.MODULE,)
    prices = (datapath.PRICES,)
    impossible = staticmethod(so_crypt.impossible)
    unsupported = staticmethod(so_crypt.unsupported)

    def deploy(self, bench: Bench, parameters: Parameters) -> Deployed:
        return so_crypt.deploy(bench, self.name, parameters, crossings=0)

    def steps(self, parameters: Parameters) -> Steps | None:
        return Steps(sender=(Step("kernel_cipher"),), way=Way("socket"))


PATH = SoCrypt()
