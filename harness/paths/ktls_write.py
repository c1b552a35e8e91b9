"""``ktls-write``: TLS records made by the kernel, the file still read into user space and written: apart from ``ktls``
it tells what kernel TLS gives and what sendfile gives."""

from __future__ import annotations

from harness.bench import Bench
from harness.ceiling import Step, Steps
from harness.paths import Deployed, _ktls, _nginx
from harness.setup import Setup
from hosts.facts import Facts


class KtlsWrite:
    name = "ktls-write"
    title = "Kernel TLS + write"
    clear = False
    builds: tuple[str, ...] = ()
    buffers: tuple[int, ...] = (4096,)

    def impossible(self, setup: Setup) -> str | None:
        return _ktls.impossible(setup)

    def unsupported(self, setup: Setup, sender: Facts, receiver: Facts) -> str | None:
        return _ktls.unsupported(setup, sender, receiver)

    def deploy(self, bench: Bench, setup: Setup) -> Deployed:
        return _ktls.deploy(bench, self.name, setup, sendfile=False)

    def steps(self, setup: Setup) -> Steps | None:
        record = _nginx.RECORD_BYTES
        return Steps(
            sender=(
                Step("read", chunk=2 * record),
                Step("tcp_copy", chunk=record),
                Step("kernel_cipher", chunk=record),
            ),
            receiver=(Step("receiver_gnutls", chunk=record),),
        )


PATH = KtlsWrite()
