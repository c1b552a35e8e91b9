"""The embedded lab from the command line: ``python -m hosts.lab``."""

from __future__ import annotations

import argparse
import os
import select
import signal
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from hosts import testbed
from hosts.debian.linux_source import NoSource
from hosts.errors import ConfigError, HarnessError
from hosts.lab import best, guests, kinds, running
from hosts.testbed import HostsTestbed, LabTestbed

NOT_TO_BE_HAD = 3


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit status: 3 where Debian's archive has no such kernel, 1 for all else that went wrong."""
    options = _parser().parse_args(argv)
    try:
        _COMMANDS[options.command](options)
    except NoSource as error:
        print(error, file=sys.stderr)
        return NOT_TO_BE_HAD
    except HarnessError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m hosts.lab", description="The embedded lab.")
    commands = parser.add_subparsers(dest="command", required=True)

    up = commands.add_parser("up", help="boot a lab; it stays until Ctrl-C, end of input or SIGTERM")
    up.add_argument("--testbed", default="lab", help="a lab's testbed, by name or .toml file (%(default)s)")
    up.add_argument("--write-testbed", type=Path, metavar="FILE", help="meanwhile, name both guests as hosts in FILE")

    enter = commands.add_parser("enter", help="log in to a guest of a running lab, or run a command there")
    enter.add_argument("role", choices=sorted(guests.NUMBERS))
    enter.add_argument("--lab", type=int, metavar="PID", help="which lab, where several run (see list)")
    enter.add_argument("arguments", nargs=argparse.REMAINDER, metavar="command", help="default: a shell")

    commands.add_parser("list", help="the labs that run on this machine now")

    build = commands.add_parser("image", help="have the guests' image, and kernel of their own, in the cache now")
    build.add_argument("--testbed", default="lab", help="for which testbed (%(default)s)")
    return parser


def _up(options: argparse.Namespace) -> None:
    spec = _spec(options.testbed)
    file = options.write_testbed
    if file and file.suffix != ".toml":
        raise ConfigError(f"the name of a testbed file ends in .toml; {file} does not")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ExitStack() as stack:
        with _Teller() as tell:
            lab = stack.enter_context(stack.enter_context(kinds.of(spec).obtain(spec, tell)).boot(tell))
        stack.enter_context(_written(lab.testbed, file))
        print(f"sender and receiver answer after {lab.ready_seconds:.1f} s; lab {lab.pid}", file=sys.stderr)
        if file:
            print(f"as a testbed: {file}", file=sys.stderr)
        print("Ctrl-C ends it; from another terminal: python -m hosts.lab enter sender", file=sys.stderr)
        try:
            while lab.alive():
                if select.select(_input(), [], [], 1.0)[0] and not os.read(0, 4096):
                    return
        except KeyboardInterrupt:
            return
        raise lab.failure("a guest ended by itself")


def _input() -> list[int]:
    """Standard input where its end means something: /dev/null is a way to have none."""
    try:
        mode = os.fstat(0).st_mode
    except OSError:
        return []
    return [0] if os.isatty(0) or stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) else []


@contextmanager
def _written(hosts: HostsTestbed, file: Path | None) -> Iterator[None]:
    """Have ``file`` describe the guests; it goes when they go."""
    if file is None:
        yield
        return
    try:
        file.write_text("# A running lab's guests; of no use once it has ended.\n" + testbed.as_toml(hosts))
    except OSError as error:
        raise ConfigError(f"cannot write the testbed {file}: {error.strerror}") from error
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def _enter(options: argparse.Namespace) -> None:
    command = options.arguments[1:] if options.arguments[:1] == ["--"] else options.arguments
    running.enter(running.choose(options.lab), options.role, command)


def _list(_options: argparse.Namespace) -> None:
    labs = running.find()
    for lab in labs:
        where = ", ".join(f"{role} on processor {processor}" for role, processor in lab.processors.items())
        state = "" if len(lab.guests) == len(guests.NUMBERS) else " (a guest does not run)"
        print(f"{lab.pid}: {lab.release}, {lab.word}, {where}, started by process {lab.controller}{state}")
    if not labs:
        print("no lab runs here", file=sys.stderr)


def _image(options: argparse.Namespace) -> None:
    spec = _spec(options.testbed)
    with _Teller() as tell, kinds.of(spec).obtain(spec, tell) as parts:
        print("\n".join(map(str, parts.places)))


def _spec(name: str) -> LabTestbed:
    spec = best.settled(testbed.load(name), partial(print, file=sys.stderr))
    if isinstance(spec, HostsTestbed):
        raise ConfigError(f"the testbed {name} names hosts that exist: there is no lab to boot")
    return spec


class _Teller:
    """Progress on standard error: one line that changes on a terminal, a line for each step elsewhere."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._last = ""

    def __call__(self, what: str, done: float | None) -> None:
        if self._terminal:
            share = "" if done is None else f" {done:4.0%}"
            print(f"\r\x1b[K{what}{share}", end="", file=sys.stderr, flush=True)
        elif what != self._last:
            print(what, file=sys.stderr, flush=True)
        self._last = what

    def __enter__(self) -> _Teller:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._terminal and self._last:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


_COMMANDS = {"up": _up, "enter": _enter, "list": _list, "image": _image}

if __name__ == "__main__":
    sys.exit(main())
