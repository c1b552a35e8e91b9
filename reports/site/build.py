"""The site below ``results/site``: an index, trends, and a folder per run, rebuilt only where something changed.

The newest runs have long pages, with figures and samples. An older run keeps its long page until this package
changes; from then on it has a short one, made from its verdicts, until its long one is asked for by name. So a site of
hundreds of runs is made in seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from harness import night as fleet_nights
from harness import records
from harness.record import Head, Run
from hosts.errors import HarnessError, Refusal
from hosts.progress import Progress, part, silent
from reports import compare, parallel
from reports.nights import dataset, history
from reports.nights.dataset import History
from reports.nights.history import Night
from reports.site import brief, compare_view, kernels, manifest, pages, trend, trending
from reports.site import night as night_view
from reports.site.manifest import Entry

PAGE = manifest.PAGE
LONG_BYTES = 10_000_000
"""The newest runs whose samples fit into this have long pages: about forty runs of fifty cells."""


class ReportError(Refusal):
    """The reports cannot be written."""


def build_site(
    results: Path,
    progress: Progress = silent,
    wanted: str | None = None,
    every: bool = False,
    pair: tuple[Path, Path] | None = None,
    night: str | None = None,
) -> Path:
    """Bring the site up to date and return the path of its index. Raises ReportError.

    A page is rebuilt if its record or anything it is made with changed. A record that cannot be read has a row
    with its reason in the index and no page. ``wanted``: the folder of a run that is to have its long page; ``every``:
    all are to have it; ``pair``: folders of two runs that are to have a page that compares them; ``night``: of a fleet,
    that is to have its page, as the newest one has.
    """
    site = results / "site"
    try:
        site.mkdir(parents=True, exist_ok=True)
        manifest.assets(site)
        before = manifest.load(site)
        long = _long(results, wanted, every)
        manifest.code()  # once, for all processes
        past = dataset.update(results, part(progress, 0.0, 0.5), partial(_beside, site, before, long))
        after = _runs(results, past, before, long, part(progress, 0.5, 1.0))
        rows = sorted((entry["row"] for entry in after.values()), key=_newest, reverse=True)
        kept = set(after)
        apart = _kernels(results, after, before)
        held = _compared(site, past, before, kept, pair)
        trends = trending.entries(results, past, before, kept)
        fleets = _fleets(results, past, before, kept, night)
        after |= apart | held | trends | fleets
        for name in before.keys() - after.keys():
            manifest.forget(site / name)
        index = site / PAGE
        front = {name: entry for name, entry in trends.items() if name == trend.FOLDER}
        shown = [[entry["row"] for entry in some.values()] for some in (apart, held, front, fleets)]
        manifest.write(index, pages.render_index(rows, *shown))
        manifest.save(site, after)
    except OSError as error:
        raise _unwritable(site, error) from error
    progress("reports are up to date", 1.0)
    return index


def _unwritable(site: Path, error: OSError) -> ReportError:
    return ReportError(
        f"cannot write the reports in {site}: {error.strerror or error}",
        next_step="free some space or choose another --results folder",
    )


def run_page(results: Path, run: str | None = None, every: bool = False) -> Path:
    """The page of a run, built if need be: ``run`` by its folder's name, else the index. Raises ReportError."""
    if not results.is_dir():
        raise ReportError(f"there is no results folder {results}", next_step="name it with --results")
    names = [path.name for path in records.list_runs(results)]
    if run is not None and run not in names and run != "latest":
        raise ReportError(f"no run is called {run!r} in {results}", next_step=_known(names))
    if run == "latest":
        newest = records.latest(results)
        if newest is None:
            raise ReportError(f"no run in {results} is complete yet", next_step=_known(names))
        run = newest.name
    index = build_site(results, wanted=run, every=every)
    if run is None:
        return index
    page = index.parent / run / PAGE
    if not page.exists():
        records.read(results / run)  # says what is wrong with it
        raise ReportError(f"{run} has no page")
    return page


def compare_page(results: Path, a: Path, b: Path) -> Path:
    """The page that compares two runs. Raises ReportError, and RecordError for what cannot be read."""
    results.mkdir(parents=True, exist_ok=True)
    build_site(results, pair=(a, b))
    page = results / "site" / compare_view.folder(a, b) / PAGE
    if not page.exists():
        raise ReportError(f"a run is called {page.parent.name}: its page stands where the comparison's would")
    return page


def _known(names: list[str]) -> str:
    return f"the newest are {', '.join(names[:-4:-1])}" if names else "make one with pytest suites"


def _long(results: Path, wanted: str | None, every: bool) -> set[str]:
    """The runs that are to have a long page."""
    runs = [path.name for path in records.list_runs(results)]
    if every:
        return set(runs)
    found, total = set(runs[-1:]), 0
    for name in reversed(runs):
        samples = results / name / "samples.jsonl"
        total += samples.stat().st_size if samples.exists() else 0
        if total > LONG_BYTES:
            break
        found.add(name)
    return found | ({wanted} if wanted else set())


@dataclass(frozen=True)
class _Asked:
    """A run whose page is to be made. ``part``: where the history has its night; ``key``: of the entry."""

    name: str
    part: str
    key: str
    long: bool


def _runs(
    results: Path, past: History, before: dict[str, Entry], long: set[str], progress: Progress
) -> dict[str, Entry]:
    """Entries of all runs, in the order of their names; their pages are made where anything changed."""
    found: dict[str, Entry | None] = {}
    asked: dict[str, list[_Asked]] = {}
    for name, known in sorted(past.index.runs.items()):
        key, entry = _key(known.key), past.made.get(name, before.get(name))
        made = name in past.made or _stands(results / "site", name, key, entry, name in long)
        found[name] = entry if made else None
        if not made:
            asked.setdefault(known.part, []).append(_Asked(name, known.part, key, name in long))
    batches = [some for part in asked.values() for some in _split(part)]
    made_of = 0
    for entries in parallel.each(partial(_pages, results), batches):
        progress(f"report of {next(iter(entries))}", made_of / sum(map(len, batches)))
        found |= entries
        made_of += len(entries)
    return {name: entry for name, entry in found.items() if entry}


def _key(record: str) -> str:
    """Of the entry of a run with this key in the history; empty while it goes on."""
    return manifest.key(record) if record else ""


def _stands(site: Path, name: str, key: str, entry: Entry | None, long: bool) -> bool:
    """Whether the page of a run need not be made: it is of this record, and ``long`` if it is to be."""
    if entry is None or not key or entry.get("key") != key:
        return False
    if entry["row"]["status"] == "damaged":
        return True
    return (site / name / PAGE).exists() and (bool(entry.get("long")) or not long)


def _beside(site: Path, before: dict[str, Entry], long: set[str], path: Path, head: Head, night: Night) -> Entry | None:
    """Make the short page of a run that has just been read; its entry. None where it has a page, or gets a long one."""
    key = _key(night.key)
    if path.name in long or _stands(site, path.name, key, before.get(path.name), False):
        return None
    try:
        return _run(site, _Asked(path.name, "", key, False), night, path, head)
    except OSError as error:
        raise _unwritable(site, error) from error


def _split(asked: Sequence[_Asked]) -> list[list[_Asked]]:
    """In parts for processes: a long page takes as long as many short ones."""
    long = [[one] for one in asked if one.long]
    short = [one for one in asked if not one.long]
    return long + [short[n : n + dataset.TOGETHER] for n in range(0, len(short), dataset.TOGETHER)]


def _pages(results: Path, asked: Sequence[_Asked]) -> dict[str, Entry]:
    """Make pages of runs of one part; their entries."""
    nights = {night.folder: night for night in dataset.nights(results, [asked[0].part])}
    return {one.name: _run(results / "site", one, nights[one.name], results / one.name) for one in asked}


def _run(site: Path, asked: _Asked, night: Night, path: Path, head: Head | None = None) -> Entry:
    """Make a run's page; its entry in the manifest. ``head``: of its record, where that was read."""
    folder = site / asked.name
    try:
        if night.problem is not None:
            raise Refusal(night.problem)
        head = head or records.read_head(path)
        # a short page is made from verdicts alone
        run = records.with_samples(path, head) if asked.long else Run(path, head, [], night.lost)
        return _page(folder, run, asked.key, asked.long)
    except OSError:
        raise
    except Exception as error:  # a record may hold what no page was made for: its row says so, the others stand
        manifest.forget(folder)
        return {"key": asked.key, "row": manifest.damaged(path, f"Cannot be read: {history.told(error)}")}


def _page(folder: Path, run: Run, key: str, long: bool) -> Entry:
    """Write a run's page; its entry."""
    # A run that is going on can end without its files changing, when its writer dies.
    entry: Entry = {"key": "" if run.head.status == "running" else key, "long": long}
    if long:
        page = pages.render(run)
        manifest.put(folder, page)
        return entry | {"row": page.row}
    row = pages.index_row(run)
    html = brief.render(run, row["headline"])
    manifest.forget(folder)
    folder.mkdir(exist_ok=True)
    manifest.write(folder / PAGE, html)
    return entry | {"row": row}


def _kernels(results: Path, runs: dict[str, Entry], before: dict[str, Entry]) -> dict[str, Entry]:
    """Entries of the pages that hold a profile's runs on several kernels side by side, written where they changed."""
    found: dict[str, Entry] = {}
    rows = [entry["row"] for entry in runs.values()]
    for profile in sorted({row["profile"] for row in rows if row["kernel"]}):
        name, chosen = kernels.folder(profile), kernels.newest(rows, profile)
        if not name or name in runs or not kernels.enough(chosen):
            continue
        since = kernels.ended_since(rows, chosen)
        key = " ".join(runs[row["folder"]]["key"] for row in (*chosen, *since))
        folder = results / "site" / name
        if before.get(name, {}).get("key") == key and (folder / PAGE).exists():
            found[name] = before[name]
            continue
        page = kernels.render(
            [records.read(results / row["folder"]) for row in chosen],
            [records.read_head(results / row["folder"]) for row in since],
        )
        manifest.put(folder, page)
        found[name] = {"key": key, "row": page.row}
    return found


def _compared(
    site: Path, past: History, before: dict[str, Entry], taken: set[str], pair: tuple[Path, Path] | None
) -> dict[str, Entry]:
    """Entries of the pages that compare two runs: the one asked for, and earlier ones whose runs are still there."""
    pairs = [tuple(map(Path, entry["of"])) for entry in before.values() if len(entry.get("of", [])) == 2]
    found: dict[str, Entry] = {}
    for a, b in dict.fromkeys([*pairs, *([pair] if pair else [])]):
        name = compare_view.folder(a, b)
        key = " ".join(manifest.key(history.key(path)) for path in (a, b))
        if name in taken:
            continue
        if before.get(name, {}).get("key") == key and (site / name / PAGE).exists():
            found[name] = before[name]
            continue
        try:
            html, row = compare_view.render(compare.two(a, b, past))
        except HarnessError:
            if (a, b) == pair:
                raise
            continue  # a run of an earlier page was removed or damaged: the page goes too
        (site / name).mkdir(exist_ok=True)
        manifest.write(site / name / PAGE, html)
        found[name] = {"key": key, "row": row, "of": [str(a), str(b)]}
    return found


def _fleets(
    results: Path, past: History, before: dict[str, Entry], taken: set[str], wanted: str | None
) -> dict[str, Entry]:
    """Entries of the pages of a fleet's nights, newest first. The newest one's is written where anything changed, and
    that of the one asked for; others stay as they are until their night is put down again: something came home late."""
    found: dict[str, Entry] = {}
    folders = fleet_nights.folders(results)
    for path in reversed(folders):
        name = night_view.folder(path.name)
        html = results / "site" / name / PAGE
        known = before.get(name) if html.exists() else None
        asked = path == folders[-1] or path.name == wanted
        if name in taken or not (known or asked):
            continue
        if known and not asked and _changed(html) >= _changed(path / fleet_nights.FILE):
            found[name] = known
            continue
        try:
            one = fleet_nights.read(path)
        except HarnessError:
            if path.name == wanted:
                raise
            continue
        key = manifest.digest([night_view.key(results, one)])
        if known and known.get("key") == key:
            found[name] = known
            continue
        page, worse = night_view.render(results, one, past)
        manifest.put(results / "site" / name, page)
        found[name] = {"key": key, "row": page.row, "worse": worse}
    return found


def _changed(path: Path) -> int:
    """When a file was written last, in nanoseconds."""
    return path.stat().st_mtime_ns


def night_said(results: Path, name: str) -> tuple[str, int]:
    """What the page of a night says in a sentence, and on how many testbeds something changed for the worse."""
    entry = manifest.load(results / "site")[night_view.folder(name)]
    return entry["row"]["headline"], entry["worse"]


def night_page(results: Path, name: str | None) -> Path:
    """The page of a fleet's night, by default of the newest. Raises ReportError, and RecordError where it cannot be
    read."""
    known = [path.name for path in fleet_nights.folders(results)]
    name = name or (known[-1] if known else "")
    if name not in known:
        listed = f"the newest are {', '.join(known[:-4:-1])}" if known else "tox -e fleet -- fleet.toml makes one"
        raise ReportError(f"there is no night {name!r} in {results}" if name else "there is no night", next_step=listed)
    build_site(results, night=name)
    return results / "site" / night_view.folder(name) / PAGE


def kernels_page(results: Path, profile: str) -> Path:
    """The page that holds a profile's newest runs on several kernels side by side. Raises ReportError."""
    run_page(results)
    entries = manifest.load(results / "site")
    name = kernels.folder(profile)
    if entries.get(name, {}).get("row", {}).get("status") == "kernels":
        return results / "site" / name / PAGE
    chosen = kernels.newest([entry["row"] for entry in entries.values()], profile)
    whole = [row for row in chosen if row["status"] == "complete"]
    seen = ", ".join(f"{row['testbed']} (kernel {row['kernel']})" for row in whole)
    missing = [bed for bed in kernels.TESTBEDS if bed not in {row["testbed"] for row in whole}]
    wanted = f"; missing: {', '.join(missing)}" if missing else ""
    raise ReportError(
        f"two kernels are needed, and {profile!r} was run to its end on {seen or 'none'}{wanted}",
        next_step="; ".join(f"pytest suites --profile {profile} --testbed {bed}" for bed in missing)
        or "run it on a testbed with another kernel",
    )


def _newest(row: dict[str, str]) -> tuple[str, str]:
    return row["started"] or row["folder"], row["folder"]
