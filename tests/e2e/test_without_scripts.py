"""Every form works before, and without, its scripts."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.support.house import House
from tests.support.maker import PATIENCE_MS, TRAINING_MS
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(900),
]

_PASTED = "\n".join(
    f"What is number {number}?\tAhoy, number {number} is in drawer {number}."
    for number in range(24)
)


def test_the_way_without_scripts(embedded: House) -> None:
    with embedded.maker(java_script_enabled=False, storage_state=None) as maker:
        maker.sign_in()
        project = maker.new_project("Drawers")
        page = maker.page
        page.get_by_text("Paste them instead").click()
        page.get_by_role("textbox", name="Your examples").fill(_PASTED)
        maker.press("Go on")
        _wait_for(page, "Is this right?")
        maker.press("Import")
        _wait_for(page, "What became of your file")
        maker.go(f"{project}/base-model")
        maker.press("Use this one")
        maker.start_training(project)
        expect(page.locator("#run h2").first).to_be_visible()
        _wait_for(page, "Finished", TRAINING_MS)
        maker.follow("Try it")
        page.locator("textarea[name=question]").fill("What is number 3?")
        maker.press("Ask")
        page.wait_for_url("**/chat/*", timeout=60_000)
        _wait_for_text(page, ".answer--base [data-answer-text]")
        _wait_for_text(page, ".answer--tuned [data-answer-text]")


def _wait_for(page: Page, heading: str, timeout_ms: int = 120_000) -> None:
    """Look at the page until it says this; it asks the browser itself to load it again."""
    expect(page.get_by_role("heading", name=heading).first).to_be_visible(timeout=timeout_ms)


def _wait_for_text(page: Page, selector: str) -> None:
    place = page.locator(selector).last
    wait_until(
        lambda: re.search(r"\w", place.inner_text(timeout=PATIENCE_MS) if place.count() else ""),
        timeout=120,
        what=f"words in {selector}",
    )
