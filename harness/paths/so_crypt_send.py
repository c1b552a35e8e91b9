"""``so-crypt-send``: read and send on a socket that encrypts: what the saved copies give, apart from leaving AF_ALG."""

from __future__ import annotations

from harness.bench import Bench
from harness.ceiling import Step, Steps
from harness.paths import Deployed, _datapath, _so_crypt
from harness.setup import Setup
from hosts.facts import Facts


class SoCryptSend:
    name = "so-crypt-send"
    title = "SO_CRYPT + read and send"
    clear = False
    builds: tuple[str, ...] = (_so_crypt.MODULE,)
    buffers: tuple[int, ...] = (4096, 16384)

    def impossible(self, setup: Setup) -> str | None:
        return _datapath.no_skcipher(setup)

    def unsupported(self, setup: Setup, sender: Facts, receiver: Facts) -> str | None:
        return _so_crypt.unsupported(setup, sender, receiver)

    def deploy(self, bench: Bench, setup: Setup) -> Deployed:
        return _so_crypt.deploy(bench, self.name, setup, crossings=2)

    def steps(self, setup: Setup) -> Steps | None:
        return Steps(sender=(Step("read"), Step("tcp_copy"), Step("kernel_cipher")))


PATH = SoCryptSend()
