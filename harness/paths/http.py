"""``http``: nginx and sendfile, nothing encrypted (the paper's Figure 1). The reference of Figures 5 and 6."""

from __future__ import annotations

from harness.api.bench import Bench
from harness.api.parameters import Parameters
from harness.api.path import DataPath, Deployed, Observed, Witness
from harness.api.steps import Steps
from harness.api.words import Words
from harness.servers import nginx, request_log, requirements
from hosts.facts import Facts


def verify(seen: Observed) -> Witness:
    """The server's log: each request once with the whole payload, and no TLS."""
    said = request_log.check(seen)
    suites = {line["suite"] for line in seen.log}
    if said.reason is None and suites != {""}:
        return Witness(said.facts, f"the clear path spoke TLS: {suites}")
    return said


class Http(DataPath):
    name = "http"
    words = Words(
        label="plain HTTP, sendfile",
        subject="Not encrypting at all (http)",
        baseline="plain HTTP",
        model="scheme",
    )
    clear = True

    def unsupported(self, parameters: Parameters, sender: Facts, receiver: Facts) -> str | None:
        return requirements.missing(sender, receiver, sender_programs=("nginx",))

    def deploy(self, bench: Bench, parameters: Parameters) -> Deployed:
        port = bench.port()
        served = nginx.serve(bench, self.name, port, load=parameters)
        base = bench.base_url("http", port)
        return Deployed(
            url=lambda name: f"{base}/{name}",
            log=nginx.access_log(bench, self.name),
            server=served.number,
            verify=verify,
            calls=frozenset({"sendfile"}),
            crossing_limit=nginx.HEADS_BYTES,
        )

    def steps(self, parameters: Parameters) -> Steps | None:
        return Steps()


PATH = Http()
