"""Whether a driver queues requests: what is concluded from what the program saw."""

from __future__ import annotations

import pytest

from harness.run import operations, qualifying


@pytest.mark.parametrize(
    ("under_way", "sleeps", "text"),
    [
        (1, 1.0, "cbc-x was never seen with a second request under way"),
        (53, 0.0, "cbc-x calls itself asynchronous, but answered before it returned (0 sleeps a request)"),
        (2, 0.0004, "answered before it returned (0.0004 sleeps a request)"),
        (2, 0.14, None),
        (64, 1.3, None),
    ],
)
def test_threads_that_never_slept_queued_nothing(under_way: int, sleeps: float, text: str | None) -> None:
    reason = operations.not_queued({"driver": "cbc-x", "under_way": under_way, "sleeps_per_operation": sleeps})
    assert (reason is None) == (text is None)
    assert (text or "") in (reason or "")


@pytest.mark.parametrize(
    ("under_way", "later", "text"),
    [
        (1, 1.0, "cbc-x was never seen with a second request under way"),
        (16, 0.0, "answered before it returned (0 later answers a request)"),
        (0, 0.0, "answered before it returned (0 later answers a request)"),
        (16, 0.97, None),
    ],
)
def test_dev_crypto_counts_the_answers_that_came_later(under_way: int, later: float, text: str | None) -> None:
    """However often who waits for them sleeps: without threads it may find one answer after the other."""
    told = {"driver": "cbc-x", "under_way": under_way, "sleeps_per_operation": 0.0, "later_per_operation": later}
    reason = operations.not_queued(told)
    assert (reason is None) == (text is None)
    assert (text or "") in (reason or "")


def test_a_synchronous_driver_is_named() -> None:
    assert qualifying.synchronous("ecb-cipher_null").startswith("ecb-cipher_null is not asynchronous")
