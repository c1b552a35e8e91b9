"""``so-crypt-send``: read and send on a socket that encrypts. It tells what saved copies give, apart from AF_ALG."""

from __future__ import annotations

from harness.api.bench import Bench
from harness.api.parameters import Parameters
from harness.api.path import DataPath, Deployed
from harness.api.steps import Step, Steps, Way
from harness.api.words import Words
from harness.servers import datapath, so_crypt


class SoCryptSend(DataPath):
    name = "so-crypt-send"
    words = Words(
        label="ablation: read and send on a SO_CRYPT socket",
        subject="Encrypting in the socket but still reading through user space (so-crypt-send)",
        short="SO_CRYPT with read and send",
        order=60,
    )
    streams = True
    builds = (so_crypt.MODULE,)
    buffers = (4096, 16384)
    prices = (datapath.PRICES,)
    impossible = staticmethod(so_crypt.impossible)
    unsupported = staticmethod(so_crypt.unsupported)

    def deploy(self, bench: Bench, parameters: Parameters) -> Deployed:
        return so_crypt.deploy(bench, self.name, parameters, crossings=2)

    def steps(self, parameters: Parameters) -> Steps | None:
        return Steps(sender=(Step("read"), Step("tcp_copy"), Step("kernel_cipher")), way=Way("send"))


PATH = SoCryptSend()
