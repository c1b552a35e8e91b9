"""``esp-nic-packet``: HTTP over ESP that the sender's network card does as a whole (packet offload).

As ``esp-nic``, but the card makes the packets, too, and keeps the policy. The kernel says no where the card cannot
(Documentation/networking/xfrm_device.rst). Never seen on a card.
"""

from __future__ import annotations

from harness.api.bench import Bench
from harness.api.parameters import Parameters
from harness.api.path import DataPath, Deployed
from harness.api.words import Words
from harness.servers import ipsec


class EspNicPacket(DataPath):
    name = "esp-nic-packet"
    words = Words(
        label="HTTP over IPsec (ESP), all of it done by the network card",
        subject="Leaving IPsec to the network card (esp-nic-packet)",
        short="IPsec by the network card",
        order=95,
    )
    speaks_esp = True
    impossible = staticmethod(ipsec.impossible_by_card)
    unsupported = staticmethod(ipsec.unsupported_by_card)

    def deploy(self, bench: Bench, parameters: Parameters) -> Deployed:
        return ipsec.deploy(bench, self.name, parameters, "packet")


PATH = EspNicPacket()
