"""Many comparisons at once have the means that each has alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.verdicts import stats
from reports.means import means


@given(
    logs=st.lists(st.lists(st.floats(-3, 3), min_size=40, max_size=40), min_size=1, max_size=4),
    blocks=st.sampled_from([[3], [14], [15], [40], [1, 2], [3] * 5, [20, 1, 4]]),
)
def test_many_comparisons_at_once_have_the_means_that_each_has_alone(
    logs: list[list[float]], blocks: list[int]
) -> None:
    rounds = [number for number, count in enumerate(blocks) for _ in range(count)]
    rows = np.array(logs)[:, : len(rounds)]
    centres, errors = means(rows, np.array(rounds))
    for row, centre, error in zip(rows.tolist(), centres, errors, strict=True):
        alone = stats.mean(stats.Series(tuple(row), rounds=tuple(rounds)))
        assert (centre, error) == pytest.approx((alone.mean, alone.error), rel=1e-9, abs=1e-12)


def test_the_mean_of_one_block_has_no_error() -> None:
    with pytest.raises(ValueError, match="one block"):
        means(np.zeros((2, 1)), np.zeros(1, dtype=np.int64))
