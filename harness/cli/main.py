"""The harness from the command line: ``python -m harness check``, ``abilities``, ``deprovision``, ``restore``."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from collections.abc import Sequence

from harness import paths, profile, receiving
from harness.cli import abilities, check, deprovision, restore
from harness.cli.console import Reporter
from harness.events import Chosen, Events
from harness.measuring import opened
from harness.profile import Profile
from harness.run import answers
from hosts import testbed
from hosts.errors import ConfigError, HarnessError
from hosts.lab import best
from hosts.progress import any_terminal


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit status: 2 for bad input, 1 when hosts cannot be used, 130 when interrupted."""
    any_terminal()
    options = _parser().parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return COMMANDS[options.command](options)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    except HarnessError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m harness", description="Secure data paths, measured.")
    commands = parser.add_subparsers(dest="command", required=True)
    can = commands.add_parser("abilities", help="what a testbed's hosts can do, and what each profile can run there")
    can.add_argument("--testbed", default="auto", help="by name, or a .toml file that names two hosts (%(default)s)")
    can.add_argument("--profile", help="this profile only, by name or as a TOML file (default: all)")
    can.add_argument("--build", action="store_true", help="build kernel modules of ours first, as a run does")
    back = commands.add_parser("restore", help="put hosts back that a run left, after a crash; tells what is left")
    back.add_argument("--testbed", required=True, help="a .toml file that names two hosts")
    looks = commands.add_parser("check", help="what a run would need and change on a testbed's hosts; changes nothing")
    looks.add_argument("--testbed", default="auto", help="by name, or a .toml file that names two hosts (%(default)s)")
    looks.add_argument("--profile", help="this profile only, by name or as a TOML file (default: all)")
    looks.add_argument("--provision", action="store_true", help="missing packages are to be installed by a run")
    taken = commands.add_parser(
        "deprovision", help="remove the packages that --provision installed on a testbed's hosts"
    )
    taken.add_argument("--testbed", required=True, help="a .toml file that names two hosts")
    return parser


def _profiles(options: argparse.Namespace) -> list[Profile]:
    """The profile that is named, or all."""
    known = sorted(path.stem for path in profile.PROFILES.glob("*.toml"))
    return [profile.load(name) for name in ([options.profile] if options.profile else known)]


def _check(options: argparse.Namespace) -> int:
    profiles, events = _profiles(options), Events()
    with Reporter() as reporter:
        events.subscribers.append(reporter)
        asked = testbed.load(options.testbed, options.provision)
        spec = best.settled(asked, lambda why: events(Chosen(why)), events.progress)
        told = check.check(spec, profiles, receiving.beside(paths.discover()), events)
    print("\n".join(check.lines(told, _run(options))))
    return check.status(told)


def _run(options: argparse.Namespace) -> str:
    """The command that measures what was checked."""
    name = options.profile or "PROFILE"
    of_a_file = ["python", "-m", "pytest", "suites", "--profile", name]
    command = of_a_file if name.endswith(".toml") else ["tox", "-e", name, "--"]
    return shlex.join([*command, "--testbed", options.testbed, *(["--provision"] if options.provision else [])])


def _abilities(options: argparse.Namespace) -> int:
    profiles = _profiles(options)
    found = receiving.beside(paths.discover())
    builds = frozenset(module for one in profiles for module in answers.built(one, found))
    events = Events()
    lines = []
    with Reporter() as reporter:
        events.subscribers.append(reporter)
        spec = best.settled(testbed.load(options.testbed), lambda why: events(Chosen(why)), events.progress)
        there = frozenset(module for one in profiles for module in answers.built_there(one, found))
        asked = opened.Wanted(builds, there, run="abilities") if options.build else opened.Wanted(run="abilities")
        with opened.open_testbed(spec, events, asked) as hosts:
            for host, facts in ((hosts.sender, hosts.sender_facts), (hosts.receiver, hosts.receiver_facts)):
                lines += [*abilities.of_host(facts, host.uid), ""]
            for one in profiles:
                both = hosts.sender_facts, hosts.receiver_facts
                told = answers.answers(one, found, *both, built=options.build, shapes=hosts.may_shape)
                lines += [*abilities.of_profile(one, told), ""]
    print("\n".join(lines[:-1]))
    return 0


def _deprovision(options: argparse.Namespace) -> int:
    hosts = testbed.load(options.testbed)
    if not isinstance(hosts, testbed.HostsTestbed):
        raise ConfigError(f"{options.testbed} is a lab, where nothing is ever installed")
    return deprovision.deprovision(hosts)


def _restore(options: argparse.Namespace) -> int:
    lines, well = restore.both(testbed.load(options.testbed))
    print("\n".join(lines))
    return 0 if well else 1


COMMANDS = {"abilities": _abilities, "check": _check, "deprovision": _deprovision, "restore": _restore}
