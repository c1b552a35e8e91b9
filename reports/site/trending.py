"""Which pages of trends are made again: one for each profile on each testbed, and one over all of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from hosts.errors import HarnessError
from reports import parallel
from reports.nights import dataset, nightly
from reports.nights.dataset import History
from reports.nights.series import groups, level
from reports.site import manifest, trend
from reports.site.manifest import PAGE, Entry


@dataclass(frozen=True)
class _Asked:
    """A page that is to be made of ``parts`` of the history."""

    folder: str
    parts: tuple[str, ...]
    key: str
    of_key: str
    """Of the runs alone."""
    ratios: int
    told: tuple[nightly.Told, ...]
    alpha: float


def entries(results: Path, past: History, before: dict[str, Entry], taken: set[str]) -> dict[str, Entry]:
    """Entries of the pages of trends, which are written where anything changed; none without a ratio."""
    try:
        told = nightly.load(results)
    except HarnessError:
        told = []  # ``reports nightly`` says so
    keys = {one: manifest.digest(runs) for one, runs in past.partitions().items()}
    parts = past.parts()
    counts = _counts(results, keys, parts, before)
    alpha = level(sum(counts.values()))
    found: dict[str, Entry] = {}
    asked: list[_Asked] = []
    for one, of_key in keys.items():
        name = trend.folder(one)
        mine = tuple(each for each in told if each.group[:2] == dataset.names(one))
        key = manifest.digest([of_key, repr(alpha), *(f"{each.group} {each.key} {each.since}" for each in mine)])
        if name in taken or not counts[one]:
            continue
        if before.get(name, {}).get("key") == key and (results / "site" / name / PAGE).exists():
            found[name] = before[name]
        else:
            asked.append(_Asked(name, parts[one], key, of_key, counts[one], mine, alpha))
    found |= dict(
        zip([one.folder for one in asked], parallel.each(partial(_page, results), asked, "ruptures"), strict=True)
    )
    if not found or trend.FOLDER in taken:
        return {}
    return {trend.FOLDER: _front(results / "site" / trend.FOLDER, found, before.get(trend.FOLDER))} | found


def _counts(
    results: Path, keys: dict[str, str], parts: dict[str, tuple[str, ...]], before: dict[str, Entry]
) -> dict[str, int]:
    """How many ratios each partition has. Known of those whose runs are the same as before."""
    known = {one: before.get(trend.folder(one), {}) for one in keys}
    left = [one for one, entry in known.items() if entry.get("of_key") != keys[one]]
    counted = parallel.each(partial(nightly.ratios_of, results), [parts[one] for one in left])
    fresh = dict(zip(left, counted, strict=True))
    return {one: fresh[one] if one in fresh else entry["ratios"] for one, entry in known.items()}


def _page(results: Path, asked: _Asked) -> Entry:
    """Write the page of a profile on a testbed; its entry."""
    everything = groups(dataset.nights(results, asked.parts))
    html, summaries = trend.render(everything, asked.told, asked.alpha, asked.folder)
    (results / "site" / asked.folder).mkdir(exist_ok=True)
    manifest.write(results / "site" / asked.folder / PAGE, html)
    return {
        "key": asked.key,
        "of_key": asked.of_key,
        "ratios": asked.ratios,
        "summaries": [asdict(one) for one in summaries],
        "row": _row(asked.folder, trend.title(summaries)),
    }


def _front(folder: Path, found: dict[str, Entry], before: Entry | None) -> Entry:
    """Write the page over all; its entry."""
    summaries = [trend.Summary(**one) for _, entry in sorted(found.items()) for one in entry["summaries"]]
    key = manifest.digest(sorted(entry["key"] for entry in found.values()))
    if before is None or before.get("key") != key or not (folder / PAGE).exists():
        folder.mkdir(exist_ok=True)
        manifest.write(folder / PAGE, trend.render_front(summaries))
    return {"key": key, "row": _row(trend.FOLDER, trend.title(summaries))}


def _row(folder: str, headline: str) -> dict[str, str]:
    return dict.fromkeys(manifest.NAMES, "") | {"folder": folder, "status": "trends", "headline": headline}
