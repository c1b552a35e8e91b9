"""``devcrypto-rx``: the traditional scheme's receiving end: read from the socket, /dev/crypto, write to the file.

Every byte crosses between user and kernel four times, as on the sender.
"""

from __future__ import annotations

from harness.api.bench import Bench
from harness.api.parameters import Parameters
from harness.api.path import Deployed
from harness.api.receiving import Receiving
from harness.api.steps import Step, Taking
from harness.api.words import Words
from harness.servers import datapath, deciphering
from hosts.facts import Facts

MODULE = deciphering.MODULES["devcrypto"]


class DevcryptoRx(Receiving):
    name = "devcrypto-rx"
    words = Words(
        label="the traditional scheme on receipt: /dev/crypto with copies",
        subject="Deciphering by /dev/crypto with copies (devcrypto-rx)",
        short="/dev/crypto on receipt",
        baseline="the traditional scheme",
        order=70,
        model="traditional",
    )
    counterpart = "devcrypto-copy"
    takes = "stream"
    rehearses = Taking(chunks=True)
    builds = (MODULE,)
    prices = (deciphering.PRICES,)
    impossible = staticmethod(datapath.no_skcipher)

    def unsupported(self, parameters: Parameters, sender: Facts, receiving: Facts) -> str | None:
        return deciphering.unsupported(MODULE, parameters, sender, receiving)

    def steps(self, parameters: Parameters) -> tuple[Step, ...]:
        return deciphering.steps("devcrypto", parameters)

    def prepare(self, bench: Bench, parameters: Parameters) -> None:
        deciphering.prepare(bench, "devcrypto", parameters)

    def receive(self, bench: Bench, parameters: Parameters, sent: Deployed) -> Deployed:
        return deciphering.received(bench, "devcrypto", parameters, sent)


WAY = DevcryptoRx()
