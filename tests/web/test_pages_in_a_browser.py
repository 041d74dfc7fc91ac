"""The application's own pages in a real browser: what a hasty hand does to them."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Route, expect
from sqlalchemy import func, select
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.projects.tables import Project
from app.runs.holding import claim_next_run
from app.runs.repository import lock
from app.runs.status import RunStatus
from app.runs.tables import Run
from tests.support import databases
from tests.support.browser import chromium
from tests.support.chat import add_version_row
from tests.support.runs import RECIPE_OF_NOTHING, get_run
from tests.support.serving import free_port, served
from tests.support.web import OWNER, Web, running_web

pytestmark = pytest.mark.browser

RUN_ID = "a" * 16
LATE_SECONDS = 0.5


def late(app: ASGIApp) -> ASGIApp:
    """The same on a busy machine: what is sent is done at once, and answered a moment later."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_late(message: Message) -> None:
            if scope.get("method") == "POST" and message["type"] == "http.response.start":
                await asyncio.sleep(LATE_SECONDS)
            await send(message)

        await app(scope, receive, send_late)

    return answer


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@dataclass
class Desk:
    """The owner of a sample project, signed in at a browser."""

    web: Web
    page: Page
    address: str
    project_id: str

    def go(self, path: str) -> None:
        self.page.goto(f"{self.address}/projects/{self.project_id}{path}")

    def press(self, words: str) -> None:
        self.page.get_by_role("button", name=words, exact=True).click()

    def learn(self, run_id: str, step: int) -> None:
        """Let the training have made so many steps."""
        with self.web.transaction() as session:
            run = lock(session, run_id)
            assert run is not None
            run.status, run.step, run.total_steps = RunStatus.TRAINING, step, 40
            run.event_count += 1


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, browser: Browser) -> Iterator[Desk]:
    url, port = databases.create_migrated("sqlite", tmp_path), free_port()
    context = browser.new_context()
    with running_web(url, tmp_path / "data", monkeypatch, port=str(port)) as web:
        owner = web.client_for(OWNER)
        for cookie in owner.cookies.jar:
            value = str(cookie.value)
            context.add_cookies(
                [{"name": cookie.name, "value": value, "domain": "127.0.0.1", "path": "/"}]
            )
        made = owner.submit("/projects/samples/brand_voice").headers["location"]
        with served(late(web.app), port) as address:
            yield Desk(web, context.new_page(), address, made.split("/")[2])
            context.close()


def test_a_double_click_starts_one_training(desk: Desk) -> None:
    desk.go("/training")
    desk.page.get_by_role("button", name="Start training").dblclick(delay=50)
    desk.page.wait_for_url("**/runs/*")
    with desk.web.transaction() as session:
        assert session.scalar(select(func.count()).select_from(Run)) == 1


def test_stopping_asks_first_once_it_has_learned_something(desk: Desk) -> None:
    desk.go("/training")
    desk.press("Start training")
    desk.page.wait_for_url("**/runs/*")
    run_id = urlsplit(desk.page.url).path.rpartition("/")[2]
    expect(desk.page.get_by_role("button", name="Stop the training")).to_be_visible()
    with desk.web.transaction() as session:
        assert claim_next_run(session) is not None
    desk.learn(run_id, 12)
    desk.page.locator("summary", has_text="Stop the training").click()
    expect(desk.page.get_by_text("choose “Finish now and keep the best” instead")).to_be_visible()
    desk.learn(run_id, 13)
    expect(desk.page.get_by_text("13 of 40 steps")).to_be_visible()
    assert get_run(desk.web.engine, run_id).status == RunStatus.TRAINING
    desk.press("Stop without a version")
    expect(desk.page.get_by_text("The training was stopped.")).to_be_visible()
    assert get_run(desk.web.engine, run_id).status == RunStatus.CANCELLED


def test_a_download_without_a_file_says_why(desk: Desk) -> None:
    with desk.web.transaction() as session:
        project = session.get_one(Project, desk.project_id)
        add_version_row(session, project, RUN_ID, 1, "0" * 64)
        session.get_one(Run, RUN_ID).recipe = RECIPE_OF_NOTHING.model_dump(mode="json")
    desk.go("/versions")
    desk.page.get_by_role("link", name="Download version 1").click()
    expect(desk.page.get_by_text("not where Tailor put them")).to_be_visible()


@dataclass
class Held:
    """A question on its way to the server, held up until the test lets it go."""

    routes: list[Route]

    def let_go(self) -> None:
        self.routes.pop().continue_()


@pytest.fixture
def held(desk: Desk) -> Held:
    held = Held([])

    def hold(route: Route) -> None:
        if route.request.method == "POST":
            held.routes.append(route)
        else:
            route.continue_()

    desk.page.route("**/chat", hold)
    desk.page.route("**/turns", hold)
    return held


def test_what_is_typed_while_a_question_is_sent_stays(desk: Desk, held: Held) -> None:
    desk.go("/chat")
    field = desk.page.get_by_label("Your question")
    field.fill("Where is my parcel?")
    with desk.page.expect_request("**/chat"):
        desk.press("Ask")
    field.fill("And my")
    held.let_go()
    desk.page.wait_for_url("**/chat/*")
    expect(desk.page.locator("article.turn")).to_contain_text("Where is my parcel?")
    expect(field).to_have_value("And my")
    field.fill("And my invoice?")
    with desk.page.expect_request("**/turns"):
        desk.press("Ask")
    field.press_sequentially(" Pl")
    held.let_go()
    expect(desk.page.locator("article.turn")).to_have_count(2)
    expect(field).to_have_value("And my invoice? Pl")
    field.fill("And my bill?")
    with desk.page.expect_request("**/turns"):
        desk.press("Ask")
    held.let_go()
    expect(desk.page.locator("article.turn")).to_have_count(3)
    expect(field).to_have_value("")


def test_a_suggestion_leaves_a_half_typed_question_alone(desk: Desk) -> None:
    desk.go("/chat")
    field = desk.page.get_by_label("Your question")
    field.fill("Half a quest")
    desk.press("Do you open on Sundays?")
    desk.page.wait_for_url("**/chat/*")
    expect(desk.page.locator("article.turn")).to_contain_text("Do you open on Sundays?")
    expect(field).to_have_value("Half a quest")
    desk.go("/chat")
    expect(field).to_be_empty()
