"""``esp-nic``: HTTP over ESP whose packets the sender's network card enciphers, and the kernel makes (crypto offload).

Documentation/networking/xfrm_device.rst. Never seen on a card. The kernel falls back to software without a word: when
the SA is made, where the card does not want it; and later packet by packet. So the SA must say that it is offloaded,
before each transfer and after it, and the card's own counters must have taken in all that the SA sent.
"""

from __future__ import annotations

from dataclasses import replace

from harness.api.bench import Bench
from harness.api.parameters import Parameters
from harness.api.path import Deployed
from harness.api.steps import Steps
from harness.api.words import Words
from harness.paths.ipsec import OFFLOADS, Ipsec
from harness.servers import nic, requirements
from hosts.facts import Facts


class EspNic(Ipsec):
    name = "esp-nic"
    words = Words(
        label="HTTP over IPsec (ESP), enciphered by the network card",
        subject="Leaving IPsec's cipher to the network card (esp-nic)",
        short="IPsec enciphered by the network card",
        order=90,
    )
    prices = ()
    offload = "crypto"

    def impossible(self, parameters: Parameters) -> str | None:
        if parameters.driver != "any":
            return f"a network card enciphers by itself: no driver of the kernel's, as {parameters.driver}, is asked"
        return super().impossible(parameters)

    def unsupported(self, parameters: Parameters, sender: Facts, receiver: Facts) -> str | None:
        missing = requirements.missing(sender, receiver, sender_modules=(OFFLOADS[sender.ip_version],))
        card = nic.without(nic.ESP, sender) or nic.uncounted(sender)
        return requirements.together(super().unsupported(parameters, sender, receiver), missing, card)

    def deploy(self, bench: Bench, parameters: Parameters) -> Deployed:
        deployed = super().deploy(bench, parameters)
        counted = nic.by_esp(deployed, bench.facts)
        return replace(counted, during=nic.switched(nic.ESP, True, bench.facts), driver_found=bench.facts.card.driver)

    def steps(self, parameters: Parameters) -> Steps | None:
        return None


PATH = EspNic()
