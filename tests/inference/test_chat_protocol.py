"""The OpenAI protocol, from outside: what a client sends and gets."""

import json
from hashlib import sha256
from typing import Any

import httpx
import pytest

from tests.support.inference import ANCHOR, TEAPOT, Home, InferenceServer
from tests.support.plain_http import NO_CERTIFICATES

HELLO = [{"role": "user", "content": "Hello, when are you open?"}]


def post(server: InferenceServer, body: dict[str, Any], token: str | None = None) -> httpx.Response:
    with server.client(*([] if token is None else [token])) as client:
        return client.post("/v1/chat/completions", json=body)


def chunks_of(server: InferenceServer, body: dict[str, Any]) -> list[dict[str, Any]]:
    """Stream an answer; return its chunks after checking the frame around them."""
    request = {"model": "starter", "messages": HELLO, "temperature": 0, "stream": True, **body}
    with (
        server.client() as client,
        client.stream("POST", "/v1/chat/completions", json=request) as response,
    ):
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in response.iter_lines() if line.startswith("data: ")]
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


def text_of(chunks: list[dict[str, Any]]) -> str:
    return "".join(c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"])


def test_a_whole_answer(server: InferenceServer) -> None:
    body = server.complete({"model": "starter", "messages": HELLO})
    assert body["object"] == "chat.completion"
    choice = body["choices"][0]
    assert choice["message"]["role"] == "assistant"
    assert choice["message"]["content"].strip()
    assert choice["finish_reason"] == "stop"
    usage = body["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_a_streamed_answer_is_the_same_one(server: InferenceServer) -> None:
    whole = server.complete({"model": "starter", "messages": HELLO})
    chunks = chunks_of(server, {"stream_options": {"include_usage": True}})
    assert text_of(chunks) == whole["choices"][0]["message"]["content"]
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["usage"] == whole["usage"]
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert all(chunk["tailor"] == whole["tailor"] for chunk in chunks)


def test_every_answer_is_stamped_with_what_gave_it(server: InferenceServer, home: Home) -> None:
    digest = sha256((home.anchor / "adapter_model.safetensors").read_bytes()).hexdigest()
    tuned = server.ask("Hello.", model=ANCHOR)
    base = server.ask("Hello.")
    assert tuned["tailor"]["adapter_digest"] == digest
    assert tuned["tailor"]["run_id"] == ANCHOR
    assert base["tailor"]["adapter_digest"] is None
    assert tuned["tailor"]["base_fingerprint"] == base["tailor"]["base_fingerprint"]
    assert tuned["system_fingerprint"] != base["system_fingerprint"]


def test_the_longest_answer_is_a_bound(server: InferenceServer) -> None:
    body = server.complete({"model": "starter", "messages": HELLO, "max_completion_tokens": 4})
    assert body["usage"]["completion_tokens"] == 4
    assert body["choices"][0]["finish_reason"] == "length"


def test_a_stop_word_is_never_shown(server: InferenceServer) -> None:
    whole = server.answer(HELLO[0]["content"])
    word = whole.split()[2]
    body = {"model": "starter", "messages": HELLO, "stop": [word]}
    stopped = server.complete(body)["choices"][0]
    assert stopped["message"]["content"] == whole[: whole.index(word)]
    assert stopped["finish_reason"] == "stop"
    assert text_of(chunks_of(server, {"stop": word})) == stopped["message"]["content"]


def test_a_seed_gives_the_same_answer_again(server: InferenceServer) -> None:
    def answer(seed: int) -> str:
        return server.answer(HELLO[0]["content"], temperature=1.5, top_p=0.95, seed=seed)

    assert answer(1) == answer(1)
    assert len({answer(seed) for seed in range(6)}) > 1


def test_text_parts_are_text(server: InferenceServer) -> None:
    parts = [{"type": "text", "text": HELLO[0]["content"]}]
    messages = [{"role": "user", "content": parts}]
    assert server.complete({"model": "starter", "messages": messages})["choices"][0]["message"][
        "content"
    ] == server.answer(HELLO[0]["content"])


def test_the_models_are_listed(server: InferenceServer) -> None:
    with server.client() as client:
        listed = client.get("/v1/models").json()
    assert [model["id"] for model in listed["data"]] == [
        "endless",
        "plain",
        "starter",
        ANCHOR,
        TEAPOT,
    ]


def test_one_model_is_shown(server: InferenceServer) -> None:
    with server.client() as client:
        assert client.get(f"/v1/models/{ANCHOR}").json()["id"] == ANCHOR
        missing = client.get("/v1/models/nobody")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")


def test_an_answer_without_content_and_plain_text_are_understood(server: InferenceServer) -> None:
    messages = [HELLO[0], {"role": "assistant", "content": None}, HELLO[0]]
    body = {"model": "starter", "messages": messages, "response_format": {"type": "text"}}
    assert server.complete(body)["choices"][0]["message"]["content"]


@pytest.mark.parametrize("token", ["", "wrong", "the shared secret of the test"])
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/v1/chat/completions"), ("GET", "/v1/models"), ("POST", "/v1/release")],
)
def test_nobody_without_the_token(
    server: InferenceServer, token: str, method: str, path: str
) -> None:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    response = httpx.request(method, server.url + path, headers=headers, verify=NO_CERTIFICATES)
    assert response.status_code == 401
    assert response.json()["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize(
    "name", ["nobody", "../starter", "..", "a/b", "/etc/passwd", "file:///etc", "starter\x00", ""]
)
def test_an_unknown_model(server: InferenceServer, name: str) -> None:
    response = post(server, {"model": name, "messages": HELLO})
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize(
    "change",
    [
        {"messages": []},
        {"messages": "hello"},
        {"messages": [{"role": "robot", "content": "hello"}]},
        {"temperature": 9},
        {"max_tokens": 0},
        {"n": 3},
        {"tools": [{"type": "function"}]},
        {"logprobs": True},
        {"top_logprobs": 2},
        {"logit_bias": {"5": -100}},
        {"functions": [{"name": "f", "parameters": {}}]},
        {"response_format": {"type": "json_object"}},
        {"messages": [{"role": "user", "content": None}]},
        {"stop": ["a", "b", "c", "d", "e"]},
    ],
)
def test_what_cannot_be_honoured_is_refused(
    server: InferenceServer, change: dict[str, Any]
) -> None:
    response = post(server, {"model": "starter", "messages": HELLO, **change})
    assert response.status_code == 400
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"


def test_half_a_body(server: InferenceServer) -> None:
    with server.client() as client:
        response = client.post("/v1/chat/completions", content=b'{"model": "sta')
    assert response.status_code == 400


def test_ten_megabytes_are_not_even_read(server: InferenceServer) -> None:
    before = server.memory_bytes()
    body = {"model": "starter", "messages": [{"role": "user", "content": "long " * 2_000_000}]}
    assert post(server, body).status_code == 413
    assert server.memory_bytes() - before < 20_000_000


def test_an_address_that_is_not_there(server: InferenceServer) -> None:
    with server.client() as client:
        assert client.get("/v1/nothing").json()["error"]["code"] == "not_found"
