"""Many comparisons at once have the means that each has alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.verdicts import stats
from reports.means import means


@given(
    grain=st.sampled_from([0.0, 0.01, 1.0, 100.0]),
    logs=st.lists(st.lists(st.floats(-3, 3), min_size=40, max_size=40), min_size=1, max_size=4),
    blocks=st.sampled_from([[3], [14], [15], [40], [1, 2], [3] * 5, [20, 1, 4]]),
)
def test_many_comparisons_at_once_have_the_means_that_each_has_alone(
    logs: list[list[float]], blocks: list[int], grain: float
) -> None:
    rounds = [number for number, count in enumerate(blocks) for _ in range(count)]
    rows = np.array(logs)[:, : len(rounds)]
    grains = np.array([grain * n for n in range(1, len(rows) + 1)])
    centres, errors = means(rows, np.array(rounds), grains)
    for row, own, centre, error in zip(rows.tolist(), grains, centres, errors, strict=True):
        alone = stats.mean(stats.Series(tuple(row), grain=own, rounds=tuple(rounds)))
        assert (centre, error) == pytest.approx((alone.mean, alone.error), rel=1e-9, abs=1e-12)


def test_the_mean_of_one_block_has_no_error() -> None:
    with pytest.raises(ValueError, match="one block"):
        means(np.zeros((2, 1)), np.zeros(1, dtype=np.int64), np.zeros(2))
