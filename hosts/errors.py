"""The one exception a person is meant to read."""

from __future__ import annotations

from collections.abc import Sequence


class HarnessError(Exception):
    """Something went wrong that its reader can act on.

    ``what`` says it in a sentence; ``host`` names the machine; ``commands`` are the last commands run there;
    ``next_step`` says what to do about it. Programs print ``str(error)`` and exit with a non-zero status: a
    traceback is never the message.
    """

    def __init__(
        self,
        what: str,
        *,
        host: str | None = None,
        commands: Sequence[str] = (),
        next_step: str | None = None,
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


class ConfigError(HarnessError):
    """Bad input: a TOML file, an option or an environment variable. Nothing was started."""
