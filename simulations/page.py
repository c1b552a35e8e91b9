"""How heavy a run's page is, and how soon a reader can use it: figures of docs/history.md.

``python -m simulations.page DIR`` makes a record of 10,000 samples in DIR, builds its page and opens it in Chromium, as
a file, several times with nothing cached. No number in the record was measured.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

from reports.site import build as site
from simulations import nights

CELLS, SAMPLES, TIMES = 200, 50, 7


def measure(browser: Browser, page: Path) -> dict[str, float]:
    """Seconds from asking for a page until it was parsed, until all that can be pressed does something, and until the
    first figure of a part that is opened at once is drawn; then how long a click on a heading takes to sort the longest
    table."""
    tab = browser.new_page(viewport={"width": 1400, "height": 900})
    tab.goto(page.resolve().as_uri(), wait_until="commit")
    tab.wait_for_selector("html[data-reached]", state="attached")
    tab.evaluate("document.querySelector('[data-figure]').closest('details').open = true")
    tab.locator("[data-figure]").first.scroll_into_view_if_needed()
    tab.wait_for_selector("html[data-reached=drawn]", state="attached", timeout=60_000)
    marks: dict[str, float] = tab.evaluate(
        "Object.fromEntries(performance.getEntriesByType('mark').reverse().map(mark => [mark.name, mark.startTime]))"
    )
    timing: dict[str, Any] = tab.evaluate("performance.getEntriesByType('navigation')[0].toJSON()")
    click = "() => { const t = performance.now(); document.querySelectorAll('#sample-table thead button')[4].click(); "
    sorting: float = tab.evaluate(click + "return performance.now() - t; }")
    tab.close()
    seen = {
        "parsed": timing["domInteractive"],
        "usable": marks["usable"],
        "first figure drawn": marks["drawn"],
        "a sort": sorting,
    }
    return {name: value / 1000 for name, value in seen.items()}


def main() -> None:
    """Make the record, build its page, print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    results = parser.parse_args().directory
    if results.exists() and any(results.iterdir()):
        sys.exit(f"{results} is not empty")
    nights.write(results, 1, CELLS, SAMPLES)
    started = time.monotonic()
    site.build_site(results)
    (page,) = (results / "site").glob("2*/index.html")
    print(f"built in {time.monotonic() - started:.1f} s; {page.stat().st_size / 1000:.0f} kB without what pages share")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        seen = [measure(browser, page) for _ in range(TIMES)]
        browser.close()
    for name in seen[0]:
        values = [one[name] for one in seen]
        print(f"{name}: median {statistics.median(values):.2f} s, slowest {max(values):.2f} s")


if __name__ == "__main__":
    main()
