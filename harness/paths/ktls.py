"""``ktls``: TLS records made by the kernel, so that sendfile works again (the scheme's closest mainline relative)."""

from __future__ import annotations

from harness.bench import Bench
from harness.ceiling import Step, Steps
from harness.paths import Deployed, _ktls, _nginx
from harness.setup import Setup
from hosts.facts import Facts


class Ktls:
    name = "ktls"
    title = "Kernel TLS + sendfile"
    clear = False
    builds: tuple[str, ...] = ()
    buffers: tuple[int, ...] = ()

    def impossible(self, setup: Setup) -> str | None:
        return _ktls.impossible(setup)

    def unsupported(self, setup: Setup, sender: Facts, receiver: Facts) -> str | None:
        return _ktls.unsupported(setup, sender, receiver)

    def deploy(self, bench: Bench, setup: Setup) -> Deployed:
        return _ktls.deploy(bench, self.name, setup, sendfile=True)

    def steps(self, setup: Setup) -> Steps | None:
        record = _nginx.RECORD_BYTES
        return Steps(sender=(Step("kernel_cipher", chunk=record),), receiver=(Step("receiver_gnutls", chunk=record),))


PATH = Ktls()
