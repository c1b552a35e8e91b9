"""The exceptions a person is meant to read.

Two kinds stand side by side, and every HarnessError is one of them::

    HarnessError
    ├── HostLost     a host cannot be asked any more: the run ends
    └── Refusal      one thing cannot be had or done: a path, a cell, a suite is given up, the rest goes on
        ├── ConfigError, AgentError, RecordError, ...

A handler that goes on after an error names Refusal or a kind of it, so that it cannot swallow a lost host. Only what
ends a program or a run names HarnessError. Nobody raises HarnessError itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence


class HarnessError(Exception):
    """Something went wrong that its reader can act on.

    ``what`` says it in a sentence; ``host`` names the machine; ``commands`` are the last commands run there;
    ``next_step`` says what to do about it. Programs print ``str(error)`` and exit with a non-zero status: a
    traceback is never the message.
    """

    def __init__(
        self, what: str, *, host: str | None = None, commands: Sequence[str] = (), next_step: str | None = None
    ) -> None:
        super().__init__(what)
        self.what = what
        self.host = host
        self.commands = tuple(commands)
        self.next_step = next_step

    def __str__(self) -> str:
        lines = [f"{self.host}: {self.what}" if self.host else self.what]
        lines += [f"  ran: {command}" for command in self.commands]
        if self.next_step:
            lines.append(f"  next: {self.next_step}")
        return "\n".join(lines)


class HostLost(HarnessError):  # noqa: N818 - says what happened
    """A host cannot be reached, or its connection or agent ended or did not answer in time."""


class Refusal(HarnessError):  # noqa: N818 - says what it is
    """Something was refused or failed, said by a host or found by the harness; hosts still answer."""


class ConfigError(Refusal):
    """Bad input: a TOML file, an option or an environment variable. Nothing was started."""


def raise_together(errors: Iterable[BaseException | None]) -> None:
    """Raise one error that says what all of these say, a lost host's first: it ends the run. None of them: nothing.

    What is no HarnessError is raised as it is.
    """
    found = list[HarnessError]()
    for error in errors:
        if isinstance(error, HarnessError):
            found.append(error)
        elif error is not None:
            raise error
    if not found:
        return
    first, *others = sorted(found, key=lambda error: not isinstance(error, HostLost))
    if not others:
        raise first
    said = [f"{error.host}: {error.what}" if error.host else error.what for error in others]
    steps = dict.fromkeys(error.next_step for error in (first, *others) if error.next_step)
    raise type(first)(
        "; ".join([first.what, *said]),
        host=first.host,
        commands=first.commands,
        next_step="; ".join(steps) or None,
    ) from first
