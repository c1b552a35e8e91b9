"""A data path beside its twin that is dearer by a known share: for tests and for measuring what the harness resolves.

The share is spent by our server itself (``datapath serve --dearer``). No path of the harness asks for it, and a sample
whose server says that it spent any on purpose is not that path's: only a twin knows what to make of it.
"""

from __future__ import annotations

from dataclasses import replace

from harness.api.bench import Bench
from harness.api.parameters import Parameters
from harness.api.path import DataPath, Deployed, Observed, Witness
from harness.servers import datapath
from hosts.facts import Facts


class Twin(DataPath):
    """A path that our server serves, once more: ``per_mille`` of its own time are spent on top of it, if any."""

    def __init__(self, path: DataPath, per_mille: int) -> None:
        self.path, self.per_mille = path, per_mille
        self.name = f"{path.name}-dearer-{per_mille}" if per_mille else f"{path.name}-twin"
        self.clear, self.builds = path.clear, path.builds

    def impossible(self, parameters: Parameters) -> str | None:
        """As the path."""
        return self.path.impossible(parameters)

    def unsupported(self, parameters: Parameters, sender: Facts, receiver: Facts) -> str | None:
        """As the path."""
        return self.path.unsupported(parameters, sender, receiver)

    def deploy(self, bench: Bench, parameters: Parameters) -> Deployed:
        """The path in a folder of its own; where it is dearer, by a program that adds the option.

        What was spent is a fact of the witness.
        """
        beside = bench.beside("twin")
        if not self.per_mille:
            return self.path.deploy(beside, parameters)
        dearer = bench.shared | {datapath.SHARED: self._program(bench)}
        made = self.path.deploy(replace(beside, shared=dearer), parameters)

        def verify(seen: Observed) -> Witness:
            spent = [line.get(datapath.DEARER) for line in seen.log if line.get("event") == "request"]
            kept = [{name: value for name, value in line.items() if name != datapath.DEARER} for line in seen.log]
            said = made.verify(replace(seen, log=kept))
            facts = said.facts | {datapath.DEARER: sum(ns or 0 for ns in spent)}
            return Witness(facts, said.reason or (None if all(spent) else "the server spent nothing on purpose"))

        return replace(made, verify=verify)

    def _program(self, bench: Bench) -> str:
        """A script on the sender that stands before our server; the process is the server's own."""
        script = f'#!/bin/sh\nexec {datapath.compiled(bench)} "$@" --dearer {self.per_mille}\n'
        return bench.sender.put(script.encode(), f"datapath-dearer-{self.per_mille}", 0o700)
