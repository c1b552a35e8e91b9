"""``ktls``: TLS records made by the kernel, so that sendfile works again (the scheme's closest mainline relative).

In software: a network card that would make them is made to leave them, and ``ktls-nic`` is that card's path.
"""

from __future__ import annotations

from harness.api.bench import Bench
from harness.api.parameters import Parameters
from harness.api.path import DataPath, Deployed
from harness.api.steps import Step, Steps, Way
from harness.api.words import Words
from harness.servers import datapath, gnutls, ktls, nginx


class Ktls(DataPath):
    name = "ktls"
    words = Words(
        label="kernel TLS, sendfile",
        subject="Encrypting TLS in the kernel and taking the data off user space (ktls)",
        short="kernel TLS",
        order=30,
        model="scheme",
    )
    speaks_tls = True
    prices = (datapath.PRICES, gnutls.PRICES)
    impossible = staticmethod(ktls.impossible)
    unsupported = staticmethod(ktls.in_software)

    def deploy(self, bench: Bench, parameters: Parameters) -> Deployed:
        return ktls.deploy(bench, self.name, parameters, sendfile=True)

    def steps(self, parameters: Parameters) -> Steps | None:
        record = nginx.RECORD_BYTES
        return Steps(
            sender=(Step("kernel_cipher", chunk=record),), receiver=gnutls.receiving(record), way=Way("socket", record)
        )


PATH = Ktls()
