"""Pure: what of a night is begun, what is done again, and when a night is continued."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from harness.night import Attempt, Entry, Night

LEAST_SHARE = 0.25
"""A run is begun only where at least this part of its minutes is left of the night."""
ATTEMPTS = 2
"""A run whose worker ended is done again once."""


def seconds_left(minutes: float, ends: datetime, now: datetime) -> float | None:
    """How long a run may take that would begin now; None where too little of the night is left."""
    left = min(minutes * 60, (ends - now).total_seconds())
    return left if left >= LEAST_SHARE * minutes * 60 else None


def again(entry: Entry, ends: datetime, now: datetime) -> bool:
    """Whether an entry's last attempt is to be followed by another: its worker ended, for the first time, and there
    is time."""
    lost = [attempt for attempt in entry.attempts if attempt.cause == "worker"]
    last = entry.attempts[-1].cause if entry.attempts else None
    return last == "worker" and len(lost) < ATTEMPTS and seconds_left(entry.minutes, ends, now) is not None


def to_do(night: Night, now: datetime) -> list[Entry]:
    """What a night that starts, or starts again, has to do: what is open, what was stopped with the night, what could
    not be reached then, what did not come home, and what was lost with its worker while the night was ending."""
    return [
        entry
        for entry in night.entries
        if entry.open
        or entry.outcome == "unreachable"
        or unanswered(entry)
        or entry.stopped
        or again(entry, night.ends, now)
    ]


def unanswered(entry: Entry) -> bool:
    """Whether a worker may still have the record of an entry's last attempt."""
    return bool(entry.attempts) and not entry.attempts[-1].home


def begin(entry: Entry) -> int:
    """The number of the attempt that is to be asked of the workers, from 0. One of which no worker has said what became
    of it is asked for again: a worker may have its record."""
    return len(entry.attempts) - 1 if unanswered(entry) else len(entry.attempts)


def begun(entry: Entry, number: int) -> str | None:
    """The run of an attempt, as far as it is known; None where none is."""
    return entry.attempts[number].run_id if number < len(entry.attempts) else None


def note(entry: Entry, number: int, attempt: Attempt) -> None:
    """Put down what is known of an attempt."""
    entry.attempts[number:] = [attempt]
    entry.outcome, entry.reason = attempt.outcome, attempt.reason


def finish(entry: Entry, outcome: Attempt) -> None:
    """An entry that ends without an answer of a worker: an attempt that was begun is left as it is known."""
    if entry.attempts and entry.attempts[-1].outcome == "running":
        begun = entry.attempts[-1]
        begun.outcome, begun.reason, begun.cause, begun.ended = "interrupted", outcome.reason, "worker", outcome.ended
    entry.outcome, entry.reason = outcome.outcome, outcome.reason


def over(entry: Entry, now: datetime) -> Attempt:
    """How an entry ends that is open when nobody is waited for any more, since its night is over."""
    if unanswered(entry):
        reason = "the night was over, and no worker had said what became of its run"
        return Attempt(outcome="unreachable", reason=reason, ended=now)
    return Attempt(outcome="not run", reason="the night was over", ended=now)


def name(fleet: str, now: datetime) -> str:
    """What a night is called that begins now: ``20261130-2200-fleet``."""
    return f"{now:%Y%m%d-%H%M%S}-{fleet}"


def new(fleet: str, hours: float, entries: Iterable[Entry], now: datetime) -> Night:
    """A night that begins now."""
    return Night(
        night=name(fleet, now),
        fleet=fleet,
        started=now,
        ends=now + timedelta(hours=hours),
        entries=[entry.model_copy(deep=True) for entry in entries],
    )


def same(night: Night, entries: Iterable[Entry]) -> bool:
    """Whether a night was planned as these entries are."""

    def asked(entry: Entry) -> tuple[object, ...]:
        return entry.testbed, entry.profile, entry.labels, entry.quick, entry.minutes, entry.priority

    return [asked(entry) for entry in night.entries] == [asked(entry) for entry in entries]


def left(nights: Iterable[Night], night: Night) -> list[Night]:
    """The fleet's nights before this one of which workers may still have records."""
    return [
        one
        for one in nights
        if one.fleet == night.fleet and one.night != night.night and any(unanswered(entry) for entry in one.entries)
    ]


def continued(nights: Iterable[Night], fleet: str, now: datetime) -> Night | None:
    """The newest night of a fleet, where it is not finished and its time is not over; nights are oldest first."""
    mine = [night for night in nights if night.fleet == fleet]
    return mine[-1] if mine and mine[-1].finished is None and now < mine[-1].ends else None
