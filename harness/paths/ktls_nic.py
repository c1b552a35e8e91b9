"""``ktls-nic``: TLS records made by the network card as the kernel sends them.

Documentation/networking/tls-offload.rst. Never seen on a card. The witness: the kernel handed every connection to the
card (TlsTxDevice) and kept none, and the card's own counters, where it has them, took in all bytes.
"""

from __future__ import annotations

from harness.api.bench import Bench
from harness.api.parameters import Parameters
from harness.api.path import DataPath, Deployed
from harness.api.words import Words
from harness.servers import ktls
from hosts.facts import Facts


class KtlsNic(DataPath):
    name = "ktls-nic"
    words = Words(
        label="kernel TLS by the network card, sendfile",
        subject="Leaving TLS to the network card (ktls-nic)",
        short="kernel TLS by the network card",
        order=80,
    )
    speaks_tls = True

    def impossible(self, parameters: Parameters) -> str | None:
        if parameters.driver != "any":
            return f"a network card enciphers by itself: no driver of the kernel's, as {parameters.driver}, is asked"
        return ktls.impossible(parameters)

    def unsupported(self, parameters: Parameters, sender: Facts, receiver: Facts) -> str | None:
        return ktls.by_card(parameters, sender, receiver)

    def deploy(self, bench: Bench, parameters: Parameters) -> Deployed:
        return ktls.deploy(bench, self.name, parameters, sendfile=True, card=True)


PATH = KtlsNic()
