"""``ktls-rx-splice``: the kernel's TLS deciphers, and a pipe takes it into the file: none of it enters user space."""

from __future__ import annotations

from harness.api.bench import Bench
from harness.api.parameters import Parameters
from harness.api.path import Deployed
from harness.api.receiving import Receiving
from harness.api.steps import Step, Taking
from harness.api.words import Words
from harness.servers import deciphering, nginx, receiver


class KtlsRxSplice(Receiving):
    name = "ktls-rx-splice"
    words = Words(
        label="kernel TLS on receipt, spliced into the file",
        subject="Deciphering TLS in the kernel and splicing it into the file (ktls-rx-splice)",
        short="kernel TLS on receipt with splice",
        order=10,
    )
    counterpart = "ktls"
    prices = (deciphering.PRICES,)
    rehearses = Taking("splice", nginx.RECORD_BYTES)  # a call takes a record
    impossible = staticmethod(receiver.no_kernel_tls)
    unsupported = staticmethod(receiver.no_receiving_kernel)

    def steps(self, parameters: Parameters) -> tuple[Step, ...]:
        return (Step("receiver_cipher", chunk=nginx.RECORD_BYTES),)

    def receive(self, bench: Bench, parameters: Parameters, sent: Deployed) -> Deployed:
        return receiver.received(bench, "splice", parameters, sent)


WAY = KtlsRxSplice()
