"""``esp-nic``: HTTP over ESP whose packets the sender's network card enciphers, and the kernel makes (crypto offload).

Documentation/networking/xfrm_device.rst. Never seen on a card. The kernel falls back to software without a word: when
the SA is made, where the card does not want it; and later packet by packet. So the SA must say that it is offloaded,
before each transfer and after it, and the card's own counters must have taken in all that the SA sent.
"""

from __future__ import annotations

from harness.api.bench import Bench
from harness.api.parameters import Parameters
from harness.api.path import DataPath, Deployed
from harness.api.words import Words
from harness.servers import ipsec


class EspNic(DataPath):
    name = "esp-nic"
    words = Words(
        label="HTTP over IPsec (ESP), enciphered by the network card",
        subject="Leaving IPsec's cipher to the network card (esp-nic)",
        short="IPsec enciphered by the network card",
        order=90,
    )
    speaks_esp = True
    impossible = staticmethod(ipsec.impossible_by_card)
    unsupported = staticmethod(ipsec.unsupported_by_card)

    def deploy(self, bench: Bench, parameters: Parameters) -> Deployed:
        return ipsec.deploy(bench, self.name, parameters, "crypto")


PATH = EspNic()
