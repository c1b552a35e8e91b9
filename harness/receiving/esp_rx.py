"""``esp-rx``: HTTP over ESP, which the kernel deciphers below TCP, read and written."""

from __future__ import annotations

from harness.api.bench import Bench
from harness.api.parameters import Parameters
from harness.api.path import Deployed
from harness.api.receiving import Receiving
from harness.api.steps import Step
from harness.api.words import Words
from harness.servers import deciphering, receiver
from hosts.facts import Facts


class EspRx(Receiving):
    name = "esp-rx"
    words = Words(
        label="HTTP over IPsec (ESP) on receipt, read and written",
        subject="Deciphering below TCP with IPsec and reading it (esp-rx)",
        short="IPsec on receipt",
        order=40,
    )
    sent_by = "ipsec"
    takes = "esp"
    prices = (deciphering.PRICES,)

    def unsupported(self, parameters: Parameters, sender: Facts, receiving: Facts) -> str | None:
        return receiver.missing(sender, receiving)

    def steps(self, parameters: Parameters) -> tuple[Step, ...]:
        return deciphering.esp_steps(parameters)

    def receive(self, bench: Bench, parameters: Parameters, sent: Deployed) -> Deployed:
        return receiver.received(bench, "recv", parameters, sent)


WAY = EspRx()
