"""``python -m reports [--results DIR] [RUN | kernels PROFILE]``: bring reports up to date, print a page's path."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from hosts.errors import HarnessError
from reports import ReportError, kernels_page, run_page


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 0, or 1 with one line about what went wrong."""
    parser = argparse.ArgumentParser(prog="python -m reports", description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of the records (results)")
    parser.add_argument("run", nargs="?", help="a run's folder name, or latest; without it, the index of all runs")
    parser.add_argument("profile", nargs="?", help="after the word kernels: its runs on several kernels side by side")
    options = parser.parse_args(arguments)
    try:
        print(_page(options.results, options.run, options.profile).resolve())
    except HarnessError as error:
        print(f"reports: {'; '.join(line.strip() for line in str(error).splitlines())}", file=sys.stderr)
        return 1
    return 0


def _page(results: Path, run: str | None, profile: str | None) -> Path:
    if run != "kernels":
        if profile is not None:
            raise ReportError(f"one page at a time: {run} or {profile}", next_step="say: kernels PROFILE, or a run")
        return run_page(results, run)
    if profile is None:
        raise ReportError("kernels of which profile?", next_step="python -m reports kernels kernels-3des")
    return kernels_page(results, profile)


if __name__ == "__main__":
    sys.exit(main())
