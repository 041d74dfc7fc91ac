"""Conversations as a browser has them, with and without scripts, against a real chat server."""

import json
import re
from html import unescape
from typing import Any

import pytest

from app.chat.tables import ChatReply, ChatTurn, Conversation
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


def follow(client: Client, turn_url: str, side: str, begin: int = 0) -> str:
    """Follow one side's stream to its end; return the text that came."""
    text = client.get(f"{turn_url}/stream?side={side}&begin={begin}").text
    assert text.endswith("event: end\ndata: {}\n\n")
    pieces = re.findall(r"event: text\ndata: (.*)\n", text)
    return "".join(json.loads(piece)["text"] for piece in pieces)


def when_over(client: Client, turn_url: str) -> str:
    """Return the turn's markup once nothing is being written any more."""

    def over() -> str:
        page = client.page(turn_url)
        return page if 'data-writing=""' in page else ""

    return wait_until(over, timeout=60, what="the answers to end")


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


def test_with_scripts_both_sides_are_streamed(chat: ChatWeb) -> None:
    client = chat.web.client_for(VIEWER)
    asked = send(client, chat.url, {"question": QUESTION, "version": ANCHOR}).json()
    streamed = {side: follow(client, asked["turn_url"], side) for side in ("base", "tuned")}
    shown = answers_on(when_over(client, asked["turn_url"]))
    # A stream that is opened when all is over has nothing to add to the page.
    assert all(text in {"", shown[side]} for side, text in streamed.items())
    assert shown["tuned"] == chat.server.answer(QUESTION, model=ANCHOR, max_tokens=256)


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


def test_a_reload_while_it_is_written_goes_on_where_it_was(chat: ChatWeb) -> None:
    chat.use_base_model("endless")
    client = chat.web.client_for(OWNER)
    form = {"question": "Go on.", "version": "", "max_tokens": "160"}
    asked = send(client, chat.url, form).json()

    def part() -> str:
        return answers_on(client.page(asked["url"])).get("base", "")

    seen = wait_until(part, timeout=60, what="the beginning of the answer")
    rest = follow(client, asked["turn_url"], "base", begin=len(seen))
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
    wait_until(lambda: chat.server.health()["answers"] == 0, timeout=5, what="a free place")


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


def test_an_answer_that_was_cut_off_says_so(chat: ChatWeb) -> None:
    client = chat.web.client_for(OWNER)
    with chat.web.transaction() as session:
        conversation = Conversation(
            project_id=chat.project.id,
            user_id=chat.web.user(OWNER).id,
            adapter_run_id=TEAPOT,
        )
        session.add(conversation)
        session.flush()
        session.add(ChatTurn(conversation_id=conversation.id, position=1, question=QUESTION))
    page = client.page(f"{chat.url}/{conversation.id}")
    assert "cut off, because Tailor was restarted" in page
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
    client = chat.web.client_for(OWNER)
    url = begin(chat, client)
    form = {"instructions": "Be brief.", "temperature": "0.0", "max_tokens": "64"}
    client.submit(f"{url}/settings", form)
    client.submit(f"{url}/turns", {"question": "Hello."})
    with chat.web.transaction() as session:
        conversation = session.query(Conversation).one()
        assert (conversation.instructions, conversation.max_tokens) == ("Be brief.", 64)
    assert "Be brief." in client.page(chat.url + f"?version={TEAPOT}")


def test_only_its_owner_sees_a_conversation(chat: ChatWeb) -> None:
    url = begin(chat, chat.web.client_for(OWNER))
    with chat.web.transaction() as session:
        turn_id = session.query(ChatTurn).one().id
    for other in (TEAMMATE, VIEWER, STRANGER):
        client = chat.web.client_for(other)
        turn = f"{url}/turns/{turn_id}"
        assert client.get(url).status_code == 404
        assert client.get(turn).status_code == 404
        assert client.get(f"{turn}/stream?side=base").status_code == 404
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
