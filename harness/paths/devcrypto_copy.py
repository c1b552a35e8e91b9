"""``devcrypto-copy``: the traditional scheme as the paper had it (Figures 2 and 7): read, /dev/crypto, write.

Every byte crosses between user and kernel four times, and each crossing copies.
"""

from __future__ import annotations

from harness.api.bench import Bench
from harness.api.parameters import Parameters
from harness.api.path import DataPath, Deployed
from harness.api.steps import Steps
from harness.api.words import Words
from harness.servers import datapath, devcrypto


class DevcryptoCopy(DataPath):
    name = "devcrypto-copy"
    words = Words(
        label="the traditional scheme: /dev/crypto with copies",
        subject="Enciphering by /dev/crypto with copies (devcrypto-copy)",
        short="/dev/crypto with copies",
        baseline="the traditional scheme",
        order=75,
        model="traditional",
    )
    streams = True
    builds = (devcrypto.MODULE,)
    buffers = (4096, 16384)
    prices = (datapath.PRICES,)
    impossible = staticmethod(datapath.no_skcipher)
    unsupported = staticmethod(devcrypto.unsupported)

    def deploy(self, bench: Bench, parameters: Parameters) -> Deployed:
        return devcrypto.deploy(bench, self.name, parameters, mapped=False)

    def steps(self, parameters: Parameters) -> Steps | None:
        return devcrypto.steps("devcrypto_copy", parameters)


PATH = DevcryptoCopy()
