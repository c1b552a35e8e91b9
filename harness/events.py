"""What is happening now. Progress bars, logs and tests subscribe; nothing here waits for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Doing:
    """A piece of work goes on: what, and the fraction done (0 to 1), or None where unknown."""

    what: str
    done: float | None = None


@dataclass(frozen=True)
class SuiteStarted:
    """Measuring of a suite begins; ``samples`` will be taken if none fails."""

    suite: str
    samples: int


@dataclass(frozen=True)
class Planned:
    """More samples of a suite will be taken than was said: ``samples`` in all."""

    suite: str
    samples: int


@dataclass(frozen=True)
class Sampling:
    """A sample is about to be taken."""

    cell: str
    block: int
    blocks: int
    warmup: bool


@dataclass(frozen=True)
class Sampled:
    """A sample was taken, or its cell given up; ``count`` samples of the suite are behind us with it."""

    cell: str
    count: int


@dataclass(frozen=True)
class SuiteEnded:
    """A suite is over."""

    suite: str


@dataclass(frozen=True)
class Note:
    """Something a reader of the results should know."""

    text: str


Event = Doing | SuiteStarted | Planned | Sampling | Sampled | SuiteEnded | Note


@dataclass
class Events:
    """A stream of events and who listens to it."""

    subscribers: list[Callable[[Event], None]] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        for subscriber in self.subscribers:
            subscriber(event)

    def progress(self, what: str, done: float | None = None) -> None:
        """A ``hosts.progress.Progress`` that ends up in this stream."""
        self(Doing(what, done))
