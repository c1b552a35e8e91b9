"""Runs profiles: ``python -m suites nightly [PROFILE ...]``, ``kernels PROFILE``, ``fleet FILE``; see ``--help``."""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from harness import profile
from hosts import testbed
from hosts.errors import ConfigError, Refusal
from hosts.lab import best
from hosts.lab.__main__ import NOT_TO_BE_HAD
from hosts.progress import any_terminal
from suites.fleet import cli as fleet

ROOT = Path(__file__).parent.parent
LONGEST_SECONDS = 2 * 3600.0
"""No run of one profile takes longer; one that does is interrupted, and its record says so."""
LEAVE_SECONDS = 300.0
COMPLETE = "complete"
AUTO = "auto"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Exit status: 0 when every run was made and complete and nothing got worse, else 1; 2 for a
    mistake on the command line.
    """
    any_terminal()
    options, more = _parser().parse_known_args(argv)
    try:
        if options.command == "kernels":
            wanted = profile.load(options.profile)
            beds = options.testbeds.split(",") if options.testbeds else wanted.testbeds
            return _kernels(wanted.name, beds, str(Path(options.results).absolute()), more)
        if more:
            _parser().error(f"unrecognized arguments: {' '.join(more)}")
        if options.command in fleet.COMMANDS:
            return fleet.run(options)
        options.results = str(Path(options.results).absolute())
        return _nightly(options)
    except Refusal as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1


def _kernels(wanted: str, testbeds: Sequence[str], results: str, more: Sequence[str]) -> int:
    """Run a profile on each of these testbeds, whatever became of the one before, then make the page of all kernels.

    All kernels are had first: one that Debian's archive does not have is told, and spoils nothing. Its run is made all
    the same: it ends at once, and leaves the record that gives the reason its place on the page.
    """
    there = [_can_be_had(bed) for bed in testbeds]
    became = [_run(wanted, bed, results, LONGEST_SECONDS, more) for bed in testbeds]
    spoiled = any(status for status, had in zip(became, there, strict=True) if had)
    return 1 if _reports("kernels", wanted, "--results", results) or spoiled else 0


def _can_be_had(bed: str) -> bool:
    """Whether a lab's kernel is in the cache now or could not be put there for another reason than that nobody has it.

    The reason is told on standard error.
    """
    command = [sys.executable, "-m", "hosts.lab", "image", "--testbed", bed]
    status = subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=False).returncode
    if status == NOT_TO_BE_HAD:
        print(f"{bed} cannot be had; its run records why", flush=True)
    return status != NOT_TO_BE_HAD


def _nightly(options: argparse.Namespace) -> int:
    """Run all profiles, or those named, each on its testbeds; then compare with the nights before."""
    wanted = [profile.load(name) for name in options.profiles or known()]
    started = time.monotonic()
    became: dict[str, str] = {}
    lab = _lab() if any(AUTO in one.testbeds for one in wanted) else AUTO
    runs = [(one.name, lab if bed == AUTO else bed) for one in wanted for bed in one.testbeds]
    for number, (name, bed) in enumerate(runs, 1):
        left = options.minutes * 60 - (time.monotonic() - started)
        if left <= 0:
            became[f"{name} on {bed}"] = f"not run: {options.minutes:g} minutes were over"
            continue
        print(f"\n{number}/{len(runs)}: {name} on {bed}", flush=True)
        quick = ["-q", *(["--quick"] if options.quick else [])]
        status = _run(name, bed, options.results, min(left, LONGEST_SECONDS), quick)
        became[f"{name} on {bed}"] = f"ended with status {status}: see above" if status else COMPLETE
    print(f"\n{len(runs)} runs, {(time.monotonic() - started) / 60:.0f} minutes")
    for what, outcome in became.items():
        print(f"  {what}: {outcome}")
    print(flush=True)
    compared = _reports("nightly", "--results", options.results)
    return 1 if set(became.values()) != {COMPLETE} or compared else 0


def _lab() -> str:
    """The name of the best lab at hand, told: all runs of a night are on the one that the night began with."""
    return best.settled(testbed.load(AUTO), partial(print, flush=True)).name


def _reports(*argv: str) -> int:
    return subprocess.run([sys.executable, "-m", "reports", *argv], cwd=ROOT, check=False).returncode


def known() -> list[str]:
    """The names of all profiles."""
    return sorted(path.stem for path in profile.PROFILES.glob("*.toml"))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m suites", description="Profiles on testbeds.")
    commands = parser.add_subparsers(dest="command", required=True)
    nightly = commands.add_parser("nightly", help="every profile on its testbeds, then a comparison with before")
    nightly.add_argument("profiles", nargs="*", metavar="PROFILE", help="these only")
    nightly.add_argument("--quick", action="store_true", help="fewer blocks, smaller files")
    nightly.add_argument(
        "--minutes", type=minutes, default=math.inf, metavar="N", help="then end the run there is, and start no other"
    )
    kernels = commands.add_parser(
        "kernels", help="a profile on each of its testbeds, then a page of them all; other options go to pytest"
    )
    kernels.add_argument("profile", metavar="PROFILE")
    kernels.add_argument("--testbeds", metavar="TESTBED,…", help="these instead of the profile's")
    for command in (nightly, kernels):
        command.add_argument("--results", default="results", help="where records and reports are (%(default)s)")
    fleet.add(commands)
    return parser


def minutes(text: str) -> float:
    """A number of minutes on the command line."""
    value = float(text)  # argparse tells a ValueError as an invalid value
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def _run(name: str, bed: str, results: str, longest: float, more: Sequence[str]) -> int:
    """The exit status of a run of at most ``longest`` seconds. ``more``: further options of pytest."""
    argv = [sys.executable, "-m", "pytest", "suites", "--profile", name, "--testbed", bed, "--results", results]
    argv += more
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
