"""``so-crypt-rx-splice``: the socket deciphers, and a pipe takes it into the file: the scheme on the other end."""

from __future__ import annotations

from harness.api.bench import Bench
from harness.api.parameters import Parameters
from harness.api.path import Deployed
from harness.api.receiving import Receiving
from harness.api.steps import Step, Taking
from harness.api.words import Words
from harness.servers import datapath, deciphering
from hosts.facts import Facts

MODULE = deciphering.MODULES["splice"]


class SoCryptRxSplice(Receiving):
    name = "so-crypt-rx-splice"
    words = Words(
        label="the scheme on receipt: a SO_CRYPT socket spliced into the file",
        subject="Taking the data off user space on receipt (so-crypt-rx-splice)",
        short="SO_CRYPT on receipt with splice",
        order=50,
        model="scheme",
    )
    counterpart = "so-crypt"
    takes = "stream"
    builds = (MODULE,)
    prices = (deciphering.PRICES,)
    rehearses = Taking("splice", chunks=True)
    impossible = staticmethod(datapath.no_skcipher)

    def unsupported(self, parameters: Parameters, sender: Facts, receiving: Facts) -> str | None:
        return deciphering.unsupported(MODULE, parameters, sender, receiving)

    def steps(self, parameters: Parameters) -> tuple[Step, ...]:
        return deciphering.steps("splice", parameters)

    def prepare(self, bench: Bench, parameters: Parameters) -> None:
        deciphering.prepare(bench, "splice", parameters)

    def receive(self, bench: Bench, parameters: Parameters, sent: Deployed) -> Deployed:
        return deciphering.received(bench, "splice", parameters, sent)


WAY = SoCryptRxSplice()
