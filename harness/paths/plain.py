"""``plain``: datapath with sendfile and no cipher. What the schemes would reach if encrypting cost nothing."""

from __future__ import annotations

from typing import Any

from harness.api.bench import Bench
from harness.api.parameters import Parameters
from harness.api.path import DataPath, Deployed, Observed
from harness.api.steps import Steps
from harness.api.words import Words
from harness.servers import datapath, requirements
from hosts.facts import Facts


def rule(_seen: Observed, line: dict[str, Any]) -> str | None:
    """Nothing of the payload was in user space."""
    return f"{line['crossing_bytes']} bytes crossed into user space" if line["crossing_bytes"] else None


class Plain(DataPath):
    name = "plain"
    words = Words(
        label="no encryption, sendfile",
        subject="Not encrypting at all (plain)",
        baseline="plain sendfile",
        model="scheme",
    )
    clear = True

    def unsupported(self, parameters: Parameters, sender: Facts, receiver: Facts) -> str | None:
        return requirements.missing(sender, receiver, sender_programs=("cc",))

    def deploy(self, bench: Bench, parameters: Parameters) -> Deployed:
        return datapath.serve(bench, self.name, parameters, rule)

    def steps(self, parameters: Parameters) -> Steps | None:
        return Steps()


PATH = Plain()
