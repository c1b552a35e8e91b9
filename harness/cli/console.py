"""Events for a person: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from types import TracebackType

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from harness.events import (
    Chosen,
    Doing,
    Event,
    Interval,
    Narrowed,
    Note,
    Planned,
    Sampled,
    Sampling,
    StageEnded,
    StageStarted,
)
from harness.verdicts import answer

PLAIN_SECONDS = 10.0
"""Without a terminal, a line of progress at most this often."""


def so_far(intervals: Iterable[Interval]) -> str:
    """The question's intervals in a line: a question mark where one is undecided."""
    told = [
        f"{each.what} {answer.ratio(each.low)} to {answer.ratio(each.high)}{'' if each.decided else '?'}"
        for each in intervals
    ]
    return f"so far: {', '.join(told)}" if told else ""


class _Bar(Progress):
    """A bar, and above it what the question stands at."""

    said = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        if self.said:
            yield Text(self.said, overflow="fold")
        yield from super().get_renderables()


class Reporter:
    """Shows events while it is entered; a context manager around work that takes long, and may be entered again.

    ``everything``: notes too, which a run tells at its end; where there is no terminal, each step however short.
    ``newline`` ends a line that somebody else began there.
    """

    def __init__(
        self, console: Console | None = None, everything: bool = True, newline: Callable[[], None] = lambda: None
    ) -> None:
        self._everything, self._newline = everything, newline
        self._console = console or Console(stderr=True, highlight=False, soft_wrap=True)
        self._live: _Bar | None = None
        self._task: int | None = None
        self._total = 0
        self._told = ("", 0.0)
        self._narrowed: tuple[Interval, ...] = ()

    def __enter__(self) -> Reporter:
        if self._console.is_terminal:
            self._live = _Bar(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
                refresh_per_second=2,  # drawing takes a processor that is being measured
            )
            self._live.said = so_far(self._narrowed)
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._live:
            self._live.stop()
            self._live, self._task = None, None

    def __call__(self, event: Event) -> None:
        match event:
            case Doing(what, done):
                self._show(what, None if done is None else round(done * 100), 100)
            case StageStarted(stage, samples):
                self._total = samples
                self._restart(stage, samples)
            case Planned(_, samples):
                self._total = samples
            case Sampling(cell, block, blocks, warmup):
                self._show(f"{cell}, block {block + 1}/{blocks}{' (warm-up)' if warmup else ''}", None, self._total)
            case Sampled(cell, count):
                self._show(cell, count, self._total)
            case Narrowed(intervals):
                self._narrow(intervals)
            case StageEnded(stage, ended):
                self._line(f"{stage}: {ended}")
            case Chosen(text):
                self._line(text)
            case Note(text) if self._everything:
                self._line(f"note: {text}")

    def _narrow(self, intervals: tuple[Interval, ...]) -> None:
        """Elsewhere than on a terminal a line only where something was decided that was not."""
        before, self._narrowed = self._narrowed, intervals
        if self._live:
            self._live.said = so_far(intervals)
        elif intervals and [one.decided for one in intervals] != [one.decided for one in before]:
            self._line(so_far(intervals))

    def _restart(self, what: str, total: int) -> None:
        if self._live:
            if self._task is not None:
                self._live.remove_task(self._live.task_ids[0])
            self._task = self._live.add_task(what, total=total)
        else:
            self._line(f"{what}: {total} samples to take")

    def _show(self, what: str, completed: int | None, total: int) -> None:
        if self._live:
            if self._task is None:
                self._task = self._live.add_task(what, total=total)
            task = self._live.task_ids[0]
            self._live.update(task, description=what)
            if completed is not None:
                self._live.update(task, completed=completed, total=total)
            return
        before, when = self._told
        now = time.monotonic()
        step = self._everything and completed is None and total == 100 and what != before
        if now - when > PLAIN_SECONDS or step:
            self._told = (what, now)
            self._line(what if completed is None else f"{what} ({completed}/{total})")

    def _line(self, text: str) -> None:
        if not self._live:
            self._newline()
        (self._live.console if self._live else self._console).print(text, markup=False)
