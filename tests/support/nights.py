"""Nights of a fleet made of the small real record, for tests of their page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from harness import night as nights
from harness import records
from harness.night import Attempt, Entry, Night
from harness.record import Run
from suites.fleet import rules
from tests.support import real
from tests.support.real import Edit

PROFILE = "gigabit-3des"
FIRST = records.read_head(real.DATA).started


def on(testbed: str, number: int, processor: str, kernel: str) -> Edit:
    """The same run on another testbed, of hosts. The higher its number, the cheaper is all but the cipher."""

    def edit(run: Run) -> None:
        head = run.head
        head.run_id = f"{head.started:%Y%m%d-%H%M%S}-{PROFILE}-{testbed}-{number:04x}"
        head.testbed = head.testbed.model_copy(
            update={"name": testbed, "kind": "hosts", "label": "hosts", "machine": {}}
        )
        for host in head.hosts.values():
            host.update(processor=processor, kernel=kernel)
        for suite in head.suites:
            for name in suite.prices:
                if name.rpartition("_")[0].rpartition("_")[0] not in suite.ciphering:
                    suite.prices[name] /= 1 + number

    return edit


def made(
    results: Path, day: int, beds: Mapping[str, Mapping[str, float]], *more: Entry, finished: bool = True
) -> Night:
    """A night ``day`` days later: a run on each of ``beds``, whose value says how many times as long paths take.

    ``more``: entries without a run.
    """
    entries = []
    for number, (bed, factors) in enumerate(beds.items()):
        edits = [real.night(day), real.boots, *(real.times(path, factor) for path, factor in factors.items())]
        path = real.written(results, *edits, on(bed, number, f"Processor {number % 2}", f"6.{12 + number % 2}.1"))
        one = Entry(testbed=bed, profile=PROFILE, labels=["xeon"], minutes=30)
        rules.note(one, 0, Attempt(outcome="complete", run_id=path.name, sha256="0" * 64, home=True))
        entries.append(one)
    began = FIRST + timedelta(days=day)
    night = rules.new("two-sites", 8, [], began)
    night.entries = [*entries, *more]
    night.finished = began + timedelta(hours=3) if finished else None
    nights.write(results / nights.FOLDER / night.night, night)
    return night


def spread(count: int) -> dict[str, dict[str, float]]:
    """Testbeds whose baseline is slower from one to the next."""
    return {f"bed-{n}": {"afalg-copy": math.exp(0.1 * n)} for n in range(count)}
