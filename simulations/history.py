"""How often the nightly rule is wrong, what it finds, how long the site of a year takes: figures of docs/history.md.

``python -m simulations.history alarms`` simulates nights in memory; ``python -m simulations.history site DIR`` makes a
year of records in DIR (about 800 MB) and builds their site, then one more night. No number in them was measured.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from reports.nights import change, series
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


def site(folder: Path, count: int) -> None:
    """Print how long the site of ``count`` nights takes, and of one more night."""
    results = folder / "results"
    nights.write(results, count, CELLS, 20)
    _timed(f"site of {count} nights of {CELLS} cells x 20 samples", results)
    _timed("again, nothing changed", results)
    nights.write_night(results, count + 1, np.random.default_rng(2), wanted=nights.cells(CELLS), samples=20)
    _timed("one night more, with a night missing before it", results)


def _timed(what: str, results: Path) -> None:
    """Build the site in a process of its own, as a person would."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    command = [sys.executable, "-m", "reports", "--results", str(results)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=1800)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(
        f"{what}: {time.monotonic() - started:.1f} s, processor {busy:.1f} s, memory {after.ru_maxrss / 1024:.0f} MiB",
        flush=True,
    )


def main() -> None:
    """Run one of the two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["alarms", "site"])
    parser.add_argument("folder", nargs="?", type=Path, help="an empty folder, for the site")
    parser.add_argument("--cells", type=int, default=CELLS, help="of the simulated nights")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--nights", type=int, default=365, help="of the site")
    options = parser.parse_args()
    if options.what == "alarms":
        alarms(options.cells, options.seeds)
    elif options.folder is None:
        parser.error("site needs a folder")
    else:
        site(options.folder, options.nights)


if __name__ == "__main__":
    main()
