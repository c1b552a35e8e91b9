"""The same done to many things in several processes."""

from __future__ import annotations

import os

import pytest

from reports import parallel


def halved(number: int) -> tuple[int, int]:
    """Half of an even number, and who found it."""
    if number % 2:
        raise ValueError(f"{number} is odd")
    return number // 2, os.getpid()


def test_things_come_in_their_order_from_other_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    made = list(parallel.each(halved, range(0, 40, 2)))
    assert [half for half, _ in made] == list(range(20))
    assert os.getpid() not in {who for _, who in made}


def test_a_few_are_done_here() -> None:
    assert list(parallel.each(halved, [4])) == [(2, os.getpid())]
    assert list(parallel.each(halved, [])) == []


def test_what_a_process_raises_is_raised_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    with pytest.raises(ValueError, match="7 is odd"):
        list(parallel.each(halved, [2, 4, 6, 7, 8, 10]))
