"""The page of a fleet's night in a real browser, from file://, with no network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import reports
from harness.night import Attempt, Entry
from suites.fleet import rules
from tests.browser.conftest import HOSTILE
from tests.support.nights import PROFILE, made, spread

playwright = pytest.importorskip("playwright.sync_api")

from playwright.sync_api import Page, expect  # noqa: E402


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two nights, the second one of seven testbeds, one of which could not be reached."""
    folder = tmp_path_factory.mktemp("results")
    made(folder, 1, spread(1))
    gone = Entry(testbed="bed-6", profile=PROFILE, minutes=30)
    rules.note(gone, 0, Attempt(outcome="unreachable", reason=HOSTILE, home=True))
    made(folder, 2, spread(6), gone)
    yield reports.night_page(folder, None)


def test_who_was_not_there_reads_the_night(page: Page, night: Path) -> None:
    page.goto(night.parents[1].joinpath("index.html").as_uri())
    page.get_by_role("heading", name="Nights of a fleet").locator("+ ul").get_by_role("link").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("6 of 7 runs on 7 testbeds complete")
    board = page.locator("table.board")
    expect(board.locator("tbody tr")).to_have_count(7)
    expect(board.get_by_text("unreachable")).to_have_count(1)
    assert page.evaluate("window.hacked") is None
    page.get_by_role("button", name="Testbed").first.click()
    expect(page.get_by_role("heading", name="What failed, and why")).to_be_visible()


def test_the_figure_has_a_row_for_each_testbed(page: Page, night: Path) -> None:
    page.goto(night.as_uri())
    page.locator("#across").scroll_into_view_if_needed()
    ticks = page.locator("#across-1 .ytick text")
    expect(ticks).to_have_count(6)
    expect(ticks.first).to_contain_text("bed-5")
    first = page.locator("table.board tbody a").first
    first.click()
    expect(page.locator("h1")).to_be_visible()
