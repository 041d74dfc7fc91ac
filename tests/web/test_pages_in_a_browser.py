"""The application's own pages in a real browser: what a hasty hand does to them."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.chat.tables import ChatReply, ChatTurn, Conversation
from app.datasets.importing import inspect_import
from app.projects.service import add_member
from app.projects.tables import Project, Role
from app.runs.holding import claim_next_run
from app.runs.objectives import Objective
from app.runs.repository import lock
from app.runs.status import RunStatus
from app.runs.tables import Run
from tests.support import databases
from tests.support.browser import chromium
from tests.support.chat import add_version_row
from tests.support.runs import RECIPE_OF_NOTHING, get_run
from tests.support.serving import free_port, served
from tests.support.uploads import upload
from tests.support.waiting import wait_until
from tests.support.web import OWNER, TEAMMATE, VIEWER, Web, running_web

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

    page: Page
    routes: list[Route]

    def let_go(self) -> None:
        wait_until(self._is_there, timeout=30, what="the question to be held up")
        self.routes.pop().continue_()

    def _is_there(self) -> bool:
        # The driver says what arrived only while it is asked for something.
        self.page.wait_for_timeout(1)
        return bool(self.routes)


@pytest.fixture
def held(desk: Desk) -> Held:
    held = Held(desk.page, [])

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


def test_a_wrong_setting_is_where_the_page_opens(desk: Desk) -> None:
    page = desk.page
    desk.go("/training")
    page.get_by_text("Settings for experts").click()
    for name, typed in (("epochs", "-3"), ("learning_rate", "abc")):
        page.locator(f"input[name={name}]").fill(typed)
    for button in ("Start training", "Show what this takes"):
        desk.press(button)
        page.wait_for_load_state()
        first = page.locator("input[name=epochs]")
        expect(first).to_be_focused()
        expect(first).to_be_in_viewport()
        expect(page.locator("[aria-invalid=true]")).to_have_count(2)
    page.locator("input[name=epochs]").fill("3")
    page.locator("input[name=learning_rate]").fill("")
    desk.press("Show what this takes")
    answer = page.get_by_role("region", name="What it takes")
    expect(answer).to_be_focused()
    expect(answer.get_by_text("training needs about")).to_be_in_viewport()
    expect(answer).to_contain_text("3\N{NO-BREAK SPACE}passes")


def test_a_limit_that_cannot_be_kept_is_where_the_queue_opens(desk: Desk) -> None:
    owner = desk.web.user(OWNER)
    with desk.web.transaction() as session:
        session.merge(owner).is_admin = True
    page = desk.page
    page.goto(f"{desk.address}/queue")
    page.get_by_label("Hours of training").first.fill("many")
    desk.press("Save for everybody")
    expect(page.locator("[aria-invalid=true]")).to_be_focused()


def left_of(item: Locator) -> tuple[float, float]:
    """Where something begins, once it is there."""
    box = item.bounding_box()
    assert box is not None
    return box["x"], box["y"]


def test_on_a_tablet_every_button_of_a_table_can_be_seen_and_stays_where_it_is(
    desk: Desk,
) -> None:
    with desk.web.transaction() as session:
        project = session.get_one(Project, desk.project_id)
        for email in (TEAMMATE, VIEWER):
            add_member(session, project, email, Role.EDITOR)
        add_version_row(session, project, RUN_ID, 1, "0" * 64)
        session.get_one(Run, RUN_ID).recipe = RECIPE_OF_NOTHING.model_dump(mode="json")
    page = desk.page
    page.set_viewport_size({"width": 768, "height": 3000})
    for path in ("/versions", "/settings"):
        desk.go(path)
        assert page.evaluate("document.documentElement.scrollWidth") == 768
        for item in page.locator(".table__actions :is(.button, summary):visible").all():
            expect(item).to_be_in_viewport(ratio=1)
    make_owner = page.locator("button", has_text="Make owner: Teammate")
    remove = page.locator("summary", has_text="Remove: Teammate")
    places = left_of(make_owner), left_of(remove)
    remove.click()
    opened = page.get_by_text("Teammate will no longer see this project.")
    expect(opened).to_be_visible()
    assert (left_of(make_owner), left_of(remove)) == places
    assert left_of(opened)[1] > places[1][1]
    # The words that only a screen reader has would push those that are seen out of the middle.
    gaps = make_owner.evaluate(
        """button => {
          const words = document.createRange();
          words.selectNode(button.firstChild);
          const [inner, outer] = [words.getBoundingClientRect(), button.getBoundingClientRect()];
          return [inner.left - outer.left, outer.right - inner.right];
        }"""
    )
    assert gaps[0] == pytest.approx(gaps[1], abs=1)


def test_the_scores_of_a_sorted_text_stand_under_its_kind(desk: Desk) -> None:
    owner = desk.web.user(OWNER)
    with desk.web.transaction() as session:
        project = session.get_one(Project, desk.project_id)
        add_version_row(session, project, RUN_ID, 1, "0" * 64)
        session.get_one(Run, RUN_ID).recipe = {"objective": Objective.KINDS}
        conversation = add_sorted_text(session, project, owner.id)
    desk.go(f"/chat/{conversation}")
    answer = desk.page.locator(".answer")
    kind, scores = answer.locator("[data-answer-text]"), answer.locator(".kinds")
    assert left_of(scores)[0] == left_of(kind)[0]
    assert left_of(kind)[1] < left_of(scores)[1] < left_of(answer.locator(".stamp"))[1]
    expect(scores.locator(".number")).to_have_text(["56.4 %", "43.6 %"])
    expect(desk.page.get_by_role("button", name="Ask again")).to_be_visible()
    expect(desk.page.get_by_text("With some variety this time")).to_have_count(0)


def add_sorted_text(session: Session, project: Project, user_id: str) -> str:
    """A conversation with a version that sorts, who was given one text."""
    conversation = Conversation(
        project_id=project.id, user_id=user_id, adapter_run_id=RUN_ID, base_model_id="starter"
    )
    session.add(conversation)
    session.flush()
    turn = ChatTurn(conversation_id=conversation.id, position=1, question="My card is gone!")
    session.add(turn)
    session.flush()
    scores = [{"kind": "lost_or_stolen_card", "score": 0.564}, {"kind": "top_up", "score": 0.436}]
    reply = ChatReply(
        turn_id=turn.id,
        side="tuned",
        text=scores[0]["kind"],
        status="complete",
        model_name="Version 1 on Tailor Starter",
        kinds=scores,
    )
    session.add(reply)
    return conversation.id


LINES_OF_WORDS = """cell => {
  const words = document.createRange();
  words.selectNodeContents(cell.firstElementChild);
  return words.getClientRects().length;
}"""


def test_the_first_rows_of_a_file_keep_their_words_whole(desk: Desk) -> None:
    answer = "Sie kostet 17 €. Gruß aus der Töpferei am Markt."
    row = f"Was kostet die blaue Teekanne?,{answer},,Teekannenwärmer\n"
    table = "Frage,Antwort,Bemerkung,Thema\n" + row * 3
    entry_id = upload(desk.web.engine, desk.web.storage, desk.project_id, table)
    inspect_import(desk.web.engine, desk.web.storage, entry_id, "test")
    desk.page.set_viewport_size({"width": 390, "height": 800})
    desk.go(f"/imports/{entry_id}")
    expect(desk.page.get_by_text("Gruß aus der …")).to_be_visible()
    word = desk.page.get_by_role("cell", name="Teekannenwärmer").first
    assert word.evaluate(LINES_OF_WORDS) == 1
    assert desk.page.evaluate("document.documentElement.scrollWidth") == 390
