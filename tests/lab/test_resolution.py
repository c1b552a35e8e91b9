"""A dearer twin on the lab: it costs what was asked for, and the harness says so."""

from __future__ import annotations

import argparse
import statistics

from harness.events import Events
from hosts.lab.uml import UmlLab
from simulations import minutes, resolution
from tests.support.lab import unchanged


def test_a_twin_is_dearer_by_the_share_that_was_planted(lab: UmlLab) -> None:
    """By far more than any noise of a machine that tests share."""
    asked = argparse.Namespace(
        path="afalg-copy", per_mille=1000, cipher="3des", size="1MB", rounds=2, seconds=3.0, file=None
    )
    with unchanged(lab.testbed):
        minute = minutes.measure(lab.testbed, asked, "dearer", Events())
    blocks = [block for blocks in minute.rounds for block in blocks]
    assert len(minute.rounds) == 2 and len(blocks) >= minutes.FEWEST
    assert 0.5 < resolution.planted([minute]) < 1.5, "of what the client waited for else"
    for place, metric in enumerate(("time", "CPU")):
        ratio = statistics.median((block[2 + place] or 0) / (block[place] or 1) for block in blocks)
        assert 1.4 < ratio < 2.8, f"{metric}: {ratio}"
