"""``http``: nginx and sendfile, nothing encrypted (the paper's Figure 1). The reference of Figures 5 and 6."""

from __future__ import annotations

from harness.bench import Bench
from harness.ceiling import Steps
from harness.paths import Deployed, Observed, Witness, _log, _need, _nginx
from harness.setup import Setup
from hosts.facts import Facts


def judge(seen: Observed) -> Witness:
    """The server's log: each request once with the whole payload, and no TLS."""
    said = _log.check(seen)
    suites = {line["suite"] for line in seen.log}
    if said.reason is None and suites != {""}:
        return Witness(said.facts, f"the clear path spoke TLS: {suites}")
    return said


class Http:
    name = "http"
    title = "HTTP (nginx, sendfile)"
    clear = True
    builds: tuple[str, ...] = ()
    buffers: tuple[int, ...] = ()

    def impossible(self, setup: Setup) -> str | None:
        return None

    def unsupported(self, setup: Setup, sender: Facts, receiver: Facts) -> str | None:
        return _need.missing(sender, receiver, sender_programs=("nginx",))

    def deploy(self, bench: Bench, setup: Setup) -> Deployed:
        port = bench.port()
        served = _nginx.serve(bench, self.name, port)
        base = bench.base_url("http", port)
        return Deployed(
            url=lambda name: f"{base}/{name}",
            log=_nginx.access_log(bench, self.name),
            server=served.number,
            judge=judge,
            calls=frozenset({"sendfile"}),
        )

    def steps(self, setup: Setup) -> Steps | None:
        return Steps()


PATH = Http()
