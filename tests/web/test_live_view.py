"""A view that follows the server, in a real browser: nothing is lost while it changes."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, Response, StreamingResponse
from fastapi.staticfiles import StaticFiles
from playwright.sync_api import Browser, Page, expect

from app.web.templating import STATIC_FOLDER, make_environment
from tests.support.browser import chromium
from tests.support.serving import free_port, served

pytestmark = pytest.mark.browser

VIEW = """
<p id="step" data-page-title="Step {step} · Tailor">Step {step}</p>
<details id="fold"><summary>More</summary><p>Inside {step}</p></details>
<form><input id="answer" aria-label="Answer" value=""></form>
"""
PAGE = """
{% extends "base.html" %}
{% from "macros/ui.html" import live_region %}
{% block main %}{% call live_region("run", "/events") %}VIEW{% endcall %}{% endblock %}
{% block scripts %}<script type="module" src="{{ static('js/live.js') }}"></script>{% endblock %}
"""

OVER_PAGE = """
{% extends "base.html" %}
{% block main %}<div id="run">VIEW</div>{% endblock %}
"""
# A browser without a window hides no page, so the page is told that it did.
SHOW = """(state) => {
  Object.defineProperty(document, "visibilityState", { configurable: true, value: state });
  document.dispatchEvent(new Event("visibilitychange"));
}"""


class Follower:
    """The served page and its events, as the test wants them."""

    def __init__(self) -> None:
        self.step = 0
        self.ends = False
        self.is_over = False
        self.signs_out = False
        self.page_visits = 0
        self.last_event_ids: list[str] = []
        self.app = FastAPI()
        self.app.mount("/static", StaticFiles(directory=STATIC_FOLDER))
        self.app.add_api_route("/", self.page)
        self.app.add_api_route("/finished", self.finished)
        self.app.add_api_route("/events", self.events)

    async def page(self) -> HTMLResponse:
        if self.signs_out:
            return HTMLResponse("<h1>Sign in</h1>")
        self.page_visits += 1
        source = OVER_PAGE if self.is_over else PAGE
        source = source.replace("VIEW", VIEW.format(step=self.step))
        return HTMLResponse(make_environment().from_string(source).render())

    async def finished(self) -> HTMLResponse:
        return HTMLResponse("<h1>Finished</h1>")

    async def events(self, request: Request) -> Response:
        if self.signs_out:
            return Response(status_code=401)
        self.last_event_ids.append(request.query_params.get("last_event_id", ""))
        return StreamingResponse(self.stream(), media_type="text/event-stream")

    async def stream(self) -> AsyncIterator[str]:
        shown = -1
        while not self.ends:
            if self.signs_out:
                return
            if self.step != shown:
                shown = self.step
                lines = VIEW.format(step=shown).strip().splitlines()
                data = "".join(f"data: {line}\n" for line in lines)
                yield f"id: {shown}\nevent: view\n{data}\n"
            await asyncio.sleep(0.02)
        yield "event: end\ndata: /finished\n\n"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page()
    yield page
    page.close()


def test_what_the_reader_opened_and_typed_stays(page: Page) -> None:
    follower = Follower()
    with served(follower.app, free_port()) as address:
        page.goto(address)
        page.get_by_text("More").click()
        page.get_by_label("Answer").press_sequentially("half a sen")
        follower.step = 7
        expect(page.locator("#step")).to_have_text("Step 7")
        expect(page.get_by_text("Inside 7")).to_be_visible()
        expect(page.get_by_label("Answer")).to_have_value("half a sen")
        expect(page.get_by_label("Answer")).to_be_focused()


def test_a_lost_connection_is_said_and_taken_up_again(page: Page) -> None:
    follower = Follower()
    port = free_port()
    state = page.locator("[data-live-state]")
    with served(follower.app, port) as address:
        page.goto(address)
        follower.step = 1
        expect(page.locator("#step")).to_have_text("Step 1")
        expect(state).to_be_empty()
    expect(state).to_have_text("Connection lost, trying again…")
    follower.step = 2
    with served(follower.app, port):
        expect(page.locator("#step")).to_have_text("Step 2", timeout=20_000)
        expect(state).to_be_empty()
    assert follower.last_event_ids[-1] == "1"


def test_a_lost_server_is_asked_again_every_four_seconds_at_the_latest(page: Page) -> None:
    follower = Follower()
    state = page.locator("[data-live-state]")
    page.clock.install(time=0)
    with served(follower.app, free_port()) as address:
        page.goto(address)
        expect(page.locator("#step")).to_have_text("Step 0")
        # From here on nothing is asked before the test lets time pass.
        page.clock.pause_at(3_600)
    for _ in range(8):
        # Said anew after each try that was in vain.
        expect(state).not_to_be_empty()
        state.evaluate("said => { said.textContent = ''; }")
        with page.expect_request("**/events*"):
            page.clock.run_for(4_000)


def test_the_tab_says_how_far_it_is(page: Page) -> None:
    follower = Follower()
    with served(follower.app, free_port()) as address:
        page.goto(address)
        follower.step = 3
        expect(page).to_have_title("Step 3 · Tailor")


def test_the_tab_of_a_page_in_the_background_says_how_far_it_is(page: Page) -> None:
    follower = Follower()
    page.clock.install()
    with served(follower.app, free_port()) as address:
        page.goto(address)
        expect(page).to_have_title("Step 0 · Tailor")
        page.evaluate(SHOW, "hidden")
        follower.step = 4
        page.clock.fast_forward(60_000)
        expect(page).to_have_title("Step 4 · Tailor")
        expect(page.locator("#step")).to_have_text("Step 0")  # Nobody looks at the page itself.
        follower.step, follower.is_over = 9, True
        page.clock.fast_forward(60_000)
        expect(page).to_have_title("Step 9 · Tailor")
        asked = follower.page_visits
        page.clock.fast_forward(600_000)
        page.evaluate(SHOW, "visible")
        expect(page.locator("#step")).to_have_text("Step 9")
        assert follower.page_visits == asked, "it is over, so nobody asks any more"


def test_who_was_signed_out_is_told_so(page: Page) -> None:
    follower = Follower()
    with served(follower.app, free_port()) as address:
        page.goto(address)
        expect(page.locator("#step")).to_have_text("Step 0")
        follower.signs_out = True
        expect(page.get_by_role("heading")).to_have_text("Sign in")


def test_the_end_leads_on(page: Page) -> None:
    follower = Follower()
    with served(follower.app, free_port()) as address:
        page.goto(address)
        expect(page.locator("#step")).to_have_text("Step 0")
        follower.ends = True
        expect(page.get_by_role("heading")).to_have_text("Finished")
