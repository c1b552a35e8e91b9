"""What the site is made of: which pages were made from what, and how files below it are written and removed."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from harness import record
from reports import export
from reports.site import pages

FILE = "built.json"
PAGE = "index.html"
FILES = (PAGE, "samples.csv", "cells.csv", "kernels.csv", "night.csv")
"""All that this package ever writes into a page's folder."""
NAMES = ("folder", "started", "profile", "testbed", "kind", "verdict", "kernel", "status", "headline")
"""Of a row of the index."""
KEPT = ("", ".", "..", "assets")

Entry = dict[str, Any]
"""A page: ``key`` of what it was made from, its ``row`` in the index, ``long`` for a run's long page, ``of`` for the
folders of the runs that a comparison is of; of trends ``of_key`` of the runs, ``ratios``, and ``summaries``; of a
fleet's night, on how many testbeds something got ``worse``."""


def load(site: Path) -> dict[str, Entry]:
    """What was built before; nothing where that cannot be told, so that everything is built again."""
    try:
        found = json.loads((site / FILE).read_text(encoding="utf-8"))
        entries = {str(name): dict(entry) for name, entry in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
    return {name: entry for name, entry in entries.items() if name not in KEPT and _sound(name, entry)}


def _sound(name: str, entry: Entry) -> bool:
    row, of = entry.get("row"), entry.get("of", [])
    return (
        name == Path(name).name
        and isinstance(row, dict)
        and set(row) == set(NAMES)
        and all(isinstance(value, str) for value in row.values())
        and isinstance(of, list)
        and all(isinstance(path, str) for path in of)
        and all(isinstance(entry.get(name, 0), int) for name in ("ratios", "worse"))
        and isinstance(entry.get("summaries", []), list)
    )


def save(site: Path, entries: dict[str, Entry]) -> None:
    """Replace the manifest. Raises OSError."""
    write(site / FILE, json.dumps(entries, sort_keys=True))


def key(record: str) -> str:
    """Changes when the record, by its key in the history, or the code that renders it does."""
    return f"{code()} {record}"


@cache
def code() -> str:
    """A hash of all that makes pages: Python, templates and scripts; the harness's too, for pages go by its rules."""
    digest = hashlib.sha256()
    python = [path for root in (Path(__file__).parents[1], Path(record.__file__).parent) for path in root.rglob("*.py")]
    for path in sorted([*python, *pages.TEMPLATES.glob("*.j2"), *pages.ASSETS.iterdir()]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def digest(parts: Iterable[str]) -> str:
    """A short hash of many keys, and of the code."""
    text = "\n".join([code(), *parts])
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def damaged(path: Path, reason: str) -> dict[str, str]:
    """The row of a run that has no page."""
    return dict.fromkeys(NAMES, "") | {"folder": path.name, "status": "damaged", "headline": reason}


def assets(site: Path) -> None:
    """The scripts and styles that all pages share; Plotly as the installed package ships it. Raises OSError."""
    import plotly

    target = site / "assets"
    target.mkdir(exist_ok=True)
    library = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
    for source in (library, *sorted(pages.ASSETS.iterdir())):
        copy = target / source.name
        if not copy.exists() or copy.read_bytes() != source.read_bytes():
            shutil.copyfile(source, copy)


def put(folder: Path, page: pages.Page) -> None:
    """Write a page and its files. Raises OSError."""
    folder.mkdir(exist_ok=True)
    for name, table in page.files.items():
        write(folder / name, export.to_csv(table))
    write(folder / PAGE, page.html)


def forget(folder: Path) -> None:
    """Remove a page that this package made, and its folder if nothing else is in it."""
    if not folder.is_dir():
        return
    for name in FILES:
        (folder / name).unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()


def write(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old one or the new one, whole. Raises OSError."""
    new = path.with_name(f".{path.name}.new")
    new.write_bytes(text.encode("utf-8", "replace"))
    new.replace(path)
