"""The means of many comparisons that share their blocks, by arrays: what ``stats.mean`` gives of each alone.

A night of a long history has hundreds of comparisons. ``tests/unit/test_means.py`` holds both to the same numbers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.verdicts.stats import left_out

Numbers = NDArray[np.float64]


def means(logs: Numbers, rounds: NDArray[np.int64], grains: Numbers) -> tuple[Numbers, Numbers]:
    """The mean log ratio of each comparison, and its standard error.

    ``logs``: a row for each comparison, a column for each block, finite. ``rounds``: of each block, the boot or
    deployment it was taken in. ``grains``: of each comparison, as in ``stats.Series``. Raises ValueError for fewer than
    two blocks.
    """
    if logs.shape[1] < 2:
        raise ValueError("one block has no error")
    numbers, counts = np.unique(rounds, return_counts=True)
    if len(numbers) < 2:
        return _of_blocks(logs, grains)
    centres = np.stack([_hodges_lehmann(logs[:, rounds == number]) for number in numbers])
    least = grains * (1 / counts).sum() ** 0.5 / len(numbers)
    return centres.mean(axis=0), np.maximum(centres.std(axis=0, ddof=1) / len(numbers) ** 0.5, least)


def _of_blocks(logs: Numbers, grains: Numbers) -> tuple[Numbers, Numbers]:
    """Of one round: the mean without the cut ends, the error from the values with these moved to what is left."""
    count = logs.shape[1]
    low, high = left_out(count), count - left_out(count)
    ranked = np.sort(logs, axis=1)
    kept = ranked[:, low:high]
    moved = np.clip(ranked, kept[:, :1], kept[:, -1:])
    share = kept.shape[1] / count
    return kept.mean(axis=1), np.maximum(moved.std(axis=1, ddof=1) / share, grains) / count**0.5


def _hodges_lehmann(logs: Numbers) -> Numbers:
    """Of each row, the median of the means of all pairs of values, and of the values."""
    first, second = np.triu_indices(logs.shape[1])
    middle: Numbers = np.median((logs[:, first] + logs[:, second]) / 2, axis=1)
    return middle
