"""The small scripts of every page, in a real browser; and the page without them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from playwright.sync_api import Browser, Page, expect

from app.web.templating import STATIC_FOLDER, make_environment
from tests.support.browser import chromium
from tests.support.serving import free_port, served

pytestmark = pytest.mark.browser

POLICY = {"Content-Security-Policy": "default-src 'self'; form-action 'self'"}
PAGE = """
{% extends "base.html" %}
{% from "macros/forms.html" import csrf_field, file_drop, submit %}
{% from "macros/ui.html" import stitch_progress, copy_box %}
{% block main %}
<form id="form" method="post" action="/sent">{{ csrf_field() }}{{ submit("Send") }}</form>
{{ file_drop("Drop a file", "file") }}
{{ copy_box("tailor up", "the command") }}
<div id="upload">{{ stitch_progress(0, 1, "Upload", sentence="It takes a minute.") }}</div>
{% endblock %}
"""
SIGN_IN_PAGE = '<link rel="icon" href="data:,"><h1>Sign in</h1>'
SIGNED_IN = {"name": "Ada", "email": "ada@example.org", "is_admin": False}


WAITING_PAGE = """
{% extends "base.html" %}
{% block main %}<div data-import="/import">Reading your file</div>{% endblock %}
{% block scripts %}<script type="module" src="{{ static('js/import.js') }}"></script>{% endblock %}
"""


class Site:
    def __init__(self) -> None:
        self.posts = 0
        self.waiting_page_visits = 0
        self.app = FastAPI()
        self.app.mount("/static", StaticFiles(directory=STATIC_FOLDER))
        self.app.add_api_route("/", self.page)
        self.app.add_api_route("/waiting", self.waiting)
        self.app.add_api_route("/import", lambda: RedirectResponse("/login", 303))
        self.app.add_api_route("/login", lambda: HTMLResponse(SIGN_IN_PAGE))
        self.app.add_api_route("/sent", self.sent, methods=["POST"], status_code=204)

    async def page(self) -> HTMLResponse:
        template = make_environment().from_string(PAGE)
        values = {"current_user": SIGNED_IN, "flashes": [("notice", "Saved.")]}
        return HTMLResponse(template.render(values), headers=POLICY)

    async def waiting(self) -> Response:
        """Where an upload is waited for; its reader is signed out after the first visit."""
        self.waiting_page_visits += 1
        if self.waiting_page_visits > 1:
            return RedirectResponse("/login", 303)
        template = make_environment().from_string(WAITING_PAGE)
        return HTMLResponse(template.render({}), headers=POLICY)

    async def sent(self) -> None:
        self.posts += 1


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def page(browser: Browser, site: Site) -> Iterator[Page]:
    complaints: list[str] = []
    with served(site.app, free_port()) as address:
        page = browser.new_page(color_scheme="light")
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(address)
        yield page
        page.close()
    assert complaints == []


def test_the_chosen_theme_is_kept_and_the_systems_theme_comes_back(page: Page) -> None:
    root = page.locator("html")
    toggle = page.get_by_label("Switch between light and dark")
    toggle.click()
    expect(root).to_have_attribute("data-theme", "dark")
    expect(root).to_have_css("color-scheme", "dark")
    page.reload()
    expect(root).to_have_attribute("data-theme", "dark")
    toggle.click()
    expect(root).not_to_have_attribute("data-theme", "dark")
    assert page.evaluate("localStorage.length") == 0


def test_the_menu_closes_by_escape_and_gives_the_focus_back(page: Page) -> None:
    account = page.locator("summary", has_text="Account")
    account.click()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Sign out")).to_be_hidden()
    expect(account).to_be_focused()


def test_a_message_can_be_closed(page: Page) -> None:
    page.get_by_label("Close this message").click()
    expect(page.get_by_text("Saved.")).to_have_count(0)


def test_a_form_is_sent_once(page: Page, site: Site) -> None:
    with page.expect_response("**/sent"):
        page.evaluate("for (const n of [1, 2, 3]) document.querySelector('#form').requestSubmit()")
    assert site.posts == 1


def test_the_chosen_file_is_named(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "letters.csv"
    file.write_text("question,answer\n")
    page.get_by_label("Drop a file").set_input_files(file)
    expect(page.locator("[data-file-names]")).to_have_text("letters.csv")


def test_a_script_can_move_the_seam(page: Page) -> None:
    page.evaluate(
        """async () => {
          const { setProgress } = await import("/static/js/progress.js");
          const upload = document.querySelector("#upload .progress");
          setProgress(upload, 0.4, { sentence: "It takes half of it." });
        }"""
    )
    expect(page.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "40")
    expect(page.locator("#upload .stitches__done")).to_have_attribute("width", "40.00%")
    expect(page.locator("#upload")).to_contain_text("It takes half of it.")


def test_the_sentence_under_a_seam_can_be_heard(page: Page) -> None:
    sentence = page.get_by_text("It takes a minute.")
    expect(sentence).to_be_visible()
    # Whatever stands inside a progressbar is drawn, and not read.
    expect(page.get_by_role("progressbar", name="Upload")).to_have_count(1)
    expect(page.get_by_role("progressbar").filter(has=sentence)).to_have_count(0)


def test_the_sign_in_page_is_never_put_into_a_page_that_waits(page: Page) -> None:
    page.goto(page.url + "waiting")
    page.wait_for_url("**/login")
    expect(page.get_by_role("heading")).to_have_text("Sign in")


def test_without_scripts_nothing_is_offered_that_needs_them(browser: Browser, site: Site) -> None:
    context = browser.new_context(java_script_enabled=False)
    with served(site.app, free_port()) as address:
        page = context.new_page()
        page.goto(address)
        expect(page.get_by_label("Switch between light and dark")).to_be_hidden()
        expect(page.get_by_text("Copy", exact=True)).to_be_hidden()
        page.locator("summary", has_text="Account").click()
        expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    context.close()
