"""``ktls-write``: TLS records made by the kernel, the file still read into user space and written.

Beside ``ktls`` it tells what kernel TLS gives and what sendfile gives.
"""

from __future__ import annotations

from harness.api.bench import Bench
from harness.api.parameters import Parameters
from harness.api.path import DataPath, Deployed
from harness.api.steps import Steps
from harness.api.words import Words
from harness.servers import datapath, gnutls, ktls, nginx


class KtlsWrite(DataPath):
    name = "ktls-write"
    words = Words(
        label="kernel TLS, write",
        subject="Encrypting TLS in the kernel but still writing from user space (ktls-write)",
        short="kernel TLS with write",
        order=70,
    )
    speaks_tls = True
    buffers = (4096,)
    prices = (datapath.PRICES, gnutls.PRICES)
    impossible = staticmethod(ktls.impossible)
    unsupported = staticmethod(ktls.in_software)

    def deploy(self, bench: Bench, parameters: Parameters) -> Deployed:
        return ktls.deploy(bench, self.name, parameters, sendfile=False)

    def steps(self, parameters: Parameters) -> Steps | None:
        return nginx.tls_steps("kernel_cipher")


PATH = KtlsWrite()
