"""``user``: the TLS library deciphers in user space, and the file is written. What every client does."""

from __future__ import annotations

from harness.api.bench import Bench
from harness.api.parameters import Parameters
from harness.api.path import Deployed
from harness.api.receiving import Receiving
from harness.api.words import Words
from harness.servers import receiver
from hosts.facts import Facts


class User(Receiving):
    name = "user"
    words = Words(
        label="TLS deciphered in user space, then written",
        subject="Deciphering TLS in user space (user)",
        short="deciphering in user space",
        baseline="deciphering in user space",
    )
    counterpart = "https"
    impossible = staticmethod(receiver.no_openssl)

    def unsupported(self, parameters: Parameters, sender: Facts, receiving: Facts) -> str | None:
        return receiver.no_library(sender, receiving)

    def receive(self, bench: Bench, parameters: Parameters, sent: Deployed) -> Deployed:
        return receiver.received(bench, "library", parameters, sent)


WAY = User()
