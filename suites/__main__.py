"""Runs profiles one after another: ``python -m suites nightly [PROFILE ...]``; ``--help`` lists its options."""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from harness import profile
from hosts.errors import ConfigError

ROOT = Path(__file__).parent.parent
LONGEST_SECONDS = 2 * 3600.0
"""No run of one profile takes longer; one that does is interrupted, and its record says so."""
LEAVE_SECONDS = 300.0
COMPLETE = "complete"


def main(argv: Sequence[str] | None = None) -> int:
    """Run all profiles, or those named, each on its testbeds; then compare with the nights before.

    Exit status: 0 when every run was made and complete and nothing got worse, else 1; 2 for a mistake on the command
    line.
    """
    options = _parser().parse_args(argv)
    try:
        wanted = [profile.load(name) for name in options.profiles or known()]
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    started = time.monotonic()
    became: dict[str, str] = {}
    runs = [(one.name, testbed) for one in wanted for testbed in one.testbeds]
    for number, (name, testbed) in enumerate(runs, 1):
        left = options.minutes * 60 - (time.monotonic() - started)
        if left <= 0:
            became[f"{name} on {testbed}"] = f"not run: {options.minutes:g} minutes were over"
            continue
        print(f"\n{number}/{len(runs)}: {name} on {testbed}", flush=True)
        status = _run(name, testbed, options.results, options.quick, min(left, LONGEST_SECONDS))
        became[f"{name} on {testbed}"] = f"ended with status {status}: see above" if status else COMPLETE
    print(f"\n{len(runs)} runs, {(time.monotonic() - started) / 60:.0f} minutes")
    for what, outcome in became.items():
        print(f"  {what}: {outcome}")
    print(flush=True)
    compared = subprocess.run(
        [sys.executable, "-m", "reports", "nightly", "--results", options.results], check=False
    ).returncode
    return 1 if set(became.values()) != {COMPLETE} or compared else 0


def known() -> list[str]:
    """The names of all profiles."""
    return sorted(path.stem for path in profile.PROFILES.glob("*.toml"))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m suites", description="Profiles, one after another.")
    commands = parser.add_subparsers(dest="command", required=True)
    nightly = commands.add_parser("nightly", help="every profile on its testbeds, then a comparison with before")
    nightly.add_argument("profiles", nargs="*", metavar="PROFILE", help="these only")
    nightly.add_argument("--quick", action="store_true", help="fewer blocks, smaller files")
    nightly.add_argument(
        "--minutes", type=minutes, default=math.inf, metavar="N", help="then end the run there is, and start no other"
    )
    nightly.add_argument("--results", default="results", help="where records and reports are (%(default)s)")
    return parser


def minutes(text: str) -> float:
    """A number of minutes on the command line."""
    value = float(text)  # argparse tells a ValueError as an invalid value
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def _run(name: str, testbed: str, results: str, quick: bool, longest: float) -> int:
    """The exit status of a run of at most ``longest`` seconds."""
    argv = [sys.executable, "-m", "pytest", "suites", "-q", "--profile", name, "--testbed", testbed]
    argv += ["--results", results, *(["--quick"] if quick else [])]
    process = subprocess.Popen(argv, cwd=ROOT)
    try:
        return process.wait(longest)
    except subprocess.TimeoutExpired:
        process.terminate()  # pytest puts the hosts back and closes the record
        return _ended(process)
    except KeyboardInterrupt:
        _ended(process)  # it was interrupted too
        raise


def _ended(process: subprocess.Popen[bytes]) -> int:
    """The status of a run that was told to end; one that does not is killed, and its hosts' guardians clean up."""
    try:
        return process.wait(LEAVE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
