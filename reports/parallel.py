"""The same done to many things, in a process for each processor."""

from __future__ import annotations

import gc
import importlib
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")
_work: list[tuple[Callable[[Any], Any], Sequence[Any]]] = []
"""What processes that are forked now are for: to send it to them would take longer than many an item."""


def each(task: Callable[[Item], Made], items: Sequence[Item], needs: str | None = None) -> Iterator[Made]:
    """What ``task`` makes of each item, in their order. What it raises is raised here.

    A few items are done here: processes would take longer to start. Others are forked, so they have what is loaded,
    the task and the items among it; ``needs``: a module that takes long to load, and that is so before they part.
    """
    processors = len(os.sched_getaffinity(0))
    if processors == 1 or len(items) < 2 * processors:
        yield from map(task, items)
        return
    if needs:
        importlib.import_module(needs)
    # what is loaded stays: looking through it for garbage would copy it into every process
    with ProcessPoolExecutor(processors, multiprocessing.get_context("fork"), gc.freeze) as pool:
        _work[:] = [(task, items)]
        yield from pool.map(_made, range(len(items)))


def _made(place: int) -> Any:
    """In a process of the pool: one item."""
    [(task, items)] = _work
    return task(items[place])
