"""``python -m reports [--results DIR] [RUN]``: bring the reports up to date and print the path of the page."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from hosts.errors import HarnessError
from reports import run_page


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 0, or 1 with one line about what went wrong."""
    parser = argparse.ArgumentParser(prog="python -m reports", description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of the records (results)")
    parser.add_argument("run", nargs="?", help="a run's folder name, or latest; without it, the index of all runs")
    options = parser.parse_args(arguments)
    try:
        print(run_page(options.results, options.run).resolve())
    except HarnessError as error:
        print(f"reports: {'; '.join(line.strip() for line in str(error).splitlines())}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
