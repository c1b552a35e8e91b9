"""``so-crypt``: the paper's scheme itself: sendfile on a socket that encrypts (Figure 3)."""

from __future__ import annotations

from harness.bench import Bench
from harness.ceiling import Step, Steps
from harness.paths import Deployed, _datapath, _so_crypt
from harness.setup import Setup
from hosts.facts import Facts


class SoCrypt:
    name = "so-crypt"
    title = "SO_CRYPT + sendfile"
    clear = False
    builds: tuple[str, ...] = (_so_crypt.MODULE,)
    buffers: tuple[int, ...] = ()

    def impossible(self, setup: Setup) -> str | None:
        return _datapath.no_skcipher(setup)

    def unsupported(self, setup: Setup, sender: Facts, receiver: Facts) -> str | None:
        return _so_crypt.unsupported(setup, sender, receiver)

    def deploy(self, bench: Bench, setup: Setup) -> Deployed:
        return _so_crypt.deploy(bench, self.name, setup, crossings=0)

    def steps(self, setup: Setup) -> Steps | None:
        return Steps(sender=(Step("kernel_cipher"),))


PATH = SoCrypt()
