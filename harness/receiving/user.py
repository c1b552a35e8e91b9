"""``user``: the TLS library deciphers in user space, and the file is written. What every client does."""

from __future__ import annotations

from harness.api.bench import Bench
from harness.api.parameters import Parameters
from harness.api.path import Deployed
from harness.api.receiving import Receiving
from harness.api.steps import Step, Taking
from harness.api.words import Words
from harness.servers import deciphering, nginx, openssl, receiver
from hosts.facts import Facts

READ_BYTES = 65536
"""Of OpenSSL's read-ahead, as our client sets it (``hosts/onhost/load/openssl.c``)."""


class User(Receiving):
    name = "user"
    words = Words(
        label="TLS deciphered in user space, then written",
        subject="Deciphering TLS in user space (user)",
        short="deciphering in user space",
        baseline="deciphering in user space",
    )
    counterpart = "https"
    prices = (openssl.RECEIVED, deciphering.PRICES)
    rehearses = Taking("recv", READ_BYTES)
    impossible = staticmethod(receiver.no_openssl)

    def unsupported(self, parameters: Parameters, sender: Facts, receiving: Facts) -> str | None:
        return receiver.no_library(sender, receiving)

    def steps(self, parameters: Parameters) -> tuple[Step, ...]:
        # what is deciphered where it was read is copied to where it is written from
        return Step("receiver_openssl", chunk=nginx.RECORD_BYTES), Step("receiver_copy")

    def receive(self, bench: Bench, parameters: Parameters, sent: Deployed) -> Deployed:
        return receiver.received(bench, "library", parameters, sent)


WAY = User()
