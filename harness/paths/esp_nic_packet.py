"""``esp-nic-packet``: HTTP over ESP that the sender's network card does as a whole (packet offload).

As ``esp-nic``, but the card makes the packets, too, and keeps the policy. The kernel says no where the card cannot
(Documentation/networking/xfrm_device.rst). Never seen on a card.
"""

from __future__ import annotations

from harness.api.words import Words
from harness.paths.esp_nic import EspNic


class EspNicPacket(EspNic):
    name = "esp-nic-packet"
    words = Words(
        label="HTTP over IPsec (ESP), all of it done by the network card",
        subject="Leaving IPsec to the network card (esp-nic-packet)",
        short="IPsec by the network card",
        order=95,
    )
    offload = "packet"


PATH = EspNicPacket()
