"""A run's first screen, its contents and its folded parts in a real browser, from file://, with no network."""

from __future__ import annotations

from pathlib import Path

import pytest

import reports
from tests.support import real
from tests.support.record_maker import kernel_crypto_part, make_run, question_run, small_parts

playwright = pytest.importorskip("playwright.sync_api")

from playwright.sync_api import Browser, Page, expect  # noqa: E402

WIDE, PHONE = (1280, 900), (390, 844)
RATIO = "p2-schemes-3des-ratio"
DEEP = "#at=" + RATIO


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site with a run that has a question, a real one of all suites, and one without prices; its folder."""
    results = tmp_path_factory.mktemp("results")
    question_run(results)
    real.written(results).rename(results / "real")
    make_run(results, run_id="older", parts=[*small_parts(requests=100), kernel_crypto_part()])
    return reports.build_site(results).parent


def visit(page: Page, built: Path, name: str, after: str = "") -> None:
    """Open a run's page and wait until all that can be pressed does something."""
    page.goto((built / name / "index.html").as_uri() + after)
    page.wait_for_selector("html[data-reached]", state="attached")


def bottom(page: Page, what: str) -> float:
    """Where an element ends, in pixels from the top of the page."""
    return float(page.locator(what).first.evaluate("e => e.getBoundingClientRect().bottom + scrollY"))


def folded(page: Page, key: str) -> bool:
    """Whether a part is folded."""
    return not page.locator(f"#{key}").evaluate("e => e.closest('details').open")


@pytest.mark.parametrize("name", ["question", "real", "older"])
def test_answer_and_pictures_are_on_the_first_screen(page: Page, built: Path, name: str) -> None:
    visit(page, built, name)
    assert len(page.locator("h1").inner_text().split()) <= 30
    assert bottom(page, "h1") < bottom(page, ".measured .strip") < WIDE[1]
    assert bottom(page, ".why") < WIDE[1] and bottom(page, ".emulated-note") < WIDE[1]
    expect(page.locator(".front .emulated-note").first).to_contain_text("Emulated")
    page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
    assert bottom(page, ".measured .strip") < PHONE[1]


@pytest.mark.parametrize("name", ["question", "real", "older"])
@pytest.mark.parametrize("size", [WIDE, PHONE])
def test_the_folded_page_is_six_screens_long(page: Page, built: Path, name: str, size: tuple[int, int]) -> None:
    page.set_viewport_size({"width": size[0], "height": size[1]})
    visit(page, built, name)
    assert page.locator("details[open] > summary h2").count() == 0
    height, width = page.evaluate("[document.documentElement.scrollHeight, document.documentElement.scrollWidth]")
    assert width <= size[0]
    assert height <= 6 * size[1]


def test_a_picture_has_a_row_for_each_comparison_and_the_papers_lines(page: Page, built: Path) -> None:
    visit(page, built, "question")
    rows = page.locator(".measured .strip-row")
    assert rows.count() == 6
    expect(rows.locator("rect.predicted")).to_have_count(6)
    expect(rows.first.locator("line.paper, line.paper-time")).to_have_count(2)
    expect(page.locator(".gain .here-place")).to_contain_text("this run: ×")
    expect(page.locator(".gain .paper-place")).to_be_visible()
    assert page.locator(".gain polyline.paper").count() == 1
    expect(page.locator(".why figcaption")).to_contain_text("plain sendfile")


def test_a_record_without_prices_says_so_instead_of_a_map(page: Page, built: Path) -> None:
    visit(page, built, "older")
    expect(page.locator(".why")).to_contain_text("holds no prices")
    assert page.locator(".gain").count() == 0


def test_the_contents_stay_and_open_what_they_lead_to(page: Page, built: Path) -> None:
    visit(page, built, "question")
    links = page.locator(".contents a")
    assert links.count() == page.locator(".part").count()
    page.mouse.wheel(0, 1500)
    page.wait_for_function("() => scrollY > 500")
    expect(links.first).to_be_in_viewport()
    page.locator(".contents a", has_text="Cells").click()
    expect(page.locator("[data-filter=cell-table]")).to_be_visible()
    expect(page.locator("#cells-title")).to_be_in_viewport()
    expect(page.locator(".contents a[aria-current]")).to_have_text("Cells")
    page.fill("[data-filter=cell-table]", "so-crypt")
    page.locator(".contents a", has_text="Hosts").click()
    expect(page.locator("[data-count=cell-table]")).to_contain_text(" of ")  # what was chosen is kept
    page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
    page.locator("#notes-title").scroll_into_view_if_needed()
    expect(page.locator(".contents")).to_be_in_viewport()


def test_figures_are_drawn_when_their_part_is_opened_and_fit(page: Page, built: Path) -> None:
    visit(page, built, "question")
    key = RATIO.removesuffix("-ratio")
    assert folded(page, key)
    assert page.locator(".main-svg").count() == 0
    summary = page.locator(f"#{key}-title")
    summary.click()
    for figure in page.locator(f"#{key} [data-figure]").all():
        figure.scroll_into_view_if_needed()
        expect(figure.locator(".main-svg").first).to_be_visible()
    summary.click()
    page.set_viewport_size({"width": 900, "height": 900})
    page.locator("#theme").click()
    summary.click()
    place = page.locator(f"[data-figure={RATIO}]")
    place.scroll_into_view_if_needed()
    page.wait_for_function(
        "id => { const p = document.querySelector(`[data-figure=${id}]`), s = p.querySelector('.main-svg');"
        " return Math.abs(s.getBoundingClientRect().width - p.getBoundingClientRect().width) < 2; }",
        arg=RATIO,
    )


def test_an_address_opens_what_it_names(page: Page, built: Path) -> None:
    visit(page, built, "question", DEEP)
    expect(page.locator(f"#{RATIO}")).to_be_in_viewport()
    page.goto("about:blank")
    visit(page, built, "question", "#prices")
    expect(page.locator("#prices table")).to_be_in_viewport()


def test_without_scripts_parts_open_and_the_front_is_whole(browser: Browser, built: Path) -> None:
    with browser.new_context(java_script_enabled=False, viewport={"width": 1280, "height": 900}) as one:
        page = one.new_page()
        page.goto((built / "question" / "index.html").as_uri())
        expect(page.locator(".measured .strip-row").first).to_be_visible()
        expect(page.locator(".gain .here")).to_be_visible()
        expect(page.locator("#verdicts table")).to_be_hidden()
        page.locator(".contents a", has_text="Verdicts").click()
        expect(page.locator("#verdicts table")).to_be_visible()
        page.locator("#link-title").click()
        expect(page.locator("#link table")).to_be_visible()


def test_printing_unfolds_all_and_folds_it_again(page: Page, built: Path) -> None:
    visit(page, built, "question")
    page.locator("#hosts-title").click()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator(".part > details:not([open])").count() == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator(".part > details[open]").count() == 1
    assert not folded(page, "hosts")
