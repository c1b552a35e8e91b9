"""What else happened, on a run's page: by suite and size, and beside the verdicts."""

from __future__ import annotations

import html
from pathlib import Path

import pytest

from harness import records
from harness.blocks import BlockFacts, HostBlock
from harness.verdicts import disturbed as verdicts_disturbed
from reports.drawing import disturbed
from reports.site import pages
from tests.support.record_maker import make_run, suite

SECOND = 10**9


def facts(block: int, cells: list[str], kept: float, window: float = 2.0, mark: bool | None = True) -> BlockFacts:
    sender = HostBlock(steal_ns=0, run_delay_ns=round(kept * SECOND), others_ns=SECOND // 2)
    return BlockFacts(
        cells=cells, block=block, warmup=block == 0, window_seconds=window, sender=sender, disturbed=mark,
        receiver=HostBlock(steal_ns=SECOND // 100, softirq_ns=SECOND // 50),
    )  # fmt: skip


def test_a_row_for_each_suite_and_size_without_warm_ups() -> None:
    small, large = ["s/a/3des/any/1MB", "s/b/3des/any/1MB"], ["s/a/3des/any/10MB"]
    blocks = [facts(0, small, 2.0), facts(1, small, 0.0, mark=False), facts(2, small, 0.4), facts(1, large, 0.2)]
    (table,) = disturbed.tables(blocks)
    rows = [dict(zip(table.columns, (value.raw for value in row), strict=True)) for row in table.rows]
    assert [(row["Size"], row["Blocks"], row["Disturbed"]) for row in rows] == [("1MB", 2, 1), ("10MB", 1, 1)]
    assert rows[0]["Kept off, median %"] == pytest.approx((0.5 + 20) / 2)
    assert rows[0]["Kept off, most %"] == pytest.approx(20)
    assert rows[0]["Run-queue delay %"] == pytest.approx(10)
    assert (rows[0]["Steal %"], rows[0]["Others %"], rows[0]["Softirqs %"]) == pytest.approx((0.5, 25, 1))
    assert rows[0]["Throttled %"] is None


def test_nothing_is_shown_where_nothing_is_known() -> None:
    assert disturbed.tables([]) == []
    assert disturbed.tables([facts(1, ["s/a/3des/any/1MB"], 0.0, mark=None)]) == []


def test_the_number_stands_beside_the_verdict(tmp_path: Path) -> None:
    path = make_run(tmp_path, suites=[(suite("schemes", 7, 10**9, "afalg-copy"), ("afalg-copy", "so-crypt"), "3des")])
    run = records.read(path)
    assert "disturbed" not in pages.render(run).html, "an older record says nothing of it"
    blocks = sorted({block for of in run.counted().values() for block in of})
    run.blocks = [facts(block, sorted(run.head.measured), 1.0, mark=block == blocks[0]) for block in blocks]
    run.head.verdicts = verdicts_disturbed.told(run.head.verdicts, run.samples, run.blocks)
    assert {verdict.disturbed for verdict in run.head.verdicts} == {1}
    page = pages.render(run).html
    assert page.count("<small>1 disturbed</small>") == len(run.head.verdicts)
    assert "What else happened on the machines" in page


def test_rounds_and_what_lies_between_them_stand_beside_the_verdict(tmp_path: Path) -> None:
    run = records.read(make_run(tmp_path))
    assert " between</small>" not in pages.render(run).html, "a run of one round knows nothing of it"
    run.head.verdicts[0].rounds, run.head.verdicts[0].between = 15, 0.25
    page = pages.render(run).html
    assert page.count("<small>15 rounds</small><small>25 % between</small>") == 1


def test_what_part_of_the_time_was_transfers_stands_at_the_suite(tmp_path: Path) -> None:
    run = records.read(make_run(tmp_path))
    assert "Of the time of its blocks" not in pages.render(run).html, "an older record does not say"
    schemes = next(entry for entry in run.head.suites if entry.name == "schemes")
    schemes.transfer_share = {"1MB": 0.641, "100MB": 0.79}
    page = html.unescape(pages.render(run).html).replace("\N{NO-BREAK SPACE}", " ")
    assert page.count("Of the time of its blocks, transfers took 64 % at 1 MB and 79 % at 100 MB;") == 1
