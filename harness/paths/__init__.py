"""Data paths: one file each. Adding one is adding a file with a ``PATH``, or an entry point of another package."""

from __future__ import annotations

import importlib
import pkgutil
from importlib.metadata import entry_points

from harness.api.path import DataPath
from hosts.errors import ConfigError

ENTRY_POINTS = "pathproof.paths"


def discover() -> dict[str, DataPath]:
    """All paths by name: the files of this folder, then other packages' entry points."""
    found: dict[str, DataPath] = {}
    for module in pkgutil.iter_modules(__path__):
        if not module.name.startswith("_"):
            path: DataPath = importlib.import_module(f"{__name__}.{module.name}").PATH
            found[path.name] = path
    for entry in entry_points(group=ENTRY_POINTS):
        path = entry.load()
        if not isinstance(path, DataPath):
            raise ConfigError(f"{entry.value} is no data path: it must be an instance of {DataPath.__qualname__}")
        if path.name in found:
            raise ConfigError(f"two data paths are called {path.name!r}; one comes from {entry.value}")
        found[path.name] = path
    return found
