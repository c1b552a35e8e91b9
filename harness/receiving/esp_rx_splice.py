"""``esp-rx-splice``: HTTP over ESP, which the kernel deciphers below TCP, spliced into the file."""

from __future__ import annotations

from harness.api.bench import Bench
from harness.api.parameters import Parameters
from harness.api.path import Deployed
from harness.api.receiving import Receiving
from harness.api.steps import Step, Taking
from harness.api.words import Words
from harness.servers import deciphering, receiver
from hosts.facts import Facts


class EspRxSplice(Receiving):
    name = "esp-rx-splice"
    words = Words(
        label="HTTP over IPsec (ESP) on receipt, spliced into the file",
        subject="Deciphering below TCP with IPsec and splicing it into the file (esp-rx-splice)",
        short="IPsec on receipt with splice",
        order=30,
    )
    sent_by = "ipsec"
    takes = "esp"
    prices = (deciphering.PRICES,)
    rehearses = Taking("splice")

    def unsupported(self, parameters: Parameters, sender: Facts, receiving: Facts) -> str | None:
        return receiver.missing(sender, receiving)

    def steps(self, parameters: Parameters) -> tuple[Step, ...]:
        return deciphering.esp_steps(parameters)

    def receive(self, bench: Bench, parameters: Parameters, sent: Deployed) -> Deployed:
        return receiver.received(bench, "splice", parameters, sent)


WAY = EspRxSplice()
