"""``ktls-rx``: the kernel's TLS deciphers, and the file is read and written.

Beside ``ktls-rx-splice`` it tells what deciphering in the kernel gives, and what splice gives.
"""

from __future__ import annotations

from harness.api.bench import Bench
from harness.api.parameters import Parameters
from harness.api.path import Deployed
from harness.api.receiving import Receiving
from harness.api.steps import Step
from harness.api.words import Words
from harness.servers import deciphering, nginx, receiver


class KtlsRx(Receiving):
    name = "ktls-rx"
    words = Words(
        label="kernel TLS on receipt, read and written",
        subject="Deciphering TLS in the kernel and reading it (ktls-rx)",
        short="kernel TLS on receipt",
        order=20,
    )
    counterpart = "ktls-write"
    prices = (deciphering.PRICES,)
    impossible = staticmethod(receiver.no_kernel_tls)
    unsupported = staticmethod(receiver.no_receiving_kernel)

    def steps(self, parameters: Parameters) -> tuple[Step, ...]:
        return (Step("receiver_cipher", chunk=nginx.RECORD_BYTES),)

    def receive(self, bench: Bench, parameters: Parameters, sent: Deployed) -> Deployed:
        return receiver.received(bench, "recv", parameters, sent)


WAY = KtlsRx()
