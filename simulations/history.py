"""How often the nightly rule is wrong, what it finds, how long the site of a year takes: figures of docs/history.md.

``python -m simulations.history alarms`` simulates nights in memory; ``python -m simulations.history site DIR`` makes a
year of records in DIR (about 800 MB) and builds their site, then one more night. ``--testbeds 50`` has the same year on
so many: their records differ by their names, and share one file of samples for each night. No number was measured.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import numpy as np

from harness import night as fleet_nights
from harness import records
from harness.night import Attempt, Entry, Night
from harness.record import Head
from reports.nights import change, dataset, nightly, series
from simulations import nights

CELLS, NIGHTS, SEEDS, MISSING = 200, 90, 10, 44
DEVIATION = 0.0115
"""Of a night's log ratio: about what six blocks with samples that vary by 2 % give."""
FIRST, LENGTH = 55, 60
"""A planted change begins at this night of so many."""
PLANTED = 100
"""Series with a planted change, for each kind of noise."""

Draw = Callable[[np.random.Generator, int], change.Values]


def _normal(rng: np.random.Generator, count: int) -> change.Values:
    return rng.normal(0, DEVIATION, count)


def _heavy(rng: np.random.Generator, count: int) -> change.Values:
    return rng.standard_t(3, count) * DEVIATION / 3**0.5


def _outliers(rng: np.random.Generator, count: int) -> change.Values:
    strange = rng.choice([-1, 1], count) * rng.uniform(0.05, 0.3, count)
    return _normal(rng, count) + np.where(rng.random(count) < 0.02, strange, 0)


def _two_machines(rng: np.random.Generator, count: int) -> change.Values:
    return _normal(rng, count) / 2 + rng.choice([-1, 1], count) * DEVIATION


def _drifting(rng: np.random.Generator, count: int) -> change.Values:
    steps = _normal(rng, count)
    for n in range(1, count):
        steps[n] = 0.3 * steps[n - 1] + (1 - 0.3**2) ** 0.5 * steps[n]
    return steps


KINDS: dict[str, Draw] = {
    "normal": _normal,
    "heavy tails (t, 3 degrees of freedom)": _heavy,
    "one night in fifty off by 5 to 30 %": _outliers,
    "two kinds of machine, 2.3 % apart": _two_machines,
    "a night resembles the last (0.3)": _drifting,
}


def alarms(cells: int, seeds: int) -> None:
    """Print, for each kind of noise, alarms in flat nights and how soon a planted regression of 5 % is found."""
    print(
        f"{cells} cells, {NIGHTS} nights with one missing, {seeds} seeds; 5 % from night {FIRST} on, {PLANTED} series"
    )
    for name, draw in KINDS.items():
        raised = [_flat(np.random.default_rng(seed), draw, cells) for seed in range(seeds)]
        rng = np.random.default_rng(1000)
        lost = [draw(rng, LENGTH) - np.where(np.arange(LENGTH) < FIRST, 0, np.log(1.05)) for _ in range(PLANTED)]
        found = {
            after: sum(any(one.factor < 1 for one in seen) for seen in _seen(lost, FIRST + after, cells))
            for after in (3, 4, 5)
        }
        rate = sum(raised) / len(raised) / (NIGHTS - 1)
        soon = ", ".join(f"{count / PLANTED:.0%} after {after}" for after, count in found.items())
        print(f"{name}: {sum(raised) / len(raised):.1f} alarms ({rate:.2%} a night), {soon} nights", flush=True)


def _flat(rng: np.random.Generator, draw: Draw, cells: int) -> int:
    """Alarms, up or down, over all nights; a cell's changes near one that was told are not told again."""
    told = 0
    nights = [np.delete(draw(rng, NIGHTS), MISSING) for _ in range(cells)]
    known: list[list[int]] = [[] for _ in nights]
    for count in range(change.FEWEST, NIGHTS):
        for mine, seen in zip(known, _seen(nights, count, cells, known), strict=True):
            for one in seen:
                told += all(abs(one.place - place) > series.NEAR for place in mine)
                mine.append(one.place)
    return told


def _seen(
    nights: Sequence[change.Values], count: int, cells: int, known: Sequence[Sequence[int]] = ()
) -> list[list[change.Change]]:
    """What is found in the first ``count`` nights of every cell."""
    errors = np.full(count, DEVIATION / 2)
    places = known or [()] * len(nights)
    courses = [change.Course(one[:count], errors, some) for one, some in zip(nights, places, strict=True)]
    return change.find(courses, series.NIGHTLY / cells)


def site(folder: Path, count: int, testbeds: int) -> None:
    """Print how long the history and the site of ``count`` nights on so many testbeds take, and of one more night."""
    results = folder / "results"
    nights.write(results, count, CELLS, 20)
    for path in records.list_runs(results):
        _elsewhere(path, testbeds)
    print(f"{testbeds} testbeds, {count} nights, {CELLS} cells, 20 samples: {count * testbeds} runs", flush=True)
    _timed("site from the records", results)
    _timed("again, nothing changed", results)
    path = nights.write_night(results, count + 1, np.random.default_rng(2), wanted=nights.cells(CELLS), samples=20)
    tonight = [path.name, *_elsewhere(path, testbeds)]
    _timed("one night more, with a night missing before it", results)
    _timed("its paragraph", results, "nightly", fine=(nightly.UNCHANGED, nightly.WORSE))
    _fleet(results, tonight)
    _timed("the page of that night", results, "night")
    _timed("the history alone, again from the records", results, "history", "--again")
    for part in (dataset.NIGHTS, dataset.SAMPLES):
        size = sum(one.stat().st_size for one in (results / dataset.FOLDER / part).rglob("*") if one.is_file())
        print(f"size of {part}: {size / 1e6:.0f} MB", flush=True)


def _elsewhere(path: Path, testbeds: int) -> list[str]:
    """The same record from all but the first testbed; their folders."""
    text = (path / "run.json").read_text()
    names = [path.name.replace("made-up", f"made-up-bed-{n:02d}") for n in range(1, testbeds)]
    for n, name in enumerate(names, 1):
        (path.parent / name).mkdir()
        there = text.replace(path.name, name).replace('"name": "lab"', f'"name": "bed-{n:02d}"', 1)
        (path.parent / name / "run.json").write_text(there)
        (path.parent / name / "samples.jsonl").hardlink_to(path / "samples.jsonl")
    return names


def _fleet(results: Path, runs: Sequence[str]) -> None:
    """A fleet's night of these runs."""
    heads = [records.read_head(results / run) for run in runs]
    night = Night(
        night=f"{heads[0].started:%Y%m%d-%H%M%S}-made-up",
        fleet="made-up",
        started=heads[0].started,
        finished=heads[0].finished,
        ends=heads[0].started + timedelta(hours=8),
        entries=[_entry(head) for head in heads],
    )
    fleet_nights.write(results / fleet_nights.FOLDER / night.night, night)


def _entry(head: Head) -> Entry:
    attempt = Attempt(run_id=head.run_id, started=head.started, outcome="complete", sha256="0" * 64, home=True)
    return Entry(
        testbed=head.testbed.name, profile=head.profile.name, minutes=60, outcome="complete", attempts=[attempt]
    )


def _timed(what: str, results: Path, *arguments: str, fine: Sequence[int] = (0,)) -> None:
    """Run a command of the reports in processes of its own, as a person would; what it took of all of them. It may end
    with a status that is ``fine``."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    command = [sys.executable, "-m", "reports", *arguments, "--results", str(results)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    peak = 0
    while process.poll() is None:
        peak = max(peak, _memory(process.pid))
        time.sleep(0.5)
    elapsed = time.monotonic() - started
    if process.returncode not in fine:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    took = f"{elapsed:.1f} s, processor {busy:.1f} s, memory {peak / 1024:.0f} MiB"
    print(f"{what}: {took} (load {os.getloadavg()[0]:.1f})", flush=True)


def _memory(session: int) -> int:
    """KiB that all processes of a session have, what they share counted once."""
    total = 0
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if os.getsid(int(path.name)) == session:
                found = re.search(r"^Pss: +(\d+)", (path / "smaps_rollup").read_text(), re.MULTILINE)
                total += int(found[1]) if found else 0
        except OSError:
            continue  # it has just ended
    return total


def main() -> None:
    """Run one of the two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["alarms", "site"])
    parser.add_argument("folder", nargs="?", type=Path, help="an empty folder, for the site")
    parser.add_argument("--cells", type=int, default=CELLS, help="of the simulated nights")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--nights", type=int, default=365, help="of the site")
    parser.add_argument("--testbeds", type=int, default=1, help="of the site")
    options = parser.parse_args()
    if options.what == "alarms":
        alarms(options.cells, options.seeds)
    elif options.folder is None:
        parser.error("site needs a folder")
    else:
        site(options.folder, options.nights, options.testbeds)


if __name__ == "__main__":
    main()
