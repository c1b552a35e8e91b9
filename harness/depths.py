"""Pure: whether a driver queues requests, so that a depth above 1 measures something else than a depth of 1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hosts.errors import HarnessError

TRIAL = 4
"""The depth of the trial before anything is sampled."""
MIN_SLEEPS = 0.01
"""Sleeps of a request's thread: seen were 0 where drivers answer before they return, 0.1 to 1 where they queue."""


class NothingQueued(HarnessError):  # noqa: N818 - says what was found
    """Several requests were handed over at once, and the driver answered each before it returned."""


def synchronous(driver: str) -> str:
    """Why depths of a driver that /proc/crypto does not call asynchronous are not measured."""
    return (
        f"{driver} is not asynchronous: it answers each request before it returns, so nothing is ever queued and this "
        "depth is no other measurement"
    )


def not_queued(told: Mapping[str, Any]) -> str | None:
    """Why what ``datapath raw`` says of a depth above 1 shows no requests that the driver had together; or None.

    A driver may call itself asynchronous and yet answer before it returns (AES-NI, wherever it may use the vector
    registers). Threads then share the processors between them, but none of them ever sleeps for its answer.
    """
    driver, sleeps = told["driver"], told["sleeps_per_operation"]
    if told["under_way"] < 2:
        return f"{driver} was never seen with a second request under way, so this depth is no other measurement"
    if sleeps < MIN_SLEEPS:
        return (
            f"{driver} calls itself asynchronous, but answered before it returned ({sleeps:.2g} sleeps a request), "
            "so nothing was queued and this depth is no other measurement"
        )
    return None
