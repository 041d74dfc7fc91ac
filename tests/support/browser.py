"""A real Chromium, driven by Playwright."""

import atexit
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from playwright.sync_api import Browser, Playwright, sync_playwright

# Chromium asks its maker's hosts for many things that no test needs and no test machine reaches.
_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Yield a headless browser."""
    browser = _playwright().chromium.launch(
        executable_path=os.environ.get("TAILOR_TEST_CHROMIUM") or "/usr/bin/chromium",
        args=list(_FLAGS),
    )
    try:
        yield browser
    finally:
        browser.close()


@cache
def _playwright() -> Playwright:
    """The one driver of this process: a second beside it would refuse to start.

    It keeps an event loop in the main thread, so tests run their own with
    tests.support.asynchronous.run_in_thread, in a thread beside it.
    """
    playwright = sync_playwright().start()
    atexit.register(playwright.stop)
    return playwright
