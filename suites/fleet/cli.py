"""The commands of a fleet, of ``python -m suites``: ``fleet``, ``worker``, ``certificate``, ``reserve``, ``drain`` and
``release``."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import night as nights
from harness.night import Night
from hosts import testbed
from hosts.errors import ConfigError, Refusal
from suites.fleet import reservations, rules, spec
from suites.fleet.spec import Plan
from suites.fleet.spool import Spool
from suites.fleet.terminal import Lines

if TYPE_CHECKING:
    from distributed import Client

ROOT = Path(__file__).parents[2]
COMMANDS = ("fleet", "worker", "certificate", "reserve", "drain", "release")
LONGEST_RUN = 6 * 3600.0
"""``drain`` waits no longer for the run there is."""
LONGEST_RESERVATION = 30 * 24 * 60.0
"""In minutes; ``drain`` takes a testbed for longer."""


def add(commands: Any) -> None:
    """Add the commands to a parser's."""
    fleet = commands.add_parser("fleet", help="a night of many testbeds, then one page of them all")
    fleet.add_argument("file", type=Path, metavar="FLEET.toml")
    fleet.add_argument("--scheduler", metavar="ADDRESS", help="a Dask scheduler that exists: tls://HOST:PORT")
    fleet.add_argument("--tls", type=Path, metavar="DIR", help="certificates for it: ca.pem, cert.pem, key.pem")
    fleet.add_argument("--new", action="store_true", help="begin a night, and leave the one that was begun as it is")
    fleet.add_argument("--plan", action="store_true", help="say what would be done, and do nothing")
    fleet.add_argument(
        "--results", type=Path, default=Path("results"), help="where records and reports go (%(default)s)"
    )

    worker = commands.add_parser("worker", help="offer testbeds of this machine to a scheduler, until Ctrl-C")
    worker.add_argument("--scheduler", required=True, metavar="ADDRESS", help="tls://HOST:PORT")
    worker.add_argument("--tls", required=True, type=Path, metavar="DIR", help="ca.pem, cert.pem, key.pem")
    worker.add_argument(
        "--testbed", required=True, action="append", metavar="FILE", help="a lab's name or a file; may be given again"
    )

    certificate = commands.add_parser("certificate", help="make a certificate for a fleet's machines to share")
    certificate.add_argument("folder", type=Path, metavar="DIR")

    for name, what in (
        ("reserve", "take a testbed for some time: no run begins on it"),
        ("drain", "have no other run begin on a testbed, and wait for the one there is"),
        ("release", "give a testbed back to the nights"),
    ):
        one = commands.add_parser(name, help=f"{what}; on the machine that drives it, as the worker's user")
        one.add_argument("testbed", help="its name")
        if name != "release":
            one.add_argument("--by", default=getpass.getuser(), help="who takes it (%(default)s)")
        if name == "reserve":
            one.add_argument("--minutes", type=minutes, required=True, metavar="N")


def minutes(text: str) -> float:
    """How long a testbed is reserved, on the command line."""
    value = float(text)  # argparse tells a ValueError as an invalid value
    if not 0 < value <= LONGEST_RESERVATION:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most {LONGEST_RESERVATION:.0f}")
    return value


def run(options: argparse.Namespace) -> int:
    """Run one of them; its exit status."""
    return {
        "fleet": _fleet,
        "worker": _worker,
        "certificate": _certificate,
        "reserve": _reserve,
        "drain": _drain,
        "release": _release,
    }[options.command](options)


def _fleet(options: argparse.Namespace) -> int:
    plan = spec.load(options.file)
    if options.plan:
        print(*planned(plan), sep="\n")
        return 0
    try:
        from suites.fleet import cluster, drive
    except ImportError as error:
        raise _without_dask(error) from error
    results = options.results.absolute()
    known = [nights.read(folder) for folder in nights.folders(results)]
    night = _night(plan, known, options.new)
    if not options.scheduler and (away := [bed.name for bed in plan.testbeds if bed.source is None]):
        raise ConfigError(
            f"{', '.join(away)}: {options.file} has only the name, so a worker elsewhere has to offer it",
            next_step="--scheduler ADDRESS --tls DIR name the scheduler that its worker offers it to",
        )
    _handle(_stop)
    lines = Lines()
    folder = results / nights.FOLDER / night.night
    connect = _remote(options) if options.scheduler else None
    with drive.alone(folder), cluster.connected(connect) if connect else _local(plan) as client, lines:
        print(f"night {night.night}; Dask's dashboard: {client.dashboard_link}", flush=True)
        for left in rules.left(known, night):
            _fetch(client, left, results)
        one = drive.Drive(client, night, results, plan.fleet.patience_minutes * 60, lines, connect, lines.note)
        try:
            one.run()
        except KeyboardInterrupt:
            print("stopped in order; the same command goes on with this night", flush=True)
            raise
    return _report(night, results)


def _fetch(client: Client, night: Night, results: Path) -> None:
    """Bring home what an earlier night left at workers, and say so."""
    from suites.fleet import arrival, drive

    try:
        with drive.alone(results / nights.FOLDER / night.night):
            came = arrival.fetch(client, night, results)
    except ConfigError:
        return  # it goes on, and another program drives it
    if came:
        print(f"came home of the night {night.night}: {', '.join(came)}", flush=True)


def _handle(handler: Callable[[int, object], None]) -> None:
    """What asks the night to stop goes to ``handler``."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handler)


def _stop(_number: int, _frame: object) -> None:
    _handle(_be_patient)
    raise KeyboardInterrupt


def _be_patient(_number: int, _frame: object) -> None:
    os.write(2, b"the night is ending: hosts are being put back and records come home, in half a minute at most\n")


def planned(plan: Plan) -> list[str]:
    """What a night would do, a line each."""
    return [
        f"{entry.testbed}: {entry.profile}, at most {entry.minutes:g} minutes"
        f"{', quick' if entry.quick else ''}{f', priority {entry.priority}' if entry.priority else ''}"
        for entry in plan.entries
    ]


def _night(plan: Plan, known: Sequence[Night], new: bool) -> Night:
    """The night that goes on, or a new one; ``known``: all nights. Raises ConfigError where another plan began it."""
    now = datetime.now(UTC)
    found = None if new else rules.continued(known, plan.fleet.name, now)
    if found is None:
        return rules.new(plan.fleet.name, plan.fleet.hours, plan.entries, now)
    if not rules.same(found, plan.entries):
        raise ConfigError(
            f"the night {found.night} goes on until {found.ends:%H:%M} UTC, and was planned otherwise than the fleet's "
            "file is now",
            next_step="--new begins another night",
        )
    return found


def _remote(options: argparse.Namespace) -> Callable[[], Client]:
    from suites.fleet import cluster

    if options.tls is None:
        raise ConfigError("--scheduler needs --tls DIR: without certificates anybody could run anything there")
    return partial(cluster.remote, options.scheduler, options.tls)


def _local(plan: Plan) -> AbstractContextManager[Client]:
    from suites.fleet import cluster, errand

    return cluster.local([errand.Site(bed.name, bed.source, errand.state()) for bed in plan.testbeds if bed.source])


def _report(night: Night, results: Path) -> int:
    """The page of the night; 0 where all is complete and nothing got worse."""
    command = [sys.executable, "-m", "reports", "night", night.night, "--results", str(results)]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def _worker(options: argparse.Namespace) -> int:
    try:
        from suites.fleet import cluster, errand
    except ImportError as error:
        raise _without_dask(error) from error
    address, tls = cluster.checked(options.scheduler), cluster.security(options.tls)
    named = {testbed.load(source).name: _absolute(source) for source in options.testbed}
    if len(named) < len(options.testbed):
        raise ConfigError("two of the testbeds have the same name")
    sites = [partial(errand.Site, name, source, errand.state()) for name, source in named.items()]
    said = partial(print, flush=True)
    asyncio.run(cluster.serve(address, tls, sites, said))
    return 0


def _absolute(source: str) -> str:
    return str(Path(source).absolute()) if source.endswith(".toml") else source


def _certificate(options: argparse.Namespace) -> int:
    try:
        from suites.fleet import cluster
    except ImportError as error:
        raise _without_dask(error) from error
    cluster.certificates(options.folder)
    print(f"{options.folder}: copy it to every machine of the fleet. Who has it can run anything at every site.")
    return 0


def _without_dask(error: ImportError) -> ConfigError:
    return ConfigError(f"a fleet needs Dask: {error}", next_step="tox -e fleet, or pip install '.[fleet]'")


def _spool(name: str) -> Spool:
    """Where this user's workers keep a testbed. Raises ConfigError where none has: nobody would see a reservation."""
    from suites.fleet.errand import state

    folder = state()
    known = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    if name not in known:
        raise ConfigError(
            f"no worker of this user has offered a testbed {name!r} on this machine: {folder} has "
            f"{', '.join(known) or 'none'}",
            next_step="run it on the machine that drives the testbed, as the worker's user",
        )
    return Spool(folder, name)


def _reserve(options: argparse.Namespace) -> int:
    until = datetime.now(UTC) + timedelta(minutes=options.minutes)
    print(f"{options.testbed}: {reservations.reserve(_spool(options.testbed), options.by, until)}")
    return 0


def _drain(options: argparse.Namespace) -> int:
    spool = _spool(options.testbed)
    print(f"{options.testbed}: {reservations.drain(spool, options.by)}; waiting for the run there is", flush=True)
    if not reservations.idle(spool, LONGEST_RUN):
        raise Refusal(f"a run is still under way on {options.testbed}")
    print(f"{options.testbed}: no run is under way")
    return 0


def _release(options: argparse.Namespace) -> int:
    had = reservations.release(_spool(options.testbed))
    print(f"{options.testbed}: {had.by if had else 'nobody'} had it, the nights have it now")
    return 0
