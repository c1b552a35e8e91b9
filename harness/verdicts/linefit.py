"""Pure: what a call and a byte cost, from the times of one operation by buffer size: the line t = a + b n.

``a`` is what every call costs, ``b`` what every byte adds; buffers too large for the call to matter approach 8 / b bits
a second. Times span decades, so the line is fitted to relative errors (weights 1 / t), with neither cost
below zero. Lines are fitted block by block, and what they come to is the verdicts' own estimate: of several boots it
has one number from each.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.verdicts.stats import ALPHA, FEWEST, Series
from harness.verdicts.stats import mean as over_rounds

DESCRIBES = 0.20
"""Largest relative residual of a line that is said to describe what was measured."""
BUFFERS = (1.0, 2.0**40)
"""Sizes in bytes between which lines may cross: beyond them there is no buffer."""

Times = Mapping[float, float]
"""Seconds of one operation by buffer size in bytes."""
Block = tuple[int, int]
"""A boot or deployment, and which of the blocks there."""


@dataclass(frozen=True)
class Line:
    """``call_seconds`` (a) for every operation and ``byte_seconds`` (b) for every byte of its buffer."""

    call_seconds: float
    byte_seconds: float

    def seconds(self, size: float) -> float:
        """What one operation on a buffer of ``size`` bytes costs."""
        return self.call_seconds + self.byte_seconds * size


@dataclass(frozen=True)
class Estimate:
    """What blocks come to, with its 95 % interval; the limits are None where blocks or boots are too few for one."""

    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Model:
    """The line of one driver over all blocks."""

    call_seconds: Estimate
    byte_seconds: Estimate
    bits_per_second: Estimate | None
    """The asymptote; None where a byte costs nothing. Its upper limit is None where the interval of a byte's cost
    reaches zero."""
    residual: float | None
    """The largest relative distance of the line from a size's time; None for fewer than three sizes, which any line
    fits."""
    describes: bool | None
    """Whether that is small enough; None as ``residual``."""
    sizes: int
    """How many buffer sizes were measured."""
    blocks: int
    """How many blocks were."""


@dataclass(frozen=True)
class Crossover:
    """The buffer size in bytes at which two lines cost the same; below it ``first`` is cheaper if ``first_below``.

    The limits are None as an estimate's, and where the lines do not cross in every block.
    """

    size: float
    low: float | None
    high: float | None
    first_below: bool
    blocks: int


@dataclass(frozen=True)
class Beside:
    """What one line costs beside another one of the same blocks."""

    call_seconds: Estimate
    """How much more it costs for every operation."""
    byte_ratio: Estimate | None
    """How many times as much for every byte; None where one of them costs nothing for it."""
    blocks: int


def fit(sizes: Sequence[float], seconds: Sequence[float]) -> Line:
    """The line with the smallest sum of squared relative errors. Raises ValueError on input that has none."""
    if len(sizes) != len(seconds) or len(set(sizes)) < 2:
        raise ValueError("a line needs as many times as sizes, and at least two sizes")
    if any(not (value > 0 and math.isfinite(value)) for value in (*sizes, *seconds)):
        raise ValueError("sizes and times are positive and finite")
    from scipy.optimize import nnls  # here: to import it takes a third of a second, and most pages fit nothing

    # both columns about 1, so that bytes and microseconds weigh alike in the solver's tolerance
    size, time = max(sizes), min(seconds)
    rows = [[time / t, n / size * time / t] for n, t in zip(sizes, seconds, strict=True)]
    (call, byte), _ = nnls(rows, [1.0] * len(rows))
    return Line(float(call) * time, float(byte) * time / size)


def places(rounds: Iterable[int]) -> list[Block]:
    """The block of each sample of one size, from the rounds of those that count, in the order they were taken.

    What each size was timed at for the first time in a boot is one block, and so on. Their own numbers do not tell it:
    sizes count their blocks each for itself, and one of them counts its suite's warm-ups among them.
    """
    taken: Counter[int] = Counter()
    found = []
    for number in rounds:
        found.append((number, taken[number]))
        taken[number] += 1
    return found


def by_block(blocks: Mapping[Block, Times]) -> dict[Block, Line]:
    """A line for every block that has at least two sizes."""
    return {block: fit(list(times), list(times.values())) for block, times in blocks.items() if len(times) > 1}


def model(blocks: Mapping[Block, Times]) -> Model | None:
    """Costs of a call and a byte with their intervals over blocks; None where no block has two sizes."""
    lines = by_block(blocks)
    if not lines:
        return None
    call, byte = _costs(lines)
    line = Line(call.mean, byte.mean)
    typical = _typical({block: blocks[block] for block in lines})
    residual = max(abs(line.seconds(n) / t - 1) for n, t in typical.items()) if len(typical) > 2 else None
    return Model(
        call_seconds=call,
        byte_seconds=byte,
        bits_per_second=_asymptote(byte),
        residual=residual,
        describes=None if residual is None else residual <= DESCRIBES,
        sizes=len(typical),
        blocks=len(lines),
    )


def crossover(first: Mapping[Block, Line], second: Mapping[Block, Line]) -> Crossover | None:
    """Where two drivers' lines of the same blocks cross, over the blocks; None where they do at no size of BUFFERS."""
    both = sorted(first.keys() & second.keys())
    if not both:
        return None
    costs = (_costs({block: side[block] for block in both}) for side in (first, second))
    a, b = (Line(call.mean, byte.mean) for call, byte in costs)
    middle = _crossing(a, b)
    if middle is None:
        return None
    below = a.call_seconds < b.call_seconds
    pairs = {block: (first[block], second[block]) for block in both}
    each = {block: _crossing(x, y) for block, (x, y) in pairs.items() if (x.call_seconds < y.call_seconds) == below}
    logs = {block: math.log(size) for block, size in each.items() if size is not None}
    if len(logs) < max(len(both), FEWEST):
        return Crossover(middle, None, None, below, len(both))
    found = estimate(logs, floor=-math.inf)
    low, high = (None if limit is None else math.exp(limit) for limit in (found.low, found.high))
    return Crossover(math.exp(found.mean), low, high, below, len(both))


def beside(first: Mapping[Block, Line], second: Mapping[Block, Line]) -> Beside | None:
    """What the second costs beside the first, over the blocks that both were measured in; None without any."""
    pairs = {block: (first[block], second[block]) for block in sorted(first.keys() & second.keys())}
    if not pairs:
        return None
    more = {block: b.call_seconds - a.call_seconds for block, (a, b) in pairs.items()}
    call = estimate(more, floor=-math.inf)
    if not all(a.byte_seconds > 0 and b.byte_seconds > 0 for a, b in pairs.values()):
        return Beside(call, None, len(pairs))
    logs = {block: math.log(b.byte_seconds / a.byte_seconds) for block, (a, b) in pairs.items()}
    found = estimate(logs, floor=-math.inf)
    low, high = (None if limit is None else math.exp(limit) for limit in (found.low, found.high))
    return Beside(call, Estimate(math.exp(found.mean), low, high), len(pairs))


def estimate(values: Mapping[Block, float], floor: float = 0.0) -> Estimate:
    """What ``values`` come to as verdicts have it (``stats.mean``), with an interval whose lower limit is at least
    ``floor``. Of nothing: raises ValueError."""
    found = over_rounds(Series(tuple(values.values()), rounds=tuple(number for number, _ in values)))
    if not found.enough:
        return Estimate(found.mean, None, None)
    half = found.half(ALPHA)
    return Estimate(found.mean, max(floor, found.mean - half), found.mean + half)


def _costs(lines: Mapping[Block, Line]) -> tuple[Estimate, Estimate]:
    """Of a call, and of a byte."""
    call = estimate({block: line.call_seconds for block, line in lines.items()})
    return call, estimate({block: line.byte_seconds for block, line in lines.items()})


def _asymptote(byte: Estimate) -> Estimate | None:
    if byte.mean <= 0:
        return None
    return Estimate(8 / byte.mean, 8 / byte.high if byte.high else None, 8 / byte.low if byte.low else None)


def _typical(blocks: Mapping[Block, Times]) -> dict[float, float]:
    """What each size's times come to."""
    seen: dict[float, dict[Block, float]] = {}
    for block, times in blocks.items():
        for size, time in times.items():
            seen.setdefault(size, {})[block] = time
    return {size: estimate(times).mean for size, times in seen.items()}


def _crossing(first: Line, second: Line) -> float | None:
    calls, bytes_ = second.call_seconds - first.call_seconds, first.byte_seconds - second.byte_seconds
    if calls == 0 or bytes_ == 0 or (calls > 0) != (bytes_ > 0):
        return None
    size = calls / bytes_
    return size if BUFFERS[0] <= size <= BUFFERS[1] else None
