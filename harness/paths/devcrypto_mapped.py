"""``devcrypto-mapped``: read, /dev/crypto on the buffer's own pages, write.

It tells what the copies into and out of /dev/crypto cost, apart from the calls: two crossings of a byte are left.
"""

from __future__ import annotations

from harness.api.bench import Bench
from harness.api.parameters import Parameters
from harness.api.path import DataPath, Deployed
from harness.api.steps import Steps
from harness.api.words import Words
from harness.servers import datapath, devcrypto


class DevcryptoMapped(DataPath):
    name = "devcrypto-mapped"
    words = Words(
        label="ablation: /dev/crypto on mapped pages",
        subject="Saving /dev/crypto its copies but still reading through user space (devcrypto-mapped)",
        short="/dev/crypto on mapped pages",
        order=65,
    )
    streams = True
    builds = (devcrypto.MODULE,)
    buffers = (4096, 16384)
    prices = (datapath.PRICES,)
    impossible = staticmethod(datapath.no_skcipher)
    unsupported = staticmethod(devcrypto.unsupported)

    def deploy(self, bench: Bench, parameters: Parameters) -> Deployed:
        return devcrypto.deploy(bench, self.name, parameters, mapped=True)

    def steps(self, parameters: Parameters) -> Steps | None:
        return devcrypto.steps("devcrypto_map", parameters)


PATH = DevcryptoMapped()
