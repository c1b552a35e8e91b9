"""The harness from the command line: ``python -m harness abilities``."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence

from harness import abilities, bed, paths, profile
from harness.console import Reporter
from harness.events import Events
from hosts import testbed
from hosts.errors import ConfigError, HarnessError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit status: 2 for bad input, 1 when hosts cannot be used, 130 when interrupted."""
    options = _parser().parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _abilities(options)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    except HarnessError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m harness", description="Secure data paths, measured.")
    commands = parser.add_subparsers(dest="command", required=True)
    can = commands.add_parser("abilities", help="what a testbed's hosts can do, and what each profile can run there")
    can.add_argument("--testbed", default="lab", help="by name, or a .toml file that names two hosts (%(default)s)")
    can.add_argument("--profile", help="this profile only (default: all)")
    can.add_argument("--build", action="store_true", help="build kernel modules of ours first, as a run does")
    return parser


def _abilities(options: argparse.Namespace) -> None:
    known = sorted(path.stem for path in profile.PROFILES.glob("*.toml"))
    profiles = [profile.load(name) for name in ([options.profile] if options.profile else known)]
    spec = testbed.load(options.testbed)
    found = paths.discover()
    wanted = {
        name
        for one in profiles
        for suite in one.suites
        if isinstance(suite, profile.TransferSuite)
        for name in suite.paths
    }
    builds = frozenset(module for name in wanted & set(found) for module in found[name].builds)
    events = Events()
    lines = []
    with Reporter() as reporter:
        events.subscribers.append(reporter)
        with bed.opened(spec, events, builds if options.build else frozenset()) as hosts:
            for host, facts in ((hosts.sender, hosts.sender_facts), (hosts.receiver, hosts.receiver_facts)):
                lines += [*abilities.of_host(facts, host.uid), ""]
            for one in profiles:
                answers = abilities.answers(one, found, hosts.sender_facts, hosts.receiver_facts, options.build)
                lines += [*abilities.of_profile(one, answers), ""]
    print("\n".join(lines[:-1]))


if __name__ == "__main__":
    sys.exit(main())
