"""The site below ``results/site``: an index and a folder per run, rebuilt only where something changed."""

from __future__ import annotations

import hashlib
import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

from harness import record
from hosts.errors import HarnessError
from hosts.progress import Progress, silent
from reports import export, kernels, pages

MANIFEST = "built.json"
PAGE = "index.html"


class ReportError(HarnessError):
    """The reports cannot be written."""


def build_site(results: Path, progress: Progress = silent) -> Path:
    """Bring the site up to date and return the path of its index. Raises ReportError.

    A page is rebuilt if its record or anything it is made with changed. A record that cannot be read has a row
    with its reason in the index and no page.
    """
    site = results / "site"
    try:
        site.mkdir(parents=True, exist_ok=True)
        _assets(site)
        before = _manifest(site)
        runs = record.list_runs(results)
        after: dict[str, dict[str, Any]] = {}
        for n, path in enumerate(runs):
            progress(f"report of {path.name}", n / len(runs))
            after[path.name] = _run(site, path, before.get(path.name))
        rows = sorted((entry["row"] for entry in after.values()), key=_newest, reverse=True)
        compared = _kernels(results, after, before)
        after |= compared
        for name in before.keys() - after.keys():
            _forget(site / name)
        index = site / PAGE
        _write(index, pages.render_index(rows, [entry["row"] for entry in compared.values()]))
        _write(site / MANIFEST, json.dumps(after, indent=0, sort_keys=True))
    except OSError as error:
        raise ReportError(
            f"cannot write the reports in {site}: {error.strerror or error}",
            next_step="free some space or choose another --results folder",
        ) from error
    progress("reports are up to date", 1.0)
    return index


def run_page(results: Path, run: str | None = None) -> Path:
    """The page of a run, built if need be: ``run`` by its folder's name, else the newest. Raises ReportError."""
    if not results.is_dir():
        raise ReportError(f"there is no results folder {results}", next_step="name it with --results")
    names = [path.name for path in record.list_runs(results)]
    if run is not None and run not in names and run != "latest":
        raise ReportError(f"no run is called {run!r} in {results}", next_step=_known(names))
    if run == "latest":
        run = (results / "latest").resolve().name if (results / "latest").exists() else None
        if run not in names:
            raise ReportError(f"no run in {results} is complete yet", next_step=_known(names))
    index = build_site(results)
    if run is None:
        return index
    page = index.parent / run / PAGE
    if not page.exists():
        record.read(results / run)  # says what is wrong with it
        raise ReportError(f"{run} has no page")
    return page


def _known(names: list[str]) -> str:
    return f"the newest are {', '.join(names[:-4:-1])}" if names else "make one with pytest suites"


def _run(site: Path, path: Path, before: dict[str, Any] | None) -> dict[str, Any]:
    """A run's entry in the manifest; its page is written if anything changed."""
    folder = site / path.name
    key = _key(path)
    if before and before.get("key") == key and (before["row"]["status"] == "damaged" or (folder / PAGE).exists()):
        return before
    try:
        run = record.read(path)
        page = pages.render(run)
    except HarnessError as error:
        _forget(folder)
        return {"key": key, "row": _damaged(path, str(error).split("\n")[0])}
    _put(folder, page)
    # A run that is going on can end without its files changing, when its writer dies.
    return {"key": "" if run.head.status == "running" else key, "row": page.row}


def _kernels(results: Path, runs: dict[str, Any], before: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Entries of the pages that hold a profile's runs on several kernels side by side, written where they changed."""
    found: dict[str, dict[str, Any]] = {}
    rows = [entry["row"] for entry in runs.values()]
    for profile in sorted({row["profile"] for row in rows if row["kernel"]}):
        name, chosen = kernels.folder(profile), kernels.newest(rows, profile)
        if not name or name in runs or len({row["kernel"] for row in chosen}) < 2:
            continue
        key = " ".join(runs[row["folder"]]["key"] for row in chosen)
        folder = results / "site" / name
        if before.get(name, {}).get("key") == key and (folder / PAGE).exists():
            found[name] = before[name]
            continue
        page = kernels.render([record.read(results / row["folder"]) for row in chosen])
        _put(folder, page)
        found[name] = {"key": key, "row": page.row}
    return found


def kernels_page(results: Path, profile: str) -> Path:
    """The page that holds a profile's newest runs on several kernels side by side. Raises ReportError."""
    run_page(results)
    entries = _manifest(results / "site")
    name = kernels.folder(profile)
    if entries.get(name, {}).get("row", {}).get("status") == "kernels":
        return results / "site" / name / PAGE
    chosen = kernels.newest([entry["row"] for entry in entries.values()], profile)
    seen = ", ".join(f"{row['testbed']} (kernel {row['kernel']})" for row in chosen)
    missing = [bed for bed in kernels.TESTBEDS if bed not in {row["testbed"] for row in chosen}]
    wanted = f"; missing: {', '.join(missing)}" if missing else ""
    raise ReportError(
        f"two kernels are needed, and {profile!r} was run to its end on {seen or 'none'}{wanted}",
        next_step="; ".join(f"pytest suites --profile {profile} --testbed {bed}" for bed in missing)
        or "run it on a testbed with another kernel",
    )


def _put(folder: Path, page: pages.Page) -> None:
    """Write a page and its files."""
    folder.mkdir(exist_ok=True)
    for name, table in page.files.items():
        _write(folder / name, export.to_csv(table))
    _write(folder / PAGE, page.html)


def _damaged(path: Path, reason: str) -> dict[str, str]:
    found = {"folder": path.name, "started": "", "profile": "", "testbed": "", "kind": "", "verdict": "", "kernel": ""}
    return found | {"status": "damaged", "headline": f"Cannot be read: {reason}"}


def _newest(row: dict[str, str]) -> tuple[str, str]:
    return row["started"] or row["folder"], row["folder"]


def _key(path: Path) -> str:
    """Changes when the record or the code that renders it does."""
    parts = [_code()]
    for name in ("run.json", "samples.jsonl"):
        try:
            stat = (path / name).stat()
            parts.append(f"{stat.st_mtime_ns}-{stat.st_size}")
        except OSError:
            parts.append("missing")
    return " ".join(parts)


@cache
def _code() -> str:
    """A hash of this package: its templates, its scripts and its Python."""
    digest = hashlib.sha256()
    here = Path(__file__).parent
    for path in sorted([*here.glob("*.py"), *here.glob("templates/*.j2"), *here.glob("templates/assets/*")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _manifest(site: Path) -> dict[str, dict[str, Any]]:
    """What was built before; nothing where that cannot be told, so that everything is built again."""
    try:
        found = json.loads((site / MANIFEST).read_text(encoding="utf-8"))
        entries = {str(name): dict(entry) for name, entry in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
    names = set(_damaged(Path("x"), ""))
    good = {
        name: entry
        for name, entry in entries.items()
        if isinstance(entry.get("row"), dict) and set(entry["row"]) == names and name == Path(name).name
    }
    return {name: entry for name, entry in good.items() if name not in ("", ".", "..", "assets")}


def _assets(site: Path) -> None:
    """The scripts and styles that all pages share; Plotly as the installed package ships it."""
    import plotly

    target = site / "assets"
    target.mkdir(exist_ok=True)
    library = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
    for source in (library, *sorted(pages.ASSETS.iterdir())):
        copy = target / source.name
        if not copy.exists() or copy.read_bytes() != source.read_bytes():
            shutil.copyfile(source, copy)


def _forget(folder: Path) -> None:
    """Remove a page that this module made, and its folder if nothing else is in it."""
    for name in (PAGE, "samples.csv", "cells.csv", "kernels.csv"):
        (folder / name).unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _write(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old one or the new one, whole."""
    new = path.with_name(f".{path.name}.new")
    new.write_bytes(text.encode("utf-8", "replace"))
    new.replace(path)
