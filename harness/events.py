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
class StageStarted:
    """A stage of a run begins (its question, or the rest); ``samples`` will be taken, as far as is known."""

    stage: str
    samples: int


@dataclass(frozen=True)
class Planned:
    """Another number of samples of a stage will be taken than was said: ``samples`` in all."""

    stage: str
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
    """A sample was taken, or its cell given up; ``count`` samples of the stage are behind us with it."""

    cell: str
    count: int


@dataclass(frozen=True)
class Interval:
    """Of the ratio of one comparison so far. ``what``: for a person, such as ``time at 100 MB``."""

    what: str
    low: float
    high: float
    decided: bool


@dataclass(frozen=True)
class Narrowed:
    """What the profile's question stands at after a look: the interval of each of its comparisons."""

    intervals: tuple[Interval, ...]


@dataclass(frozen=True)
class StageEnded:
    """A stage is over: ``measured``, ``interrupted`` or ``failed``."""

    stage: str
    ended: str


@dataclass(frozen=True)
class Chosen:
    """The run chose its lab: which one, and why not a better one, in a sentence."""

    text: str


@dataclass(frozen=True)
class Note:
    """Something a reader of the results should know."""

    text: str


Event = Doing | StageStarted | Planned | Sampling | Sampled | StageEnded | Narrowed | Chosen | Note


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
