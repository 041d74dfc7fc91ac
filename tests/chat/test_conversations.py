"""Conversations as a browser has them, with and without scripts, against a real chat server."""

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from html import unescape
from typing import Any
from urllib.parse import urlencode

import pytest

from app.chat.live import LiveReplies, LiveReply
from app.chat.replies import ReplyPlan
from app.chat.tables import ChatReply, ChatTurn, Conversation
from app.clock import now
from app.runs.objectives import Objective
from app.runs.tables import Run, RunSample
from app.web.chat_pages import CONVERSATIONS_PER_PAGE
from tests.support.chat import ChatWeb
from tests.support.inference import ANCHOR, TEAPOT
from tests.support.waiting import wait_until
from tests.support.web import OWNER, STRANGER, TEAMMATE, VIEWER, Client

QUESTION = "Do you ship to Norway?"
SCRIPT_HEADERS = {"accept": "application/json"}


def answers_on(page: str) -> dict[str, str]:
    """Return what each side's box says."""
    boxes = re.findall(
        r'id="answer-\w+-(base|tuned)".*?data-answer-text>(.*?)</div>', page, re.DOTALL
    )
    return {side: unescape(text) for side, text in boxes}


def begin(chat: ChatWeb, client: Client, question: str = QUESTION, version: str = TEAPOT) -> str:
    """Ask the first question without scripts; return the conversation's address."""
    response = client.submit(chat.url, {"question": question, "version": version})
    assert response.status_code == 303, response.text
    return str(response.headers["location"]).partition("#")[0]


def send(client: Client, url: str, form: dict[str, str]) -> Any:  # noqa: ANN401 (JSON)
    """Send a form as the page's script does."""
    headers = {**SCRIPT_HEADERS, "x-csrf-token": client.csrf_token}
    return client.post(url, data=form, headers=headers)


def follow(client: Client, turn_url: str, **begins: int) -> dict[str, str]:
    """Follow a turn's stream to its end; return the text that came, by side."""
    text = client.get(f"{turn_url}/stream?{urlencode(begins)}").text
    assert text.endswith("event: end\ndata: {}\n\n")
    came: dict[str, str] = {}
    for data in re.findall(r"event: text\ndata: (.*)\n", text):
        piece = json.loads(data)
        came[piece["side"]] = came.get(piece["side"], "") + piece["text"]
    return came


def when_over(client: Client, turn_url: str) -> str:
    """Return the turn's markup once nothing is being written any more."""

    def over() -> str:
        page = client.page(turn_url)
        return page if 'data-writing=""' in page else ""

    return wait_until(over, timeout=60, what="the answers to end")


@pytest.fixture
def listened(monkeypatch: pytest.MonkeyPatch) -> list[LiveReply]:
    """What streams listen to; nothing is streamed of an answer that was over before."""
    replies: list[LiveReply] = []
    listen = LiveReply.listen

    def noted(reply: LiveReply, listener: Callable[[], None]) -> Callable[[], None]:
        replies.append(reply)
        return listen(reply, listener)

    monkeypatch.setattr(LiveReply, "listen", noted)
    return replies


def test_without_scripts_the_page_comes_with_both_answers(chat: ChatWeb) -> None:
    client = chat.web.client_for(OWNER)
    page = client.page(begin(chat, client))
    expected = {
        "base": chat.server.answer(QUESTION, max_tokens=256),
        "tuned": chat.server.answer(QUESTION, model=TEAPOT, max_tokens=256),
    }
    assert answers_on(page) == expected
    digest = chat.server.ask("Hello.", model=TEAPOT)["tailor"]["adapter_digest"]
    assert f"<code>{digest[:12]}</code>" in page
    assert digest in page
    assert "Version 3 on Tailor Starter" in page


def test_with_scripts_both_sides_are_streamed(chat: ChatWeb, listened: list[LiveReply]) -> None:
    client = chat.web.client_for(VIEWER)
    with ThreadPoolExecutor(1) as pool:
        with chat.server.held_up():
            asked = send(client, chat.url, {"question": QUESTION, "version": ANCHOR}).json()
            turn = client.page(asked["turn_url"])
            assert answers_on(turn) == {"base": "", "tuned": ""}
            following = pool.submit(follow, client, asked["turn_url"])
            wait_until(lambda: len(listened) == 2, timeout=30, what="the stream to listen")
        streamed = following.result()
    assert streamed == answers_on(when_over(client, asked["turn_url"]))
    assert streamed["tuned"] == chat.server.answer(QUESTION, model=ANCHOR, max_tokens=256)
    assert streamed["base"] == chat.server.answer(QUESTION, max_tokens=256)


def test_each_side_remembers_its_own_answers_only(chat: ChatWeb) -> None:
    client = chat.web.client_for(OWNER)
    url = begin(chat, client)
    first = answers_on(client.page(url))
    client.submit(f"{url}/turns", {"question": "And to Sweden?"})
    page = client.page(url)
    for side, model in (("base", "starter"), ("tuned", TEAPOT)):
        messages = [
            {"role": "user", "content": QUESTION},
            {"role": "assistant", "content": first[side]},
            {"role": "user", "content": "And to Sweden?"},
        ]
        body = chat.server.complete({"model": model, "messages": messages, "max_tokens": 256})

        assert body["choices"][0]["message"]["content"] in unescape(page)


def test_asking_again_in_vain_takes_no_answer_from_the_memory(
    chat: ChatWeb, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = chat.web.client_for(OWNER)
    url = begin(chat, client)
    first = answers_on(client.page(url))
    with chat.web.transaction() as session:
        turn_id = session.query(ChatTurn).one().id
        for side in first:
            failed = ChatReply(turn_id=turn_id, side=side, attempt=2, status="failed")
            session.add(failed)
    plans: list[ReplyPlan] = []

    def hear(_: LiveReplies, asked: list[ReplyPlan]) -> list[LiveReply]:
        plans.extend(asked)
        return []

    monkeypatch.setattr(LiveReplies, "expect", hear)
    send(client, f"{url}/turns", {"question": "And to Sweden?"})
    assert {plan.key.side for plan in plans} == set(first)
    for plan in plans:
        assert plan.question.messages == [
            {"role": "user", "content": QUESTION},
            {"role": "assistant", "content": first[plan.key.side]},
            {"role": "user", "content": "And to Sweden?"},
        ]


def test_a_reload_while_it_is_written_goes_on_where_it_was(
    chat: ChatWeb, listened: list[LiveReply]
) -> None:
    chat.use_base_model("endless")
    client = chat.web.client_for(OWNER)
    form = {"question": "Go on.", "version": "", "max_tokens": "2048"}
    asked = send(client, chat.url, form).json()

    def part() -> str:
        return answers_on(client.page(asked["url"])).get("base", "")

    seen = wait_until(part, timeout=60, what="the beginning of the answer")
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(follow, client, asked["turn_url"], base=len(seen))
        wait_until(lambda: listened, timeout=30, what="the stream to listen")
        wait_until(lambda: len(part()) > len(seen), timeout=60, what="more of the answer")
        send(client, f"{asked['url']}/stop", {})
    rest = following.result()["base"]
    assert rest
    assert answers_on(when_over(client, asked["turn_url"]))["base"] == seen + rest


def test_stop_keeps_what_is_there(chat: ChatWeb) -> None:
    chat.use_base_model("endless")
    client = chat.web.client_for(OWNER)
    form = {"question": "Go on.", "version": "", "max_tokens": "2048"}
    asked = send(client, chat.url, form).json()
    wait_until(
        lambda: answers_on(client.page(asked["turn_url"])).get("base"),
        timeout=60,
        what="the beginning of the answer",
    )
    refused = send(client, f"{asked['url']}/turns", {"question": "And now?"})
    assert refused.status_code == 409
    assert "still being written" in refused.json()["error"]["what"]
    assert send(client, f"{asked['url']}/stop", {}).status_code == 204
    page = when_over(client, asked["turn_url"])
    assert "Stopped." in page
    assert answers_on(page)["base"]
    wait_until(lambda: chat.server.health()["answers"] == 0, timeout=30, what="a free place")


def test_ask_again_keeps_the_earlier_answer(chat: ChatWeb) -> None:
    client = chat.web.client_for(OWNER)
    form = {"question": QUESTION, "version": TEAPOT, "temperature": "0.8", "max_tokens": "16"}
    response = client.submit(chat.url, form)
    url, _, anchor = response.headers["location"].partition("#")
    before = answers_on(client.page(url))
    again = f"{url}/turns/{anchor.removeprefix('turn-')}/again"
    assert client.submit(again).status_code == 303
    with chat.web.transaction() as session:
        attempts = [r.attempt for r in session.query(ChatReply).filter_by(side="tuned")]
    assert sorted(attempts) == [1, 2]
    page = unescape(client.page(url))
    assert "Earlier answers" in page
    assert before["tuned"] in page


def test_ask_again_may_ask_one_side_and_bring_another_answer(chat: ChatWeb) -> None:
    client = chat.web.client_for(OWNER)
    chat.use_base_model("endless")
    first = {"question": QUESTION, "version": "", "max_tokens": "16"}
    url, _, anchor = client.submit(chat.url, first).headers["location"].partition("#")
    again = f"{url}/turns/{anchor.removeprefix('turn-')}/again"
    assert "With some variety this time" in client.page(url)
    before = answers_on(client.page(url))["base"]
    client.submit(again, {})
    assert answers_on(client.page(url))["base"] == before
    client.submit(again, {"variety": "yes"})
    assert answers_on(client.page(url))["base"] != before


def test_ask_again_can_leave_one_side_as_it_is(chat: ChatWeb) -> None:
    client = chat.web.client_for(OWNER)
    url = begin(chat, client)
    with chat.web.transaction() as session:
        turn_id = session.query(ChatTurn).one().id
    client.submit(f"{url}/turns/{turn_id}/again", {"side": "tuned"})
    with chat.web.transaction() as session:
        attempts = [(r.side, r.attempt) for r in session.query(ChatReply)]
    assert sorted(attempts) == [("base", 1), ("tuned", 1), ("tuned", 2)]


def test_an_answer_that_was_cut_off_says_so(chat: ChatWeb) -> None:
    client = chat.web.client_for(OWNER)
    with chat.web.transaction() as session:
        conversation = Conversation(
            project_id=chat.project.id,
            user_id=chat.web.user(OWNER).id,
            adapter_run_id=TEAPOT,
            base_model_id="starter",
        )
        session.add(conversation)
        session.flush()
        turn = ChatTurn(conversation_id=conversation.id, position=1, question=QUESTION)
        session.add(turn)
        session.flush()
        # Nothing of the base model's answer had come yet; half of the version's was kept.
        half = ChatReply(turn_id=turn.id, side="tuned", text="Warm cups,", status="writing")
        session.add(half)
    page = client.page(f"{chat.url}/{conversation.id}")
    assert page.count("cut off, because Tailor was restarted") == 2
    assert answers_on(page) == {"base": "", "tuned": "Warm cups,"}
    assert "Ask again" in page


def test_the_base_model_answers_alone_before_there_is_a_version(chat: ChatWeb) -> None:
    client = chat.web.client_for(OWNER)
    with chat.web.transaction() as session:
        project = session.merge(chat.project)
        project.base_model_id = "starter"
    page = client.page(begin(chat, client, version=""))
    assert set(answers_on(page)) == {"base"}


def test_markup_in_questions_and_answers_is_text(chat: ChatWeb) -> None:
    client = chat.web.client_for(OWNER)
    url = begin(chat, client, "<b onclick=alert(2)>Hello.</b>")
    markup = "<img src=x onerror=alert(1)>"
    with chat.web.transaction() as session:
        for reply in session.query(ChatReply):
            reply.text = reply.model_name = markup
    page = client.page(url)
    assert "<img" not in page
    assert "<b onclick" not in page
    assert answers_on(page) == {"base": markup, "tuned": markup}


@pytest.mark.parametrize("question", ["", "   ", "long " * 5000])
def test_what_cannot_be_asked_stays_typed(chat: ChatWeb, question: str) -> None:
    client = chat.web.client_for(OWNER)
    response = client.submit(chat.url, {"question": question, "version": TEAPOT})
    assert response.status_code == 422
    assert question.strip() in response.text
    with chat.web.transaction() as session:
        assert session.query(Conversation).count() == 0


def test_settings_are_kept_and_used(chat: ChatWeb) -> None:
    # A model of random numbers says something else for every word that it is told.
    chat.use_base_model("endless")
    client = chat.web.client_for(OWNER)
    first = {"question": QUESTION, "version": "", "instructions": "Be brief.", "max_tokens": "16"}
    url = client.submit(chat.url, first).headers["location"].partition("#")[0]
    answered = answers_on(client.page(url))["base"]
    changed = {"instructions": "You sell boats.", "temperature": "0.0", "max_tokens": "64"}
    client.submit(f"{url}/settings", changed)
    client.submit(f"{url}/turns", {"question": "Hello."})
    told = [
        {"role": "system", "content": "You sell boats."},
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": answered},
        {"role": "user", "content": "Hello."},
    ]
    request = {"model": "endless", "messages": told, "max_tokens": 64}
    expected = chat.server.complete(request)["choices"][0]["message"]["content"]
    assert expected in unescape(client.page(url))
    assert "You sell boats." in client.page(f"{chat.url}?version=")


def test_another_version_comes_with_its_own_suggestions(chat: ChatWeb) -> None:
    client = chat.web.client_for(OWNER)
    with chat.web.transaction() as session:
        for run_id, question in ((ANCHOR, "Is it windy?"), (TEAPOT, "Is it hot?")):
            texts = {"question": question, "expected": "", "base_answer": "", "answer": ""}
            session.add(RunSample(run_id=run_id, position=0, step=0, **texts))
    page = client.page(f"{chat.url}?version={ANCHOR}")
    assert f'href="{chat.url}?version={TEAPOT}"' in page
    assert 'name="suggestion" value="Is it windy?"' in page
    assert "Is it hot?" not in page
    # The button is part of the form, so what stands in the drawer goes along.
    form = {"suggestion": "Is it windy?", "question": "", "version": ANCHOR, "max_tokens": "64"}
    url = client.submit(chat.url, form).headers["location"].partition("#")[0]
    assert "Is it windy?" in client.page(url)
    with chat.web.transaction() as session:
        assert session.query(Conversation).one().max_tokens == 64


def test_every_conversation_can_be_found_again(chat: ChatWeb) -> None:
    client = chat.web.client_for(OWNER)
    with chat.web.transaction() as session:
        for number in range(CONVERSATIONS_PER_PAGE + 1):
            session.add(
                Conversation(
                    project_id=chat.project.id,
                    user_id=chat.web.user(OWNER).id,
                    title=f"Talk {number:03d}",
                    updated_at=now() + timedelta(minutes=number),
                )
            )
    assert "Talk 000" not in client.page(chat.url)
    assert "Talk 000" in client.page(f"{chat.url}?page=2")


def test_only_its_owner_sees_a_conversation(chat: ChatWeb) -> None:
    url = begin(chat, chat.web.client_for(OWNER))
    with chat.web.transaction() as session:
        turn_id = session.query(ChatTurn).one().id
    for other in (TEAMMATE, VIEWER, STRANGER):
        client = chat.web.client_for(other)
        turn = f"{url}/turns/{turn_id}"
        assert client.get(url).status_code == 404
        assert client.get(turn).status_code == 404
        assert client.get(f"{turn}/stream").status_code == 404
        for action in (f"{url}/turns", f"{turn}/again", f"{url}/stop", f"{url}/settings"):
            assert client.submit(action, {"question": "Hello."}).status_code == 404
        assert client.submit(f"{url}/delete").status_code == 404
    assert chat.web.client_for(OWNER).get(url).status_code == 200


def test_a_conversation_can_be_deleted(chat: ChatWeb) -> None:
    client = chat.web.client_for(OWNER)
    url = begin(chat, client)
    assert client.submit(f"{url}/delete").status_code == 303
    assert client.get(url).status_code == 404
    with chat.web.transaction() as session:
        assert session.query(ChatReply).count() == 0


def test_a_version_that_sorts_is_given_texts_and_has_no_settings_for_answers(
    chat: ChatWeb,
) -> None:
    client = chat.web.client_for(OWNER)
    with chat.web.transaction() as session:
        run = session.get(Run, TEAPOT)
        assert run is not None
        run.recipe = {"objective": Objective.KINDS}
    page = client.get(f"{chat.url}?version={TEAPOT}").text
    assert "Give it a text to sort" in page
    assert "How they answer" not in page
    with chat.web.transaction() as session:
        run = session.get(Run, TEAPOT)
        assert run is not None
        run.recipe = {}
    assert "How they answer" in client.get(f"{chat.url}?version={TEAPOT}").text
