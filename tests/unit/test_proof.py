"""What an untimed look at a path's system calls proves, and that a part of the proof that is missing is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness import records
from harness.api.path import Deployed, Witness
from harness.cli import summary
from harness.measuring import crossings, looking
from hosts.onhost.agent.values import SystemCalls
from reports import export
from reports.site import pages
from tests.support.record_maker import make_run


def deployed(**more: Any) -> Deployed:
    return Deployed(url=str, log="", server=0, verify=lambda _seen: Witness({}), **more)


SENDFILE = deployed(calls=frozenset({"sendfile"}), crossing_limit=16384)


@pytest.mark.parametrize(
    ("calls", "read", "written", "moved", "said"),
    [
        (("sendfile", "read", "writev"), 500, 900, 10_000, None),
        (("sendfile",), 8192, 8192, 10_000, None),
        (("read", "write"), 500, 900, 0, "made no sendfile call"),
        (("sendfile", "pread64"), 500_000, 500, 10_000, "took 500500 bytes through user space"),
        (("sendfile",), 8192, 8193, 10_000, "took 16385 bytes through user space"),
        (("sendfile", "read", "write"), 6000, 6500, 5000, "sent 5000 bytes on within the kernel, not the 10000"),
    ],
)
def test_a_path_must_make_its_calls_and_no_others(
    calls: tuple[str, ...], read: int, written: int, moved: int, said: str | None
) -> None:
    seen = SystemCalls(dict.fromkeys(calls, 1), read_bytes=read, written_bytes=written, moved_bytes=moved, uncounted=[])
    found = crossings.another_path(SENDFILE, seen, 10_000)
    assert found is None if said is None else str(found).startswith(said)
    assert crossings.another_path(deployed(), seen, 10_000) is None, "where nothing is due, nothing is missing"
    hidden = replace(seen, uncounted=["io_uring_enter"])
    assert crossings.another_path(SENDFILE, hidden, 10_000), "may have carried the payload"
    assert crossings.another_path(deployed(), hidden, 10_000) is None


@pytest.mark.parametrize(
    ("before", "after", "seen"),
    [
        ("X", "X", "X"),
        ("X", "Y", "X, then Y"),
        ("X", None, "X, then none"),
        (None, "X", "none, then X"),
        (None, None, None),
    ],
)
def test_what_is_no_number_is_told_as_it_was_and_became(
    before: str | None, after: str | None, seen: str | None
) -> None:
    assert looking.seen({"sa": before}, {"sa": after}) == {"sa": seen}


def test_what_is_missing_of_a_proof_is_in_the_terminal_the_page_and_the_export(tmp_path: Path) -> None:
    missing = "its sendfile calls were not seen: strace is <not> installed"
    run = records.read(make_run(tmp_path))
    cells = [cell for cell in run.head.cells if cell.path == "http" and cell.outcome == "measured"]
    assert len(cells) > 1
    for cell in cells:
        cell.unproven = missing
    other = next(cell for cell in run.head.cells if cell.path == "ipsec")
    other.outcome, other.reason, other.unproven = "failed", "no route", "nobody looked"
    told = summary.lines(run.head, run.samples)
    assert told[-2:] == [f"not wholly proven: {missing}", "  " + ", ".join(cell.id for cell in cells)]
    page = pages.render(run).html
    assert page.count("Not wholly proven: its sendfile calls were not seen: strace is &lt;not&gt; installed.") == len(
        cells
    )
    assert "nobody looked" not in page, "what was not measured proves nothing anyway"
    table = export.frames(run)["cells"].set_index("cell")["unproven"]
    assert dict(table[table != ""]) == {cell.id: missing for cell in cells} | {other.id: "nobody looked"}
