"""The chat in a real browser: stopped, asked again, reconnected, and never silent about a fault."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from app.accounts.tables import UserSession
from app.chat.engine import ChatEngine
from app.chat.live import LiveReplies
from app.database.session import new_session
from tests.support import databases
from tests.support.browser import chromium
from tests.support.chat import ChatWeb
from tests.support.inference import TOKEN, InferenceServer
from tests.support.serving import free_port, served
from tests.support.web import OWNER, running_web

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@dataclass
class Desk:
    """Someone at a browser, in front of a conversation with a model that never ends by itself."""

    chat: ChatWeb
    port: int
    page: Page

    @property
    def answer(self) -> str:
        return self.page.locator("[data-answer-text]").last.inner_text()

    def begin(self, address: str) -> None:
        """Ask for a long answer, and wait for its beginning."""
        self.page.goto(f"{address}{self.chat.url}")
        self.page.get_by_text("How they answer").click()
        self.page.get_by_label("Longest answer").select_option("1024")
        self.ask("Go on.")
        self.page.wait_for_url("**/chat/*")
        self.wait_for_text()

    def ask(self, question: str) -> None:
        self.page.get_by_label("Your question").fill(question)
        self.page.get_by_role("button", name="Ask", exact=True).click()

    def wait_for_text(self) -> None:
        expect(self.page.locator("[data-answer-text]").last).not_to_be_empty()


@pytest.fixture
def desk(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    server: InferenceServer,
    browser: Browser,
) -> Iterator[Desk]:
    port, url = free_port(), databases.create_migrated("sqlite", tmp_path)
    settings = {"inference_url": server.url, "inference_token": TOKEN, "port": str(port)}
    context = browser.new_context()
    with running_web(url, tmp_path / "data", monkeypatch, **settings) as web:
        chat = ChatWeb(web, server, web.project())
        chat.use_base_model("endless")
        for cookie in web.client_for(OWNER).cookies.jar:
            value = str(cookie.value)
            context.add_cookies(
                [{"name": cookie.name, "value": value, "domain": "127.0.0.1", "path": "/"}]
            )
        yield Desk(chat, port, context.new_page())
    context.close()


@pytest.fixture
def address(desk: Desk) -> Iterator[str]:
    with served(desk.chat.web.app, desk.port) as address:
        yield address


@pytest.fixture
def talk(desk: Desk, address: str) -> Desk:
    """A conversation whose first answer is being written."""
    desk.begin(address)
    return desk


def test_stop_keeps_the_text_and_the_place_to_type(talk: Desk) -> None:
    talk.page.get_by_role("button", name="Stop").click()
    expect(talk.page.get_by_text("Stopped.")).to_be_visible(timeout=30_000)
    assert talk.answer
    expect(talk.page.get_by_label("Your question")).to_be_focused()


def test_ask_again_brings_another_answer_without_leaving_the_page(talk: Desk) -> None:
    talk.page.get_by_role("button", name="Stop").click()
    before = talk.page.url
    talk.page.get_by_role("button", name="Ask again").click()
    expect(talk.page.get_by_role("button", name="Stop")).to_be_visible()
    talk.wait_for_text()
    talk.page.get_by_role("button", name="Stop").click()
    expect(talk.page.get_by_text("Earlier answers")).to_be_visible()
    assert talk.page.url == before


def test_what_is_being_typed_outlives_saved_settings_and_a_reload(talk: Desk) -> None:
    talk.page.get_by_label("Your question").fill("Half a quest")
    talk.page.get_by_text("How they answer").click()
    talk.page.get_by_label("Instructions").fill("Be brief.")
    # By the keyboard: the growing answer moves what is below it, also while a mouse is held down.
    talk.page.get_by_role("button", name="Save").press("Enter")
    expect(talk.page.get_by_text("The next answer follows it.")).to_be_visible()
    expect(talk.page.get_by_label("Your question")).to_have_value("Half a quest")
    talk.page.reload()
    expect(talk.page.get_by_label("Your question")).to_have_value("Half a quest")


def test_a_lost_sign_in_leads_to_the_sign_in_page(talk: Desk) -> None:
    talk.page.get_by_label("Your question").fill("Half a quest")
    with talk.chat.web.transaction() as session:
        session.query(UserSession).delete()
    expect(talk.page.get_by_role("heading", name="Sign in")).to_be_visible(timeout=20_000)
    expect(talk.page.locator("[data-talk]")).to_have_count(0)


def test_a_conversation_that_was_deleted_elsewhere_is_not_asked_for_ever(talk: Desk) -> None:
    second = talk.page.context.new_page()
    second.goto(talk.page.url)
    second.get_by_text("Delete this conversation").click()
    second.get_by_role("button", name="Delete the conversation").click()
    expect(talk.page.get_by_text("This conversation does not exist.")).to_be_visible()


def test_a_lost_connection_is_said_and_the_page_is_right_again_by_itself(desk: Desk) -> None:
    with served(desk.chat.web.app, desk.port) as address:
        desk.begin(address)
    connection = desk.page.locator("[data-chat-connection]")
    expect(connection).to_contain_text("The connection is lost")
    with served(desk.chat.web.app, desk.port):
        expect(connection).to_be_empty(timeout=15_000)
        expect(desk.page.get_by_role("button", name="Stop")).to_have_count(0)
        assert desk.answer
        expect(desk.page.locator("[data-chat-status]")).to_contain_text("Endless: ")


def test_a_failure_is_read_aloud(desk: Desk) -> None:
    web = desk.chat.web
    away = ChatEngine(f"http://127.0.0.1:{free_port()}", lambda: TOKEN)
    web.app.state.live_replies = LiveReplies(away, lambda: new_session(web.engine))
    with served(web.app, desk.port) as address:
        desk.page.goto(f"{address}{desk.chat.url}")
        desk.ask("Are you there?")
        desk.page.wait_for_url("**/chat/*")
        expect(desk.page.locator(".answer .field__error")).to_contain_text("is not running")
        expect(desk.page.get_by_role("button", name="Ask again")).to_be_visible()
        desk.page.get_by_role("button", name="Ask again").click()
        status = desk.page.locator("[data-chat-status]")
        expect(status).to_contain_text("The chat server is not running")
