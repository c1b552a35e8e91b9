"""Pure: what a call and a byte cost, from the times of one operation by buffer size: the line t = a + b n.

``a`` is what every call costs, ``b`` what every byte adds; buffers too large for the call to matter approach 8 / b bits
a second. Times span decades, so the line is fitted to relative errors (weights 1 / t), with neither cost
below zero. Lines are fitted block by block, so that intervals hold what differs from block to block.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from scipy.special import stdtrit

from harness.verdicts.stats import ALPHA, FEWEST

DESCRIBES = 0.20
"""Largest relative residual of a line that is said to describe what was measured."""
BUFFERS = (1.0, 2.0**40)
"""Sizes in bytes between which lines may cross: beyond them there is no buffer."""

Times = Mapping[float, float]
"""Seconds of one operation by buffer size in bytes."""


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
    """A mean over blocks with its 95 % interval; the limits are None where there are too few blocks for one."""

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
    """The largest relative distance of the line from a mean time; None for fewer than three sizes, which any line
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

    The limits are None where there are fewer than three blocks or the lines do not cross in every block.
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


def by_block(blocks: Mapping[int, Times]) -> dict[int, Line]:
    """A line for every block that has at least two sizes."""
    return {block: fit(list(times), list(times.values())) for block, times in blocks.items() if len(times) > 1}


def model(blocks: Mapping[int, Times]) -> Model | None:
    """Costs of a call and a byte with their intervals over blocks; None where no block has two sizes."""
    lines = list(by_block(blocks).values())
    if not lines:
        return None
    call = estimate([line.call_seconds for line in lines])
    byte = estimate([line.byte_seconds for line in lines])
    line = Line(call.mean, byte.mean)
    typical = _typical([times for times in blocks.values() if len(times) > 1])
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


def crossover(first: Mapping[int, Line], second: Mapping[int, Line]) -> Crossover | None:
    """Where two drivers' lines of the same blocks cross, over the blocks; None where they do at no size of BUFFERS."""
    pairs = [(first[block], second[block]) for block in sorted(first.keys() & second.keys())]
    if not pairs:
        return None
    a, b = (_mean(line for line in side) for side in zip(*pairs, strict=True))
    middle = _crossing(a, b)
    if middle is None:
        return None
    below = a.call_seconds < b.call_seconds
    each = [_crossing(x, y) for x, y in pairs if (x.call_seconds < y.call_seconds) == below]
    sizes = [size for size in each if size is not None]
    if len(sizes) < max(len(pairs), FEWEST):
        return Crossover(middle, None, None, below, len(pairs))
    logs = estimate([math.log(size) for size in sizes], floor=-math.inf)
    low, high = (None if limit is None else math.exp(limit) for limit in (logs.low, logs.high))
    return Crossover(math.exp(logs.mean), low, high, below, len(pairs))


def beside(first: Mapping[int, Line], second: Mapping[int, Line]) -> Beside | None:
    """What the second costs beside the first, over the blocks that both were measured in; None without any."""
    pairs = [(first[block], second[block]) for block in sorted(first.keys() & second.keys())]
    if not pairs:
        return None
    call = estimate([b.call_seconds - a.call_seconds for a, b in pairs], floor=-math.inf)
    if not all(a.byte_seconds > 0 and b.byte_seconds > 0 for a, b in pairs):
        return Beside(call, None, len(pairs))
    logs = estimate([math.log(b.byte_seconds / a.byte_seconds) for a, b in pairs], floor=-math.inf)
    low, high = (None if limit is None else math.exp(limit) for limit in (logs.low, logs.high))
    return Beside(call, Estimate(math.exp(logs.mean), low, high), len(pairs))


def estimate(values: Sequence[float], floor: float = 0.0) -> Estimate:
    """The mean of ``values`` with its t interval, whose lower limit is at least ``floor``."""
    count = len(values)
    mean = math.fsum(values) / count
    if count < FEWEST:
        return Estimate(mean, None, None)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    half = float(stdtrit(count - 1, 1 - ALPHA / 2)) * deviation / math.sqrt(count)
    return Estimate(mean, max(floor, mean - half), mean + half)


def _asymptote(byte: Estimate) -> Estimate | None:
    if byte.mean <= 0:
        return None
    return Estimate(8 / byte.mean, 8 / byte.high if byte.high else None, 8 / byte.low if byte.low else None)


def _typical(blocks: Sequence[Times]) -> dict[float, float]:
    """The mean over blocks of each size's time."""
    seen: dict[float, list[float]] = {}
    for times in blocks:
        for size, time in times.items():
            seen.setdefault(size, []).append(time)
    return {size: math.fsum(seconds) / len(seconds) for size, seconds in seen.items()}


def _mean(lines: Iterable[Line]) -> Line:
    each = list(lines)
    return Line(
        math.fsum(line.call_seconds for line in each) / len(each),
        math.fsum(line.byte_seconds for line in each) / len(each),
    )


def _crossing(first: Line, second: Line) -> float | None:
    calls, bytes_ = second.call_seconds - first.call_seconds, first.byte_seconds - second.byte_seconds
    if calls == 0 or bytes_ == 0 or (calls > 0) != (bytes_ > 0):
        return None
    size = calls / bytes_
    return size if BUFFERS[0] <= size <= BUFFERS[1] else None
