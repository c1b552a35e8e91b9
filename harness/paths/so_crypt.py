"""``so-crypt``: the paper's scheme itself: sendfile on a socket that encrypts (Figure 3)."""

from __future__ import annotations

from harness.bench import Bench
from harness.ceiling import Step
from harness.ciphers import Cipher
from harness.paths import Deployed, _so_crypt
from hosts.facts import Facts


class SoCrypt:
    name = "so-crypt"
    title = "SO_CRYPT + sendfile"
    clear = False
    builds: tuple[str, ...] = (_so_crypt.MODULE,)
    steps: tuple[Step, ...] | None = (Step("cipher", calls=0),)

    def unsupported(self, cipher: Cipher | None, driver: str, sender: Facts, receiver: Facts) -> str | None:
        return _so_crypt.unsupported(cipher, sender, receiver)

    def deploy(self, bench: Bench, cipher: Cipher | None, driver: str) -> Deployed:
        return _so_crypt.deploy(bench, self.name, cipher, driver, crossings=0)


PATH = SoCrypt()
