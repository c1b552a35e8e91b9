"""Trends, comparisons and short pages in a real browser, from file://, with no network."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import reports
from harness import records
from reports.site import build as site
from simulations import nights as maker
from tests.browser.conftest import HOSTILE

playwright = pytest.importorskip("playwright.sync_api")

from playwright.sync_api import Page, expect  # noqa: E402


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Thirty nights with a gap, a change, and a hostile kernel; the older pages are short."""
    folder = tmp_path_factory.mktemp("results")
    rng = np.random.default_rng(1)
    wanted = maker.cells(10)
    for night in range(30):
        if night != 11:
            slower = {"so-crypt": 1.08} if night >= 24 else None
            maker.write_night(folder, night, rng, wanted=wanted, samples=12, boots=6, factors=slower)
    newest = records.list_runs(folder)[-1]
    content = json.loads((newest / "run.json").read_text())
    content["hosts"]["sender"]["kernel"] = HOSTILE
    content["profile"]["name"] = content["testbed"]["name"] = "made-up"
    (newest / "run.json").write_text(json.dumps(content))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(site, "LONG_BYTES", 0)
        reports.build_site(folder)
        yield folder


def open_(page: Page, results: Path, name: str) -> None:
    page.goto((results / "site" / name / "index.html").as_uri())


def test_trends_are_drawn_filtered_and_sorted(page: Page, results: Path) -> None:
    page.goto((results / "site" / "index.html").as_uri())
    page.get_by_role("link", name="Trends").click()
    groups = page.locator('table[data-table="groups"]')
    expect(groups.locator("tbody tr")).to_have_count(2)
    expect(groups).to_contain_text("▼ 4")
    groups.get_by_role("link", name="made-up on lab").click()
    table = page.locator("table.trends").first
    rows = table.locator("tbody tr")
    expect(rows).to_have_count(16)
    box = table.locator("svg").first.bounding_box()
    assert box and box["width"] > 100 and box["height"] > 30
    assert table.locator("svg path.worse").count() >= 2
    page.locator("[data-filter]").first.fill("so-crypt/ time")
    expect(table.locator("tbody tr:visible")).to_have_count(2)
    table.get_by_role("button", name="Changes").click()
    expect(page.get_by_text("2 of 16 ratios")).to_be_visible()


def test_two_runs_side_by_side(page: Page, results: Path) -> None:
    runs = records.list_runs(results)
    path = reports.compare_page(results, runs[0], runs[-1])
    page.goto(path.as_uri())
    expect(page.get_by_role("heading", level=1)).to_contain_text("worse")
    expect(page.locator("#differences")).to_be_visible()
    assert page.evaluate("window.hacked") is None
    page.get_by_role("link", name="UTC").first.click()
    expect(page.get_by_text("This is the short page of an older run.")).to_be_visible()
    expect(page.locator("tbody tr:visible").first).to_be_visible()


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_runs_off_the_page(page: Page, results: Path, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    runs = records.list_runs(results)
    of_lab = next((results / "site").glob("trends-*")).name
    for name in ("trends", of_lab, runs[0].name, reports.compare_page(results, runs[0], runs[-1]).parent.name):
        open_(page, results, name)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
