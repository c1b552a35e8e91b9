"""``so-crypt-send``: read and send on a socket that encrypts: what the saved copies give, apart from leaving AF_ALG."""

from __future__ import annotations

from harness.bench import Bench
from harness.ceiling import Step
from harness.ciphers import Cipher
from harness.paths import Deployed, _so_crypt
from hosts.facts import Facts


class SoCryptSend:
    name = "so-crypt-send"
    title = "SO_CRYPT + read and send"
    clear = False
    builds: tuple[str, ...] = (_so_crypt.MODULE,)
    steps: tuple[Step, ...] | None = (Step("read"), Step("tcp_copy"), Step("cipher", calls=0))

    def unsupported(self, cipher: Cipher | None, driver: str, sender: Facts, receiver: Facts) -> str | None:
        return _so_crypt.unsupported(cipher, sender, receiver)

    def deploy(self, bench: Bench, cipher: Cipher | None, driver: str) -> Deployed:
        return _so_crypt.deploy(bench, self.name, cipher, driver, crossings=2)


PATH = SoCryptSend()
