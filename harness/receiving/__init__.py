"""Ways of receiving: one file each. Adding one is a file with a ``WAY``, or an entry point of another package."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import entry_points

from harness.api.bench import Bench
from harness.api.parameters import Parameters
from harness.api.path import DataPath, Deployed
from harness.api.receiving import Receiving
from harness.api.steps import Steps
from hosts.errors import ConfigError, Refusal
from hosts.facts import Facts

ENTRY_POINTS = "pathproof.receiving"


class Received(DataPath):
    """A way of receiving in a path's place: what the suite's path sends, received so."""

    receives = True

    def __init__(self, way: Receiving, paths: Mapping[str, DataPath]) -> None:
        self.name, self.words = way.name, way.words
        self._way, self._paths = way, paths
        self.speaks_esp = way.sent_by is not None and paths[way.sent_by].speaks_esp
        usual = paths.get(way.sent_by or way.counterpart or "")  # a suite's own sender is that suite's to name
        self.builds = usual.builds if usual else ()
        self.receiver_builds = way.builds
        self.prices = (*(usual.prices if usual else ()), *way.prices)
        self.rehearses = way.rehearses

    def _sent_by(self, parameters: Parameters) -> str | None:
        return self._way.sent_by or parameters.sent_by or self._way.counterpart

    def impossible(self, parameters: Parameters) -> str | None:
        path = self._paths.get(self._sent_by(parameters) or "")
        if path is None:
            return f"no data path is called {self._sent_by(parameters)}, which is to send"
        if self._way.takes == "tls" and not path.speaks_tls:
            return f"{path.name} does not speak TLS, which {self.name} receives"
        if self._way.takes == "stream" and not path.streams:
            return f"{path.name} sends no stream of cipher text, which {self.name} receives"
        return path.impossible(parameters) or self._way.impossible(parameters)

    def unsupported(self, parameters: Parameters, sender: Facts, receiver: Facts) -> str | None:
        name = self._sent_by(parameters) or ""
        path, asked = self._paths[name], replace(parameters, sent_by=name)
        return path.unsupported(asked, sender, receiver) or self._way.unsupported(asked, sender, receiver)

    def steps(self, parameters: Parameters) -> Steps | None:
        sent = self._paths[self._sent_by(parameters) or ""].steps(parameters)
        there = self._way.steps(parameters)
        return replace(sent, receiver=there) if sent and there is not None else None

    def deploy(self, bench: Bench, parameters: Parameters) -> Deployed:
        if reason := self.impossible(parameters):
            raise Refusal(reason)
        self._way.prepare(bench, parameters)
        name = self._sent_by(parameters) or ""
        sent = self._paths[name].deploy(bench.beside(self.name), parameters)
        return self._way.receive(bench, replace(parameters, sent_by=name), sent)


def discover() -> dict[str, Receiving]:
    """All ways by name: the files of this folder, then other packages' entry points."""
    found: dict[str, Receiving] = {}
    for module in pkgutil.iter_modules(__path__):
        way: Receiving = importlib.import_module(f"{__name__}.{module.name}").WAY
        found[way.name] = way
    for entry in entry_points(group=ENTRY_POINTS):
        way = entry.load()
        if not isinstance(way, Receiving):
            raise ConfigError(
                f"{entry.value} is no way of receiving: it must be an instance of {Receiving.__qualname__}"
            )
        if way.name in found:
            raise ConfigError(f"two ways of receiving are called {way.name!r}; one comes from {entry.value}")
        found[way.name] = way
    return found


def beside(paths: Mapping[str, DataPath]) -> dict[str, DataPath]:
    """These paths, and every way of receiving in a path's place. Raises ConfigError where two have one name."""
    ways = discover()
    if both := sorted(ways.keys() & paths.keys()):
        raise ConfigError(f"{both[0]!r} is the name of a data path and of a way of receiving")
    return {**paths, **{name: Received(way, paths) for name, way in ways.items()}}
