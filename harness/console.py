"""Events for a person: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from harness.events import Doing, Event, Note, Planned, Sampled, Sampling, SuiteEnded, SuiteStarted

PLAIN_SECONDS = 10.0
"""Without a terminal, a line of progress at most this often."""


class Reporter:
    """Shows events while it is entered; a context manager around work that takes long."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False, soft_wrap=True)
        self._live: Progress | None = None
        self._task: int | None = None
        self._total = 0
        self._told = ("", 0.0)

    def __enter__(self) -> Reporter:
        if self._console.is_terminal:
            self._live = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
                refresh_per_second=2,  # drawing takes a processor that is being measured
            )
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
            case SuiteStarted(suite, samples):
                self._total = samples
                self._restart(suite, samples)
            case Planned(_, samples):
                self._total = samples
            case Sampling(cell, block, blocks, warmup):
                self._show(f"{cell}, block {block + 1}/{blocks}{' (warm-up)' if warmup else ''}", None, self._total)
            case Sampled(cell, count):
                self._show(cell, count, self._total)
            case SuiteEnded(suite):
                self._line(f"{suite}: measured")
            case Note(text):
                self._line(f"note: {text}")

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
        if now - when > PLAIN_SECONDS or (completed is None and total == 100 and what != before):
            self._told = (what, now)
            self._line(what if completed is None else f"{what} ({completed}/{total})")

    def _line(self, text: str) -> None:
        (self._live.console if self._live else self._console).print(text, markup=False)
