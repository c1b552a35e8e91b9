"""A night in a terminal: a line for each testbed, live; elsewhere a line whenever something became of an entry."""

from __future__ import annotations

from datetime import UTC, datetime

from rich.console import Console
from rich.live import Live
from rich.text import Text

from harness.night import Entry, Night


def lines(night: Night, now: datetime) -> list[str]:
    """What each testbed does, and how far it is."""
    beds: dict[str, list[Entry]] = {}
    for entry in night.entries:
        beds.setdefault(entry.testbed, []).append(entry)
    return [_line(bed, entries, now) for bed, entries in beds.items()]


def _line(bed: str, entries: list[Entry], now: datetime) -> str:
    running = next((entry for entry in entries if entry.outcome == "running"), None)
    done = [entry for entry in entries if not entry.open]
    bad = [entry for entry in done if entry.outcome != "complete"]
    told = f"{len(done)} of {len(entries)} done" + (f", {len(bad)} not complete" if bad else "")
    if running is None:
        return f"{bed}: {told}{'' if len(done) == len(entries) else '; waiting'}"
    started = running.attempts[-1].started or now
    return f"{bed}: {told}; {running.profile} {(now - started).total_seconds() / 60:.0f} of {running.minutes:g} minutes"


def became(entry: Entry) -> str:
    """What became of an entry, in a line."""
    if entry.outcome == "waiting" and entry.attempts:
        last = entry.attempts[-1]
        became = f"{last.outcome}{f': {last.reason}' if last.reason else ''}"
        return f"{entry.testbed}: {entry.profile} {became}; asked for again"
    more = f" (attempt {len(entry.attempts)})" if len(entry.attempts) > 1 else ""
    why = f": {entry.reason}" if entry.reason else ""
    return f"{entry.testbed}: {entry.profile} {entry.outcome}{more}{why}"


class Lines:
    """Shows a night while it is entered; call it with the night whenever something became of it."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console()
        self._night: Night | None = None
        self._seen: dict[tuple[str, str], str] = {}
        self._live = Live(get_renderable=self._text, console=self._console, refresh_per_second=1, auto_refresh=True)

    def __enter__(self) -> Lines:
        if self._console.is_terminal:
            self._live.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        if self._console.is_terminal:
            self._live.__exit__(None, None, None)

    def __call__(self, night: Night) -> None:
        """Tell what is new."""
        self._night = night
        for entry in night.entries:
            said = became(entry)
            key = entry.testbed, entry.profile
            if self._seen.get(key) != said and (entry.outcome != "waiting" or key in self._seen):
                self.note(said)
            self._seen[key] = said

    def note(self, said: str) -> None:
        """Tell something of the whole night."""
        self._console.print(f"{datetime.now(UTC):%H:%M:%S} {said}", markup=False, highlight=False, soft_wrap=True)

    def _text(self) -> Text:
        told = lines(self._night, datetime.now(UTC)) if self._night else []
        return Text("\n".join(told), overflow="ellipsis", no_wrap=True)
