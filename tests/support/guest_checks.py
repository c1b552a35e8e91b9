"""Checks that run inside a guest, with that guest's Python and its unittest."""

from __future__ import annotations

import io
import os
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from hosts import modules
from hosts.lab.kinds import Parts
from hosts.remote.host import RemoteHost

PATIENCE = float(os.environ.get("GUEST_PATIENCE", "1"))
"""How many times as long as in the usual guest checks may take: kernels that look for mistakes are slow."""


def zipped(package: Path) -> bytes:
    """A package of checks, and the modules beside it that they share, as a file that Python imports from."""
    buffer = io.BytesIO()
    shared = [path for path in package.parent.glob("*.py") if not path.name.startswith("test_")]
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted([*shared, *package.glob("*.py")]):
            archive.write(path, path.relative_to(package.parents[1]))
    return buffer.getvalue()


def put_modules(parts: Parts, host: RemoteHost, sources: Sequence[Path]) -> list[str]:
    """Modules built for a guest's kernel, put there; the environment that tells checks where they are."""
    kernel, found = host.check(["uname", "-r"]).strip(), []
    for source in sources:
        built = modules.in_image(parts.target, source)
        assert kernel.startswith(built.version.partition("-")[0])
        found.append(f"{source.name.upper()}_MODULE={host.put(built.content, f'{source.name}.ko')}")
    return found


TOGETHER = """
pids=
for word; do
    modules=${word#*:}
    said=$TMPDIR/${modules%% *}.said
    PYTHONPATH=${word%%:*} python3 -m unittest $modules >"$said" 2>&1 &
    pids="$pids $!:$said"
done
status=0
for pid in $pids; do
    wait "${pid%%:*}" || status=$?
    echo "${pid#*:}"
    tail -n 40 "${pid#*:}"
done
exit "$status"
"""


def run_together(host: RemoteHost, modules: Mapping[Path, Sequence[str]], *environment: str, seconds: float) -> str:
    """Run modules of packages of checks at the same time on a host; else as ``run_checks``.

    ``modules``: names by package; those of one text are run one after the other.
    """
    words = []
    for package, some in modules.items():
        place, prefix = host.put(zipped(package), f"{package.name}.zip"), f"{package.parent.name}.{package.name}"
        words += [f"{place}:{' '.join(f'{prefix}.{name}' for name in names.split())}" for names in some]
    settings = [f"TMPDIR={host.directory}", f"GUEST_PATIENCE={PATIENCE}", *environment]
    command = ["env", *settings, "sh", "-c", TOGETHER, "sh", *words]
    done = host.run(command, timeout=seconds * PATIENCE)
    assert done.ok, f"status {done.status}\n{done.stdout[-9000:]}{done.stderr[-1000:]}"
    assert len(re.findall(r"^Ran [1-9]\d* tests? in", done.stdout, re.MULTILINE)) == len(words), done.stdout
    return done.stdout


def run_checks(host: RemoteHost, package: Path, module: str, *environment: str, seconds: float) -> str:
    """Run one module of a package of checks on a host; what unittest says of a failure is the assertion's message.

    ``environment`` are words like ``NAME=value``; ``seconds`` is the time it may take in the usual guest. Returns what
    the checks printed.
    """
    place = host.put(zipped(package), f"{package.name}.zip")
    settings = [f"PYTHONPATH={place}", f"TMPDIR={host.directory}", f"GUEST_PATIENCE={PATIENCE}", *environment]
    command = ["python3", "-m", "unittest", f"{package.parent.name}.{package.name}.{module}"]
    done = host.run(["env", *settings, *command], timeout=seconds * PATIENCE)
    assert done.ok, f"status {done.status}\n{done.stdout[-3000:]}{done.stderr[-6000:]}"
    ran = re.search(r"^Ran (\d+) tests? in", done.stderr, re.MULTILINE)
    assert ran and int(ran[1]), f"nothing was checked: {done.stderr}"
    return done.stdout
