"""How long each size of a file is measured, and what ``--quick`` leaves of that: as profiles say it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from harness.units import parse_size


class Model(BaseModel):
    """A part of a profile."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _sizes(value: object) -> object:
    if not isinstance(value, dict):
        raise ValueError('sizes are a table of size, seconds and blocks: { "1MB" = { seconds = 5, blocks = 10 } }')
    sizes = {parse_size(key): span for key, span in value.items()}
    if len(sizes) < len(value):
        raise ValueError("two of its sizes are the same")
    if 0 in sizes:
        raise ValueError("a file of no bytes cannot be timed")
    return sizes


Blocks = Annotated[int, Field(ge=2, le=10_000)]


class Span(Model):
    """How long files of one size are measured: ``seconds`` within transfers, all rounds together, but no fewer than
    ``blocks`` blocks that count. A block that was begun is finished."""

    seconds: Annotated[float, Field(ge=0, le=86_400)] = 0.0
    blocks: Blocks

    def quick(self, quick: Quick) -> Span:
        """The same, shorter."""
        return Span(seconds=self.seconds * quick.share, blocks=min(self.blocks, quick.blocks))


Sizes = Annotated[dict[int, Span], BeforeValidator(_sizes), Field(min_length=1)]
"""Spans by the file's bytes."""


class Quick(Model):
    """What ``--quick`` leaves of a profile."""

    largest: Annotated[int, BeforeValidator(parse_size)] = 10**7
    share: Annotated[float, Field(ge=0, le=1)] = 0.25
    """Of the seconds of every span; where there is a question, of its own alone: what is not decided has its fewest
    blocks."""
    blocks: Blocks = 4
    """The most that a span asks for at least."""
    seconds: Annotated[float, Field(ge=0.02, le=10)] = 0.03
    """The most that a sample of kernel crypto takes."""
    rounds: Annotated[int, Field(ge=1, le=100)] = 3
    """Of the rest; the question has five."""
    requests: Annotated[int, Field(ge=2)] = 100
    load_seconds: Annotated[float, Field(ge=0.2, le=600)] = 1.0
    """The most that a sample of load takes."""

    def sizes(self, whole: dict[int, Span]) -> dict[int, Span]:
        """What is left of spans by size: no file over ``largest``, but the smallest."""
        largest = max(self.largest, min(whole))
        return {size: span.quick(self) for size, span in whole.items() if size <= largest}
