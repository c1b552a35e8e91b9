"""Reports, comparisons and exports of records.

python -m reports [RUN] [--long]                     bring all pages up to date; prints a run's page, or the index
python -m reports kernels PROFILE                    a profile's newest runs on several kernels as one page
python -m reports night [NIGHT]                      the page of a fleet's night, by default of the newest
python -m reports compare A B [--html] [--anyway]    what changed from run A to run B (names, paths, latest)
python -m reports nightly                            what changed in the newest night against the history
python -m reports history [--again]                  bring the history of all runs up to date, or make it again
python -m reports export RUN --to DIR                as CSV, Parquet, pytest-benchmark's JSON, JUnit's XML

All take --results DIR (results). compare and nightly end with 0 if nothing got worse, 1 if something did, 2 if nothing
could be compared; night with 0 if all is complete and nothing got worse; the others with 0, or 1 and one line about
what went wrong.
"""

from __future__ import annotations

import argparse
import gc
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

from hosts.errors import HarnessError
from hosts.progress import any_terminal
from reports import ReportError, compare_page, kernels_page, night_page, run_page
from reports.plain import plain

WIDTH = 100
"""Columns of a paragraph."""
OBJECTS = 100_000
"""Made before garbage is looked for: a site is of many small objects that stay; looking took a tenth of the time."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its exit status."""
    any_terminal()
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--results", type=Path, default=Path("results"), help="folder of the records (results)")
    options, rest = common.parse_known_args(sys.argv[1:] if arguments is None else list(arguments))
    gc.set_threshold(OBJECTS)
    command = COMMANDS.get(rest[0]) if rest else None
    try:
        return command(options.results, rest[1:]) if command else _page(options.results, rest)
    except HarnessError as error:
        print(f"reports: {'; '.join(plain(line.strip()) for line in str(error).splitlines())}", file=sys.stderr)
        return 2 if command in (_compare, _nightly) else 1


def _parser(name: str, what: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(prog=f"python -m reports {name}".rstrip(), description=what)


def _page(results: Path, arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m reports", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", nargs="?", help="a run's folder name, or latest; without it, the index of all runs")
    parser.add_argument("--long", action="store_true", help="the long page of every run: about a second for each")
    parser.add_argument("more", nargs="?", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.more is not None:
        raise ReportError(
            f"one page at a time: {options.run} or {options.more}", next_step="say: kernels PROFILE, or a run"
        )
    print(run_page(results, options.run, every=options.long).resolve())
    return 0


def _kernels(results: Path, arguments: Sequence[str]) -> int:
    parser = _parser("kernels", "A profile's newest runs on several kernels side by side.")
    parser.add_argument("profile", nargs="?", help="the profile's name")
    options = parser.parse_args(arguments)
    if options.profile is None:
        raise ReportError("kernels of which profile?", next_step="python -m reports kernels kernels-3des")
    print(kernels_page(results, options.profile).resolve())
    return 0


def _night(results: Path, arguments: Sequence[str]) -> int:
    from harness import night as nights
    from reports.nights import nightly
    from reports.site import build
    from reports.site import night as view

    parser = _parser("night", "A fleet's night: 0 all is complete and nothing got worse, else 1.")
    parser.add_argument("night", nargs="?", help="its name, by default the newest")
    options = parser.parse_args(arguments)
    page = night_page(results, options.night)
    one = nights.read(results / nights.FOLDER / page.parent.name.removeprefix(view.folder("")))
    said, worse = build.night_said(results, one.night)
    print(textwrap.fill(plain(said), WIDTH, break_long_words=False, break_on_hyphens=False))
    print(page.resolve())
    return 1 if worse or any(entry.outcome != "complete" for entry in one.entries) else nightly.UNCHANGED


def _compare(results: Path, arguments: Sequence[str]) -> int:
    from reports import compare
    from reports.nights import dataset
    from reports.site import compare_view

    parser = _parser("compare", "What changed from run A to run B: 0 nothing got worse, 1 something did, 2 unknown.")
    parser.add_argument("a", help="a run's folder name, its path, or latest")
    parser.add_argument("b", help="the same of the run that is compared with it")
    parser.add_argument("--html", action="store_true", help="make a page of it too, and print its path last")
    parser.add_argument("--anyway", action="store_true", help="compare runs that did not measure the same thing")
    options = parser.parse_args(arguments)
    a, b = (compare.find(results, name) for name in (options.a, options.b))
    found = compare.two(a, b, dataset.update(results) if results.is_dir() else None)
    compare_view.show(found)
    if options.html:
        print(compare_page(results, a, b).resolve())
    if found.refused and not options.anyway:
        raise ReportError(
            f"these runs cannot be compared: {compare_view.refusal(found)}",
            next_step="--anyway compares them all the same",
        )
    return found.status


def _nightly(results: Path, arguments: Sequence[str]) -> int:
    from reports.nights import dataset, nightly

    _parser("nightly", "What changed in the newest night: 0 nothing got worse, 1 something did, 2 unknown.").parse_args(
        arguments
    )
    if not results.is_dir():
        raise ReportError(f"there is no results folder {results}", next_step="name it with --results")
    found = nightly.of_history(dataset.update(results), nightly.load(results))
    print(textwrap.fill(plain(found.paragraph), WIDTH, break_long_words=False, break_on_hyphens=False))
    nightly.save(results, found.told)
    return found.status


def _export(results: Path, arguments: Sequence[str]) -> int:
    from harness import records
    from reports import compare, export

    parser = _parser("export", "A record as CSV, Parquet, pytest-benchmark's JSON and JUnit's XML.")
    parser.add_argument("run", help="a run's folder name, its path, or latest")
    parser.add_argument("--to", type=Path, required=True, metavar="DIR", help="folder of the files")
    options = parser.parse_args(arguments)
    run = records.read(compare.find(results, options.run))
    for path in export.write(run, options.to):
        print(path)
    if run.lost:
        print(f"reports: {run.path.name} is not whole: {run.lost}", file=sys.stderr)
    return 0


def _history(results: Path, arguments: Sequence[str]) -> int:
    from reports.nights import dataset

    parser = _parser("history", "What all runs say, and their samples as Parquet, by profile, testbed and month.")
    parser.add_argument("--again", action="store_true", help="make it from the records alone")
    options = parser.parse_args(arguments)
    if not results.is_dir():
        raise ReportError(f"there is no results folder {results}", next_step="name it with --results")
    (dataset.again if options.again else dataset.update)(results)
    print((results / dataset.FOLDER).resolve())
    return 0


COMMANDS: dict[str, Callable[[Path, Sequence[str]], int]] = {
    "kernels": _kernels,
    "night": _night,
    "compare": _compare,
    "nightly": _nightly,
    "history": _history,
    "export": _export,
}


if __name__ == "__main__":
    sys.exit(main())
