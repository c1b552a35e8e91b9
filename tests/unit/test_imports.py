"""Imports point one way, and a module can be read in one sitting."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAYERS = ("harness", "hosts", "reports", "suites")
LONGEST = 400

MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path
    for layer in LAYERS
    for path in (ROOT / layer).rglob("*.py")
}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}

MAY_IMPORT = {
    "suites": {"suites", "harness", "hosts", "pytest", "dask", "distributed", "platformdirs", "pydantic", "rich"},
    "harness": {"harness", "hosts", "msgspec", "pydantic", "rich", "scipy"},
    "reports": {
        "reports",
        "harness",
        "hosts",
        "fastparquet",
        "jinja2",
        "markupsafe",
        "msgspec",
        "numpy",
        "pandas",
        "plotly",
        "pytest_benchmark",
        "rich",
        "ruptures",
        "scipy",
    },
    "hosts": {"hosts", "cryptography", "fabric", "paramiko", "platformdirs", "pydantic"},
}
HARNESS_WINGS = (
    "ciphers",
    "api",
    "servers",
    "paths",
    "receiving",
    "load",
    "measuring",
    "costs",
    "verdicts",
    "run",
    "cli",
)
HOSTS_WINGS = ("onhost", "remote", "crypto", "debian", "lab")
"""Each wing may use those before it, of its own layer."""
HARNESS_TOP = {
    "samples": (),
    "blocks": (),
    "record": ("api",),
    "records": (),
    "night": (),
    "schemas": ("api",),
    "units": (),
    "events": (),
    "spans": (),
    "profile": ("ciphers", "api"),
    "plan": ("ciphers", "api"),
}
"""Modules beside the wings, which every wing from load on may use, and the wings that these use."""
PATH_MAY = {"ciphers", "api", "servers"}
"""What a data path's file needs of harness/: a path of another package can have no more."""
REPORTS_MAY = {
    "harness.blocks",
    "harness.costs.prediction",
    "harness.load.latency",
    "harness.night",
    "harness.record",
    "harness.records",
    "harness.samples",
    "harness.units",
    "harness.verdicts.answer",
    "harness.verdicts.linefit",
    "harness.verdicts.reasons",
    "harness.verdicts.stats",
}
REPORTS_MAY |= {"harness.api.steps", "harness.api.words"}  # data: what a record is made of
REPORTS_MAY |= {"harness.ciphers.interfaces", "harness.ciphers.table"}
REPORTS_MAY |= {"hosts.errors", "hosts.progress", "hosts.roles"}
REPORTS_PARTS = ("findings", "drawing", "nights", "site")
"""Folders of reports, each of which may use those before it, and the modules beside the folders."""
REPORTS_TOP = {"reports", "reports.__init__", "reports.__main__"}
"""What stands above the folders: nothing in them uses it."""
SSH = {"hosts.remote.login", "hosts.remote.route", "hosts.remote.ssh"}
"""What uses paramiko; nothing else does."""


def imported(name: str, tree: ast.AST) -> Iterator[tuple[str, ast.stmt]]:
    """Whole names of the modules that a module imports, at its top and inside functions."""
    package = name if MODULES[name].name == "__init__.py" else name.rpartition(".")[0]
    package = package.removesuffix(".__init__")
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                parent = ".".join(parts[: len(parts) - node.level + 1])
                base = f"{parent}.{base}".rstrip(".")
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield (inner if inner in MODULES or f"{inner}.__init__" in MODULES else base), node


def outside(name: str) -> set[str]:
    """Imports of a module that are not in the standard library."""
    return {found for found, _ in imported(name, TREES[name]) if found.split(".")[0] not in sys.stdlib_module_names}


modules = pytest.mark.parametrize("name", MODULES)


def test_there_is_something_to_look_at() -> None:
    assert {name.split(".")[0] for name in MODULES} == set(LAYERS)
    assert outside("hosts.remote.ssh") >= {"paramiko", "hosts.errors", "hosts.testbed"}
    assert "hosts.onhost.agent.journal" in outside("hosts.onhost.agent.ops"), "relative imports are seen"
    assert "pytest_benchmark.stats" in outside("reports.export"), "imports inside functions are seen"


@modules
def test_a_module_is_short(name: str) -> None:
    lines = len(MODULES[name].read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST, f"{name} has {lines} lines"


@modules
def test_imports_point_one_way(name: str) -> None:
    layer = name.partition(".")[0]
    strange = {found for found in outside(name) if found.split(".")[0] not in MAY_IMPORT[layer]}
    assert not strange, f"{name} imports {sorted(strange)}"


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("reports")])
def test_reports_know_the_record_and_nothing_of_how_it_was_made(name: str) -> None:
    mine = {found for found in outside(name) if found.split(".")[0] in ("harness", "hosts")}
    assert mine <= REPORTS_MAY


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("reports")])
def test_the_parts_of_reports_point_one_way(name: str) -> None:
    part = name.split(".")[1] if name.count(".") > 1 else None
    used = {found.split(".")[1] for found in outside(name) if found.startswith("reports.")} & {*REPORTS_PARTS}
    if part:
        assert used <= {*REPORTS_PARTS[: REPORTS_PARTS.index(part) + 1]}
        assert not outside(name) & REPORTS_TOP
    elif name not in REPORTS_TOP | {"reports.compare"}:
        assert not used


def wing(name: str, layer: str) -> str | None:
    """The wing of a module of a layer; None for one beside the wings, and for one of another layer."""
    parts = name.split(".")
    return parts[1] if parts[0] == layer and parts[1] in {*HARNESS_WINGS, *HOSTS_WINGS} else None


@pytest.mark.parametrize("name", [name for name in MODULES if wing(name, "harness")])
def test_the_wings_of_harness_point_one_way(name: str) -> None:
    mine = str(wing(name, "harness"))
    used = {other for found in outside(name) if (other := wing(found, "harness"))}
    assert used <= {*HARNESS_WINGS[: HARNESS_WINGS.index(mine) + 1]}
    if mine in {*PATH_MAY, "paths", "receiving"}:
        assert used <= {*PATH_MAY, mine}
        assert not {found for found in outside(name) if found.startswith("harness.") and not wing(found, "harness")}


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("harness.paths.") and "__" not in name])
def test_a_data_path_needs_nothing_of_another(name: str) -> None:
    assert {wing(found, "harness") for found in outside(name) if found.startswith("harness.")} <= PATH_MAY


@pytest.mark.parametrize("top", HARNESS_TOP)
def test_what_stands_beside_the_wings_of_harness_uses_little_of_them(top: str) -> None:
    used = {other for found in outside(f"harness.{top}") if (other := wing(found, "harness"))}
    assert used <= {*HARNESS_TOP[top]}


@pytest.mark.parametrize("name", [name for name in MODULES if wing(name, "hosts")])
def test_the_wings_of_hosts_point_one_way(name: str) -> None:
    mine = str(wing(name, "hosts"))
    used = {other for found in outside(name) if (other := wing(found, "hosts"))}
    assert used <= {*HOSTS_WINGS[: HOSTS_WINGS.index(mine) + 1]}


@modules
def test_only_these_files_speak_ssh(name: str) -> None:
    assert ("paramiko" in {found.split(".")[0] for found in outside(name)}) == (name in SSH)


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("hosts.onhost.agent")])
def test_the_agent_needs_python_and_nothing_else(name: str) -> None:
    """It runs on hosts where nothing was installed for it."""
    assert all(found.startswith("hosts.onhost.agent.") for found in outside(name))


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("hosts.onhost.agent")])
def test_the_agent_names_its_own_package_relatively(name: str) -> None:
    """On a host it is called ``agent``: there is no ``hosts`` there."""
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.ImportFrom) and not node.level:
            assert not str(node.module).startswith("hosts")
        if isinstance(node, ast.Import):
            assert not any(alias.name.startswith("hosts") for alias in node.names)
