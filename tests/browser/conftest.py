"""Debian's Chromium for all files, and a fresh profile for each test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
HOSTILE = "</script><script>window.hacked=1</script><img src=x onerror=window.hacked=1>\"'`${1}%{x}"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium."""
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=20_000)  # a busy machine is no defect of the pages
    chromium = shutil.which("chromium")
    if chromium is None:
        reason = "no Chromium here: apt-get install -y --no-install-recommends chromium"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as started:
        one = started.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield one
        one.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A fresh profile; any console message, page error or request over a network fails the test."""
    with browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light") as one:
        wrong: list[str] = []
        one.on("console", lambda message: wrong.append(f"{message.type}: {message.text}"))
        one.on("weberror", lambda error: wrong.append(str(error.error)))
        one.on("request", lambda r: None if r.url.startswith(("file:", "data:", "blob:")) else wrong.append(r.url))
        one.set_default_timeout(20_000)
        yield one
        assert wrong == []


@pytest.fixture
def page(context: BrowserContext) -> Page:
    """A page of the context."""
    return context.new_page()
