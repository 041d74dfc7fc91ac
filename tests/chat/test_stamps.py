"""What stands under an answer: who gave it, as far as the chat server said so."""

import pytest

from app.chat.tables import ChatReply
from tests.chat.test_conversations import QUESTION, answers_on, begin
from tests.support.chat import ChatWeb
from tests.support.inference import TEAPOT
from tests.support.web import OWNER

pytestmark = pytest.mark.one_database

UNSAID = "did not say which files gave this answer"
OTHER = "not the answer of the model that was asked"


def page_with(chat: ChatWeb, **changes: object) -> str:
    """The page of a conversation whose tuned answer was stamped differently."""
    client = chat.web.client_for(OWNER)
    url = begin(chat, client)
    assert UNSAID not in client.page(url)
    assert OTHER not in client.page(url)
    with chat.web.transaction() as session:
        reply = session.query(ChatReply).filter_by(side="tuned").one()
        for name, value in changes.items():
            setattr(reply, name, value)
    return client.page(url)


def test_an_answer_without_a_sum_says_so(chat: ChatWeb) -> None:
    assert UNSAID in page_with(chat, adapter_sha256=None)


def test_an_answer_by_other_files_is_no_answer_of_this_version(chat: ChatWeb) -> None:
    assert OTHER in page_with(chat, adapter_sha256="0" * 64)


def test_an_answer_by_another_model_is_no_answer_of_this_version(chat: ChatWeb) -> None:
    assert OTHER in page_with(chat, served_model="starter")


def test_a_conversation_stays_with_the_base_model_that_it_began_with(chat: ChatWeb) -> None:
    client = chat.web.client_for(OWNER)
    with chat.web.transaction() as session:
        session.merge(chat.project).base_model_id = "starter"
    url = begin(chat, client, version="")
    chat.use_base_model("endless")
    page = client.page(url)
    assert "Tailor Starter alone." in page
    assert '<h2 class="answer__name">Tailor Starter</h2>' in page
    client.submit(f"{url}/turns", {"question": "And to Sweden?"})
    with chat.web.transaction() as session:
        assert {reply.model_name for reply in session.query(ChatReply)} == {"Tailor Starter"}


def test_thoughts_before_an_answer_are_folded_and_not_told_again(chat: ChatWeb) -> None:
    client = chat.web.client_for(OWNER)
    url = begin(chat, client)
    answer = answers_on(client.page(url))["tuned"]
    with chat.web.transaction() as session:
        reply = session.query(ChatReply).filter_by(side="tuned").one()
        reply.text = f"<think>\nLet me see.\n</think>\n\n{answer}"
    page = client.page(url)
    assert answers_on(page)["tuned"] == answer
    assert "What it thought first" in page
    assert "Let me see." in page
    client.submit(f"{url}/turns", {"question": "And to Sweden?"})
    messages = [
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": answer},
        {"role": "user", "content": "And to Sweden?"},
    ]
    expected = chat.server.complete({"model": TEAPOT, "messages": messages, "max_tokens": 256})
    second = client.page(url).rpartition('<article class="turn"')[2]
    assert answers_on(second)["tuned"] == expected["choices"][0]["message"]["content"]
