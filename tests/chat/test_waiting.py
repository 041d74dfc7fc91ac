"""Answers that do not come: stopped at once, waited for in line, kept when Tailor stops."""

from collections.abc import Iterator
from html import unescape
from pathlib import Path

import pytest

from app.chat.tables import ChatReply
from app.web.live_replies import live_replies, live_replies_of
from tests.chat.test_conversations import answers_on, send, when_over
from tests.support.asynchronous import run_in_thread
from tests.support.chat import ChatWeb
from tests.support.inference import TOKEN, Home, running_inference
from tests.support.silent_server import SilentServer, silent_server
from tests.support.waiting import wait_until
from tests.support.web import OWNER, Web, running_web
from worker.inference.engine import MOST_RUNNING, MOST_WAITING

pytestmark = pytest.mark.one_database

LONG = {"question": "Go on.", "version": "", "max_tokens": "2048"}


@pytest.fixture(params=[False, True], ids=["nothing", "headers"])
def silent(request: pytest.FixtureRequest) -> Iterator[SilentServer]:
    with silent_server(begins=request.param) as server:
        yield server


@pytest.fixture
def silent_web(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, silent: SilentServer
) -> Iterator[Web]:
    settings = {"inference_url": silent.url}
    with running_web(database_url, tmp_path / "data", monkeypatch, **settings) as web:
        yield web


def test_stop_ends_an_answer_of_which_nothing_arrives(
    silent_web: Web, silent: SilentServer
) -> None:
    project = silent_web.project()
    with silent_web.transaction() as session:
        session.merge(project).base_model_id = "starter"
    client = silent_web.client_for(OWNER)
    asked = send(client, f"/projects/{project.id}/chat", {"question": "Are you there?"}).json()
    wait_until(lambda: silent.asked == 1, timeout=10, what="the question to arrive")
    assert send(client, f"{asked['url']}/stop", {}).status_code == 204

    def over() -> str:
        page = client.page(asked["turn_url"])
        return page if 'data-writing=""' in page else ""

    page = wait_until(over, timeout=30, what="the answer to be stopped")
    assert "Stopped." in page
    assert "did not come" not in page
    wait_until(lambda: silent.left == 1, timeout=30, what="the chat server to be left")


@pytest.mark.parametrize("places", [MOST_RUNNING, MOST_RUNNING + MOST_WAITING])
def test_who_comes_when_all_places_are_taken_is_in_line(chat: ChatWeb, places: int) -> None:
    chat.use_base_model("endless")
    chat.server.ask("Hello.", model="endless", max_tokens=1)
    client = chat.web.client_for(OWNER)
    with chat.server.long_answers(places):
        asked = send(client, chat.url, {**LONG, "max_tokens": "16"}).json()
        wait_until(
            lambda: "This one is in line" in client.page(asked["turn_url"]),
            timeout=30,
            what="the page to say that others come first",
        )
    assert answers_on(when_over(client, asked["turn_url"]))["base"]


@pytest.fixture
def held_web(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Home
) -> Iterator[Web]:
    """Pages whose chat server keeps its memory free for longer than any test looks.

    It has nothing else to do afterwards, so no other test can share it.
    """
    with running_inference(home.storage) as server:
        with server.client() as training:
            training.post("/v1/release", json={"hold_seconds": 3600})
        settings = {"inference_url": server.url, "inference_token": TOKEN}
        with running_web(database_url, tmp_path / "data", monkeypatch, **settings) as web:
            yield web


def test_a_training_that_needs_the_memory_is_said(held_web: Web) -> None:
    project = held_web.project()
    with held_web.transaction() as session:
        session.merge(project).base_model_id = "starter"
    client = held_web.client_for(OWNER)
    form = {"question": "Hello.", "version": ""}
    asked = send(client, f"/projects/{project.id}/chat", form).json()
    wait_until(
        lambda: "A training needs the memory" in client.page(asked["turn_url"]),
        timeout=30,
        what="the page to say what it waits for",
    )
    assert send(client, f"{asked['url']}/stop", {}).status_code == 204
    assert "Stopped." in when_over(client, asked["turn_url"])


def begun(chat: ChatWeb) -> str:
    """Begin an endless answer; return its turn's address once some of it is there."""
    chat.use_base_model("endless")
    client = chat.web.client_for(OWNER)
    turn_url: str = send(client, chat.url, LONG).json()["turn_url"]
    wait_until(
        lambda: answers_on(client.page(turn_url)).get("base"), timeout=60, what="the beginning"
    )
    return turn_url


def test_what_is_half_written_when_tailor_stops_is_kept(chat: ChatWeb) -> None:
    turn_url = begun(chat)

    async def stop_tailor() -> None:
        async with live_replies(chat.web.app):
            pass

    run_in_thread(stop_tailor())
    page = chat.web.client_for(OWNER).page(turn_url)
    assert "cut off, because Tailor was restarted" in page
    assert answers_on(page)["base"]


def test_what_is_half_written_is_kept_as_it_comes(
    chat: ChatWeb, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.chat.reply_writer.SECONDS_BETWEEN_SAVES", 0.1)
    turn_url = begun(chat)

    def kept() -> str:
        with chat.web.transaction() as session:
            reply = session.query(ChatReply).filter_by(status="writing").one_or_none()
            return reply.text if reply else ""

    text = wait_until(kept, timeout=20, what="the half answer in the database")
    client = chat.web.client_for(OWNER)
    page = client.page(turn_url)
    assert "Stop" in page, "the row of a running answer is not taken for its end"
    assert unescape(page).count(text[:20]) == 1
    live_replies_of(chat.web.app).close(10)
    with chat.web.transaction() as session:
        assert session.query(ChatReply).count() == 1
