"""What a person sees while a run goes on."""

from __future__ import annotations

import io
from collections.abc import Iterable

import pytest
from rich.console import Console

from harness.cli import console
from harness.cli.console import Reporter
from harness.events import Doing, Event, Interval, Narrowed, Note, Sampled, StageEnded, StageStarted


def narrowed(*decided: bool, width: float = 0.1) -> Narrowed:
    return Narrowed(tuple(Interval(f"time at {n} MB", 1.05 - width, 1.05 + width, d) for n, d in enumerate(decided)))


def plain(events: Iterable[Event], everything: bool = False) -> list[str]:
    out = io.StringIO()
    with Reporter(Console(file=out, width=100, soft_wrap=True), everything) as reporter:
        for event in events:
            reporter(event)
    return out.getvalue().splitlines()


def test_without_a_terminal_the_interval_is_a_line_only_where_something_was_decided() -> None:
    looks = [
        narrowed(False, False),
        narrowed(False, False, width=0.07),
        narrowed(True, False, width=0.04),
        narrowed(True, False, width=0.03),
        narrowed(True, True, width=0.01),
    ]
    assert plain(looks) == [
        "so far: time at 0 MB x0.95 to x1.15?, time at 1 MB x0.95 to x1.15?",
        "so far: time at 0 MB x1.01 to x1.09, time at 1 MB x1.01 to x1.09?",
        "so far: time at 0 MB x1.04 to x1.06, time at 1 MB x1.04 to x1.06",
    ]
    assert plain([Narrowed(())]) == [], "nothing is known yet"


STEPS = (Doing("booting"), Doing("connecting"), Note("mind this"), StageStarted("s", 5), StageEnded("s", "measured"))


def test_steps_and_notes_are_told_where_everything_is_asked_for() -> None:
    assert plain(STEPS) == ["booting", "s: 5 samples to take", "s: measured"]
    assert plain(STEPS, everything=True) == [
        "booting",
        "connecting",
        "note: mind this",
        "s: 5 samples to take",
        "s: measured",
    ]


def test_what_takes_long_is_told_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("harness.cli.console.time.monotonic", lambda: now[0])
    out = io.StringIO()
    with Reporter(Console(file=out), everything=False) as reporter:
        for done in range(4):
            reporter(Doing("making the kernel", done / 10))
            now[0] += 0.6 * console.PLAIN_SECONDS
    assert out.getvalue().splitlines() == ["making the kernel (0/100)", "making the kernel (20/100)"]


def test_on_a_terminal_the_interval_stands_above_the_bar_and_stays_when_entered_again() -> None:
    out = io.StringIO()
    reporter = Reporter(Console(file=out, force_terminal=True, width=60, color_system=None), everything=False)
    with reporter:
        reporter(StageStarted("schemes", 5))
        reporter(narrowed(False, False, False))
        reporter(Sampled("schemes/so-crypt", 2))
    first = out.getvalue()
    assert "so far: time at 0 MB x0.95 to x1.15?" in first
    assert "time at 2 MB x0.95 to x1.15?" in first.replace("\r", "").replace("\n", " "), "it is wrapped, never cut"
    assert "2/5" in first
    with reporter:
        reporter(narrowed(True, True, True, width=0.01))
        reporter(StageStarted("large-files", 5))
    second = out.getvalue()[len(first) :]
    assert "x0.95 to x1.15?" in second and "x1.04 to x1.06" in second
    with reporter:
        reporter(Note("mind this"))
    assert "mind this" not in out.getvalue()
