"""``http``: nginx and sendfile, nothing encrypted (the paper's Figure 1). The reference of Figure 5."""

from __future__ import annotations

from harness.bench import Bench
from harness.ceiling import Step
from harness.ciphers import Cipher
from harness.paths import Deployed, Observed, Witness, _need, _nginx
from hosts.facts import Facts


def judge(seen: Observed) -> Witness:
    """The server's log: one request, the whole payload, no TLS."""
    sent = [line["bytes"] for line in seen.log]
    suites = {line["suite"] for line in seen.log}
    facts = {"server_requests": len(sent), "server_bytes": sum(sent)}
    if sent != [seen.payload]:
        return Witness(facts, f"the server's log shows {sent} bytes, not one request of {seen.payload}")
    if suites != {""}:
        return Witness(facts, f"the clear path spoke TLS: {suites}")
    return Witness(facts)


class Http:
    name = "http"
    title = "HTTP (nginx, sendfile)"
    clear = True
    builds: tuple[str, ...] = ()
    steps: tuple[Step, ...] | None = None

    def unsupported(self, cipher: Cipher | None, driver: str, sender: Facts, receiver: Facts) -> str | None:
        return _need.missing(sender, receiver, sender_programs=("nginx",))

    def deploy(self, bench: Bench, cipher: Cipher | None, driver: str) -> Deployed:
        port = bench.port()
        log = _nginx.serve(bench, self.name, port)
        base = bench.base_url("http", port)
        return Deployed(url=lambda name: f"{base}/{name}", log=log, judge=judge)


PATH = Http()
