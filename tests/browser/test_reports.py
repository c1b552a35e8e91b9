"""The pages in a real browser, from file://, with no network."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest

import reports
from tests.browser.conftest import HOSTILE
from tests.support import real, record_maker
from tests.support.record_maker import (
    MB,
    crossings,
    kernel_crypto_part,
    make_run,
    small_parts,
    suite,
)
from tests.unit.test_reports_kernels import NO_PAGES, NO_SOURCE, not_had, two

playwright = pytest.importorskip("playwright.sync_api")

from playwright.sync_api import Browser, BrowserContext, Page, expect  # noqa: E402

GOODPUT = "p2-schemes-3des-goodput"
SAMPLES = "#sample-table"
SMALL = "p1-small-files-new-aes128gcm"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site with a real, a good, an interrupted and a damaged record; its folder."""
    results = tmp_path_factory.mktemp("results")
    real.written(results).rename(results / "real")
    make_run(results, seed=1, run_id="good", outcomes=record_maker.unsupported_https())
    make_run(results, seed=2, run_id="broken-off", status="interrupted", blocks=2, kind="hosts", profile="other")
    make_run(results, seed=3, run_id="damaged")
    counted = suite("counted", None, None, "afalg-copy")
    counted.crossings = crossings()
    parts = [*small_parts(requests=100), kernel_crypto_part(), (counted, [], kernel_crypto_part()[2])]
    make_run(results, seed=4, run_id="lines", suites=[], parts=parts, profile="lines")
    (results / "damaged" / "run.json").write_text("{")
    return reports.build_site(results).parent


@pytest.fixture
def good(page: Page, built: Path) -> Page:
    """The page of the good record, all unfolded."""
    visit(page, built / "good" / "index.html")
    unfold(page)
    return page


@pytest.fixture
def lines(page: Page, built: Path) -> Page:
    """The page of a record of kernel cryptography, small files and crossings, all unfolded."""
    visit(page, built / "lines" / "index.html")
    unfold(page)
    return page


def visit(page: Page, path: Path | str) -> None:
    """Open a page and wait until what its scripts need is unpacked."""
    page.goto(path if isinstance(path, str) else path.as_uri())
    if page.locator("#report-data").count():
        page.wait_for_selector("html[data-reached]", state="attached")


def unfold(page: Page) -> None:
    """Open every part of a page."""
    page.evaluate("document.querySelectorAll('.part > details').forEach(part => { part.open = true; })")


def drawn(page: Page, figure: str) -> None:
    """Scroll to a figure and wait until it is drawn."""
    page.locator(f"#{figure}").scroll_into_view_if_needed()
    expect(page.locator(f"#{figure} .main-svg").first).to_be_visible()


def saved(page: Page, button: str) -> str:
    """What a button downloads."""
    with page.expect_download() as download:
        page.locator(button).click()
    return Path(download.value.path()).read_bytes().decode()


def column(page: Page, table: str, number: int) -> list[str]:
    """The texts of a column of the rows shown."""
    return page.locator(f"{table} tbody tr:visible td:nth-child({number})").all_text_contents()


def test_every_figure_is_drawn(good: Page) -> None:
    figures = [place.get_attribute("data-figure") or "" for place in good.locator("[data-figure]").all()]
    assert len(figures) == 9
    for figure in figures:
        drawn(good, figure)
    assert good.locator(f"#{GOODPUT} .bars .point").count() == 15
    assert good.locator(f"#{GOODPUT} .scatterlayer .point").count() == 15 * 6, "every sample that counts, no warm-up"
    expect(good.locator("#p1-large-files-3des-goodput .annotation-text", has_text="unsupported")).to_have_count(3)


def test_every_figure_of_a_real_run_is_drawn(page: Page, built: Path) -> None:
    visit(page, built / "real" / "index.html")
    unfold(page)
    figures = page.locator("[data-figure]").all()
    assert len(figures) > 8
    for figure in figures:
        figure.scroll_into_view_if_needed()
        expect(figure.locator(".main-svg").first).to_be_visible()
    expect(page.locator("[id$='-large-files-3des-goodput'] .annotation-text", has_text="unsupported")).to_have_count(4)


def test_the_headline_comes_first(good: Page) -> None:
    expect(good.locator("h1")).to_contain_text("Emulated: SO_CRYPT is faster than the traditional scheme")
    expect(good.locator("main")).to_contain_text("Emulated:")


def test_hover_tells_the_sample(good: Page) -> None:
    drawn(good, GOODPUT)
    good.locator(f"#{GOODPUT} .scatterlayer .point").first.hover(force=True)
    expect(good.locator(f"#{GOODPUT} .hoverlayer")).to_contain_text("block")


def test_tables_sort_and_filter_and_download_what_they_show(good: Page) -> None:
    table = "table[data-table=verdict-table]"
    good.fill("[data-filter=verdict-table]", "so-crypt 3des time")
    expect(good.locator("[data-count=verdict-table]")).to_have_text("6 of 54 verdicts")
    good.get_by_role("button", name="Ratio", exact=True).click()
    ratios = [float(text) for text in column(good, table, 4)]
    assert ratios == sorted(ratios)
    good.get_by_role("button", name="Ratio", exact=True).click()
    assert [float(text) for text in column(good, table, 4)] == ratios[::-1]
    rows = list(csv.DictReader(saved(good, "[data-csv=verdict-table]").splitlines()))
    assert [f"{float(row['Ratio']):.2f}" for row in rows] == [f"{ratio:.2f}" for ratio in ratios[::-1]]


def test_samples_filter_sort_page_and_download(good: Page) -> None:
    expect(good.locator("#sample-count")).to_have_text("252 samples")
    assert "warm-up" in column(good, SAMPLES, 4)
    good.locator("#sample-on").click()
    expect(good.locator("#sample-page")).to_have_text("101–200 of 252")
    good.select_option("#sample-kind", "0")
    good.select_option("#sample-cell", "schemes/so-crypt/3des/any/100MB")
    expect(good.locator("#sample-count")).to_have_text("6 of 252 samples")
    good.locator(f"{SAMPLES} thead button", has_text="Time").click()
    times = [float(text) for text in column(good, SAMPLES, 5)]
    assert times == sorted(times) and len(times) == 6
    rows = list(csv.DictReader(saved(good, "#sample-csv").splitlines()))
    assert [float(row["seconds"]) for row in rows] == pytest.approx(times, rel=1e-3)
    assert {row["kind"] for row in rows} == {"counted"}


def test_figure_data_is_the_data_shown(good: Page) -> None:
    rows = list(csv.DictReader(saved(good, f"[data-csv={GOODPUT}-data]").splitlines()))
    drawn(good, GOODPUT)
    heights = good.evaluate(
        "id => document.querySelector(`[data-figure=${id}]`).data.filter(t => t.type == 'bar').flatMap(t => t.y)",
        GOODPUT,
    )
    assert [float(row["mean (Mbit/s)"]) for row in rows] == pytest.approx(heights, rel=1e-5)
    picture = saved(good, f"[data-image={GOODPUT}]")
    assert picture.startswith("<svg") and "Goodput" in picture


def test_the_csv_beside_the_page_has_all_samples(built: Path) -> None:
    with (built / "good" / "samples.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 252


def test_the_address_restores_the_view(good: Page, context: BrowserContext) -> None:
    good.fill("[data-filter=verdict-table]", "splice")
    good.select_option("#sample-kind", "1")
    good.get_by_role("button", name="Ratio", exact=True).click()
    good.locator(f"#{GOODPUT} .legend button", has_text="plain").click()
    good.locator("#theme").click()
    link = good.locator(f"[data-link={GOODPUT}]").evaluate("link => link.href")
    other = context.new_page()
    visit(other, link)
    expect(other.locator(f"#{GOODPUT}")).to_be_in_viewport()
    unfold(other)
    expect(other.locator("[data-filter=verdict-table]")).to_have_value("splice")
    expect(other.locator("#sample-kind")).to_have_value("1")
    expect(other.locator("th[aria-sort=ascending]").first).to_have_text("Ratio")
    expect(other.locator(f"#{GOODPUT} .legend button", has_text="plain")).to_have_attribute("aria-pressed", "false")
    drawn(other, GOODPUT)
    assert other.locator(f"#{GOODPUT} .bars .point").count() == 12
    assert other.evaluate("document.documentElement.dataset.theme") == "dark"


def test_light_and_dark(browser: Browser, built: Path) -> None:
    shades = {}
    for scheme in ("light", "dark"):
        with browser.new_context(color_scheme="dark" if scheme == "dark" else "light") as one:
            page = one.new_page()
            visit(page, built / "good" / "index.html")
            shade = "getComputedStyle(document.body).backgroundColor"
            shades[scheme] = page.evaluate(shade)
            page.locator("#theme").click()
            visit(page, built / "broken-off" / "index.html")
            shades[f"{scheme}, switched"] = page.evaluate(shade)
    assert shades["light"] == shades["dark, switched"] != shades["dark"] == shades["light, switched"]


@pytest.mark.parametrize(
    "name", ["index.html", "real/index.html", "good/index.html", "broken-off/index.html", "lines/index.html"]
)
def test_no_page_scrolls_sideways(page: Page, built: Path, name: str) -> None:
    """Drawn for a phone, then widened, then narrowed again."""
    widths = (360, 390, 768, 1280, 768, 390, 360)
    page.set_viewport_size({"width": widths[0], "height": 800})
    visit(page, built / name)
    unfold(page)
    for place in page.locator("[data-figure]").all():
        place.scroll_into_view_if_needed()
        expect(place.locator(".main-svg").first).to_be_visible()
    for width in widths:
        page.set_viewport_size({"width": width, "height": 800})
        page.wait_for_function("width => document.documentElement.scrollWidth <= width", arg=width)


def test_the_index_lists_filters_and_leads_on(page: Page, built: Path) -> None:
    visit(page, built / "index.html")
    table = "table[data-table=runs]"
    assert page.locator(f"{table} tbody tr").count() == 5
    expect(page.locator(f"{table} tbody")).to_contain_text("Cannot be read")
    page.fill("[data-filter=runs]", "interrupted other")
    assert page.locator(f"{table} tbody tr:visible").count() == 1
    page.locator(f"{table} tbody tr:visible a").click()
    expect(page.locator(".banner")).to_contain_text("interrupted")


def test_one_run_is_not_one_runs(page: Page, tmp_path: Path) -> None:
    make_run(tmp_path, blocks=2, sizes=[MB])
    visit(page, reports.build_site(tmp_path))
    expect(page.locator("[data-count=runs]")).to_have_text("1 run")


def test_the_keyboard_is_enough(good: Page) -> None:
    drawn(good, GOODPUT)
    button = good.locator(f"#{GOODPUT} .legend button").first
    button.focus()
    good.keyboard.press("Enter")
    expect(button).to_have_attribute("aria-pressed", "false")
    head = good.locator("table[data-table=cell-table] thead button").first
    head.focus()
    good.keyboard.press("Space")
    expect(good.locator("table[data-table=cell-table] th").first).to_have_attribute("aria-sort", "ascending")


def test_printing_draws_all_in_light(good: Page) -> None:
    good.locator("#theme").click()
    good.set_viewport_size({"width": 720, "height": 1000})  # A4 within its margins
    drawn(good, GOODPUT)
    good.emulate_media(media="print")
    good.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert good.evaluate("document.documentElement.scrollWidth") <= 720
    assert good.evaluate("document.documentElement.dataset.theme") == "light"
    assert good.evaluate("[...document.querySelectorAll('[data-figure]')].every(p => p.querySelector('.main-svg'))")
    good.evaluate("dispatchEvent(new Event('afterprint'))")
    assert good.evaluate("document.documentElement.dataset.theme") == "dark"
    assert len(good.pdf()) > 10_000


def test_small_charts_are_drawn_and_share_their_legend(lines: Page) -> None:
    figure = lines.locator("#raw1-throughput")
    drawn(lines, "raw1-throughput")
    expect(figure.locator(".main-svg").first).to_be_visible()
    for place in figure.locator(".plot").all():
        place.scroll_into_view_if_needed()
        expect(place.locator(".main-svg").first).to_be_visible()
    shown = figure.locator(".scatterlayer .trace")
    before = shown.count()
    assert before == 3 + 4 + 4 + 6 + 4, "null with the paper, the others before the null cipher and with OpenSSL"
    button = figure.locator(".legend button", has_text="decrypt")
    button.focus()
    lines.keyboard.press("Enter")
    expect(button).to_have_attribute("aria-pressed", "false")
    expect(shown).to_have_count(before - 6)
    lines.reload()
    unfold(lines)
    drawn(lines, "raw1-throughput")
    expect(figure.locator(".legend button", has_text="decrypt")).to_have_attribute("aria-pressed", "false")


def test_hover_tells_the_driver_and_both_rates(lines: Page) -> None:
    drawn(lines, "raw1-throughput")
    lines.locator("#raw1-throughput .plot").first.locator(".scatterlayer .point").nth(3).hover(force=True)
    told = lines.locator("#raw1-throughput .hoverlayer").first
    for said in ("Null cipher", "null-generic", "Mbit/s", "operations/s"):
        expect(told).to_contain_text(said)


def test_line_figures_download_their_data_and_their_picture(lines: Page) -> None:
    drawn(lines, "raw1-operations")
    for figure in ("raw1-throughput", "raw1-operations"):
        rows = list(csv.DictReader(saved(lines, f"#{figure} [data-csv]").splitlines()))
        assert len(rows) == 2 * 6 * 8 + 4 * 4, "ciphers and drivers both ways, OpenSSL at every second size"
    first = next(row for row in rows if row["cipher"] == "3DES" and row["buffer (B)"] == "1024")
    per_second = float(first["operations/s"])
    assert float(first["Mbit/s"]) == pytest.approx(per_second * 1024 * 8 / 1e6, rel=1e-4)
    picture = saved(lines, "[data-image=raw1-operations]")
    assert picture.startswith("<svg") and picture.count("Operations (per second)") == 5 and "AES-128-GCM" in picture
    assert lines.evaluate(
        "text => new DOMParser().parseFromString(text, 'image/svg+xml').querySelector('parsererror') === null", picture
    )


def test_costs_sort_and_download_with_their_limits(lines: Page) -> None:
    table = lines.locator("table[data-table=raw1-costs]")
    table.get_by_role("button", name="Per byte (ns)").click()
    cost = "[...document.querySelectorAll('[data-table=raw1-costs] tbody tr')].map(r => Number(r.cells[3].dataset.v))"
    assert lines.evaluate(cost) == sorted(lines.evaluate(cost))
    expect(table).to_contain_text("paper 2005")
    rows = list(csv.DictReader(saved(lines, "[data-csv=raw1-costs]").splitlines()))
    one = next(row for row in rows if row["Cipher"] == "3des" and row["Operation"] == "encrypt")
    assert float(one["Per byte low"]) < float(one["Per byte (ns)"]) < float(one["Per byte high"])
    assert table.locator("th:visible").count() < len(rows[0]), "limits are in the download only"
    lines.set_viewport_size({"width": 390, "height": 800})
    assert table.locator("th:visible").count() < len(rows[0])


def test_small_files_are_drawn_and_listed(lines: Page) -> None:
    for end in ("request", "ratio", "distribution"):
        drawn(lines, f"{SMALL}-{end}")
    assert lines.locator(f"#{SMALL}-request .scatterlayer .point").count() == 2 * 3 * 3
    lines.locator(f"#{SMALL}-request .legend button", has_text="ipsec").click()
    expect(lines.locator(f"#{SMALL}-request .scatterlayer .point")).to_have_count(2 * 2 * 3)
    rows = list(csv.DictReader(saved(lines, f"[data-csv={SMALL}-percentiles]").splitlines()))
    assert len(rows) == 9 and all(float(row["p50 (ms)"]) < float(row["p99 (ms)"]) for row in rows)
    assert {row["Connection"] for row in rows} == {"new connections", "resumed sessions", "one kept connection"}
    shares = list(csv.DictReader(saved(lines, f"[data-csv={SMALL}-distribution-data]").splitlines()))
    assert float(shares[0]["share (%)"]) == 0 and float(shares[-1]["share (%)"]) == 100


def test_calls_by_name_open(lines: Page) -> None:
    details = lines.locator("#crossings details")
    details.locator("summary").focus()
    lines.keyboard.press("Enter")
    expect(details.locator("table")).to_contain_text("sendmsg")


def test_lines_print_in_light_with_every_chart(lines: Page) -> None:
    drawn(lines, f"{SMALL}-request")
    lines.set_viewport_size({"width": 720, "height": 1000})
    lines.emulate_media(media="print")
    lines.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert lines.evaluate("[...document.querySelectorAll('[data-figure]')].every(p => p.querySelector('.main-svg'))")
    for _ in range(50):  # figures follow the window a moment later
        if lines.evaluate("document.documentElement.scrollWidth") <= 720:
            break
        lines.wait_for_timeout(100)
    assert lines.evaluate("document.documentElement.scrollWidth") <= 720


def test_a_page_without_its_assets_says_so(browser: Browser, built: Path, tmp_path: Path) -> None:
    shutil.copytree(built / "good", tmp_path / "good")
    (tmp_path / "assets").mkdir()
    for name in ("view.js", "data.js", "samples.js", "tables.js", "figures.js", "report.css"):
        shutil.copyfile(built / "assets" / name, tmp_path / "assets" / name)
    with browser.new_context() as one:
        page = one.new_page()
        visit(page, tmp_path / "good" / "index.html")
        unfold(page)
        expect(page.locator(".plot").first).to_contain_text("no figure can be drawn")


def test_a_hostile_record_is_inert(page: Page, tmp_path: Path) -> None:
    chosen = [(suite(HOSTILE, 7, 10**9, "afalg-copy"), ("afalg-copy", "so-crypt", HOSTILE), HOSTILE)]
    cell = f"{HOSTILE}/{HOSTILE}/{HOSTILE}/any/1MB"
    make_run(
        tmp_path, run_id="hostile", suites=chosen, sizes=[MB, 10 * MB], outcomes={cell: ("failed", HOSTILE * 100)},
        profile=HOSTILE, status="failed", reason=HOSTILE * 3, extra_facts={HOSTILE: {HOSTILE: [HOSTILE]}},
        notes=[HOSTILE],
    )  # fmt: skip
    index = reports.build_site(tmp_path)
    page.set_viewport_size({"width": 360, "height": 800})
    for name in (index, index.parent / "hostile" / "index.html"):
        visit(page, name)
        unfold(page)
        for place in page.locator("[data-figure]").all():
            place.scroll_into_view_if_needed()
            expect(place.locator(".main-svg").first).to_be_visible()
        assert page.evaluate("window.hacked === undefined")
        assert page.locator("img").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
    expect(page.locator("main")).to_contain_text("onerror=window.hacked")


def test_kernels_side_by_side(page: Page, tmp_path: Path) -> None:
    lacks = {f"schemes/afalg-splice/3des/any/{size}MB": ("unsupported", NO_PAGES) for size in (1, 100)}
    place, figure = two(tmp_path, outcomes=lacks), "k1-schemes-3des-ratio"
    visit(page, tmp_path / "site" / "index.html")
    page.locator("ul.kernels a").click()
    expect(page.locator("h1")).to_contain_text("From 6.1 to 6.12, SO_CRYPT")
    for width in (360, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        drawn(page, figure)
        drawn(page, "k2-schemes-null-null-ratio")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    expect(page.locator(f"#{figure} .annotation-text", has_text="unsupported")).to_have_count(2)
    expect(page.locator(f"#{figure} .absent")).to_contain_text(NO_PAGES)
    marks = page.locator(f"#{figure} .scatterlayer .point")
    shown = marks.count()
    button = page.locator(f"#{figure} .legend button", has_text="CPU")
    button.focus()
    page.keyboard.press("Enter")
    expect(button).to_have_attribute("aria-pressed", "false")
    assert marks.count() < shown
    page.locator("table.kernels thead button").nth(1).press("Space")
    expect(page.locator("table.kernels th").nth(1)).to_have_attribute("aria-sort", "ascending")
    page.locator("#theme").click()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 720, "height": 1000})  # A4 within its margins
    for _ in range(50):  # figures follow the window a moment later
        if page.evaluate("document.documentElement.scrollWidth") <= 720:
            break
        page.wait_for_timeout(100)
    assert page.evaluate("document.documentElement.scrollWidth") <= 720
    assert place.as_uri() in page.url
    page.locator("table[data-table=run-table] a").first.click()
    expect(page.locator("#prices-title")).to_be_visible()


def test_a_kernel_whose_run_failed_is_a_row_and_a_column(page: Page, tmp_path: Path) -> None:
    not_had(tmp_path)
    visit(page, two(tmp_path))
    run = page.locator("table[data-table=run-table] tbody tr", has_text="lab-7-2")
    expect(run).to_contain_text(f"failed: {NO_SOURCE}")
    expect(page.locator("table[data-table=became-table] thead th")).to_have_text(
        ["Path", "Suite", "6.1", "6.12", "lab-7-2", "Where it ended, and why"]
    )
    expect(page.locator("table[data-table=became-table] tbody tr").first.locator("td").nth(4)).to_have_text("failed")
    page.set_viewport_size({"width": 360, "height": 800})
    drawn(page, "k1-schemes-3des-ratio")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    run.locator("a").click()
    expect(page.locator("main")).to_contain_text(NO_SOURCE)


def test_ten_thousand_samples_are_quick(page: Page, tmp_path: Path) -> None:
    make_run(tmp_path, run_id="big", blocks=42, per_block=6)
    visit(page, (reports.build_site(tmp_path).parent / "big" / "index.html"))
    unfold(page)
    took = page.evaluate("performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd")
    assert page.evaluate("document.querySelectorAll('script[src*=plotly][defer]').length") == 0, "nothing waits for it"
    sort = "() => { const t = performance.now(); document.querySelectorAll('#sample-table thead button')[4].click(); "
    assert page.evaluate(sort + "return performance.now() - t; }") < 1000
    assert took < 10_000, "far above what it takes on a quiet machine"
    drawn(page, GOODPUT)
