"""``so-crypt-rx``: the socket deciphers, and the file is read and written.

Beside ``so-crypt-rx-splice`` it tells what deciphering in the socket gives, and what splice gives.
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

MODULE = deciphering.MODULES["recv"]


class SoCryptRx(Receiving):
    name = "so-crypt-rx"
    words = Words(
        label="a SO_CRYPT socket deciphers, read and written",
        subject="Deciphering in the socket and reading it (so-crypt-rx)",
        short="SO_CRYPT on receipt",
        order=60,
    )
    counterpart = "so-crypt-send"
    takes = "stream"
    rehearses = Taking(chunks=True)
    builds = (MODULE,)
    prices = (deciphering.PRICES,)
    impossible = staticmethod(datapath.no_skcipher)

    def unsupported(self, parameters: Parameters, sender: Facts, receiving: Facts) -> str | None:
        return deciphering.unsupported(MODULE, parameters, sender, receiving)

    def steps(self, parameters: Parameters) -> tuple[Step, ...]:
        return deciphering.steps("recv", parameters)

    def prepare(self, bench: Bench, parameters: Parameters) -> None:
        deciphering.prepare(bench, "recv", parameters)

    def receive(self, bench: Bench, parameters: Parameters, sent: Deployed) -> Deployed:
        return deciphering.received(bench, "recv", parameters, sent)


WAY = SoCryptRx()
