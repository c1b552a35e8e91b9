"""Over what links transfers went, on a run's page and in its exports."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness import records
from harness.record import Run
from reports import export
from reports.findings import links
from reports.findings.links import Group
from reports.site import pages
from tests.support.record_maker import make_run, suite

LINK: dict[str, bool | int | str] = {"mtu": 1500, "congestion_control": "cubic", "tcp-segmentation-offload": True}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """All cells of it went over the same link."""
    paths = ("afalg-copy", "so-crypt", "plain")
    run = records.read(make_run(tmp_path, suites=[(suite("schemes", 7, 10**9, "afalg-copy"), paths, "3des")]))
    for cell in run.head.cells:
        cell.links = {"sender": dict(LINK), "receiver": dict(LINK) | {"mtu": 9000}}
    return run


def only(run: Run, path: str, **more: bool | int | str) -> None:
    """The cells of a path had this otherwise, on both hosts."""
    for cell in run.head.cells:
        if cell.path == path:
            cell.links = {role: link | more for role, link in cell.links.items()}


def test_all_alike(run: Run) -> None:
    found = links.of_run(run.head)
    assert (found.cells, found.differing, found.groups) == (len(run.head.cells), 0, ())
    assert found.alike[0] == {"mtu": "1500", "congestion_control": "cubic", "tcp-segmentation-offload": "yes"}
    assert found.alike[1]["mtu"] == "9000"
    page = pages.render(run).html
    assert f"The settings of its interfaces were the same for all {found.cells} cells." in page
    assert "tcp-segmentation-offload" in page and "links-differ" not in page


def test_what_some_cells_had_otherwise(run: Run) -> None:
    only(run, "so-crypt", mtu=1280)
    found = links.of_run(run.head)
    assert found.differing == 2
    assert found.groups == (
        Group("schemes: afalg-copy, plain", "mtu 1500 on the sender; mtu 9000 on the receiver"),
        Group("schemes: so-crypt", "mtu 1280"),
    )
    assert "mtu" not in found.alike[0] | found.alike[1]
    page = pages.render(run).html
    assert f"2 settings of its interfaces were not the same for all {found.cells} cells." in page
    assert "links-differ" in page and "mtu 9000 on the receiver" in page


def test_what_one_cell_does_not_tell_differs_in_nothing(run: Run) -> None:
    run.head.cells[0].links = {"sender": {"mtu": 1500}}
    run.head.cells[1].links = {}
    found = links.of_run(run.head)
    assert (found.cells, found.groups) == (len(run.head.cells) - 1, ())


def test_an_older_record_tells_nothing(run: Run) -> None:
    for cell in run.head.cells:
        cell.links = {}
    assert links.of_run(run.head).cells == 0
    assert "interfaces" not in pages.render(run).html.partition('id="link-title"')[2].partition("</details>")[0]


def test_exports_have_them_by_cell(run: Run) -> None:
    run.head.cells[0].links = {}
    cells = export.frames(run)["cells"]
    assert next(iter(cells["sender_link"])) == ""
    assert [json.loads(text) for text in cells["receiver_link"][1:]] == [LINK | {"mtu": 9000}] * (len(cells) - 1)
