"""The released openai client against the chat server, as an integrator would use it."""

from collections.abc import Iterator

import openai
import pytest

from tests.support.inference import ANCHOR, TOKEN, InferenceServer

QUESTION = "Hello, when are you open?"


@pytest.fixture
def client(server: InferenceServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=TOKEN, max_retries=0) as client:
        yield client


def test_an_answer_comes_whole_and_streamed(client: openai.OpenAI, server: InferenceServer) -> None:
    expected = server.answer(QUESTION, model=ANCHOR)
    whole = client.chat.completions.create(
        model=ANCHOR, messages=[{"role": "user", "content": QUESTION}], temperature=0
    )
    assert whole.choices[0].message.content == expected
    assert whole.usage is not None
    stream = client.chat.completions.create(
        model=ANCHOR,
        messages=[{"role": "user", "content": QUESTION}],
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == expected
    assert chunks[-1].usage == whole.usage


def test_models_are_listed_and_shown(client: openai.OpenAI) -> None:
    assert ANCHOR in [model.id for model in client.models.list()]
    assert client.models.retrieve(ANCHOR).id == ANCHOR
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody")


def test_what_is_not_offered_is_an_error_of_the_request(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="response_format"):
        client.chat.completions.create(
            model=ANCHOR,
            messages=[{"role": "user", "content": QUESTION}],
            response_format={"type": "json_object"},
        )


def test_a_wrong_token_is_said(server: InferenceServer) -> None:
    with (
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="wrong", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError),
    ):
        client.models.list()
