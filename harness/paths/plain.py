"""``plain``: datapath with sendfile and no cipher. What the schemes would reach if encrypting cost nothing."""

from __future__ import annotations

from typing import Any

from harness.bench import Bench
from harness.ceiling import Steps
from harness.paths import Deployed, Observed, _datapath, _need
from harness.setup import Setup
from hosts.facts import Facts


def rule(_seen: Observed, line: dict[str, Any]) -> str | None:
    """Nothing of the payload was in user space."""
    return f"{line['crossing_bytes']} bytes crossed into user space" if line["crossing_bytes"] else None


class Plain:
    name = "plain"
    title = "Plain sendfile"
    clear = True
    builds: tuple[str, ...] = ()
    buffers: tuple[int, ...] = ()

    def impossible(self, setup: Setup) -> str | None:
        return None

    def unsupported(self, setup: Setup, sender: Facts, receiver: Facts) -> str | None:
        return _need.missing(sender, receiver, sender_programs=("cc",))

    def deploy(self, bench: Bench, setup: Setup) -> Deployed:
        return _datapath.serve(bench, self.name, Setup(None), rule)

    def steps(self, setup: Setup) -> Steps | None:
        return Steps()


PATH = Plain()
